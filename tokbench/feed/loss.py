"""Which ids of a sequence a model learns to predict."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from tokbench.feed.sequence import TokenSequence
from tokbench.feed.vocabulary import Vocabulary

IGNORED = -100
"""Label without loss, as PyTorch's cross entropy and ``transformers`` have it."""


def loss_mask(
    sequence: TokenSequence, vocabulary: Vocabulary, *, only: Literal["all", "vision"] = "all", parts: Collection[int] | None = None
) -> Bool[Tensor, "t ..."]:
    """Say which ids carry loss as targets.

    For editing (text, image in, text, image out) the index of the image out is the only one in ``parts``.

    Args:
        sequence: As ``build`` makes it, or ``annotate`` from ids alone.
        vocabulary: Meaning of the ids.
        only: ``all`` ids but padding; or ``vision``, the ids of codes, as Emu3 was fine-tuned: no EOL, EOF, EOI or EOS.
        parts: Indices of the parts that carry loss; None takes all, and BOS. EOS goes with the last part.

    Returns:
        True where there is loss, of the shape of the ids. A mask of targets: it is shifted together with the ids, not before.

    Raises:
        ValueError: If ``only`` is none of these.

    Source: ``apply_loss_on_only_vision`` in ``train/datasets.py`` of baaivision/Emu3. Without it, Emu3's padding carries loss; here never.
    """
    if only not in ("all", "vision"):
        raise ValueError(f"loss falls on all or vision, got {only!r}")
    ids = sequence.ids
    mask = vocabulary.locate(ids)[0] >= 0 if only == "vision" else ids != vocabulary.special.pad
    if parts is None:
        return mask
    chosen = torch.isin(sequence.owners, torch.tensor(sorted(parts), dtype=torch.int64))
    return mask & chosen.reshape(-1, *(1,) * (ids.ndim - 1))


def labels(ids: Int64[Tensor, "*n"], mask: Bool[Tensor, "*n"]) -> Int64[Tensor, "*n"]:
    """Return the ids that carry loss, and -100 elsewhere; not shifted, as ``transformers`` takes them."""
    return ids.masked_fill(~mask, IGNORED)
