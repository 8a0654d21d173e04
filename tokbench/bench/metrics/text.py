"""Text survival: what can still be read off the reconstruction, against the typed text and against what is read off the original."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.base import Figure, PerImageMetric, sum_exactly
from tokbench.bench.observation import Observation, Subject
from tokbench.bench.reader import LineReader, open_reader
from tokbench.data.text import TypedLine, TypedSource
from tokbench.records.figures import figures_of
from tokbench.records.intervals import group_bootstrap

NED, ORIGINAL = "text_ned", "text_accuracy_original"
"""The figures after the first."""


class TextAccuracy(PerImageMetric):
    """Character accuracy against the typed text, case-sensitive, spaces ignored: ``text_accuracy`` of the reconstruction,
    ``text_accuracy_original`` of the original, which is what the network that reads can do at best.

    One minus the edit distance over the number of characters, summed over a picture's lines; the figure is the mean over
    pictures. A line counts no more errors than it has characters.

    ``text_ned`` compares what is read off both instead, so that what the network cannot read costs nothing. It is one minus the edit
    distance over the length of the longer string, both summed over a picture's lines. Where nothing is read off either it is 1.

    Args:
        reader: The network; None if there is nothing to read.
        typed: Lines of each picture, by its id.
    """

    name = "text_accuracy"
    figures = figures_of(name)
    originals: list[Tensor]
    neds: list[Tensor]

    def __init__(self, reader: LineReader | None, typed: dict[str, tuple[TypedLine, ...]]) -> None:
        super().__init__()
        self._reader, self._typed = reader, typed
        self.add_rows("originals")
        self.add_rows("neds")

    @classmethod
    def create(cls, context: MetricContext) -> TextAccuracy:
        """Build it for data with typed text; the network is opened only then."""
        source = context.source
        if not isinstance(source, TypedSource):
            return cls(None, {})
        return cls(open_reader(), {name: source.lines(index) for index, name in enumerate(source.ids)})

    @property
    def settings(self) -> dict[str, Any]:
        """The network and how strings are compared."""
        compared = {"distance": "Levenshtein, case-sensitive, NFKC, without spaces", "averaging": "mean over pictures"}
        return compared if self._reader is None else {**self._reader.settings, **compared}

    def not_applicable(self, subject: Subject) -> str | None:
        """Somebody must have said what is written there."""
        return None if self._typed else "nothing says what is written in these images; --data text does"

    def per_image(self, observation: Observation) -> Tensor:
        """Accuracy of each reconstruction; that of its original, and how alike both are read, is noted beside it."""
        names = observation.ids
        before = [self._read(name, image) for name, image in zip(names, observation.reference.cpu(), strict=True)]
        after = [self._read(name, image) for name, image in zip(names, observation.reconstruction.cpu(), strict=True)]
        self.originals.append(_doubles(self._accuracy(name, lines) for name, lines in zip(names, before, strict=True)))
        self.neds.append(_doubles(map(normalised_similarity, before, after)))
        return _doubles(self._accuracy(name, lines) for name, lines in zip(names, after, strict=True))

    def _read(self, name: str, image: Tensor) -> list[str]:
        """What the network reads at the place of each line of a picture."""
        if self._reader is None:
            raise ValueError("text accuracy needs a source with typed text")
        pixels = image.permute(1, 2, 0).contiguous().numpy()
        return [self._reader.read(pixels[top:bottom, left:right]) for _, (left, top, right, bottom) in self._typed[name]]

    def _accuracy(self, name: str, lines: list[str]) -> float:
        wrong = total = 0
        for (text, _), found in zip(self._typed[name], lines, strict=True):
            wanted = "".join(unicodedata.normalize("NFKC", text).split())
            wrong += min(len(wanted), edit_distance(wanted, found))
            total += len(wanted)
        return 1.0 - wrong / total

    def report(self) -> dict[str, Figure]:
        """Return the three means and their intervals over groups."""
        found = dict(super().report())
        for key, name in ((NED, "neds"), (ORIGINAL, "originals")):
            values, groups = self.in_order(name)
            found[key] = Figure(sum_exactly(values) / len(values), group_bootstrap(values, groups))
        return found

    def rows(self) -> Mapping[str, Mapping[str, float]]:
        """One column a figure."""
        columns = ((NED, "neds"), (ORIGINAL, "originals"))
        return {**super().rows(), **{key: self.by_image(name) for key, name in columns}}


def normalised_similarity(before: Sequence[str], after: Sequence[str]) -> float:
    """How alike the lines of two pictures are: one minus their edit distances over the lengths of the longer ones, both summed.

    Args:
        before: Lines of one picture.
        after: Lines of the other at the same places.

    Returns:
        From 0 to 1; 1 where all are equal, empty ones too.
    """
    longest = sum(max(len(a), len(b)) for a, b in zip(before, after, strict=True))
    wrong = sum(edit_distance(a, b) for a, b in zip(before, after, strict=True))
    return 1.0 - wrong / longest if longest else 1.0


def _doubles(values: Iterable[float]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.float64)


def edit_distance(a: str, b: str) -> int:
    """How many characters must be inserted, deleted or replaced to make one string of another.

    Args:
        a: One string.
        b: The other.

    Returns:
        The smallest such number (Levenshtein).
    """
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        above, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (x != y))
    return row[-1]
