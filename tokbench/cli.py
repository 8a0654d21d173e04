"""The command line: parses, calls, prints."""

from __future__ import annotations

import io
import json
import logging
import signal
import sys
import traceback
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokbench.cli_compare import (
    FailIfOption,
    GateReportOption,
    check_gate_report,
    compare,
    diff,
    finish_gate,
    gate_records,
    plot,
    print_records,
)
from tokbench.cli_errors import UsageError, check_once, in_words, usage_error
from tokbench.cli_feed import export
from tokbench.cli_probe import probe
from tokbench.cli_report import report as report_page
from tokbench.cli_weights import convert, published, weights_app
from tokbench.console import (
    AveragesOption,
    DataOption,
    DeviceOption,
    DropOption,
    SettingsOption,
    WeightsOption,
    bar,
    loading,
    out,
    progress,
    say,
)
from tokbench.destinations import check_file, check_folder
from tokbench.errors import TokbenchError
from tokbench.files import write_bytes
from tokbench.ranks import check_alone
from tokbench.signals import Ended, ending_at_signals, exit_status, farewell
from tokbench.streams import CLOSED_PIPE, ClosedPipe, abandon_output, output, take_any_text

if TYPE_CHECKING:
    from tokbench.bench.anchors import Anchor
    from tokbench.bench.runner import Evaluation
    from tokbench.tokenizers.base import Tokenizer
    from tokbench.tokenizers.family import Family, Variant

app = typer.Typer(
    help="Image tokenizers behind one interface, measured under one recorded protocol.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(weights_app, name="weights")

PICTURES = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}
"""Formats of pictures, by the ending of their files."""

WIDE = 140
"""Columns of a terminal that also shows bits per pixel and what each tokenizer is."""


def main() -> None:
    """Entry point: what a user can fix is one line on stderr and exit status 2."""
    take_any_text(sys.stderr)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    with ending_at_signals():
        status = _status()
        abandon_output()
    sys.exit(status)


def _status() -> int:
    """Run the command that was asked for, and say in one line what kept it from its end."""
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    try:
        if command not in (None, "export"):
            check_alone(f"tokbench {command}")
        check_once(typer.main.get_command(app), sys.argv[1:])
        with output():
            status = app(standalone_mode=False)
        if status == exit_status(signal.SIGINT):  # newer versions of typer make this of KeyboardInterrupt
            say(farewell(signal.SIGINT))
        return status or 0
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # the help is the answer
            error.show()
        else:
            say(f"tokbench: {usage_error(error, typer.main.get_command(app), sys.argv[1:])}")
        return 2
    except Ended as ended:
        say(farewell(ended.number, ended.note))
        return exit_status(ended.number)
    except (KeyboardInterrupt, typer.Abort):
        say(farewell(signal.SIGINT))
        return exit_status(signal.SIGINT)
    except ClosedPipe:
        return CLOSED_PIPE
    except Exception as error:
        problem = in_words(error, typer.main.get_command(app), sys.argv[1:])
        if problem is not None:
            say(f"tokbench: {problem}")
            return 2
        traceback.print_exc()
        say("tokbench: this is a mistake of tokbench; please report it, with the lines above")
        return 1


def _version(asked: bool) -> bool:
    if asked:
        import tokbench

        print(f"tokbench {tokbench.__version__}")
        raise typer.Exit
    return asked


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version)] = False,
) -> None:
    pass


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the tokenizers of the zoo."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from tokbench.tokenizers.zoo import families

    rows = [_variant_row(family, variant) for family in families().values() for variant in family.variants]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(
        header_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        caption="* what the family's name alone means",
        caption_justify="left",
    )
    wide = out.width >= WIDE
    for title in ("tokenizer", "px", "tokens", "bits", *(["bpp"] if wide else []), "codes", "weights", "licence"):
        table.add_column(title, justify="left" if title in ("tokenizer", "weights", "licence") else "right", no_wrap=True)
    if wide:
        table.add_column("what it is", ratio=1)
    for row in rows:
        bits = "-" if row["bits_per_image"] is None else f"{row['bits_per_image']:.0f}"
        bpp = "-" if row["bpp"] is None else f"{row['bpp']:.3f}"
        books = _books(row["codebook_sizes"]) or f"{row['channels']} ch."
        name = row["name"] + ("*" if row["default"] else "")
        state = {"none needed": "-", "to be given": "--weights"}.get(row["weights"], row["weights"])
        cells = [name, str(row["image_size"]), str(row["tokens_per_image"]), bits, *([bpp] if wide else []), books, state]
        table.add_row(*cells, row["licence"].partition(" (")[0] or "-", *([row["summary"]] if wide else []))
    out.print(table)


def _books(sizes: list[int]) -> str:
    return (
        ""
        if not sizes
        else str(sizes[0])
        if len(sizes) == 1
        else f"{len(sizes)} x {sizes[0]}"
        if len(set(sizes)) == 1
        else ", ".join(map(str, sizes))
    )


def _variant_row(family: Family, variant: Variant) -> dict[str, Any]:
    from tokbench.tokenizers.obtain import weights_state

    layout = family.layout(variant.config, variant.image_size, variant.image_size)
    return {
        "name": f"{family.name}/{variant.name}",
        "family": family.name,
        "default": variant.name == family.default,
        "summary": variant.summary,
        "image_size": variant.image_size,
        "grid": list(layout.grid),
        "positions": layout.positions,
        "tokens_per_image": layout.tokens_per_image,
        "bits_per_image": layout.bits_per_image,
        "bpp": layout.bpp,
        "codebook_sizes": list(layout.codebook_sizes),
        "channels": layout.channels,
        "weights": weights_state(family, variant),
        "file": variant.file,
        "licence": variant.licence,
        "source": variant.source,
        "trained_with": list(variant.trained_with),
    }


def _plugin_row(name: str) -> dict[str, Any]:
    """What there is to say of a tokenizer of others, without weights."""
    import inspect

    from tokbench.configs import plain
    from tokbench.tokenizers.conduct import layout_of
    from tokbench.tokenizers.identity import package_of, source_digest
    from tokbench.tokenizers.plugin import build_plugin

    with redirect_stdout(sys.stderr):
        model = build_plugin(name, {})
        size = next((size for size in (64, 256, 512, model.stride) if size % model.stride == 0), model.stride)
        layout = layout_of(model, size, size)
        package, digest = package_of(model), source_digest(model)
    return {
        "name": model.name,
        "summary": (inspect.getdoc(type(model)) or "").partition("\n")[0],
        "image_size": size,
        "grid": list(layout.grid),
        "positions": layout.positions,
        "tokens_per_image": layout.tokens_per_image,
        "bits_per_image": layout.bits_per_image,
        "bpp": layout.bpp,
        "codebook_sizes": list(layout.codebook_sizes),
        "channels": layout.channels,
        "source_sha256": digest,
        "package": package,
        "trained_with": list(model.trained_with),
        "config": plain(getattr(model, "config", {})),
    }


@app.command()
def show(name: str, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show one tokenizer: layout, configuration, source, licence."""
    from tokbench.configs import flat, plain
    from tokbench.tokenizers.zoo import resolve

    if ":" in name and not name.startswith("hf:"):
        values = _plugin_row(name)
    else:
        family, variant = resolve(name)
        values = _variant_row(family, variant) | {"config": plain(variant.config), "family_summary": family.summary}
    if as_json:
        print(json.dumps(values, indent=2))
        return
    out.print(f"[bold]{values['name']}[/bold]  ", end="", highlight=False)
    out.print(values["summary"], highlight=False, markup=False)
    if "family_summary" in values:
        out.print(f"family        {values['family_summary']}", highlight=False, markup=False)
    for key in (
        "image_size",
        "grid",
        "tokens_per_image",
        "bits_per_image",
        "bpp",
        "codebook_sizes",
        "channels",
        "weights",
        "file",
        "source",
        "licence",
        "trained_with",
        "source_sha256",
        "package",
    ):
        if values.get(key) not in (None, [], 0, ""):
            value = values[key]
            text = ", ".join(map(str, value)) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)
            out.print(f"{key.replace('_', ' '):<18}{text}", highlight=False, markup=False)
    if not values["config"]:
        return
    out.print("config (change with --set key=value)", highlight=False)
    for key, value in flat(values["config"]).items():
        inner = json.loads(value) if isinstance(value, str) and value.startswith("{") else None  # a library's own settings
        out.print(f"  {key} = {value if inner is None else 'one object of JSON:'}", highlight=False, markup=False)
        for name, item in (inner or {}).items():
            out.print(f"    {name}: {json.dumps(item)}", highlight=False, markup=False)


@app.command()
def run(
    tokenizer: Annotated[list[str], typer.Option("--tokenizer", "-t", help="Name, module:Class, or anchor/webp-BYTES; may be repeated.")],
    weights: WeightsOption = None,
    drop: DropOption = None,
    averages: AveragesOption = None,
    setting: SettingsOption = None,
    data: DataOption = "photos",
    limit: Annotated[int | None, typer.Option(help="Images at most, chosen by --seed.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the images in pixels [default: 64].")] = None,
    metrics: Annotated[str | None, typer.Option(help="Names separated by commas, or all.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images read ahead; changes no figure.", min=1)] = 64,
    device: DeviceOption = "cpu",
    seed: Annotated[int | None, typer.Option(help="Of --limit and of stochastic tokenizers [default: 0].")] = None,
    precision: Annotated[str | None, typer.Option(help="fp32 or bf16 [default: fp32].")] = None,
    feature_weights: Annotated[Path | None, typer.Option(help="Inception file for rfid.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first unreadable image.")] = False,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the records.")] = Path("runs"),
    save_images: Annotated[
        Path | None, typer.Option(help="Write reconstructions and originals into this folder, as PNG files, for other evaluators.")
    ] = None,
    fail_if: FailIfOption = None,
    gate_report: GateReportOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the records as a JSON array.")] = False,
) -> None:
    """Measure tokenizers and write a record of each."""
    from tokbench.bench.protocol import get_protocol
    from tokbench.bench.runner import RunOptions
    from tokbench.bench.runner import run as run_bench
    from tokbench.bench.store import write_record
    from tokbench.data.open import open_source
    from tokbench.report.gate import parse_conditions
    from tokbench.tokenizers.conduct import Misbehaved

    parse_conditions(fail_if or [])  # before the run: mistakes show at once
    check_folder(out_dir, "--out")
    check_gate_report(fail_if, gate_report)
    protocol = get_protocol(changes={"samples": limit, "size": size, "seed": seed, "precision": precision})
    names = None if metrics is None else tuple(part.strip() for part in metrics.split(",") if part.strip())
    chosen = loading(weights, setting, drop, averages)
    if len(tokenizer) > 1 and (weights is not None or drop or averages is not None):
        raise TokbenchError(f"--weights, --drop and --averages belong to one tokenizer, {len(tokenizer)} are given; run them one by one")
    with redirect_stdout(sys.stderr):  # plug-ins may print, and what we print may be JSON
        subjects, failed = _subjects(tokenizer, device, chosen, protocol.size)  # before the data: mistakes show at once
        source = open_source(data, size=protocol.size)
        options = RunOptions(batch_size=batch_size, strict=strict, feature_weights=feature_weights, save_images=save_images)
        done: list[Evaluation] = []
        for subject in subjects:
            try:
                with progress(subject.name, len(source)) as advance:
                    evaluation = run_bench(subject, source, metrics=names, protocol=protocol, options=replace(options, progress=advance))
            except Misbehaved as error:
                say(f"tokbench: {error}")
                failed = True
                continue
            path = write_record(evaluation.record, evaluation.rows, out_dir)
            say(f"{subject.name}: {evaluation.record.timing.total_seconds:.1f} s, record {path}")
            if evaluation.record.trained_on:
                say(
                    f"{subject.name} was trained on images of {evaluation.record.data.name}, which it is measured on; its figures are marked"
                )
            for failure in evaluation.failures:
                say(f"tokbench: {subject.name}: {failure}")
            failed = failed or bool(evaluation.failures)
            done.append(evaluation)
    records = [evaluation.record for evaluation in done]
    checks = gate_records(records, fail_if, gate_report)
    if as_json:
        print(json.dumps([record.to_dict() for record in records], indent=2, allow_nan=False))
    elif records:
        print_records(records)
    finish_gate(checks)
    if failed:
        raise typer.Exit(1)


def _subjects(names: list[str], device: str, chosen: dict[str, Any], size: int) -> tuple[list[Tokenizer | Anchor], bool]:
    """Load what is to be measured; of several, those whose own code fails are named and left out, and so the second value."""
    from tokbench.tokenizers.conduct import Misbehaved, layout_of

    subjects: list[Tokenizer | Anchor] = []
    failures: list[Misbehaved] = []
    for name in names:
        try:
            subject = _subject(name, device, chosen)
            if hasattr(subject, "layout"):  # codecs have none
                layout_of(subject, size, size)
        except Misbehaved as error:
            failures.append(error)
        else:
            subjects.append(subject)
    for failure in failures[: None if subjects else -1]:
        say(f"tokbench: {failure}")
    if not subjects:
        raise failures[-1]
    return subjects, bool(failures)


def _subject(name: str, device: str, chosen: dict[str, Any]) -> Any:
    from tokbench.bench.anchors import parse_anchor
    from tokbench.tokenizers.zoo import load

    anchor = parse_anchor(name)
    if anchor is None:
        return load(name, device=device, **chosen)
    if any(value not in (None, ()) for value in chosen.values()):
        raise TokbenchError(f"{name} is a codec: it takes neither --weights, --drop and --averages nor --set")
    return anchor


app.command()(compare)
app.command()(diff)
app.command()(plot)
app.command("report")(report_page)


@app.command()
def reconstruct(
    images: Annotated[list[str], typer.Argument(help="Image files, or photos/test/ID/NN for embedded crops.")],
    tokenizer: Annotated[list[str], typer.Option("--tokenizer", "-t", help="Name or module:Class; may be repeated.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Picture to write.")] = Path("grid.png"),
    size: Annotated[int, typer.Option(help="Side of the centre square in pixels.", min=8)] = 64,
    tile: Annotated[int, typer.Option(help="Side of a picture in the grid.", min=32, max=1024)] = 192,
    device: DeviceOption = "cpu",
    seed: Annotated[int, typer.Option(help="Of stochastic tokenizers.")] = 0,
) -> None:
    """Draw originals, reconstructions and error maps side by side."""
    if output.suffix.lower() not in PICTURES:
        raise TokbenchError(f"--output {str(output)!r} must end in {', '.join(PICTURES)}")
    check_file(output, "--output")
    from tokbench.bench.reconstruct import read_pictures
    from tokbench.bench.reconstruct import reconstruct as reconstruct_pictures
    from tokbench.report.grid import draw_grid
    from tokbench.tokenizers.zoo import load

    tokenizers: list[Tokenizer] = [load(name, None, device) for name in tokenizer]
    pictures, attribution = read_pictures(images, size)
    rows = reconstruct_pictures(pictures, tokenizers, seed=seed)
    grid = draw_grid(rows, [item.name for item in tokenizers], tile=tile, footer=attribution)
    stream = io.BytesIO()
    try:
        grid.save(stream, PICTURES[output.suffix.lower()])
    except (OSError, ValueError) as error:  # too large for the format
        raise TokbenchError(f"cannot draw {output} ({error}); choose fewer images, a smaller --tile, or .png") from error
    write_bytes(output, stream.getvalue())
    say(f"wrote {output}")


app.command()(export)
app.command()(probe)
app.command()(convert)
app.command()(published)


@app.command()
def train(
    recipe: Annotated[str | None, typer.Argument(help="Name of a recipe; without one they are listed.")] = None,
    data: DataOption = "photos",
    steps: Annotated[int | None, typer.Option(help="Optimiser steps [default: the recipe's].")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step [default: the recipe's].")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the crops in pixels [default: the tokenizer's].")] = None,
    device: DeviceOption = "cpu",
    out_dir: Annotated[Path | None, typer.Option("--out", help="Folder of the run [default: runs/train/RECIPE].")] = None,
    init_weights: Annotated[Path | None, typer.Option(help="Start from this file instead of the recipe's own.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    log_every: Annotated[int, typer.Option(help="Steps between log lines.", min=1)] = 20,
    save_every: Annotated[int, typer.Option(help="Steps between checkpoints.", min=1)] = 500,
) -> None:
    """Train a tokenizer by a named recipe. Ctrl-C stops after the step, with a checkpoint."""
    from tokbench.train.recipes import RECIPES, get_recipe

    if recipe is None:
        for row in RECIPES:
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
    )
    chosen = adjusted(chosen, steps=steps, batch_size=batch_size)
    source = open_training_source(data)
    with bar() as shown:
        task = shown.add_task(chosen.name, total=chosen.steps, figures="")

        def report(done: int, total: int, figures: dict[str, float]) -> None:
            shown.update(task, completed=done, total=total, figures="  ".join(f"{key} {value:.4g}" for key, value in figures.items()))

        result = train_recipe(chosen, source, options, progress=report)
    if result.finished:
        say(f"done: {result.steps} steps, weights {result.weights}")
        say(f"measure them: tokbench run --tokenizer {chosen.tokenizer} --weights {result.weights}")
    else:
        note = f"stopped after step {result.steps} of {chosen.steps}, go on with the same command and --resume"
        raise Ended(result.signal or signal.SIGINT, note)
