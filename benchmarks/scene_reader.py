"""How well scenes are read: originals of every size and ground, blurred and noisy ones, and plain scenes of two through tokenizers.

Run by hand: ``python benchmarks/scene_reader.py``. It prints the tables of docs/scenes.md. ``--only`` measures some of the rows, and
``--count`` and ``--tokenizer`` choose how many scenes and which tokenizers.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

import tokbench
from tokbench.data.scenes.drawing import SCENE_SIZES, draw
from tokbench.data.scenes.grounds import Pixels
from tokbench.data.scenes.random_scenes import scene_of
from tokbench.data.scenes.reader import read
from tokbench.data.scenes.scene import GROUND_KINDS, GroundKind, Scene
from tokbench.data.scenes.score import PARTS, score
from tokbench.images import to_float, to_uint8

TOKENIZERS = ("pixel/palette-512", "vqvae/tiny", "vqgan/tiny", "flowmo/tiny", "patch/kmeans-1024")
BATCH = 16


def blurred(pixels: Pixels, radius: float) -> Pixels:
    """Blur by a Gaussian of so many pixels."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def noisy(pixels: Pixels, deviation: float) -> Pixels:
    """Add noise of so many levels; its seed is what the pixels sum up to."""
    noise = np.random.default_rng(int(pixels.sum())).normal(0, deviation, pixels.shape)
    return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "blur of 1 px": lambda pixels: blurred(pixels, 1),
    "blur of 2 px": lambda pixels: blurred(pixels, 2),
    "noise of 8 levels": lambda pixels: noisy(pixels, 8),
    "noise of 20 levels": lambda pixels: noisy(pixels, 20),
}


def measured(scenes: Sequence[Scene], pictures: Sequence[Pixels]) -> dict[str, float]:
    """Shares: all parts, scenes wholly right, and each kind of part."""
    scores = [score(scene, read(pixels)) for scene, pixels in zip(scenes, pictures, strict=True)]
    totals = {kind: (sum(one.right.get(kind, 0) for one in scores), sum(one.asked.get(kind, 0) for one in scores)) for kind in PARTS}
    kinds = {kind: right / asked for kind, (right, asked) in totals.items() if asked}
    return {"parts": float(np.mean([one.share for one in scores])), "whole": float(np.mean([one.all_right for one in scores])), **kinds}


def through(name: str, pictures: Sequence[Pixels]) -> list[Pixels]:
    """Encode and decode pictures."""
    tokenizer = tokbench.load(name)
    found: list[Pixels] = []
    for start in range(0, len(pictures), BATCH):
        batch: Tensor = torch.from_numpy(np.stack(pictures[start : start + BATCH])).permute(0, 3, 1, 2).contiguous()
        seeds = list(range(start, start + len(batch)))
        back = tokenizer.decode(tokenizer.encode(to_float(batch), seeds=seeds), seeds=seeds)
        found += list(np.ascontiguousarray(to_uint8(back).permute(0, 2, 3, 1).numpy()))
    return found


def row(name: str, figures: dict[str, float]) -> None:
    """Print a row of a table."""
    print("|", name, "|", " | ".join(f"{value:.4f}" for value in figures.values()), "|", flush=True)


def head(first: str) -> None:
    """Print the head of a table."""
    names = ("parts", "whole", *(kind for kind in PARTS if kind != "relation"))
    print(f"\n| {first} | {' | '.join(names)} |\n|---|{'---:|' * len(names)}")


def originals(count: int, sizes: Sequence[int]) -> None:
    """Every size and ground; scenes of all splits in turn."""
    head(f"originals, N={count}")
    for size, ground in product(sizes, GROUND_KINDS):
        scenes = drawn_from(count, (ground,))
        row(f"{size} px, {ground}", measured(scenes, [draw(scene, size) for scene in scenes]))


def drawn_from(count: int, grounds: Sequence[GroundKind]) -> list[Scene]:
    """Scenes of all splits in turn."""
    return [scene_of(seed, ("train", "test", "held-out")[seed % 3], grounds=grounds) for seed in range(count)]  # type: ignore[arg-type]


def changed(count: int) -> None:
    """Blur and noise, at 64 px."""
    head(f"changed originals of 64 px, N={count}")
    scenes = drawn_from(count, GROUND_KINDS)
    pictures = [draw(scene, 64) for scene in scenes]
    for name, change in CHANGES.items():
        row(name, measured(scenes, [change(pixels) for pixels in pictures]))


def tokenizers(count: int, names: Sequence[str], sizes: Sequence[int]) -> None:
    """Test scenes of two things on plain grounds through tokenizers."""
    head(f"two things on plain grounds, N={count}")
    scenes = [scene_of(seed, "test", things=2, grounds=("plain",)) for seed in range(count)]
    for size, name in product(sizes, names):
        if name.startswith("flowmo") and size != 64:
            continue  # it has one size
        row(f"{name}, {size} px", measured(scenes, through(name, [draw(scene, size) for scene in scenes])))


def speed(count: int) -> None:
    """Milliseconds a scene."""
    print("\n| milliseconds a scene | draw from the seed | paint | read |\n|---|---:|---:|---:|")
    for size in SCENE_SIZES:
        scenes = [scene_of(seed) for seed in range(count)]
        pictures = [draw(scene, size) for scene in scenes]  # photos are cut and kept by then
        laps = (per_scene(scene_of, range(count)), per_scene(partial(draw, size=size), scenes), per_scene(read, pictures))
        print("|", f"{size} px", "|", " | ".join(f"{lap:.2f}" for lap in laps), "|", flush=True)


def per_scene(work: Callable[[Any], object], items: Sequence[Any]) -> float:
    """Milliseconds that a piece of work takes."""
    begun = time.perf_counter()
    for item in items:
        work(item)
    return 1000 * (time.perf_counter() - begun) / len(items)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("originals", "changed", "tokenizers", "speed"), action="append")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--tokenizer", action="append", help="names of the zoo")
    parser.add_argument(
        "--size", type=int, action="append", choices=SCENE_SIZES, help="sides in pixels [default: all, for tokenizers 32 and 64]"
    )
    options = parser.parse_args()
    parts = {
        "originals": lambda: originals(options.count, options.size or SCENE_SIZES),
        "changed": lambda: changed(options.count),
        "tokenizers": lambda: tokenizers(options.count, options.tokenizer or TOKENIZERS, options.size or (32, 64)),
        "speed": lambda: speed(min(options.count, 500)),
    }
    for name, work in parts.items():
        if options.only is None or name in options.only:
            work()


if __name__ == "__main__":
    main()
