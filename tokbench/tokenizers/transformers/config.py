"""Configurations of transformers' image tokenizers: which class, its settings, and how the layout follows from them; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tokbench.nn.configs import AutoencoderConfig
from tokbench.tokenizers.library.config import LibraryConfig


@dataclass(frozen=True)
class Emu3VQVAEConfig(LibraryConfig):
    """One codebook; a still is a clip of ``temporal_downsample_factor`` copies, which becomes one plane of tokens.

    Args:
        settings: Settings of the class.
        library_class: The class.
    """

    library_class: Literal["Emu3VQVAE"] = "Emu3VQVAE"

    @property
    def stride(self) -> int:
        """Pixels a token covers along each axis."""
        return self.halved("channel_multiplier")

    @property
    def codebook_size(self) -> int:
        """Entries of the codebook."""
        return self.number("codebook_size")


@dataclass(frozen=True)
class ChameleonVQVAEConfig(LibraryConfig):
    """One codebook. The library has the encoder only; the decoder is this package's, where the weights have one.

    Args:
        settings: Settings of the class.
        library_class: The class.
        decoder: Whether the weights have a decoder, in the layout of VQGAN; without one, nothing can be decoded.
    """

    library_class: Literal["ChameleonVQVAE"] = "ChameleonVQVAE"
    decoder: bool = False

    @property
    def stride(self) -> int:
        """Pixels a token covers along each axis."""
        return self.autoencoder.stride

    @property
    def codebook_size(self) -> int:
        """Entries of the codebook."""
        return self.number("num_embeddings")

    @property
    def autoencoder(self) -> AutoencoderConfig:
        """The network, as this package calls it."""
        attention = self.values.get("attn_type") == "vanilla"
        return AutoencoderConfig(
            z_channels=self.number("latent_channels"),
            channels=self.number("base_channels"),
            channel_multipliers=tuple(self.listed("channel_multiplier")),
            num_res_blocks=self.number("num_res_blocks"),
            attn_resolutions=tuple(self.values.get("attn_resolutions") or ()) if attention else (),
            resolution=self.number("resolution"),
            mid_attention=attention,
        )


@dataclass(frozen=True)
class JanusVQVAEConfig(LibraryConfig):
    """One codebook.

    Args:
        settings: Settings of the class.
        library_class: The class.
    """

    library_class: Literal["JanusVQVAE"] = "JanusVQVAE"

    @property
    def stride(self) -> int:
        """Pixels a token covers along each axis."""
        return self.halved("channel_multiplier")

    @property
    def codebook_size(self) -> int:
        """Entries of the codebook."""
        return self.number("num_embeddings")
