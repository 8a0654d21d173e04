"""Which scenes are for training and which for tests: no colour and shape held out, and no set of things, is seen by both.

- ``train``: scenes without any pair of colour and shape of ``HELD_OUT``, and without the sets of things that are kept for tests.
- ``test``: scenes without any of those pairs either, of the sets of things that are kept for tests. They are an eighth of all sets.
- ``held-out``: scenes with at least one of those pairs.

Grounds of ``train`` are cut from train photos, those of the others from test photos.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal, get_args

from tokbench.data.scenes.scene import SCENE_RULE, Look

SceneSplit = Literal["train", "test", "held-out"]
SPLITS: tuple[SceneSplit, ...] = get_args(SceneSplit)

HELD_OUT = frozenset({("red", "triangle"), ("yellow", "cross"), ("blue", "circle"), ("white", "square")})
"""Pairs of colour and shape that no training scene has: an eighth of all, no colour and no shape twice."""

TEST_SHARE = 8
"""One set of things in this many is kept for tests."""


def split_of(looks: Iterable[Look]) -> SceneSplit:
    """The one split that a set of things belongs to, wherever they are and whatever they stand on."""
    parts = sorted(looks)
    if any((look.colour, look.shape) in HELD_OUT for look in parts):
        return "held-out"
    digest = hashlib.sha256(f"{SCENE_RULE}:{[tuple(look) for look in parts]}".encode()).digest()
    return "test" if digest[0] % TEST_SHARE == 0 else "train"


def photo_split(split: SceneSplit) -> Literal["train", "test"]:
    """Which photos grounds of a split are cut from."""
    return "train" if split == "train" else "test"
