"""Processes that share a run: who they are, and the few words they say to each other. What they measure goes through the journal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta

import torch

from tokbench.errors import TokbenchError
from tokbench.ranks import Ranks, ranks_from_environment

PATIENCE = timedelta(days=30)
"""How long processes wait for each other: one that ends is noticed at once, and one that is slow may be slow."""


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
            torch.distributed.broadcast(size, 0)
            data = data if self.first else torch.empty(int(size), dtype=torch.uint8)
            torch.distributed.broadcast(data, 0)
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
            torch.distributed.all_gather(flags, torch.tensor([int(here)]))
        return [rank for rank, flag in enumerate(flags) if int(flag)]


@contextmanager
def gathered() -> Iterator[Team]:
    """Meet the processes that ``torchrun`` or ``accelerate launch`` started, by gloo: few bytes pass between them, on a GPU too.

    Yields:
        This process among them.

    Raises:
        TokbenchError: If the environment names no place to meet, or the others do not come there.
    """
    ranks = ranks_from_environment()
    if ranks.world_size == 1:
        yield Team(ranks)
        return
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        raise TokbenchError("this build of torch has no gloo, by which processes meet; measure parts with --part K/N, and tokbench merge")
    lacking = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if lacking:
        raise TokbenchError(
            f"WORLD_SIZE={ranks.world_size} is set and {' and '.join(lacking)} not, so that processes cannot meet; "
            "start with torchrun, or measure parts with --part K/N and without RANK and WORLD_SIZE"
        )
    if torch.distributed.is_initialized():
        yield Team(ranks)
        return
    with _others_alive():
        torch.distributed.init_process_group("gloo", rank=ranks.rank, world_size=ranks.world_size, timeout=PATIENCE)
    try:
        yield Team(ranks)
    finally:
        with suppress(RuntimeError):
            torch.distributed.destroy_process_group()


def own_device(device: str) -> str:
    """Which device this process takes of those of a machine: ``cuda`` is ``cuda:LOCAL_RANK`` where several processes share it."""
    local = os.environ.get("LOCAL_RANK", "")
    if device == "cuda" and local.isdecimal() and ranks_from_environment().world_size > 1:
        return f"cuda:{int(local)}"
    return device


@contextmanager
def _others_alive() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:
        why = next(iter(str(error).splitlines()), "")[:200]
        raise TokbenchError(
            f"another process of this run has ended or cannot be reached ({why}); what it said tells why, and --resume goes on"
        ) from error
