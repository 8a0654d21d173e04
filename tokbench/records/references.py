"""What records say of the reference that figures were taken against: it stands in the settings of metrics; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokbench.records.record import Record

REFERENCE, SOURCE = "reference", "source_sha256"
"""Key in the settings of a metric, and in a reference of images: the digest of these before they are cut."""


def reference_of(record: Record) -> Mapping[str, Any] | None:
    """The reference a record was measured against; None if it has no figure against one."""
    found = (metric.settings.get(REFERENCE) for metric in record.metrics.values() if metric.measured)
    return next((given for given in found if isinstance(given, Mapping)), None)


def against_reference(record: Record) -> tuple[str, ...]:
    """Keys of the figures that were taken against a reference."""
    return tuple(key for key, metric in record.metrics.items() if metric.measured and isinstance(metric.settings.get(REFERENCE), Mapping))


def identity_of(given: Mapping[str, Any]) -> str:
    """Digest by which a reference is told from others, however it was cut and whatever it is called."""
    return str(given.get(SOURCE) or given.get("sha256") or "")
