"""What an export costs beside bare encoding, and how fast its rows are read: rates and their ratio, measured in turns.

Bare encoding runs over pictures that lie in memory as bytes, in the same micro-batches, and drops the tokens; an export also reads,
decodes and cuts the files, digests them, and writes shards. Run by hand: ``python benchmarks/export.py``, with
``--write`` to put its table into README.md. With ``--stages`` it times every stage of an export alone, and with ``--memory`` it measures how much
memory exports of few and of many images take at most.

Every tokenizer has a process of its own, and glibc keeps what is freed (``KEPT``): left to itself it gives large blocks back to the
system and gets them again, filled with zeros, until its thresholds have grown with what the process did before, and bare encoding has
two speeds, a quarter apart. ``--own-malloc`` leaves it to itself.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from readme import Block, machine
from torch import Tensor

import tokbench
from tokbench.bench.loader import load, stacked
from tokbench.data.folder import FolderSource
from tokbench.data.photos import PhotoCrops
from tokbench.data.source import ImageSource
from tokbench.feed.dataset import TokenDataset
from tokbench.feed.encoding import encode_batch
from tokbench.feed.export import ExportOptions, export
from tokbench.feed.memmap import write_memmap
from tokbench.feed.sampler import TokenSampler
from tokbench.feed.shards import ShardRows
from tokbench.feed.stored import stored
from tokbench.feed.summary import read_summary
from tokbench.images import load_rgb, to_float
from tokbench.records.protocol import Protocol, get_protocol
from tokbench.records.record import SkippedImage
from tokbench.tokenizers.base import Tokenizer

SIZE = 64
KEPT = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32)}
"""Variables of glibc's allocator; others ignore them."""

ROWS = 128
"""Of a shard: whole micro-batches, and so few that only the last of several shards is written while nothing is encoded."""

HEADS = (
    "tokenizer | bare, images/s | export, images/s | export / bare | by processor time | µs an image beside encoding | ms once "
    "| bytes an image | rows/s from shards | rows/s from a map",
    "tokenizer, µs an image | read | digest | decode | pixels | stack | floats | encode | rows | write",
)
"""Of the table of rates, and of that of stages."""

TOKENIZERS = ("pixel/palette-512", "vqvae/tiny", "vqgan/tiny", "flowmo/tiny", "vae/tiny")
"""One that costs next to nothing, three with codes and one with latents."""


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
    export(tokenizer, folder, out, protocol=protocol, options=ExportOptions(rows_per_shard=ROWS))


def read_all(folder: Path) -> None:
    """One shuffled epoch."""
    tokens = TokenDataset(folder)
    for row in TokenSampler(tokens, seed=0):
        tokens[row]


def measure(name: str, folder: Path, images: Tensor, root: Path, rounds: int) -> str:
    """A row of the table of rates."""
    tokenizer, protocol = tokbench.load(name), get_protocol(changes={"size": SIZE})
    times: dict[str, list[tuple[float, float]]] = {"bare": [], "export": [], "few": [], "shards": [], "map": []}
    few = root / "few"
    if not few.exists():
        few.mkdir()
        for path in sorted(folder.iterdir())[: protocol.micro_batch]:
            (few / path.name).write_bytes(path.read_bytes())
    encode_all(tokenizer, images[:32], protocol)
    export_all(tokenizer, few, root / f"{tokenizer.name}-warm", protocol)
    for number in range(rounds):
        out, mapped = root / f"{tokenizer.name}-{number}", root / f"{tokenizer.name}-{number}-map"
        times["bare"].append(timed(encode_all, tokenizer, images, protocol))
        times["export"].append(timed(export_all, tokenizer, folder, out, protocol))
        times["few"].append(timed(export_all, tokenizer, few, root / f"{tokenizer.name}-{number}-few", protocol))
        write_memmap(out, mapped)
        times["shards"].append(timed(read_all, out))
        times["map"].append(timed(read_all, mapped))
    clock = {key: statistics.median(seconds for seconds, _ in values) for key, values in times.items()}
    ratio, worked = (
        statistics.median(bare[which] / whole[which] for bare, whole in zip(times["bare"], times["export"], strict=True))
        for which in (0, 1)
    )
    each = (clock["export"] - clock["few"]) / (len(images) - protocol.micro_batch)
    bare = clock["bare"] / len(images)
    rate = {key: len(images) / seconds for key, seconds in clock.items()}
    size = sum(path.stat().st_size for path in out.glob("*.parquet")) / len(images)
    return (
        f"| {name} | {rate['bare']:.1f} | {rate['export']:.1f} | {ratio:.3f} | {worked:.3f} | {(each - bare) * 1e6:.0f} "
        f"| {(clock['few'] - each * protocol.micro_batch) * 1e3:.0f} | {size:.0f} | {rate['shards']:.0f} | {rate['map']:.0f} |"
    )


def stages(name: str, folder: Path, root: Path, rounds: int) -> str:
    """A row of the table of stages, each timed alone, in microseconds an image."""
    tokenizer, protocol, source = tokbench.load(name), get_protocol(changes={"size": SIZE}), FolderSource(folder)
    indices = range(len(source))
    files = [source.read_bytes(index) for index in indices]
    pictures = [load_rgb(data) for data in files]
    loaded = [image for index in indices if not isinstance(image := load(source, protocol, index), SkippedImage)]
    groups = [loaded[start : start + protocol.micro_batch] for start in range(0, len(loaded), protocol.micro_batch)]
    batches = [stacked(group) for group in groups]
    floats = [to_float(batch) for batch in batches]
    tokens = [encode_batch(tokenizer, batch, [image.id for image in group], protocol) for batch, group in zip(batches, groups, strict=True)]
    export_all(tokenizer, folder, root / f"{name}-job", protocol)
    job = read_summary(root / f"{name}-job").job
    rows = ShardRows(job, 0)
    for group, part in zip(groups, tokens, strict=True):
        rows.append([image.id for image in group], stored(part, job), [image.raw for image in group])
    actions: dict[str, Callable[[], object]] = {
        "read": lambda: [source.read_bytes(index) for index in indices],
        "digest": lambda: [hashlib.sha256(data).digest() for data in files],
        "decode": lambda: [load_rgb(data) for data in files],
        "pixels": lambda: [np.asarray(picture) for picture in pictures],
        "stack": lambda: [stacked(group) for group in groups],
        "floats": lambda: [to_float(batch) for batch in batches],
        "encode": lambda: [tokenizer.encode(images) for images in floats],
        "rows": lambda: [stored(part, job) for part in tokens],
        "write": lambda: rows.write(root, enlarged=0, skipped=()),
    }
    cells = []
    for action in actions.values():
        action()
        cells.append(statistics.median(timed(action)[0] for _ in range(rounds)) / len(source) * 1e6)
    return f"| {name} | {' | '.join(f'{cell:.1f}' for cell in cells)} |"


class Noise(ImageSource):
    """Pictures made when they are read."""

    name, ready_size = "noise", SIZE

    def __init__(self, count: int) -> None:
        self.ids = tuple(f"{number:08d}" for number in range(count))

    def read(self, index: int) -> Image.Image:
        """Draw one."""
        return Image.fromarray(np.random.default_rng(index).integers(0, 256, (SIZE, SIZE, 3), np.uint8))

    def raw_digest(self, index: int) -> bytes:
        """Digest of its number, which it follows from."""
        return hashlib.sha256(self.ids[index].encode()).digest()


def peak(count: int) -> str:
    """Export pictures in small shards, and read the most memory this process has ever had from the system."""
    with tempfile.TemporaryDirectory() as place:
        options = ExportOptions(rows_per_shard=16)
        export(
            tokbench.load("pixel/palette-512"), Noise(count), Path(place), protocol=get_protocol(changes={"size": SIZE}), options=options
        )
    status = Path("/proc/self/status").read_text().splitlines()
    return next(line for line in status if line.startswith("VmHWM")).split(":")[1].strip()


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=640, help="PNG files that are exported")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median is taken")
    parser.add_argument("--tokenizers", nargs="+", default=TOKENIZERS)
    parser.add_argument("--stages", action="store_true", help="time the stages of an export instead")
    parser.add_argument("--memory", type=int, nargs="*", metavar="IMAGES", help="measure memory instead (200 and 2000 images; Linux)")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    parser.add_argument("--own-malloc", action="store_true", help="leave the C library's allocator as it is")
    parser.add_argument("--row", action="store_true", help=argparse.SUPPRESS)  # of one tokenizer, in this process
    given = parser.parse_args()
    if given.memory is not None and len(given.memory) == 1:
        print(peak(given.memory[0]))
        return
    if given.memory is not None:
        block = Block("export-memory", "Memory of an export", write=given.write)
        block.say(f"{machine()}.\n\n| images, 16 a shard | most memory of the process |\n|---:|---:|")
        for count in given.memory or (200, 2000):
            done = subprocess.run([sys.executable, __file__, "--memory", str(count)], check=True, capture_output=True, text=True)
            block.say(f"| {count} | {done.stdout.strip()} |")
        block.end()
        return
    if given.row:
        print(row(given), flush=True)
        return
    names = ("export-stages", "Stages of an export") if given.stages else ("export", "An export beside bare encoding")
    block = Block(*names, write=given.write)
    block.say(f"{machine()}. {given.images} PNG files of {SIZE} px, median of {given.rounds} rounds.\n")
    head = HEADS[given.stages]
    block.say(f"| {head} |\n|---|{'---:|' * head.count('|')}")
    options = ["--row", "--images", str(given.images), "--rounds", str(given.rounds), *["--stages"] * given.stages]
    for name in given.tokenizers:
        command = [sys.executable, __file__, *options, "--tokenizers", name]
        environment = dict(os.environ) | ({} if given.own_malloc else KEPT)
        done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True)
        block.say(done.stdout.strip())
    block.end()


def row(given: argparse.Namespace) -> str:
    """The figures of one tokenizer, as a row of a table."""
    source = PhotoCrops("test", SIZE)
    pixels = [np.asarray(source.read(index)) for index in range(given.images)]
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()
    (name,) = given.tokenizers
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "pictures"
        folder.mkdir()
        for index, picture in enumerate(pixels):
            Image.fromarray(picture).save(folder / f"{index:05d}.png")
        if given.stages:
            return stages(name, folder, Path(place), given.rounds)
        return measure(name, folder, images, Path(place), given.rounds)


if __name__ == "__main__":
    main()
