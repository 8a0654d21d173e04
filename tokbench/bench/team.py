"""Processes that share a run: who they are, and the few words they say to each other. What they measure goes through the journal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from tokbench.errors import TokbenchError, brief
from tokbench.launch import ENDED, joined
from tokbench.ranks import Ranks, ranks_from_environment
from tokbench.waiting import finished


@dataclass(frozen=True)
class Team:
    """This process among those that share a run; alone, unless they are told otherwise.

    Args:
        ranks: Which one of how many.
    """

    ranks: Ranks = field(default_factory=Ranks)

    @property
    def first(self) -> bool:
        """Whether this process speaks, and writes the record."""
        return self.ranks.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other."""
        return self.ranks.world_size == 1

    def told(self, text: str) -> str:
        """Tell the others; all must call this.

        Args:
            text: What the first process says; that of the others does not matter.

        Returns:
            What the first process said.

        Raises:
            TokbenchError: If another process has ended.
        """
        if self.alone:
            return text
        data = torch.tensor(list(text.encode("utf-8", "surrogateescape")), dtype=torch.uint8)
        size = torch.tensor([len(data)])
        with _others_alive():
            finished(torch.distributed.broadcast(size, 0, async_op=True))
            data = data if self.first else torch.empty(int(size), dtype=torch.uint8)
            finished(torch.distributed.broadcast(data, 0, async_op=True))
        return bytes(data.tolist()).decode("utf-8", "surrogateescape")

    def failed(self, here: bool) -> list[int]:
        """Wait for all processes.

        Args:
            here: Whether this one failed.

        Returns:
            Ranks of those that did.

        Raises:
            TokbenchError: If another process has ended.
        """
        if self.alone:
            return [0] if here else []
        flags = [torch.zeros(1, dtype=torch.int64) for _ in range(self.ranks.world_size)]
        with _others_alive():
            finished(torch.distributed.all_gather(flags, torch.tensor([int(here)]), async_op=True))
        return [rank for rank, flag in enumerate(flags) if int(flag)]


@contextmanager
def gathered() -> Iterator[Team]:
    """Meet the processes that ``torchrun`` or ``accelerate launch`` started. The few words between them go by gloo, on a GPU too.

    Yields:
        This process among them.

    Raises:
        TokbenchError: If the environment names no place to meet, or the others do not come there.
    """
    with joined(instead="measure parts with --part K/N and without RANK and WORLD_SIZE"):
        yield Team(ranks_from_environment())


@contextmanager
def _others_alive() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:
        how = "has ended" if any(words in str(error) for words in ENDED) else f"cannot be reached ({brief(error)})"
        raise TokbenchError(f"another process of this run {how}; what it said tells why, and --resume goes on") from error
