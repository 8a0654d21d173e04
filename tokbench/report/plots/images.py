"""How the per-image values of a metric are distributed, computed from rows; nothing is drawn here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tokbench.records.store import Rows
from tokbench.report.plots.data import QUANTILES, Distribution
from tokbench.report.table import HUGE, Column


def distributions(rows: Sequence[Rows], names: Sequence[str], column: Column) -> list[Distribution]:
    """Quantiles of the per-image values of one figure; records without values, or with NaN among them, are left out."""
    found = []
    for name, values_of in zip(names, rows, strict=True):
        values = np.array([value for value in values_of.get(column.key, {}).values() if value is not None], dtype=np.float64)
        if len(values) and not np.isnan(values).any():
            with np.errstate(over="ignore", invalid="ignore"):
                values *= column.scale
                mean = float(values.mean())
            beyond = int((np.abs(values) > HUGE).sum())
            quantiles = () if beyond else tuple(map(float, np.quantile(values, QUANTILES)))
            found.append(Distribution(name, quantiles, mean, float(values.min()), float(values.max()), len(values), beyond))
    return found
