"""How well a picture shows what was asked for: by the reader of scenes, or by anybody's function."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tokbench.errors import TokbenchError, brief
from tokbench.plugins import import_class
from tokbench.signals import Ended

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

Reward = Callable[[str, Pixels], float]
"""Takes the words and a picture, uint8 ``[H, W, 3]``; gives a finite number, larger for what is better."""

LARGEST = 1e100
"""How far from 0 a reward of others may be."""

SCENES = "scenes"
"""The reward of scenes, by its name: what a reader finds of what was asked for, less what was not."""


def get_reward(name: str) -> Reward:
    """Find a reward.

    Args:
        name: ``scenes``, or ``package.module:function``.

    Raises:
        TokbenchError: If there is none, or it cannot be called.
    """
    if name == SCENES:
        return scene_reward
    if ":" not in name:
        raise TokbenchError(f"unknown reward {name!r}; give {SCENES}, or module:function of your own, which takes words and pixels")
    function = import_class(name, what="function")
    if not callable(function):
        raise TokbenchError(f"{name!r} is of type {type(function).__name__}, not a function that takes words and pixels")

    def reward(words: str, pixels: Pixels) -> float:
        try:
            given = function(words, pixels.copy())  # which it may write into
        except (KeyboardInterrupt, Ended):
            raise
        except BaseException as error:  # code of others: it may raise anything, and even end the process
            raise TokbenchError(f"the reward {name} failed for {words[:80]!r} ({brief(error)}); mend it") from error
        value = _number(given)
        if value is None or not math.isfinite(value):
            what = _kind(given) if value is None else value
            raise TokbenchError(f"the reward {name} is {what} for {words[:80]!r}; it must be a finite number")
        if abs(value) > LARGEST:
            raise TokbenchError(
                f"the reward {name} is {value:g} for {words[:80]!r}; it must be within {LARGEST:g}, so that means can be taken"
            )
        return value

    return reward


def judge_of(name: str) -> str:
    """Say which reward a name stands for: with the rule of the reader of scenes, or the digest of the file that a function of others is in.

    Args:
        name: As ``get_reward`` takes it.

    Raises:
        TokbenchError: If there is no such function.
    """
    if name == SCENES:
        from tokbench.data.scenes.reader import READER_RULE

        return f"{name} {READER_RULE}"
    import_class(name, what="function")
    place = getattr(sys.modules.get(name.partition(":")[0]), "__file__", None)
    if place is None or not Path(place).is_file():
        return name
    return f"{name} {hashlib.sha256(Path(place).read_bytes()).hexdigest()}"


def _number(given: Any) -> float | None:
    """What a function of others gave, as a number; None if it is none."""
    if isinstance(given, str | bytes):
        return None
    try:
        return float(given)
    except Exception:  # arrays and objects of others raise as they like
        return None


def _kind(given: object) -> str:
    """What it is, for errors: its type, and its shape if it has one."""
    kind, shape = type(given).__name__, getattr(given, "shape", None)
    return f"of type {kind} and shape {list(shape)}" if isinstance(shape, tuple) else f"of type {kind}"


def scene_reward(words: str, pixels: Pixels) -> float:
    """Read a picture and hold it against a sentence.

    Args:
        words: Names things, as captions of scenes do.
        pixels: The picture, uint8 ``[H, W, 3]``.

    Returns:
        Right parts over the parts that were asked for and those of things too many, 0 to 1: ``Score.reward``.

    Raises:
        TokbenchError: If the words name no thing, or too many.
    """
    from tokbench.data.scenes.asked import asked_in
    from tokbench.data.scenes.reader import read
    from tokbench.data.scenes.score import score

    return score(asked_in(words), read(pixels)).reward
