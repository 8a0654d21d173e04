"""Nearest-code search against the two usual ways to write it, at equal answers: time as a ratio, added memory.

Run by hand: ``python benchmarks/nearest_codes.py``.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time

import torch

from tokbench.quantizers.nearest import nearest_codes

SHAPES = ((256, 1024, 4096), (256, 16384, 2048), (8, 16384, 2048), (16, 1024, 4096))
RUNS = 5


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


def main() -> None:
    """Print one row a shape."""
    print(
        f"{torch.get_num_threads()} threads, median of {RUNS} interleaved runs, peak so far {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB"
    )
    print("| D | K | N | equal codes | time: expanded / ours | time: cdist / ours | added MB: expanded, cdist, ours |")
    print("|---|---|---|---|---|---|---|")
    for shape in SHAPES:
        vectors, codebook = data(*shape)
        seconds: dict[str, list[float]] = {name: [] for name in WAYS}
        codes = {}
        for _ in range(RUNS + 1):
            for name, way in WAYS.items():
                start = time.perf_counter()
                codes[name] = way(vectors, codebook)
                seconds[name].append(time.perf_counter() - start)
        median = {name: statistics.median(values[1:]) for name, values in seconds.items()}
        exact = torch.cdist(vectors.double(), codebook.double()).argmin(1)
        equal = float((codes["nearest_codes"] == exact).double().mean())
        ratios = [median[name] / median["nearest_codes"] for name in ("expanded", "cdist")]
        memory = ", ".join(f"{peak(name, shape):.0f}" for name in WAYS)
        print(f"| {shape[0]} | {shape[1]} | {shape[2]} | {equal:.2%} | {ratios[0]:.2f} | {ratios[1]:.2f} | {memory} |", flush=True)


if __name__ == "__main__":
    main()
