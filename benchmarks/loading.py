"""Reading pictures for a run against a ``DataLoader`` over ``ImageFolder``, at equal pixels; and how reading grows with its workers.

Pictures are JPEG files of 500 by 375 pixels, scaled to a short side of 256 by PIL's bicubic filter and cut in the middle. Both sides give batches of
16 as bytes; a run's reader also takes digests of files and pixels. Workers are threads here and processes there. Rounds are interleaved.

More workers than a machine has cores are simulated: reading an image then waits for 5 ms and computes nothing, so that what is left is the order that
is kept and the threads' own work.

Run by hand: ``python benchmarks/loading.py [--images 480] [--workers 1 2] [--rounds 5] [--write]``; ``--write`` puts the tables into README.md.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from gpu import make_pictures
from PIL import Image
from readme import Block, machine
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2 as transforms

from tokbench.bench.loader import Batch, LoadReport, as_batch, micro_batches, read_in_background
from tokbench.data.folder import FolderSource
from tokbench.data.source import ImageSource
from tokbench.records.protocol import Protocol, get_protocol

SIZE, BATCH, AIM = 256, 16, 1.3
WAIT, WAITING, WORKERS = 0.005, 1024, (1, 2, 4, 8, 16)
"""Seconds that a simulated image takes, how many there are, and by how many threads they are read."""


def ours(source: ImageSource, protocol: Protocol, workers: int, seen: Callable[[Batch], object]) -> None:
    """Read all images as a run does."""
    report = LoadReport()
    items = read_in_background(source, range(len(source)), protocol, ahead=64, workers=workers)
    for images in micro_batches(items, protocol, report, strict=True):
        seen(as_batch(images, report))


def theirs(folder: Path, workers: int, seen: Callable[[Tensor], object]) -> None:
    """Read all images as most training code does; PIL scales on both sides."""
    steps = [transforms.Resize(SIZE, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(SIZE), transforms.PILToTensor()]
    images = ImageFolder(str(folder), transforms.Compose(steps))
    for batch, _ in DataLoader(images, batch_size=BATCH, num_workers=workers):
        seen(batch)


def apart(source: ImageSource, protocol: Protocol, folder: Path) -> int:
    """Largest difference of two pixels, over all images."""
    here: list[Tensor] = []
    there: list[Tensor] = []
    ours(source, protocol, 1, lambda batch: here.append(batch.images))
    theirs(folder, 0, there.append)
    return int((torch.cat(here).int() - torch.cat(there).int()).abs().max())


class Waiting(ImageSource):
    """Images whose reading waits, and computes nothing."""

    name, ready_size = "waiting", 8

    def __init__(self) -> None:
        self.ids = tuple(f"{number:06d}" for number in range(WAITING))
        self._image = Image.fromarray(np.zeros((8, 8, 3), np.uint8))

    def read(self, index: int) -> Image.Image:
        """Wait, as for a disk."""
        time.sleep(WAIT)
        return self._image

    def raw_digest(self, index: int) -> bytes:
        """Digest of its number."""
        return hashlib.sha256(self.ids[index].encode()).digest()


def drop(_: object) -> None:
    """What nobody looks at."""


def seconds_of(action: Callable[[], object]) -> float:
    """How long something takes."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def measured(folder: Path, workers: Sequence[int], rounds: int) -> list[str]:
    """A row for each number of workers."""
    source, protocol = FolderSource(folder), get_protocol("tokbench-256")
    ways: dict[tuple[str, int], Callable[[], object]] = {}
    for count in workers:
        ways["ours", count] = lambda count=count: ours(source, protocol, count, drop)  # type: ignore[misc]
        ways["theirs", count] = lambda count=count: theirs(folder, count, drop)  # type: ignore[misc]
    times: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
    for turn in range(rounds + 1):
        for way, action in ways.items():
            taken = seconds_of(action)
            if turn:  # the first warms up
                times[way].append(taken)
    images, first = len(source), times["ours", workers[0]]
    rows = []
    for count in workers:
        own, other = times["ours", count], times["theirs", count]
        ratio = statistics.median(b / a for a, b in zip(own, other, strict=True))
        more = statistics.median(b / a for a, b in zip(own, first, strict=True))
        rates = images / statistics.median(own), images / statistics.median(other)
        rows.append(f"| {count} | {rates[0]:.0f} | {rates[1]:.0f} | {ratio:.2f} | {more:.2f} |")
    return rows


def main() -> None:
    """Print the tables, and write them down if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=480)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    block = Block("loading", "Reading pictures", write=given.write)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "class"
        folder.mkdir()
        make_pictures(folder, given.images)
        protocol = get_protocol("tokbench-256")
        difference = apart(FolderSource(folder.parent), protocol, folder.parent)
        block.say(f"{machine()}. {given.images} JPEG files of 500 x 375 px to {SIZE} px, median of {given.rounds} interleaved rounds.")
        block.say(f"Pixels differ by {difference} at most.\n")
        block.say(
            "| workers | tokbench, images/s | DataLoader over ImageFolder, images/s | tokbench / DataLoader | tokbench / tokbench at the first |"
        )
        block.say("|---:|---:|---:|---:|---:|")
        for line in measured(folder.parent, given.workers, given.rounds):
            block.say(line)
    block.say(f"\nAim: {AIM} times the DataLoader. Below, images are simulated: each waits {WAIT * 1e3:g} ms, without computing.\n")
    block.say("| workers | images/s | of what the waits allow |\n|---:|---:|---:|")
    source, small = Waiting(), get_protocol(changes={"size": 8})
    for count in WORKERS:
        rate = WAITING / seconds_of(lambda count=count: ours(source, small, count, drop))  # type: ignore[misc]
        block.say(f"| {count} | {rate:.0f} | {rate * WAIT / count:.3f} |")
    block.end()


if __name__ == "__main__":
    main()
