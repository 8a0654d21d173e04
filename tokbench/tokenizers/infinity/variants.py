"""Variants of Infinity's tokenizer."""

from __future__ import annotations

from tokbench.nn.configs import AutoencoderConfig
from tokbench.quantizers.configs import BSQ
from tokbench.tokenizers.family import Family, Variant
from tokbench.tokenizers.infinity.config import SCALES, InfinityConfig

FILES = {"d16": 16, "d24": 24, "d32": 32, "d32reg": 32, "d64": 64}
"""Bits of a position by the published file, ``infinity_vae_NAME.pth``."""


def _published(file: str, size: int, scales: int) -> Variant:
    bits, name = FILES[file], file if size == 256 else f"{file}-{size}"
    network = AutoencoderConfig(bits, channel_multipliers=(1, 2, 4, 4, 4), attn_resolutions=(), mid_attention=False)
    codes = -(-bits // 16)  # of more bits, nobody could count or learn codes one by one
    signs = BSQ(bits, codes, entropy_form="analytical", temperature=0.01)
    return Variant(
        name=name,
        config=InfinityConfig(network, signs, quant_convs=False, scales=SCALES[:scales], enlarge="bilinear"),
        image_size=size,
        summary=f"f16, {scales} scales to {SCALES[scales - 1]}, {bits} bits a position in {codes} codes, for {size} px; names of its file unverified",
        source=f"FoundationVision/Infinity, infinity_vae_{file}.pth",
        licence="MIT (repository)",
        file=f"hf:FoundationVision/infinity/infinity_vae_{file}.pth",
        trained_with=("unknown",),
        published=f"infinity/{name}" if size < 1024 else None,
    )


FAMILY = Family(
    name="infinity",
    summary="Infinity (Han et al. 2024): multi-scale residual signs of 16 to 64 channels",
    model="tokbench.tokenizers.infinity.model:Infinity",
    default="d32reg",
    variants=tuple(_published(file, size, scales) for file in FILES for size, scales in ((256, 7), (512, 10), (1024, 13))),
)
