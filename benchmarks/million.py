"""What a run costs beside reading and networks: a million images in a thousand shards, through scheduling, journal and merge.

Images come from a reader that returns at once, and the tokenizer keeps one bit of each. Two parts are measured into journals, as in an array
of jobs, and merged. Each number of images has a process of its own. Seconds are those of the processor, so that others on the machine count
little; memory is resident bytes beyond those before the first image.

Run by hand: ``python benchmarks/million.py``, which rewrites a block of ``benchmarks/README.md``. A quick try that writes nothing:
``python benchmarks/million.py --images 2000 8000 --print``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from readme import machine, write_block

from tokbench.bench.chunks import Part
from tokbench.bench.memory import peak_memory
from tokbench.bench.merging import Evaluation
from tokbench.bench.parts import find_parts, merge_parts
from tokbench.bench.prepared import PreparedRun, RunOptions
from tokbench.bench.sharing import measure
from tokbench.data.source import ImageSource
from tokbench.layout import TokenLayout
from tokbench.names import Names
from tokbench.records.protocol import get_protocol
from tokbench.records.store import write_record
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import DiscreteTokens

SHARDS, SIZE, PARTS = 1000, 8, 2
METRICS = ("psnr", "codebook")
STAGES = ("prepare", "measure", "merge", "write")
CPU = torch.device("cpu")


class Shards(ImageSource):
    """Images that are there at once: one picture under many names, which lie in shards.

    Args:
        images: How many.
    """

    name, ready_size = "stubs", SIZE

    def __init__(self, images: int) -> None:
        self._shard = -(-images // SHARDS)
        self.ids: Names = Names.of(f"{number // self._shard:06d}/{number % self._shard:06d}" for number in range(images))
        self._picture = Image.new("RGB", (SIZE, SIZE), (90, 120, 30))

    def read(self, index: int) -> Image.Image:
        """The picture."""
        return self._picture

    def raw_digest(self, index: int) -> bytes:
        """Another one of each image."""
        return index.to_bytes(32, "little")


class Bit(Tokenizer):
    """One bit an image: whether it is bright."""

    trained_with, stride = (), SIZE

    def layout(self, height: int, width: int) -> TokenLayout:
        """Two codes for each square."""
        return TokenLayout.strided(height, width, SIZE, codebook_sizes=(2,))

    def _encode(self, images: torch.Tensor, seeds: list[int]) -> DiscreteTokens:
        return DiscreteTokens((images.mean(dim=(1, 2, 3)) > 0).long()[:, None, None], (1, 1), (2,))

    def _decode(self, tokens: DiscreteTokens, seeds: list[int]) -> torch.Tensor:
        return (tokens.codes.float() - 0.5)[:, :, :, None].expand(-1, 3, SIZE, SIZE).contiguous()


def measure_run(images: int, out: Path) -> dict[str, float]:
    """Seconds of the processor of each stage, what was held at most, and what the journals take."""
    protocol = get_protocol(changes={"size": SIZE})
    prepared: list[PreparedRun] = []
    merged: list[Evaluation] = []

    def prepare() -> None:
        prepared.append(PreparedRun(Bit(), Shards(images), metrics=METRICS, protocol=protocol, options=RunOptions(cache=False)))
        assert prepared[0].data.images == images

    def each_part() -> None:
        for number in range(1, PARTS + 1):
            measure(prepared[0], out, lambda _: Path(), part=Part(number, PARTS))
        prepared.clear()

    def merge() -> None:
        (run,) = find_parts([out])
        merged.append(merge_parts(run))

    def write() -> None:
        write_record(merged[0].record, merged[0].rows, out)

    found: dict[str, float] = {"images": images}
    todo: tuple[Callable[[], None], ...] = (prepare, each_part, merge, write)

    def everything() -> None:
        for name, stage in zip(STAGES, todo, strict=True):
            start = time.process_time()
            stage()
            found[name] = time.process_time() - start

    peak = peak_memory(CPU, everything)
    assert merged[0].record.data.count == images
    files = [path for path in out.rglob("*.journal/*") if path.is_file()]
    rows = [path for path in out.glob("*.parquet")]
    sizes = {"files": len(files), "bytes": sum(path.stat().st_size for path in files), "rows": sum(path.stat().st_size for path in rows)}
    return {**found, **sizes, "memory": float(peak.process_added or 0)}


def in_a_process(images: int) -> dict[str, float]:
    """Measure in a process of its own, so that nothing is left of others."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, __file__, "--child", str(images), folder, "--threads", str(torch.get_num_threads())]
        lines = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        return json.loads(lines[-1])


def table(runs: Sequence[dict[str, float]]) -> list[str]:
    """A line for each number of images."""
    head = [
        "images",
        *(f"{stage}, µs an image" for stage in STAGES),
        "memory, MB",
        "bytes an image",
        "journal files",
        "journal, bytes an image",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---:|" * len(head)]
    for run in runs:
        count = run["images"]
        cells = [f"{count:,.0f}", *(f"{1e6 * run[stage] / count:.1f}" for stage in STAGES), f"{run['memory'] / 1e6:.0f}"]
        cells += [f"{run['memory'] / count:.0f}", f"{run['files']:,.0f}", f"{run['bytes'] / count:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def growth(runs: Sequence[dict[str, float]], what: str) -> float:
    """How much more of something there is with each more image, between the fewest and the most images."""
    few, most = runs[0], runs[-1]
    return (most[what] - few[what]) / (most["images"] - few["images"])


def outlook(runs: Sequence[dict[str, float]], images: float = 1e9) -> str:
    """What a billion would take, if each image took what it takes from the fewest to the most of those measured."""
    hours = {stage: growth(runs, stage) * images / 3600 for stage in STAGES}
    memory, files, size = (growth(runs, what) * images for what in ("memory", "files", "bytes"))
    return (
        f"At this rate a billion images would take {hours['measure']:.0f} processor hours to schedule and keep, {hours['merge']:.0f} to merge and "
        f"{hours['prepare'] + hours['write']:.0f} to prepare and write, {memory / 1e9:.0f} GB of memory in the process that merges, and journals of "
        f"{files / 1e6:.1f} million files and {size / 1e9:.0f} GB."
    )


def main() -> None:
    """Measure, and write the block or print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="how many images, ascending")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--print", action="store_true", help="print the block, and write nothing")
    parser.add_argument("--child", nargs=2, metavar=("IMAGES", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        print(json.dumps(measure_run(int(options.child[0]), Path(options.child[1]))))
        return
    runs = [in_a_process(images) for images in options.images]
    lines = [
        f"{machine()}. {SHARDS:,} shards, metrics {' and '.join(METRICS)}, chunks of 256 images in {PARTS} parts.",
        "",
        *table(runs),
    ]
    if len(runs) > 1:
        lines += ["", outlook(runs)]
    if options.print:
        print("\n".join(lines))
    else:
        write_block("million", "A million images", "\n".join(lines))


if __name__ == "__main__":
    main()
