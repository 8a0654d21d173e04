"""SoftVQ-VAE. Paper: Chen et al., "SoftVQ-VAE: Efficient 1-Dimensional Continuous Tokenizer", 2024.

    image patches --+                                                                  mask tokens -----+
                    +-> encoder -> N vectors -> mixtures of codes by likeness -> N latents              +-> decoder -> patches
    N latent tokens +                                                               |-> latents --------+

Tokens are continuous: the mixtures. Parameter names are those of Hhhhhhao/continuous_tokenizer ``modelling/tokenizer.py``, whose
transformers are timm's DINOv2; those of blocks are CLIP's.
"""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.nn.configs import ViTConfig
from tokbench.nn.vit import ViT, learned
from tokbench.quantizers.base import check_finite
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.softvq.config import SoftVQConfig
from tokbench.tokens import ContinuousTokens
from tokbench.weights.key_maps.vit import from_timm

UNUSED = ("decoder.model.patch_embed.", "quantize.codebook_used", "repa_model.", "projection.")
"""Beginnings of names in published files that neither encoding nor decoding reads."""

RENAMES = (
    (r"^(encoder|decoder)\.model\.", r"\1."),
    (r"^(encoder|decoder)\.blocks\.", r"\1.transformer."),
    (r"coder\.norm\.", "coder.ln_post."),
)
"""Patterns and what they become, applied in this order."""


class _Side(ViT):
    """A transformer over a class token, patches and latent tokens, in this order."""

    def __init__(self, config: ViTConfig, image_size: int, length: int) -> None:
        super().__init__(config)
        self.side = config.grid(image_size)
        self.cls_token = learned(1, 1, config.width)
        self.pos_embed = learned(1, 1 + self.side**2, config.width)
        self.latent_pos_embed = learned(1, length, config.width)

    def run(self, patches: Float[Tensor, "b p w"], latents: Float[Tensor, "b n w"], wanted: slice) -> Float[Tensor, "b m w"]:
        image = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.pos_embed
        return self.transform(torch.cat([image, latents + self.latent_pos_embed], dim=1), wanted)


class Encoder(_Side):
    """Images to one vector a latent token."""

    def __init__(self, config: SoftVQConfig) -> None:
        width, patch = config.encoder.width, config.encoder.patch_size
        super().__init__(config.encoder, config.image_size, config.length)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, patch)})
        self.latent_tokens = learned(1, config.length, width)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n w"]:
        """Encode images in [-1, 1]."""
        patches = rearrange(self.patch_embed["proj"](images), "b w gh gw -> b (gh gw) w")
        return self.run(patches, self.latent_tokens.expand(len(images), -1, -1), slice(1 + self.side**2, None))


class Decoder(_Side):
    """One vector a latent token to images."""

    def __init__(self, config: SoftVQConfig) -> None:
        super().__init__(config.decoder, config.image_size, config.length)
        self.patch = config.decoder.patch_size
        self.mask_token = learned(1, 1, config.decoder.width)
        self.to_pixel = nn.ModuleDict({"model": nn.Linear(config.decoder.width, 3 * self.patch**2)})

    def forward(self, vectors: Float[Tensor, "b n w"]) -> Float[Tensor, "b 3 h w"]:
        """Decode vectors; values may leave [-1, 1]."""
        masks = self.mask_token.expand(len(vectors), self.side**2, -1)
        pixels = self.to_pixel["model"](self.run(masks, vectors, slice(1, 1 + self.side**2)))
        return rearrange(pixels, "b (gh gw) (ph pw c) -> b c (gh ph) (gw pw)", gh=self.side, ph=self.patch, pw=self.patch)


class Mixtures(nn.Module):
    """Codes at length 1, weighed by how like they are; each part of a sequence has codes of its own."""

    def __init__(self, config: SoftVQConfig) -> None:
        super().__init__()
        self.temperature = config.temperature
        self.embedding = nn.Parameter(torch.randn(config.codebooks, config.codebook_size, config.channels))

    def forward(self, vectors: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        """Mix the codes that vectors are like."""
        codes, parts = F.normalize(self.embedding, dim=-1), len(self.embedding)
        likeness = torch.einsum("b p m c, p k c -> b p m k", F.normalize(vectors.unflatten(1, (parts, -1)), dim=-1), codes)
        return torch.einsum("b p m k, p k c -> b p m c", (likeness / self.temperature).softmax(dim=-1), codes).flatten(1, 2)


class SoftVQ(Tokenizer):
    """Transformer tokenizer with a 1D sequence of continuous latents, for images of one size.

    Args:
        config: Shape of the networks, and how codes are mixed.
    """

    config: SoftVQConfig
    tileable = False

    def __init__(self, config: SoftVQConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.quant_conv = nn.Linear(config.encoder.width, config.channels)
        self.quantize = Mixtures(config)
        self.post_quant_conv = nn.Linear(config.channels, config.decoder.width)

    @classmethod
    def own_names(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of continuous_tokenizer, but for its transformers; without what only training reads."""
        renamed = {}
        for key, value in state.items():
            if not key.startswith(UNUSED):
                name = key
                for pattern, replacement in RENAMES:
                    name = re.sub(pattern, replacement, name)
                renamed[name] = value
        return from_timm(renamed)

    def features(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n c"]:
        """Encode images to what codes are mixed by (differentiable)."""
        return self.quant_conv(self.encoder(images))

    def _encode(self, images: Tensor, seeds: list[int]) -> ContinuousTokens:
        latents = self.quantize(self.features(images)).to(images.dtype)
        check_finite(latents, "latents")
        return ContinuousTokens(latents.contiguous(), (self.config.length,))

    def _decode(self, tokens: ContinuousTokens, seeds: list[int]) -> Tensor:
        return self.decoder(self.post_quant_conv(tokens.latents))

    def _image_size(self, grid: tuple[int, ...]) -> tuple[int, int]:
        if grid != (self.config.length,):
            raise ValueError(f"{self.name or 'SoftVQ'} takes a sequence of {self.config.length} tokens, got a grid {grid}")
        return self.config.image_size, self.config.image_size
