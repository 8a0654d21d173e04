"""Configurations of diffusers' autoencoders: which class, its settings, and how the layout follows from them; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from tokbench.tokenizers.library.config import LibraryConfig
from tokbench.tokenizers.normalisation import Normalisation


@dataclass(frozen=True)
class LatentsConfig(LibraryConfig):
    """Continuous latents, of a class that calls their channels as most do.

    Args:
        settings: Settings of the class.
        library_class: The class.
    """

    @property
    def channels(self) -> int:
        """Latent channels."""
        return self.number("latent_channels")


@dataclass(frozen=True)
class PosteriorConfig(LatentsConfig):
    """Latents of a Gaussian for each position.

    Args:
        settings: Settings of the class.
        library_class: The class.
        posterior: Whether encode returns the posterior's mean or a sample (which needs seeds).
    """

    posterior: Literal["mean", "sample"] = "mean"

    @property
    def encode_is_stochastic(self) -> bool:
        """Only with ``posterior="sample"``."""
        return self.posterior == "sample"


@dataclass(frozen=True)
class AutoencoderKLConfig(PosteriorConfig):
    """Continuous latents, one stride of 2 between blocks. Latents are raw: ``scaling_factor`` and ``shift_factor`` are not applied.

    Args:
        settings: Settings of the class.
        library_class: The class.
        posterior: Whether encode returns the posterior's mean or a sample (which needs seeds).
    """

    library_class: Literal["AutoencoderKL"] = "AutoencoderKL"

    @property
    def stride(self) -> int:
        """Pixels a latent covers along each axis."""
        return self.halved("block_out_channels")


@dataclass(frozen=True)
class ConsistencyDecoderConfig(PosteriorConfig):
    """The encoder of ``AutoencoderKL`` with a decoder that turns noise into the image; it scales the raw latents itself.

    Args:
        settings: Settings of the class.
        library_class: The class.
        posterior: Whether encode returns the posterior's mean or a sample (which needs seeds).
        decoder_steps: Evaluations of the decoder an image; the library's schedule has two.
    """

    library_class: Literal["ConsistencyDecoderVAE"] = "ConsistencyDecoderVAE"
    decoder_steps: Literal[2] = 2

    @property
    def stride(self) -> int:
        """Pixels a latent covers along each axis."""
        return self.halved("encoder_block_out_channels")

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
        return self.halved("block_out_channels")

    @property
    def codebook_size(self) -> int:
        """Entries of the codebook."""
        return self.number("num_vq_embeddings")


@dataclass(frozen=True)
class AutoencoderTinyConfig(LatentsConfig):
    """Continuous latents, raw: neither squeezed into [0, 1] nor rounded to bytes, as the library's ``forward`` does.

    Args:
        settings: Settings of the class.
        library_class: The class.
    """

    library_class: Literal["AutoencoderTiny"] = "AutoencoderTiny"

    @property
    def stride(self) -> int:
        """Pixels a latent covers along each axis."""
        down = self.halved("num_encoder_blocks")
        up = self.number("upsampling_scaling_factor") ** (len(self.listed("num_decoder_blocks")) - 1)
        return _same(down, up)


@dataclass(frozen=True)
class AutoencoderDCConfig(LatentsConfig):
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
    def normalisation(self) -> Normalisation | None:
        """The factor that the settings say; 1 is what the library writes where nothing is known."""
        found = super().normalisation
        return None if found == Normalisation() else found


FRAMES = (
    "AutoencoderKLWan",
    "AutoencoderKLQwenImage",
    "AutoencoderKLQwenImage21",
    "AutoencoderKLHunyuanVideo",
    "AutoencoderKLHunyuanVideo15",
    "AutoencoderKLLTXVideo",
    "AutoencoderKLCogVideoX",
    "AutoencoderKLCosmos",
    "AutoencoderKLMagvit",
    "AutoencoderKLHunyuanImageRefiner",
    "AutoencoderKLKVAEVideo",
    "AutoencoderKLLTX2Video",
    "AutoencoderKLMochi",
    "Kandinsky6SRVAE",
)
"""Classes of video, which take an image for a clip of one frame."""


@dataclass(frozen=True)
class GaussianConfig(PosteriorConfig):
    """Continuous latents, raw, of the further classes that take images, one of video for clips of one frame.

    Args:
        settings: Settings of the class.
        library_class: The class.
        posterior: Whether encode returns the posterior's mean or a sample (which needs seeds).

    Raises:
        ValueError: If the decoder needs more than latents.
    """

    library_class: Literal[
        "AsymmetricAutoencoderKL",
        "AutoencoderKLFlux2",
        "AutoencoderKLHunyuanImage",
        "AutoencoderKLWan",
        "AutoencoderKLQwenImage",
        "AutoencoderKLQwenImage21",
        "AutoencoderKLHunyuanVideo",
        "AutoencoderKLHunyuanVideo15",
        "AutoencoderKLLTXVideo",
        "AutoencoderKLCogVideoX",
        "AutoencoderKLCosmos",
        "AutoencoderKLMagvit",
        "AutoencoderKLHunyuanImageRefiner",
        "AutoencoderKLKVAE",
        "AutoencoderKLKVAEVideo",
        "AutoencoderKLLTX2Video",
        "AutoencoderKLMochi",
        "Kandinsky6SRVAE",
        "AutoencoderKLTemporalDecoder",
    ]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.values.get("timestep_conditioning"):
            raise ValueError(f"the decoder of this {self.library_class} takes a time of diffusion, and here is none to give")

    @property
    def stride(self) -> int:
        """Pixels a position covers along each axis."""
        match self.library_class:
            case "AutoencoderKLWan" | "AutoencoderKLQwenImage" | "AutoencoderKLQwenImage21":
                return self.patch * self.halved("dim_mult")
            case "AutoencoderKLLTXVideo":
                return self.patch * 2 ** sum(map(bool, self.values.get("spatio_temporal_scaling", ())))
            case "AutoencoderKLLTX2Video":
                kinds = zip(self.values.get("spatio_temporal_scaling", ()), self.values.get("downsample_type", ()), strict=False)
                return self.patch * 2 ** sum(bool(halves) and kind != "temporal" for halves, kind in kinds)
            case "AutoencoderKLMochi":
                return prod(self.listed("spatial_expansions"))
            case "Kandinsky6SRVAE":
                return self.halved("encoder_block_out_channels")
            case "AutoencoderKLFlux2":
                return self.patch * self.halved("block_out_channels")
            case "AutoencoderKLCogVideoX" | "AutoencoderKLMagvit" | "AutoencoderKLTemporalDecoder":
                return self.halved("block_out_channels")
            case "AutoencoderKLKVAE" | "AutoencoderKLKVAEVideo":
                return self.halved("ch_mult")
            case "AsymmetricAutoencoderKL":
                return _same(self.halved("down_block_out_channels"), self.halved("up_block_out_channels"))
            case _:
                return self.number("spatial_compression_ratio")

    @property
    def channels(self) -> int:
        """Values of a position; FLUX.2's are read in squares, of ``patch`` latents a side."""
        if self.library_class == "AutoencoderKLFlux2":
            return self.patch**2 * super().channels
        name = next((name for name in ("z_dim", "z_channels") if name in self.values), None)
        return super().channels if name is None else self.number(name)

    @property
    def patch(self) -> int:
        """Side of the squares of pixels, of FLUX.2 of latents, that become channels."""
        side = self.values.get("patch_size") or 1
        sides = side if isinstance(side, list) else [side]
        if len(set(sides)) != 1 or type(sides[0]) is not int or sides[0] < 1:
            raise ValueError(f"patch_size of {self.library_class} must be a positive whole number, got {side!r}")
        return int(sides[0])

    @property
    def image_channels(self) -> int:
        """Wan's count the squares, Qwen-Image 2.1 has opacity too."""
        channels = 4 if self.library_class == "AutoencoderKLQwenImage21" else 3
        squared = self.library_class in ("AutoencoderKLWan", "AutoencoderKLQwenImage21")
        return channels * self.patch**2 if squared else channels

    @property
    def input_channels(self) -> int:
        """Mochi's encoder adds two frequencies of each colour to images itself, as sines and cosines."""
        return self.image_channels * (5 if self.library_class == "AutoencoderKLMochi" else 1)


def _dc_stride(layers: list[int]) -> int:
    """A block is followed by a stride of 2 if it is not the last and has layers; a first one without layers is a stride itself."""
    return 2 ** sum(place == 0 or count > 0 for place, count in enumerate(layers[:-1]))


def _same(down: int, up: int) -> int:
    if down != up:
        raise ValueError(f"the encoder makes images {down} times smaller, the decoder {up} times larger")
    return down
