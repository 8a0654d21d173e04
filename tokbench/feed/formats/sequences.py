"""Rows of an export as sequences of ids: which vocabulary numbers them, what text stands before an image, and where the loss falls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tokbench.counting import counted
from tokbench.errors import TokbenchError
from tokbench.feed.formats.options import FormatOptions
from tokbench.feed.formats.rows import ExportRows, RowGroup
from tokbench.feed.job import ExportJob, TokenizerIdentity
from tokbench.feed.sequence import build
from tokbench.feed.text import ByteText
from tokbench.feed.vocabulary import Vocabulary
from tokbench.tokens import DiscreteTokens


@dataclass(frozen=True)
class RowSequence:
    """One row as a sequence.

    Args:
        ids: int64 ``[T]``.
        loss: Which of them carry loss, bool ``[T]``.
    """

    ids: np.ndarray
    loss: np.ndarray


def vocabulary_for(job: ExportJob, options: FormatOptions) -> Vocabulary:
    """Choose the vocabulary of an export's sequences.

    Args:
        job: What was exported.
        options: May name one.

    Raises:
        TokbenchError: If the tokens are latents, or the vocabulary is not of the export's tokenizer, or of parallel streams.
    """
    if options.vocabulary is None:
        return Vocabulary.over(options.text or ByteText(), job.layout, job.tokenizer)
    vocabulary = options.vocabulary
    if vocabulary.parallel:
        raise TokbenchError("the vocabulary is of parallel streams, and rows of ids are one stream; give one of arrangement flat")
    if vocabulary.codebook_sizes != job.layout.codebook_sizes or vocabulary.grid_axes != len(job.layout.grid):
        raise TokbenchError(
            f"the vocabulary has codebooks {vocabulary.codebook_sizes} on grids of {vocabulary.grid_axes} axes, the export "
            f"{job.layout.codebook_sizes} on {len(job.layout.grid)}; give the vocabulary of {job.tokenizer.name}"
        )
    if different := _differing(vocabulary.image_tokenizer, job.tokenizer):
        raise TokbenchError(f"the vocabulary numbers the codes of another tokenizer: {different}; give the one of the export")
    return vocabulary


def _differing(there: TokenizerIdentity, here: TokenizerIdentity) -> str:
    """Name what differs between two identities, as far as both know it; a vocabulary may stand for a tokenizer whatever its weights."""
    for field in ("name", "state_sha256", "weights_sha256", "source_sha256"):
        old, new = getattr(there, field), getattr(here, field)
        if old is not None and new is not None and old != new:
            return f"its {field} is {old[:40]} there and {new[:40]} here"
    return "" if there.config == here.config else f"{here.name} has another configuration there"


def condition_for(job: ExportJob, options: FormatOptions) -> str:
    """Choose the text before an image: ``caption``, ``label`` or ``none``.

    Raises:
        TokbenchError: If the export has no such text.
    """
    offered = [name for name, there in (("caption", job.captions), ("label", job.labels != "none")) if there]
    if options.condition == "auto":
        return next(iter(offered), "none")
    if options.condition != "none" and options.condition not in offered:
        raise TokbenchError(
            f"the export of {job.data.name} has no {options.condition}s to stand before its images; choose another --condition"
        )
    return options.condition


class SequenceRows:
    """The rows of an export as sequences, in their order.

    Args:
        rows: Rows of codes.
        vocabulary: Numbers them.
        options: Text and loss.

    Attributes:
        without_text: Rows so far that have no text, though the export has.
    """

    def __init__(self, rows: ExportRows, vocabulary: Vocabulary, options: FormatOptions) -> None:
        self.rows, self.vocabulary, self.loss = rows, vocabulary, options.loss
        self.condition, self._auto = condition_for(rows.job, options), options.condition == "auto"
        self.without_text = 0

    def __iter__(self) -> Iterator[list[RowSequence]]:
        """Build all, a row group at a time.

        Raises:
            TokbenchError: If a shard is damaged, or a text cannot be written.
        """
        yield from map(self._group, self.rows)

    def shard(self, number: int) -> Iterator[list[RowSequence]]:
        """Build those of one shard."""
        yield from map(self._group, self.rows.shard(number))

    def notes(self) -> list[str]:
        """What users should know once all are built: which text stands before the images, and how many have none."""
        if self.condition == "none":
            return [f"the export of {self.rows.job.data.name} has neither captions nor labels: sequences are images alone"] * self._auto
        if not self.without_text:
            return []
        return [
            f"{self.without_text} of {counted(self.rows.summary.count, 'row')} have no {self.condition}; their sequences are images alone"
        ]

    def _group(self, group: RowGroup) -> list[RowSequence]:
        assert isinstance(group.tokens, DiscreteTokens)
        images, special = self._images(group.tokens), self.vocabulary.special
        sequences = []
        for row, image in enumerate(images):
            before = [special.bos, *self._text_ids(group, row)]
            ids = np.concatenate([before, image, [special.eos]])
            loss = np.ones(len(ids), np.bool_)
            loss[: len(before) if self.loss == "image" else 0] = False
            sequences.append(RowSequence(ids, loss))
        return sequences

    def _images(self, tokens: DiscreteTokens) -> np.ndarray:
        """From BOI to EOI, ``[n, T]``: the first image as ``build`` writes it, and the codes of each in the places of its own."""
        form = build([tokens[0]], self.vocabulary, bos=False, eos=False).ids
        images = form.repeat(len(tokens), 1)
        images[:, self.vocabulary.locate(form)[0] >= 0] = self.vocabulary.to_ids(tokens.codes)
        return images.numpy()

    def _text_ids(self, group: RowGroup, row: int) -> list[int]:
        text = self._text(group, row)
        if not text:
            self.without_text += 1
            return []
        try:
            return self.vocabulary.text.encode(text)
        except TokbenchError as error:
            raise TokbenchError(f"the {self.condition} of {group.ids[row]}: {error}") from error

    def _text(self, group: RowGroup, row: int) -> str:
        if self.condition == "caption":
            return group.captions[row] or ""
        label = group.labels[row]
        if self.condition == "none" or label is None:
            return ""
        names = self.rows.job.label_names
        if names and not 0 <= label < len(names):
            raise TokbenchError(f"{group.ids[row]} has the label {label}, and there are {len(names)} names; verify the export")
        return names[label] if names else str(label)
