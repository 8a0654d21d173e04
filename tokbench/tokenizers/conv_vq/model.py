"""What VQ-VAE, VQGAN, LlamaGen and their kin share: the convolutional autoencoder around a quantizer.

    images -> encoder -> quant_conv 1x1 -> code -> post_quant_conv 1x1 -> decoder -> images

Parameter names are those of ``taming.models.vqgan``: ``VQModel``, or ``GumbelVQ`` where codes are chosen by score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.nn import autoencoder, magvit2
from tokbench.nn.configs import Design
from tokbench.quantizers.base import Quantized, Quantizer
from tokbench.quantizers.gumbel import GumbelQuantizer
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.conv_vq.config import ConvVQConfig
from tokbench.tokens import DiscreteTokens
from tokbench.tracing import graph_value
from tokbench.weights.key_maps.diffusers import check_settings
from tokbench.weights.key_maps.taming import to_taming

AnyEncoder = type[autoencoder.Encoder] | type[magvit2.Encoder]
AnyDecoder = type[autoencoder.Decoder] | type[magvit2.Decoder]

NETWORKS: dict[Design, tuple[AnyEncoder, AnyDecoder]] = {
    "taming": (autoencoder.Encoder, autoencoder.Decoder),
    "maskgit": (autoencoder.Encoder, autoencoder.Decoder),
    "magvit2": (magvit2.Encoder, magvit2.Decoder),
}
"""Encoder and decoder of each design."""


@graph_value
@dataclass(frozen=True)
class VQReconstruction:
    """One training pass: the decoded images, the vectors before quantization and what the quantizer made of them."""

    images: Float[Tensor, "b 3 h w"]
    vectors: Float[Tensor, "b l d"]
    quantized: Quantized


class ConvVQTokenizer(Tokenizer):
    """Convolutional tokenizer with a 2D grid and any quantizer.

    Args:
        config: Shape of the network, and the quantizer.
    """

    config: ConvVQConfig
    quantize: Quantizer

    def __init__(self, config: ConvVQConfig) -> None:
        super().__init__()
        self.config = config
        z, code = config.autoencoder.z_channels, config.quantizer.channels
        encoder, decoder = NETWORKS[config.autoencoder.design]
        self.encoder = encoder(config.autoencoder)
        self.decoder = decoder(config.autoencoder)
        self.quantize = config.quantizer.build()
        self.quant_conv = nn.Conv2d(z, code, 1) if config.quant_convs else nn.Identity()
        self.post_quant_conv = nn.Conv2d(code, z, 1) if config.quant_convs else nn.Identity()

    @classmethod
    def own_names(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of taming-transformers; a published file may have the names of diffusers, LlamaGen or MaskGIT."""
        return to_taming(state)

    def check_settings(self, settings: Mapping[str, Any], place: Path) -> None:
        """Refuse settings of diffusers that make another network of the same shapes."""
        check_settings(settings, self.config.autoencoder.norm_groups, place)

    def forward(self, images: Float[Tensor, "b 3 h w"], *, generator: torch.Generator | None = None) -> VQReconstruction:
        """Encode, quantize and decode, for training.

        Args:
            images: RGB in [-1, 1].
            generator: Draws the noise of a ``gumbel`` quantizer in training mode; others need none.
        """
        vectors, grid = self._vectors(images)
        noise = {"generator": generator} if isinstance(self.quantize, GumbelQuantizer) else {}
        quantized = self.quantize(vectors, **noise)
        return VQReconstruction(self._render(quantized.vectors, grid), vectors, quantized)

    def _vectors(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        features = self.quant_conv(self.encoder((images + 1) / 2 if self.config.unit_range else images))
        return rearrange(features, "b d h w -> b (h w) d").float(), (features.shape[2], features.shape[3])

    def _render(self, vectors: Tensor, grid: tuple[int, ...]) -> Tensor:
        height, width = grid
        maps = rearrange(vectors, "b (h w) d -> b d h w", h=height, w=width)
        images = self.decoder(self.post_quant_conv(maps.to(self.decoder.conv_in.weight.dtype)))  # quantizers work in single precision
        return 2 * images - 1 if self.config.unit_range else images

    def _encode(self, images: Tensor, seeds: list[int]) -> DiscreteTokens:
        vectors, grid = self._vectors(images)
        return DiscreteTokens(self.quantize.codes(vectors), grid, self.quantize.codebook_sizes)

    def _decode(self, tokens: DiscreteTokens, seeds: list[int]) -> Tensor:
        return self._render(self._embed(tokens.codes), tokens.grid)

    def _embed(self, codes: Tensor) -> Tensor:
        return self.quantize.lookup(codes)
