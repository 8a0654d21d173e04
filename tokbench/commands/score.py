"""The command that measures images which other code made."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokbench.commands.compare import FailIfOption, GateReportOption, check_conditions, check_gate_report, print_measured
from tokbench.commands.console import DeviceOption, ReferenceOption, WorkersOption, own_place, say, told_apart, unsaid
from tokbench.commands.destinations import check_folder
from tokbench.commands.measuring import Bench, Setup, Wanted, check_whole
from tokbench.commands.values import completing, pixels, whole
from tokbench.errors import TokbenchError
from tokbench.records.protocol import DEFAULT, PRESETS

if TYPE_CHECKING:
    from tokbench.data.source import ImageSource


def score(
    originals: Annotated[
        str, typer.Argument(metavar="ORIGINALS", callback=told_apart, help="A folder, a zip, an .npz of images, or what --data takes.")
    ],
    reconstructions: Annotated[
        str, typer.Argument(metavar="RECONSTRUCTIONS", callback=told_apart, help="Images of the same names, made by any code.")
    ],
    name: Annotated[str | None, typer.Option("--name", help="What to call what made them [default: the name of RECONSTRUCTIONS].")] = None,
    metrics: Annotated[str | None, typer.Option("--metrics", "--metric", help="Names separated by commas, or all.")] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            "--protocol",
            autocompletion=completing(lambda: PRESETS),
            help="How to measure, see tokbench protocols; of the size of the images; may be repeated.",
        ),
    ] = None,
    size: Annotated[Any, pixels("--size", help="Side of the images in pixels, or HxW [default: that of RECONSTRUCTIONS].")] = None,
    limit: Annotated[int | None, whole("--limit", low=1, help="Images at most, chosen by --seed.")] = None,
    seed: Annotated[int | None, whole("--seed", low=0, help="Of --limit [default: 0].")] = None,
    batch_size: Annotated[int, whole("--batch-size", low=1, help="Images read ahead; changes no figure.")] = 64,
    crop: Annotated[bool, typer.Option("--crop", help="Scale and cut originals as the protocol does; else sizes must be equal.")] = False,
    unpaired: Annotated[
        bool, typer.Option("--unpaired", help="Measure distances between the sets alone; ORIGINALS may be statistics (.npz).")
    ] = False,
    reference: ReferenceOption = None,
    feature_weights: Annotated[Path | None, typer.Option(help="Inception file for rfid.")] = None,
    device: DeviceOption = "cpu",
    workers: WorkersOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first unreadable original.")] = False,
    out_dir: Annotated[Path, typer.Option("--out", "-o", help="Folder for the record.")] = Path("runs"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what an earlier run left in --out, and leave it there for the next.")
    ] = False,
    part: Annotated[
        str | None, typer.Option(metavar="K/N", help="Measure this part alone, of N; tokbench merge makes the record of all.")
    ] = None,
    fail_if: FailIfOption = None,
    gate_report: GateReportOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as a JSON array.")] = False,
) -> None:
    """Measure reconstructions that other code made, against their originals, and write a record as run does."""
    from tokbench.bench.chunks import Part, parse_part
    from tokbench.bench.given import pair_images, size_of, unpaired_images
    from tokbench.bench.metrics import select, without_originals
    from tokbench.bench.prepared import RunOptions
    from tokbench.bench.reference_opening import References
    from tokbench.bench.runner import metric_names
    from tokbench.bench.team import gathered
    from tokbench.data.open import open_source
    from tokbench.data.public import as_called
    from tokbench.ranks import own_device
    from tokbench.tokenizers.zoo import usable_device

    check_conditions(fail_if, metrics)  # before the run: mistakes show at once
    usable_device(own_device(device))
    asked = Part() if part is None else parse_part(part)
    check_whole(asked, {"--fail-if": fail_if, "--gate-report": gate_report, "--json": as_json})
    if unpaired and (reference is not None or crop):
        raise TokbenchError("--unpaired compares with ORIGINALS as a whole; leave --reference and --crop out")
    check_folder(out_dir, "--out")
    check_gate_report(fail_if, gate_report)
    names = metric_names(metrics)
    names = without_originals(names) if unpaired else names
    select(names)  # mistakes in it show at once
    with redirect_stdout(sys.stderr), gathered() as team:  # metrics of others may print, and what we print may be JSON
        place = reconstructions if unpaired else originals
        after = _opened("RECONSTRUCTIONS", lambda: open_source(reconstructions, size=size or PRESETS[DEFAULT].size))
        asked_for = size if size is not None or protocol else size_of(after)
        wanted = Wanted(tuple(protocol or ()), {"samples": limit, "seed": seed, "size": asked_for})
        rules = wanted.of(None, place)[0]
        there = originals if unpaired else reference
        options = RunOptions(
            batch_size,
            workers,
            strict=strict,
            feature_weights=feature_weights,
            reference=None if there is None else References(there, say if team.first else unsaid),
        )
        chosen = None if names is None else ",".join(names)
        bench = Bench(Setup(wanted, chosen, options, out_dir, asked, resume, team), place, alone=True)
        called, where = as_called(after.name) if name is None else name, own_place(device)
        if unpaired:
            given = unpaired_images(after, rules, name=called, device=where)
        else:
            before = _opened("ORIGINALS", lambda: bench.source(rules))
            given = pair_images(before, after, rules, name=called, crop=crop, device=where)
        for other in wanted.of(None, place):
            if other.size != rules.size:
                raise TokbenchError(
                    f"{other.name} is of {other.size_text} px images and {rules.name} of {rules.size_text}; score under one after the other"
                )
        done = bench.measure(given, 0)
    if asked.whole and team.first:
        print_measured([(one.record, one.rows) for one in done], fail_if, gate_report, as_json=as_json)
    if bench.failed:
        raise typer.Exit(1)


def _opened(argument: str, open_: Callable[[], ImageSource]) -> ImageSource:
    """Open a source; errors name the argument that it was given by."""
    try:
        return open_()
    except TokbenchError as error:
        raise TokbenchError(str(error).replace("--data", argument)) from error
