"""What is measured as a table: every figure with its direction, unit, needs and meaning; no torch."""

from __future__ import annotations

from collections.abc import Collection

from tokbench.records.figure_info import FigureInfo
from tokbench.records.figures import FIGURES, RATES, SPEEDS
from tokbench.report.table import Cell, Column, Table
from tokbench.weights.assets import get_asset

COLUMNS = (
    Column("in tables", "title", align="left"),
    Column("unit", "unit", align="left"),
    Column("measured", "measured", align="left"),
    Column("needs", "needs", align="left"),
    Column("what it is", "meaning", align="left"),
)
NOTES = (
    "extra X: pip install 'tokbench[X]'",
    "weights X: tokbench weights get X",
    "data X: run with --data X",
    "option X: run with X",
    f"records also have {', '.join(info.key for info in (*RATES, *SPEEDS))}",
)


def measures_table(here: Collection[str] = ()) -> Table:
    """Arrange the figures of this package.

    Args:
        here: Network files that have been fetched, and are said to be here.
    """
    return Table("What tokbench measures", COLUMNS, tuple((info.key, _cells(info, here)) for info in FIGURES), NOTES, "figure")


def needs(info: FigureInfo, here: Collection[str] = ()) -> str:
    """What must be there to measure a figure, beside what ships with the package; empty if nothing must.

    Args:
        info: The figure's row.
        here: Network files that have been fetched.
    """
    weights = info.asset if info.asset and not get_asset(info.asset).embedded else ""
    parts = {"extra": info.extra, "weights": f"{weights} (here)" if weights in here else weights, "data": info.data, "option": info.option}
    return ", ".join(f"{what} {name}" for what, name in parts.items() if name)


def _cells(info: FigureInfo, here: Collection[str]) -> tuple[Cell, ...]:
    when = "always" if info.by_default else "with its data" if info.data else f"with {info.option}" if info.option else "when named"
    texts = (f"{info.heading} {info.arrow}".strip(), info.unit, when, needs(info, here) or "-", info.meaning)
    return tuple(map(Cell, texts))
