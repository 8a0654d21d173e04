"""Signals that ask a process to end: Ctrl-C (SIGINT), SIGTERM as schedulers send it, SIGHUP of a terminal that is closed."""

from __future__ import annotations

import atexit
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""The signals, as far as the system has them."""

PASSED_ON = 2.0
"""Seconds after a signal in which a launcher passes it on; what ends at the first one needs no more."""

_SHOW_CURSOR = "\x1b[?25h"


class Ended(BaseException):
    """A signal asked this process to end; raised in the main thread, and no error that anybody handles on the way.

    Args:
        number: Number of the signal.
        note: What the user should know of where it stopped.
        silent: Whether another process, which ended with this one, says so.
    """

    def __init__(self, number: int, note: str = "", *, silent: bool = False) -> None:
        super().__init__(number)
        self.number, self.note, self.silent = number, note, silent


def exit_status(number: int) -> int:
    """What a process that a signal ended exits with, as shells count: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + number


def farewell(number: int, note: str = "") -> str:
    """The line such a process says at the end."""
    words = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    return f"tokbench: {words}" + (f"; {note}" if note else "")


@contextmanager
def ending_at_signals() -> Iterator[None]:
    """Raise ``Ended`` at the first signal, and end at once at the second, or at one during an import, which must not be left half-way.

    Signals that are ignored stay so, as under ``nohup``. Does nothing within itself, and in other threads than the main one.
    """
    if any(isinstance(signal.getsignal(number), _Handler) for number in ENDING):
        yield
        return
    with _handled(_Handler()):
        yield


@contextmanager
def asked_to_end(*, patient: bool = False) -> Iterator[Callable[[], int | None]]:
    """Note the first signal instead of ending, for work that ends by itself soon after; a second one ends as without this.

    Args:
        patient: Whether to wait through further ones too: a launcher passes on what its processes may have been sent already, and kills
            those that take too long.

    Yields:
        What gives the number of the signal, or None as long as there was none.
    """
    asked: int | None = None

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = asked or number
        if not patient:
            restore()

    with _handled(note) as restore:
        yield lambda: asked


@contextmanager
def ending_the_process() -> Iterator[None]:
    """As ``ending_at_signals``, for all that a process does: once the work within is over, there is nothing to end in order.

    While threads and libraries are waited for at the end, a signal ends the process at once. Then the interpreter takes its modules down,
    where no handler runs any more: signals are ignored there, as the output is whole and the status known.
    """
    atexit.register(_ignore)  # the first that is registered is called last
    try:
        with ending_at_signals():
            yield
    finally:
        _set(lambda number, frame: None if _passed_on() else end_now(number))


def _ignore() -> None:
    _set(signal.SIG_IGN)


def _set(handler: Any) -> None:
    """Handle signals in this way, where they are not ignored."""
    with suppress(ValueError):  # not in the main thread
        for number in ENDING:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                signal.signal(number, handler)


class _Handler:
    asked_at = -math.inf
    """When this process was last asked to end, on the clock that runs evenly."""

    def __init__(self) -> None:
        self.called = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.called and not _importing(frame):
            self.called = True
            _Handler.asked_at = time.monotonic()
            raise Ended(number)
        if not _passed_on():
            end_now(number)


def _passed_on() -> bool:
    """Whether a further signal is taken for the first one, which a launcher passes on to processes that a terminal has told as well."""
    several = os.environ.get("WORLD_SIZE", "1") != "1"
    return several and time.monotonic() - _Handler.asked_at < PASSED_ON


def end_now(number: int) -> None:
    """End this process, with the line and the status of a signal; nothing is cleaned up."""
    with suppress(OSError):
        if sys.stderr is not None and sys.stderr.isatty():
            os.write(2, _SHOW_CURSOR.encode())  # a progress bar may have hidden it
        os.write(2, f"{farewell(number)}\n".encode())
    os._exit(exit_status(number))


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[Callable[[], None]]:
    """Have signals handled in this way; yields what puts back the ways of before."""
    before: dict[int, Any] = {}

    def restore() -> None:
        while before:
            signal.signal(*before.popitem())

    try:
        for number in ENDING:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, handler)
    except ValueError:  # not in the main thread
        pass
    try:
        yield restore
    finally:
        restore()


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
