"""Which part of the work is this process's, as torchrun says it, or a scheduler that started it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping, Sequence
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


@dataclass(frozen=True)
class Tasks:
    """Processes that a scheduler or MPI started: they know how many they are, and no place to meet.

    Args:
        launcher: What started them.
        rank: Which one this is.
        count: How many there are; more than one.
        rank_name: The variable that says which one this is. So do the next three; those that are not known are empty.
        count_name: How many.
        local_name: Which one on its machine.
        local_count_name: How many are on its machine.
    """

    launcher: str
    rank: int
    count: int
    rank_name: str
    count_name: str
    local_name: str
    local_count_name: str

    def advice(self, *, in_parts: bool) -> str:
        """How to have them share what each was started for.

        Args:
            in_parts: Whether the command measures parts.
        """
        parts = f"give each --part $(({self.rank_name}+1))/${self.count_name}, then tokbench merge" if in_parts else "start with torchrun"
        return f"to share the work among the {self.count} tasks of {self.launcher}, export MASTER_ADDR and MASTER_PORT, or {parts}"


STARTED_BY = (
    ("mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("mpiexec", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    ("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", ""),
)
"""Launchers and their variables: rank, count, rank and count on the machine. MPI may have been started by SLURM, and counts.

A script of ``sbatch`` and a shell inside an allocation have a ``SLURM_NTASKS``, and are one process: only ``srun`` counts tasks of a step.
"""


def started_tasks(environment: Mapping[str, str] | None = None) -> Tasks | None:
    """Tasks that ``srun`` or ``mpirun`` started.

    Args:
        environment: Where to look; None looks in this process's environment.

    Returns:
        None where there is one process, or ``RANK`` and ``WORLD_SIZE`` say what there is.
    """
    environment = os.environ if environment is None else environment
    if "RANK" in environment or "WORLD_SIZE" in environment:
        return None
    found = list[Tasks]()
    for launcher, *names in STARTED_BY:
        rank, count = (environment.get(name, "") for name in names[:2])
        if re.fullmatch("[0-9]{1,9}", rank) and re.fullmatch("[0-9]{1,9}", count):
            found.append(Tasks(launcher, int(rank), int(count), *names))
    if not found or not found[0].rank < found[0].count or found[0].count == 1:
        return None
    same = [one for one in found if (one.rank, one.count) == (found[0].rank, found[0].count)]
    return same[-1]  # srun says those of MPI too


def join_tasks(words: Sequence[str], environment: MutableMapping[str, str] | None = None) -> Tasks | None:
    """Take tasks for processes that share the work, where they are told a place to meet, and no part is asked for.

    Args:
        words: The command line.
        environment: Gets ``RANK``, ``WORLD_SIZE`` and ``LOCAL_RANK`` then; None takes this process's environment.

    Returns:
        Tasks that know nothing of each other; None where there are none.
    """
    environment = os.environ if environment is None else environment
    tasks = started_tasks(environment)
    if tasks is None or asks_for_a_part(words) or not (environment.get("MASTER_ADDR") and environment.get("MASTER_PORT")):
        return tasks
    local = _local_rank(tasks.local_name, environment)
    given = {"LOCAL_RANK": local, "LOCAL_WORLD_SIZE": environment.get(tasks.local_count_name)}
    environment.update({"RANK": str(tasks.rank), "WORLD_SIZE": str(tasks.count)})
    environment.update({name: value for name, value in given.items() if value is not None and name not in environment})
    return None


def _local_rank(name: str, environment: Mapping[str, str]) -> str | None:
    """Which of its machine's processes this is, so far as a variable says it; the first where it is shown one accelerator alone."""
    alone = re.fullmatch("[^,]+", environment.get("CUDA_VISIBLE_DEVICES", "")) is not None
    return None if name not in environment else "0" if alone else environment[name]


def asks_for_a_part(words: Sequence[str]) -> bool:
    """Whether a command line asks for a part of the work, which knows nothing of the others."""
    return any(word == "--part" or word.startswith("--part=") for word in words)


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
    local = environment.get("LOCAL_RANK") or _local_rank("SLURM_LOCALID", environment)
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
