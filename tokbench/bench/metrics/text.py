"""Text survival: the share of characters that can still be read off the reconstruction, beside that of the original."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
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

ORIGINAL = "text_accuracy_original"
"""The second figure."""


class TextAccuracy(PerImageMetric):
    """Character accuracy against the typed text, case-sensitive, spaces ignored: ``text_accuracy`` of the reconstruction,
    ``text_accuracy_original`` of the original, which is what the network that reads can do at best.

    One minus the edit distance over the number of characters, summed over a picture's lines; the figure is the mean over
    pictures. A line counts no more errors than it has characters.

    Args:
        reader: The network; None if there is nothing to read.
        typed: Lines of each picture, by its id.
    """

    name = "text_accuracy"
    figures = figures_of(name)
    originals: list[Tensor]

    def __init__(self, reader: LineReader | None, typed: dict[str, tuple[TypedLine, ...]]) -> None:
        super().__init__()
        self._reader, self._typed = reader, typed
        self.add_rows("originals")

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
        """Accuracy of each reconstruction; that of its original is noted beside it."""
        self.originals.append(self._accuracies(observation.ids, observation.reference))
        return self._accuracies(observation.ids, observation.reconstruction)

    def _accuracies(self, names: Sequence[str], images: Tensor) -> Tensor:
        return torch.tensor([self._accuracy(name, image) for name, image in zip(names, images.cpu(), strict=True)], dtype=torch.float64)

    def _accuracy(self, name: str, image: Tensor) -> float:
        if self._reader is None:
            raise ValueError("text accuracy needs a source with typed text")
        pixels = image.permute(1, 2, 0).contiguous().numpy()
        wrong = total = 0
        for text, (left, top, right, bottom) in self._typed[name]:
            wanted = "".join(unicodedata.normalize("NFKC", text).split())
            wrong += min(len(wanted), edit_distance(wanted, self._reader.read(pixels[top:bottom, left:right])))
            total += len(wanted)
        return 1.0 - wrong / total

    def report(self) -> dict[str, Figure]:
        """Return both means and their intervals over groups."""
        originals, groups = self.in_order("originals")
        return {**super().report(), ORIGINAL: Figure(sum_exactly(originals) / len(originals), group_bootstrap(originals, groups))}

    def rows(self) -> dict[str, dict[str, float]]:
        """One column a figure."""
        return {**super().rows(), ORIGINAL: dict(zip(self.seen().ids, self.all_rows("originals").tolist(), strict=True))}


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
