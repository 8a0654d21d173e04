"""Waits for other processes, which a signal ends: what waits inside of a library hears of none."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Any

from tokbench.signals import Ended, exit_status

NAP = 0.02
"""Seconds between two looks at most; the first ones come sooner, as most waits are short."""

_given_up: list[int] = []


def until(done: Callable[[], bool]) -> None:
    """Wait, and let a signal end that.

    What was waited for then stays pending in a library, which would wait for it when the process ends. So that process ends without it.

    Args:
        done: Whether the wait is over.
    """
    nap = NAP / 64
    try:
        while not done():
            time.sleep(nap)
            nap = min(2 * nap, NAP)
    except BaseException as error:
        number = error.number if isinstance(error, Ended) else signal.SIGINT
        _given_up.append(number)
        atexit.register(_end, exit_status(number))
        raise


def gave_up() -> bool:
    """Whether something that was waited for is pending for ever."""
    return bool(_given_up)


def finished(work: Any) -> None:
    """Wait for what processes do together.

    Args:
        work: What a function of ``torch.distributed`` returns that was called with ``async_op=True``.

    Raises:
        RuntimeError: If it failed, as where another process has ended.
    """
    until(work.is_completed)
    work.wait()


def in_thread(call: Callable[[], object], *, meanwhile: Callable[[float], None] = lambda seconds: None) -> None:
    """Call something that waits by itself, in a thread, and wait for that.

    Args:
        call: What is called; its errors are raised here.
        meanwhile: Told now and then how many seconds have passed.
    """
    failures: list[BaseException] = []

    def work() -> None:
        try:
            call()
        except BaseException as error:
            failures.append(error)

    thread, started = Thread(target=work, daemon=True), time.monotonic()
    thread.start()

    def over() -> bool:
        meanwhile(time.monotonic() - started)
        return not thread.is_alive()

    until(over)
    if failures:
        raise failures[0]


def _end(status: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
    os._exit(status)
