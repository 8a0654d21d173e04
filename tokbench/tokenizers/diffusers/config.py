"""Configurations of diffusers' autoencoders: which class, its settings, and how the layout follows from them; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tokbench.tokenizers.library.config import LibraryConfig


@dataclass(frozen=True)
class AutoencoderKLConfig(LibraryConfig):
    """Continuous latents, one stride of 2 between blocks. Latents are raw: ``scaling_factor`` and ``shift_factor`` are not applied.

    Args:
        settings: Settings of the class.
        library_class: The class.
        posterior: Whether encode returns the posterior's mean or a sample (which needs seeds).
    """

    library_class: Literal["AutoencoderKL"] = "AutoencoderKL"
    posterior: Literal["mean", "sample"] = "mean"

    @property
    def stride(self) -> int:
        """Pixels a latent covers along each axis."""
        return 2 ** (len(self.listed("block_out_channels")) - 1)

    @property
    def channels(self) -> int:
        """Latent channels."""
        return self.number("latent_channels")

    @property
    def encode_is_stochastic(self) -> bool:
        """Only with ``posterior="sample"``."""
        return self.posterior == "sample"


@dataclass(frozen=True)
class ConsistencyDecoderConfig(LibraryConfig):
    """The encoder of ``AutoencoderKL`` with a decoder that turns noise into the image; it scales the raw latents itself.

    Args:
        settings: Settings of the class.
        library_class: The class.
        posterior: Whether encode returns the posterior's mean or a sample (which needs seeds).
        decoder_steps: Evaluations of the decoder an image; the library's schedule has two.
    """

    library_class: Literal["ConsistencyDecoderVAE"] = "ConsistencyDecoderVAE"
    posterior: Literal["mean", "sample"] = "mean"
    decoder_steps: Literal[2] = 2

    @property
    def stride(self) -> int:
        """Pixels a latent covers along each axis."""
        return 2 ** (len(self.listed("encoder_block_out_channels")) - 1)

    @property
    def channels(self) -> int:
        """Latent channels."""
        return self.number("latent_channels")

    @property
    def encode_is_stochastic(self) -> bool:
        """Only with ``posterior="sample"``."""
        return self.posterior == "sample"

    @property
    def decode_is_stochastic(self) -> bool:
        """Always."""
        return True


@dataclass(frozen=True)
class VQModelConfig(LibraryConfig):
    """One codebook.

    Args:
        settings: Settings of the class.
        library_class: The class.
    """

    library_class: Literal["VQModel"] = "VQModel"

    @property
    def stride(self) -> int:
        """Pixels a token covers along each axis."""
        return 2 ** (len(self.listed("block_out_channels")) - 1)

    @property
    def codebook_size(self) -> int:
        """Entries of the codebook."""
        return self.number("num_vq_embeddings")


@dataclass(frozen=True)
class AutoencoderTinyConfig(LibraryConfig):
    """Continuous latents, raw: neither squeezed into [0, 1] nor rounded to bytes, as the library's ``forward`` does.

    Args:
        settings: Settings of the class.
        library_class: The class.
    """

    library_class: Literal["AutoencoderTiny"] = "AutoencoderTiny"

    @property
    def stride(self) -> int:
        """Pixels a latent covers along each axis."""
        down = 2 ** (len(self.listed("num_encoder_blocks")) - 1)
        up = self.number("upsampling_scaling_factor") ** (len(self.listed("num_decoder_blocks")) - 1)
        return _same(down, up)

    @property
    def channels(self) -> int:
        """Latent channels."""
        return self.number("latent_channels")


@dataclass(frozen=True)
class AutoencoderDCConfig(LibraryConfig):
    """Continuous latents, raw: ``scaling_factor`` is not applied.

    Args:
        settings: Settings of the class.
        library_class: The class.
    """

    library_class: Literal["AutoencoderDC"] = "AutoencoderDC"

    @property
    def stride(self) -> int:
        """Pixels a latent covers along each axis."""
        return _same(_dc_stride(self.listed("encoder_layers_per_block")), _dc_stride(self.listed("decoder_layers_per_block")))

    @property
    def channels(self) -> int:
        """Latent channels."""
        return self.number("latent_channels")


def _dc_stride(layers: list[int]) -> int:
    """A block is followed by a stride of 2 if it is not the last and has layers; a first one without layers is a stride itself."""
    return 2 ** sum(place == 0 or count > 0 for place, count in enumerate(layers[:-1]))


def _same(down: int, up: int) -> int:
    if down != up:
        raise ValueError(f"the encoder makes images {down} times smaller, the decoder {up} times larger")
    return down
