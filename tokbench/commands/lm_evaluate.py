"""The command that evaluates a language model on scenes, or on images of one's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tokbench.commands import console
from tokbench.commands.console import (
    CaptionsOption,
    DeviceOption,
    LabelsOption,
    PrecisionOption,
    SettingsOption,
    WeightsOption,
    progress,
    say,
    told_apart,
)
from tokbench.commands.destinations import check_folder
from tokbench.commands.lm_draw import (
    BatchOption,
    GuidanceOption,
    ResizeOption,
    TemperatureOption,
    TokenizerOption,
    TopKOption,
    TopPOption,
    load_model,
    sampling_options,
)
from tokbench.commands.values import choice, whole
from tokbench.errors import TokbenchError

SCENES, SPLITS = "scenes", ("test", "held-out", "train")
"""What is evaluated unless it is told, and its splits; a folder of that name is written ``./scenes``."""


def evaluate(
    model: Annotated[Path | None, typer.Argument(help="Folder of a model [default: the one that comes with tokbench].")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            callback=told_apart,
            help="Images with captions or classes, as tokbench run takes them, or an export of them [default: scenes].",
        ),
    ] = None,
    prompts: Annotated[
        int | None,
        whole("--prompts", low=2, help="Scenes, and edits, that are asked for, or images [default: 500, or half of the images]."),
    ] = None,
    split: Annotated[
        str | None,
        choice("--split", among=SPLITS, help="Unseen scenes, or those of unseen combinations [default: test]."),
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option("--task", help="generate, edit, describe or complete; may be repeated [default: all].")
    ] = None,
    labels: LabelsOption = "source",
    captions: CaptionsOption = None,
    resize: ResizeOption = False,
    reward: Annotated[str | None, typer.Option("--reward", help="module:function of words and pixels, which judges images.")] = None,
    training: Annotated[
        str | None,
        typer.Option("--training", callback=told_apart, help="Images the model learned from [default: those encoded in its folder]."),
    ] = None,
    training_scenes: Annotated[
        int, whole("--training-scenes", low=1, help="Training scenes, or images, among which the nearest is sought.")
    ] = 2000,
    tokenizer: TokenizerOption = None,
    weights: WeightsOption = None,
    setting: SettingsOption = None,
    temperature: TemperatureOption = None,
    top_k: TopKOption = 0,
    top_p: TopPOption = 1.0,
    guidance: GuidanceOption = None,
    seed: Annotated[int, whole("--seed", low=0, high=2**31 - 1, help="Of scenes and samples.")] = 0,
    batch_size: BatchOption = 16,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = None,
    out_dir: Annotated[Path, typer.Option("--out", "-o", help="Folder for the record.")] = Path("runs/lm"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Ask a model for scenes it has not seen, and count what is right; or for images of your own, beside real ones."""
    check_folder(out_dir, "--out")
    _check(data, split, given={"--captions": captions, "--resize": resize, "--reward": reward, "--training": training})
    sampling = sampling_options(temperature, top_k, top_p, guidance, batch_size)
    artist, folder = load_model(model, tokenizer, weights, setting, device, precision)
    from tokbench.lm.evaluate import TASKS, EvaluationOptions
    from tokbench.lm.evaluate import evaluate as run
    from tokbench.lm.evaluate_images import ImageEvaluationOptions, evaluate_images
    from tokbench.records.examples import write_examples
    from tokbench.records.lm_store import write_lm_record
    from tokbench.report.lm import lm_tables
    from tokbench.report.render import print_tables

    if data is None or data == SCENES:
        options = EvaluationOptions(
            prompts=prompts or 500,
            split=split or "test",  # type: ignore[arg-type]  # one of them
            seed=seed,
            tasks=tuple(task or TASKS),
            sampling=sampling,
            training_scenes=training_scenes,
            stage=_stage,
        )
        done = run(artist, folder.resolve().name, options)
    else:
        images = ImageEvaluationOptions(
            data,
            labels=labels,
            captions=tuple(captions or ()),
            resize=resize,
            prompts=prompts,
            seed=seed,
            tasks=tuple(task) if task else None,
            sampling=sampling,
            reward=reward,
            training=training,
            training_images=training_scenes,
            stage=_stage,
        )
        done = evaluate_images(artist, folder, images)
    path = write_lm_record(done.record, done.rows, out_dir, pictures=lambda place: write_examples(done.examples, place))
    say(f"wrote {path} and pictures {path.with_suffix('')}")
    if done.record.trained_on:
        say(f"{done.record.tokenizer.name} was trained on images that are asked for here; figures are marked")
    if as_json:
        print(json.dumps(json.loads(done.record.to_json()), indent=2, allow_nan=False))
    else:
        print_tables(lm_tables([done.record]), console.out)


def _check(data: str | None, split: str | None, *, given: dict[str, object]) -> None:
    """Refuse options of scenes for images, and options of images for scenes.

    Raises:
        TokbenchError: If one is given.
    """
    from tokbench.data.scenes.images import is_scenes

    if data is None or data == SCENES:
        if wrong := [name for name, value in given.items() if value]:
            raise TokbenchError(f"{wrong[0]} is for images that are not scenes; name them with --data, or leave it out")
    elif is_scenes(data):
        raise TokbenchError(f"--data {data}: scenes are chosen by --split and --prompts; leave --data out")
    elif split is not None:
        raise TokbenchError(f"--split chooses scenes, and --data {data} is all that is asked for; leave one of them out")


@contextmanager
def _stage(name: str, total: int) -> Iterator[Callable[[int, int], None]]:
    with progress(name, total) as advance:
        yield advance
