"""Peak memory of measuring ten times the images: of a folder, of a tar and of a Parquet file, features and their cache included.

Each number of images has a process of its own, with a cache of its own. What is compared is the most that the whole process held, as Linux
counts it, libraries included. Images are noise, so that no two are alike. Features are products with noise and few: a network and the moments of its
features take the same for any number of images once there are more images than features, and would hide what grows.

Run by hand: ``python benchmarks/memory.py``, which rewrites a block of ``benchmarks/README.md``. A quick try that writes nothing:
``python benchmarks/memory.py --images 200 --print``. With networks: ``--tokenizer vqgan/tiny --metrics psnr,ssim,codebook,fd_efflite0``.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from readme import machine, write_block

from tokbench.bench.cache import FeatureCache
from tokbench.bench.context import MetricContext
from tokbench.bench.memory import peak_memory
from tokbench.bench.metrics.frechet import FrechetMetric
from tokbench.bench.networks import FeatureNetwork
from tokbench.bench.runner import RunOptions, run
from tokbench.records.figure_info import FigureInfo

KINDS = ("folder", "tar", "parquet")
TIMES, SIDE, ROW_GROUP, FEATURES = 10, 32, 100, 64
FEWEST = 2 * FEATURES + 1
MOST = 1.05
"""Times the memory at most that ten times the images may take."""


class FDNoise(FrechetMetric):
    """Fréchet distance of products of pixels with noise, with the cache of features that those of networks have."""

    name = "fd_noise"
    figures = (FigureInfo(name, "FD of noise", "distance", False, "distance between products of pixels with noise", digits=2),)

    @classmethod
    def create(cls, context: MetricContext) -> FDNoise:
        """Draw the noise."""
        noise = torch.randn(3 * SIDE * SIDE, FEATURES, generator=torch.Generator().manual_seed(0)) / SIDE
        network = FeatureNetwork(cls.name, FEATURES, {"network": "noise"}, lambda images: images.flatten(1).float() / 255 @ noise)
        return cls(network, FeatureCache(context.cache, network) if context.cache else None, micro_batch=context.micro_batch)


def pictures(count: int) -> Iterator[tuple[str, bytes]]:
    """Names and PNG files of noise."""
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG", compress_level=0)
        yield f"{number:07d}.png", file.getvalue()


def pack(kind: str, count: int, root: Path) -> Path:
    """Write so many images in a folder, a tar or a Parquet file."""
    if kind == "folder":
        place = root / "pictures"
        place.mkdir()
        for name, data in pictures(count):
            (place / name).write_bytes(data)
        return place
    place = root / f"pictures.{kind}"
    if kind == "tar":
        with tarfile.open(place, "w") as tar:
            for name, data in pictures(count):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        return place
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(place, pa.schema({"image": pa.binary()})) as writer:
        rows: list[bytes] = []
        for _, data in pictures(count):
            rows.append(data)
            if len(rows) == ROW_GROUP:
                writer.write_table(pa.table({"image": rows}))
                rows = []
        if rows:
            writer.write_table(pa.table({"image": rows}))
    return place


def measure(place: str, tokenizer: str, metrics: str) -> dict[str, int]:
    """The most bytes a run held, and the segments of features that were written before it was at its last images."""
    counts: list[int] = []
    segments = [0]

    def progress(done: int, total: int) -> None:
        if done == total:
            segments[0] = len(list(Path(os.environ["TOKBENCH_CACHE"]).rglob("*.safetensors")))

    def work() -> None:
        counts.append(run(tokenizer, place, size=SIDE, metrics=metrics, options=RunOptions(progress=progress)).record.data.count)

    peak = peak_memory(torch.device("cpu"), work)
    return {"images": counts[0], "peak": peak.process or 0, "segments": segments[0]}


def in_a_process(kind: str, count: int, tokenizer: str, metrics: str) -> dict[str, int]:
    """Pack images, and measure them by a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        place = pack(kind, count, Path(folder))
        words = [sys.executable, __file__, "--child", str(place), "--tokenizer", tokenizer, "--metrics", metrics]
        words += ["--threads", str(torch.get_num_threads())]
        environment = os.environ | {"TOKBENCH_CACHE": str(Path(folder) / "cache")}
        lines = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout.splitlines()
        return json.loads(lines[-1])


def table(kinds: Sequence[str], images: int, tokenizer: str, metrics: str) -> Iterator[str]:
    """A line for each kind."""
    yield "| images in a | images | peak, MB | segments | images | peak, MB | segments | times the memory | at most |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for kind in kinds:
        few, many = (in_a_process(kind, count, tokenizer, metrics) for count in (images, TIMES * images))
        cells = [f"{run['images']:,} | {run['peak'] / 1e6:.0f} | {run['segments']}" for run in (few, many)]
        yield f"| {kind} | {' | '.join(cells)} | {many['peak'] / few['peak']:.3f} | {MOST} |"


def main() -> None:
    """Measure, and write the block or print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--images",
        type=int,
        default=2000,
        help=f"the fewer images, {FEWEST} at least, so that the features of both numbers become moments",
    )
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--tokenizer", default="patch")
    parser.add_argument("--metrics", default="psnr,ssim,codebook,memory:FDNoise", help="a module is looked for beside this file")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--print", action="store_true", help="print the block, and write nothing")
    parser.add_argument("--child", metavar="IMAGES", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.images < FEWEST:
        parser.error(f"--images is at least {FEWEST}")
    torch.set_num_threads(options.threads)
    if options.child:
        print(json.dumps(measure(options.child, options.tokenizer, options.metrics)))
        return
    lines = [
        f"{machine()}. {options.tokenizer}, metrics {options.metrics}, images of {SIDE} px. Segments are files of 1,024 originals' features, "
        "written before the run was at its end.",
        "",
        *table(options.kinds, options.images, options.tokenizer, options.metrics),
    ]
    if options.print:
        print("\n".join(lines))
    else:
        write_block("memory", "Memory of ten times the images", "\n".join(lines))


if __name__ == "__main__":
    main()
