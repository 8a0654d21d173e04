"""Nearest-code search against the two usual ways to write it, at equal answers: time as a ratio, added memory.

Run by hand: ``python benchmarks/nearest_codes.py [--rounds 5] [--threads 2] [--write]``; ``--write`` puts the table into README.md.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

import torch
from readme import Block, machine

from tokbench.quantizers.nearest import nearest_codes

SHAPES = ((256, 1024, 4096), (256, 16384, 8192), (8, 16384, 8192), (16, 1024, 4096), (4, 32768, 4096))


def expanded(vectors: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    """The whole distance matrix, written out: |z|^2 + |e|^2 - 2 z.e."""
    distances = vectors.square().sum(1, keepdim=True) + codebook.square().sum(1) - 2 * vectors @ codebook.T
    return distances.argmin(1)


def cdist(vectors: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    """The whole distance matrix, by ``torch.cdist``."""
    return torch.cdist(vectors, codebook).argmin(1)


WAYS = {"expanded": expanded, "cdist": cdist, "nearest_codes": nearest_codes}


def data(dim: int, size: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random vectors and codebook."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, dim, generator=generator), torch.randn(size, dim, generator=generator)


def peak(way: str, shape: tuple[int, int, int]) -> float:
    """Added peak memory of one call in MB, measured in a process of its own."""
    code = (
        f"import sys; sys.path.insert(0, {sys.path[0]!r}); import resource, nearest_codes as b; x = b.data(*{shape}); b.WAYS[{way!r}](x[0][:8], x[1][:8]); "
        f"a = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; b.WAYS[{way!r}](*x); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - a)"
    )
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout) / 1024


def row(shape: tuple[int, int, int], rounds: int, memory: str) -> str:
    """One row of the table."""
    vectors, codebook = data(*shape)
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    codes = {}
    for _ in range(rounds + 1):
        for name, way in WAYS.items():
            start = time.perf_counter()
            codes[name] = way(vectors, codebook)
            seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    exact = torch.cat([torch.cdist(part.double(), codebook.double()).argmin(1) for part in vectors.split(1024)])
    equal = float((codes["nearest_codes"] == exact).double().mean())
    ratios = [median[name] / median["nearest_codes"] for name in ("expanded", "cdist")]
    return f"| {shape[0]} | {shape[1]} | {shape[2]} | {equal:.2%} | {ratios[0]:.2f} | {ratios[1]:.2f} | {memory} |"


def main() -> None:
    """Print one row a shape."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    # First, while this process is small: a new one's peak begins at that of the one that starts it.
    memory = [", ".join(f"{peak(name, shape):.0f}" for name in WAYS) for shape in SHAPES]
    block = Block("nearest-codes", "Nearest codes", write=arguments.write)
    block.say(f"{machine()}, median of {arguments.rounds}.\n")
    block.say("| D | K | N | equal codes | time: expanded / ours | time: cdist / ours | added MB: expanded, cdist, ours |")
    block.say("|---|---|---|---|---|---|---|")
    for shape, added in zip(SHAPES, memory, strict=True):
        block.say(row(shape, arguments.rounds, added))
    block.end()


if __name__ == "__main__":
    main()
