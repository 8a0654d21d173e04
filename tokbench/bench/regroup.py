"""Micro-batches of the tokenizer made those of the metrics, whose networks see batches of one size whatever the tokenizer's own is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tokbench.bench.observation import Again
from tokbench.bench.seen import Restored
from tokbench.conduct import values_of
from tokbench.tokens import DiscreteTokens, Tokens


def regrouped(made: Iterable[Restored], size: int) -> Iterator[Restored]:
    """Cut or join what a tokenizer made.

    Args:
        made: In the order of the images; each of so many that they divide ``size`` or are a multiple of it, but for the last.
        size: Images that metrics see at once.

    Yields:
        So many at a time, the last time fewer.
    """
    waiting: list[Restored] = []
    for whole in made:
        for start in range(0, len(whole.ids), size):
            waiting.append(_part(whole, slice(start, start + size)))
            if sum(len(one.ids) for one in waiting) >= size:
                yield _joined(waiting)
                waiting = []
    if waiting:
        yield _joined(waiting)


def _part(whole: Restored, images: slice) -> Restored:
    if len(whole.ids[images]) == len(whole.ids):
        return whole
    return replace(
        whole,
        ids=whole.ids[images],
        keys=whole.keys[images],
        originals=whole.originals[images],
        images=whole.images[images],
        tokens=None if whole.tokens is None else whole.tokens[images],
    )


def _joined(parts: Sequence[Restored]) -> Restored:
    if len(parts) == 1:
        return parts[0]
    sizes = [len(part.ids) for part in parts]

    def reencode(images: Tensor, ids: Sequence[str]) -> Again:
        return _joined_again([part.reencode(own, part.ids) for part, own in zip(parts, images.split(sizes), strict=True)])

    return replace(
        parts[0],
        ids=tuple(name for part in parts for name in part.ids),
        keys=tuple(key for part in parts for key in part.keys),
        originals=torch.cat([part.originals for part in parts]),
        images=torch.cat([part.images for part in parts]),
        tokens=None if parts[0].tokens is None else joined_tokens([part.tokens for part in parts if part.tokens is not None]),
        reencode=reencode,
    )


def _joined_again(parts: Sequence[Again]) -> Again:
    """One after another; what is likely of the first may be written over by now, so that all are waited for."""
    found = joined_tokens([part.sure() for part in parts])
    return Again(found, lambda: found)


def joined_tokens(tokens: Sequence[Tokens]) -> Tokens:
    """Tokens of one tokenizer behind each other, in memory of their own."""
    values = torch.cat([values_of(part) for part in tokens])
    first = tokens[0]
    return replace(first, codes=values) if isinstance(first, DiscreteTokens) else replace(first, latents=values)
