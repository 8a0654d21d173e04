"""A few pictures through several tokenizers, for looking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tokbench.bench.encode import decode, encode
from tokbench.bench.loader import fit
from tokbench.bench.metrics.psnr import psnr
from tokbench.conduct import layout_of
from tokbench.data.photos import PhotoCrops
from tokbench.errors import TokbenchError
from tokbench.images import UnreadableImage, load_rgb, to_float, to_uint8
from tokbench.nn.perceptual import build_lpips, lpips_rows
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers.base import Tokenizer
from tokbench.weights.judges import read_judge


@dataclass(frozen=True)
class GridCell:
    """One reconstruction: its pixels ``[H, W, 3]`` and a line below it."""

    pixels: np.ndarray
    caption: str


@dataclass(frozen=True)
class GridRow:
    """One image: its name, its pixels ``[H, W, 3]``, and its reconstructions in the order of the columns."""

    name: str
    original: np.ndarray
    cells: tuple[GridCell, ...]


def read_pictures(specs: Sequence[str], size: int) -> tuple[list[tuple[str, np.ndarray]], list[str]]:
    """Read pictures for a grid.

    Args:
        specs: Image files, or ``photos/test/ID/NN`` for an embedded crop.
        size: Side of the centre square in pixels.

    Returns:
        Names with pixels ``[size, size, 3]``, and attribution lines of the embedded ones.

    Raises:
        TokbenchError: If a picture is missing or unreadable.
    """
    protocol = get_protocol(changes={"size": size})
    pictures, credits = [], []
    for spec in specs:
        if spec.startswith(("photos/test/", "photos/train/")):
            _, split, name = spec.split("/", 2)
            source = PhotoCrops("test" if split == "test" else "train", size)
            if name not in source.ids:
                raise TokbenchError(f"there is no embedded crop {spec!r} at {size} px; they are named like photos/test/{source.ids[0]}")
            index = source.ids.index(name)
            pictures.append((name, np.asarray(source.read(index))))
            credits.append(f"{name}: {source.credit(index)}")
            continue
        try:
            image = load_rgb(Path(spec).expanduser())
        except UnreadableImage as error:
            raise TokbenchError(f"{spec} is not a readable image ({error}); give image files or photos/test/ID/NN") from error
        pictures.append((Path(spec).name, fit(image, protocol)))
    return pictures, credits


def reconstruct(pictures: Sequence[tuple[str, np.ndarray]], tokenizers: Sequence[Tokenizer], *, seed: int = 0) -> list[GridRow]:
    """Run pictures through tokenizers.

    Args:
        pictures: Names with pixels ``[H, W, 3]``, all of one size.
        tokenizers: In the order of the columns.
        seed: Seed of stochastic tokenizers.

    Returns:
        One row a picture, captions with PSNR, LPIPS (AlexNet) and bits.
    """
    references = torch.from_numpy(np.stack([pixels for _, pixels in pictures])).permute(0, 3, 1, 2).contiguous()
    names, protocol = [name for name, _ in pictures], get_protocol(changes={"size": references.shape[2], "seed": seed})
    lpips = build_lpips("alex", read_judge("lpips-alex")[0])
    columns: list[list[GridCell]] = []
    for tokenizer in tokenizers:
        layout = layout_of(tokenizer, *references.shape[2:])
        tokens = encode(tokenizer, to_float(references.to(tokenizer.device)), names, protocol, layout=layout)
        result = to_uint8(decode(tokenizer, tokens, names, protocol)).cpu()
        bits = layout.bits_per_image
        distances = lpips_rows(lpips, to_float(references), to_float(result)).tolist()
        cells = []
        for i, decibels in enumerate(psnr(references, result).tolist()):
            tail = f"{bits:.0f} bits" if bits is not None else "continuous"
            cells.append(GridCell(result[i].permute(1, 2, 0).numpy(), f"{decibels:.1f} dB  LPIPS {distances[i]:.3f}  {tail}"))
        columns.append(cells)
    return [GridRow(name, pixels, tuple(column[i] for column in columns)) for i, (name, pixels) in enumerate(pictures)]
