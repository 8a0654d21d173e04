"""Where a run begins: at its first step, or at the checkpoint that it goes on from."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tokbench.configs import flat
from tokbench.errors import TokbenchError
from tokbench.files import remove_abandoned, write_text
from tokbench.launch import by_the_first
from tokbench.train.objective import Objective
from tokbench.train.options import CHECKPOINT, LOG, SAMPLES, TrainOptions
from tokbench.weights.torchfile.reader import read_torch_file
from tokbench.weights.torchfile.words import Unreadable


def begin(options: TrainOptions) -> int:
    """Begin a new run, with an empty log.

    Args:
        options: Where.

    Returns:
        Steps done: none.

    Raises:
        TokbenchError: If there is a run already.
    """
    if (options.out / CHECKPOINT).exists():
        raise TokbenchError(f"{options.out} already holds a run; add --resume to go on with it, or choose another --out")
    by_the_first(lambda: write_text(options.out / LOG, ""))
    return 0


def resume(settings: dict[str, Any], options: TrainOptions, objective: Objective, averaged: dict[str, Tensor]) -> int:
    """Go on with a run; every process reads the checkpoint, and there may be more or fewer than before.

    Args:
        settings: What is asked for, to be compared with what the run was started with.
        options: Where.
        objective: Training state, restored in place.
        averaged: Averaged weights, restored in place.

    Returns:
        Steps done.

    Raises:
        TokbenchError: If the checkpoint cannot be read, or is of another run.
    """
    path = options.out / CHECKPOINT
    state = _read_checkpoint(path)
    step = state["step"]
    if other := _differences(state, settings):
        raise TokbenchError(
            f"{options.out} holds a run with {'; '.join(other)}; repeat the options it was started with (--steps may be more), "
            "or choose another --out"
        )
    try:
        if state["averaged"].keys() != averaged.keys():
            raise ValueError("its averages have other names")
        if not all(bool(torch.isfinite(value).all()) for value in state["averaged"].values()):
            raise ValueError("its averages are not finite")
        objective.load_state_dict(state["objective"])
        for key, value in averaged.items():
            value.copy_(state["averaged"][key])
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:  # whatever a part that does not fit leads to
        raise _damaged(path, " ".join(str(error).split())[:200] or type(error).__name__) from error
    by_the_first(lambda: _clear(options.out, step))
    return step


def _clear(out: Path, step: int) -> None:
    """Keep the lines of the log up to the checkpoint, and nothing that was half written."""
    remove_abandoned(out / SAMPLES, set())
    log = out / LOG
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True) if log.exists() else []
    write_text(log, "".join(line for line in lines if _step_of(line) <= step))


def _differences(saved: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    """What a run was started with and what is asked for, where they differ; it may go on for more steps."""
    try:
        there, here = ({**of, **flat(json.loads(of["recipe"])), "recipe": None} for of in (saved, settings))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return ["another recipe"]
    nested = ("config", "losses")
    names = [name for name in here if name in there or name.partition(".")[0] in nested]  # an older version may not know all
    names += [name for name in there if name not in here and name.partition(".")[0] in nested]
    other = [name for name in names if name not in ("steps", "summary") and str(there.get(name)) != str(here.get(name))]
    return [f"{name} {str(there.get(name))[:40]}, not {str(here.get(name))[:40]}" for name in other][:4]


def _read_checkpoint(path: Path) -> dict[str, Any]:
    """What a run was at; nothing in the file is run.

    Raises:
        TokbenchError: If it is no checkpoint.
    """
    try:
        state, _ = read_torch_file(path)
    except (Unreadable, OSError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(state, dict) or type(state.get("step")) is not int or state["step"] < 0:
        raise _damaged(path, "it has no number of steps")
    return state


def _damaged(path: Path, why: str) -> TokbenchError:
    return TokbenchError(f"{path} is not a readable checkpoint ({why}); start again in another --out")


def _step_of(line: str) -> float:
    """Step of a whole line of the log; beyond all steps for any other, which is left out."""
    try:
        step = json.loads(line)["step"] if line.endswith("\n") else None
    except (ValueError, TypeError, KeyError, RecursionError):
        step = None
    return step if isinstance(step, int) else math.inf
