"""Configuration and layout arithmetic of FlowMo; no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tokbench.layout import TokenLayout, check_one_size
from tokbench.nn.configs import MMDiTConfig, Places
from tokbench.nn.schedules import schedule_times, time_of_sigma
from tokbench.quantizers.configs import LONGEST_CODE, MOST_BITS


@dataclass(frozen=True)
class FlowMoConfig:
    """Shape of a FlowMo tokenizer and how it decodes.

    Args:
        encoder: The transformer that fills the code tokens.
        decoder: The transformer that denoises patches.
        bits: Bits of a code.
        codebooks: Codes a token; a token has ``bits * codebooks`` channels.
        code_length: Code tokens an image.
        image_size: Side of the square images, in pixels; decoding from codes alone needs it.
        patch_size: Side of the square patches.
        code_places: Where code tokens stand among the patches, see ``tokbench.nn.mmdit.code_positions``.
        steps: Euler steps of decoding.
        schedule: ``linear`` or ``pow_P``, see ``tokbench.nn.schedules``.
        guidance: Scale of classifier-free guidance; 1 is none.
        guidance_sigmas: Guidance acts where the ratio of noise to image is from the first to the second, both ends included. ``(0, inf)``
            guides every step, as upstream does without an interval.
        precision: ``bf16`` runs the networks under autocast, as the published evaluation does.
        entropy_weight: Weight of the quantizer's entropy term; matters in training only.
        commitment_weight: Weight of the quantizer's commitment term; matters in training only.

    Raises:
        ValueError: If a size is not positive or not a multiple of the patch, or a decoding setting is not one.
    """

    encoder: MMDiTConfig
    decoder: MMDiTConfig
    bits: int
    codebooks: int
    code_length: int = 256
    image_size: int = 256
    patch_size: int = 4
    code_places: Places = "diagonal"
    steps: int = 25
    schedule: str = "pow_0.25"
    guidance: float = 1.5
    guidance_sigmas: tuple[float, float] = (0.17, 1.02)
    precision: Literal["fp32", "bf16"] = "fp32"
    entropy_weight: float = 0.0025
    commitment_weight: float = 0.000625

    def __post_init__(self) -> None:
        if min(self.bits, self.codebooks, self.code_length, self.image_size, self.patch_size, self.steps) < 1:
            raise ValueError(f"bits, codebooks, code_length, image_size, patch_size and steps must be positive, got {self}")
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size must be a multiple of the patch size {self.patch_size}, got {self.image_size}")
        if self.bits > (MOST_BITS if self.entropy_weight else LONGEST_CODE):
            raise ValueError(
                f"a code has at most {LONGEST_CODE} bits, {MOST_BITS} unless entropy_weight is 0, got {self.bits}; use more codebooks"
            )
        low, high = self.guidance_sigmas
        if not 0 <= low <= high or math.isinf(low):
            raise ValueError(f"guidance_sigmas must be two rising numbers from 0, the second may be inf; got {self.guidance_sigmas}")
        if not all(0 <= weight < math.inf for weight in (self.entropy_weight, self.commitment_weight)):
            raise ValueError(f"entropy_weight and commitment_weight must be finite numbers from 0, got {self}")
        if not 0 <= self.guidance < math.inf:
            raise ValueError(f"guidance must be a finite number from 0, got {self.guidance}")
        if self.code_places not in ("diagonal", "grid"):
            raise ValueError(f"code_places is diagonal or grid, got {self.code_places!r}")
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"precision is fp32 or bf16, got {self.precision!r}")
        schedule_times(self.schedule, self.steps)

    @property
    def guided(self) -> tuple[bool, ...]:
        """Whether each step is guided: its time lies where guidance acts, and the scale is not 1."""
        low, high = map(time_of_sigma, self.guidance_sigmas)
        return tuple(self.guidance != 1.0 and low <= time <= high for time in schedule_times(self.schedule, self.steps)[:-1])

    @property
    def context_dim(self) -> int:
        """Channels of a code token."""
        return self.bits * self.codebooks

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        side = self.image_size // self.patch_size
        return side, side

    @property
    def stride(self) -> int:
        """Pixels of a patch along each axis; images have one size."""
        return self.patch_size

    def layout(self, height: int, width: int) -> TokenLayout:
        """A sequence of ``code_length`` positions with ``codebooks`` codes each, for images of one size."""
        check_one_size(height, width, self.image_size, model="FlowMo", hint=", or --set image_size=...")
        return TokenLayout((height, width), grid=(self.code_length,), codebook_sizes=(2**self.bits,) * self.codebooks)


PUBLISHED_ENCODER = MMDiTConfig(hidden=768, heads=12, depth=8, axes=(8, 28, 28), published=True)
PUBLISHED_DECODER = MMDiTConfig(hidden=1152, heads=12, depth=16, axes=(12, 42, 42), published=True)
"""The two sides of the published networks, of muP width 4 and 6."""

TINY_ENCODER = MMDiTConfig(hidden=192, heads=3, depth=2, axes=(16, 24, 24), theta=100.0)
TINY_DECODER = MMDiTConfig(hidden=192, heads=3, depth=4, axes=(16, 24, 24), theta=100.0)
"""Small enough for a laptop: 7.3 M parameters together. The base of the rotation suits a grid of 16 patches, not 64."""
