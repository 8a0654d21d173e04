"""SoftVQ-VAE. Paper: Chen et al., "SoftVQ-VAE: Efficient 1-Dimensional Continuous Tokenizer", 2024.

    image patches --+                                                                  mask tokens -----+
                    +-> encoder -> N vectors -> mixtures of codes by likeness -> N latents              +-> decoder -> patches
    N latent tokens +                                                               |-> latents --------+

Tokens are continuous: the mixtures. Parameter names are those of Hhhhhhao/continuous_tokenizer ``modelling/tokenizer.py``, whose
transformers are timm's DINOv2; those of blocks are CLIP's. MAETok has these networks too, without codes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.errors import TokbenchError
from tokbench.linear import Linear
from tokbench.nn.configs import ViTConfig
from tokbench.nn.turning import LearnedTurns
from tokbench.nn.vit import ViT, learned
from tokbench.quantizers.base import check_finite
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.normalisation import Normalisation, from_settings
from tokbench.tokenizers.softvq.config import SequenceConfig, SoftVQConfig
from tokbench.tokens import ContinuousTokens
from tokbench.weights.key_maps.diffusers import check_same
from tokbench.weights.key_maps.vit import from_timm

UNUSED = re.compile(r"decoder\.model\.patch_embed\.|quantize\.codebook_used|repa_model\.|projection\.")
"""Beginnings of names in published files that neither encoding nor decoding reads."""

RENAMES = (
    (r"^(encoder|decoder)\.model\.", r"\1."),
    (r"^(encoder|decoder)\.blocks\.", r"\1.transformer."),
    (r"coder\.norm\.", "coder.ln_post."),
    (r"\.adaLN_modulation\.", ".modulation."),
    (r"coder\.freqs$", "coder.turns.frequencies"),
)
"""Patterns and what they become, applied in this order."""


class _Side(ViT):
    """A transformer over a class token, patches and latent tokens, in this order."""

    def __init__(
        self,
        config: ViTConfig,
        shape: SequenceConfig,
        *,
        class_token: bool = True,
        placed: bool = True,
        turned: bool = False,
        condition: int = 0,
    ) -> None:
        super().__init__(config, condition)
        self.side = config.grid(shape.image_size)
        self.patches = slice(int(class_token), int(class_token) + self.side**2)
        self.cls_token = learned(1, 1, config.width) if class_token else None
        self.pos_embed = learned(1, self.patches.stop, config.width) if placed else None
        self.latent_pos_embed = learned(1, shape.length, config.width)
        self.turns = LearnedTurns(config, self.side, self.patches.start) if turned else None

    def run(
        self, patches: Float[Tensor, "b p w"], latents: Float[Tensor, "b n w"], wanted: slice, condition: Tensor | None = None
    ) -> Float[Tensor, "b m w"]:
        image = patches if self.cls_token is None else torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        image = image if self.pos_embed is None else image + self.pos_embed
        turns = None if self.turns is None else self.turns()
        return self.transform(torch.cat([image, latents + self.latent_pos_embed], dim=1), wanted, turns, condition)


class Encoder(_Side):
    """Images to one vector a latent token.

    Args:
        config: Shape of the transformer, the images and the sequence.
        turned: Whether queries and keys of patches are turned by learned frequencies, besides learned positions.
    """

    def __init__(self, config: SequenceConfig, *, turned: bool = False) -> None:
        width, patch = config.encoder.width, config.encoder.patch_size
        super().__init__(config.encoder, config, turned=turned)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, patch)})
        self.latent_tokens = learned(1, config.length, width)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n d"]:
        """Encode images in [-1, 1]."""
        patches = rearrange(self.patch_embed["proj"](images), "b w gh gw -> b (gh gw) w")
        return self.run(patches, self.latent_tokens.expand(len(images), -1, -1), slice(self.patches.stop, None))


class Decoder(_Side):
    """One vector a latent token to images.

    Args:
        config: Shape of the transformer, the images and the sequence.
        class_token: Whether a class token stands before the patches.
        turned: Whether queries and keys of patches are turned by learned frequencies, instead of learned positions.
        condition: Values of a latent, if its token is scaled and shifted by it in every block; otherwise 0.
    """

    def __init__(self, config: SequenceConfig, *, class_token: bool = True, turned: bool = False, condition: int = 0) -> None:
        super().__init__(config.decoder, config, class_token=class_token, placed=not turned, turned=turned, condition=condition)
        self.patch = config.decoder.patch_size
        self.mask_token = learned(1, 1, config.decoder.width)
        self.to_pixel = nn.ModuleDict({"model": Linear(config.decoder.width, 3 * self.patch**2)})

    def forward(self, vectors: Float[Tensor, "b n d"], condition: Float[Tensor, "b n c"] | None = None) -> Float[Tensor, "b 3 h w"]:
        """Decode vectors, whose latents are their condition; values may leave [-1, 1]."""
        masks = self.mask_token.expand(len(vectors), self.side**2, -1)
        pixels = self.to_pixel["model"](self.run(masks, vectors, self.patches, condition))
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


class SequenceTokenizer(Tokenizer):
    """A 1D sequence of continuous latents between two transformers, for images of one size.

    Args:
        config: Shape of the networks.
        encoder: Images to vectors.
        decoder: Vectors to images.
    """

    config: SequenceConfig
    tileable = False
    unused: ClassVar[re.Pattern[str]] = UNUSED

    def __init__(self, config: SequenceConfig, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = encoder, decoder
        self.quant_conv = Linear(config.encoder.width, config.channels)
        self.post_quant_conv = Linear(config.channels, config.decoder.width)

    @classmethod
    def own_names(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of continuous_tokenizer, but for its transformers; without what only training reads."""
        renamed = {}
        for key, value in state.items():
            if not cls.unused.match(key):
                name = key
                for pattern, replacement in RENAMES:
                    name = re.sub(pattern, replacement, name)
                renamed[name] = value
        return from_timm(renamed)

    def note_settings(self, settings: Mapping[str, Any], place: Path) -> None:
        """Take the normalisation that continuous_tokenizer's settings say, before that of the row; it is of these very weights."""
        if "num_latent_tokens" not in settings:
            return
        try:
            found = from_settings({"latents_mean": settings.get("vq_mean"), "latents_std": settings.get("vq_std")})
        except ValueError as error:
            raise TokbenchError(f"{place} does not do: {error}") from error
        if found not in (None, Normalisation()):  # what its code has where nobody said anything
            self.normalisation, self.normalisation_told = found, True

    def features(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n c"]:
        """Encode images to one vector of few values a token (differentiable)."""
        return self.quant_conv(self.encoder(images))

    def latents(self, features: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        """What becomes of these in the sequence: nothing else."""
        return features

    def _encode(self, images: Tensor, seeds: list[int]) -> ContinuousTokens:
        latents = self.latents(self.features(images)).to(images.dtype)
        check_finite(latents, "latents")
        return ContinuousTokens(latents.contiguous(), (self.config.length,))

    def _decode(self, tokens: ContinuousTokens, seeds: list[int]) -> Tensor:
        return self.decoder(self.post_quant_conv(tokens.latents), tokens.latents)

    def _image_size(self, grid: tuple[int, ...]) -> tuple[int, int]:
        if grid != (self.config.length,):
            name = self.name or type(self).__name__
            raise ValueError(f"{name} takes a sequence of {self.config.length} tokens, got a grid {grid}")
        return self.config.image_size, self.config.image_size


class SoftVQ(SequenceTokenizer):
    """Transformer tokenizer whose latents are mixtures of codes.

    Args:
        config: Shape of the networks, and how codes are mixed.
    """

    config: SoftVQConfig

    def __init__(self, config: SoftVQConfig) -> None:
        super().__init__(config, Encoder(config), Decoder(config))
        self.quantize = Mixtures(config)

    def check_settings(self, settings: Mapping[str, Any], place: Path) -> None:
        """Refuse weights that were trained at another temperature, which no shape shows."""
        if "num_latent_tokens" in settings:
            found = f"softvq with --set temperature={settings.get('tau')}"
            check_same(settings, {"tau": self.config.temperature}, place, found)

    def latents(self, features: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        """Mix the codes that features are like."""
        return self.quantize(features)
