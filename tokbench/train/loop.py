"""The training loop: schedule, averaged weights, log, samples and checkpoints that resume exactly."""

from __future__ import annotations

import io
import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tokbench.configs import flat, plain
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.files import atomic_file, folder_lock, make_folder, open_log, remove_abandoned, write_bytes, write_text
from tokbench.images import to_float, to_uint8
from tokbench.plugins import import_class
from tokbench.ranks import check_alone
from tokbench.signals import asked_to_end
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.zoo import resolve, usable_device
from tokbench.train.crops import RandomCrops
from tokbench.train.digest import digest_of
from tokbench.train.objective import Objective
from tokbench.train.options import CHECKPOINT, LOG, SAMPLES, WEIGHTS, TrainOptions, TrainResult
from tokbench.train.recipes import FlowLosses, Recipe
from tokbench.weights.checkpoints import load_strictly, read_state, save_weights
from tokbench.weights.judges import read_judge
from tokbench.weights.obtain import weights_path
from tokbench.weights.torchfile.reader import read_torch_file
from tokbench.weights.torchfile.words import Unreadable
from tokbench.weights.training import Training, training_of

logger = logging.getLogger(__name__)

CODEBOOK = "embedding.weight"
"""Weights that bring this keep their codebook; otherwise the first batch starts one."""


def train(
    recipe: Recipe,
    source: ImageSource,
    options: TrainOptions,
    *,
    progress: Callable[[int, int, dict[str, float]], None] = lambda done, total, figures: None,
) -> TrainResult:
    """Train a tokenizer.

    SIGINT, SIGTERM and SIGHUP end the run after the current step, with a checkpoint.

    Args:
        recipe: What to do.
        source: Pictures to draw crops from.
        options: Where and how.
        progress: Called after every step with steps done, steps in all, and the step's losses.

    Returns:
        Where the averaged weights lie; ``out`` also holds the checkpoint, ``log.jsonl`` and sample grids.

    Raises:
        Busy: If another process trains in ``out``.
        TokbenchError: If torchrun started several processes, the tokenizer cannot take the size, or the loss diverges. If ``out`` cannot
            be written or already holds a run, or ``resume`` finds none or one of another recipe, size or source.
    """
    check_alone("training")
    size = options.size or resolve(recipe.tokenizer)[1].image_size
    _config(recipe).layout(size, size)  # refuses a size that does not fit
    if options.resume and not (options.out / CHECKPOINT).is_file():
        raise TokbenchError(f"nothing to resume: no {CHECKPOINT} in {options.out}; leave --resume out to start there")
    make_folder(options.out)
    with folder_lock(options.out, "train"):
        return _train(recipe, source, options, size, progress)


def _train(
    recipe: Recipe, source: ImageSource, options: TrainOptions, size: int, progress: Callable[[int, int, dict[str, float]], None]
) -> TrainResult:
    settings = {"recipe": json.dumps(plain(recipe), sort_keys=True), "size": size, "source": source.name}
    device = usable_device(options.device)
    torch.manual_seed(recipe.seed)
    objective = _build(recipe, options, size).to(device)
    averaged = {key: value.detach().clone() for key, value in objective.model.state_dict().items()}
    training = _training(recipe, source, options)
    start = _resume(settings, options, objective, averaged) if options.resume else _begin(options)
    if start > recipe.steps:
        raise TokbenchError(f"{options.out} holds a run of {start} steps already; give --steps of at least that, or choose another --out")
    crops = RandomCrops(source, size=size, scale=recipe.crop_scale, seed=recipe.seed)

    done, stopped = start, None
    with asked_to_end() as signalled, open_log(options.out / LOG) as log:
        mark = (time.perf_counter(), done)
        while done < recipe.steps and stopped is None:
            _schedule(recipe, objective.optimizers, done)
            images = to_float(crops.batch(done, recipe.batch_size).to(device))
            figures = objective.step(images, done, torch.Generator().manual_seed(recipe.seed * 1_000_003 + done))
            _average(averaged, objective.model, min(recipe.ema_decay, (1 + done) / (10 + done)))
            done += 1
            stopped = signalled()
            if done % options.log_every == 0 or done == recipe.steps:
                now = time.perf_counter()
                rate = (done - mark[1]) * recipe.batch_size / (now - mark[0])
                log(json.dumps({"step": done, **plain(figures), "images_per_second": round(rate, 2)}) + "\n")
                mark = (now, done)
            if done % options.save_every == 0 or done == recipe.steps or stopped is not None:
                _samples(recipe, options, averaged, crops, done)  # first: weights that decode to nothing replace none
                _save(recipe, settings, options, objective, averaged, done, training)
            progress(done, recipe.steps, figures)
    return TrainResult(done, done == recipe.steps, options.out / WEIGHTS, stopped)


def _build(recipe: Recipe, options: TrainOptions, size: int) -> Objective:
    model: Any = _new(recipe)
    if recipe.init_from is None and options.init_weights is not None:
        raise TokbenchError(f"{recipe.name} starts from random weights; leave --init-weights out")
    fitting: dict[str, Tensor] = {}
    if recipe.init_from is not None and not options.resume:
        path = options.init_weights or weights_path(resolve(recipe.init_from)[1])
        assert path is not None
        fitting = _fitting(model, read_state(path)[0])
        load_strictly(model, model.state_dict() | fitting, origin=path.name)
        logger.info("started from %s: %d of %d tensors fit", path.name, len(fitting), len(model.state_dict()))
    perceptual = _perceptual(recipe.losses.perceptual_network) if recipe.losses.perceptual_weight else None
    if isinstance(recipe.losses, FlowLosses):
        from tokbench.train.flow import FlowObjective

        return FlowObjective(model.train(), recipe, perceptual)
    from tokbench.train.autoencoder import AutoencoderObjective

    objective = AutoencoderObjective(model.train(), recipe, perceptual)
    objective.fresh_codebook = not any(name.startswith("quantize.") and name.endswith(CODEBOOK) for name in fitting)
    if objective.codebook is not None and not objective.fresh_codebook:
        objective.codebook.adopt(recipe.batch_size * model.layout(size, size).positions)
    return objective


def _config(recipe: Recipe) -> Any:
    """The configuration of the tokenizer that is trained."""
    return recipe.config or resolve(recipe.tokenizer)[1].config


def _new(recipe: Recipe) -> Tokenizer:
    """The tokenizer with random weights."""
    model: Tokenizer = import_class(resolve(recipe.tokenizer)[0].model)(_config(recipe))
    return model


def _training(recipe: Recipe, source: ImageSource, options: TrainOptions) -> Training:
    """Networks and data of this training, and of all before it; those of a run that goes on are in its weights."""
    used = () if not recipe.losses.perceptual_weight else (recipe.losses.perceptual_network,)
    now = Training((f"data:{source.name}", *used), (digest_of(source),))
    if options.resume:
        return training_of(options.out / WEIGHTS) + now
    if recipe.init_from is None:
        return now
    variant = resolve(recipe.init_from)[1]
    if options.init_weights is None:
        return Training(variant.trained_with) + now
    return training_of(options.init_weights) + now


def _perceptual(name: str) -> nn.Module:
    from tokbench.nn.perceptual import LpipsDistance, build_logit_distance, build_lpips

    state = read_judge(name)[0]
    if name == "resnet50":
        return build_logit_distance(state)
    return LpipsDistance(build_lpips("alex" if name == "lpips-alex" else "vgg", state))


def _fitting(model: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    own = model.state_dict()
    return {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}


def _begin(options: TrainOptions) -> int:
    if (options.out / CHECKPOINT).exists():
        raise TokbenchError(f"{options.out} already holds a run; add --resume to go on with it, or choose another --out")
    write_text(options.out / LOG, "")
    return 0


def _resume(settings: dict[str, Any], options: TrainOptions, objective: Objective, averaged: dict[str, Tensor]) -> int:
    path = options.out / CHECKPOINT
    remove_abandoned(options.out / SAMPLES, set())
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
    log = options.out / LOG
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True) if log.exists() else []
    write_text(log, "".join(line for line in lines if _step_of(line) <= step))
    return step


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


def _save(
    recipe: Recipe,
    settings: dict[str, Any],
    options: TrainOptions,
    objective: Objective,
    averaged: dict[str, Tensor],
    step: int,
    training: Training,
) -> None:
    state = settings | {"step": step, "objective": objective.state_dict(), "averaged": averaged}
    about = {"tokenizer": recipe.tokenizer, "recipe": plain(recipe), "steps": step, "config": plain(objective.model.config)}
    about |= training.header()
    save_weights(averaged, options.out / WEIGHTS, about=about, dtype=torch.float16)
    with atomic_file(options.out / CHECKPOINT) as file:  # last: who goes on from the one before makes the same weights again
        torch.save(state, file)


def _samples(recipe: Recipe, options: TrainOptions, averaged: dict[str, Tensor], crops: RandomCrops, step: int) -> None:
    from PIL import Image

    model = _new(recipe).eval()
    load_strictly(model, averaged, origin="averaged weights")
    originals, seeds = crops.batch(2**31, 8), list(range(8))
    decoded = model.decode(model.encode(to_float(originals), seeds=seeds), seeds=seeds)
    if not bool(decoded.isfinite().all()):
        raise TokbenchError(
            f"the weights at step {step} decode pixels that are not finite: training diverged, or the checkpoint it went on from was damaged; lower the "
            "learning rate, or start again in another --out. The last checkpoint is as it was"
        )
    images = to_uint8(decoded)
    rows = torch.cat([originals, images]).permute(0, 2, 3, 1)
    size = rows.shape[1]
    grid = rows.reshape(2, 8, size, size, 3).permute(0, 2, 1, 3, 4).reshape(2 * size, 8 * size, 3)
    stream = io.BytesIO()
    Image.fromarray(grid.numpy()).save(stream, "PNG")
    write_bytes(options.out / SAMPLES / f"{step:06d}.png", stream.getvalue())


def _schedule(recipe: Recipe, optimizers: dict[str, torch.optim.Optimizer], step: int) -> None:
    factor = recipe.learning_rate_factor(step)
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group.setdefault("peak_lr", group["lr"])
            group["lr"] = group["peak_lr"] * factor


@torch.no_grad()
def _average(averaged: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            averaged[key].lerp_(value, 1 - decay)
        else:
            averaged[key].copy_(value)
