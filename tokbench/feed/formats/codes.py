"""Bare codes with a class for every image, as LlamaGen and RAR train on them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tokbench.feed.formats.plan import Plan
from tokbench.feed.formats.rows import ExportRows, class_of, whole_images
from tokbench.image_size import square_side
from tokbench.tokens import DiscreteTokens

PATHS = {"none": "", "flip": "flip", "ten-crop": "flip_ten_crop"}
"""Where LlamaGen keeps codes, by their views."""


def write_llamagen(plan: Plan, rows: ExportRows, folder: Path) -> list[str]:
    """Write two ``.npy`` files an image, numbered from 0: codes int64 ``[1, views, L]`` and its class int64 ``[1]``.

    Those of several views lie in a folder ``flip`` or ``flip_ten_crop``: the reader draws a view where ``flip`` is in the path.

    Args:
        plan: What to write.
        rows: The export.
        folder: Where to; it, or the folder of the views in it, is what LlamaGen calls ``--code-path``.

    Returns:
        What users should know, one line each.

    Source: ``extract_codes_c2i.py`` and ``dataset/imagenet.py`` of FoundationVision/LlamaGen. Its reader has ImageNet in the names of the
    folders and counts ImageNet's images.
    """
    size = square_side(plan.job.preparation.size, plan.format.squares)
    folder = folder / PATHS[plan.job.preparation.views]
    codes, labels = folder / f"imagenet{size}_codes", folder / f"imagenet{size}_labels"
    codes.mkdir(parents=True)
    labels.mkdir()
    count = 0
    for values, label in _images(rows):
        _write_npy(codes / f"{count}.npy", values)
        _write_npy(labels / f"{count}.npy", np.array([label]))
        count += 1
    return [f"LlamaGen's reader counts 1281167 images, these are {count}; say so in its dataset/imagenet.py"]


def write_rar(plan: Plan, rows: ExportRows, folder: Path) -> list[str]:
    """Write ``pretokenized.jsonl``, a line of ``class_id`` and ``tokens`` for every row.

    Args:
        plan: What to write.
        rows: The export.
        folder: Where to.

    Returns:
        What users should know, one line each.

    Source: ``scripts/pretokenization.py`` and ``data/webdataset_reader.py`` of bytedance/1d-tokenizer, where RAR is trained.
    """
    with (folder / "pretokenized.jsonl").open("wb") as file:
        for values, label in _images(rows):
            for view in values[0].tolist():
                file.write((json.dumps({"class_id": label, "tokens": view}) + "\n").encode())
    return []


def _images(rows: ExportRows) -> Iterator[tuple[np.ndarray, int]]:
    """Codes ``[1, views, L]`` and class of every image.

    Raises:
        TokbenchError: If an image has no class, or not all of its views.
    """
    for image in whole_images(rows):
        views = [group.tokens.codes[row, :, 0].numpy() for group, row in image if isinstance(group.tokens, DiscreteTokens)]
        yield np.stack(views)[None], class_of(*image[0])


def _write_npy(path: Path, values: np.ndarray) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.ascontiguousarray(values, "<i8"), allow_pickle=False)
