"""The command that trains."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tokbench.commands.console import DataOption, DeviceOption, WorkersOption, bar, err, out, say, settings
from tokbench.commands.destinations import check_folder
from tokbench.commands.precision import remark_on
from tokbench.commands.values import pixels, whole
from tokbench.counting import counted
from tokbench.signals import Ended

LINES = 20
"""How often a run says where it is, where there is no terminal to draw a bar on."""


def train(
    recipe: Annotated[str | None, typer.Argument(help="Name of a recipe, or module:NAME of your own; without one they are listed.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe, its losses or the tokenizer's configuration; may be repeated."),
    ] = None,
    data: DataOption = "photos",
    steps: Annotated[int | None, whole("--steps", help="Optimiser steps [default: the recipe's].")] = None,
    batch_size: Annotated[int | None, whole("--batch-size", help="Images a step, over all processes [default: the recipe's].")] = None,
    micro_batch: Annotated[
        int | None, whole("--micro-batch", low=1, help="Images the networks of a process see at once; saves memory [default: all].")
    ] = None,
    size: Annotated[Any, pixels("--size", help="Side of the crops in pixels, or HxW [default: the tokenizer's].")] = None,
    device: DeviceOption = "cpu",
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the networks; needs a compiler for C++ on a CPU.")] = False,
    out_dir: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run [default: runs/train/RECIPE].")] = None,
    init_weights: Annotated[Path | None, typer.Option(help="Start from this file instead of the recipe's own.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out; --steps may be more than before.")] = False,
    log_every: Annotated[int, whole("--log-every", low=1, help="Steps between log lines.")] = 20,
    save_every: Annotated[int, whole("--save-every", low=1, help="Steps between checkpoints.")] = 500,
    workers: WorkersOption = None,
) -> None:
    """Train a tokenizer by a recipe. Ctrl-C stops after the step, with a checkpoint. torchrun shares every step."""
    from tokbench.ranks import ranks_from_environment
    from tokbench.train.recipes import RECIPES, get_recipe

    speaking = ranks_from_environment().rank == 0
    if recipe is None:
        for row in RECIPES if speaking else ():
            out.print(
                f"{row.name:<20}{row.tokenizer:<20}{row.steps:>7} steps  {row.summary}", highlight=False, markup=False, soft_wrap=True
            )
        return
    chosen = get_recipe(recipe)
    from tokbench.data.open import open_training_source
    from tokbench.train.options import TrainOptions
    from tokbench.train.start import adjusted, train_recipe

    check_folder(out_dir or Path("runs"), "--out")
    options = TrainOptions(
        out=out_dir or Path("runs") / "train" / chosen.name,
        size=size,
        device=device,
        resume=resume,
        init_weights=init_weights,
        log_every=log_every,
        save_every=save_every,
        micro_batch=micro_batch,
        compiled=compiled,
        workers=workers,
    )
    chosen = adjusted(chosen, settings(setting), steps=steps, batch_size=batch_size)
    source = open_training_source(data)
    if speaking:
        remark_on(getattr(chosen, "precision", "fp32"), device, instead="--set precision=fp32")
    with bar() as shown:
        task = shown.add_task(chosen.name, total=chosen.steps, figures="", visible=speaking)

        def draw(done: int, total: int, figures: dict[str, float]) -> None:
            shown.update(task, completed=done, total=total, figures=_words(figures))

        result = train_recipe(chosen, source, options, progress=draw if err.is_terminal else _lines(chosen.name))
    if not result.finished:
        note = f"stopped after step {result.steps} of {chosen.steps}, go on with the same command and --resume"
        raise Ended(result.signal or signal.SIGINT, note, silent=not speaking)
    if speaking:
        say(f"done: {counted(result.steps, 'step')}, weights {result.weights}")
        say(f"measure them: tokbench run --tokenizer {result.weights.parent}")


def _lines(name: str) -> Callable[[int, int, dict[str, float]], None]:
    """Report progress by a line now and then."""
    said = -1

    def report(done: int, total: int, figures: dict[str, float]) -> None:
        nonlocal said
        part = done * LINES // max(1, total)
        if part > said:
            said = part
            say(f"{name}: step {done} of {total}  {_words(figures)}".rstrip())

    return report


def _words(figures: dict[str, float]) -> str:
    return "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
