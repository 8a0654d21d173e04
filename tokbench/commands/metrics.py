"""The command that says what can be measured: metrics."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from tokbench.commands.console import out

WIDE = 140
"""Columns of a terminal that also shows titles and units."""


def metrics(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List what can be measured, and what each figure needs."""
    from tokbench.configs import plain
    from tokbench.records.figures import FIGURES
    from tokbench.report.measures import measures_table, needs
    from tokbench.weights.assets import ASSETS, asset_path

    assets = {asset.name for asset in ASSETS} | {info.asset for info in FIGURES if info.asset}
    here = {name for name in assets if asset_path(name).is_file()}
    if as_json:
        print(json.dumps([plain(info) | {"metric": info.measured_by, "needs": needs(info, here)} for info in FIGURES], indent=2))
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = measures_table(here)
    shown = [i for i, column in enumerate(table.columns) if out.width >= WIDE or column.key not in ("title", "unit")]
    drawn = Table(header_style="bold", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    drawn.add_column(table.lead, no_wrap=True)
    for i in shown:
        drawn.add_column(table.columns[i].title, ratio=1 if table.columns[i].key == "meaning" else None)
    for key, cells in table.rows:
        drawn.add_row(key, *(cells[i].text for i in shown))
    out.print(drawn)
    for note in table.notes:
        out.print(note, style="dim", highlight=False, markup=False)
