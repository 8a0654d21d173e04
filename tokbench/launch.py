"""Processes that a launcher started: how they find each other, and what only the first of them does."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch
import torch.distributed as dist

from tokbench.errors import TokbenchError, brief
from tokbench.ranks import Elsewhere, ranks_from_environment
from tokbench.together import largest, place, processes
from tokbench.waiting import gave_up, in_thread

logger = logging.getLogger(__name__)

SOON = 30.0
"""Seconds within which processes find each other, as a rule; those that start after them are waited for."""

PATIENCE = timedelta(days=30)
"""How long processes wait for one that is still at work; one that has ended is noticed at once, or by the launcher."""

ENDED = ("Connection closed by peer", "Connection reset by peer")
"""How gloo words that a process does not answer any more."""

BETWEEN = ("gloo", "NCCL")
"""What errors name that arise between processes."""


@contextmanager
def joined(*, instead: str = "unset WORLD_SIZE and RANK") -> Iterator[None]:
    """Let the processes of ``torchrun`` or ``accelerate launch`` work together; does nothing where there is one, or they do already.

    Tensors go by gloo on a processor and by NCCL on NVIDIA's accelerators.

    Args:
        instead: What an error advises where processes cannot meet.

    Raises:
        TokbenchError: If the processes do not find each other, or one of the others ends while this one works.
    """
    count = ranks_from_environment().world_size
    if count == 1:
        yield
        return
    if not dist.is_available() or not dist.is_gloo_available():
        raise TokbenchError(f"this build of torch has no gloo, by which processes meet; {instead}")
    if dist.is_initialized():
        yield
        return
    if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]:
        raise TokbenchError(
            f"WORLD_SIZE={count} is set and {' and '.join(missing)} not, so that processes cannot meet; start with torchrun, or {instead}"
        )
    try:
        in_thread(lambda: dist.init_process_group(_backends(), timeout=PATIENCE), meanwhile=_Word(count))
    except (RuntimeError, ValueError) as error:
        raise TokbenchError(f"the {count} processes did not find each other ({brief(error)}); start with torchrun") from error
    try:
        yield
    except RuntimeError as error:
        if any(words in str(error) for words in ENDED):
            raise TokbenchError(
                "another of the processes has ended, and none can go on without it; it has said why, unless it was killed"
            ) from error
        if isinstance(error, dist.DistError) or any(words in str(error) for words in BETWEEN):
            raise TokbenchError(
                f"the processes do not reach each other ({brief(error)}); if one of them has ended, it has said why"
            ) from error
        raise
    finally:
        gc.collect()  # what still holds the group would end after it, and abort the process
        if not gave_up():
            with suppress(RuntimeError):
                dist.destroy_process_group()


class _Word:
    """Says once, in the first process, that others are waited for."""

    def __init__(self, count: int) -> None:
        self.count, self.said = count, ranks_from_environment().rank > 0

    def __call__(self, seconds: float) -> None:
        if seconds > SOON and not self.said:
            where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
            logger.warning("waiting at %s for the %d other processes of WORLD_SIZE=%d", where, self.count - 1, self.count)
            self.said = True


def _backends() -> str:
    """What tensors go by, those of a processor by gloo in any case: left to itself, torch takes that of the accelerator for all."""
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"


def take_device(device: torch.device) -> torch.device:
    """Make an accelerator the current one of this process, where several work together; what names none would go to the first.

    Args:
        device: The device of this process.

    Returns:
        The device.
    """
    if device.type == "cuda" and processes() > 1:
        torch.cuda.set_device(device)
    return device


def by_the_first(work: Callable[[], object]) -> None:
    """Have the first process do what only one may do, such as writing files; the others wait.

    Args:
        work: What is done.

    Raises:
        Elsewhere: In the others, if it fails in the first.
    """
    failure: Exception | None = None
    if place() == 0:
        try:
            work()
        except Exception as error:
            failure = error
    if largest(int(failure is not None)):
        raise failure or Elsewhere("the first process could not go on")
