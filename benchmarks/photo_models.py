"""The three stages on photos: the same commands as on scenes, with template captions, shown for what it is.

Run by hand; about twenty minutes of one core::

    python benchmarks/photo_models.py

It learns from the embedded train photos, and captions are sentences about the group that a photo belongs to. ``dpo`` is rewarded for colourful
pictures, by the function below. Records and pictures go to ``--results``, and docs/lm.md shows them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

TOKENIZER = "vqvae/tiny"

CAPTIONS = ("a photo of {class}", "a picture of {class}", "{class}")
"""Templates; the group of a photo comes in the place of the class."""

REWARD = "photo_models:colourfulness"

STEPS = {"pretrain": 300, "quality": 100, "dpo": 20}


def colourfulness(words: str, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> float:
    """Say how colourful a picture is, whatever its words.

    Hasler and Suesstrunk, Measuring colourfulness in natural images (Human Vision and Electronic Imaging, 2003), equation 12.

    Args:
        words: Not looked at.
        pixels: The picture, uint8 ``[H, W, 3]``.

    Returns:
        Colourfulness, 0 for a grey picture.
    """
    red, green, blue = np.moveaxis(pixels.astype(np.float64), -1, 0)
    one, other = red - green, (red + green) / 2 - blue
    return float(np.hypot(one.std(), other.std()) + 0.3 * np.hypot(one.mean(), other.mean()))


def tokbench(*words: object) -> None:
    """Run a command that finds this file, and stop where it fails."""
    print("tokbench", *words, flush=True)
    paths = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
    subprocess.run([sys.executable, "-m", "tokbench", *map(str, words)], check=True, env={**os.environ, "PYTHONPATH": paths})


def main() -> None:
    """Train and evaluate every stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/photo-models"))
    parser.add_argument("--results", type=Path, default=Path("results/lm-photos"))
    options = parser.parse_args()
    captions = [word for template in CAPTIONS for word in ("--captions", template)]
    one, two, three = (options.runs / f"photos-{stage}" for stage in STEPS)
    train, batch = ("lm", "train"), ("--batch-size", 16, "--set", "tasks.edit=0")
    export, halves = one / "tokens", one / "halves"
    begun = ("--data", "photos", "-t", TOKENIZER, "--text", "words", *captions, *batch)
    tokbench(*train, "pretrain", *begun, "--steps", STEPS["pretrain"], "--out", one)
    again = ("--data", export, "--halves", halves, *batch, "--set", "keep.psnr=22")
    tokbench(*train, "quality", *again, "--model", one, "--steps", STEPS["quality"], "--out", two)
    pairs = ("--set", "preferences.prompts=256", "--reward", REWARD)
    tokbench(*train, "dpo", "--data", export, "--model", two, *pairs, "--steps", STEPS["dpo"], "--out", three)
    for model in (one, two, three):
        shown = ("--data", "photos/test", *captions, "--reward", REWARD, "--training", export, "--out", options.results)
        tokbench("lm", "evaluate", model, *shown)


if __name__ == "__main__":
    main()
