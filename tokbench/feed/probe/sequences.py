"""Exported tokens as the sequences a probe reads: an optional text, then the image in Emu3's form, all padded to one length."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Int64
from torch import Tensor

from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed.dataset import TokenDataset
from tokbench.feed.label_rules import Annotations, LabelRule
from tokbench.feed.loss import loss_mask
from tokbench.feed.sequence import build
from tokbench.feed.text import ByteText
from tokbench.feed.vocabulary import Vocabulary
from tokbench.tokens import DiscreteTokens

Condition = Literal["caption", "label", "none"]

CONDITION_BYTES = 128
"""Texts before an image are cut to this many bytes."""

DIGITS = 10
"""Most digits of a label without a name."""


@dataclass(frozen=True)
class SequenceBatch:
    """Sequences of one length.

    Args:
        ids: Padded on the right.
        where: Steps of the codes of every sequence, as many as an image has.
    """

    ids: Int64[Tensor, "b t"]
    where: Int64[Tensor, "b n"]

    def to(self, device: torch.device) -> SequenceBatch:
        """Move both."""
        return SequenceBatch(self.ids.to(device), self.where.to(device))


class Sequences:
    """Rows of an export as sequences.

    Args:
        dataset: Dataset of codes.
        vocabulary: Made by ``probe_vocabulary``.
        condition: What text stands before the images.

    Raises:
        TokbenchError: If the data set has no such text.
    """

    def __init__(self, dataset: TokenDataset, vocabulary: Vocabulary, condition: Condition) -> None:
        if condition != "none" and condition not in _offered(dataset):
            raise _without(dataset.job.data.name, condition)
        self.dataset, self.vocabulary, self.condition = dataset, vocabulary, condition
        layout = dataset.job.layout
        blank = DiscreteTokens(
            torch.zeros(1, layout.positions, vocabulary.codebooks, dtype=torch.int64), layout.grid, layout.codebook_sizes
        )
        self.codes_per_image = layout.tokens_per_image
        self.length = len(build([blank], vocabulary)) + self._longest_text()

    def __len__(self) -> int:
        return len(self.dataset)

    def text(self, row: int) -> str:
        """What stands before one image; empty where there is nothing."""
        return self._text(self.dataset[row])

    def batch(self, rows: Iterable[int]) -> SequenceBatch:
        """Build sequences.

        Args:
            rows: Rows of the data set.
        """
        return self.batch_of([self.dataset[row] for row in rows])

    def batch_of(self, items: Sequence[dict[str, Any]]) -> SequenceBatch:
        """Build the sequences of items of the data set."""
        ids = torch.full((len(items), self.length), self.vocabulary.special.pad)
        where = torch.empty((len(items), self.codes_per_image), dtype=torch.int64)
        for row, item in enumerate(items):
            image = DiscreteTokens(item["codes"][None], self.dataset.grid, self.dataset.codebook_sizes)
            text = self._text(item)
            sequence = build([text, image] if text else [image], self.vocabulary)
            ids[row, : len(sequence)] = sequence.ids
            where[row] = loss_mask(sequence, self.vocabulary, only="vision").nonzero()[:, 0]
        return SequenceBatch(ids, where)

    def _text(self, item: dict[str, Any]) -> str:
        text = ""
        if self.condition == "caption":
            text = item["caption"]
        elif self.condition == "label" and item["label"] >= 0:
            names = self.dataset.label_names
            text = names[item["label"]] if names else str(item["label"])
        return _cut(text)

    def _longest_text(self) -> int:
        if self.condition == "label":
            return max((len(_cut(name).encode()) for name in self.dataset.label_names), default=DIGITS)
        return CONDITION_BYTES if self.condition == "caption" else 0


def probe_vocabulary(dataset: TokenDataset) -> Vocabulary:
    """Number the codes of an export behind 256 bytes of text and 8 special ids.

    Raises:
        TokbenchError: If they are latents.
    """
    return Vocabulary.over(ByteText(), dataset.job.layout, dataset.job.tokenizer)


def choose_condition(wanted: Literal["auto", "caption", "label", "none"], *datasets: TokenDataset) -> Condition:
    """Choose what stands before the images.

    Args:
        wanted: ``auto`` takes captions if all data sets have them, else labels if all have them, else nothing.
        datasets: All that the probe will read.
    """
    if wanted != "auto":
        return wanted
    offers: tuple[Condition, ...] = ("caption", "label")
    return next((offer for offer in offers if all(offer in _offered(dataset) for dataset in datasets)), "none")


def check_condition(wanted: Literal["auto", "caption", "label", "none"], source: ImageSource, rule: LabelRule) -> None:
    """Refuse a condition that images do not offer, before any of them is encoded.

    Args:
        wanted: As for ``choose_condition``.
        source: Images.
        rule: Where labels come from.

    Raises:
        TokbenchError: If they do not offer it, or as ``Annotations``.
    """
    found = Annotations(source, rule)
    if (wanted == "caption" and not found.has_captions) or (wanted == "label" and not found.has_labels):
        raise _without(source.name, wanted)


def _without(name: str, condition: str) -> TokbenchError:
    return TokbenchError(f"{name} has no {condition}s; choose another --condition")


def _offered(dataset: TokenDataset) -> set[str]:
    job = dataset.job
    return {name for name, there in (("caption", job.captions), ("label", job.labels != "none")) if there}


def _cut(text: str) -> str:
    return text.encode()[:CONDITION_BYTES].decode(errors="ignore")
