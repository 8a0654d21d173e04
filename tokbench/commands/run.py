"""The command that measures."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokbench.commands.compare import FailIfOption, GateReportOption, check_conditions, check_gate_report, print_measured
from tokbench.commands.console import (
    AveragesOption,
    Cut,
    DataSetsOption,
    DeviceOption,
    DropOption,
    ReferenceOption,
    RunPrecisionOption,
    SettingsOption,
    TileOverlapOption,
    TileSizeOption,
    WeightsOption,
    WorkersOption,
    loading,
    of_each,
    once,
    own_place,
    say,
    tiles,
    tokenizers_and_sets,
    unsaid,
)
from tokbench.commands.destinations import check_folder
from tokbench.commands.measuring import Bench, Setup, Wanted, check_whole, open_benches, size_of
from tokbench.commands.values import completing, pixels, whole, whole_numbers, whole_or_auto
from tokbench.errors import TokbenchError
from tokbench.records.protocol import MOST_DRAFT, MOST_PASSES, PRESETS

if TYPE_CHECKING:
    from tokbench.bench.anchors import Anchor
    from tokbench.bench.merging import Evaluation
    from tokbench.bench.team import Team
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
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            "--protocol",
            autocompletion=completing(lambda: PRESETS),
            help="How to measure, see tokbench protocols; may be repeated, for a record each [default: tokbench-256, of what comes ready photos-64].",
        ),
    ] = None,
    limit: Annotated[int | None, whole("--limit", low=1, help="Images at most, chosen by --seed.")] = None,
    size: Annotated[
        Any,
        pixels("--size", help="Side of the images, or HxW [default: the protocol's; if none is named, what the tokenizer was made for]."),
    ] = None,
    lengths: Annotated[
        str | None, typer.Option(help="Measure with the first 32, with the first 64, ... positions: 32,64. For sequences that decode so.")
    ] = None,
    tile_size: TileSizeOption = None,
    tile_overlap: TileOverlapOption = None,
    metrics: Annotated[str | None, typer.Option(help="Names separated by commas, or all.")] = None,
    batch_size: Annotated[int, whole("--batch-size", low=1, help="Images read ahead; changes no figure.")] = 64,
    device: DeviceOption = "cpu",
    seed: Annotated[int | None, whole("--seed", low=0, help="Of --limit and of stochastic tokenizers [default: 0].")] = None,
    repeats: Annotated[
        int, whole("--repeats", low=1, high=MOST_PASSES, help="Passes over the same images, of tokenizers that draw noise; a record each.")
    ] = 1,
    precision: RunPrecisionOption = None,
    micro_batch: Annotated[
        str | None,
        whole_or_auto(
            "--micro-batch", low=1, high=4096, help="Images the tokenizer sees at once; auto tries what is fastest [default: 16]."
        ),
    ] = None,
    jpeg_draft: Annotated[
        int | None,
        whole(
            "--jpeg-draft",
            low=1,
            high=MOST_DRAFT,
            help="Decode JPEGs at 1/2, 1/4 or 1/8, to so many times --size or more; figures move a little [default: all pixels].",
        ),
    ] = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Run the tokenizer through torch.compile; it then rounds otherwise.")] = False,
    feature_weights: Annotated[Path | None, typer.Option(help="Inception file for rfid.")] = None,
    reference: ReferenceOption = None,
    workers: WorkersOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first unreadable image.")] = False,
    out_dir: Annotated[Path, typer.Option("--out", "-o", help="Folder for the records.")] = Path("runs"),
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
    from tokbench.bench.reference_opening import References
    from tokbench.bench.team import gathered
    from tokbench.tokenizers.sets import check_sizes, expand

    check_conditions(fail_if, metrics)  # before the run: mistakes show at once
    given = once(tokenizer)
    tokenizer = expand(given, needs_weights=True)
    asked = Part() if part is None else parse_part(part)
    places = data or ["photos"]
    if len(places) > 1 and save_images is not None:
        raise TokbenchError(f"--save-images keeps the images of one data set, {len(places)} are given; run them one by one")
    auto = micro_batch == "auto"
    if auto and not asked.whole:
        raise TokbenchError(f"--micro-batch auto may choose otherwise for other parts than {asked}; give all parts one number")
    if auto and resume:
        raise TokbenchError("--micro-batch auto may choose otherwise than the run to go on with; give the number that it chose")
    images = None if auto or micro_batch is None else int(micro_batch)
    changes = {
        "samples": limit,
        "size": size,
        "seed": seed,
        "precision": precision,
        "tokenizer_batch": images,
        "compiled": compiled or None,
        "jpeg_draft": jpeg_draft,
    }
    wanted = Wanted(tuple(protocol or ()), changes)
    if len(wanted.names) > 1 and save_images is not None:
        raise TokbenchError(f"--save-images keeps the images of one protocol, {len(wanted.names)} are named; run them one by one")
    if repeats > 1 and save_images is not None:
        raise TokbenchError("--save-images keeps the images of one pass, and --repeats makes several; leave one of them out")
    if save_images is not None and not asked.whole:
        raise TokbenchError(f"--save-images needs the whole run, and --part {asked} measures a part of it; leave one of them out")
    check_whole(asked, {"--fail-if": fail_if, "--gate-report": gate_report, "--json": as_json})
    check_folder(out_dir, "--out")
    check_gate_report(fail_if, gate_report)
    rounds = [tokenizer]
    if given != tokenizer:  # a set may be more than memory holds at once
        rounds = [[name] for name in tokenizer]
        for of_all in [] if setting else wanted.sizes(places):  # settings may change what sizes they take
            check_sizes(tokenizer, of_all)
    kept = () if lengths is None else whole_numbers("--lengths", lengths, LONGEST_SEQUENCE)
    chosen, cut = loading(weights, setting, drop, averages), tiles(tile_size, tile_overlap)
    if len(tokenizer) > 1 and (weights is not None or drop or averages is not None):
        raise TokbenchError(f"--weights, --drop and --averages belong to one tokenizer, {len(tokenizer)} are given; run them one by one")
    with redirect_stdout(sys.stderr), gathered() as team:  # plug-ins may print, and what we print may be JSON
        benches, done, failed = list[Bench](), list["Evaluation"](), False
        for names in rounds:
            try:  # before the data: mistakes show at once
                subjects, wrong = _subjects(names, own_place(device), chosen, wanted, places, kept, cut, team)
            except TokbenchError as error:
                if len(rounds) == 1:
                    raise
                say(f"tokbench: {names[0]} is left out: {error}")
                failed = True
                continue
            if not benches:
                several = len(places) * max(len(rounds), len(subjects))
                there = None if reference is None else References(reference, say if team.first else unsaid)
                options = RunOptions(
                    batch_size, workers, strict=strict, feature_weights=feature_weights, save_images=save_images, reference=there
                )
                benches = open_benches(Setup(wanted, metrics, options, out_dir, asked, resume, team, auto, several), places)
            passes = [(subject, range(_passes(subject, repeats, aloud=team.first))) for subject in subjects]
            every = ((bench, subject, noise) for subject, noises in passes for bench in benches for noise in noises)
            done += [
                evaluation for bench, subject, noise in every for evaluation in bench.measure(subject, noise, beside=size_of(subjects))
            ]
            failed = failed or wrong or any(bench.failed for bench in benches)
            del subjects, passes  # before the next of a set takes memory
    if asked.whole and team.first:
        print_measured([(one.record, one.rows) for one in done], fail_if, gate_report, as_json=as_json)
    if failed:
        raise typer.Exit(1)


def _passes(subject: Tokenizer | Anchor, repeats: int, *, aloud: bool) -> int:
    """How often something is measured: once, if it draws no noise; that is said ``aloud``, by one process."""
    if repeats > 1 and not (getattr(subject, "encode_is_stochastic", False) or getattr(subject, "decode_is_stochastic", False)):
        (say if aloud else unsaid)(f"{subject.name} draws no noise: every pass gives the same figures, so it is measured once")
        return 1
    return repeats


def _subjects(
    names: list[str], device: str, chosen: dict[str, Any], wanted: Wanted, places: list[str], lengths: tuple[int, ...], cut: Cut, team: Team
) -> tuple[list[Tokenizer | Anchor], bool]:
    """Load what is to be measured, once for every length; those whose own code fails are named and left out, and so the second value."""
    from tokbench.conduct import layout_of

    def load(name: str) -> list[Tokenizer | Anchor]:
        subject = _subject(name, device, chosen)
        if not hasattr(subject, "layout"):  # codecs have none
            if lengths:
                raise TokbenchError(f"{name} is a codec, without tokens to keep --lengths of; run it by itself")
            if cut is not None:
                raise TokbenchError(f"{name} is a codec, which takes images whole; run it by itself, without --tile-size")
            return [subject]
        subject = subject if cut is None else cut(subject)
        found = [subject.keeping(length) for length in lengths] or [subject]
        for one in found:
            for shape in dict.fromkeys(protocol.shape for place in places for protocol in wanted.of(one, place)):
                layout_of(one, *shape)
        return found

    return of_each(names, load, anywhere=lambda here: bool(team.failed(here)))


def _subject(name: str, device: str, chosen: dict[str, Any]) -> Any:
    from tokbench.bench.anchors import parse_anchor
    from tokbench.tokenizers.zoo import load

    anchor = parse_anchor(name)
    if anchor is None:
        return load(name, device=device, **chosen)
    if any(value not in (None, (), {}) for value in chosen.values()):
        raise TokbenchError(f"{name} is a codec: it takes neither --weights, --drop and --averages nor --set")
    return anchor
