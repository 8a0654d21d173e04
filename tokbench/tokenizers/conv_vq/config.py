"""Configuration and layout arithmetic of the convolutional VQ tokenizers; no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tokbench.layout import TokenLayout
from tokbench.nn.configs import AutoencoderConfig


@dataclass(frozen=True)
class ConvVQConfig:
    """Shape of a convolutional VQ tokenizer.

    Args:
        autoencoder: The network.
        codebook_size: K, entries of the codebook.
        embed_dim: Dimension of a codebook entry.
        beta: Weight of the quantizer's second loss term; matters in training only.
        loss_form: Which term beta weighs, see ``tokbench.quantizers.vq``; matters in training only.
        quantizer: How a code is chosen: ``nearest`` entry, ``cosine`` for the nearest direction (the codes stand for unit
            vectors), or ``gumbel`` for the largest of K scores, without regard to the entries.
        entropy_weight: Weight of the entropy term of ``nearest`` and ``cosine``; matters in training only.
        kl_weight: Weight of the divergence of ``gumbel`` scores from the uniform distribution; matters in training only.

    Raises:
        ValueError: If the codebook has fewer than 2 entries or no dimension, a weight is negative, the loss form or the quantizer is
            unknown, or the quantizer is ``gumbel`` and ``embed_dim`` is not ``autoencoder.z_channels``.
    """

    autoencoder: AutoencoderConfig
    codebook_size: int
    embed_dim: int
    beta: float = 0.25
    loss_form: Literal["paper", "taming", "commitment"] = "paper"
    quantizer: Literal["nearest", "cosine", "gumbel"] = "nearest"
    entropy_weight: float = 0.0
    kl_weight: float = 5e-4

    def __post_init__(self) -> None:
        if self.codebook_size < 2 or self.embed_dim < 1:
            raise ValueError(f"a codebook needs at least 2 entries of at least 1 value, got {self.codebook_size} of {self.embed_dim}")
        for name in ("beta", "entropy_weight", "kl_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a finite number from 0, got {getattr(self, name)}")
        if self.loss_form not in ("paper", "taming", "commitment"):
            raise ValueError(f"loss_form is paper, taming or commitment, got {self.loss_form!r}")
        if self.quantizer not in ("nearest", "cosine", "gumbel"):
            raise ValueError(f"quantizer is nearest, cosine or gumbel, got {self.quantizer!r}")
        z = self.autoencoder.z_channels
        if self.quantizer == "gumbel" and self.embed_dim != z:
            raise ValueError(f"gumbel needs embed_dim equal to autoencoder.z_channels, got {self.embed_dim} and {z}")

    @property
    def stride(self) -> int:
        """Pixels a token covers along each axis."""
        return self.autoencoder.stride

    def layout(self, height: int, width: int) -> TokenLayout:
        """One token per ``stride`` x ``stride`` pixels, from one codebook."""
        return TokenLayout.strided(height, width, self.stride, codebook_sizes=(self.codebook_size,))


TINY_AUTOENCODER = AutoencoderConfig(
    z_channels=16,
    channels=32,
    channel_multipliers=(1, 1, 4),
    num_res_blocks=1,
    attn_resolutions=(),
    resolution=64,
    norm_groups=4,
)
"""The 2.5 M parameter network of ``vae/tiny``, ``vqvae/tiny`` and ``vqgan/tiny``: stride 4, for 64 px photos."""
