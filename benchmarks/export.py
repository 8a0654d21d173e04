"""What an export costs beside bare encoding, and how fast its rows are read: rates and their ratio, measured in turns.

Bare encoding runs over pictures that lie in memory as bytes, in the same micro-batches, and drops the tokens; an export also reads,
decodes and crops the files, digests them, and writes shards. Run by hand: ``python benchmarks/export.py``.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import tokbench
from tokbench.bench.protocol import Protocol, get_protocol
from tokbench.data.photos import PhotoCrops
from tokbench.feed.dataset import TokenDataset
from tokbench.feed.export import ExportOptions, export
from tokbench.feed.memmap import write_memmap
from tokbench.feed.sampler import TokenSampler
from tokbench.images import to_float
from tokbench.tokenizers.base import Tokenizer

ROUNDS, IMAGES, SIZE = 3, 256, 64


def timed(action: Callable[..., object], *arguments: object) -> tuple[float, float]:
    """Seconds on the clock, and of processor time in all threads, which others on the machine do not change much."""
    start, worked = time.perf_counter(), time.process_time()
    action(*arguments)
    return time.perf_counter() - start, time.process_time() - worked


def encode_all(tokenizer: Tokenizer, images: Tensor, protocol: Protocol) -> None:
    """Bare encoding."""
    for part in images.split(protocol.micro_batch):
        tokenizer.encode(to_float(part))


def export_all(tokenizer: Tokenizer, folder: Path, out: Path, protocol: Protocol) -> None:
    """Everything."""
    export(tokenizer, folder, out, protocol=protocol, options=ExportOptions())


def read_all(folder: Path) -> None:
    """One shuffled epoch."""
    tokens = TokenDataset(folder)
    for row in TokenSampler(tokens, seed=0):
        tokens[row]


def measure(name: str, folder: Path, images: Tensor, root: Path) -> None:
    """Print one row."""
    tokenizer, protocol = tokbench.load(name), get_protocol(changes={"size": SIZE})
    times: dict[str, list[tuple[float, float]]] = {"bare": [], "export": [], "shards": [], "map": []}
    encode_all(tokenizer, images[:32], protocol)
    for number in range(ROUNDS):
        out, mapped = root / f"{tokenizer.name}-{number}", root / f"{tokenizer.name}-{number}-map"
        times["bare"].append(timed(encode_all, tokenizer, images, protocol))
        times["export"].append(timed(export_all, tokenizer, folder, out, protocol))
        write_memmap(out, mapped)
        times["shards"].append(timed(read_all, out))
        times["map"].append(timed(read_all, mapped))
    rate = {key: len(images) / statistics.median(clock for clock, _ in values) for key, values in times.items()}
    ratio, worked = (
        statistics.median(bare[which] / whole[which] for bare, whole in zip(times["bare"], times["export"], strict=True))
        for which in (0, 1)
    )
    size = sum(path.stat().st_size for path in out.glob("*.parquet")) / len(images)
    print(
        f"| {name} | {rate['bare']:.1f} | {rate['export']:.1f} | {ratio:.2f} | {worked:.2f} | {size:.0f} | {rate['shards']:.0f} | {rate['map']:.0f} |",
        flush=True,
    )


def main() -> None:
    """Print a row for a tokenizer that costs next to nothing, one with codes and one with latents."""
    source = PhotoCrops("test", SIZE)
    pixels = [np.asarray(source.read(index)) for index in range(IMAGES)]
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()
    print(f"{torch.get_num_threads()} threads, {IMAGES} PNG files of {SIZE} px, median of {ROUNDS} rounds")
    print(
        "| tokenizer | bare, images/s | export, images/s | export / bare | by processor time | bytes an image | rows/s from shards | rows/s from a map |"
    )
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "pictures"
        folder.mkdir()
        for index, picture in enumerate(pixels):
            Image.fromarray(picture).save(folder / f"{index:04d}.png")
        for name in ("pixel/palette-512", "vqvae/tiny", "vae/tiny"):
            measure(name, folder, images, Path(place))


if __name__ == "__main__":
    main()
