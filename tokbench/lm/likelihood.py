"""Bits that a model takes for images: of the codes it is shown, among those that may come."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tokbench.feed.grammar import ImageGrammar
from tokbench.lm.model import LanguageModel

BATCH = 16
"""Sequences that are read at once; short batches are filled up, so that no rounding depends on what else is read."""


@dataclass(frozen=True)
class Known:
    """A prompt whose answer is known.

    Args:
        ids: The prompt, which ends within an image.
        answer: What follows, with EOS.
    """

    ids: Sequence[int]
    answer: Sequence[int]


@torch.no_grad()
def answer_bits(model: LanguageModel, known: Sequence[Known]) -> list[float]:
    """Bits of answers that are images, or the rest of one.

    Only ids that may come get a share of the probability, so that sizes and ends of rows are free.

    Args:
        model: The model.
        known: Prompts and their answers.

    Returns:
        One number an answer.

    Raises:
        TokbenchError: If a prompt has an image of another size than the model's.
    """
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, one in enumerate(known):
        groups[len(one.ids), len(one.answer)].append(number)
    found = [0.0] * len(known)
    for members in groups.values():
        steps = ImageGrammar(model.vocabulary, [model.grid]).rest(torch.tensor(known[members[0]].ids))
        for start in range(0, len(members), BATCH):
            some = members[start : start + BATCH]
            for number, bits in zip(some, _bits(model, [known[number] for number in some], steps), strict=True):
                found[number] = bits
    return found


def _bits(model: LanguageModel, some: Sequence[Known], steps: Sequence[Tensor]) -> list[float]:
    rows = torch.tensor([[*one.ids, *one.answer] for one in [*some, *([some[-1]] * (BATCH - len(some)))]])
    first = len(some[0].ids)
    logits = model.network(input_ids=rows[:, :-1].to(model.device), use_cache=False).logits[: len(some), first - 1 :].double().cpu()
    nats = torch.zeros(len(some), dtype=torch.float64)
    for step, allowed in enumerate(steps):
        if len(allowed) > 1:
            shares = logits[:, step, allowed].log_softmax(dim=1)
            nats -= shares.gather(1, torch.searchsorted(allowed, rows[: len(some), first + step, None].contiguous()))[:, 0]
    return [float(value) for value in nats / math.log(2)]
