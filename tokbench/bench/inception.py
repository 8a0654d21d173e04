"""The Inception network of FID for the metrics that judge by it, and what their figures are called with other weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from tokbench.bench.context import MetricContext
from tokbench.bench.networks import FeatureNetwork, inception
from tokbench.errors import TokbenchError
from tokbench.records.figures import FigureInfo
from tokbench.weights.assets import asset_path, get_asset
from tokbench.weights.judges import check_file


def open_inception(context: MetricContext) -> FeatureNetwork:
    """Build the network with the weights given, fetched, or in torch's hub cache; resize and pixels are those of the protocol.

    Raises:
        TokbenchError: If there are none, or those in a cache are not the published ones.
    """
    given, rules = context.feature_weights, context.rules
    path = _fetched() if given is None else _given(given)
    return replace(inception(path, context.device, resize=rules.fid_resize, scaling=rules.fid_scaling), pixels=rules.fid_pixels)


def figures_on(network: FeatureNetwork, figures: Iterable[FigureInfo], others: Mapping[str, tuple[str, str]]) -> tuple[FigureInfo, ...]:
    """The rows of a metric's figures on a network: with other weights than the published ones they are other figures.

    Args:
        network: What ``open_inception`` returned.
        figures: The rows with the published weights.
        others: Key of each to its name and meaning with other weights. The name is followed by ``[inception:DIGEST]``, by the first 8
            digits of the file's SHA-256.
    """
    digest = network.settings["weights_sha256"]
    if digest == get_asset("inception").sha256:
        return tuple(figures)
    return tuple(_with_other_weights(info, f"{others[info.key][0]}[inception:{digest[:8]}]", others[info.key][1]) for info in figures)


def _with_other_weights(info: FigureInfo, key: str, meaning: str) -> FigureInfo:
    return replace(info, key=key, title=key, meaning=meaning, metric=info.measured_by, networks=(), asset="")


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
