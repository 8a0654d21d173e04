"""Large images in tiles: the memory they take, and how near they come to the same images left whole, along their seams too.

Memory is that of a child process of its own: what encoding and decoding one image holds at most beyond the loaded network, whose weights are
random. Quality is that of trained tokenizers on two kinds of large images, as the embedded test photos have sides of 512 px at most: ``stitched``
ones are four of them beside each other, and ``enlarged`` ones are single ones scaled to the size. Seams are where tiles fade into each other.

Run by hand, each of which rewrites a block of ``benchmarks/README.md``::

    python benchmarks/tiling.py --what memory --tiles 512 384 256
    python benchmarks/tiling.py --what quality --size 512 --tiles 256 128
    python benchmarks/tiling.py --what quality --tiles 512 384

Quality at 1024 px takes more than an hour of a core, as attention sees all positions. A quick try that writes nothing:
``python benchmarks/tiling.py --size 128 --tiles 64 --images 2 --memory vqgan/tiny --print``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from readme import Block, machine
from torch import Tensor

import tokbench
from tokbench.bench.memory import peak_memory
from tokbench.bench.psnr import psnr
from tokbench.conduct import values_of
from tokbench.data.photos import WholePhotos
from tokbench.images import to_float, to_uint8
from tokbench.plugins import import_class
from tokbench.tokenizers import zoo
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.tiling import Tiling
from tokbench.tokens import Tokens

TOKENIZERS = ("vae/tiny", "vqgan/tiny")
PUBLISHED = "vae/sd"
"""An autoencoder of stride 8, in the size that was published."""


def untrained(name: str) -> Tokenizer:
    """Build a variant of the zoo with random weights."""
    family, variant = zoo.resolve(name)
    torch.manual_seed(0)
    model: Tokenizer = import_class(family.model)(variant.config)
    return model.eval()


def measure_memory(name: str, size: int, tile: int) -> None:
    """Print what encoding and decoding one image takes, as JSON; 0 px is no tile. Meant for a process of its own."""
    model = untrained(name)
    model = model.tiled(tile) if tile else model
    images = torch.rand((1, 3, size, size), generator=torch.Generator().manual_seed(0)) * 2 - 1
    seeds = [0] if model.encode_is_stochastic else None
    small = images[:, :, : 8 * model.stride, : 8 * model.stride]
    model.decode(model.encode(small, seeds=seeds))  # what libraries keep of their first call is no image's
    made: list[Tokens] = []
    peaks = {
        "encode": peak_memory(torch.device("cpu"), lambda: made.append(model.encode(images, seeds=seeds))),
        "decode": peak_memory(torch.device("cpu"), lambda: model.decode(made[0])),
    }
    print(json.dumps({stage: peak.process_added for stage, peak in peaks.items()}))


def memory_rows(name: str, size: int, tiles: list[int]) -> Iterator[str]:
    """Lines of a table, each by a process of its own."""
    yield f"| {name} at {size} px | encode, MB | decode, MB | of the whole image |"
    yield "|---|---:|---:|---:|"
    most = 0
    for tile in (0, *tiles):
        words = [sys.executable, __file__, "--child", name, str(size), str(tile), "--threads", str(torch.get_num_threads())]
        found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        peak = max(found.values())
        most = most or peak
        what = f"tiles of {tile} px" if tile else "whole"
        yield f"| {what} | {found['encode'] / 1e6:.0f} | {found['decode'] / 1e6:.0f} | {100 * peak / most:.1f} % |"


def squares(size: int) -> Iterator[np.ndarray]:
    """Centre squares of the test photos whose short side is at least ``size``, then of the others, scaled to it."""
    source = WholePhotos("test")
    photos = [source.read(index) for index in range(len(source))]
    for photo in sorted(photos, key=lambda image: -min(image.size)):
        side = min(photo.size)
        left, top = (photo.width - side) // 2, (photo.height - side) // 2
        box = (left, top, left + side, top + side)
        yield np.asarray(photo.resize((size, size), Image.Resampling.LANCZOS, box=box))


def large_images(kind: str, size: int, count: int) -> Tensor:
    """Bytes ``[B, 3, size, size]`` of enlarged or stitched photos."""
    if kind == "enlarged":
        pictures = [square for square, _ in zip(squares(size), range(count), strict=False)]
    else:
        parts = [square for square, _ in zip(squares(size // 2), range(4 * count), strict=False)]
        pictures = [np.block([[[a], [b]], [[c], [d]]]) for a, b, c, d in zip(*(parts[i::4] for i in range(4)), strict=True)]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def seams(tiling: Tiling, size: int, stride: int) -> Tensor:
    """Which pixels of a square image are mixed of several tiles."""
    alone = torch.zeros(size, dtype=torch.bool)
    for span in tiling.spans(size // stride, stride):
        alone[span.inner.start * stride : span.inner.stop * stride] = True
    return ~(alone[:, None] & alone)


def psnr_at(originals: Tensor, made: Tensor, where: Tensor) -> list[float]:
    """PSNR of every image over some of its pixels."""
    return psnr(originals[:, :, where].unsqueeze(3), made[:, :, where].unsqueeze(3)).tolist()


@dataclass(frozen=True)
class Passed:
    """What became of images: their codes or latents ``[B, L, K]``, and bytes."""

    values: Tensor
    bytes: Tensor


def passed(model: Tokenizer, images: Tensor) -> Passed:
    """Encode and decode images one by one, so that large ones take little memory."""
    tokens = [model.encode(to_float(image[None])) for image in images]
    return Passed(torch.cat([values_of(one) for one in tokens]), torch.cat([to_uint8(model.decode(one)) for one in tokens]))


def quality_row(model: Tokenizer, kind: str, originals: Tensor, whole: Passed, tile: int) -> str:
    """A line of a table: PSNR without and with tiles, and what is equal inside of them."""
    tiled = model.tiled(tile)
    assert tiled.tiling is not None
    cut = passed(tiled, originals)
    mixed = seams(tiled.tiling, originals.shape[2], model.stride)
    figures = []
    for where in (torch.ones_like(mixed), mixed, ~mixed):
        before, after = (statistics.fmean(psnr_at(originals, one.bytes, where)) for one in (whole, cut))
        figures += [f"{before:.2f}", f"{after - before:+.3f}"]
    inner = ~mixed[:: model.stride, :: model.stride].flatten()
    apart, values = (whole.values - cut.values)[:, inner], whole.values[:, inner]
    if values.is_floating_point():
        same = f"{(apart.std() / values.std()).item():.4f} of their deviation apart"
    else:
        same = f"{100 * (apart == 0).double().mean().item():.2f} % equal"
    alike = (whole.bytes == cut.bytes)[:, :, ~mixed].double().mean().item()
    return f"| {model.name} | {kind} | {tile} | {' | '.join(figures)} | {same} | {100 * alike:.1f} % |"


def main() -> None:
    """Measure, and write the block or print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, help="side of the large images in pixels")
    parser.add_argument("--tiles", type=int, nargs="+", default=[512, 256], help="sides of tiles in pixels")
    parser.add_argument(
        "--images", type=int, default=2, help="large images of each kind; of 1024 px, two can be stitched without scaling photos"
    )
    parser.add_argument("--memory", default=PUBLISHED, help="tokenizer whose memory is measured, with random weights")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--what", nargs="+", choices=("memory", "quality"), default=["memory", "quality"], help="which blocks")
    parser.add_argument("--print", action="store_true", help="print the blocks, and write nothing")
    parser.add_argument("--child", nargs=3, metavar=("NAME", "SIZE", "TILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        name, size, tile = options.child
        measure_memory(name, int(size), int(tile))
        return
    write = not options.print
    if "memory" in options.what:
        block = Block("tiling", "Large images in tiles", write=write)
        block.say(f"{machine()}. Memory is resident bytes beyond those before the call; tiles overlap by a quarter.")
        block.say()
        _say_all(block, memory_rows(options.memory, options.size, options.tiles))
    if "quality" in options.what:
        block = Block(f"tiling-quality-{options.size}", f"What tiles change at {options.size} px", write=write)
        block.say(f"{machine()}.")
        block.say()
        _say_all(block, quality_rows(options.size, options.images, options.tiles))


def quality_rows(size: int, images: int, tiles: list[int]) -> Iterator[str]:
    """Lines of a table, of every tokenizer and kind of image."""
    yield f"{images} images of each kind, of {size} px. PSNR against the original without tiles, and what tiles add to it:"
    yield "everywhere, along the seams alone, and inside of tiles alone. Tokens and bytes inside of tiles are compared with those without tiles."
    yield ""
    yield "| tokenizer | images | tile | PSNR, dB | tiles add | seams, dB | tiles add | inside, dB | tiles add | tokens inside | equal bytes |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    models = [tokbench.load(name) for name in TOKENIZERS]
    for kind in ("stitched", "enlarged"):
        originals = large_images(kind, size, images)
        for model in models:
            whole = passed(model, originals)
            yield from (quality_row(model, kind, originals, whole, tile) for tile in tiles)


def _say_all(block: Block, lines: Iterable[str]) -> None:
    for line in lines:
        block.say(line)
    block.end()


if __name__ == "__main__":
    main()
