"""The training loop: schedule, averaged weights, log, samples and checkpoints that resume exactly."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tokbench.configs import plain
from tokbench.counting import counted
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.files import atomic_file, folder_lock, make_folder, open_log, write_bytes
from tokbench.image_size import Size, sides, size_text
from tokbench.images import to_float, to_uint8
from tokbench.launch import by_the_first, joined, take_device
from tokbench.layout import check_unpadded
from tokbench.plugins import import_class
from tokbench.ranks import Ranks, own_device, ranks_from_environment
from tokbench.sending import moved
from tokbench.signals import asked_to_end
from tokbench.together import largest
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.zoo import resolve, usable_device
from tokbench.train.beginning import begin, resume
from tokbench.train.crops import RandomCrops
from tokbench.train.digest import digest_of
from tokbench.train.objective import Objective
from tokbench.train.options import CHECKPOINT, LOG, SAMPLES, WEIGHTS, TrainOptions, TrainResult
from tokbench.train.parts import adapt
from tokbench.train.recipes import AutoencoderLosses, FlowLosses, Recipe
from tokbench.weights.checkpoints import load_strictly, read_state, save_weights
from tokbench.weights.judges import read_judge
from tokbench.weights.obtain import weights_path
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

    SIGINT, SIGTERM and SIGHUP end the run after the current step, with a checkpoint. Under ``torchrun`` or ``accelerate launch`` the
    processes share every batch, and ``out`` is a folder that all of them see. Losses do not depend on how many there are.

    Args:
        recipe: What to do.
        source: Pictures to draw crops from.
        options: Where and how.
        progress: Called by the first process after every step with steps done, steps in all, and the step's losses.

    Returns:
        Where the averaged weights lie; ``out`` also holds the checkpoint, ``log.jsonl`` and sample grids.

    Raises:
        Busy: If another process trains in ``out``.
        Elsewhere: If the first process fails at what only it does.
        TokbenchError: If a batch does not divide among the processes, the tokenizer cannot take the size, or the loss diverges. If ``out``
            cannot be written or already holds a run, or ``resume`` finds none or one of another recipe, size or source.
    """
    ranks = ranks_from_environment()
    if recipe.batch_size % ranks.world_size:
        raise TokbenchError(
            f"a batch of {recipe.batch_size} images does not divide among {ranks.world_size} processes; change --batch-size"
        )
    size = options.size or resolve(recipe.tokenizer)[1].image_size
    check_unpadded(_config(recipe).layout(*sides(size)), why="nothing is padded in training; take another --size")
    if options.resume and not (options.out / CHECKPOINT).is_file():
        raise TokbenchError(f"nothing to resume: no {CHECKPOINT} in {options.out}; leave --resume out to start there")
    with joined(), ExitStack() as held:

        def take() -> None:
            make_folder(options.out)
            held.enter_context(folder_lock(options.out, "train"))

        by_the_first(take)
        return _train(recipe, source, options, size, ranks, progress)


def _train(
    recipe: Recipe,
    source: ImageSource,
    options: TrainOptions,
    size: Size,
    ranks: Ranks,
    progress: Callable[[int, int, dict[str, float]], None],
) -> TrainResult:
    settings = {"recipe": json.dumps(plain(recipe), sort_keys=True), "size": size_text(size), "source": source.name}
    device = take_device(usable_device(own_device(options.device)))
    torch.manual_seed(recipe.seed)
    objective = _build(recipe, options, size, ranks).to(device)
    averaged = {key: value.detach().clone() for key, value in objective.model.state_dict().items()}
    about = _about(recipe, source, options, objective, ranks)
    start = resume(settings, options, objective, averaged) if options.resume else begin(options)
    if start > recipe.steps:
        raise TokbenchError(
            f"{options.out} holds a run of {counted(start, 'step')} already; give --steps of at least that, or choose another --out"
        )
    crops = RandomCrops(source, size=size, scale=recipe.crop_scale, seed=recipe.seed, workers=options.workers)

    def keep(done: int) -> None:
        _samples(recipe, options, averaged, crops, done)  # first: weights that decode to nothing replace none
        _save(settings, options, objective, averaged, done, about)

    first = ranks.rank == 0
    done, stopped = start, None
    with (
        asked_to_end(patient=ranks.world_size > 1) as signalled,
        open_log(options.out / LOG) if first else nullcontext() as log,
        ThreadPoolExecutor(1, thread_name_prefix="tokbench-batch") as ahead,
    ):
        upcoming = ahead.submit(crops.batch, done, recipe.batch_size, ranks) if done < recipe.steps else Future()
        mark = (time.perf_counter(), done)
        while done < recipe.steps and stopped is None:
            _schedule(recipe, objective.optimizers, done)
            images = to_float(moved(upcoming.result(), device))
            if done + 1 < recipe.steps:
                upcoming = ahead.submit(crops.batch, done + 1, recipe.batch_size, ranks)  # while the networks learn from this one
            figures = objective.step(images, done, torch.Generator().manual_seed(recipe.seed * 1_000_003 + done))
            _average(averaged, objective.model, min(recipe.ema_decay, (1 + done) / (10 + done)))
            done += 1
            stopped = largest(signalled() or 0) or None  # all stop at one step, or the others would wait for ever
            if log is not None and (done % options.log_every == 0 or done == recipe.steps):
                now = time.perf_counter()
                rate = (done - mark[1]) * recipe.batch_size / (now - mark[0])
                log(json.dumps({"step": done, **plain(figures), "images_per_second": round(rate, 2)}) + "\n")
                mark = (now, done)
            if done % options.save_every == 0 or done == recipe.steps or stopped is not None:
                by_the_first(partial(keep, done))
            if first:
                progress(done, recipe.steps, figures)
    return TrainResult(done, done == recipe.steps, options.out / WEIGHTS, stopped)


def _build(recipe: Recipe, options: TrainOptions, size: Size, ranks: Ranks) -> Objective:
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
    adversary = isinstance(recipe.losses, AutoencoderLosses) and recipe.losses.adversary is not None
    for network in (model.encoder, model.decoder, perceptual):
        if network is not None:
            apart = network.conv_out if adversary and network is model.decoder else None
            adapt(network, micro_batch=options.micro_batch, compiled=options.compiled, apart=apart)
    if isinstance(recipe.losses, FlowLosses):
        from tokbench.train.flow import FlowObjective

        return FlowObjective(model.train(), recipe, perceptual)
    from tokbench.train.autoencoder import AutoencoderObjective

    objective = AutoencoderObjective(model.train(), recipe, perceptual)
    objective.fresh_codebook = not any(name.startswith("quantize.") and name.endswith(CODEBOOK) for name in fitting)
    if objective.codebook is not None and not objective.fresh_codebook:
        objective.codebook.adopt(recipe.batch_size // ranks.world_size * model.layout(*sides(size)).positions)
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


def _about(recipe: Recipe, source: ImageSource, options: TrainOptions, objective: Objective, ranks: Ranks) -> dict[str, Any]:
    """What the header of the weights says beside the number of steps."""
    run = {"device": options.device, "processes": ranks.world_size, "micro_batch": options.micro_batch, "compiled": options.compiled}
    about = {"tokenizer": recipe.tokenizer, "recipe": plain(recipe), "config": plain(objective.model.config), "run": run}
    return about | _training(recipe, source, options).header()


def _save(
    settings: dict[str, Any], options: TrainOptions, objective: Objective, averaged: dict[str, Tensor], step: int, about: dict[str, Any]
) -> None:
    state = settings | {"step": step, "objective": objective.state_dict(), "averaged": averaged}
    save_weights(averaged, options.out / WEIGHTS, about=about | {"steps": step}, dtype=torch.float16)
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
    height, width = rows.shape[1:3]
    grid = rows.reshape(2, 8, height, width, 3).permute(0, 2, 1, 3, 4).reshape(2 * height, 8 * width, 3)
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
