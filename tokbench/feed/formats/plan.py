"""What a format is, and whether an export can be written in it: asked before an image is encoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tokbench.errors import TokbenchError
from tokbench.feed.formats.options import FormatOptions
from tokbench.feed.formats.rows import ExportRows
from tokbench.feed.formats.sequences import SequenceRows, condition_for, vocabulary_for
from tokbench.feed.job import ExportJob
from tokbench.feed.vocabulary import Vocabulary
from tokbench.image_size import square_side


@dataclass(frozen=True)
class Plan:
    """How one export is written in one format.

    Args:
        format: Which format.
        job: What was exported.
        options: How it is done.
        vocabulary: Meaning of the ids; None for formats without sequences.
        id_type: numpy's name of the type of the ids; empty for formats without sequences.
    """

    format: Format
    job: ExportJob
    options: FormatOptions
    vocabulary: Vocabulary | None
    id_type: str

    @property
    def settings(self) -> dict[str, Any]:
        """What the files depend on beside the export and the vocabulary, as plain JSON values."""
        if self.vocabulary is None:
            return {}
        return {"condition": condition_for(self.job, self.options), "loss": self.options.loss, "id_type": self.id_type}

    @property
    def little(self) -> np.dtype:
        """Type of the ids in files, low byte first on every machine."""
        return np.dtype(self.id_type).newbyteorder("<")


@dataclass(frozen=True)
class Format:
    """A layout of files that a trainer reads.

    Args:
        name: As users write it.
        reader: What reads it.
        takes: What it holds: ``sequences`` of ids, bare ``codes`` of one codebook with labels, or ``latents``.
        write: Writes the rows of an export into a folder.
        id_types: Types it holds ids in, the smallest first.
        small_below: Vocabularies of fewer ids are stored in the smallest type, others in the largest.
        squares: What is square alone, for the error where other images were exported; empty takes any.
    """

    name: str
    reader: str
    takes: Literal["sequences", "codes", "latents"]
    write: Callable[[Plan, ExportRows, Path], list[str]]
    id_types: tuple[str, ...] = ()
    small_below: int = 2**16 + 1
    squares: str = ""

    def plan(self, job: ExportJob, options: FormatOptions) -> Plan:
        """Say how an export is written in this format.

        Raises:
            TokbenchError: If it cannot be: latents where codes are taken, no labels, several codebooks, ids that do not fit, other images
                than squares.
        """
        if self.squares:
            square_side(job.preparation.size, self.squares)
        if (self.takes == "latents") == job.layout.discrete:
            holds, wants = ("codes", "latents") if job.layout.discrete else ("latents", "codes")
            raise TokbenchError(f"{self.name} takes {wants}, and {job.tokenizer.name} makes {holds}; choose another format or tokenizer")
        if self.takes == "latents" and job.views > 2:
            raise TokbenchError(
                f"{self.name} takes an image and its mirror image, and the export has {job.views} views; make one of --views flip"
            )
        if self.takes != "sequences":
            self._check_codes(job)
            return Plan(self, job, options, None, "")
        vocabulary = vocabulary_for(job, options)
        condition_for(job, options)
        return Plan(self, job, options, vocabulary, self._id_type(vocabulary.size, options.id_type))

    def _check_codes(self, job: ExportJob) -> None:
        if self.takes == "codes" and len(job.layout.codebook_sizes) > 1:
            raise TokbenchError(
                f"{self.name} takes one code a position, and {job.tokenizer.name} has {len(job.layout.codebook_sizes)} codebooks; "
                "choose a format of sequences, where they follow each other"
            )
        if self.takes == "codes" and job.labels == "none":
            raise TokbenchError(
                f"{self.name} takes a class for every image, and the export of {job.data.name} has no labels; "
                "sort the images into folders and give --labels folder, or choose a format of sequences"
            )

    def _id_type(self, size: int, asked: str | None) -> str:
        if asked is not None and asked not in self.id_types:
            raise TokbenchError(f"{self.name} holds ids as {' or '.join(self.id_types)}, got {asked}; choose one of these")
        fitting = [name for name in self.id_types if size <= np.iinfo(name).max + 1]
        if not fitting:
            most = np.iinfo(self.id_types[-1]).max + 1
            raise TokbenchError(f"the vocabulary has {size} ids, and {self.name} holds {most}; choose a tokenizer with smaller codebooks")
        if asked is None:
            return fitting[0] if size < self.small_below else fitting[-1]
        if asked not in fitting:
            most = np.iinfo(asked).max + 1
            raise TokbenchError(
                f"the vocabulary has {size} ids, and {asked} holds {most}; leave --id-type out, or choose {' or '.join(fitting)}"
            )
        return asked


def sequences_of(plan: Plan, rows: ExportRows) -> SequenceRows:
    """The rows of an export as sequences.

    Raises:
        ValueError: If the format takes none.
    """
    if plan.vocabulary is None:
        raise ValueError(f"{plan.format.name} takes no sequences")
    return SequenceRows(rows, plan.vocabulary, plan.options)
