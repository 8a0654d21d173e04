"""What references are called, and what is to be known of those that figures were taken against; no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokbench.escapes import visible
from tokbench.records.figures import BY_KEY
from tokbench.records.record import Record
from tokbench.records.references import REFERENCE, identity_of
from tokbench.report.words import counted, shortened


def named_reference(given: Mapping[str, Any]) -> str:
    """What a reference is called, with its number of images and the beginning of its digest."""
    count = given.get("images")
    images = counted(count, "image") if isinstance(count, int) else "images not counted"
    images += ", whole" if str(given.get("kind")).endswith("whole") else ""
    return f"{shortened(str(given.get('name')), 40)} ({images}, {identity_of(given)[:8]})"


def guard_notes(records: Sequence[Record], keys: Sequence[str] | None) -> list[str]:
    """What guards say of the references of figures, a line each reference.

    Args:
        records: Records of a table.
        keys: Keys of the figures that it shows; None means all.

    Returns:
        Lines such as ``FD-EffLite0 to reference: train (1,000 images, 1a2b3c4d): its name says that it is of training images``.
    """
    found: dict[str, dict[str, None]] = {}
    for record in records:
        for key, metric in record.metrics.items():
            given = metric.settings.get(REFERENCE)
            if not metric.measured or not isinstance(given, Mapping) or (keys is not None and key not in keys):
                continue
            guards = given.get("guards")
            if isinstance(guards, list | tuple) and guards:
                title = BY_KEY[key].title if key in BY_KEY else key
                found.setdefault(f"{named_reference(given)}: {'; '.join(map(str, guards))}", {})[title] = None
    return [visible(f"{', '.join(titles)}: {text}") for text, titles in found.items()]
