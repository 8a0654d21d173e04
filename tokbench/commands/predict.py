"""The command that measures what tokens may tell of models that generate them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokbench.commands import console
from tokbench.commands.console import (
    AveragesOption,
    DataOption,
    DeviceOption,
    DropOption,
    LabelsOption,
    PrecisionOption,
    SettingsOption,
    WeightsOption,
    loading,
    of_each,
    once,
    progress,
    say,
    tokenizer_names,
)
from tokbench.commands.destinations import check_folder
from tokbench.commands.values import pixels, whole
from tokbench.errors import TokbenchError

if TYPE_CHECKING:
    from tokbench.feed.predict.run import Prediction
    from tokbench.tokenizers.base import Tokenizer


def predict(
    tokenizer: Annotated[
        list[str], typer.Option("--tokenizer", "-t", autocompletion=tokenizer_names, help="Name, or module:Class; may be repeated.")
    ],
    weights: WeightsOption = None,
    drop: DropOption = None,
    averages: AveragesOption = None,
    setting: SettingsOption = None,
    data: DataOption = "photos",
    limit: Annotated[int | None, whole("--limit", low=1, help="Images at most [default: 5000].")] = None,
    size: Annotated[Any, pixels("--size", help="Side of the images in pixels, or HxW [default: 64].")] = None,
    labels: LabelsOption = "source",
    figures: Annotated[
        str | None,
        typer.Option(
            help="Some of interpolation, sensitivity, equivariance, statistics, spectrum, linear and locality, separated by commas "
            "[default: all]."
        ),
    ] = None,
    nearest: Annotated[int | None, whole("--nearest", help="Nearest codes among which a wrong one is drawn [default: 100].")] = None,
    edits: Annotated[int | None, whole("--edits", help="Edits of drawn scenes for locality [default: 300].")] = None,
    seed: Annotated[int | None, whole("--seed", low=0, help="Of the choice of images, of noise and of wrong tokens [default: 0].")] = None,
    precision: PrecisionOption = None,
    device: DeviceOption = "cpu",
    out_dir: Annotated[Path, typer.Option("--out", "-o", help="Folder for the records.")] = Path("runs/predict"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the records as a JSON array.")] = False,
) -> None:
    """Measure what tokens may tell of models that generate them.

    What lies between images, what wrong tokens do, whether maps move as images do, statistics and spectrum, what a linear map reads, and
    whether codes stay where nothing changes. Nothing is trained. Beside the record of latents lie their mean and deviation, as exports
    write them for trainers.
    """
    from tokbench.records.prediction_record import get_prediction_protocol
    from tokbench.records.protocol import get_protocol

    # Before torch and before the data: mistakes show at once.
    check_folder(out_dir, "--out")
    tokenizer = once(tokenizer)
    settings = get_prediction_protocol({"nearest": nearest, "edits": edits})
    protocol = get_protocol(changes={"samples": limit, "size": size, "seed": seed, "precision": precision})
    chosen = None if figures is None else [name.strip() for name in figures.split(",") if name.strip()]
    asked = loading(weights, setting, drop, averages)
    if len(tokenizer) > 1 and (weights is not None or drop or averages is not None):
        raise TokbenchError(
            f"--weights, --drop and --averages belong to one tokenizer, {len(tokenizer)} are given; measure them one by one"
        )

    from tokbench.conduct import Misbehaved, layout_of
    from tokbench.data.open import open_source
    from tokbench.feed.predict.run import predict as run_prediction
    from tokbench.feed.predict.run import select_studies
    from tokbench.records.prediction_store import write_prediction_record
    from tokbench.report.prediction import prediction_tables
    from tokbench.report.render import print_tables
    from tokbench.tokenizers.zoo import load

    select_studies(chosen)

    def loaded(name: str) -> list[Tokenizer]:
        model = load(name, device=device, **asked)
        layout_of(model, *protocol.shape)  # refuses a size before anything is measured
        return [model]

    records = []
    with redirect_stdout(sys.stderr):  # plug-ins may print, and what we print may be JSON
        models, failed = of_each(tokenizer, loaded)
        source = open_source(data, size=protocol.size)
        for model in models:
            try:
                found = run_prediction(model, source, figures=chosen, protocol=protocol, settings=settings, labels=labels, stage=_stage)
            except Misbehaved as error:
                say(f"tokbench: {error}")
                failed = True
                continue
            path = write_prediction_record(found.record, found.rows, out_dir, files=_files(found))
            say(f"wrote {path}")
            if found.record.trained_on:
                say(f"{found.record.tokenizer.name} was trained on images of {found.record.data.name}; its figures are marked")
            for failure in found.failures:
                say(f"tokbench: {failure}; figures that do not need it are in the record")
            failed = failed or bool(found.failures)
            records.append(found.record)
    if as_json:
        print(json.dumps([json.loads(record.to_json()) for record in records], indent=2, allow_nan=False))
    elif records:
        print_tables(prediction_tables(records), console.out)
    if failed:
        raise typer.Exit(1)


@contextmanager
def _stage(name: str, total: int) -> Iterator[Callable[[int, int], None]]:
    with progress(name, total) as advance:
        yield advance


def _files(found: Prediction) -> Callable[[Path], None] | None:
    """Writes the statistics of latents as exports do; None of codes, or where they were not measured."""
    record = found.record
    if not record.tokens.channels or not record.channels:
        return None
    from tokbench.feed.formats.latents import LatentStatistics, write_statistics

    statistics = LatentStatistics(
        mean=tuple(channel.mean for channel in record.channels),
        std=tuple(channel.std for channel in record.channels),
        grid=record.tokens.grid,
        rows=record.data.count,
        tokenizer=record.tokenizer.name,
    )

    def write(folder: Path) -> None:
        folder.mkdir()
        write_statistics(statistics, folder)

    return write
