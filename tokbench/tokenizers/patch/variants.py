"""Configuration, layout arithmetic and variants of the patch tokenizer; no torch."""

from __future__ import annotations

from dataclasses import dataclass

from tokbench.layout import TokenLayout
from tokbench.tokenizers.family import Family, Variant


@dataclass(frozen=True)
class PatchConfig:
    """Shape of the patch tokenizer.

    Args:
        patch: Side of a patch in pixels.
        codebook_size: Number of patches to choose from.

    Raises:
        ValueError: If the patch or the codebook is too small.
    """

    patch: int = 4
    codebook_size: int = 1024

    def __post_init__(self) -> None:
        if self.patch < 1 or self.codebook_size < 2:
            raise ValueError(f"a patch has at least 1 pixel and a codebook at least 2 patches, got {self.patch} and {self.codebook_size}")

    @property
    def stride(self) -> int:
        """Side of a patch."""
        return self.patch

    def layout(self, height: int, width: int) -> TokenLayout:
        """One token per patch."""
        return TokenLayout.strided(height, width, self.stride, codebook_sizes=(self.codebook_size,))


FAMILY = Family(
    name="patch",
    summary="k-means of raw patches: the baseline without a network",
    model="tokbench.tokenizers.patch.model:PatchKMeans",
    default="kmeans-1024",
    variants=(
        Variant(
            name="kmeans-1024",
            config=PatchConfig(),
            image_size=64,
            summary="nearest of 1024 raw 4x4 patches; the bits of vqvae/tiny without a network",
            weights="patch-kmeans-1024.safetensors",
            source="fitted by tokbench, recipe patch-kmeans-1024",
            licence="Apache-2.0",
            trained_with=("data:photos/train",),
        ),
    ),
)
