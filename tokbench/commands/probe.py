"""The command that trains a small language model on a tokenizer's tokens and says how many bits they take."""

from __future__ import annotations

import io
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
    SettingsOption,
    WeightsOption,
    loading,
    of_each,
    once,
    own_place,
    progress,
    say,
    tokenizer_names,
    told_apart,
)
from tokbench.commands.destinations import check_folder
from tokbench.commands.precision import remark_on
from tokbench.commands.values import choice, number, pixels, whole
from tokbench.counting import counted
from tokbench.errors import TokbenchError
from tokbench.files import write_bytes

if TYPE_CHECKING:
    from tokbench.feed.probe.options import SampleOptions
    from tokbench.feed.probe.run import ProbeResult, Stage
    from tokbench.records.protocol import Protocol
    from tokbench.tokenizers.base import Tokenizer

SAMPLES = "samples.png"


def probe(
    tokenizer: Annotated[
        list[str], typer.Option("--tokenizer", "-t", autocompletion=tokenizer_names, help="Name, or module:Class; may be repeated.")
    ],
    weights: WeightsOption = None,
    drop: DropOption = None,
    averages: AveragesOption = None,
    setting: SettingsOption = None,
    data: DataOption = "photos",
    held_out: Annotated[float | None, number("--held-out", help="Share of other data that is held out [default: 0.1].")] = None,
    held_out_data: Annotated[str | None, typer.Option(callback=told_apart, help="Images held out, if not a part of --data.")] = None,
    limit: Annotated[int | None, whole("--limit", low=1, help="Images of each part at most.")] = None,
    size: Annotated[Any, pixels("--size", help="Side of the images in pixels, or HxW [default: 64].")] = None,
    labels: LabelsOption = "source",
    condition: Annotated[
        str | None, choice("--condition", among=("auto", "caption", "label", "none"), help="What stands before an image [default: auto].")
    ] = None,
    budget: Annotated[
        str, choice("--budget", among=("small", "smoke"), help="How much to train; smoke only shows that it runs.")
    ] = "small",
    images_seen: Annotated[int | None, whole("--images-seen", help="Images trained on [default: the budget's].")] = None,
    augment: Annotated[
        str | None, choice("--augment", among=("flip", "none"), help="Whether to add mirror images [default: the budget's].")
    ] = None,
    seed: Annotated[int | None, whole("--seed", low=0, help="Of weights, order, split and samples [default: 0].")] = None,
    precision: Annotated[str | None, choice("--precision", among=("fp32", "bf16"), help="Of training [default: the budget's].")] = None,
    coded_images: Annotated[
        int | None, whole("--coded-images", low=1, help="Images for the arithmetic coder [default: by length].")
    ] = None,
    samples: Annotated[int, whole("--samples", low=0, help="Images to draw from the probe.")] = 0,
    top_k: Annotated[int, whole("--top-k", low=0, help="Draw from so many of the likeliest codes; 0 means all.")] = 500,
    temperature: Annotated[float, number("--temperature", help="Of drawing.")] = 1.0,
    device: DeviceOption = "cpu",
    out_dir: Annotated[Path, typer.Option("--out", "-o", help="Folder for records, models and tokens.")] = Path("runs/probe"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the records as a JSON array.")] = False,
) -> None:
    """Count the bits a small language model takes for tokens.

    It is trained on the tokens of some images and measured on those of others; of several tokenizers, on each one's in turn. torchrun
    shares every step.
    """
    from tokbench.records.probe_protocol import get_probe_protocol
    from tokbench.records.protocol import get_protocol

    # Before torch and before the data: mistakes show at once.
    check_folder(out_dir, "--out")
    tokenizer = once(tokenizer)
    changes = {"images_seen": images_seen, "augment": augment, "seed": seed, "precision": precision}
    chosen = get_probe_protocol(budget, {**changes, "held_out": held_out, "condition": condition})
    drawing = _drawing(samples, top_k, temperature, chosen.seed)
    protocol = get_protocol(changes={"samples": limit, "size": size})
    asked = loading(weights, setting, drop, averages)
    if len(tokenizer) > 1 and (weights is not None or drop or averages is not None):
        raise TokbenchError(f"--weights, --drop and --averages belong to one tokenizer, {len(tokenizer)} are given; probe them one by one")

    from tokbench.conduct import Misbehaved
    from tokbench.feed.probe.parts import open_parts
    from tokbench.feed.probe.run import ProbeOptions, quiet
    from tokbench.feed.probe.run import probe as run_probe
    from tokbench.feed.probe.tokens import check_codes
    from tokbench.launch import joined
    from tokbench.ranks import ranks_from_environment
    from tokbench.records.probe_store import write_probe_record
    from tokbench.report.probe import probe_tables
    from tokbench.report.render import print_tables
    from tokbench.together import processes
    from tokbench.tokenizers.zoo import load

    speaking = ranks_from_environment().rank == 0
    options = ProbeOptions(labels=labels, coded_images=coded_images, stage=_stages(chosen.precision, device) if speaking else quiet)

    def loaded(name: str) -> list[Tokenizer]:
        model = load(name, device=own_place(device), **asked)
        check_codes(model, protocol)
        return [model]

    records = []
    with joined(), redirect_stdout(sys.stderr):  # plug-ins may print, and what we print may be JSON
        several = processes() > 1  # of which none would know what the others leave out
        models, failed = ([model for name in tokenizer for model in loaded(name)], False) if several else of_each(tokenizer, loaded)
        with options.stage("looking for repeats", 0) as advance:
            parts = open_parts(
                data, size=protocol.size, share=chosen.held_out, seed=chosen.seed, held_out_data=held_out_data, progress=advance
            )
        for model in models:
            try:
                result = run_probe(model, parts, out_dir / "tokens", protocol=protocol, budget=chosen, options=options)
                if result is None:  # the rest is the first process's
                    continue
                picture = None if drawing is None else _drawn(result, model, protocol, drawing)
            except Misbehaved as error:
                if processes() > 1:  # the others do not know of it
                    raise
                say(f"tokbench: {error}")
                failed = True
                continue

            def save(folder: Path, result: ProbeResult = result, picture: bytes | None = picture) -> None:
                _save(result, folder)
                if picture is not None:
                    write_bytes(folder / SAMPLES, picture)

            path = write_probe_record(result.record, result.rows, out_dir, model=save)
            say(f"wrote {path} and the model {path.with_suffix('')}")
            if result.record.trained_on:
                name, images = result.record.tokenizer.name, result.record.held_out.name
                say(f"{name} was trained on images of {images}, which the probe is measured on; its figures are marked")
            records.append(result.record)
    if as_json and speaking:
        print(json.dumps([json.loads(record.to_json()) for record in records], indent=2, allow_nan=False))
    elif records:
        print_tables(probe_tables(records), console.out)
    if failed:
        raise typer.Exit(1)


def _drawing(samples: int, top_k: int, temperature: float, seed: int) -> SampleOptions | None:
    from tokbench.feed.probe.options import SampleOptions

    if not samples:
        return None
    try:
        return SampleOptions(samples, top_k or None, temperature, seed)
    except ValueError as error:
        raise TokbenchError(f"--samples {samples}, --top-k {top_k}, --temperature {temperature}: {error}") from error


def _stages(precision: str, device: str) -> Stage:
    """Bars for the stages of a probe, and a remark before the first training where its number format is slow."""
    remarked = False

    @contextmanager
    def stage(name: str, total: int) -> Iterator[Callable[[int, int], None]]:
        nonlocal remarked
        if name == "training" and not remarked:
            remarked = True
            remark_on(precision, device, instead="--precision fp32")
        with progress(name, total) as advance:
            yield advance

    return stage


def _save(result: ProbeResult, folder: Path) -> None:
    from tokbench.feed.probe.saved import ProbeForm, save_probe

    record = result.record
    form = ProbeForm(record.tokens.grid, record.protocol.shape, record.condition)  # type: ignore[arg-type]  # one of them
    save_probe(result.model, result.vocabulary, folder, form=form)


def _drawn(result: ProbeResult, tokenizer: Tokenizer, protocol: Protocol, options: SampleOptions) -> bytes:
    from tokbench.feed.probe.drawing import decode_samples, draw_samples, sample

    say(f"drawing {counted(options.count, 'image')}, {options.label}")
    tokens = sample(result.model, result.vocabulary, result.record.tokens.grid, options, texts=result.texts)
    stream = io.BytesIO()
    draw_samples(decode_samples(tokenizer, tokens, protocol)).save(stream, "PNG")
    return stream.getvalue()
