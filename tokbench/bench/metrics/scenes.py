"""Scene accuracy: what a reader by rule still reads off the reconstruction of a drawn scene."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.base import Figure, PerImageMetric, sum_exactly
from tokbench.bench.observation import Observation, Subject
from tokbench.data.scenes.asked import asked_of
from tokbench.data.scenes.images import SceneSource
from tokbench.data.scenes.reader import READER_RULE, Reading, read
from tokbench.data.scenes.score import PARTS, score
from tokbench.records.figures import figures_of
from tokbench.records.intervals import group_bootstrap

WHOLE, ORIGINAL = "scene_whole", "scene_whole_original"
"""The second and the third figure."""


class SceneAccuracy(PerImageMetric):
    """How much of a drawn scene is right in the reading of its reconstruction.

    ``scene_accuracy`` is the mean share of right parts, and ``scene_whole`` the share of scenes that are wholly right.
    ``scene_whole_original`` is the share of originals that are, which is what the reader can do at best.

    Args:
        source: What knows the scenes; without it, a reconstruction is held against what is read off its original.
    """

    name = "scene_accuracy"
    figures = figures_of(name)
    whole: list[Tensor]
    originals: list[Tensor]

    def __init__(self, source: SceneSource | None) -> None:
        super().__init__()
        self._source = source
        self._places = {} if source is None else {name: place for place, name in enumerate(source.ids)}
        self.add_rows("whole")
        self.add_rows("originals")

    @classmethod
    def create(cls, context: MetricContext) -> SceneAccuracy:
        """Build it for the data of the run."""
        return cls(context.source if isinstance(context.source, SceneSource) else None)

    @property
    def settings(self) -> dict[str, Any]:
        """The rules of the reader, and what counts."""
        return {"reader": READER_RULE, "parts": list(PARTS), "averaging": "mean over pictures"}

    def not_applicable(self, subject: Subject) -> str | None:
        """Somebody must have drawn what is to be read."""
        return None if self._source is not None else "these images are no drawn scenes; --data scenes gives some"

    def per_image(self, observation: Observation) -> Tensor:
        """Share of right parts of each reconstruction; whether all are right, there and in the original, is noted beside it."""
        shares, whole, originals = [], [], []
        for name, reference, reconstruction in zip(observation.ids, observation.reference, observation.reconstruction, strict=True):
            original = _read(reference)
            asked = asked_of(original if self._source is None else self._source.scene(self._places[name]))
            found = score(asked, _read(reconstruction))
            shares.append(found.share)
            whole.append(float(found.all_right))
            originals.append(float(score(asked, original).all_right))
        self.whole.append(torch.tensor(whole, dtype=torch.float64))
        self.originals.append(torch.tensor(originals, dtype=torch.float64))
        return torch.tensor(shares, dtype=torch.float64)

    def report(self) -> dict[str, Figure]:
        """Return the three means and their intervals over groups."""
        found = dict(super().report())
        for key, name in ((WHOLE, "whole"), (ORIGINAL, "originals")):
            values, groups = self.in_order(name)
            found[key] = Figure(sum_exactly(values) / len(values), group_bootstrap(values, groups))
        return found

    def rows(self) -> Mapping[str, Mapping[str, float]]:
        """One column a figure."""
        columns = ((WHOLE, "whole"), (ORIGINAL, "originals"))
        return {**super().rows(), **{key: self.by_image(name) for key, name in columns}}


def _read(image: Tensor) -> Reading:
    return read(np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy()))
