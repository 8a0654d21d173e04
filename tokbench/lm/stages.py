"""One stage of a language model: from a model and rows to a model, stopped and gone on with at will."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tokbench.configs import flat, plain
from tokbench.counting import counted
from tokbench.errors import TokbenchError, missing_extra
from tokbench.files import folder_lock, make_folder, open_log, write_text
from tokbench.lm.build import LoraOptions, with_lora
from tokbench.lm.checkpoint import CHECKPOINT, Checkpoint, read_checkpoint
from tokbench.lm.clock import trained
from tokbench.lm.model import ABOUT, LanguageModel
from tokbench.lm.recipes import StageRecipe
from tokbench.lm.trainers import Row, make_trainer
from tokbench.ranks import Ranks, ranks_from_environment
from tokbench.records.lm_training import TRAINED, Trained
from tokbench.signals import asked_to_end
from tokbench.tokenizers.zoo import usable_device

LOG = "log.jsonl"

LATER = ("about.edits", "about.text")
"""Settings that checkpoints of earlier versions do not hold."""

ELSEWHERE = {"ACCELERATE_USE_DEEPSPEED": "DeepSpeed", "ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM"}
"""Ways to share a model that ``accelerate launch`` asks for, by the variables it sets. A checkpoint holds a whole model."""

MOST_ON_CPU = 8
"""Rows that a process sees at once on a CPU, unless it is told."""

Progress = Callable[[int, int, Mapping[str, float]], None]
"""Steps done, steps in all, and the figures of the last line of the log."""


@dataclass(frozen=True)
class StageOptions:
    """What may differ between two runs of one stage.

    Args:
        out: Folder of the run, and of the model that comes out.
        device: ``cpu``, or where ``torch`` finds the accelerators; under ``torchrun`` each process takes its own.
        resume: Go on from the checkpoint in ``out``.
        lora: Train low-rank adapters of this size; None trains all weights.
        micro_batch: Rows that one process sees at once. None takes its whole share of a step; on a CPU at most 8, so that less is padded.
        log_every: Steps between lines of the log.
        save_every: Steps between checkpoints.

    Raises:
        ValueError: If a number is not positive.
    """

    out: Path
    device: str = "cpu"
    resume: bool = False
    lora: LoraOptions | None = None
    micro_batch: int | None = None
    log_every: int = 10
    save_every: int = 200

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", Path(self.out))
        if min(self.log_every, self.save_every) < 1 or (self.micro_batch is not None and self.micro_batch < 1):
            raise ValueError(f"log_every, save_every and micro_batch must be positive, got {self}")


@dataclass(frozen=True)
class StageResult:
    """How a stage ended.

    Args:
        steps: Optimiser steps done.
        finished: Whether those are all.
        model: Folder of the model; it is there once the stage is finished.
        signal: Number of the signal that ended it before that.
        trained: What the training took, with that before the stage was gone on with; None where its checkpoint did not say it.
    """

    steps: int
    finished: bool
    model: Path
    signal: int | None = None
    trained: Trained | None = None


def train_stage(
    recipe: StageRecipe,
    start: LanguageModel,
    rows: Callable[[int], Row],
    options: StageOptions,
    *,
    about: Mapping[str, Any],
    measured: Mapping[str, Any] | None = None,
    reference: Any = None,
    progress: Progress = lambda done, total, figures: None,
) -> StageResult:
    """Train a model by a stage's recipe.

    SIGINT, SIGTERM and SIGHUP end the run after the current step, with a checkpoint. Under ``torchrun`` or ``accelerate launch`` the
    processes share every step; the rows of a step do not depend on how many there are.

    Args:
        recipe: What to do.
        start: What to begin from; its network is trained in place.
        rows: Gives row ``n`` of the training, the same at any time.
        options: Where and how.
        about: What the rows are made of, as plain values; a run goes on with equal ones only.
        measured: What was measured before training, to be noted in the model.
        reference: Frozen copy of the network for ``dpo``; not needed where adapters are trained.
        progress: Called by the first process after every line of the log.

    Returns:
        How it ended. ``out`` then holds the model, ``log.jsonl`` and the last checkpoint.

    Raises:
        Busy: If another process trains in ``out``.
        TokbenchError: If the batch does not divide among the processes, or training diverges. If ``out`` cannot be written or holds a
            run already, or ``resume`` finds none or one of other settings.
    """
    ranks = ranks_from_environment()
    device, micro, accumulate = check(recipe, options)
    settings = {name: str(value) for name, value in flat(plain({"recipe": recipe, "lora": options.lora, "about": dict(about)})).items()}
    checkpoint = read_checkpoint(options.out / CHECKPOINT) if options.resume else None
    if checkpoint is not None:
        _check_settings(checkpoint, settings, recipe, options.out)
    make_folder(options.out)
    first = ranks.rank == 0
    with folder_lock(options.out, "train") if first else nullcontext(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the libraries ask each other for names that later versions of them change
        if first:
            _begin_log(options.out / LOG, checkpoint)
        model: Any = start.network
        if options.lora is not None:
            new = not start.recipe.get("stages")  # rows of codes that nothing was learned for
            model = with_lora(model, options.lora, train_embedding=new, seed=recipe.seed)
        trainer: Any = make_trainer(
            recipe,
            model,
            lambda place: rows(dealt(place, recipe.batch_size, micro, ranks.world_size)),
            start.vocabulary,
            reference=reference,
            out=options.out,
            on_cpu=device.type == "cpu",
            micro_batch=micro,
            accumulate=accumulate,
            log_every=options.log_every,
            save_every=options.save_every,
        )
        trainer.out, trainer.settings = options.out, settings
        with asked_to_end() as signalled, open_log(options.out / LOG) as log:
            telling, shown = (log, progress) if first else (lambda line: None, lambda *_: None)
            trainer.add_callback(_watch(signalled, telling, shown, started=lambda: trainer.clock.start(device)))
            trainer.go_on(checkpoint)
            number = signalled()
        steps = int(trainer.state.global_step)
        finished = steps >= recipe.steps
        taken = trained([part.get("clock") for part in trainer.parts], steps * recipe.batch_size)
        if finished and first:
            network = trainer.accelerator.unwrap_model(trainer.model)
            network = network.merge_and_unload() if options.lora is not None else network
            done = {"name": recipe.name, "stage": recipe.stage, "steps": steps, "recipe": plain(recipe), **about}
            done |= {"measured": dict(measured)} if measured else {}
            done |= {} if taken is None else {TRAINED: plain(taken)}
            stages = [*start.recipe.get("stages", []), done]
            facts = {**start.recipe, "stages": stages}
            LanguageModel(network.eval(), start.vocabulary, start.image_size, start.grid, facts).save(options.out)
        trainer.accelerator.wait_for_everyone()
    return StageResult(steps, finished, options.out, number, taken)


def check(recipe: StageRecipe, options: StageOptions) -> tuple[torch.device, int, int]:
    """Refuse what would end a run after its data are prepared.

    Args:
        recipe: What to do.
        options: Where and how.

    Returns:
        The device; rows that a process sees at once, and how often a step.

    Raises:
        TokbenchError: If there is no such device, the batch does not divide among the processes, or ``out`` holds a run or a model already.
            If processes were launched to share the model.
    """
    for name, what in ELSEWHERE.items():
        if os.environ.get(name, "").lower() in ("1", "true", "yes", "on", "y", "t"):
            raise TokbenchError(
                f"accelerate is configured for {what}, and processes here share steps but not the model; launch them by torchrun, or by "
                "accelerate launch --multi_gpu"
            )
    device = usable_device(options.device)
    if options.device not in ("cpu", device.type):
        raise TokbenchError(
            f"training takes a kind of device, not {options.device}; give --device {device.type}, and choose by CUDA_VISIBLE_DEVICES"
        )
    if not options.resume:
        _refuse_other(options.out)
    return device, *_parts(recipe, ranks_from_environment(), options.micro_batch, most=MOST_ON_CPU if device.type == "cpu" else None)


def _parts(recipe: StageRecipe, ranks: Ranks, micro_batch: int | None, *, most: int | None) -> tuple[int, int]:
    """Rows that a process sees at once, and how often a step."""
    share, rest = divmod(recipe.batch_size, ranks.world_size)
    micro = micro_batch or max((size for size in range(1, min(share, most or share) + 1) if share % size == 0), default=1)
    if rest or share % micro:
        raise TokbenchError(
            f"a step of {recipe.batch_size} rows does not divide into parts of {micro or 1} on {ranks.world_size} "
            f"process{'es' * (ranks.world_size > 1)}; change --batch-size or --micro-batch"
        )
    return micro, share // micro


def dealt(place: int, batch_size: int, micro: int, processes: int) -> int:
    """Deal the rows of a step to processes back and forth, as teams are chosen, so that long and short rows are shared evenly.

    Parts go to the processes in turn. Where a step is arranged by length, the last process would have the longest rows in every turn, and all
    others would wait for it. Here each process has every length, still arranged by it, so that a part is padded little. A step has the same
    rows in any case.

    Args:
        place: Counted from 0 over all steps, as the trainer asks for it.
        batch_size: Rows a step.
        micro: Rows of a part.
        processes: How many share a step.

    Returns:
        Which row comes there.
    """
    step, slot = divmod(place, batch_size)
    part, offset = divmod(slot, micro)
    turn, rank = divmod(part, processes)
    own = turn * micro + offset
    chosen = processes - 1 - rank if own % 2 else rank
    return step * batch_size + own * processes + chosen


def _refuse_other(out: Path) -> None:
    for name in (CHECKPOINT, ABOUT):
        if (out / name).exists():
            what = "a run" if name == CHECKPOINT else "a model"
            raise TokbenchError(f"{out} already holds {what}; add --resume to go on with a run, or choose another --out")


def _check_settings(checkpoint: Checkpoint, settings: Mapping[str, str], recipe: StageRecipe, out: Path) -> None:
    names = dict.fromkeys([*checkpoint.settings, *settings])
    free = ["recipe.steps", "recipe.summary"]
    free += [name for name in LATER if name not in checkpoint.settings]
    other = [name for name in names if name not in free and checkpoint.settings.get(name) != settings.get(name)]
    if other:
        words = "; ".join(f"{name} {str(checkpoint.settings.get(name))[:40]}, not {str(settings.get(name))[:40]}" for name in other[:4])
        raise TokbenchError(
            f"{out} holds a run with {words}; repeat the options it was started with (--steps may be more), or choose another --out"
        )
    if checkpoint.step > recipe.steps:
        raise TokbenchError(
            f"{out} holds a run of {counted(checkpoint.step, 'step')} already; give --steps of at least that, or choose another --out"
        )


def _begin_log(path: Path, checkpoint: Checkpoint | None) -> None:
    """Keep the lines up to the checkpoint."""
    kept = []
    if checkpoint is not None and path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
            if _step_of(line) <= checkpoint.step:
                kept.append(line)
    write_text(path, "".join(kept))


def _step_of(line: str) -> float:
    """Step of a whole line of the log; beyond all steps for any other, which is left out."""
    try:
        step = json.loads(line)["step"] if line.endswith("\n") else None
    except (ValueError, TypeError, KeyError, RecursionError):
        step = None
    return step if isinstance(step, int) else math.inf


def _watch(signalled: Callable[[], int | None], log: Callable[[str], None], progress: Progress, *, started: Callable[[], None]) -> Any:
    """What says when training begins, writes the log, shows progress, and stops with a checkpoint when a signal asks for it."""
    try:
        from transformers import TrainerCallback
    except ImportError as error:
        raise missing_extra("transformers", "lm", "training a language model") from error

    class Watch(TrainerCallback):
        """Follows one training."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            """Everything is ready."""
            started()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            """Write a line, unless it is the summary at the end."""
            if "loss" not in logs:
                return
            if not math.isfinite(logs["loss"]):
                raise TokbenchError(
                    f"the loss is {logs['loss']} at step {state.global_step}: training diverged; lower the learning rate "
                    "(--set learning_rate=...). The last checkpoint is as it was"
                )
            figures = {name: value for name, value in logs.items() if name != "epoch"}
            log(json.dumps({"step": state.global_step, **figures}) + "\n")
            progress(state.global_step, state.max_steps, figures)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            """Save at the last step, and when a process was asked to end."""
            if _any_process(signalled() is not None, args):
                control.should_save = control.should_training_stop = True
            if state.global_step >= state.max_steps:
                control.should_save = True

    return Watch()


def _any_process(asked: bool, args: Any) -> bool:
    """Whether any process was asked: all of them stop at the same step, or the others would wait for ever."""
    if args.world_size == 1:
        return asked
    flag = torch.tensor(float(asked), device=args.device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return bool(flag > 0)
