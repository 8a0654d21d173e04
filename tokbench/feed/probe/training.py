"""Training the probe: a fixed number of images in a fixed order, the last weights kept, whatever they are worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float32
from numpy import ndarray
from torch import Tensor

from tokbench.feed.probe.network import code_bits
from tokbench.feed.probe.sequences import Sequences
from tokbench.feed.sampler import TokenSampler
from tokbench.records.probe_protocol import ProbeProtocol
from tokbench.records.probe_record import CurvePoint
from tokbench.together import averaging, over_all, own_rows, place, processes

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

Progress = Callable[[int, int, float], None]
"""Images seen, images in all, bits per token of the last step."""


def train(
    model: LlamaForCausalLM,
    sequences: Sequences,
    protocol: ProbeProtocol,
    *,
    measure: Callable[[], float],
    progress: Progress = lambda done, total, bits: None,
) -> tuple[CurvePoint, ...]:
    """Train in place. Processes that train together share every step.

    Args:
        model: On its device.
        sequences: What to train on, shuffled anew in every epoch.
        protocol: The budget.
        measure: Called at points of the curve; returns held-out bits per token.
        progress: Called by the first process after every step.

    Returns:
        The learning curve, from before the first step to after the last.
    """
    model.train()
    optimizer, averaged = make_optimizer(model, protocol), averaging(model)
    points = {round(protocol.steps * (i + 1) / protocol.curve_points) for i in range(protocol.curve_points)}
    curve, since, seen = [CurvePoint(0, None, measure())], list[float](), 0
    for step, rows in enumerate(batches(sequences, protocol)):
        for group in optimizer.param_groups:
            group["lr"] = protocol.rate(step)
        since.append(train_step(model, optimizer, sequences, rows, protocol, averaged=averaged))
        seen += len(rows)
        if place() == 0:
            progress(seen, protocol.images_seen, since[-1])
        if step + 1 in points:
            model.eval()
            curve.append(CurvePoint(seen, math.fsum(since) / len(since), measure()))
            model.train()
            since = []
    model.eval()
    return tuple(curve)


def batches(sequences: Sequences, protocol: ProbeProtocol) -> Iterator[list[int]]:
    """Rows of every step; a batch may reach into the next epoch."""
    sampler, epoch, rows = TokenSampler(sequences.dataset, seed=protocol.seed), 0, list[int]()
    for start in range(0, protocol.images_seen, protocol.batch_size):
        count = min(protocol.batch_size, protocol.images_seen - start)
        while len(rows) < count:
            sampler.set_epoch(epoch)
            rows += list(sampler)
            epoch += 1
        yield rows[:count]
        rows = rows[count:]


def make_optimizer(model: LlamaForCausalLM, protocol: ProbeProtocol) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only."""
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    vectors = [weight for weight in model.parameters() if weight.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": protocol.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=protocol.learning_rate, betas=(protocol.beta1, protocol.beta2))


def train_step(
    model: LlamaForCausalLM,
    optimizer: torch.optim.Optimizer,
    sequences: Sequences,
    rows: Sequence[int],
    protocol: ProbeProtocol,
    *,
    averaged: Callable[[Callable[[], Tensor]], Tensor] = lambda losses: losses(),
) -> float:
    """Take one step.

    Args:
        model: On its device.
        optimizer: Moves its weights.
        sequences: What to train on.
        rows: Rows of the step, over all processes; each takes its share of them.
        protocol: The budget.
        averaged: See ``tokbench.together.averaging``, for processes that train together.

    Returns:
        Bits per token before it.
    """
    own = own_rows(torch.tensor(list(rows))).tolist()
    share = len(own) * processes() / len(rows)  # of equal shares 1
    batch = sequences.batch(own or rows[:1]).to(model.device)  # a process without a row takes part in averaging all the same
    bits = averaged(lambda: code_bits(model, batch, sequences.vocabulary, bf16=protocol.precision == "bf16").mean() * share)
    (bits * math.log(2)).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), protocol.clip)
    optimizer.step()
    optimizer.zero_grad()
    return float(over_all(bits.detach().clone())) / processes()


@torch.no_grad()
def measure_bits(
    model: LlamaForCausalLM,
    sequences: Sequences,
    rows: Sequence[int],
    *,
    batch_size: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Float32[ndarray, "n t"]:
    """Bits of every code of some images, in single precision.

    The network always sees ``batch_size`` sequences of one length, the last ones repeated, so that an image's bits do not depend on which
    others are measured with it. Processes that train together each measure some, and have the bits of all.

    Args:
        model: On its device.
        sequences: Sequences of the images.
        rows: Rows of these.
        batch_size: Images at once.
        progress: Called with images done and in all.

    Returns:
        One row an image, position major, codebook last.
    """
    found = torch.zeros(len(rows), sequences.dataset.job.values)
    for start in range(0, len(rows), batch_size)[place() :: processes()]:
        chosen = list(rows[start : start + batch_size])
        filled = chosen + chosen[-1:] * (batch_size - len(chosen))
        batch = sequences.batch(filled).to(model.device)
        found[start : start + len(chosen)] = code_bits(model, batch, sequences.vocabulary)[: len(chosen)].cpu()
        progress(start + len(chosen), len(rows))
    return over_all(found).numpy()
