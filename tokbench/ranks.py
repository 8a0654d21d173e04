"""Which part of the work is this process's, as torchrun says it."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from tokbench.errors import TokbenchError


@dataclass(frozen=True)
class Ranks:
    """One of several processes that share the work.

    Args:
        rank: 0 to ``world_size - 1``.
        world_size: How many there are.

    Raises:
        ValueError: If the rank is out of range.
    """

    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank must be 0 to world_size - 1, got rank {self.rank} of {self.world_size}")


def ranks_from_environment(environment: Mapping[str, str] | None = None) -> Ranks:
    """Read ``RANK`` and ``WORLD_SIZE``, which torchrun sets; without them there is one process.

    Args:
        environment: Where to look; None looks in this process's environment.

    Raises:
        TokbenchError: If only one of them is set, or they do not fit together.
    """
    environment = os.environ if environment is None else environment
    rank, world_size = environment.get("RANK"), environment.get("WORLD_SIZE")
    if rank is None and world_size is None:
        return Ranks()
    try:
        if rank is None or world_size is None:
            raise ValueError("one of the two is missing")
        return Ranks(int(rank), int(world_size))
    except ValueError as error:
        raise TokbenchError(
            f"RANK={rank} and WORLD_SIZE={world_size} in the environment do not fit together ({error}); start with torchrun, or unset both"
        ) from error


class Elsewhere(TokbenchError):
    """The first process failed at what only it does, and says why; the others end without a word."""


def own_device(device: str, environment: Mapping[str, str] | None = None) -> str:
    """Name the device of this process among several on one machine: ``cuda`` becomes ``cuda:1`` in the second.

    Args:
        device: What was asked for; it stays where nothing says which process of its machine this is.
        environment: Where ``LOCAL_RANK`` is looked for, which torchrun sets, and ``SLURM_LOCALID``; None looks in this process's environment.

    Raises:
        TokbenchError: If several processes were to share one accelerator.
    """
    environment = os.environ if environment is None else environment
    local = environment.get("LOCAL_RANK", environment.get("SLURM_LOCALID"))
    if device == "cpu" or ranks_from_environment(environment).world_size == 1 or local is None:
        return device
    kind, _, number = device.partition(":")
    if number:
        raise TokbenchError(f"each process takes its own device, so they take a kind, not {device}; give --device {kind}")
    return f"{kind}:{local}" if kind == "cuda" else device


def leave_the_others(environment: MutableMapping[str, str] | None = None) -> bool:
    """Leave work that is not shared to the first process.

    Args:
        environment: Where torchrun says what there is; None takes this process's environment. The first process loses its part in it, so
            that nothing waits for the others.

    Returns:
        Whether this is not the first, and has nothing to do.
    """
    environment = os.environ if environment is None else environment
    ranks = ranks_from_environment(environment)
    if ranks.world_size > 1 and ranks.rank == 0:
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
            environment.pop(name, None)
    return ranks.rank > 0
