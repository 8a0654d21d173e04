"""Lossless codecs beside the probe: what PNG and WebP take for the original pixels, and for those that the tokens decode to."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from tokbench.bench.encode import reproducible
from tokbench.bench.loader import LoadReport, choose, load_batches
from tokbench.bench.psnr import psnr
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed.dataset import TokenDataset
from tokbench.feed.encoding import decode_batch
from tokbench.records.protocol import Protocol
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import DiscreteTokens

CODECS = ("png", "webp")

SETTINGS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG", "optimize": True},
    "webp": {"format": "WEBP", "lossless": True, "quality": 100, "method": 6},
}


def measure_pixels(
    tokenizer: Tokenizer,
    dataset: TokenDataset,
    source: ImageSource,
    protocol: Protocol,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, dict[str, float]]:
    """Compress originals and reconstructions, and compare them.

    Args:
        tokenizer: That made the tokens.
        dataset: An export of the source under the protocol.
        source: Its images.
        protocol: Size, crop, choice and seed.
        progress: Called with images done and in all.

    Returns:
        By image id: bits of whole files as ``png``, ``webp``, ``png_reconstruction`` and ``webp_reconstruction``; ``psnr`` in dB.

    Raises:
        TokbenchError: If the source no longer holds the images that were exported.
    """
    row_of = {dataset[row]["id"]: row for row in range(len(dataset))}
    rows: dict[str, dict[str, float]] = {name: {} for name in (*CODECS, *(f"{name}_reconstruction" for name in CODECS), "psnr")}
    done = 0
    with reproducible():
        for batch in load_batches(source, choose(source, protocol), protocol, LoadReport(), read_ahead=64, strict=False):
            if not row_of.keys() >= set(batch.ids):
                raise TokbenchError(f"{source.name} holds images that were not exported; delete the folder of tokens and start again")
            codes = torch.stack([dataset[row_of[name]]["codes"] for name in batch.ids])
            filled = torch.cat([codes, codes[-1:].expand(protocol.micro_batch - len(codes), -1, -1)])
            tokens = DiscreteTokens(filled.to(tokenizer.device), dataset.grid, dataset.codebook_sizes)
            decoded = decode_batch(tokenizer, tokens, batch.ids, protocol)[: len(codes)]
            for name in CODECS:
                rows[name] |= zip(batch.ids, file_bits(batch.images, name), strict=True)
                rows[f"{name}_reconstruction"] |= zip(batch.ids, file_bits(decoded, name), strict=True)
            rows["psnr"] |= zip(batch.ids, psnr(batch.images, decoded).tolist(), strict=True)
            done += len(codes)
            progress(done, len(dataset))
    return rows


def file_bits(images: UInt8[Tensor, "b 3 h w"], codec: str) -> list[float]:
    """Bits of the file of each image, headers included.

    Args:
        images: Bytes.
        codec: One of ``CODECS``.

    Raises:
        ValueError: If there is no such codec.
    """
    if codec not in CODECS:
        raise ValueError(f"codecs are {', '.join(CODECS)}, got {codec!r}")
    bits = []
    for pixels in images.permute(0, 2, 3, 1).cpu().numpy():
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, **SETTINGS[codec])
        bits.append(8.0 * len(stream.getvalue()))
    return bits
