"""Metrics: every file here holds one, found by looking."""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

from tokbench.bench.metrics.base import Metric
from tokbench.bench.metrics.fd_dinov2 import PREFIX, fd_timm
from tokbench.bench.metrics.frechet import FrechetMetric
from tokbench.bench.metrics.to_reference import ReferenceFrechet
from tokbench.configs import build, plain
from tokbench.errors import TokbenchError, unknown_name
from tokbench.plugins import hint, import_class
from tokbench.records.figure_info import FigureInfo
from tokbench.records.frame import WHAT
from tokbench.records.protocol import Protocol


@cache
def metric_classes() -> dict[str, type[Metric]]:
    """All metrics by name."""
    found: dict[str, type[Metric]] = {}
    for entry in pkgutil.iter_modules(__path__):
        module = import_module(f"{__name__}.{entry.name}")
        for value in vars(module).values():
            if inspect.isclass(value) and issubclass(value, Metric) and value.__module__ == module.__name__ and hasattr(value, "name"):
                found[value.name] = value
    return dict(sorted(found.items()))


def select(names: tuple[str, ...] | None) -> list[type[Metric]]:
    """Choose metrics.

    Args:
        names: Names of metrics or of their figures, ``fd_timm.NETWORK``, or ``package.module:Class``; ``all`` is every metric of this
            package; None are those measured by default.

    Raises:
        TokbenchError: If a name is unknown, or a class of others is no metric or takes the name of another.
    """
    known = metric_classes()
    if names is None:
        return [metric for metric in known.values() if any(info.by_default for info in metric.figures)]
    by_key = {key: metric for metric in known.values() for key in (metric.name, *metric.figure_names())}
    chosen: dict[str, type[Metric]] = {}
    for name in names:
        if ":" in name:
            given = _of_others(name, known)
            chosen[given.name] = given
            continue
        if name == "all":
            chosen |= known
            continue
        if name.startswith(PREFIX):
            chosen[name] = fd_timm(name.removeprefix(PREFIX))
            continue
        if name not in by_key:
            raise unknown_name("metric", name, [*by_key, "all"], hint=hint(name, "Metric"))
        chosen[by_key[name].name] = by_key[name]
    return list(chosen.values())


def measured_by(protocol: Protocol) -> list[type[Metric]]:
    """The metrics measured by default under a protocol, which says on which networks LPIPS is one of them."""
    nets = {"lpips": "alex", "lpips_vgg": "vgg"}
    wanted = {name for name, net in nets.items() if net in protocol.lpips_nets}
    by_default = {metric.name for metric in select(None)} - nets.keys() | wanted
    return [metric for name, metric in metric_classes().items() if name in by_default]


def against_reference(chosen: Sequence[type[Metric]]) -> list[type[Metric]]:
    """The metrics that take distances of those chosen to a reference too; if none of them does, all that take one by default.

    Args:
        chosen: Metrics of a run that has a reference.
    """
    known, names = metric_classes(), {metric.name for metric in chosen}
    wanted = [metric.companion for metric in chosen if issubclass(metric, FrechetMetric) and metric.companion]
    if not wanted and not any(issubclass(metric, ReferenceFrechet) for metric in chosen):
        wanted = [metric.companion for metric in select(None) if issubclass(metric, FrechetMetric) and metric.companion]
    return [known[name] for name in wanted if name not in names]


def without_originals(names: tuple[str, ...] | None) -> tuple[str, ...]:
    """Choose metrics of sets that are not paired: distances to a reference, or those of which there is one.

    Args:
        names: As for ``select``; None are those to a reference that are measured by default.

    Raises:
        TokbenchError: If a name is unknown, or a metric compares each image with its own original.
    """
    chosen = select(names) if names is not None else []
    for metric in chosen:
        if not issubclass(metric, ReferenceFrechet) and not (issubclass(metric, FrechetMetric) and metric.companion):
            able = [cls.name for cls in metric_classes().values() if issubclass(cls, ReferenceFrechet)]
            raise TokbenchError(
                f"{metric.name} compares images with their own originals, and --unpaired has none; it takes {', '.join(able)}"
            )
    own = [metric.name for metric in chosen if issubclass(metric, ReferenceFrechet)]
    return tuple(dict.fromkeys([*own, *(metric.name for metric in against_reference(chosen))]))


def _of_others(reference: str, known: dict[str, type[Metric]]) -> type[Metric]:
    """Import a metric from ``package.module:Class``, and see that it is one."""
    given = import_class(reference)
    if not (inspect.isclass(given) and issubclass(given, Metric)):
        raise TokbenchError(f"{reference!r} is not a subclass of tokbench.bench.metrics.base.Metric")
    lacking = sorted(given.__abstractmethods__)
    if lacking:
        raise TokbenchError(f"{reference} lacks {' and '.join(lacking)}; CONTRIBUTING.md shows a metric")
    _check_rows(reference, given)
    names: Any = (getattr(given, "name", None), *given.figure_names())
    if not all(isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_.-]{1,60}", name) for name in names):
        raise TokbenchError(f"{reference} names itself or its figures {names!r}; names are letters, digits and _ . - in the class")
    taken = {key: metric for metric in known.values() for key in (metric.name, *metric.figure_names())}
    clash = next((name for name in (given.name, *given.figure_names()) if taken.get(name, given) is not given), None)
    if clash is not None:
        raise TokbenchError(f"{reference} gives a figure {clash!r}, which is a metric of tokbench; choose another name")
    if column := next((name for name in (given.name, *given.figure_names()) if name in WHAT), None):
        raise TokbenchError(f"{reference} gives a figure {column!r}, which is a column of every table; choose another name")
    return given


def _check_rows(reference: str, given: type[Metric]) -> None:
    """See that a metric of others says what its figures are, in a way that a record can hold."""
    rows: Any = given.figures
    if not isinstance(rows, tuple) or not rows or not all(isinstance(info, FigureInfo) for info in rows):
        raise TokbenchError(
            f"{reference} does not say what its figures are: figures = (FigureInfo(...),) in the class, as CONTRIBUTING.md shows"
        )
    for info in rows:
        try:
            build(FigureInfo, plain(info))
        except ValueError as error:
            raise TokbenchError(f"{reference} has a row that no record can hold: {error}") from error
