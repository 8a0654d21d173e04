"""The command that evaluates a language model on scenes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from tokbench.commands import console
from tokbench.commands.console import DeviceOption, PrecisionOption, SettingsOption, WeightsOption, progress, say
from tokbench.commands.destinations import check_folder
from tokbench.commands.lm_draw import (
    BatchOption,
    GuidanceOption,
    TemperatureOption,
    TokenizerOption,
    TopKOption,
    TopPOption,
    load_model,
    sampling_options,
)
from tokbench.commands.values import choice, whole


def evaluate(
    model: Annotated[Path | None, typer.Argument(help="Folder of a model [default: the one that comes with tokbench].")] = None,
    prompts: Annotated[int, whole("--prompts", low=2, help="Scenes, and edits, that are asked for.")] = 500,
    split: Annotated[
        str, choice("--split", among=("test", "held-out", "train"), help="Unseen scenes, or those of unseen combinations.")
    ] = "test",
    task: Annotated[
        list[str] | None, typer.Option("--task", help="generate, edit, describe or complete; may be repeated [default: all].")
    ] = None,
    training_scenes: Annotated[int, whole("--training-scenes", low=1, help="Training scenes among which the nearest is sought.")] = 2000,
    tokenizer: TokenizerOption = None,
    weights: WeightsOption = None,
    setting: SettingsOption = None,
    temperature: TemperatureOption = 1.0,
    top_k: TopKOption = 0,
    top_p: TopPOption = 1.0,
    guidance: GuidanceOption = 1.0,
    seed: Annotated[int, whole("--seed", low=0, high=2**31 - 1, help="Of scenes and samples.")] = 0,
    batch_size: BatchOption = 16,
    device: DeviceOption = "cpu",
    precision: PrecisionOption = None,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the record.")] = Path("runs/lm"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Ask a model for scenes it has not seen, and count what is right."""
    check_folder(out_dir, "--out")
    sampling = sampling_options(temperature, top_k, top_p, guidance, batch_size)
    artist, folder = load_model(model, tokenizer, weights, setting, device, precision)
    from tokbench.lm.evaluate import TASKS, EvaluationOptions
    from tokbench.lm.evaluate import evaluate as run
    from tokbench.records.examples import write_examples
    from tokbench.records.lm_store import write_lm_record
    from tokbench.report.lm import lm_tables
    from tokbench.report.render import print_tables

    options = EvaluationOptions(
        prompts=prompts,
        split=split,  # type: ignore[arg-type]  # one of them
        seed=seed,
        tasks=tuple(task or TASKS),
        sampling=sampling,
        training_scenes=training_scenes,
        stage=_stage,
    )
    done = run(artist, folder.resolve().name, options)
    path = write_lm_record(done.record, done.rows, out_dir, pictures=lambda place: write_examples(done.examples, place))
    say(f"wrote {path} and pictures {path.with_suffix('')}")
    if as_json:
        print(json.dumps(json.loads(done.record.to_json()), indent=2, allow_nan=False))
    else:
        print_tables(lm_tables([done.record]), console.out)


@contextmanager
def _stage(name: str, total: int) -> Iterator[Callable[[int, int], None]]:
    with progress(name, total) as advance:
        yield advance
