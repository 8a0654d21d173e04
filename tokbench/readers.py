"""How many threads read images, where nobody says it."""

from __future__ import annotations

import os
import re

MOST_READERS = 16
"""Threads that read unless it is told: more would wait for each other, as Python runs one of them at a time between decoding and scaling."""


def readers(asked: int | None = None) -> int:
    """How many threads read.

    Args:
        asked: How many the user wants; None takes as many as this process has cores, ``MOST_READERS`` at most. Processes that a launcher
            started on one machine share its cores.
    """
    if asked is not None:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    beside = os.environ.get("LOCAL_WORLD_SIZE", "")
    sharing = max(1, int(beside)) if re.fullmatch(r"[0-9]{1,9}", beside) else 1
    return max(1, min(cores // sharing, MOST_READERS))
