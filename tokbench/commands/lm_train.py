"""The command that trains a stage of a language model."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tokbench.commands.console import (
    CaptionsOption,
    DeviceOption,
    LabelsOption,
    PrecisionOption,
    bar,
    err,
    out,
    own_place,
    say,
    settings,
    tokenizer_names,
    told_apart,
)
from tokbench.commands.destinations import check_folder
from tokbench.commands.precision import remark_on
from tokbench.commands.values import pixels, whole
from tokbench.counting import counted
from tokbench.signals import Ended


def train(
    stage: Annotated[str | None, typer.Argument(help="Name of a stage, or module:NAME of your own; without one they are listed.")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            callback=told_apart,
            help="An export, scenes, or images: photos, a folder, a zip, tar shards, a parquet file, hf:NAME.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Folder of the model to go on from; for pretrain also any causal model, or hf:OWNER/REPO."),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer", "-t", autocompletion=tokenizer_names, help="Image tokenizer [default: that of the export or the model]."
        ),
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", help="A tokenizer.json for words, or words to learn one, from scratch [default: bytes].")
    ] = None,
    edits: Annotated[Path | None, typer.Option("--edits", help="JSON lines of instruction and images.")] = None,
    halves: Annotated[
        Path | None, typer.Option("--halves", help="Export of images with a hidden lower half, for completions, of an earlier stage.")
    ] = None,
    preferences: Annotated[Path | None, typer.Option("--preferences", help="JSON lines of chosen and rejected images, for dpo.")] = None,
    reward: Annotated[str | None, typer.Option("--reward", help="scenes, or module:function of words and pixels.")] = None,
    labels: LabelsOption = "source",
    captions: CaptionsOption = None,
    size: Annotated[
        Any, pixels("--size", low=8, help="Side of images in pixels, or HxW, where they are encoded [default: that of the model, or 64].")
    ] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe; may be repeated.")] = None,
    steps: Annotated[int | None, whole("--steps", help="Optimiser steps [default: the recipe's].")] = None,
    batch_size: Annotated[int | None, whole("--batch-size", help="Rows a step, over all processes [default: the recipe's].")] = None,
    micro_batch: Annotated[
        int | None, whole("--micro-batch", low=1, help="Rows a process sees at once [default: its share; on a CPU at most 8].")
    ] = None,
    lora: Annotated[int | None, whole("--lora", low=1, help="Train adapters of this rank instead of all weights.")] = None,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = None,
    out_dir: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run and its model [default: runs/lm/STAGE].")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out; --steps may be more than before.")] = False,
    log_every: Annotated[int, whole("--log-every", low=1, help="Steps between log lines.")] = 10,
    save_every: Annotated[int, whole("--save-every", low=1, help="Steps between checkpoints.")] = 200,
) -> None:
    """Train a stage: pretrain, quality or dpo. Ctrl-C stops after the step, with a checkpoint. torchrun shares every step."""
    from tokbench.lm.recipes import RECIPES, adjusted, get_recipe

    if stage is None:
        for row in RECIPES:
            out.print(f"{row.name:<12}{row.steps:>7} steps  {row.summary}", highlight=False, markup=False, soft_wrap=True)
        return
    changes = settings(setting) | ({} if precision is None else {"precision": precision})
    recipe = adjusted(get_recipe(stage), changes, steps=steps, batch_size=batch_size)
    folder = out_dir or Path("runs") / "lm" / recipe.name
    check_folder(folder, "--out")
    from tokbench.lm.build import LoraOptions
    from tokbench.lm.stages import StageOptions
    from tokbench.lm.training import Inputs, run_stage
    from tokbench.ranks import ranks_from_environment
    from tokbench.records.lm_training import duration
    from tokbench.tokenizers.zoo import load

    loaded = None if tokenizer is None else load(tokenizer, device=own_place(device))
    inputs = Inputs(data, model, loaded, text, edits, halves, preferences, reward, labels, tuple(captions or ()), size)
    adapters = None if lora is None else LoraOptions(rank=lora, alpha=2 * lora)
    options = StageOptions(folder, device, resume, adapters, micro_batch, log_every, save_every)
    speaking = ranks_from_environment().rank == 0
    if speaking:
        remark_on(recipe.precision, device, instead="--precision fp32")
    with bar() as shown:
        task = shown.add_task(recipe.name, total=recipe.steps, figures="", visible=speaking)

        def prepare(what: str, done: int, total: int) -> None:
            shown.update(task, description=what, completed=done, total=total)

        def advance(done: int, total: int, figures: Mapping[str, float]) -> None:
            words = "  ".join(f"{name} {figures[name]:.4g}" for name in ("loss", "rewards/accuracies") if name in figures)
            shown.update(task, description=recipe.name, completed=done, total=total, figures=words)
            if not err.is_terminal:
                say(f"{recipe.name}: step {done} of {total}  {words}")

        result = run_stage(recipe, inputs, options, preparing=prepare, progress=advance)
    if not result.finished:
        note = f"stopped after step {result.steps} of {recipe.steps}, go on with the same command and --resume"
        raise Ended(result.signal or signal.SIGINT, note)
    if speaking:
        taken = "" if result.trained is None else f", trained for {duration(result.trained.seconds)}"
        say(f"done: {counted(result.steps, 'step')}, model {result.model}{taken}")
