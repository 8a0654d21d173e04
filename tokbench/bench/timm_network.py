"""Networks of timm that judge: any with published weights, read from the file that was fetched."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float32, UInt8
from safetensors import SafetensorError
from torch import Tensor

from tokbench.bench.networks import FeatureNetwork
from tokbench.errors import TokbenchError, brief, unknown_name
from tokbench.weights.assets import TIMM
from tokbench.weights.judges import need_timm


def check_name(name: str) -> None:
    """See that timm has weights of a network.

    Args:
        name: Architecture and tag, ``vit_large_patch14_dinov2.lvd142m``.

    Raises:
        TokbenchError: If it has none, with names that it has.
    """
    import timm

    known = timm.list_models(pretrained=True)
    if name not in known:
        raise unknown_name("network of timm", name, known, hint="Write fd_timm.ARCHITECTURE.TAG.")


def timm_network(name: str, device: torch.device, *, size: int | None = None) -> FeatureNetwork:
    """Build a network of timm with its published weights, which must have been fetched.

    Images are scaled to a square as the network was trained or tuned for, without a crop. Features are what its classifier sees.

    Args:
        name: Architecture and tag.
        device: Where to run.
        size: Side of that square, of a network that takes any; None for its own.

    Raises:
        TokbenchError: If the weights are not here, are not those of their first use, or do not fit.
    """
    import timm
    from timm.data import resolve_model_data_config

    path, digest = need_timm(f"{TIMM}{name}")
    sized: dict[str, Any] = {} if size is None else {"img_size": size}
    try:
        # A safetensors file, of which nothing is run. timm interpolates positions where the side is another.
        model: Any = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(path), "custom_load": False}, **sized)
    except (RuntimeError, ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
        raise TokbenchError(
            f"{path} does not hold the weights of {name} ({brief(error)}); run: tokbench weights get {TIMM}{name} --renew"
        ) from error
    config = resolve_model_data_config(model)
    side = config["input_size"][1] if size is None else size
    mode = "bilinear" if config["interpolation"] == "bilinear" else "bicubic"
    mean, std = tuple(config["mean"]), tuple(config["std"])
    settings = {
        "network": f"{name} of timm, {model.head_hidden_size} features before the classifier",
        "weights_sha256": digest,
        "resize": f"{mode} antialias, {side} px",
        "scaling": f"[0, 1], mean {', '.join(f'{x:g}' for x in mean)}, deviation {', '.join(f'{x:g}' for x in std)}",
    }
    model = model.eval().to(device).requires_grad_(False)
    centre, spread = (torch.tensor(values, device=device).reshape(1, 3, 1, 1) for values in (mean, std))
    features = partial(_features, model, side, mode, centre, spread)
    return FeatureNetwork(f"timm-{name}", model.head_hidden_size, settings, features, computed=device.type)


@torch.no_grad()
def _features(model: Any, side: int, mode: str, centre: Tensor, spread: Tensor, images: UInt8[Tensor, "b 3 h w"]) -> Float32[Tensor, "b d"]:
    x = F.interpolate(images.float(), size=(side, side), mode=mode, antialias=True, align_corners=False).clamp(0, 255) / 255
    found: Tensor = model.forward_head(model.forward_features((x - centre) / spread), pre_logits=True).float()
    return found
