"""Configuration and layout arithmetic of SoftVQ-VAE; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from tokbench.layout import TokenLayout, check_one_size
from tokbench.nn.configs import ViTConfig


@dataclass(frozen=True)
class SoftVQConfig:
    """Shape of a SoftVQ-VAE.

    Args:
        encoder: The transformer that fills the tokens.
        decoder: The transformer that fills the patches of the image.
        length: Tokens an image.
        channels: Values of a token, and of a code.
        codebook_size: Codes that a token is mixed of.
        codebooks: As many parts of the sequence have codes of their own.
        temperature: By which likenesses are divided before they weigh codes; a low one mixes few.
        image_size: Side of the square images in pixels.

    Raises:
        ValueError: If a number is not positive, patches do not fill the image, or parts do not fill the sequence.
    """

    encoder: ViTConfig
    decoder: ViTConfig
    length: int
    channels: int = 32
    codebook_size: int = 8192
    codebooks: int = 4
    temperature: float = 0.07
    image_size: int = 256

    def __post_init__(self) -> None:
        if min(self.length, self.channels, self.codebook_size, self.codebooks) < 1 or not 0 < self.temperature < inf:
            raise ValueError(f"length, channels, codebook_size, codebooks and temperature must be positive, got {self}")
        if self.length % self.codebooks:
            raise ValueError(f"{self.codebooks} codebooks do not share {self.length} tokens")
        self.encoder.grid(self.image_size)
        self.decoder.grid(self.image_size)

    @property
    def stride(self) -> int:
        """Pixels of the encoder's patches along each axis; images have one size."""
        return self.encoder.patch_size

    def layout(self, height: int, width: int) -> TokenLayout:
        """A sequence of ``length`` latents, for images of one size."""
        check_one_size(height, width, self.image_size, model="SoftVQ-VAE")
        return TokenLayout((height, width), (self.length,), channels=self.channels)
