r"""Sequences that a model goes on with: many at once, from what it keeps of all it has read, each from a seed of its own.

::

    prompts of one length --> network --> scores of what may come --> one id a row --+
                                 ^   keys and values of all before                   |
                                 +---------------------------------------------------+

What may come is asked of the grammar of images, so that every image is whole. Where one single id may come, it is not drawn, and the network
reads it together with the next one. Prompts of one length go together and every batch has the same number of rows. So nothing is padded
within a row, and no rounding depends on what else is drawn.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.feed.grammar import ImageGrammar
from tokbench.feed.vocabulary import Vocabulary
from tokbench.lm.choice import choose
from tokbench.lm.model import LanguageModel
from tokbench.lm.options import SamplingOptions
from tokbench.lm.reading import Reader, evaluating

LONGEST_TEXT = 256
"""Ids of a text at most, its end included, unless it is told."""

LEAST_ROWS = 4
"""Sequences that are read at once on a CPU at least: matrix products of fewer rows may round otherwise, so that a batch would change a choice."""


@dataclass(frozen=True)
class Request:
    """One sequence to go on with.

    Args:
        ids: Its prompt. One that ends within an image is answered by the rest of it, any other by text.
        seed: Seed of its choices; 0 to 2^63 - 1.
        wordless: The prompt that guidance leads away from, which ends as the prompt does; needed where guidance is not 1.
    """

    ids: Sequence[int]
    seed: int
    wordless: Sequence[int] = ()


def seed_of(seed: int, ids: Sequence[int], number: int) -> int:
    """Give an answer a seed of its own: a stable hash, in which neither other prompts nor the count of answers are.

    Args:
        seed: Seed of all.
        ids: The prompt.
        number: Which of the answers to that prompt.
    """
    told = f"{seed}\0{' '.join(map(str, ids))}\0{number}"
    return int.from_bytes(hashlib.sha256(told.encode()).digest()[:8], "big") >> 1


@torch.no_grad()
def sample(
    model: LanguageModel,
    requests: Sequence[Request],
    options: SamplingOptions | None = None,
    *,
    longest_text: int = LONGEST_TEXT,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[list[int]]:
    """Go on with prompts.

    Args:
        model: The model, on its device.
        requests: Prompts in any order, of any lengths.
        options: How ids are drawn.
        longest_text: Ids of an answer in text at most, its end included; fewer where the network takes no more.
        progress: Called with the sequences done and all of them.

    Returns:
        What follows each prompt, up to EOS and with it, in the order of the requests.

    Raises:
        TokbenchError: If a prompt has an image of another size than the model's, it leaves no room for its answer, or scores are not finite.
        ValueError: If guidance is asked for and a request has no wordless prompt.
    """
    options = (options or SamplingOptions()).of(1.0)
    if options.guidance != 1 and not all(request.wordless for request in requests):
        raise ValueError("guidance leads away from a prompt without words; give every request its wordless")
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, request in enumerate(requests):
        lengths = len(request.ids), len(request.wordless)
        groups[*lengths, _begun(request.ids, model.vocabulary), _guided(request, options)].append(number)
    answers: dict[int, list[int]] = {}
    steps_of = {key: _steps(model, requests[members[0]].ids, longest_text) for key, members in groups.items()}
    for key, members in groups.items():  # all of them before any is answered
        _check_room(model, requests[members[0]], len(steps_of[key]))
    least = LEAST_ROWS if model.network.device.type == "cpu" else 1
    with evaluating(model.network):
        for key, members in groups.items():
            steps = steps_of[key]
            for start in range(0, len(members), options.batch_size):
                some = members[start : start + options.batch_size]
                rows = [requests[number] for number in some]
                filled = rows + rows[-1:] * (max(options.batch_size, least) - len(rows))
                answers |= zip(some, _go_on(model, filled, steps, options)[: len(rows)], strict=True)
                progress(len(answers), len(requests))
    return [answers[number] for number in range(len(requests))]


def _guided(request: Request, options: SamplingOptions) -> bool:
    """Whether guidance changes its scores: there are words to be led away from."""
    return options.guidance != 1 and list(request.ids) != list(request.wordless)


def _begun(ids: Sequence[int], vocabulary: Vocabulary) -> int:
    """How many ids of an image have been written, from its BOI on; 0 outside of images."""
    for count, number in enumerate(reversed(ids), start=1):
        if number == vocabulary.special.boi:
            return count
        if number in (vocabulary.special.eoi, vocabulary.special.eos):
            break
    return 0


def _steps(model: LanguageModel, ids: Sequence[int], longest_text: int) -> list[Int64[Tensor, " n"]]:
    """The ids that may come at each step of an answer."""
    vocabulary = model.vocabulary
    if _begun(ids, vocabulary):
        return ImageGrammar(vocabulary, [model.grid]).rest(torch.tensor(ids))
    numbers, end = torch.arange(vocabulary.size), torch.tensor([vocabulary.special.eos])
    room = longest_text if model.longest is None else min(longest_text, max(model.longest - len(ids), 1))
    return [torch.cat([numbers[vocabulary.is_text(numbers)], end])] * (room - 1) + [end]


def _check_room(model: LanguageModel, request: Request, steps: int) -> None:
    """Refuse what is longer than the positions a network has learned, which some fail on and others make noise of.

    Raises:
        TokbenchError: If it is.
    """
    most = model.longest
    length = max(len(request.ids), len(request.wordless)) + steps
    if most is not None and length > most:
        given = f"a prompt of {len(request.ids)} ids with an answer of up to {steps}"
        raise TokbenchError(f"{given} is longer than the {most} ids that the model takes; shorten the prompt")


def _go_on(
    model: LanguageModel, rows: Sequence[Request], steps: Sequence[Int64[Tensor, " n"]], options: SamplingOptions
) -> list[list[int]]:
    """Answer prompts of one length, row by row up to EOS."""
    end, guided = model.vocabulary.special.eos, _guided(rows[0], options)
    guidance = 1.0 if options.guidance is None else options.guidance
    told = Reader(model.network, [row.ids for row in rows])
    untold = Reader(model.network, [row.wordless for row in rows]) if guided else None
    draws = torch.stack([torch.rand(len(steps), dtype=torch.float64, generator=_generator(row.seed)) for row in rows])
    answers, ended = [], torch.zeros(len(rows), 1, dtype=torch.bool)
    for step, allowed in enumerate(steps):
        if len(allowed) == 1:
            new = allowed.expand(len(rows), 1)
        else:
            scores = told.scores()[:, allowed]
            if untold is not None:
                without = untold.scores()[:, allowed]
                scores = without + guidance * (scores - without)
                if not torch.isfinite(scores).all():
                    raise TokbenchError(f"a guidance of {guidance:g} leads to scores that are not finite; give one nearer to 1")
            new = allowed[choose(scores, draws[:, step], options)][:, None]
        for reader in (told, untold):
            if reader is not None:
                reader.add(new)
        answers.append(new)
        ended |= new == end
        if ended.all():
            break
    return [answer[: answer.index(end) + 1] for answer in torch.cat(answers, dim=1).tolist()]


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
