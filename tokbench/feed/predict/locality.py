"""Locality: whether codes stay the same where nothing changes.

A model that edits copies the codes of what it leaves alone, as far as they are the same. They are compared between drawn scenes that differ in
their things and not in their ground. A position counts if no pixel of its square changes, or lies within a 32nd of the side of one that does.

Source: this package's study of which tokenizer a model of drawn scenes learns best (``docs/scenes.md``).
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from tokbench.data.scenes import draw, edit_of, untouched
from tokbench.data.scenes.edits import EditKind
from tokbench.errors import TokbenchError
from tokbench.feed.predict.encoded import encode_all
from tokbench.feed.predict.results import NotApplicable, Results
from tokbench.image_size import square_side
from tokbench.layout import TokenLayout
from tokbench.records.intervals import group_jackknife
from tokbench.records.protocol import Protocol
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import DiscreteTokens

KINDS: tuple[EditKind, ...] = ("recolour", "resize", "move", "add", "remove", "swap", "like")
"""Kinds of edits; those of the ground leave nothing as it is."""


def measure_locality(tokenizer: Tokenizer, layout: TokenLayout, protocol: Protocol, edits: int, results: Results) -> tuple[int, float]:
    """Add the share of codes that stay the same, where nothing changes and everywhere.

    Args:
        tokenizer: On its device.
        layout: Layout of its tokens.
        protocol: Size of the scenes, and how they are encoded.
        edits: Pairs that are drawn; those that change the ground are left out.
        results: Where figures go.

    Returns:
        How many pairs were compared, and at how many positions of one nothing changes on average.

    Raises:
        NotApplicable: If the tokens are latents or no map, or scenes are not drawn at this size.
    """
    if not layout.discrete:
        raise NotApplicable("latents have no codes to compare")
    if len(layout.grid) != 2:
        raise NotApplicable("the tokens are a sequence, in which no position has a place in the image")
    if any(layout.padding):
        raise NotApplicable(f"images of {protocol.size_text} px are padded, so positions cover other parts of them; take another --size")
    found = [edit for edit in (edit_of(seed, "test", kinds=KINDS) for seed in range(edits)) if edit.before.ground == edit.after.ground]
    if not found:
        raise NotApplicable(f"none of {edits} edits leaves the ground as it is; take more")
    try:
        size = square_side(protocol.size, "drawn scenes are")
        before, after = (
            np.stack([draw(scene, size) for scene in scenes]) for scenes in zip(*((e.before, e.after) for e in found), strict=True)
        )
        still = torch.from_numpy(np.stack([untouched(edit, size) for edit in found]))
    except TokbenchError as error:
        raise NotApplicable(str(error)) from error
    sides = []
    for pictures, word in ((before, "before"), (after, "after")):
        ids = tuple(f"edit {place} {word}" for place in range(len(found)))
        images = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()
        tokens = encode_all(tokenizer, images, ids, protocol)
        assert isinstance(tokens, DiscreteTokens)
        sides.append(tokens.codes)
    same, away = (sides[0] == sides[1]).all(dim=2).numpy(), positions_away(still, layout.grid).flatten(1).numpy()
    if not away.any():
        raise NotApplicable(f"every one of the {same.shape[1]} positions covers something that changes")
    names = [f"edit {place:06d}" for place in range(len(found))]
    about = {"edits": len(found), "positions": "whole squares of which no pixel changes"}

    def share(keep: np.ndarray) -> float:
        return float(same[keep][away[keep]].mean())

    whole = np.ones(len(found), dtype=bool)
    results.of_set("locality", share(whole), group_jackknife(share(whole), share, names), **about)
    results.of_set(
        "locality_whole", float(same.mean()), group_jackknife(float(same.mean()), lambda keep: float(same[keep].mean()), names), **about
    )
    return len(found), float(away.sum(axis=1).mean())


def positions_away(still: Bool[Tensor, "n h w"], grid: tuple[int, ...]) -> Bool[Tensor, "n i j"]:
    """Positions of whose square every pixel is still.

    Args:
        still: Pixels at which nothing changes.
        grid: Rows and columns of positions.
    """
    rows, columns = grid
    squares = still.unflatten(1, (rows, still.shape[1] // rows)).unflatten(3, (columns, still.shape[2] // columns))
    return squares.all(dim=4).all(dim=2)
