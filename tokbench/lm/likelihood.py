"""Bits that a model takes for images and for words: of the ids it is shown, among those that may come."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.feed.grammar import ImageGrammar
from tokbench.lm.model import LanguageModel
from tokbench.lm.reading import evaluating

BATCH = 16
"""Sequences that are read at once; short batches are filled up, so that no rounding depends on what else is read."""


@dataclass(frozen=True)
class Known:
    """A prompt whose answer is known.

    Args:
        ids: The prompt.
        answer: What follows, with EOS.
    """

    ids: Sequence[int]
    answer: Sequence[int]


def answer_bits(model: LanguageModel, known: Sequence[Known]) -> list[float]:
    """Bits of answers that are images, or the rest of one.

    Only ids that may come get a share of the probability, so that sizes and ends of rows are free.

    Args:
        model: The model.
        known: Prompts and their answers.

    Returns:
        One number an answer.

    Raises:
        TokbenchError: If a prompt has an image of another size than the model's, or a sequence is longer than the network takes.
    """
    return _all_bits(model, known, lambda one: ImageGrammar(model.vocabulary, [model.grid]).rest(torch.tensor(one.ids)))


def text_bits(model: LanguageModel, known: Sequence[Known]) -> list[float]:
    """Bits of answers in words, their end included; only text and the end get a share of the probability.

    Args:
        model: The model.
        known: Prompts, which end outside of images, and their answers.

    Returns:
        One number an answer.

    Raises:
        TokbenchError: If a sequence is longer than the network takes.
    """
    numbers = torch.arange(model.vocabulary.size)
    allowed = numbers[model.vocabulary.is_text(numbers) | (numbers == model.vocabulary.special.eos)]
    return _all_bits(model, known, lambda one: [allowed] * len(one.answer))


@torch.no_grad()
def _all_bits(model: LanguageModel, known: Sequence[Known], steps_of: Callable[[Known], Sequence[Tensor]]) -> list[float]:
    """Bits of every answer; those whose parts are of equal lengths are read together."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, one in enumerate(known):
        length = len(one.ids) + len(one.answer)
        if model.longest is not None and length > model.longest:
            given = f"an image with its words makes a sequence of {length} ids"
            raise TokbenchError(f"{given}, the model takes {model.longest}; shorten the words")
        groups[len(one.ids), len(one.answer)].append(number)
    found = [0.0] * len(known)
    with evaluating(model.network):
        for members in groups.values():
            steps = steps_of(known[members[0]])
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
