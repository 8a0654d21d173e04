"""Emu3 vision tokenizer. Paper: Wang et al., "Emu3: Next-Token Prediction is All You Need", 2024.

    images -> encoder -> quant_conv 3x1x1 -> nearest of K codes -> code vectors -+-> post_quant_conv 3x1x1 -> decoder -> images
                                                                                 |                               ^
                                                                                 +---- every normalisation ------+

A tokenizer of video; an image is a clip of ``frames`` copies, which becomes one plane of tokens, and of the decoded clip the
first frame is the image. Parameter names are those of ``Emu3VQVAE`` in huggingface/transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from tokbench.nn.movq import CausalConv3d, Decoder, Encoder
from tokbench.quantizers.vq import VectorQuantizer
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.emu3.config import Emu3Config
from tokbench.tokenizers.emu3.keys import transformers_layout
from tokbench.tokens import DiscreteTokens
from tokbench.weights.key_maps.diffusers import check_same


class Emu3(Tokenizer):
    """Convolutional tokenizer with one codebook and a 2D grid, whose decoder sees the code vectors at every depth.

    Args:
        config: Shape of the network and of the codebook.
    """

    config: Emu3Config

    def __init__(self, config: Emu3Config) -> None:
        super().__init__()
        self.config = config
        z, frames, heads = config.autoencoder.z_channels, config.frames, config.attention_heads
        self.encoder = Encoder(config.autoencoder, frames=frames, heads=heads)
        self.decoder = Decoder(config.autoencoder, frames=frames, heads=heads)
        self.quantize = VectorQuantizer(config.codebook_size, z)
        self.quant_conv = CausalConv3d(z, z, (3, 1, 1))
        self.post_quant_conv = CausalConv3d(z, z, (3, 1, 1))

    @classmethod
    def own_names(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of huggingface/transformers; the published file has the layout of baaivision/Emu3."""
        return transformers_layout(state)

    def check_settings(self, settings: Mapping[str, Any], place: Path) -> None:
        """Refuse settings of transformers that make another network of the same shapes, within a language model or not."""
        own = settings.get("vq_config") if settings.get("model_type") == "emu3" else settings
        if isinstance(own, Mapping) and (own is not settings or settings.get("model_type") == "emu3_vqgan"):
            check_same(own, {"num_attention_heads": self.config.attention_heads}, place, "transformers/emu3")

    def vectors(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b l d"]:
        """Encode images to vectors, before quantization (differentiable)."""
        return rearrange(self.quant_conv(self.encoder(images)), "b d 1 h w -> b (h w) d").float()

    def _encode(self, images: Tensor, seeds: list[int]) -> DiscreteTokens:
        grid = self.layout(*images.shape[2:]).grid
        return DiscreteTokens(self.quantize.codes(self.vectors(images)), grid, self.quantize.codebook_sizes)

    def _decode(self, tokens: DiscreteTokens, seeds: list[int]) -> Tensor:
        rows = self._embed(tokens.codes).to(self.quantize.embedding.weight.dtype)  # quantizers work in single precision
        vectors = rearrange(rows, "b (h w) d -> b d 1 h w", h=tokens.grid[0], w=tokens.grid[1])
        return self.decoder(self.post_quant_conv(vectors), vectors)

    def _embed(self, codes: Tensor) -> Tensor:
        return self.quantize.lookup(codes)
