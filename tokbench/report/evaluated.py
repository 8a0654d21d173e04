"""Records of language models put together that compare: one row a model, its figures on every split side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tokbench.escapes import visible
from tokbench.image_size import Size, size_text
from tokbench.records.lm_record import LanguageModelRecord
from tokbench.report.lineage import in_order
from tokbench.report.sections import told_apart
from tokbench.report.words import counted

SPLITS = ("test", "held-out", "train")
"""The order of splits; others follow."""


@dataclass
class ModelRow:
    """One model.

    Args:
        name: Name of the row.
        places: Split to the place of its record.
    """

    name: str
    places: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelGroup:
    """Models that were asked as many prompts of one seed, at one size.

    Args:
        title: What they were asked.
        splits: Splits of the prompts.
        rows: The models, stages in order.
    """

    title: str
    splits: tuple[str, ...]
    rows: tuple[ModelRow, ...]

    def places(self, split: str) -> list[int]:
        """Places of the records of a split, in the order of the rows."""
        return [row.places[split] for row in self.rows if split in row.places]


def model_groups(records: Sequence[LanguageModelRecord]) -> list[ModelGroup]:
    """Put records together.

    Args:
        records: In any order. A model that was evaluated twice alike has two rows.

    Returns:
        The groups in the order of their first records.
    """
    groups: dict[tuple[str, int, Size, int, str | None], list[int]] = {}
    for place in in_order(records):
        protocol = records[place].protocol
        groups.setdefault((protocol.data, protocol.prompts, protocol.size, protocol.seed, protocol.data_sha256), []).append(place)
    ordered = sorted(groups.items(), key=lambda item: min(item[1]))
    return [_group(records, places) for _, places in ordered]


def _group(records: Sequence[LanguageModelRecord], places: Sequence[int]) -> ModelGroup:
    rows: dict[tuple[str, int], ModelRow] = {}
    for place in places:
        record = records[place]
        number, split = 0, record.protocol.split
        while split in rows.setdefault((_identity(record), number), ModelRow("")).places:
            number += 1
        rows[_identity(record), number].places[split] = place
    found = list(rows.values())
    names = row_names([records[next(iter(row.places.values()))] for row in found])
    splits = dict.fromkeys(split for row in found for split in row.places)
    protocol = records[places[0]].protocol
    title = visible(f"{counted(protocol.prompts, 'prompt')} of {protocol.data} at {size_text(protocol.size)} px, seed {protocol.seed}")
    return ModelGroup(
        title,
        tuple(sorted(splits, key=lambda split: SPLITS.index(split) if split in SPLITS else len(SPLITS))),
        tuple(ModelRow(name, row.places) for name, row in zip(names, found, strict=True)),
    )


def row_names(records: Sequence[LanguageModelRecord]) -> list[str]:
    """Names of models; of one name, the start of the digest of their weights follows, or how they were sampled, or a number."""
    names = [record.model.name for record in records]
    for tell in (_weights, sampling_words):
        names = [f"{name} {tell(record)}".strip() if names.count(name) > 1 else name for name, record in zip(names, records, strict=True)]
    return told_apart([visible(" ".join(name.split())) or "(no name)" for name in names])


def sampling_words(record: LanguageModelRecord) -> str:
    """How its images were sampled: the temperature, and what else is not usual."""
    usual = {"temperature": None, "top_k": None, "top_p": 1.0, "guidance": 1.0, "edit_temperature": None, "edit_guidance": None}
    told = record.protocol.sampling
    parts = [f"{key.replace('_', '-')} {_short(told[key])}" for key, value in usual.items() if told.get(key) not in (None, value)]
    return visible(", ".join(parts))


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)[:40]


def _weights(record: LanguageModelRecord) -> str:
    return (record.model.state_sha256 or "")[:8]


def _identity(record: LanguageModelRecord) -> str:
    sampling = {key: value for key, value in record.protocol.sampling.items() if key != "batch_size"}
    return f"{record.tokenizer.name} {record.model.name} {record.model.state_sha256} {record.protocol.precision} {sampling!r}"
