"""Records that say again what a newer one says: shown once; no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tokbench.configs import canonical_json
from tokbench.records.record import Record
from tokbench.report.sections import place_of
from tokbench.report.words import counted


def repeats(records: Sequence[Record]) -> list[bool]:
    """Find the records that a newer one makes superfluous.

    That one is of the same tokenizer, down to its weights, under the same protocol on the same images, and has all of the older one's
    figures. Speeds differ between any two runs, and do not count. Where a figure differs, both records stay.

    Args:
        records: In any order; of several made in the same second, the last counts as the newest.

    Returns:
        A flag a record.
    """
    subjects: dict[object, list[int]] = {}
    for i, record in enumerate(records):
        subjects.setdefault((place_of(record), canonical_json(record.tokenizer)), []).append(i)
    flags = [False] * len(records)
    for members in subjects.values():
        ordered = sorted(members, key=lambda i: records[i].created)
        for place, i in enumerate(ordered):
            flags[i] = any(_holds_all(records[newer], records[i]) for newer in ordered[place + 1 :])
    return flags


def repeats_note(count: int) -> str:
    """What to say where records were left out as repeats."""
    return f"left out {counted(count, 'record')} whose figures a newer one of the same tokenizer, protocol and images repeats"


def _holds_all(newer: Record, older: Record) -> bool:
    for key, metric in older.metrics.items():
        if not metric.measured:
            continue
        again = newer.metrics.get(key)
        if again is None or not again.measured or (again.settings, again.exact) != (metric.settings, metric.exact):
            return False
        a, b = metric.reached, again.reached
        if a is None or b is None or (a != b and not math.isclose(a, b, rel_tol=1e-9)):
            return False
    return True
