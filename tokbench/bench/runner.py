"""One pass over the data: read, encode, decode, feed every metric, and put it all in a record."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tokbench.bench.anchors import Anchor
from tokbench.bench.merging import Evaluation, Merging
from tokbench.bench.prepared import PreparedRun, RunOptions
from tokbench.configs import with_overrides
from tokbench.data.source import ImageSource
from tokbench.records.protocol import Protocol, get_protocol
from tokbench.records.record import Record
from tokbench.tokenizers.base import Tokenizer

__all__ = ["Evaluation", "RunOptions", "evaluate", "run"]

logger = logging.getLogger(__name__)


def evaluate(
    tokenizer: str | Tokenizer | Anchor,
    data: str | Path | ImageSource = "photos",
    *,
    size: int | None = None,
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
        size: Side of the square images in pixels; None takes that of the protocol. So do the next two.
        limit: Images at most, chosen by ``seed``.
        seed: Seed of that choice and of stochastic tokenizers.
        metrics: One name, several separated by commas, or a sequence of them; None takes those measured by default.
        protocol: How to measure; None takes ``photos-64``, with the name of ``data``.
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
    size: int | None = None,
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
    options = options or RunOptions()
    changes = {"size": size, "samples": limit, "seed": seed}
    protocol = with_overrides(protocol or get_protocol(), {key: value for key, value in changes.items() if value is not None})
    prepared = PreparedRun(tokenizer, data, metrics=metric_names(metrics), protocol=protocol, options=options)
    prepared.open_saver()
    merging = Merging(prepared.facts, prepared.data, prepared.panel)
    with closing(prepared.measure(range(len(prepared.spans)))) as chunks:
        for chunk in chunks:
            merging.add(chunk, own=True)
    prepared.under_test.info()  # refuses a tokenizer that changed on the way
    prepared.close_saver(merging.saved)
    return merging.finish()


def metric_names(metrics: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Names of metrics, from what a user may write; None are those measured by default."""
    if isinstance(metrics, str):
        return tuple(part.strip() for part in metrics.split(",") if part.strip())
    return None if metrics is None else tuple(metrics)
