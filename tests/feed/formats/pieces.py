"""A small export with labels and captions, of a tokenizer whose codes are pixels, and its sequences as they should be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tokbench.data.source import ImageSource
from tokbench.feed import ByteText, FormatOptions, TokenDataset, Vocabulary, build, loss_mask
from tokbench.feed.export import ExportOptions, export
from tokbench.layout import TokenLayout
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import ContinuousTokens, DiscreteTokens

PROTOCOL = get_protocol(changes={"size": 8, "micro_batch": 4})
COUNT = 11


class Pictures(ImageSource):
    """Noise of 8 px; all have labels, and every fourth has no caption."""

    name, ready_size, ids, label_names = "pictures", 8, tuple(f"{i:03d}" for i in range(COUNT)), ("cat", "dog")

    def read(self, index):
        return Image.fromarray(np.random.default_rng(index).integers(0, 256, (8, 8, 3), np.uint8))

    def raw_digest(self, index):
        return index.to_bytes(32, "big")

    def label(self, index):
        return index % 2

    def caption(self, index):
        return None if index % 4 == 0 else f"picture {index}: ä"


class Bare(ImageSource):
    """The same without labels and captions."""

    name, ready_size, ids = "bare", 8, Pictures.ids
    read, raw_digest = Pictures.read, Pictures.raw_digest


class Partly(Pictures):
    """The same without captions, and the third has no label."""

    caption = ImageSource.caption

    def label(self, index):
        return None if index == 2 else index % 2


@dataclass(frozen=True)
class PiecesConfig:
    """Codebooks; none means latents."""

    sizes: tuple[int, ...]
    grid: tuple[int, ...] = (2, 3)


class Pieces(Tokenizer):
    """The bytes of six pixels, spread over as many codebooks as wanted."""

    def __init__(self, *sizes, grid=(2, 3)):
        super().__init__()
        self.config, self.name = PiecesConfig(sizes, grid), "tests/pieces"

    def layout(self, height, width):
        return TokenLayout((height, width), self.config.grid, self.config.sizes, 0 if self.config.sizes else 3)

    def _encode(self, images, seeds):
        values = images[:, :, :2, :3].flatten(2).transpose(1, 2).contiguous()
        if not self.config.sizes:
            return ContinuousTokens(values, self.config.grid)
        codes = [((values[..., k % 3].double() + 1) / 2 * (size - 1)).round().long() for k, size in enumerate(self.config.sizes)]
        return DiscreteTokens(torch.stack(codes, -1), self.config.grid, self.config.sizes)

    def _decode(self, tokens, seeds):
        raise NotImplementedError


def exported(folder: Path, *sizes: int, source: ImageSource | None = None, grid=(2, 3), rows: int = 4, **changes) -> Path:
    """Export into shards of so many rows, three by default."""
    options = ExportOptions(rows_per_shard=rows, **changes)
    return export(Pieces(*sizes, grid=grid), source or Pictures(), folder, protocol=PROTOCOL, options=options).folder


def expected(folder: Path, options: FormatOptions | None = None) -> list[tuple[list[int], list[bool]]]:
    """Ids and loss of every row, by the public functions, from what ``TokenDataset`` reads."""
    options, rows = options or FormatOptions(), TokenDataset(folder)
    vocabulary = options.vocabulary or Vocabulary.over(options.text or ByteText(), rows.job.layout, rows.job.tokenizer)
    found = []
    for item in (rows[index] for index in range(len(rows))):
        names = {"none": "", "auto": item.get("caption", ""), "caption": item.get("caption", "")}
        text = rows.label_names[item["label"]] if options.condition == "label" else names[options.condition]
        image = DiscreteTokens(item["codes"][None], rows.grid, rows.codebook_sizes)
        parts = [text, image] if text else [image]
        sequence = build(parts, vocabulary)
        mask = loss_mask(sequence, vocabulary, parts=None if options.loss == "all" else [len(parts) - 1])
        found.append((sequence.ids.tolist(), mask.tolist()))
    return found
