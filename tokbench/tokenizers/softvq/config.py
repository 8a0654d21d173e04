"""Configuration and layout arithmetic of SoftVQ-VAE, and of what else makes such sequences; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar

from tokbench.layout import TokenLayout, check_one_size
from tokbench.nn.configs import ViTConfig


@dataclass(frozen=True)
class SequenceConfig:
    """Shape of two transformers around a sequence of continuous latents.

    Args:
        encoder: The transformer that fills the tokens.
        decoder: The transformer that fills the patches of the image.
        length: Tokens an image.
        channels: Values of a token.
        image_size: Side of the square images in pixels.

    Raises:
        ValueError: If a number is not positive, or patches do not fill the image.
    """

    model: ClassVar[str]

    encoder: ViTConfig
    decoder: ViTConfig
    length: int
    channels: int = 32
    image_size: int = 256

    def __post_init__(self) -> None:
        if min(self.length, self.channels) < 1:
            raise ValueError(f"length and channels must be positive, got {self}")
        self.encoder.grid(self.image_size)
        self.decoder.grid(self.image_size)

    @property
    def stride(self) -> int:
        """Pixels of the encoder's patches along each axis; images have one size."""
        return self.encoder.patch_size

    def layout(self, height: int, width: int) -> TokenLayout:
        """A sequence of ``length`` latents, for images of one size."""
        check_one_size(height, width, self.image_size, model=self.model)
        return TokenLayout((height, width), (self.length,), channels=self.channels)


@dataclass(frozen=True)
class SoftVQConfig(SequenceConfig):
    """Shape of a SoftVQ-VAE.

    Args:
        encoder: The transformer that fills the tokens.
        decoder: The transformer that fills the patches of the image.
        length: Tokens an image.
        channels: Values of a token, and of a code.
        image_size: Side of the square images in pixels.
        codebook_size: Codes that a token is mixed of.
        codebooks: As many parts of the sequence have codes of their own.
        temperature: By which likenesses are divided before they weigh codes; a low one mixes few.

    Raises:
        ValueError: If a number is not positive, patches do not fill the image, or parts do not fill the sequence.
    """

    model = "SoftVQ-VAE"

    codebook_size: int = 8192
    codebooks: int = 4
    temperature: float = 0.07

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.codebook_size, self.codebooks) < 1 or not 0 < self.temperature < inf:
            raise ValueError(f"codebook_size, codebooks and temperature must be positive, got {self}")
        if self.length % self.codebooks:
            raise ValueError(f"{self.codebooks} codebooks do not share {self.length} tokens")
