"""Which images of an export are worth learning from: those whose reconstruction still shows what their words say."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tokbench.arrays import open_array
from tokbench.bench.fitting import fit
from tokbench.counting import counted
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed.dataset import TokenDataset
from tokbench.feed.views import Viewed
from tokbench.files import atomic_file
from tokbench.lm.decoding import BATCH, Pixels, pixels_of
from tokbench.lm.mixture import words_of
from tokbench.lm.recipes import Filter
from tokbench.lm.reward import Reward
from tokbench.ranks import Ranks
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


def judge(
    data: TokenDataset,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    reward: Reward | None,
    originals: ImageSource | None,
    ranks: Ranks,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Decode this process's share of an export and write what its images are worth, which ``keep_rows`` then puts together.

    Args:
        data: The export.
        tokenizer: Decodes it.
        folder: Where the file goes.
        reward: Judges a reconstruction by its words; None leaves the score out. An image without words is not judged by them.
        originals: The images that were exported, by their ids, of which views are cut again; None leaves the PSNR out.
        ranks: Which process of how many this is.
        progress: Called with images done and in all.

    Raises:
        TokbenchError: If the reward fails, or there is nothing to judge by.
    """
    if reward is None and originals is None:
        raise TokbenchError(
            f"there is nothing to judge the images of {data.folder} by: no reward, and the originals are not at hand; give "
            "--reward module:function, run where they lie, give --data of the images, or keep all with --set keep=none"
        )
    how = data.job.preparation
    settings: dict[str, Any] = {"crop": how.crop}
    protocol = replace(get_protocol(changes={"size": how.size, "resize": how.resize}), **settings)
    if originals is not None and data.job.views > 1:
        rule: Any = how.views
        originals = Viewed(originals, range(len(originals)), rule, protocol)
    places = {} if originals is None else {name: index for index, name in enumerate(originals.ids)}
    mine = _batches(len(data), ranks)
    values = np.full((sum(map(len, mine)), 2), np.nan)
    done = 0
    for rows in mine:
        items = [data[row] for row in rows]
        size = data.job.layout.cut_size
        tokens = [DiscreteTokens(item["codes"][None], data.grid, data.codebook_sizes, size) for item in items]
        for item, pixels in zip(items, pixels_of(tokens, tokenizer), strict=True):
            words = words_of(item, data.label_names)
            if reward is not None and words:
                values[done, 0] = reward(words, pixels)
            if originals is not None and item["id"] in places:
                values[done, 1] = _psnr(fit(originals.read(places[item["id"]]), protocol), pixels)
            done += 1
        progress(done, len(values))
    _write(_part(folder, ranks.rank), values)


def keep_rows(folder: Path, data: TokenDataset, keep: Filter, ranks: Ranks) -> Kept:
    """Keep the good images, of which all processes have written what they are worth.

    Args:
        folder: Where they have.
        data: The export.
        keep: What is asked of an image.
        ranks: How many processes there were.

    Raises:
        TokbenchError: If a part is missing, no image could be judged, or none is good enough.
    """
    values = np.full((len(data), 2), np.nan)
    for number in range(ranks.world_size):
        rows = [row for rows in _batches(len(data), Ranks(number, ranks.world_size)) for row in rows]
        values[rows] = _read(_part(folder, number), len(rows))
    least = np.array([keep.score, keep.psnr])
    kept = np.flatnonzero((np.isnan(values) | (values >= least)).all(axis=1))
    score, psnr = (_mean(column) for column in values.T)
    if score is None and psnr is None:
        raise TokbenchError(
            f"none of the {counted(len(data), 'image')} of {data.folder} could be judged: none has words for the reward, and none is among the "
            "originals; keep all with --set keep=none"
        )
    if not len(kept):
        measured = f"mean score {_words(score)}, mean PSNR {_words(psnr)}"
        raise TokbenchError(
            f"none of the {counted(len(data), 'image')} of {data.folder} is good enough ({measured}); lower keep.score or keep.psnr"
        )
    for number in range(ranks.world_size):
        _part(folder, number).unlink()
    return Kept(kept, score, psnr)


def write_rows(path: Path, rows: np.ndarray) -> None:
    """Write rows as an array, atomically.

    Raises:
        TokbenchError: If it cannot be written.
    """
    _write(path, rows)


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


def _batches(count: int, ranks: Ranks) -> list[range]:
    """The rows of a process: batches in turn, which are the same for any number of processes."""
    starts = range(ranks.rank * BATCH, count, ranks.world_size * BATCH)
    return [range(start, min(start + BATCH, count)) for start in starts]


def _part(folder: Path, number: int) -> Path:
    return folder / f".judged.{number}.npy"


def _write(path: Path, values: np.ndarray) -> None:
    with atomic_file(path) as file:
        np.save(file, values, allow_pickle=False)


def _read(path: Path, count: int) -> np.ndarray:
    """What one process has written.

    Raises:
        TokbenchError: If it has not, or otherwise.
    """
    try:
        values = np.array(open_array(path))
        if values.shape != (count, 2) or values.dtype != np.float64:
            raise ValueError(f"it is not {count} pairs of numbers")
    except (OSError, ValueError) as error:
        raise TokbenchError(f"{path} is damaged ({error}); start again in another --out") from error
    return values


def _mean(values: np.ndarray) -> float | None:
    """Mean of those that were taken, whatever their order of summation; None if none were."""
    taken = values[~np.isnan(values)]
    return math.fsum(taken) / len(taken) if len(taken) else None


def _words(mean: float | None) -> str:
    return "not taken" if mean is None else f"{mean:.3g}"


def _psnr(original: Pixels, pixels: Pixels) -> float:
    """PSNR of 8-bit images in dB; a hundred for equal ones, whose own is infinite and has no mean."""
    error = float(np.mean((original.astype(np.float64) - pixels) ** 2))
    return 100.0 if error == 0 else 10 * float(np.log10(255**2 / error))
