"""How long work takes on a device: by events that it writes down itself as it comes to them, or by the clock of the processor."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import torch

Work = Callable[[], object]


class Clock(Protocol):
    """Times work on one device."""

    name: str

    def once(self, work: Work) -> float:
        """Seconds that one call takes, from an idle device to an idle device."""

    def repeated(self, work: Work, calls: int) -> Callable[[], float]:
        """Call once without timing it, then so many times in a row.

        Returns:
            What gives the seconds of one call when it is asked. It may wait for the device, so it is asked when nothing else is due.
        """


class Lap:
    """The time of work in the queue of a device, asked for later: nothing waits for the sake of timing but where there are no events.

    Args:
        device: Where the work runs.
    """

    def __init__(self, device: torch.device) -> None:
        """Begin here."""
        self._device = device
        self._events = self._mark() if device.type == "cuda" else None
        self._start = 0.0 if self._events is not None else self._now()
        self._end: Any = None

    def stop(self) -> None:
        """End here."""
        self._end = self._mark() if self._events is not None else self._now()

    def seconds(self) -> float:
        """Seconds between beginning and end; waits for the device to come to the end."""
        if self._events is None:
            return float(self._end - self._start)
        self._end.synchronize()
        return float(self._events.elapsed_time(self._end)) / 1000

    def _mark(self) -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def _now(self) -> float:
        if self._device.type != "cpu":
            getattr(torch, self._device.type).synchronize()  # mps and xpu have one
        return time.perf_counter()


class ProcessorClock:
    """``time.perf_counter``, for devices that are done when a call returns, or that can be waited for.

    Args:
        wait: Waits for the device.
    """

    name = "time.perf_counter"

    def __init__(self, wait: Callable[[], object] = lambda: None) -> None:
        """Remember how to wait."""
        self._wait = wait

    def once(self, work: Work) -> float:
        """Wait, call, wait."""
        self._wait()
        start = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - start

    def repeated(self, work: Work, calls: int) -> Callable[[], float]:
        """Wait before the first timed call and after the last."""
        work()
        self._wait()
        start = time.perf_counter()
        for _ in range(calls):
            work()
        self._wait()
        seconds = (time.perf_counter() - start) / calls
        return lambda: seconds


class EventClock:
    """Events in the queue of a CUDA device, so that nothing waits between calls for the sake of timing.

    Args:
        device: The device.
    """

    name = "CUDA events"

    def __init__(self, device: torch.device) -> None:
        """Remember the device."""
        self._device = device

    def once(self, work: Work) -> float:
        """Wait, call, wait: a first call does much on the processor that events do not see."""
        return ProcessorClock(self._wait).once(work)

    def repeated(self, work: Work, calls: int) -> Callable[[], float]:
        """Put an event behind the call that is not timed, and one behind the last.

        What others have left in the queue is waited for before: behind it, this work would hide how long its calls take to be made.
        The call that is not timed fills the queue again.
        """
        self._wait()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        stream = torch.cuda.current_stream(self._device)
        work()
        begin.record(stream)
        for _ in range(calls):
            work()
        end.record(stream)

        def seconds() -> float:
            end.synchronize()
            return begin.elapsed_time(end) / 1000 / calls

        return seconds

    def _wait(self) -> None:
        torch.cuda.synchronize(self._device)


def clock_of(device: torch.device) -> Clock:
    """The clock for a device."""
    if device.type == "cuda":
        return EventClock(device)
    if device.type == "cpu":
        return ProcessorClock()
    return ProcessorClock(getattr(torch, device.type).synchronize)  # mps and xpu have one
