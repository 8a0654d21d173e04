"""What tables say of trainings: who was trained with the network that judges, on the images measured, or with what nobody knows; no torch."""

from __future__ import annotations

from collections.abc import Sequence

from tokbench.escapes import visible
from tokbench.records.record import MetricResult, Record
from tokbench.report.words import counted

JUDGE_MARK = "†"
JUDGE_NOTE = f"{JUDGE_MARK} the tokenizer was trained with the network that judges here"
UNKNOWN_MARK = "?"
UNKNOWN_NOTE = f"{UNKNOWN_MARK} what the tokenizer was trained with is not known; the network that judges here may be among it"
TRAINED_MARK = "§"
TRAINED_NOTE = f"{TRAINED_MARK} measured on images that the tokenizer was trained on"

MARK_NOTES = {JUDGE_MARK: JUDGE_NOTE, UNKNOWN_MARK: UNKNOWN_NOTE, TRAINED_MARK: TRAINED_NOTE}
"""Marks, and what is said of each where it is not said of whom."""

MARK_WORDS = {
    JUDGE_MARK: "trained with the network that judges",
    UNKNOWN_MARK: "not known whether trained with the network that judges",
    TRAINED_MARK: "trained on the images measured",
}
"""The same for machines, which have a field of words for marks."""

UNKNOWN = "unknown"
"""What records say of trainings of which not all is known."""

NAMED = 5
"""Tokenizers that a note names."""


def judge_mark(judged: bool | None) -> str:
    """The mark of a figure, by whether the tokenizer was trained with the network that judges; None is not known."""
    return UNKNOWN_MARK if judged is None else JUDGE_MARK * judged


def trained_mark(trained_on: bool | None) -> str:
    """The mark of a figure, by whether the tokenizer was trained on the images measured; None is not known, and has none."""
    return TRAINED_MARK * bool(trained_on)


def mark_words(marks: str) -> str:
    """Marks in words."""
    return "; ".join(MARK_WORDS[mark] for mark in marks)


def marks_of(record: Record, metric: MetricResult | None) -> str:
    """What follows a figure of a record for the sake of the tokenizer's training."""
    if metric is None or not metric.measured:
        return ""
    return judge_mark(metric.judged_by_training_network) + trained_mark(record.trained_on)


def training_notes(records: Sequence[Record], keys: Sequence[str] | None) -> list[str]:
    """What there is to say of trainings below a table.

    Args:
        records: Records of the table.
        keys: Keys of the metrics that it shows; None means all.
    """
    judged = [
        metric.judged_by_training_network
        for record in records
        for key, metric in record.metrics.items()
        if metric.measured and (keys is None or key in keys)
    ]
    notes = [JUDGE_NOTE] if any(judged) else []
    if None in judged:
        notes.append(UNKNOWN_NOTE)
    notes += trained_notes([record.tokenizer.name for record in records], [record.trained_on for record in records])
    unsaid = [record.tokenizer.name for record in records if record.trained_on is None and UNKNOWN in record.tokenizer.trained_with]
    if unsaid:
        notes.append(f"not known whether trained on these images: {_names(unsaid)}")
    return notes


def trained_notes(names: Sequence[str], trained_on: Sequence[bool | None]) -> list[str]:
    """What ``TRAINED_MARK`` means, and of whom; nothing where nobody has it.

    Args:
        names: Names of the rows.
        trained_on: Whether the tokenizer of each was trained on the images measured.
    """
    trained = [name for name, own in zip(names, trained_on, strict=True) if own]
    return [f"{TRAINED_NOTE}: {_names(trained)}"] * bool(trained)


def _names(names: Sequence[str]) -> str:
    names = list(dict.fromkeys(map(visible, names)))
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {counted(more, 'other')}" if more > 0 else "")
