"""A few pictures through several tokenizers, for looking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from tokbench.bench.encode import decode, encode
from tokbench.bench.fitting import fit
from tokbench.bench.metrics.psnr import psnr
from tokbench.conduct import layout_of
from tokbench.data.photos import PhotoCrops
from tokbench.errors import TokbenchError
from tokbench.image_size import Size, as_size, square_side
from tokbench.images import UnreadableImage, load_rgb, to_float, to_uint8
from tokbench.nn.perceptual import build_lpips, lpips_rows
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import Tokens
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


@dataclass(frozen=True)
class Restored:
    """What one tokenizer makes of a few pictures.

    Args:
        tokens: On the tokenizer's device.
        pixels: Reconstructions, uint8 ``[B, 3, H, W]``, on the CPU.
        psnr: PSNR of each, in decibels.
        lpips: LPIPS of each, by AlexNet.
        bits: Bits an image takes; None for continuous latents.
    """

    tokens: Tokens
    pixels: UInt8[Tensor, "b 3 h w"]
    psnr: tuple[float, ...]
    lpips: tuple[float, ...]
    bits: float | None


def read_pictures(specs: Sequence[str], size: Size, *, resize: bool = True) -> tuple[list[tuple[str, np.ndarray]], list[str]]:
    """Read pictures.

    Args:
        specs: Image files, or ``photos/test/ID/NN`` for an embedded crop.
        size: Side of the centre square in pixels, or height and width of what is cut.
        resize: Whether files of another size are scaled and cut; else they are refused.

    Returns:
        Names with pixels ``[height, width, 3]``, and attribution lines of the embedded ones.

    Raises:
        TokbenchError: If a picture is missing or unreadable, or of another size and not to be resized.
    """
    protocol = get_protocol(changes={"size": size})
    pictures, credits = [], []
    for spec in specs:
        if spec.startswith(("photos/test/", "photos/train/")):
            _, split, name = spec.split("/", 2)
            source = PhotoCrops("test" if split == "test" else "train", square_side(size, "the embedded photos come"))
            if name not in source.ids:
                raise TokbenchError(
                    f"there is no embedded crop {spec!r} at {protocol.size_text} px; they are named like photos/test/{source.ids[0]}"
                )
            index = source.ids.index(name)
            pictures.append((name, np.asarray(source.read(index))))
            credits.append(f"{name}: {source.credit(index)}")
            continue
        try:
            image = load_rgb(Path(spec).expanduser())
        except UnreadableImage as error:
            raise TokbenchError(f"{spec} is not a readable image ({error}); give image files or photos/test/ID/NN") from error
        if not resize and (image.height, image.width) != protocol.shape:
            given, taken = f"{image.height}x{image.width}", "x".join(map(str, protocol.shape))
            raise TokbenchError(f"{spec} is {given} px, {taken} are taken; scale it, or take its centre with --resize")
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
    names = [name for name, _ in pictures]
    columns: list[list[GridCell]] = []
    for tokenizer in tokenizers:
        made = restore(references, names, tokenizer, seed=seed)
        tail = f"{made.bits:.0f} bits" if made.bits is not None else "continuous"
        captions = [f"{decibels:.1f} dB  LPIPS {far:.3f}  {tail}" for decibels, far in zip(made.psnr, made.lpips, strict=True)]
        columns.append([GridCell(pixels.permute(1, 2, 0).numpy(), text) for pixels, text in zip(made.pixels, captions, strict=True)])
    return [GridRow(name, pixels, tuple(column[i] for column in columns)) for i, (name, pixels) in enumerate(pictures)]


def restore(references: UInt8[Tensor, "b 3 h w"], names: Sequence[str], tokenizer: Tokenizer, *, seed: int = 0) -> Restored:
    """Encode and decode pictures with one tokenizer, as the bench does.

    Args:
        references: Pictures of one size, on the CPU.
        names: Their names, from which stochastic tokenizers have their noise.
        tokenizer: On its device.
        seed: Seed of stochastic tokenizers.

    Raises:
        TokbenchError: If the tokenizer does not take pictures of this size.
    """
    protocol = get_protocol(changes={"size": as_size(*references.shape[2:]), "seed": seed})
    layout = layout_of(tokenizer, *references.shape[2:])
    tokens = encode(tokenizer, to_float(references.to(tokenizer.device)), names, protocol, layout=layout)
    result = to_uint8(decode(tokenizer, tokens, names, protocol)).cpu()
    distances = lpips_rows(_lpips(), to_float(references), to_float(result)).tolist()
    return Restored(tokens, result, tuple(psnr(references, result).tolist()), tuple(distances), layout.bits_per_image)


@cache
def _lpips() -> torch.nn.Module:
    return build_lpips("alex", read_judge("lpips-alex")[0])
