"""Face similarity: how far the reconstruction of a face moves from the original in the space of a face recognition network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.base import Figure, PerImageMetric, sum_exactly
from tokbench.bench.microbatch import in_micro_batches
from tokbench.bench.observation import Observation
from tokbench.data.face_package import EMBEDDER, PACKAGE_SHA256, load_face_embedder
from tokbench.data.faces import MARGIN
from tokbench.nn.face_embedding import as_input
from tokbench.records.figures import figures_of
from tokbench.records.image_values import ImageValues
from tokbench.records.intervals import group_bootstrap

MATCH = "face_match"

THRESHOLD = 0.6
"""Largest distance of two pictures of one person. Source: King 2017, the face recognition example of dlib; face-api's default."""


class FaceSimilarity(PerImageMetric):
    """``face_distance``, the mean Euclidean distance between the vectors of original and reconstruction, and ``face_match``, the
    share of reconstructions that count as the same person.

    The centre of each image is compared, four fifths of its side, which is where the data set ``faces`` has a face. Other images
    are taken as they are: on those without a face there the figures mean nothing.

    Args:
        module: The network.
        micro_batch: Images a network pass.
    """

    name = "face_similarity"
    figures = figures_of(name)

    def __init__(self, module: nn.Module, *, micro_batch: int) -> None:
        super().__init__()
        self.module, self.micro_batch = [module], micro_batch

    @classmethod
    def create(cls, context: MetricContext) -> FaceSimilarity:
        """Build it with the network fetched."""
        return cls(load_face_embedder().to(context.device), micro_batch=context.micro_batch)

    @property
    def settings(self) -> dict[str, Any]:
        """Network, input and threshold."""
        return {
            "network": f"face-api 1.7.15, {EMBEDDER}, 128 numbers",
            "package_sha256": PACKAGE_SHA256,
            "input": f"centre square of {1 / MARGIN:g} of the side, bilinear antialias to 150 px",
            "match": f"distance up to {THRESHOLD}",
            "micro_batch": self.micro_batch,
        }

    def per_image(self, observation: Observation) -> Tensor:
        """Distance of each pair."""
        pairs = torch.stack([observation.reference, observation.reconstruction], dim=1)
        return in_micro_batches(lambda both: self._distances(both[:, 0], both[:, 1]), pairs, size=self.micro_batch)

    @torch.no_grad()
    def _distances(self, a: Tensor, b: Tensor) -> Tensor:
        first, second = (self.module[0](as_input(_centre(images))) for images in (a, b))
        return torch.linalg.vector_norm(first - second, dim=1)

    def report(self) -> dict[str, Figure]:
        """Return both figures and their intervals over groups."""
        distances, groups = self.in_order("values")
        matches = (distances <= THRESHOLD).astype(np.float64)
        return {**super().report(), MATCH: Figure(sum_exactly(matches) / len(matches), group_bootstrap(matches, groups))}

    def rows(self) -> Mapping[str, Mapping[str, float]]:
        """One column a figure."""
        distances = self.by_image("values")
        matches = (distances.numbers <= THRESHOLD).astype(np.float64)
        return {**super().rows(), MATCH: ImageValues(distances.ids, matches, distances.which)}


def _centre(images: Tensor) -> Tensor:
    height, width = images.shape[2:]
    side = max(1, round(min(height, width) / MARGIN))
    top, left = (height - side) // 2, (width - side) // 2
    return images[:, :, top : top + side, left : left + side]
