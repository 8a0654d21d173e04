"""Which images of an export are worth learning from: those whose reconstruction still shows what their words say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tokbench.arrays import open_array
from tokbench.bench.loader import fit
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed.dataset import TokenDataset
from tokbench.files import atomic_file
from tokbench.lm.decoding import BATCH, Pixels, pixels_of
from tokbench.lm.mixture import words_of
from tokbench.lm.recipes import Filter
from tokbench.lm.reward import Reward
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import DiscreteTokens


@dataclass(frozen=True)
class Kept:
    """What a filter kept, and what it measured.

    Args:
        rows: Rows that are kept, ascending.
        score: Mean reward of all images that have words; None if none was judged.
        psnr: Mean PSNR in dB of all images whose originals are at hand; None if none are.
    """

    rows: np.ndarray
    score: float | None
    psnr: float | None


def keep_rows(
    data: TokenDataset,
    tokenizer: Tokenizer,
    keep: Filter,
    *,
    reward: Reward | None,
    originals: ImageSource | None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Kept:
    """Decode every image of an export and keep the good ones.

    Args:
        data: The export.
        tokenizer: Decodes it.
        keep: What is asked of an image.
        reward: Judges a reconstruction by its words; None leaves the score out. An image without words is not judged by them.
        originals: The images that were exported, by their ids; None leaves the PSNR out.
        progress: Called with images done and in all.

    Raises:
        TokbenchError: If the reward fails, there is nothing to judge by, or no image is good enough.
    """
    if reward is None and originals is None:
        raise TokbenchError(
            f"there is nothing to judge the images of {data.folder} by: no reward, and the originals are not at hand; give "
            "--reward module:function, run where they lie, give --data of the images, or keep all with --set keep=none"
        )
    places = {} if originals is None else {name: index for index, name in enumerate(originals.ids)}
    how = data.job.preparation
    settings: dict[str, Any] = {"crop": how.crop}
    protocol = replace(get_protocol(changes={"size": how.size, "resize": how.resize}), **settings)
    kept: list[int] = []
    scores, decibels = _Mean(), _Mean()
    for start in range(0, len(data), BATCH):
        items = [data[row] for row in range(start, min(start + BATCH, len(data)))]
        tokens = [DiscreteTokens(item["codes"][None], data.grid, data.codebook_sizes) for item in items]
        for number, (item, pixels) in enumerate(zip(items, pixels_of(tokens, tokenizer), strict=True)):
            words = words_of(item, data.label_names)
            good = True
            if reward is not None and words:
                good = scores.add(reward(words, pixels)) >= keep.score
            if originals is not None and item["id"] in places:
                original = fit(originals.read(places[item["id"]]), protocol)
                good = decibels.add(_psnr(original, pixels)) >= keep.psnr and good
            if good:
                kept.append(start + number)
        progress(start + len(items), len(data))
    if not kept:
        measured = f"mean score {scores.words()}, mean PSNR {decibels.words()}"
        raise TokbenchError(f"none of the {len(data)} images of {data.folder} is good enough ({measured}); lower keep.score or keep.psnr")
    return Kept(np.array(kept, dtype=np.int64), scores.value, decibels.value)


def write_rows(path: Path, rows: np.ndarray) -> None:
    """Write rows as an array, atomically.

    Raises:
        TokbenchError: If it cannot be written.
    """
    with atomic_file(path) as file:
        np.save(file, rows, allow_pickle=False)


def read_rows(path: Path, count: int) -> np.ndarray:
    """Read them again.

    Args:
        path: The file.
        count: Rows there are in all.

    Raises:
        TokbenchError: If they are none.
    """
    try:
        rows = np.array(open_array(path))
        if rows.ndim != 1 or rows.dtype != np.int64 or not len(rows) or rows[0] < 0 or rows[-1] >= count or (np.diff(rows) <= 0).any():
            raise ValueError(f"it holds no ascending rows below {count}")
    except (OSError, ValueError) as error:
        raise TokbenchError(f"{path} is damaged ({error}); start again in another --out") from error
    return rows


class _Mean:
    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, value: float) -> float:
        self._sum, self._count = self._sum + value, self._count + 1
        return value

    @property
    def value(self) -> float | None:
        return self._sum / self._count if self._count else None

    def words(self) -> str:
        return "not taken" if self.value is None else f"{self.value:.3g}"


def _psnr(original: Pixels, pixels: Pixels) -> float:
    """PSNR of 8-bit images in dB; a hundred for equal ones, whose own is infinite and has no mean."""
    error = float(np.mean((original.astype(np.float64) - pixels) ** 2))
    return 100.0 if error == 0 else 10 * float(np.log10(255**2 / error))
