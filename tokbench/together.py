"""What processes that train together know of all of them; one process alone is all of them.

Every function here is called by all processes, in the same order. Shares of a batch are runs of its rows, in the order of the processes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tokbench.waiting import finished

T = TypeVar("T")


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def place() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if processes() > 1 else 0


def over_all(values: Shaped[Tensor, "*s"]) -> Shaped[Tensor, "*s"]:
    """Sum over the processes, in place and without gradients; every one gets the same bits."""
    if processes() > 1:
        dist.all_reduce(values)
    return values


def of_the_first(values: Shaped[Tensor, "*s"]) -> Shaped[Tensor, "*s"]:
    """What the first process has, in place; the shape is the same in all."""
    if processes() > 1:
        dist.broadcast(values, src=0)
    return values


def largest(value: int) -> int:
    """The largest of one number of each process."""
    if processes() == 1:
        return value
    found = torch.tensor(value)
    finished(dist.all_reduce(found, op=dist.ReduceOp.MAX, async_op=True))  # the first may be at work for minutes
    return int(found)


def mean_of_all(totals: Float[Tensor, "*s"], count: int) -> Float[Tensor, "*s"]:
    """The mean of what all processes have, with gradients that reach each one's own.

    Where each process has a loss that this goes into, the gradient is that of the sum of their losses.

    Args:
        totals: Sums of this process.
        count: How many it has summed up.
    """
    if processes() == 1:
        return totals / count
    summed: Tensor = _Sum.apply(totals)
    return summed / int(over_all(torch.tensor(count)))


def averaging(network: nn.Module, *, unused: bool = False) -> Callable[[Callable[[], T]], T]:
    """Have the gradients of a network averaged over the processes.

    Args:
        network: All processes get the weights of the first.
        unused: Whether some of its weights may have no part in a loss; they keep having no gradient.

    Returns:
        What calls a function that computes losses of the network. It returns them as tensors, also in tuples and dictionaries; the
        gradients are averaged when ``backward`` of one of them is called.
    """
    if processes() == 1:
        return lambda losses: losses()
    return DistributedDataParallel(_Run(network), find_unused_parameters=unused)


class _Run(nn.Module):
    """What ``DistributedDataParallel`` takes for a forward pass: any computation with a network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, losses: Callable[[], T]) -> T:
        return losses()


class _Sum(torch.autograd.Function):
    """Sum over the processes: what each has goes into the result, and so into the loss, of every one."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return over_all(values.clone(memory_format=torch.contiguous_format))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return over_all(gradient.clone(memory_format=torch.contiguous_format))


def all_rows(values: Shaped[Tensor, " n *s"]) -> Shaped[Tensor, " m *s"]:
    """Rows of all processes, without gradients; each has as many."""
    if processes() == 1:
        return values
    parts = [torch.empty_like(values, memory_format=torch.contiguous_format) for _ in range(processes())]
    dist.all_gather(parts, values.contiguous())
    return torch.cat(parts)


def own_rows(values: Shaped[Tensor, " n *s"]) -> Shaped[Tensor, " m *s"]:
    """This process's share of rows that every process has, such as noise drawn for a whole batch."""
    return values.tensor_split(processes())[place()]


def count_rows(values: Shaped[Tensor, " n *s"]) -> int:
    """How many rows all processes have."""
    return len(values) if processes() == 1 else int(over_all(torch.tensor(len(values))))


def draw_rows(values: Float[Tensor, "n d"], count: int, generator: torch.Generator) -> Float[Tensor, "m d"]:
    """Draw among the rows of all processes, none twice; every process gets the same.

    Args:
        values: Rows of this process; others may have more or fewer.
        count: How many to draw; all of them where there are fewer.
        generator: Draws; that of the first process counts.
    """
    if processes() == 1:
        return values[torch.randperm(len(values), generator=generator)[:count].to(values.device)]
    lengths = torch.zeros(processes(), dtype=torch.int64)
    lengths[place()] = len(values)
    ends = over_all(lengths).cumsum(0)
    places = of_the_first(torch.randperm(int(ends[-1]), generator=generator)[:count].contiguous())
    own = places - (ends[place()] - len(values))
    mine = (own >= 0) & (own < len(values))
    drawn = values.new_zeros(len(places), values.shape[1])
    drawn[mine.to(values.device)] = values[own[mine].to(values.device)]
    return over_all(drawn)  # a sum of one row and zeros is that row
