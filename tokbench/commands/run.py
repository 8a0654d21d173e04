"""The command that measures."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokbench.commands.compare import FailIfOption, GateReportOption, check_gate_report, finish_gate, gate_records, print_records
from tokbench.commands.console import (
    AveragesOption,
    Cut,
    DataSetsOption,
    DeviceOption,
    DropOption,
    PrecisionOption,
    SettingsOption,
    TileOverlapOption,
    TileSizeOption,
    WeightsOption,
    WorkersOption,
    loading,
    progress,
    say,
    tiles,
    tokenizers_and_sets,
)
from tokbench.commands.destinations import check_folder
from tokbench.commands.values import whole, whole_numbers
from tokbench.errors import TokbenchError
from tokbench.records.protocol import MOST_PASSES

if TYPE_CHECKING:
    from tokbench.bench.anchors import Anchor
    from tokbench.bench.chunks import Part
    from tokbench.bench.merging import Evaluation
    from tokbench.bench.prepared import RunOptions
    from tokbench.bench.team import Team
    from tokbench.data.source import ImageSource
    from tokbench.records.protocol import Protocol
    from tokbench.tokenizers.base import Tokenizer

LONGEST_SEQUENCE = 999_999
"""Most positions that ``--lengths`` keeps."""


def run(
    tokenizer: Annotated[
        list[str],
        typer.Option(
            "--tokenizer",
            "-t",
            autocompletion=tokenizers_and_sets,
            help="Name, module:Class, anchor/webp-BYTES, or a set, @discrete-f16 or @FILE.txt; may be repeated.",
        ),
    ],
    weights: WeightsOption = None,
    drop: DropOption = None,
    averages: AveragesOption = None,
    setting: SettingsOption = None,
    data: DataSetsOption = None,
    limit: Annotated[int | None, whole("--limit", help="Images at most, chosen by --seed.")] = None,
    size: Annotated[int | None, whole("--size", help="Side of the images in pixels [default: 64].")] = None,
    lengths: Annotated[
        str | None, typer.Option(help="Measure with the first 32, with the first 64, ... positions: 32,64. For sequences that decode so.")
    ] = None,
    tile_size: TileSizeOption = None,
    tile_overlap: TileOverlapOption = None,
    metrics: Annotated[str | None, typer.Option(help="Names separated by commas, or all.")] = None,
    batch_size: Annotated[int, whole("--batch-size", low=1, help="Images read ahead; changes no figure.")] = 64,
    device: DeviceOption = "cpu",
    seed: Annotated[int | None, whole("--seed", help="Of --limit and of stochastic tokenizers [default: 0].")] = None,
    repeats: Annotated[
        int, whole("--repeats", low=1, high=MOST_PASSES, help="Passes over the same images, of tokenizers that draw noise; a record each.")
    ] = 1,
    precision: PrecisionOption = None,
    feature_weights: Annotated[Path | None, typer.Option(help="Inception file for rfid.")] = None,
    workers: WorkersOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first unreadable image.")] = False,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the records.")] = Path("runs"),
    save_images: Annotated[
        Path | None, typer.Option(help="Write reconstructions and originals into this folder, as PNG files, for other evaluators.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what an earlier run left in --out, and leave it there for the next.")
    ] = False,
    part: Annotated[
        str | None, typer.Option(metavar="K/N", help="Measure this part alone, of N; tokbench merge makes the record of all.")
    ] = None,
    fail_if: FailIfOption = None,
    gate_report: GateReportOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the records as a JSON array.")] = False,
) -> None:
    """Measure tokenizers on data sets and write a record of each. torchrun and accelerate launch share the images among processes."""
    from tokbench.bench.chunks import Part, parse_part
    from tokbench.bench.prepared import RunOptions
    from tokbench.bench.team import gathered
    from tokbench.data.open import open_sources
    from tokbench.ranks import own_device
    from tokbench.records.protocol import get_protocol
    from tokbench.report.gate import parse_conditions
    from tokbench.tokenizers.sets import check_sizes, expand

    parse_conditions(fail_if or [])  # before the run: mistakes show at once
    given, tokenizer = tokenizer, expand(tokenizer, needs_weights=True)
    asked = Part() if part is None else parse_part(part)
    places = data or ["photos"]
    if len(places) > 1 and save_images is not None:
        raise TokbenchError(f"--save-images keeps the images of one data set, {len(places)} are given; run them one by one")
    if repeats > 1 and save_images is not None:
        raise TokbenchError("--save-images keeps the images of one pass, and --repeats makes several; leave one of them out")
    alone = {"--fail-if": fail_if, "--gate-report": gate_report, "--json": as_json, "--save-images": save_images}
    if not asked.whole and (no := [name for name, value in alone.items() if value]):
        raise TokbenchError(
            f"{no[0]} needs the whole run, and --part {asked} measures a part of it; give it to tokbench merge, or leave --part out"
        )
    check_folder(out_dir, "--out")
    check_gate_report(fail_if, gate_report)
    protocol = get_protocol(changes={"samples": limit, "size": size, "seed": seed, "precision": precision})
    rounds = [tokenizer]
    if given != tokenizer:  # a set may be more than memory holds at once
        rounds = [[name] for name in tokenizer]
        if not setting:  # which may change what sizes they take
            check_sizes(tokenizer, protocol.size)
    kept = () if lengths is None else whole_numbers("--lengths", lengths, LONGEST_SEQUENCE)
    chosen, cut = loading(weights, setting, drop, averages), tiles(tile_size, tile_overlap)
    if len(tokenizer) > 1 and (weights is not None or drop or averages is not None):
        raise TokbenchError(f"--weights, --drop and --averages belong to one tokenizer, {len(tokenizer)} are given; run them one by one")
    with redirect_stdout(sys.stderr), gathered() as team:  # plug-ins may print, and what we print may be JSON
        benches, done, failed = list[_Bench](), list["Evaluation"](), False
        for names in rounds:
            try:  # before the data: mistakes show at once
                subjects, wrong = _subjects(names, own_device(device), chosen, protocol.size, kept, cut)
            except TokbenchError as error:
                if len(rounds) == 1:
                    raise
                say(f"tokbench: {names[0]} is left out: {error}")
                failed = True
                continue
            if not benches:
                options = RunOptions(batch_size, workers, strict=strict, feature_weights=feature_weights, save_images=save_images)
                benches = [
                    _Bench(source, place, metrics, protocol, options, out_dir, asked, resume, team, alone=len(places) == 1)
                    for place, source in zip(places, open_sources(places, size=protocol.size), strict=True)
                ]
            passes = [(subject, range(_passes(subject, repeats))) for subject in subjects]
            every = ((bench, subject, noise) for subject, noises in passes for bench in benches for noise in noises)
            done += [evaluation for bench, subject, noise in every if (evaluation := bench.measure(subject, noise)) is not None]
            failed = failed or wrong or any(bench.failed for bench in benches)
            del subjects, passes  # before the next of a set takes memory
    if asked.whole and team.first:
        records = [evaluation.record for evaluation in done]
        checks = gate_records(records, fail_if, gate_report)
        if as_json:
            print(json.dumps([record.to_dict() for record in records], indent=2, allow_nan=False))
        elif records:
            print_records(records, [evaluation.rows for evaluation in done])
        finish_gate(checks)
    if failed:
        raise typer.Exit(1)


@dataclass
class _Bench:
    """What all tokenizers of a command are measured by, on one data set; ``alone`` says that there is no other."""

    source: ImageSource
    place: str
    metrics: str | None
    protocol: Protocol
    options: RunOptions
    out: Path
    part: Part
    resume: bool
    team: Team
    alone: bool = True
    failed: bool = False

    def measure(self, subject: Tokenizer | Anchor, noise: int) -> Evaluation | None:
        """Measure one tokenizer in one pass and write its record; None where it fails, and where that is not for this process to do."""
        from tokbench.bench.prepared import PreparedRun
        from tokbench.bench.runner import metric_names
        from tokbench.bench.sharing import measure
        from tokbench.conduct import Misbehaved
        from tokbench.records.store import write_record

        try:
            with progress(subject.name, len(self.source)) if self.team.first else nullcontext(_silent) as advance:
                prepared = PreparedRun(
                    subject,
                    self.source,
                    metrics=metric_names(self.metrics),
                    protocol=replace(self.protocol, noise=noise),
                    options=replace(self.options, progress=advance),
                    place=self.place,
                )
                shared = measure(
                    prepared,
                    self.out,
                    lambda evaluation: write_record(evaluation.record, evaluation.rows, self.out),
                    part=self.part,
                    resume=self.resume,
                    team=self.team,
                )
        except TokbenchError as error:
            if not isinstance(error, Misbehaved) and (self.alone or not self.team.alone):  # other processes would wait for this one
                raise
            say(f"tokbench: {error}" if self.alone else f"tokbench: {subject.name} on {self.source.name}: {error}")
            self.failed = True
            return None
        if not self.part.whole and self.team.first:
            whole = len(self.part.chunks(len(prepared.spans)))
            say(f"{subject.name}: part {self.part}, {whole} of {len(prepared.spans)} chunks, in {shared.folder}")
            say(f"when all parts are there: tokbench merge {self.out}")
        if shared.evaluation is None:
            return None
        record = shared.evaluation.record
        on = "" if self.alone else f" on {record.data.name}"
        say(f"{subject.name}{on}: {record.timing.total_seconds:.1f} s, record {shared.path}")
        if record.trained_on:
            say(f"{subject.name} was trained on images of {record.data.name}, which it is measured on; its figures are marked")
        for failure in shared.evaluation.failures:
            say(f"tokbench: {subject.name}: {failure}")
        self.failed = self.failed or bool(shared.evaluation.failures)
        return shared.evaluation


def _passes(subject: Tokenizer | Anchor, repeats: int) -> int:
    """How often something is measured: once, if it draws no noise."""
    if repeats > 1 and not (getattr(subject, "encode_is_stochastic", False) or getattr(subject, "decode_is_stochastic", False)):
        say(f"{subject.name} draws no noise: every pass gives the same figures, so it is measured once")
        return 1
    return repeats


def _silent(done: int, total: int) -> None:
    pass


def _subjects(
    names: list[str], device: str, chosen: dict[str, Any], size: int, lengths: tuple[int, ...], cut: Cut
) -> tuple[list[Tokenizer | Anchor], bool]:
    """Load what is to be measured, once for every length; those whose own code fails are named and left out, and so the second value."""
    from tokbench.conduct import Misbehaved, layout_of

    subjects: list[Tokenizer | Anchor] = []
    failures: list[Misbehaved] = []
    for name in names:
        try:
            subject = _subject(name, device, chosen)
            if not hasattr(subject, "layout"):  # codecs have none
                if lengths:
                    raise TokbenchError(f"{name} is a codec, without tokens to keep --lengths of; run it by itself")
                if cut is not None:
                    raise TokbenchError(f"{name} is a codec, which takes images whole; run it by itself, without --tile-size")
                subjects.append(subject)
                continue
            subject = subject if cut is None else cut(subject)
            found = [subject.keeping(length) for length in lengths] or [subject]
            for one in found:
                layout_of(one, size, size)
        except Misbehaved as error:
            failures.append(error)
        else:
            subjects += found
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
