"""Records of predictions to tables: the figures, what each study took, and what wrong tokens do; no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tokbench.escapes import visible
from tokbench.records.intervals import Interval
from tokbench.records.naming import subject_label
from tokbench.records.prediction_figures import PREDICTION_FIGURES
from tokbench.records.prediction_record import PredictionRecord, SensitivityPoint
from tokbench.records.record import TokenizerInfo
from tokbench.report.sections import told_apart
from tokbench.report.subjects import names_of, one_by_names
from tokbench.report.table import Cell, Column, Table, column_of
from tokbench.report.training import JUDGE_NOTE, UNKNOWN_NOTE, judge_mark, trained_mark, trained_notes
from tokbench.report.words import counted

STAND_INS = {"interpolation_kd": "interpolation_fd", "sensitivity_kd": "sensitivity_fd"}
"""Kernel distances, which are unbiased at any number of images, and the Fréchet distances of the same."""
SECONDS = Column("seconds", "seconds", 1)


def prediction_tables(records: Sequence[PredictionRecord], *, intervals: bool = False) -> list[Table]:
    """Arrange records.

    Args:
        records: In the order rows shall have.
        intervals: Write 95 % intervals beside the figures that have one.

    Returns:
        For every protocol, settings and data set: the figures that lead with all seconds, the seconds by study, and the curve of
        sensitivity where one was measured.
    """
    return [table for names, section in prediction_sections(records) for table in _section(names, section, intervals)]


def prediction_sections(records: Sequence[PredictionRecord]) -> list[tuple[list[str], list[PredictionRecord]]]:
    """Put records together that compare, with the names of their rows."""
    sections: dict[tuple[object, ...], list[PredictionRecord]] = {}
    for record in records:
        sections.setdefault((record.protocol.figures_from, record.prediction, record.data.pixels_digest), []).append(record)
    return [(_names([record.tokenizer for record in section]), section) for section in sections.values()]


def _names(infos: Sequence[TokenizerInfo]) -> list[str]:
    """Tokenizers with what is set otherwise; those that this leaves alike by the digests that tell them apart."""
    labels = [visible(subject_label(info)) for info in infos]
    whole = [name if labels.count(label) > 1 else label for label, name in zip(labels, names_of(infos), strict=True)]
    return told_apart(whole)


def _section(names: Sequence[str], records: Sequence[PredictionRecord], intervals: bool) -> list[Table]:
    tables = [_figures(names, records, intervals), _seconds(names, records)]
    return tables + [_curve(names, records, intervals)] * any(record.sensitivity for record in records)


def _figures(names: Sequence[str], records: Sequence[PredictionRecord], intervals: bool) -> Table:
    first = records[0]
    columns = tuple(column for column in _columns(records) if any(_measured(record, column.key) for record in records))
    data = f"{counted(first.data.count, 'image')} of {first.data.name} ({counted(first.data.groups, 'group')}, data {first.data.pixels_digest[:8]})"
    title = f"what may tell of generation, {first.prediction.label} v{first.prediction.version} on {first.protocol.label}: {data}"
    rows = []
    for name, record in zip(names, records, strict=True):
        cells = [_cell(record, column, intervals) for column in columns]
        rows.append((name, (*cells, _number(SECONDS, sum(record.seconds.values())))))
    notes = (
        "no figure here was measured on a model that generates; which of them say how well one does is for a study of such models to say",
        "seconds: on the machine of each record, all studies together, images read and encoded once",
        *_trained(names, records, [column.key for column in columns]),
        *one_by_names([record.tokenizer for record in records]),
        *_reasons(names, records),
    )
    return Table(visible(title), (*columns, SECONDS), tuple(rows), notes)


def _columns(records: Sequence[PredictionRecord]) -> Iterator[Column]:
    """The figures that lead, and the kernel distances of those whose images are too few for a Fréchet distance."""
    for info in PREDICTION_FIGURES:
        lacking = info.key in STAND_INS and not all(_measured(record, STAND_INS[info.key]) for record in records)
        if info.leading or lacking:
            yield column_of(info)


def _seconds(names: Sequence[str], records: Sequence[PredictionRecord]) -> Table:
    parts = list(dict.fromkeys(name for record in records for name in record.seconds))
    columns = tuple(Column(visible(part), f"seconds_{visible(part).replace(' ', '_')}", 1) for part in parts)
    rows = []
    for name, record in zip(names, records, strict=True):
        given = [record.seconds.get(part) for part in parts]
        cells = [Cell("-") if value is None else _number(column, value) for column, value in zip(columns, given, strict=True)]
        rows.append((name, tuple(cells)))
    machines = sorted({f"{record.device}, {counted(record.threads, 'thread')}, {record.environment.processor}" for record in records})
    notes = (f"measured on {'; '.join(map(visible, machines))}", "what several studies need is counted apart")
    return Table("seconds by study", columns, tuple(rows), notes)


def _curve(names: Sequence[str], records: Sequence[PredictionRecord], intervals: bool) -> Table:
    shares = sorted({point.probability for record in records for point in record.sensitivity})
    judged = [key for key in ("psnr", "fd") if any(getattr(point, key) is not None for record in records for point in record.sensitivity)]
    heads = {"psnr": ("PSNR dB", 2), "fd": ("FD", 1)}
    columns = tuple(
        Column(f"{heads[key][0]} at {share:g}", f"{key}_at_{share:g}", heads[key][1], ranged=intervals)
        for key in judged
        for share in shares
    )
    rows = []
    for name, record in zip(names, records, strict=True):
        at = {point.probability: point for point in record.sensitivity}
        places = [(key, at.get(share)) for key in judged for share in shares]
        cells = (_point(column, key, point, intervals) for column, (key, point) in zip(columns, places, strict=True))
        rows.append((name, tuple(_marked(record, cell) for cell in cells)))
    notes = (
        "at 0 the tokens are as they were encoded; else with this probability a code is replaced by one of its nearest, or a sign is flipped",
        "latents get noise of so many standard deviations instead",
        "FD: Fréchet distance to the images on EfficientNet-Lite0, only comparable at equal N",
        *_trained(names, records),
    )
    return Table("what is decoded when tokens are wrong, by probability", columns, tuple(rows), notes)


def _point(column: Column, key: str, point: SensitivityPoint | None, intervals: bool) -> Cell:
    value = None if point is None else getattr(point, key)
    return Cell("-") if value is None else _ranged(column, value, getattr(point, f"{key}_interval") if intervals else None)


def _measured(record: PredictionRecord, key: str) -> bool:
    return key in record.figures and record.figures[key].measured


def _cell(record: PredictionRecord, column: Column, intervals: bool) -> Cell:
    figure = record.figures.get(column.key)
    if figure is None or figure.value is None:
        return Cell("-")
    cell = _ranged(column, figure.value, figure.interval if intervals else None)
    return _marked(record, cell, figure.judged_by_training_network)


def _marked(record: PredictionRecord, cell: Cell, judged: bool | None = False) -> Cell:
    """A figure with the marks of its tokenizer's training."""
    return cell if cell.value is None else replace(cell, mark=judge_mark(judged) + trained_mark(record.trained_on))


def _trained(names: Sequence[str], records: Sequence[PredictionRecord], keys: Sequence[str] = ()) -> list[str]:
    """What the marks mean, and of whom; nothing where nobody has them.

    Args:
        names: Names of the rows.
        records: What they are of.
        keys: Keys of the figures that are shown.
    """
    judged = [record.figures[key].judged_by_training_network for record in records for key in keys if _measured(record, key)]
    notes = [JUDGE_NOTE] * any(judged) + [UNKNOWN_NOTE] * (None in judged)
    return notes + trained_notes(names, [record.trained_on for record in records])


def _ranged(column: Column, value: float, interval: Interval | None) -> Cell:
    ends = None if interval is None else interval.ends()
    written = None if ends is None else (column.write(ends[0]), column.write(ends[1]))
    return Cell(column.write(value), value, ends=written, interval=ends)


def _number(column: Column, value: float) -> Cell:
    return Cell(column.write(value), value)


def _reasons(names: Sequence[str], records: Sequence[PredictionRecord]) -> list[str]:
    """Why figures are not there, each reason once with the tokenizers and figures it holds for."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for name, record in zip(names, records, strict=True):
        for info in PREDICTION_FIGURES:
            figure = record.figures.get(info.key)
            if figure is not None and figure.reason is not None:
                reasons.setdefault(figure.reason, {}).setdefault(info.title, []).append(name)
    return [
        visible(f"{', '.join(titles)}: {reason} ({', '.join(dict.fromkeys(name for found in titles.values() for name in found))})")
        for reason, titles in reasons.items()
    ]
