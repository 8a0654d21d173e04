"""Configurations, layout arithmetic and variants of the pixel tokenizers; no torch."""

from __future__ import annotations

from dataclasses import dataclass

from tokbench.layout import TokenLayout
from tokbench.tokenizers.family import Family, Variant


@dataclass(frozen=True)
class RGBConfig:
    """Three tokens a pixel, one per byte: lossless."""

    @property
    def stride(self) -> int:
        """Any size will do."""
        return 1

    def layout(self, height: int, width: int) -> TokenLayout:
        """Three tokens of 256 values a pixel."""
        return TokenLayout.strided(height, width, self.stride, codebook_sizes=(256, 256, 256))


@dataclass(frozen=True)
class PaletteConfig:
    """One token a pixel.

    Args:
        colours: Size of the palette.
    """

    colours: int = 512

    @property
    def stride(self) -> int:
        """Any size will do."""
        return 1

    def layout(self, height: int, width: int) -> TokenLayout:
        """One token a pixel."""
        return TokenLayout.strided(height, width, self.stride, codebook_sizes=(self.colours,))


FAMILY = Family(
    name="pixel",
    summary="pixels as tokens: a palette (Image-GPT, Chen et al. 2020) or raw bytes",
    model="tokbench.tokenizers.pixel.model:build",
    default="palette-512",
    variants=(
        Variant(
            name="rgb",
            config=RGBConfig(),
            image_size=64,
            summary="three bytes a pixel, lossless; calibrates the bench",
            needs_weights=False,
            source="tokbench",
            licence="Apache-2.0",
        ),
        Variant(
            name="palette-512",
            config=PaletteConfig(colours=512),
            image_size=64,
            summary="nearest of 512 colours, one token a pixel; palette fitted by k-means",
            weights="pixel-palette-512.safetensors",
            source="fitted by tokbench, recipe pixel-palette-512; Image-GPT's own clusters load as weights",
            licence="Apache-2.0",
            trained_with=("data:photos/train",),
        ),
        Variant(
            name="image-gpt",
            config=PaletteConfig(colours=512),
            image_size=32,
            summary="nearest of the 512 colours of Image-GPT, one token a pixel",
            file="hf:openai/imagegpt-small/preprocessor_config.json",
            source="openai/image-gpt, kmeans_centers.npy; the clusters of its image processor in transformers",
            licence="Apache-2.0 (model card)",
            trained_with=("data:imagenet/train",),
        ),
    ),
)
