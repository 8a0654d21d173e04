"""What is read off a metric, held against what its contract says: metrics of others may give anything."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.base import Figure, Metric
from tokbench.bench.observation import Listing, Subject
from tokbench.configs import canonical_json, plain
from tokbench.records.figure_info import FigureInfo
from tokbench.records.figures import BY_KEY
from tokbench.records.image_values import ImageValues
from tokbench.records.intervals import Interval
from tokbench.records.left_out import WITHOUT, cluster_of
from tokbench.records.record import CodebookUse, MetricResult
from tokbench.weights.training import UNKNOWN


def create(cls: type[Metric], context: MetricContext) -> Metric:
    """Build a metric.

    Raises:
        TokbenchError: If a network it needs is not here.
        TypeError: If what is built is no metric.
    """
    metric: Any = cls.create(context)
    if not isinstance(metric, Metric):
        raise TypeError(f"create returns a {type(metric).__name__}, not a metric")
    return metric


def reason_of(metric: Metric, subject: Subject) -> str | None:
    """Why a metric has no figure of a tokenizer or data.

    Raises:
        TypeError: If it gives something else than text or None.
    """
    reason: Any = metric.not_applicable(subject)
    if reason is not None and not isinstance(reason, str):
        raise TypeError(f"not_applicable returns a {type(reason).__name__}, not text or None")
    return reason


def keys_of(metric: Metric | type[Metric]) -> tuple[str, ...]:
    """Keys of what a metric gives."""
    return tuple(info.key for info in _infos(metric))


def _infos(metric: Metric | type[Metric]) -> tuple[FigureInfo, ...]:
    """The rows of its figures; of those of others, what was seen to be sound when they were chosen."""
    return metric.figures if is_ours(class_of(metric)) else class_of(metric).figures


def class_of(metric: Metric | type[Metric]) -> type[Metric]:
    """The class of a metric, or the class itself."""
    return metric if isinstance(metric, type) else type(metric)


def is_ours(cls: type) -> bool:
    """Whether a class is of this package."""
    return cls.__module__.partition(".")[0] == "tokbench"


def identity_of_metric(metric: Metric) -> dict[str, Any]:
    """What a metric's figures depend on, as far as it is known before the first image."""
    cls = type(metric)
    if is_ours(cls):
        return {"name": reference_to(cls), "settings": plain(metric.settings), "figures": list(keys_of(metric))}
    return {"name": reference_to(cls), "source_sha256": _source_digest(cls), "figures": list(keys_of(cls))}


def reference_to(cls: type[Metric]) -> str:
    """By what ``--metrics`` takes a metric."""
    return cls.name if is_ours(cls) else f"{cls.__module__}:{cls.__qualname__}"


def _source_digest(cls: type) -> str | None:
    """SHA-256 of the file a class is written in; None if there is none, as in a notebook."""
    try:
        return hashlib.sha256(Path(inspect.getfile(cls)).read_bytes()).hexdigest()
    except (OSError, TypeError):
        return None


def read_metric(
    metric: Metric, measured: Subject, trained_with: Sequence[str], listing: Listing
) -> tuple[dict[str, MetricResult], dict[str, ImageValues], tuple[CodebookUse, ...]]:
    """Everything a metric has to say.

    Args:
        metric: It has seen all images.
        measured: What was measured in the end.
        trained_with: Networks and data that the tokenizer's training used.
        listing: All images of the run.

    Raises:
        TypeError: If something is of another kind than a metric's contract says.
        ValueError: If figures are not those announced.
    """
    metric.finish()
    reason = reason_of(metric, measured)  # images may have been skipped
    if reason is not None:
        return {key: MetricResult(reason=reason) for key in keys_of(metric)}, {}, ()
    settings = metric.settings
    canonical_json(settings)  # what no record can hold shows here
    report: Any = metric.report()
    if not isinstance(report, Mapping) or set(report) != set(keys_of(metric)):
        given = sorted(map(str, report)) if isinstance(report, Mapping) else type(report).__name__
        raise ValueError(f"report gives {given}, announced are {', '.join(keys_of(metric))}")
    results = {info.key: _result(info, report[info.key], settings, trained_with) for info in _infos(metric)}
    rows = {str(column): _numbers(column, values, listing) for column, values in metric.rows().items()}
    return results, rows | _without(listing, report), tuple(metric.codebooks())


def _without(listing: Listing, report: Mapping[str, Figure]) -> dict[str, ImageValues]:
    """What figures of the whole set are without the part of each image, as columns of rows."""
    found: dict[str, ImageValues] = {}
    of_images: dict[tuple[bool, tuple[str, ...]], np.ndarray] = {}  # which part an image is in, which figures have in common
    for key, figure in report.items():
        if figure.without is not None:
            clustered, names = figure.part == "cluster", tuple(figure.without)
            if (clustered, names) not in of_images:
                of_images[clustered, names] = _part_of_each(listing, names, clustered=clustered)
            numbers = np.fromiter(figure.without.values(), np.float64, len(names))
            found[f"{key}{WITHOUT[figure.part]}"] = ImageValues(listing.names, numbers, of_images[clustered, names])
    return found


def _part_of_each(listing: Listing, names: Sequence[str], *, clustered: bool) -> np.ndarray:
    """Which of some groups, or of some clusters of groups, each image is in, ``[n]``; -1 if it is in none."""
    places = {name: place for place, name in enumerate(names)}
    parts = (f"{cluster_of(group):02d}" for group in listing.groups) if clustered else listing.groups
    return np.fromiter((places.get(part, -1) for part in parts), np.int8 if len(places) < 128 else np.int32, len(listing.ids))


def judged(networks: Sequence[str], trained_with: Sequence[str]) -> bool | None:
    """Whether a network that judges took part in the training; None if that is not known."""
    if any(network in trained_with for network in networks):
        return True
    return None if networks and UNKNOWN in trained_with else False


def _result(info: FigureInfo, figure: Any, settings: dict[str, Any], trained_with: Sequence[str]) -> MetricResult:
    key = info.key
    if not isinstance(figure, Figure):
        raise TypeError(f"report gives a {type(figure).__name__} for {key}, not a Figure")
    if not isinstance(figure.value, Real) or isinstance(figure.value, bool):
        raise TypeError(f"the value of {key} is a {type(figure.value).__name__}, not a number")
    if type(figure.exact) is not int or figure.exact < 0:
        raise TypeError(f"the number of exact images of {key} is {figure.exact!r}, not a count")
    if not isinstance(figure.interval, Interval | None):
        raise TypeError(f"the interval of {key} is a {type(figure.interval).__name__}, not an Interval")
    return MetricResult(
        value=None if figure.exact and math.isinf(figure.value) else float(figure.value),
        unit=info.unit,
        higher_is_better=info.higher_is_better,
        settings=settings,
        interval=figure.interval,
        by_codebook=figure.by_codebook,
        judged_by_training_network=judged(info.networks, trained_with),
        exact=figure.exact,
        info=None if BY_KEY.get(key) == info else info,
    )


def _numbers(column: object, values: Any, listing: Listing) -> ImageValues:
    if isinstance(values, ImageValues):
        return values
    if not isinstance(values, Mapping) or not all(isinstance(value, Real) for value in values.values()):
        raise TypeError(f"rows gives {type(values).__name__} for {column}, not a number for every image")
    return ImageValues.of({str(image): float(value) for image, value in values.items()}, listing.names)
