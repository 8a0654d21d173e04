"""Configuration and layout arithmetic of the convolutional VQ tokenizers; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tokbench.layout import TokenLayout
from tokbench.nn.configs import AutoencoderConfig
from tokbench.tokenizers.family import strided_grid


@dataclass(frozen=True)
class ConvVQConfig:
    """Shape of a convolutional VQ tokenizer.

    Args:
        autoencoder: The network.
        codebook_size: K, entries of the codebook.
        embed_dim: Dimension of a codebook entry.
        beta: Weight of the quantizer's second loss term; matters in training only.
        loss_form: Which term beta weighs, see ``tokbench.quantizers.vq``; matters in training only.

    Raises:
        ValueError: If the codebook has fewer than 2 entries or no dimension, beta is negative or the loss form unknown.
    """

    autoencoder: AutoencoderConfig
    codebook_size: int
    embed_dim: int
    beta: float = 0.25
    loss_form: Literal["paper", "taming", "commitment"] = "paper"

    def __post_init__(self) -> None:
        if self.codebook_size < 2 or self.embed_dim < 1:
            raise ValueError(f"a codebook needs at least 2 entries of at least 1 value, got {self.codebook_size} of {self.embed_dim}")
        if not self.beta >= 0:
            raise ValueError(f"beta must not be negative, got {self.beta}")
        if self.loss_form not in ("paper", "taming", "commitment"):
            raise ValueError(f"loss_form is paper, taming or commitment, got {self.loss_form!r}")


def conv_vq_layout(config: ConvVQConfig, height: int, width: int) -> TokenLayout:
    """One token per ``stride`` x ``stride`` pixels, from one codebook."""
    grid = strided_grid(height, width, config.autoencoder.stride)
    return TokenLayout(image_size=(height, width), grid=grid, codebook_sizes=(config.codebook_size,))


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
