"""Exported rows against their source: encoded afresh it gives the same tokens, which decode to it, and has the same labels and captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tokbench.bench.encode import reproducible
from tokbench.bench.loader import Batch, LoadReport, load_batches
from tokbench.bench.psnr import psnr
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed.encoding import decode_batch, encode_batch
from tokbench.feed.job import ExportJob
from tokbench.feed.label_rules import Annotations, LabelRule
from tokbench.feed.stored import as_tokens, stored
from tokbench.feed.views import Viewed
from tokbench.image_size import size_text
from tokbench.records.protocol import Protocol, get_protocol
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import ContinuousTokens


@dataclass(frozen=True)
class Kept:
    """One row of an export; label and caption are None if it has none."""

    id: str
    values: np.ndarray
    digest: bytes
    label: int | None = None
    caption: str | None = None


@dataclass(frozen=True)
class Comparison:
    """What comparing rows with their source gave.

    Args:
        compared: Images encoded afresh.
        equal: How many of those gave the very same tokens.
        psnr: Mean over the images of decoded rows against the source, in dB.
        problems: What is wrong, one line each.
    """

    compared: int
    equal: int
    psnr: float | None
    problems: tuple[str, ...] = ()


def compare(rows: Sequence[Kept], job: ExportJob, tokenizer: Tokenizer, source: ImageSource) -> Comparison:
    """Encode the images of some rows afresh, and decode the rows.

    Args:
        rows: Rows of the export.
        job: What they are.
        tokenizer: The one that made them; it cuts images into tiles as the export did.
        source: The images they were made from.

    Returns:
        What it gave.

    Raises:
        TokbenchError: If the source yields images of another size.
    """
    how = job.preparation
    if source.ready_size not in (None, how.size):
        raise TokbenchError(
            f"{source.name} yields {size_text(source.ready_size)} px images, the tokens were made at {size_text(how.size)} px"
        )
    if tokenizer.tiling != how.tiling:
        tiles = how.tiling
        if tiles is None:
            tokenizer = tokenizer.tiled(None)
        else:
            tokenizer = tokenizer.tiled(tiles.size, overlap=tiles.overlap, windows=tiles.windows, halfway=tiles.halfway)
    settings = {"size": how.size, "seed": how.seed, "precision": how.precision, "micro_batch": how.micro_batch}
    cut: dict[str, Any] = {"resize": how.resize, "crop": how.crop, "antialias": how.antialias}  # perhaps of an earlier version
    protocol = replace(get_protocol(changes=settings), **cut)
    if job.views > 1:
        source = Viewed(source, range(len(source)), how.views, protocol)  # type: ignore[arg-type]  # it was one when it was exported
    wanted = {row.id: row for row in rows}
    places = {name: index for index, name in enumerate(source.ids) if name in wanted}
    missing = [name for name in wanted if name not in places]
    problems = [f"{len(missing)} of {len(rows)} sampled images are not in {source.name}, such as {missing[0]}"] if missing else []
    if not places:
        return Comparison(0, 0, None, tuple(problems))
    problems += _annotated_otherwise([row for row in rows if row.id in places], places, job, source)
    report, decibels, equal = LoadReport(), list[float](), 0
    with reproducible():
        try:
            for batch in load_batches(source, [places[name] for name in sorted(places)], protocol, report, read_ahead=64, strict=False):
                kept = [wanted[name] for name in batch.ids]
                fresh = stored(encode_batch(tokenizer, batch.images, batch.ids, protocol), job)
                same = [bool((item.values == values).all()) for item, values in zip(kept, fresh, strict=True)]
                equal += sum(same)
                problems += _unequal(kept, same, report, job, tokenizer)
                decibels += _decoded_psnr(np.stack([item.values for item in kept]), batch, job, tokenizer, protocol)
        except TokbenchError:
            if report.pixels or not report.skipped:
                raise  # otherwise none of the images can be read, which is a finding
    problems += [f"{item.id} of {source.name} can no longer be read ({item.reason})" for item in report.skipped]
    return Comparison(len(report.pixels), equal, float(np.mean(decibels)) if decibels else None, tuple(problems))


def _annotated_otherwise(rows: list[Kept], places: dict[str, int], job: ExportJob, source: ImageSource) -> Iterator[str]:
    """Compare labels and captions, as far as the export has any, with those of the source."""
    try:
        rule: LabelRule = job.labels  # type: ignore[assignment]  # it was one when it was exported
        annotations = Annotations(source, rule)
        if annotations.names and set(annotations.names) < set(job.label_names):
            annotations = Annotations(source, rule, job.label_names)  # numbered by a list of classes, or with more folders
        if annotations.names != job.label_names:
            yield f"labels have other names in {source.name}"
        for row in rows:
            index = places[row.id]
            if job.labels != "none" and (label := annotations.label(index)) != row.label:
                yield f"{row.id} has the label {row.label}, in {source.name} {label}"
            if job.captions and annotations.caption(index) != row.caption:
                yield f"{row.id} has another caption than in {source.name}"
    except TokbenchError as error:  # labels or captions of the source are bad
        yield str(error)


def _unequal(kept: list[Kept], same: list[bool], report: LoadReport, job: ExportJob, tokenizer: Tokenizer) -> list[str]:
    changed = [item.id for item in kept if report.raw[item.id] != item.digest]
    other = [item.id for item, equal in zip(kept, same, strict=True) if not equal and item.id not in changed]
    devices = (
        "" if tokenizer.device.type == job.preparation.device else f" (made on {job.preparation.device}, here {tokenizer.device.type})"
    )
    return [f"{name} is not the image it was when it was exported" for name in changed] + [
        f"{name} encoded afresh gives other tokens{devices}" for name in other
    ]


def _decoded_psnr(values: np.ndarray, batch: Batch, job: ExportJob, tokenizer: Tokenizer, protocol: Protocol) -> list[float]:
    try:
        tokens = as_tokens(values, job, tokenizer.device)
    except ValueError:  # codes out of range; they differ from fresh ones, which is reported
        return []
    if isinstance(tokens, ContinuousTokens) and job.normalisation is not None:
        tokens = replace(tokens, latents=job.normalisation.undone(tokens.latents))
    return psnr(batch.images, decode_batch(tokenizer, tokens, batch.ids, protocol)).tolist()
