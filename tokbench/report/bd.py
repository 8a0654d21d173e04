"""How many more bits one curve takes for the same quality as another: Bjontegaard's differences between curves of records; no torch.

Source: Bjontegaard 2001, "Calculation of average PSNR differences between RD-curves" (VCEG-M33). Between its points a curve is piecewise
cubic and rises wherever they do (Fritsch and Carlson 1980), where he has one polynomial for all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tokbench.errors import TokbenchError, unknown_name
from tokbench.escapes import visible
from tokbench.records.record import Record
from tokbench.report.sections import make_sections
from tokbench.report.table import Cell, Column, Table, figure_column, metric_columns
from tokbench.report.training import marks_of, training_notes

FEWEST = 2
"""Points of a curve."""

NOTE = (
    "% more bits than the curve in the column's heading takes for the same figure, as a mean over the figures that both reach; "
    "less than 0 is fewer bits"
)
CURVES_NOTE = "a curve is what one tokenizer reaches with different settings or lengths, one codec, or else the members of one family"


@dataclass(frozen=True)
class Curve:
    """Bits against a figure: every point has more bits than the one before and a better figure.

    Args:
        name: What its records have in common.
        bits: Per image, above 0, ascending.
        figures: What these points reach.
        beaten: Names of records left out, as one with no more bits has a figure as good.
        mark: Marks that its figures carry in tables.
    """

    name: str
    bits: tuple[float, ...]
    figures: tuple[float, ...]
    beaten: tuple[str, ...] = ()
    mark: str = ""


def bd_rate(curve: Curve, reference: Curve, *, higher_is_better: bool, log: bool = False) -> float | None:
    """Mean difference in bits of two curves at equal figures.

    Args:
        curve: Whose bits are compared.
        reference: With whose.
        higher_is_better: Direction of the figure.
        log: Whether figures are averaged over on a logarithmic scale, as distances are that plots draw so; they must be above 0 then.

    Returns:
        Bits of the curve over those of the reference, minus 1; None where they reach no figures in common.
    """
    one, other = (_places(own.figures, higher_is_better, log) for own in (curve, reference))
    found = _mean_difference(one, np.log(curve.bits), other, np.log(reference.bits))
    return None if found is None else math.expm1(found)


def bd_figure(curve: Curve, reference: Curve, *, higher_is_better: bool, log: bool = False) -> float | None:
    """Mean difference in figures of two curves at equal bits; arguments are those of ``bd_rate``.

    Returns:
        The curve's figure minus the reference's, with ``log`` the ratio of both minus 1; None where they have no bits in common.
    """
    one, other = (_places(own.figures, higher_is_better, log) for own in (curve, reference))
    found = _mean_difference(np.log(curve.bits), one, np.log(reference.bits), other)
    if found is None:
        return None
    signed = found if higher_is_better else -found
    return math.expm1(signed) if log else signed


def curves_of(records: Sequence[Record], names: Sequence[str], key: str) -> list[Curve]:
    """Put the records of one section into curves.

    Args:
        records: Records of one protocol on the same images.
        names: Names of their rows.
        key: Key of the figure.

    Returns:
        Those with at least two points, in the order their first records have.
    """
    column = figure_column(key, [record.metrics.get(key) for record in records])
    higher, log = bool(column.higher_is_better), _is_log(column)
    points: dict[str, list[tuple[float, float, int]]] = {}
    several = _several(records)
    for i, record in enumerate(records):
        bits, metric = record.tokens.bits_per_image, record.metrics.get(key)
        if bits is None or bits <= 0 or metric is None or metric.value is None or not math.isfinite(metric.value):
            continue
        if log and metric.value <= 0:
            continue
        points.setdefault(_curve_name(record, several), []).append((bits, metric.value, i))
    curves = []
    for name, found in points.items():
        kept: list[tuple[float, float, int]] = []
        for point in sorted(found, key=lambda point: (point[0], -point[1] if higher else point[1], point[2])):
            if not kept or (point[0] > kept[-1][0] and (point[1] > kept[-1][1]) is higher and point[1] != kept[-1][1]):
                kept.append(point)
        if len(kept) >= FEWEST:
            places = {i for _, _, i in kept}
            beaten = tuple(names[i] for _, _, i in found if i not in places)
            mark = "".join(dict.fromkeys("".join(marks_of(records[i], records[i].metrics[key]) for i in sorted(places))))
            curves.append(Curve(name, tuple(p[0] for p in kept), tuple(p[1] for p in kept), beaten, mark))
    return curves


def bd_tables(records: Sequence[Record], key: str) -> list[Table]:
    """Compare the curves of records, each with each.

    Args:
        records: Records of any protocols and data.
        key: Key of the figure.

    Returns:
        A table for every protocol and data set that has two curves.

    Raises:
        TokbenchError: If no record has the figure, neither of its directions is better, or nowhere are two curves.
    """
    known = {column.key: column for column in metric_columns(records)}
    if key not in known:
        raise unknown_name("figure", key, list(known), hint="--bd-rate takes a figure of these records.")
    column = known[key]
    if column.higher_is_better is None:
        raise TokbenchError(f"neither more nor less of {key} is better, so that no bits are saved at equal {key}; choose another figure")
    tables = []
    for section in make_sections(records):
        members = [records[i] for i in section.members]
        curves = curves_of(members, section.names, key)
        if len(curves) >= 2:
            tables.append(_table(section.title, column, curves, training_notes(members, [key])))
    if not tables:
        raise TokbenchError(
            f"these records hold no two curves of {key} over bits, of at least {FEWEST} points each; measure each family at several rates, "
            "such as -t anchor/webp-640 -t anchor/webp-1280, or one tokenizer with --lengths"
        )
    return tables


def _table(title: str, column: Column, curves: Sequence[Curve], notes: Sequence[str]) -> Table:
    columns = (
        Column("points", "points"),
        Column("bits from", "bits_low"),
        Column("bits to", "bits_high"),
        *(Column(f"against {visible(curve.name)} %", f"bd_rate:{curve.name}", 1, 100.0) for curve in curves),
    )
    log = _is_log(column)
    rows = []
    for curve in curves:
        found = [
            None if curve is other else bd_rate(curve, other, higher_is_better=bool(column.higher_is_better), log=log) for other in curves
        ]
        cells = [
            Cell("-") if value is None else Cell(own.write(value), value, mark="".join(dict.fromkeys(curve.mark + other.mark)))
            for own, value, other in zip(columns[3:], found, curves, strict=True)
        ]
        ends = (float(len(curve.bits)), curve.bits[0], curve.bits[-1])
        rows.append((curve.name, (*(Cell(own.write(end), end) for own, end in zip(columns[:3], ends, strict=True)), *cells)))
    beaten = [f"left out, as fewer bits reach as much: {', '.join(curve.beaten)}" for curve in curves if curve.beaten]
    return Table(f"BD-rate of {column.title}: {title}", columns, tuple(rows), (NOTE, CURVES_NOTE, *beaten, *notes), "curve")


def _is_log(column: Column) -> bool:
    return column.info is not None and column.info.axis == "log"


def _several(records: Sequence[Record]) -> set[str]:
    """Names of tokenizers that were measured at several rates."""
    rates: dict[str, set[float]] = {}
    for record in records:
        if record.tokens.bits_per_image is not None:
            rates.setdefault(record.tokenizer.name, set()).add(record.tokens.bits_per_image)
    return {name for name, found in rates.items() if len(found) > 1}


def _curve_name(record: Record, several: set[str]) -> str:
    name = record.tokenizer.name
    if record.tokenizer.codec is not None:
        return f"anchor/{record.tokenizer.codec}"
    return name if name in several else name.partition("/")[0]


def _places(figures: Sequence[float], higher_is_better: bool, log: bool) -> np.ndarray:
    """Figures on the scale that is averaged over, ascending."""
    scaled = np.log(figures) if log else np.asarray(figures, dtype=np.float64)
    return scaled if higher_is_better else -scaled


def _mean_difference(x1: np.ndarray, y1: np.ndarray, x2: np.ndarray, y2: np.ndarray) -> float | None:
    """Mean of the first curve minus the second over the places both have; ``x`` ascends."""
    from scipy.interpolate import PchipInterpolator

    low, high = max(x1[0], x2[0]), min(x1[-1], x2[-1])
    if not low < high:
        return None
    one, other = (float(PchipInterpolator(x, y).integrate(low, high)) for x, y in ((x1, y1), (x2, y2)))
    return (one - other) / float(high - low)
