"""Conditions on values that a device is still computing: asked at once, or taken for granted and asked when it has come to them.

Whoever asks a device for a value waits until all work that was queued before is done, and the device then waits for more. Within
``granting`` nobody asks: what a value must be is noted, work goes on as if it were so, and whoever granted it asks later, once for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(eq=False)
class Granted:
    """What was taken for granted, in order.

    Args:
        conditions: Truth values on any device, each with the error to raise where it does not hold; None where work goes another way then.
    """

    conditions: list[tuple[Tensor, Callable[[], Exception] | None]] = field(default_factory=list)

    def verdict(self, device: torch.device) -> Tensor:
        """Whether all of it holds, as a truth value on a device that nobody has waited for."""
        found = [condition.reshape(()).to(device) for condition, _ in self.conditions]
        return torch.stack(found).all() if found else torch.ones((), dtype=torch.bool, device=device)

    def broken(self) -> tuple[bool, Exception | None]:
        """Ask the device: whether something does not hold, and the error of the first that does not, if it has one."""
        for condition, error in self.conditions:
            if not bool(condition):
                return True, None if error is None else error()
        return False, None


_GRANTED: ContextVar[Granted | None] = ContextVar("granted", default=None)


@contextmanager
def granting() -> Iterator[Granted]:
    """Take for granted what values must be within; in this thread alone."""
    granted = Granted()
    token = _GRANTED.set(granted)
    try:
        yield granted
    finally:
        _GRANTED.reset(token)


def require(condition: Tensor, error: Callable[[], Exception]) -> None:
    """Refuse values.

    Args:
        condition: A truth value on any device.
        error: Builds what is raised where it does not hold; asked at once or later.

    Raises:
        Exception: What ``error`` gives; within ``granting`` whoever granted it raises it.
    """
    granted = _GRANTED.get()
    if granted is not None and not condition.is_meta:  # what has no value never will
        granted.conditions.append((condition, error))
    elif not bool(condition):
        raise error()


def presumed(condition: Tensor) -> bool:
    """Say whether work goes the usual way, which needs a condition.

    Within ``granting`` it does. Where the condition turns out not to hold, whoever granted it does the work again, without granting.
    """
    granted = _GRANTED.get()
    if granted is None or condition.is_meta:
        return bool(condition)
    granted.conditions.append((condition, None))
    return True


def granted() -> bool:
    """Whether values are taken for granted now, so that nothing may be asked of them."""
    return _GRANTED.get() is not None
