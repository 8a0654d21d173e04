"""How long a process has trained, over all the times that a stage was started and gone on with."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tokbench.bench.environment import processor_name
from tokbench.records.lm_training import Trained


class Clock:
    """Counts from its start, on top of what a checkpoint had counted.

    A checkpoint of a version that counted nothing leaves it without an answer, as the whole is then not known.
    """

    def __init__(self) -> None:
        self._before: tuple[float, float] | None = (0.0, 0.0)
        self._places: list[tuple[str, str]] = []
        self._begun: tuple[float, float] | None = None

    def go_on_from(self, part: Any) -> None:
        """Take what a checkpoint holds.

        Args:
            part: What ``part`` gave; None if it was not known.

        Raises:
            LookupError: If it lacks something.
            TypeError: If something is of another kind.
            ValueError: If it is no number.
        """
        if part is None:
            self._before = None
            return
        self._before = (float(part["seconds"]), float(part["processor_seconds"]))
        self._places = list(dict.fromkeys([*((str(device), str(name)) for device, name in part["places"]), *self._places]))

    def start(self, device: torch.device) -> None:
        """Count from now."""
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
        self._places = list(dict.fromkeys([*self._places, (device.type, name)]))
        self._begun = (time.perf_counter(), time.process_time())

    def part(self) -> dict[str, Any] | None:
        """What a checkpoint keeps of it; None if it is not known how long was trained before."""
        if self._before is None or self._begun is None:
            return None
        seconds, busy = (now - begun for now, begun in zip((time.perf_counter(), time.process_time()), self._begun, strict=True))
        return {"seconds": self._before[0] + seconds, "processor_seconds": self._before[1] + busy, "places": self._places}


def trained(parts: Sequence[Any], sequences: int) -> Trained | None:
    """Put together what processes have counted.

    Args:
        parts: What ``Clock.part`` gave in each of them, as a checkpoint holds it.
        sequences: Sequences seen by all of them.

    Returns:
        What the training took; None if it is not known.
    """
    known = [part for part in parts if isinstance(part, Mapping)]
    if not known or len(known) < len(parts):
        return None
    try:
        places = dict.fromkeys((str(device), str(name)) for part in known for device, name in part["places"])
        return Trained(
            sequences,
            round(max(float(part["seconds"]) for part in known), 3),
            round(sum(float(part["processor_seconds"]) for part in known), 3),
            len(known),
            *(", ".join(dict.fromkeys(words)) for words in zip(*places, strict=True)),
        )
    except (LookupError, TypeError, ValueError):
        return None
