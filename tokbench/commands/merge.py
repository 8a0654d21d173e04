"""The command that makes records of runs that were measured in parts."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from tokbench.commands.compare import FailIfOption, GateReportOption, check_conditions, check_gate_report, print_measured
from tokbench.commands.console import ReferenceOption, say
from tokbench.commands.destinations import check_folder
from tokbench.commands.measuring import write_once
from tokbench.counting import counted


def merge(
    places: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders that tokbench run --part wrote into.")],
    out_dir: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the records [default: the first DIR].")] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Metrics of others that the parts were measured with, as module:Class, separated by commas.")
    ] = None,
    feature_weights: Annotated[Path | None, typer.Option(help="Inception file for rfid, if the parts had one.")] = None,
    reference: ReferenceOption = None,
    fail_if: FailIfOption = None,
    gate_report: GateReportOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the records as a JSON array.")] = False,
) -> None:
    """Put the parts of runs together and write a record of each; the parts stay."""
    check_conditions(fail_if, metrics)  # before the work: mistakes show at once
    check_gate_report(fail_if, gate_report)
    folder = places[0] if out_dir is None else out_dir
    check_folder(folder, "DIR" if out_dir is None else "--out")
    with redirect_stdout(sys.stderr):  # plug-ins may print, and what we print may be JSON
        from tokbench.bench.parts import find_parts, merge_parts

        trusted = [name.strip() for name in (metrics or "").split(",")]
        made, standing, failed = [], set[Path](), False
        for run in find_parts(places):
            evaluation = merge_parts(run, trusted=trusted, feature_weights=feature_weights, reference=reference)
            path = write_once(evaluation, folder, standing)
            name = evaluation.record.tokenizer.name
            what = f"{counted(len(run.journals), 'part')}, {counted(evaluation.record.data.count, 'image')}"
            say(f"{name}: {what}, record {path}{' is there and complete; nothing is new' if path in standing else ''}")
            for failure in evaluation.failures:
                say(f"tokbench: {name}: {failure}")
            failed = failed or bool(evaluation.failures)
            made.append((evaluation.record, evaluation.rows))
    print_measured(made, fail_if, gate_report, as_json=as_json)
    if failed:
        raise typer.Exit(1)
