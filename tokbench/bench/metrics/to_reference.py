"""What the Fréchet distances to a reference share: features of reconstructions alone, held against statistics or images of others."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tokbench.bench.cache import FeatureCache
from tokbench.bench.context import MetricContext
from tokbench.bench.frechet import distance_of_moments
from tokbench.bench.leave_out import distances_to_reference_without
from tokbench.bench.metrics.base import Figure
from tokbench.bench.metrics.frechet import FrechetMetric
from tokbench.bench.networks import FeatureNetwork
from tokbench.bench.observation import Observation, Subject
from tokbench.bench.references import Reference
from tokbench.bench.torchmetric import Metric as TorchMetric
from tokbench.errors import TokbenchError
from tokbench.escapes import visible

logger = logging.getLogger(__name__)


class ReferenceFrechet(FrechetMetric):
    """Fréchet distance between the features of reconstructions and a reference. Originals are not looked at.

    Args:
        network: Whose features.
        cache: Cache of the features of the reference's images; None computes them anew.
        micro_batch: Images a network pass.
        reference: What reconstructions are compared with.
        device: Where the network is.
    """

    sides = 1

    def __init__(
        self, network: FeatureNetwork, cache: FeatureCache | None, *, micro_batch: int, reference: Reference, device: torch.device
    ) -> None:
        super().__init__(network, cache, micro_batch=micro_batch)
        self.reference, self._place = reference, device
        for guard in reference.guards_on(network):
            logger.warning("%s, --reference %s: %s", self.name, visible(reference.name), guard)

    @property
    def settings(self) -> dict[str, Any]:
        """The network's settings, the reference with its guards, and how the distance is computed."""
        return super().settings | {"reference": self.reference.settings(self.network)}

    def not_applicable(self, subject: Subject) -> str | None:
        """Few images give no meaningful covariance, and statistics fit one number of features."""
        return self.reference.refusal(self.network) or super().not_applicable(subject)

    def seen_of(self, observation: Observation) -> Tensor:
        """Features of reconstructions, ``[b, 1, dim]``."""
        return self.reconstructions(observation)[:, None]

    def merge_state(self, incoming_state: dict[str, Any] | TorchMetric) -> None:
        """Take in what another instance has seen.

        Raises:
            ValueError: If it is of another kind, network or reference, or has another listing.
        """
        if isinstance(incoming_state, ReferenceFrechet) and incoming_state.reference.sha256 != self.reference.sha256:
            raise ValueError(f"{type(self).__name__} merges with its own reference only")
        super().merge_state(incoming_state)

    def report(self) -> dict[str, Figure]:
        """Return the distance and its interval over groups of reconstructions, the reference staying as it is."""
        (seen,) = self._moments(self.all_rows("images").argsort())
        there = self.reference.moments(self.network, self.cache, micro_batch=self.micro_batch, device=self._place)
        value = distance_of_moments(there, seen)

        def leave_out(rows: np.ndarray, groups: list[str]) -> np.ndarray:
            return distances_to_reference_without(there, seen, rows[:, 0], groups, value)

        interval, without = self._interval(value, seen, leave_out)
        return {self.figures[0].key: Figure(value, interval, without=without)}


def reference_of(context: MetricContext, name: str, same_images: str) -> Reference:
    """The reference that was given.

    Args:
        context: Context of the run.
        name: The metric that needs it.
        same_images: The metric that compares with the originals instead.

    Raises:
        TokbenchError: If none was.
    """
    if context.reference is None:
        raise TokbenchError(
            f"{name} compares with a reference: --reference takes statistics (.npz), a folder or images (.npz); {same_images} takes the originals"
        )
    return context.reference
