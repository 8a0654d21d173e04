"""BSQ-ViT. Paper: Zhao, Xiong and Kraehenbuehl, "Image and Video Tokenization with Binary Spherical Quantization", 2024.

    images -> patches -> encoder -> quant_embed -> signs on a sphere -> post_quant_embed -> decoder -> patches -> images

Parameter names are those of zhaoyue-zephyrus/bsq-vit ``transcoder/models/bsqvit.py``, but that blocks are counted without a word between.
Upstream numbers codes in single precision, so its numbers of 36 bits are off in the lowest; codes here are made of the signs themselves.
"""

from __future__ import annotations

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.linear import Linear
from tokbench.nn.configs import ViTConfig
from tokbench.nn.vit import ViT, learned
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.bsq.config import BSQViTConfig
from tokbench.tokens import DiscreteTokens

BUFFERS = ("quantize.basis", "quantize.group_basis")
"""Powers of two that the published files hold."""


class Encoder(ViT):
    """Images to one vector a patch."""

    def __init__(self, config: ViTConfig, grid: int) -> None:
        super().__init__(config)
        self.patch = config.patch_size
        self.conv1 = Linear(3 * self.patch**2, config.width, bias=False)
        self.positional_embedding = learned(grid**2, config.width)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n d"]:
        """Encode images in [-1, 1]."""
        patches = rearrange(images, "b c (gh ph) (gw pw) -> b (gh gw) (c ph pw)", ph=self.patch, pw=self.patch)
        return self.transform(self.conv1(patches) + self.positional_embedding)


class Decoder(ViT):
    """One vector a patch to images."""

    def __init__(self, config: ViTConfig, grid: int, hidden: int) -> None:
        super().__init__(config)
        self.patch, self.grid = config.patch_size, grid
        self.positional_embedding = learned(grid**2, config.width)
        self.ffn = nn.Sequential(Linear(config.width, hidden), nn.Tanh())
        self.conv_out = Linear(hidden, 3 * self.patch**2)

    def forward(self, vectors: Float[Tensor, "b n d"]) -> Float[Tensor, "b 3 h w"]:
        """Decode vectors; values may leave [-1, 1]."""
        patches = self.conv_out(self.ffn(self.transform(vectors + self.positional_embedding)))
        return rearrange(patches, "b (gh gw) (c ph pw) -> b c (gh ph) (gw pw)", gh=self.grid, ph=self.patch, pw=self.patch)


class BSQViT(Tokenizer):
    """Transformer tokenizer with a 2D grid of binary codes, for images of one size.

    Args:
        config: Shape of the networks, and the quantizer.
    """

    config: BSQViTConfig
    tileable = False

    def __init__(self, config: BSQViTConfig) -> None:
        super().__init__()
        self.config = config
        grid, bits = config.encoder.grid(config.image_size), config.quantizer.channels
        self.encoder = Encoder(config.encoder, grid)
        self.decoder = Decoder(config.decoder, grid, config.hidden_pixels)
        self.quantize = config.quantizer.build()
        self.quant_embed = Linear(config.encoder.width, bits)
        self.post_quant_embed = Linear(bits, config.decoder.width)

    @classmethod
    def own_names(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of bsq-vit, but for the blocks; without its powers of two."""
        return {key.replace(".transformer.resblocks.", ".transformer."): value for key, value in state.items() if key not in BUFFERS}

    def vectors(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b l d"]:
        """Encode images to vectors, before quantization (differentiable)."""
        return self.quant_embed(self.encoder(images)).float()

    def _encode(self, images: Tensor, seeds: list[int]) -> DiscreteTokens:
        grid = self.layout(*images.shape[2:]).grid
        return DiscreteTokens(self.quantize.codes(self.vectors(images)), grid, self.quantize.codebook_sizes)

    def _decode(self, tokens: DiscreteTokens, seeds: list[int]) -> Tensor:
        vectors = self._embed(tokens.codes).to(self.post_quant_embed.weight.dtype)  # quantizers work in single precision
        return self.decoder(self.post_quant_embed(vectors))

    def _embed(self, codes: Tensor) -> Tensor:
        return self.quantize.lookup(codes)
