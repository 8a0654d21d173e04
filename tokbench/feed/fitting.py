"""Sequences of one length: padded, or shortened by an explicit rule that never cuts an image."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.feed.sequence import NO_PART, TokenSequence
from tokbench.feed.vocabulary import Vocabulary

ADVICE = {
    "raise": "allow more, or choose too_long=cut_texts or drop_parts",
    "cut_texts": "it is too long without any text; allow more, or make its images smaller",
    "drop_parts": "its first part alone is too long; allow more",
}
"""What to do where a sequence cannot be shortened, by rule."""


def fit(
    sequence: TokenSequence,
    vocabulary: Vocabulary,
    length: int,
    *,
    too_long: Literal["raise", "cut_texts", "drop_parts"] = "raise",
    side: Literal["right", "left"] = "right",
) -> TokenSequence:
    """Bring a sequence to a length.

    Args:
        sequence: As ``build`` makes it, or ``annotate`` from ids alone.
        vocabulary: Meaning of the ids.
        length: Steps to have.
        too_long: What happens to a longer one. ``raise`` refuses it. ``cut_texts`` takes ids off the end of its texts, the last text
            first, and keeps images and EOS. ``drop_parts`` takes whole parts off its end, and with the last one EOS.
        side: Where PAD goes if it is shorter: ``right`` for training, ``left`` to generate from a batch of prompts.

    Returns:
        A sequence of that length; parts keep their indices.

    Raises:
        TokbenchError: If it is longer and must not, or cannot, be shortened so far.
        ValueError: If an argument is none of these.
    """
    if length < 1 or too_long not in ("raise", "cut_texts", "drop_parts") or side not in ("right", "left"):
        raise ValueError(f"length, too_long and side are not allowed to be {length}, {too_long!r} and {side!r}")
    filled = vocabulary.stream_0(sequence.ids) != vocabulary.special.pad
    sequence = TokenSequence(sequence.ids[filled], sequence.owners[filled])
    if len(sequence) > length:
        shorten = {"raise": _nothing, "cut_texts": _without_text, "drop_parts": _whole_parts}[too_long]
        keep = shorten(sequence, vocabulary, length)
        if not keep.any():
            raise TokbenchError(f"the sequence has {len(sequence)} steps, allowed are {length}; {ADVICE[too_long]}")
        sequence = TokenSequence(sequence.ids[keep], sequence.owners[keep])
    missing = length - len(sequence)
    ids = [sequence.ids, vocabulary.in_stream_0([vocabulary.special.pad] * missing)]
    owners = [sequence.owners, torch.full((missing,), NO_PART)]
    order = 1 if side == "right" else -1
    return TokenSequence(torch.cat(ids[::order]), torch.cat(owners[::order]))


def _nothing(sequence: TokenSequence, vocabulary: Vocabulary, length: int) -> Bool[Tensor, " t"]:
    return torch.zeros(len(sequence), dtype=torch.bool)


def _whole_parts(sequence: TokenSequence, vocabulary: Vocabulary, length: int) -> Bool[Tensor, " t"]:
    """Steps of the parts that end within ``length``, and of what stands before them; none if there is no such part."""
    keep = sequence.owners < sequence.owners[length]
    return keep & (sequence.owners[keep] >= 0).any()


def _without_text(sequence: TokenSequence, vocabulary: Vocabulary, length: int) -> Bool[Tensor, " t"]:
    """All steps but so many at the ends of texts, the last text first, that ``length`` are left; none if there is not enough text."""
    lead, special = vocabulary.stream_0(sequence.ids), vocabulary.special
    keep = torch.ones(len(sequence), dtype=torch.bool)
    for part in range(int(sequence.owners.max()), -1, -1):
        surplus = int(keep.sum()) - length
        steps = ((sequence.owners == part) & (lead != special.eos)).nonzero()[:, 0]
        if surplus > 0 and len(steps) and lead[steps[0]] != special.boi:
            ids = lead[steps].tolist()
            keep[steps[_whole_letters(ids, max(len(ids) - surplus, 0), vocabulary) :]] = False
    return keep & (keep.sum() <= length)


def _whole_letters(ids: list[int], count: int, vocabulary: Vocabulary) -> int:
    """At most ``count``, and so many that no letter of several ids is cut."""
    text = vocabulary.text.decode(ids)
    while count and not text.startswith(vocabulary.text.decode(ids[:count])):
        count -= 1
    return count
