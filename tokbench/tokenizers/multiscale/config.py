"""Configuration and layout arithmetic of the multi-scale tokenizers; no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from tokbench.configs import UNLESS_DEFAULT
from tokbench.errors import TokbenchError
from tokbench.layout import TokenLayout
from tokbench.quantizers.configs import Enlarging
from tokbench.tokenizers.conv_vq.config import ConvVQConfig


@dataclass(frozen=True, kw_only=True)
class MultiScaleConfig(ConvVQConfig):
    """Shape of a multi-scale tokenizer: a convolutional one, whose quantizer quantizes the map of every scale.

    Args:
        scales: Sides of the maps, coarse to fine; the last is the side of an image in strides. Heights, where maps are not square.
        enlarge: How a map is brought to the size of the last one.
        blends: Convolutions that the enlarged maps share, see ``MultiScaleQuantizer``; 0 has none.
        blend: Share of the convolved map, from 0 to 1.
        code_kernel: Side of the convolutions before and after the code.
        widths: Widths of the maps, where they are not square.

    Raises:
        ValueError: If the network and its quantizer do not fit. If scales or widths do not rise from 1 or more, or are not as many. If there
            are more blends than scales, or a share or a side is not one.
    """

    scales: tuple[int, ...]
    enlarge: Enlarging = "bicubic"
    blends: int = 0
    blend: float = 0.5
    code_kernel: int = 1
    widths: tuple[int, ...] = field(default=(), metadata=UNLESS_DEFAULT)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.scales or self.scales[0] < 1 or any(now > then for now, then in pairwise(self.scales)):
            raise ValueError(f"scales must rise from 1 or more, got {self.scales}")
        if self.widths and (self.widths[0] < 1 or any(now > then for now, then in pairwise(self.widths))):
            raise ValueError(f"widths must rise from 1 or more, got {self.widths}")
        if self.widths and len(self.widths) != len(self.scales):
            raise ValueError(f"there are as many widths as scales, {len(self.scales)}, got {self.widths}; set both together")
        if not 0 <= self.blends <= len(self.scales) or not 0 <= self.blend <= 1:
            raise ValueError(f"blends is 0 to {len(self.scales)}, as many as scales, and blend 0 to 1; got {self.blends} and {self.blend}")
        if self.code_kernel < 1 or self.code_kernel % 2 != 1:
            raise ValueError(f"code_kernel must be odd, got {self.code_kernel}")

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the last map."""
        return self.scales[-1], (self.widths or self.scales)[-1]

    def layout(self, height: int, width: int) -> TokenLayout:
        """The maps of all scales as one sequence, for images of one size."""
        layout = TokenLayout.multi_scale(self.stride, self.scales, codebook_sizes=self.quantizer.codebook_sizes, widths=self.widths)
        if (height, width) != layout.image_size:
            tall, wide = layout.image_size
            named = f"{tall}" if tall == wide else f"{tall}x{wide}"
            raise TokbenchError(
                f"image size {height}x{width} does not fit: these scales are for {tall}x{wide} (--size {named}, or --set scales=1,2,..., "
                "for images that are not square with --set widths=1,2,...)"
            )
        return layout
