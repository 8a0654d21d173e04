"""Published figures beside measured ones where the protocols match, and apart from them where they do not; no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields

from tokbench.configs import plain
from tokbench.errors import TokbenchError
from tokbench.records.figures import BY_KEY
from tokbench.records.protocol import Protocol
from tokbench.records.record import Record
from tokbench.records.store import Rows
from tokbench.report.table import Cell, Column, Table, column_of, make_sections
from tokbench.report.training import marks_of, training_notes
from tokbench.tokenizers.family import Variant
from tokbench.tokenizers.published import DATA_SETS, PublishedFigure, published_figures
from tokbench.tokenizers.zoo import families, names, resolve

BESIDE, APART = "measured beside published, under protocols that match", "published under another protocol: do not compare"

SETTINGS = {
    "psnr": ("pixels", "psnr_"),
    "ssim": ("pixels", "ssim_"),
    "ms_ssim": ("pixels",),
    "lpips": ("lpips_",),
    "lpips_vgg": ("lpips_",),
    "rfid": ("fid_",),
}
"""How the names of settings begin by which figures are taken."""

_IDS = {"imagenet-val": re.compile(r"(?:.*/)?ILSVRC2012_val_\d{8}\.\w+"), "coco-val2017": re.compile(r"(?:.*/)?\d{12}\.\w+")}
_NAMES = {"imagenet-val": re.compile(r"(imagenet|ilsvrc).*val", re.IGNORECASE), "coco-val2017": re.compile(r"coco.*val", re.IGNORECASE)}
_TEXT = {key: Column(key, key, align="left") for key in ("metric", "protocol", "source")}


def published_tables(records: Sequence[Record], rows: Sequence[Rows] | None = None) -> list[Table]:
    """Look up what others published for the tokenizers of records.

    Args:
        records: In the order rows shall have.
        rows: The per-image values of each; image ids tell which data set it was where its name does not.

    Returns:
        A table of figures whose protocol matches, with the differences, and one of all others, with what keeps them apart;
        empty ones are left out.

    Raises:
        ValueError: If records and rows are not equally many.
    """
    if rows is not None and len(rows) != len(records):
        raise ValueError(f"{len(records)} records with {len(rows)} sets of rows")
    (section,) = make_sections(records, mix=True) if records else (None,)
    beside: dict[tuple[str, PublishedFigure], tuple[Cell, ...]] = {}
    apart: dict[tuple[str, PublishedFigure], tuple[Cell, ...]] = {}
    for i, record in enumerate(records):
        variant = variant_of(record)
        if section is None or variant is None:
            continue
        ids = [] if rows is None else sorted({name for column in rows[i].values() for name in column})
        for figure in published_figures(variant.published):
            why = keeps_apart(record, variant, figure, ids)
            if why is None:
                beside[section.names[i], figure] = _beside(record, figure)
            else:
                apart.setdefault((record.tokenizer.name, figure), _apart(figure, why))
    differences = [Column(title, title) for title in ("measured", "published", "difference")]
    measured = [record for i, record in enumerate(records) if section is not None and any(section.names[i] == name for name, _ in beside)]
    notes = training_notes(measured, [figure.metric for _, figure in beside])
    tables = [
        _table(BESIDE, [_TEXT["metric"], *differences, _TEXT["protocol"], _TEXT["source"]], beside, notes),
        _table(
            APART,
            [_TEXT["metric"], Column("published", "published"), _TEXT["protocol"], Column("why", "why", align="left"), _TEXT["source"]],
            apart,
        ),
    ]
    return [table for table in tables if table.rows]


def keeps_apart(record: Record, variant: Variant, figure: PublishedFigure, ids: Iterable[str] = ()) -> str | None:
    """Say why a published figure and a record's do not compare.

    They compare only where everything known agrees: the variant as published, the whole data set, the size, the metric, and
    no known deviation of its computation. Filters and crops are rarely stated, so even then the last digits may differ.

    Args:
        record: What was measured.
        variant: Its tokenizer's row of the zoo.
        figure: What was published.
        ids: Ids of the images measured, if known.

    Returns:
        The first reason; None if there is none.
    """
    return next(reasons_apart(record, variant, figure, ids), None)


def reasons_apart(record: Record, variant: Variant, figure: PublishedFigure, ids: Iterable[str] = ()) -> Iterator[str]:
    """Give all that is known to keep a published figure and a record's from comparing; see ``keeps_apart``.

    Yields:
        Reasons, one after another.
    """
    protocol, metric = record.protocol, record.metrics.get(figure.metric)
    if figure.differs is not None:
        yield figure.differs
    if figure.data is None or figure.size is None:
        yield "another data set, reference or size, or not stated"
    if record.tokenizer.config != plain(variant.config):
        yield "the record is of another configuration"
    if figure.data is not None and _data_set(record, list(ids)) != figure.data:
        yield f"the record is of {record.data.name}, N={record.data.count}"
    if figure.size is not None and protocol.size != figure.size:
        yield f"the record is at {protocol.size_text} px"
    if (protocol.uint8, protocol.precision) != ("round", "fp32"):
        yield f"the record is with uint8={protocol.uint8}, precision={protocol.precision}"
    for other in _judged_otherwise(record, figure.metric):
        yield f"the record is with {other}"
    if metric is None or metric.value is None:
        yield "not measured" if metric is None or metric.reason is None else f"not measured: {metric.reason}"


def _judged_otherwise(record: Record, metric: str) -> Iterator[str]:
    """The settings of a record's protocol by which a figure is taken otherwise than by default."""
    wanted = ("originals", "judged_size", *SETTINGS.get(metric, ()))
    for field in fields(Protocol):
        value = getattr(record.protocol, field.name)
        if field.name.startswith(wanted) and field.name != "lpips_nets" and value != field.default:
            yield f"{field.name}={value}"


def variant_of(record: Record) -> Variant | None:
    """The row of the zoo that a record's tokenizer is named after; None if there is none."""
    name = record.tokenizer.name  # of strangers: not to be looked for among files, as a name on the command line is
    if name not in {*names(), *families()}:
        return None
    try:
        return resolve(name)[1]
    except TokbenchError:
        return None


def _data_set(record: Record, ids: list[str]) -> str | None:
    """Which whole data set a record is of, by its images' ids or, without them, its name; and by their number."""
    data = record.data
    for key, count in DATA_SETS.items():
        known = all(map(_IDS[key].fullmatch, ids)) and len(ids) == count if ids else _NAMES[key].search(data.name)
        if known and data.count == data.requested == count:
            return key
    return None


def _beside(record: Record, figure: PublishedFigure) -> tuple[Cell, ...]:
    value, column = record.metrics[figure.metric].value, column_of(BY_KEY[figure.metric])
    assert value is not None
    change = value - figure.value
    sign = "+" if change > 0 else ""
    return (
        Cell(column.title),
        Cell(column.write(value), value, mark=marks_of(record, record.metrics[figure.metric])),
        Cell(f"{figure.value:g}", figure.value),
        Cell(sign + column.write(change), change),
        Cell(figure.protocol),
        Cell(_source(figure)),
    )


def _apart(figure: PublishedFigure, why: str) -> tuple[Cell, ...]:
    info = BY_KEY.get(figure.metric)
    title = figure.metric.upper() if info is None else info.heading
    texts = [Cell(text) for text in (figure.protocol, why, _source(figure))]
    return Cell(title), Cell(f"{figure.value:g}", figure.value), *texts


def _source(figure: PublishedFigure) -> str:
    return figure.source if figure.verified else f"{figure.source} (second hand)"


def _table(
    title: str, columns: Sequence[Column], found: dict[tuple[str, PublishedFigure], tuple[Cell, ...]], notes: Sequence[str] = ()
) -> Table:
    return Table(title, tuple(columns), tuple((name, cells) for (name, _), cells in found.items()), tuple(notes))
