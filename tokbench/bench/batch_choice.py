"""How many images a tokenizer should see at once on its device: tried out before the first image is measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch

from tokbench.bench.clocks import Clock, clock_of
from tokbench.bench.encode import decode, encode, number_format, reproducible
from tokbench.bench.memory import let_go
from tokbench.counting import counted
from tokbench.errors import TokbenchError, out_of_memory
from tokbench.granted import granting
from tokbench.records.protocol import Protocol
from tokbench.tokenizers.base import Tokenizer

MOST = 256
"""Images at once at most that are tried."""

GAIN = 1.05
"""How many times as fast twice as many images at once must be, or more are not tried."""

SHARE = 0.5
"""Share of a GPU's memory that the tokenizer may fill: one more micro-batch is on its way, and metrics need some, too."""

CALLS = 2
"""Timed calls, of which the shortest counts."""


@dataclass(frozen=True)
class BatchChoice:
    """What was tried and chosen.

    Args:
        images: Images at once.
        rates: Images per second, encoded and decoded, by what was tried.
    """

    images: int
    rates: Mapping[int, float]

    def __str__(self) -> str:
        tried = ", ".join(f"{images}: {rate:.3g}/s" for images, rate in self.rates.items())
        return f"{counted(self.images, 'image')} at once, of {tried}"


def choose_batch(tokenizer: Tokenizer, protocol: Protocol, *, clock: Clock | None = None) -> BatchChoice:
    """Try how fast a tokenizer encodes and decodes images of noise: as many at once as metrics see, then twice as many as long as it pays.

    Where memory does not suffice for the first, half as many are tried, and so on.

    Args:
        tokenizer: On its device.
        protocol: Size, precision and micro-batch; compiled tokenizers are tried as they are.
        clock: Times the work; None takes that of the device.

    Raises:
        Misbehaved: If the tokenizer fails.
        TokbenchError: If memory does not suffice for one image.
    """
    clock = clock or clock_of(tokenizer.device)
    rates: dict[int, float] = {}
    images = protocol.micro_batch
    with reproducible():
        while images:
            rate = _rate(tokenizer, protocol, images, clock)
            before = rates.get(images // 2, 0.0)
            if rate is not None:
                rates[images] = rate
            if rate is None and not rates:
                images = _next_lower(images, protocol.micro_batch)
            elif rate is None or images < protocol.micro_batch or rate < GAIN * before or images * 2 > MOST:
                break
            else:
                images *= 2
    if not rates:
        raise TokbenchError(
            f"{tokenizer.name} ran out of memory with one image of {protocol.size_text} px; lower --size, or take --tile-size"
        )
    return BatchChoice(max(rates, key=lambda images: (rates[images], -images)), rates)


def _next_lower(images: int, micro_batch: int) -> int:
    """The next lower divisor of the metrics' micro-batch; 0 if there is none."""
    return max((lower for lower in range(1, images) if micro_batch % lower == 0), default=0)


def _rate(tokenizer: Tokenizer, protocol: Protocol, images: int, clock: Clock) -> float | None:
    """Images per second; None where memory does not suffice."""
    cuda = tokenizer.device.type == "cuda"
    try:
        with _letting_go(tokenizer.device):
            if cuda:
                torch.cuda.reset_peak_memory_stats(tokenizer.device)
            work = partial(_both, tokenizer, protocol, _noise(tokenizer, protocol, images))
            clock.once(work)  # warms up
            seconds = min(clock.once(work) for _ in range(CALLS))
            if cuda:
                most = torch.cuda.get_device_properties(tokenizer.device).total_memory
                if torch.cuda.max_memory_allocated(tokenizer.device) > SHARE * most and images > 1:
                    return None
    except Exception as error:
        if not out_of_memory(error):
            raise
        return None
    return images / seconds if seconds > 0 else float("inf")


def _noise(tokenizer: Tokenizer, protocol: Protocol, images: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(protocol.seed)
    noise = torch.rand((images, 3, *protocol.shape), generator=generator) * 2 - 1
    return noise.to(tokenizer.device, number_format(tokenizer))


def _both(tokenizer: Tokenizer, protocol: Protocol, images: torch.Tensor) -> None:
    ids = [str(number) for number in range(len(images))]
    with granting() as granted:
        decode(tokenizer, encode(tokenizer, images, ids, protocol), ids, protocol)
    del granted


@contextmanager
def _letting_go(device: torch.device) -> Iterator[None]:
    let_go(device)
    try:
        yield
    finally:
        let_go(device)
