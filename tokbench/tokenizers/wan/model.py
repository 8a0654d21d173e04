"""Autoencoders of Wan and Qwen-Image on stills. Papers: Wan Team 2025; Qwen Team 2025, "Qwen-Image Technical Report".

    images -> encoder -> quant_conv -> (mean, log-variance) -> latents -> post_quant_conv -> decoder -> images

Networks of video; an image is a clip of one frame, of which only two-dimensional layers are left, a third of the weights. Diffusion models
read the latents normalised channel by channel, see ``normalisation``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tokbench.nn.wan import WanDecoder, WanEncoder
from tokbench.tokenizers.vae.latents import GaussianTokenizer
from tokbench.tokenizers.wan.config import WanConfig
from tokbench.weights.key_maps.diffusers import check_same
from tokbench.weights.key_maps.wan import from_wan


class Wan(GaussianTokenizer):
    """Convolutional tokenizer with continuous latents on a 2D grid.

    Args:
        config: Shape of the network; with ``posterior="sample"`` encoding needs seeds.
    """

    config: WanConfig
    peers = ("AutoencoderKLWan", "AutoencoderKLQwenImage")

    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        self.config = config
        z = config.network.z_channels
        self.encoder = WanEncoder(config.network)
        self.decoder = WanDecoder(config.network)
        self.quant_conv = nn.Conv2d(2 * z, 2 * z, 1)
        self.post_quant_conv = nn.Conv2d(z, z, 1)

    @classmethod
    def own_names(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of ``tokbench.nn.wan``; published files have Wan's or diffusers' names and kernels over time."""
        return from_wan(state)

    def check_settings(self, settings: Mapping[str, Any], place: Path) -> None:
        """Refuse settings of diffusers whose shortcuts see time otherwise, which no shape shows."""
        if settings.get("_class_name") in self.peers and self.config.network.shortcuts:
            check_same(settings, {"temperal_downsample": list(self.config.network.temporal)}, place, "diffusers/wan")
