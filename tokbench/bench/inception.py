"""The Inception network of FID for the metrics that judge by it, and what their figures are called with other weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from tokbench.bench.context import MetricContext
from tokbench.bench.inception_input import InceptionInput
from tokbench.bench.networks import FeatureNetwork, read_inception
from tokbench.errors import TokbenchError
from tokbench.records.figure_info import FigureInfo
from tokbench.weights.assets import asset_path, get_asset
from tokbench.weights.judges import check_file


def open_inception(context: MetricContext, given: InceptionInput | None = None) -> FeatureNetwork:
    """Build the network with the weights given, fetched, or in torch's hub cache; metrics of one context share them.

    Args:
        context: Whose weights are read once, and whose protocol says which pixels are seen.
        given: How images are made its input; None is as the protocol has it.

    Raises:
        TokbenchError: If there are none, or those in a cache are not the published ones.
    """
    weights, rules = context.built.get("inception"), context.rules
    if weights is None:
        path = _fetched() if context.feature_weights is None else _given(context.feature_weights)
        weights = context.built["inception"] = read_inception(path, context.device)
    return replace(weights.network(given or InceptionInput(rules.fid_resize, rules.fid_scaling)), pixels=rules.fid_pixels)


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
