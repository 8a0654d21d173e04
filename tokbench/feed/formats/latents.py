"""Latents in tensors with their mean and deviation beside them, as LightningDiT and its relatives train on them."""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from safetensors.numpy import save as tensors_to_bytes

from tokbench.configs import plain
from tokbench.feed.formats.plan import Plan
from tokbench.feed.formats.rows import ExportRows, RowGroup, class_of
from tokbench.tokenizers.normalisation import Normalisation
from tokbench.tokens import ContinuousTokens

STATISTICS = "statistics.json"
"""Mean and standard deviation of every channel, over all positions of all rows."""

NAMES = ("latents", "latents_flip")
"""Tensors of a file, by view."""


def write_latents(plan: Plan, rows: ExportRows, folder: Path) -> list[str]:
    """Write a ``.safetensors`` file for every shard, and the statistics over all of them.

    A file has ``latents`` ``[N, C, H, W]`` (``[N, C, L]`` of a 1D grid) and, if the export has labels, ``labels`` int64 ``[N]``.
    Of mirrored views, ``latents`` are the images and ``latents_flip`` their mirror images. ``statistics.json`` holds ``mean`` and ``std``
    of what is stored, and the ``normalisation`` applied before, if any; ``latents_stats.pt`` the same as tensors ``[1, C, 1, 1]``.

    Args:
        plan: What to write.
        rows: The export.
        folder: Where to.

    Returns:
        What users should know, one line each.

    Raises:
        TokbenchError: If the export has labels, and an image has none.

    Source: ``extract_features.py`` and ``datasets/img_latent_dataset.py`` of hustvl/LightningDiT.
    """
    job = plan.job
    for number, count in enumerate(rows.summary.rows):
        if not count:
            continue
        groups = list(rows.shard(number))
        values = np.concatenate([_latents(group, plan) for group in groups])
        tensors = {name: np.ascontiguousarray(values[view :: job.views]) for view, name in enumerate(NAMES[: job.views])}
        if job.labels != "none":
            labels = [class_of(group, row) for group in groups for row in range(len(group))]
            tensors["labels"] = np.array(labels[:: job.views], np.int64)
        about = {"total_size": str(count // job.views), "dtype": job.dtype}
        (folder / f"latents_rank00_shard{number:05d}.safetensors").write_bytes(tensors_to_bytes(tensors, about))
    summary = rows.summary
    statistics = LatentStatistics(summary.mean, summary.std, job.layout.grid, summary.count, job.tokenizer.name, job.normalisation)
    write_statistics(statistics, folder)
    absent = [word for word, there in (("labels", job.labels != "none"), ("latents_flip (of --views flip)", job.views > 1)) if not there]
    return [f"the files have no {' and no '.join(absent)}; LightningDiT reads latents, latents_flip and labels"] * bool(absent)


def _latents(group: RowGroup, plan: Plan) -> np.ndarray:
    assert isinstance(group.tokens, ContinuousTokens)
    values = rearrange(group.tokens.latents, "n l c -> n c l").unflatten(2, plan.job.layout.grid)
    return np.ascontiguousarray(values.numpy(), plan.job.dtype)


@dataclass(frozen=True)
class LatentStatistics:
    """What trainers bring latents to unit variance by.

    Args:
        mean: Mean of every channel, over all positions of all rows.
        std: Standard deviation of every channel, over the number of values.
        grid: Grid of the latents of one row.
        rows: How many rows they are of.
        tokenizer: What made the latents.
        normalisation: What was applied to them before, if anything.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    grid: tuple[int, ...]
    rows: int
    tokenizer: str
    normalisation: Normalisation | None = None


def write_statistics(statistics: LatentStatistics, folder: Path) -> None:
    """Write ``statistics.json``, and the same as tensors ``[1, C, 1, 1]`` (``[1, C, 1]`` of a 1D grid) in ``latents_stats.pt``.

    Args:
        statistics: What to write.
        folder: Where to; it exists.
    """
    channels = len(statistics.mean)
    about = {
        "mean": statistics.mean,
        "std": statistics.std,
        "channels": channels,
        "rows": statistics.rows,
        "positions": math.prod(statistics.grid),
        "tokenizer": statistics.tokenizer,
        "normalisation": plain(statistics.normalisation),
    }
    (folder / STATISTICS).write_text(json.dumps(about, indent=1, sort_keys=True, allow_nan=False) + "\n")
    shape = (1, channels, *(1 for _ in statistics.grid))
    tensors = {"mean": torch.tensor(statistics.mean).reshape(shape), "std": torch.tensor(statistics.std).reshape(shape)}
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    (folder / "latents_stats.pt").write_bytes(buffer.getvalue())
