"""Commands that read records: tables, plots, differences, and conditions that fail a build."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokbench.commands import console
from tokbench.commands.destinations import check_file, check_folder
from tokbench.commands.values import choice
from tokbench.errors import TokbenchError, unknown_name
from tokbench.report.plots.kinds import LM_KINDS, RUN_KINDS, SPEED_KINDS
from tokbench.report.words import counted

if TYPE_CHECKING:
    from tokbench.records.record import Record
    from tokbench.records.store import Rows
    from tokbench.report.gate import Check
    from tokbench.report.table import Table


FORMATS = ("terminal", "md", "csv", "latex", "json")
"""How tables are written, as ``tokbench.report.render`` has it, which takes long to import."""

KINDS = (*RUN_KINDS, *LM_KINDS, *SPEED_KINDS)

PlacesArgument = Annotated[list[Path] | None, typer.Argument(help="Record files, or folders of them [default: runs].")]
FormatOption = Annotated[str, choice("--format", "-f", among=FORMATS, help="How to write the table.")]
FailIfOption = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-if", metavar="CONDITION", help="Exit with status 1 if a figure, as in the record, is so: 'lpips>0.15'; may be repeated."
    ),
]
GateReportOption = Annotated[
    Path | None, typer.Option("--gate-report", help="Write what --fail-if found: JUnit XML for .xml, JSON for .json.")
]


def compare(
    places: PlacesArgument = None,
    form: FormatOption = "terminal",
    intervals: Annotated[bool, typer.Option("--intervals", help="Write 95 % intervals beside the figures.")] = False,
    mix: Annotated[bool, typer.Option("--mix", help="One table even for different protocols and data, each row marked.")] = False,
    sort: Annotated[str | None, typer.Option(help="Metric to sort by, best first.")] = None,
    bold: Annotated[
        bool, typer.Option("--bold", help="The best figure in bold, where it is the best by more than chance; in CSV and JSON, KEY_best.")
    ] = False,
    published: Annotated[
        bool, typer.Option("--published", help="Show all that others published, also where protocols differ; what matches is always shown.")
    ] = False,
    columns: Annotated[
        str | None, typer.Option(help="Only these, in this order, by their keys: bits_per_image,lpips,psnr,decode. CSV and JSON name them.")
    ] = None,
    wide: Annotated[
        str | None,
        typer.Option("--wide", metavar="FIGURE", help="One figure alone, tokenizers by data sets, with its mean and mean rank: lpips."),
    ] = None,
    spread: Annotated[
        bool, typer.Option("--spread", help="Also how figures spread over images: P5, median, P95 and the worst; in CSV and JSON, KEY_p5.")
    ] = False,
    bd_rate: Annotated[
        str | None,
        typer.Option(
            "--bd-rate", metavar="FIGURE", help="Also how many more bits one family or codec takes than another at equal figures."
        ),
    ] = None,
    fail_if: FailIfOption = None,
    gate_report: GateReportOption = None,
) -> None:
    """Put records into one table, with how tokenizers stand over the data sets; --mix marks the rows instead.

    Groups in titles are what the images are samples of, such as the photos of crops.
    """
    from tokbench.records.everything import find_everything
    from tokbench.records.store import read_rows
    from tokbench.report.bd import bd_tables
    from tokbench.report.lm import lm_tables
    from tokbench.report.passes import pass_tables
    from tokbench.report.prediction import prediction_tables
    from tokbench.report.probe import probe_tables
    from tokbench.report.published import BESIDE, published_tables
    from tokbench.report.sections import place_of
    from tokbench.report.speed import speed_tables
    from tokbench.report.spread import spread_tables
    from tokbench.report.table import make_tables
    from tokbench.report.tidy import tidy_tables, wide_table
    from tokbench.tokenizers.published import DATA_SETS

    others = {"--columns": columns, "--mix": mix, "--spread": spread, "--published": published, "--bd-rate": bd_rate}
    if wide is not None and (no := [name for name, given in others.items() if given]):
        raise TokbenchError(f"--wide {wide} is a table of one figure, and {no[0]} is of others; leave one of them out")
    everything = find_everything(places or [Path("runs")])
    checks = gate_records([record for _, record in everything.runs], fail_if, gate_report)
    found = _sorted(without_repeats(everything.runs), sort)
    passes = pass_tables([record for _, record in found])
    found = first_passes(found)
    records = [record for _, record in found]
    matching = any(record.data.count in DATA_SETS.values() for record in records)
    several = not mix and len({place_of(record) for record in records}) > 1
    needed = bold or published or matching or spread or several or wide is not None
    rows = [read_rows(path, images=record.data.count) for path, record in found] if needed else None
    if wide is not None:
        if not records or rows is None:
            where = " ".join(map(str, places or [Path("runs")]))
            raise TokbenchError(f"--wide {wide} is a figure of records of tokbench run, and {where} holds others; leave --wide out")
        print_all([wide_table(records, rows, wide, intervals=intervals)], form)
        finish_gate(checks)
        return
    chosen = [key.strip() for key in columns.split(",") if key.strip()] if columns is not None else None
    if several and rows is not None:
        tables = tidy_tables(records, rows, intervals=intervals, bold=bold, columns=chosen)
    else:
        tables = make_tables(records, intervals=intervals, mix=mix, rows=rows if bold else None, columns=chosen) if records else []
    of_others = published_tables(records, rows) if published or matching else []
    if published and not of_others:
        console.say("nothing published is known of these tokenizers")
    tables += [table for table in of_others if published or table.title == BESIDE]
    if bd_rate is not None:
        tables += bd_tables(records, bd_rate)
    if spread and rows is not None:
        tables += spread_tables(records, rows, mix=mix, keys=chosen)
    if chosen is None:  # those are columns of runs
        tables += passes
        tables += probe_tables([record for _, record in everything.probes])
        tables += lm_tables([record for _, record in everything.models], [read_rows(path) for path, _ in everything.models])
        tables += speed_tables([record for _, record in everything.speeds])
        tables += prediction_tables([record for _, record in everything.predictions], intervals=intervals)
    print_all(tables, form)
    finish_gate(checks)


def plot(
    places: PlacesArgument = None,
    kind: Annotated[
        list[str] | None,
        choice("--kind", among=KINDS, help="What to draw; may be repeated [default: all there is data for]."),
    ] = None,
    form: Annotated[str, typer.Option("--format", "-f", help="Some of png, svg and pdf, separated by commas.")] = "png,svg,pdf",
    width: Annotated[
        str, choice("--width", among=("column", "page"), help="3.25 in, a file a panel; or 6.75 in, panels side by side.")
    ] = "column",
    out_dir: Annotated[Path, typer.Option("--out", "-o", help="Folder for the plots.")] = Path("plots"),
) -> None:
    """Draw records at paper size, as png, svg and pdf.

    Bits and speed against quality, use of codes, per-image values; of language models, stages and parts of prompts; of speed tests,
    images per second and memory by batch.
    """
    from tokbench.records.everything import find_everything
    from tokbench.records.store import read_rows
    from tokbench.report.plots.lm_sheets import write_lm_plots
    from tokbench.report.plots.paper import FORMATS
    from tokbench.report.plots.sheets import Written, write_plots
    from tokbench.report.plots.speed_sheets import write_speed_plots

    check_folder(out_dir, "--out")
    formats = [part.strip() for part in form.split(",") if part.strip()]
    if not formats:
        raise TokbenchError(f"--format needs some of {', '.join(FORMATS)}, got {form!r}")
    places = places or [Path("runs")]
    everything = find_everything(places)
    every, probes = without_repeats(everything.runs), everything.probes
    found = first_passes(every)
    if len(found) < len(every):
        console.say(f"plot draws the first of several passes, and leaves out {counted(len(every) - len(found), 'record')} of later ones")
    models, speeds = [record for _, record in everything.models], [record for _, record in everything.speeds]
    if not found and not models and not speeds:
        where, what = " ".join(map(str, places)), "probes" if probes else "predictions"
        raise TokbenchError(
            f"plot draws records of tokbench run, and {where} holds those of {what}; show them with: tokbench report {where}"
        )
    if probes:
        console.say(f"plot draws records of tokbench run, and leaves out {counted(len(probes), 'record')} of probes")
    chosen = kind or KINDS
    of_runs, of_models, of_speeds = ([name for name in chosen if name in known] for known in (RUN_KINDS, LM_KINDS, SPEED_KINDS))
    written: list[Written] = []
    if found and of_runs:
        records, rows = [record for _, record in found], [read_rows(path, images=record.data.count) for path, record in found]
        written.append(write_plots(records, rows, out_dir, kinds=of_runs, formats=formats, width=width))
    if models and of_models:
        written.append(write_lm_plots(models, out_dir, kinds=of_models, formats=formats, width=width))
    if speeds and of_speeds:
        written.append(write_speed_plots(speeds, out_dir, kinds=of_speeds, formats=formats, width=width))
    if not written:
        holds, known = ("language models", LM_KINDS) if models else ("tokbench run", RUN_KINDS) if found else ("speed tests", SPEED_KINDS)
        raise TokbenchError(f"--kind {' --kind '.join(chosen)} draws nothing of records of {holds}; choose {', '.join(known)}")
    for one in written:
        for note in one.notes:
            console.say(note)
        for path in one.paths:
            print(path)


def diff(
    before: Annotated[Path, typer.Argument(metavar="A", help="A record file, or a folder of them.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="What to compare with it.")],
    form: FormatOption = "terminal",
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if",
            metavar="CONDITION",
            help="Exit with status 1 if it is so of B, or of a change: 'psnr.change<-0.2'; may be repeated.",
        ),
    ] = None,
    gate_report: GateReportOption = None,
) -> None:
    """Say what differs between records, and whether by chance.

    Two records, or records of one tokenizer in two folders.
    """
    from tokbench.records.store import find_records, read_rows
    from tokbench.report.diff import diff_records, match_records, told_apart_by_place
    from tokbench.report.diff_tables import diff_tables
    from tokbench.report.gate import check, known_names, parse_conditions, write_checks

    check_gate_report(fail_if, gate_report)
    pairs, alone = match_records(find_records([before]), find_records([after]))
    for line in alone:
        console.say(line)
    conditions = parse_conditions(fail_if or [], known=known_names(record for pair in pairs for _, record in pair), changes=True)
    differences = [diff_records(a[1], b[1], *(read_rows(path, images=record.data.count) for path, record in (a, b))) for a, b in pairs]
    differences = told_apart_by_place(differences, [after[1] for _, after in pairs])
    checks = check(conditions, [(one.title, one.values()) for one in differences], [one.marks() for one in differences])
    if gate_report is not None:
        write_checks(checks, gate_report)
    print_all([table for one in differences for table in diff_tables(one)], form)
    finish_gate(checks)


def print_all(tables: Sequence[Table], form: str) -> None:
    """Print tables in a format."""
    from tokbench.report.render import print_tables, render

    if form == "terminal":
        print_tables(tables, console.out)
    else:
        print(render(tables, form), end="")


def print_measured(made: Sequence[tuple[Record, Rows]], conditions: Sequence[str] | None, report: Path | None, *, as_json: bool) -> None:
    """End a command that measured: check conditions, print the records, and end with status 1 where a condition fails.

    Args:
        made: Records that were just made, with their rows.
        conditions: What ``--fail-if`` was given.
        report: What ``--gate-report`` was given.
        as_json: Print a JSON array instead of tables.
    """
    records = [record for record, _ in made]
    checks = gate_records(records, conditions, report)
    if as_json:
        print(json.dumps([record.to_dict() for record in records], indent=2, allow_nan=False))
    elif records:
        print_records(records, [rows for _, rows in made])
    finish_gate(checks)


def print_records(records: Sequence[Record], rows: Sequence[Rows]) -> None:
    """Print records that were just made: those of one data set as a table, those of several as one and with how tokenizers stand over them.

    It holds the first of several passes, and tables of their own show what all have in common.
    """
    from tokbench.report.passes import later_passes, pass_tables
    from tokbench.report.table import make_tables
    from tokbench.report.tidy import tidy_tables

    passes, further = pass_tables(records), later_passes(records)
    records, rows = ([item for item, later in zip(items, further, strict=True) if not later] for items in (records, rows))  # type: ignore[assignment]
    several = len({record.data.pixels_digest for record in records}) > 1
    print_all([*(tidy_tables(records, rows) if several else make_tables(records)), *passes], "terminal")


def gate_records(records: Sequence[Record], conditions: Sequence[str] | None, report: Path | None = None) -> list[Check]:
    """Check conditions on records and write the report of it.

    Args:
        records: All of them are checked.
        conditions: What ``--fail-if`` was given.
        report: What ``--gate-report`` was given.

    Returns:
        What was found; ``finish_gate`` prints it and ends with status 1 where something failed.

    Raises:
        TokbenchError: If a condition is none, or names an unknown metric.
    """
    from tokbench.report.gate import check, known_names, parse_conditions, record_marks, record_values, write_checks
    from tokbench.report.sections import make_sections

    parsed = parse_conditions(conditions or [], known=known_names(records))
    check_gate_report(conditions, report)
    sections = make_sections(records)
    if len(sections) > 1:
        sections = make_sections(records, mix=True)
    names = {i: name for section in sections for i, name in zip(section.members, section.names, strict=True)}
    checks = check(parsed, [(names[i], record_values(record)) for i, record in enumerate(records)], [*map(record_marks, records)])
    if report is not None:
        write_checks(checks, report)
    return checks


def without_repeats(found: list[tuple[Path, Record]]) -> list[tuple[Path, Record]]:
    """Leave out records whose figures a newer one repeats, and say so."""
    from tokbench.report.repeats import repeats, repeats_note

    flags = repeats([record for _, record in found])
    if any(flags):
        console.say(repeats_note(sum(flags)))
    return [item for item, flag in zip(found, flags, strict=True) if not flag]


def check_conditions(conditions: Sequence[str] | None, metrics: str | None) -> None:
    """Refuse, before anything is measured, what no record could answer.

    Args:
        conditions: What ``--fail-if`` was given.
        metrics: What ``--metrics`` was given: figures of others have any names.

    Raises:
        TokbenchError: If a condition is none, or names an unknown metric; or if ``--metrics`` names none.
    """
    from tokbench.bench.runner import metric_names
    from tokbench.report.gate import known_names, parse_conditions

    metric_names(metrics)
    asked = (metrics or "").split(",")
    of_others = "all" in map(str.strip, asked) or any(":" in name for name in asked)
    for condition in parse_conditions(conditions or []):
        if not of_others and "[" not in condition.name:  # else the name holds what is known once networks are
            parse_conditions([condition.text], known=known_names())


def first_passes(found: list[tuple[Path, Record]]) -> list[tuple[Path, Record]]:
    """Leave out further passes beside the first one of the same tokenizer and images: they are no other data sets."""
    from tokbench.report.passes import later_passes

    flags = later_passes([record for _, record in found])
    return [item for item, later in zip(found, flags, strict=True) if not later]


def check_gate_report(conditions: Sequence[str] | None, report: Path | None) -> None:
    """Refuse a ``--gate-report`` that could not be written at the end.

    Raises:
        TokbenchError: If there are no conditions, it is neither XML nor JSON, or it cannot be written.
    """
    from tokbench.report.gate import check_format

    if report is None:
        return
    if not conditions:
        raise TokbenchError("--gate-report writes what --fail-if found; give --fail-if 'METRIC>NUMBER' too")
    check_file(report, "--gate-report")
    check_format(report)


def finish_gate(checks: Sequence[Check]) -> None:
    """Name what failed on stderr and end with status 1, if anything did."""
    failed = [one for one in checks if one.failed]
    for one in failed:
        console.say(f"failed {one.condition}: {one.subject}, {one.said}")
    if failed:
        raise typer.Exit(1)


def _sorted(found: list[tuple[Path, Record]], key: str | None) -> list[tuple[Path, Record]]:
    if key is None:
        return found
    known = {name for _, record in found for name in record.metrics}
    if key not in known:
        raise unknown_name("metric", key, known, hint="--sort takes metrics only.")

    def rank(item: tuple[Path, Record]) -> tuple[bool, float]:
        metric = item[1].metrics.get(key)
        if metric is None or metric.reached is None or math.isnan(metric.reached):
            return True, 0.0
        return False, -metric.reached if metric.higher_is_better else metric.reached

    return sorted(found, key=rank)
