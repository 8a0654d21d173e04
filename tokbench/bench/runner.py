"""One pass over the data: read, encode, decode, feed every metric, and put it all in a record."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tokbench.bench.anchors import Anchor, parse_anchor
from tokbench.bench.defaults import default_protocol, image_size_of
from tokbench.bench.merging import Evaluation, Merging
from tokbench.bench.prepared import RunOptions, prepare_all
from tokbench.bench.together import measure_chunks, same_pixels
from tokbench.configs import with_overrides
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.image_size import Size
from tokbench.records.protocol import Protocol
from tokbench.records.record import Record
from tokbench.tokenizers import zoo
from tokbench.tokenizers.base import Tokenizer

__all__ = ["Evaluation", "RunOptions", "evaluate", "run", "run_all"]

DEFAULT_PLACE = "photos"
"""What a source of the user's own is measured like, as nothing is known of where it lies."""

logger = logging.getLogger(__name__)


def evaluate(
    tokenizer: str | Tokenizer | Anchor,
    data: str | Path | ImageSource = "photos",
    *,
    size: Size | None = None,
    limit: int | None = None,
    seed: int | None = None,
    metrics: str | Sequence[str] | None = None,
    protocol: Protocol | None = None,
    options: RunOptions | None = None,
) -> Record:
    """Measure a tokenizer.

    Args:
        tokenizer: What ``tokbench.load`` returns, your own ``Tokenizer``, or a name as ``load`` takes it; ``anchor/webp-320`` is a codec.
        data: ``photos``, a folder, a zip, tar shards, a parquet file, ``hf:NAME``, or an ``ImageSource``.
        size: Side of the images in pixels, or height and width; None takes that of the protocol, or of the tokenizer. So do the next two.
        limit: Images at most, chosen by ``seed``.
        seed: Seed of that choice and of stochastic tokenizers.
        metrics: One name, several separated by commas, or a sequence of them; None takes those measured by default.
        protocol: How to measure; None takes ``photos-64`` for the photos and an ``ImageSource``, ``tokbench-256`` for folders and data
            sets, at the size the tokenizer was made for.
        options: What changes no figure.

    Returns:
        The record.

    Raises:
        Misbehaved: If the tokenizer fails, or breaks its contract.
        TokbenchError: If data, metrics or tokenizer do not fit together.
    """
    evaluation = run(tokenizer, data, size=size, limit=limit, seed=seed, metrics=metrics, protocol=protocol, options=options)
    for failure in evaluation.failures:
        logger.warning("%s", failure)
    return evaluation.record


def run(
    tokenizer: str | Tokenizer | Anchor,
    data: str | Path | ImageSource = "photos",
    *,
    size: Size | None = None,
    limit: int | None = None,
    seed: int | None = None,
    metrics: str | Sequence[str] | None = None,
    protocol: Protocol | None = None,
    options: RunOptions | None = None,
) -> Evaluation:
    """Measure a tokenizer as ``evaluate`` does, and return the values of every image too.

    Returns:
        What ``tokbench.write_record`` writes: the record and its rows; and a line for every metric that failed.
    """
    changes = {"size": tuple(size) if isinstance(size, list) else size, "samples": limit, "seed": seed}
    if isinstance(tokenizer, str):
        tokenizer = parse_anchor(tokenizer) or zoo.load(tokenizer)
    _check_kinds(tokenizer, protocol, options)
    if protocol is None:
        place = DEFAULT_PLACE if isinstance(data, ImageSource) else str(data)
        protocol = default_protocol(place, image_size_of(tokenizer), changes)
    else:
        protocol = with_overrides(protocol, {key: value for key, value in changes.items() if value is not None})
    (evaluation,) = run_all(tokenizer, data, [protocol], metrics=metrics, options=options)
    return evaluation


def run_all(
    tokenizer: str | Tokenizer | Anchor,
    data: str | Path | ImageSource,
    protocols: Sequence[Protocol],
    *,
    metrics: str | Sequence[str] | None = None,
    options: RunOptions | None = None,
) -> list[Evaluation]:
    """Measure a tokenizer under several protocols; those that give it the same pixels share one pass over the images.

    Args:
        tokenizer: As for ``evaluate``. So are the images, metrics and options.
        data: Images, or where they are.
        protocols: How to measure.
        metrics: None takes those each protocol measures by default.
        options: What changes no figure.

    Returns:
        What ``run`` returns for each, in their order.
    """
    done: dict[Protocol, Evaluation] = {}
    for group in same_pixels(protocols):
        runs = prepare_all(tokenizer, data, group, metrics=metric_names(metrics), options=options or RunOptions())
        runs[0].open_saver()
        mergings = [Merging(run.facts, run.data, run.panel) for run in runs]
        with closing(measure_chunks(runs, range(len(runs[0].spans)))) as chunks:
            for found in chunks:
                for merging, chunk in zip(mergings, found, strict=True):
                    assert chunk is not None  # all are wanted
                    merging.add(chunk, own=True)
        runs[0].under_test.info()  # refuses a tokenizer that changed on the way
        runs[0].close_saver(mergings[0].saved)
        done |= {protocol: merging.finish() for protocol, merging in zip(group, mergings, strict=True)}
    return [done[protocol] for protocol in protocols]


def _check_kinds(tokenizer: Any, protocol: Any, options: Any) -> None:
    """Refuse what is easily taken for another thing, before anything is read.

    Raises:
        TokbenchError: Naming what was given.
    """
    if not isinstance(tokenizer, Tokenizer | Anchor):
        kind = f"the class {tokenizer.__name__}" if isinstance(tokenizer, type) else f"a {type(tokenizer).__name__}"
        raise TokbenchError(f"tokenizer is what tokbench.load returns, an object of your own Tokenizer, or a name; got {kind}")
    if not isinstance(protocol, Protocol | None):
        raise TokbenchError(f"protocol is what tokbench.get_protocol returns, got {protocol!r}; write tokbench.get_protocol(NAME)")
    if not isinstance(options, RunOptions | None):
        raise TokbenchError(f"options are tokbench.RunOptions(workers=2), got a {type(options).__name__}")


def metric_names(metrics: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Names of metrics, from what a user may write; None are those measured by default.

    Raises:
        TokbenchError: If a text names none: a record would hold no figure.
    """
    if isinstance(metrics, str):
        found = tuple(dict.fromkeys(part.strip() for part in metrics.split(",") if part.strip()))
        if not found:
            raise TokbenchError(
                f"--metrics takes names separated by commas, or all, such as --metrics psnr,lpips; got {metrics!r}; tokbench metrics lists them"
            )
        return found
    if metrics is None:
        return None
    names = tuple(metrics)
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise TokbenchError(f"metrics are names, those of others as module:Class, got {wrong[0]!r}; tokbench metrics lists them")
    return names
