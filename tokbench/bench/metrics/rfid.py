"""Reconstruction FID on the Inception network of 2015-12-05, with the TF1 resize of the original."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from tokbench.bench.cache import FeatureCache
from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.frechet import FrechetMetric
from tokbench.bench.networks import inception
from tokbench.errors import TokbenchError
from tokbench.records.figures import BY_KEY, FigureInfo, figures_of
from tokbench.weights.assets import asset_path, get_asset
from tokbench.weights.judges import check_file


class RFID(FrechetMetric):
    """FID between originals and their reconstructions.

    With other weights than the published ones it is ``fd[inception:DIGEST]``, by the first 8 digits of the file's SHA-256: another
    figure with a row of its own, never ``rfid``.
    """

    name = "rfid"
    figures = figures_of(name)

    @classmethod
    def create(cls, context: MetricContext) -> RFID:
        """Build it with the Inception weights: given, fetched, or in torch's hub cache.

        Raises:
            TokbenchError: If there are none, or those in a cache are not the published ones.
        """
        given = context.feature_weights
        network = inception(_fetched() if given is None else _given(given), context.device)
        metric = cls(network, FeatureCache(context.cache, network) if context.cache else None, micro_batch=context.micro_batch)
        digest = network.settings["weights_sha256"]
        if digest != get_asset("inception").sha256:
            metric.figures = (_with_other_weights(digest),)
        return metric


def _with_other_weights(digest: str) -> FigureInfo:
    name = f"fd[inception:{digest[:8]}]"
    return replace(
        BY_KEY["rfid"],
        key=name,
        title=name,
        meaning="Fréchet distance between originals and reconstructions on features of other weights than FID's; only comparable at equal N",
        metric="rfid",
        networks=(),
        asset="",
    )


def _given(path: Path) -> Path:
    if not path.is_file():
        raise TokbenchError(f"no file at {path}; --feature-weights takes the Inception weights of 2015-12-05")
    return path


def _fetched() -> Path:
    asset = get_asset("inception")
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    for path in (asset_path("inception"), hub / asset.file, hub / "weights-inception-2015-12-05-6726825d.pth"):
        if path.is_file():
            check_file(asset, path)
            return path
    raise TokbenchError("the Inception weights are not here; run: tokbench weights get inception (or pass --feature-weights PATH)")
