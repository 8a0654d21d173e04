"""Configuration and layout arithmetic of BSQ-ViT; no torch."""

from __future__ import annotations

from dataclasses import dataclass

from tokbench.layout import TokenLayout, check_one_size
from tokbench.nn.configs import ViTConfig
from tokbench.quantizers.configs import BSQ


@dataclass(frozen=True)
class BSQViTConfig:
    """Shape of a BSQ-ViT.

    Args:
        encoder: The transformer that sees patches.
        decoder: The transformer that makes them; its patches are the encoder's.
        quantizer: Bits of a patch, and how many codes they are; its weights of losses matter in training only.
        image_size: Side of the square images in pixels.
        hidden_pixels: Values that a patch has before the last layer makes pixels of them.

    Raises:
        ValueError: If patches of both sides are not of one size, or do not fill the image, or there are no hidden values.
    """

    encoder: ViTConfig
    decoder: ViTConfig
    quantizer: BSQ
    image_size: int = 256
    hidden_pixels: int = 3072

    def __post_init__(self) -> None:
        if self.encoder.patch_size != self.decoder.patch_size:
            raise ValueError(f"patch_size must be one, got {self.encoder.patch_size} and {self.decoder.patch_size}")
        if self.hidden_pixels < 1:
            raise ValueError(f"hidden_pixels must be positive, got {self.hidden_pixels}")
        self.encoder.grid(self.image_size)

    @property
    def stride(self) -> int:
        """Pixels of a patch along each axis."""
        return self.encoder.patch_size

    def layout(self, height: int, width: int) -> TokenLayout:
        """One position a patch, for images of one size."""
        check_one_size(height, width, self.image_size, model="BSQ-ViT")
        return TokenLayout.strided(height, width, self.stride, codebook_sizes=self.quantizer.codebook_sizes)
