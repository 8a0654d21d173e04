"""The command that measures."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokbench.commands.compare import FailIfOption, GateReportOption, check_gate_report, finish_gate, gate_records, print_records
from tokbench.commands.console import (
    AveragesOption,
    DataOption,
    DeviceOption,
    DropOption,
    PrecisionOption,
    SettingsOption,
    WeightsOption,
    loading,
    progress,
    say,
    tokenizer_names,
)
from tokbench.commands.destinations import check_folder
from tokbench.commands.values import whole
from tokbench.errors import TokbenchError

if TYPE_CHECKING:
    from tokbench.bench.anchors import Anchor
    from tokbench.bench.runner import Evaluation
    from tokbench.tokenizers.base import Tokenizer


def run(
    tokenizer: Annotated[
        list[str],
        typer.Option(
            "--tokenizer", "-t", autocompletion=tokenizer_names, help="Name, module:Class, or anchor/webp-BYTES; may be repeated."
        ),
    ],
    weights: WeightsOption = None,
    drop: DropOption = None,
    averages: AveragesOption = None,
    setting: SettingsOption = None,
    data: DataOption = "photos",
    limit: Annotated[int | None, whole("--limit", help="Images at most, chosen by --seed.")] = None,
    size: Annotated[int | None, whole("--size", help="Side of the images in pixels [default: 64].")] = None,
    metrics: Annotated[str | None, typer.Option(help="Names separated by commas, or all.")] = None,
    batch_size: Annotated[int, whole("--batch-size", low=1, help="Images read ahead; changes no figure.")] = 64,
    device: DeviceOption = "cpu",
    seed: Annotated[int | None, whole("--seed", help="Of --limit and of stochastic tokenizers [default: 0].")] = None,
    precision: PrecisionOption = None,
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
    from tokbench.bench.runner import RunOptions
    from tokbench.bench.runner import run as run_bench
    from tokbench.conduct import Misbehaved
    from tokbench.data.open import open_source
    from tokbench.records.protocol import get_protocol
    from tokbench.records.store import write_record
    from tokbench.report.gate import parse_conditions

    parse_conditions(fail_if or [])  # before the run: mistakes show at once
    check_folder(out_dir, "--out")
    check_gate_report(fail_if, gate_report)
    protocol = get_protocol(changes={"samples": limit, "size": size, "seed": seed, "precision": precision})
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
                    evaluation = run_bench(subject, source, metrics=metrics, protocol=protocol, options=replace(options, progress=advance))
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
    from tokbench.conduct import Misbehaved, layout_of

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
    if any(value not in (None, (), {}) for value in chosen.values()):
        raise TokbenchError(f"{name} is a codec: it takes neither --weights, --drop and --averages nor --set")
    return anchor
