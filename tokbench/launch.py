"""Processes that a launcher started: how they find each other, and what only the first of them does."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch.distributed as dist

from tokbench.errors import TokbenchError, brief
from tokbench.ranks import Elsewhere, ranks_from_environment
from tokbench.together import largest, place

PATIENCE = timedelta(days=1)
"""How long processes wait for one that is still at work; one that has ended is noticed at once, or by the launcher."""

LOST = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
"""How libraries word that a process does not answer any more."""


@contextmanager
def joined() -> Iterator[None]:
    """Let the processes of ``torchrun`` or ``accelerate launch`` work together; does nothing where there is one, or they do already.

    Tensors go by gloo on a processor and by NCCL on NVIDIA's accelerators.

    Raises:
        TokbenchError: If the processes do not find each other, or one of the others ends while this one works.
    """
    count = ranks_from_environment().world_size
    if count == 1 or dist.is_initialized():
        yield
        return
    if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]:
        raise TokbenchError(
            f"WORLD_SIZE={count} is set and {' and '.join(missing)} not, so that processes cannot meet; start with torchrun, or unset "
            "WORLD_SIZE and RANK"
        )
    try:
        dist.init_process_group(timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise TokbenchError(f"the {count} processes did not find each other ({brief(error)}); start with torchrun") from error
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or any(words in str(error) for words in LOST):
            raise TokbenchError(
                "another of the processes has ended, and none can go on without it; it has said why, unless it was killed"
            ) from error
        raise
    finally:
        gc.collect()  # what still holds the group would end after it, and abort the process
        with suppress(RuntimeError):
            dist.destroy_process_group()


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
