"""Reconstruction FID on the Inception network of 2015-12-05, with the TF1 resize of the original."""

from __future__ import annotations

from pathlib import Path

import torch

from tokbench.assets import asset_path, get_asset
from tokbench.bench.cache import FeatureCache
from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.frechet import FrechetMetric
from tokbench.bench.networks import inception
from tokbench.errors import TokbenchError


class RFID(FrechetMetric):
    """FID between originals and their reconstructions; no other network is ever measured under this name."""

    name = "rfid"
    networks = ("inception",)

    @classmethod
    def create(cls, context: MetricContext) -> RFID:
        """Build it with the Inception weights: given, fetched, or in torch's hub cache."""
        network = inception(_find(context.feature_weights), context.device)
        return cls(network, FeatureCache(context.cache, network) if context.cache else None, micro_batch=context.micro_batch)


def _find(given: Path | None) -> Path:
    if given is not None:
        if not given.is_file():
            raise TokbenchError(f"no file at {given}; --feature-weights takes the Inception weights of 2015-12-05")
        return given
    fetched = asset_path("inception")
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    for path in (fetched, hub / get_asset("inception").file, hub / "weights-inception-2015-12-05-6726825d.pth"):
        if path.is_file():
            return path
    raise TokbenchError("the Inception weights are not here; run: tokbench weights get inception (or pass --feature-weights PATH)")
