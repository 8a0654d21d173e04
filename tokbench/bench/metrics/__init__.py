"""Metrics: every file here holds one, found by looking."""

from __future__ import annotations

import inspect
import pkgutil
from functools import cache
from importlib import import_module

from tokbench.bench.metrics.base import Metric
from tokbench.errors import TokbenchError, unknown_name
from tokbench.plugins import import_class


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
        names: Of metrics or of their figures, or ``package.module:Class``; ``all`` is every metric of this package; None are those measured by default.

    Raises:
        TokbenchError: If a name is unknown.
    """
    known = metric_classes()
    if names is None:
        return [metric for metric in known.values() if metric.by_default]
    by_key = {key: metric for metric in known.values() for key in (metric.name, *metric.figure_names())}
    chosen: dict[str, type[Metric]] = {}
    for name in names:
        if ":" in name:
            given = import_class(name)
            if not (inspect.isclass(given) and issubclass(given, Metric)):
                raise TokbenchError(f"{name!r} is not a subclass of tokbench.bench.metrics.base.Metric")
            chosen[given.name] = given
            continue
        if name == "all":
            chosen |= known
            continue
        if name not in by_key:
            raise unknown_name("metric", name, [*by_key, "all"])
        chosen[by_key[name].name] = by_key[name]
    return list(chosen.values())
