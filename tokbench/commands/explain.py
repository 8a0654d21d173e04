"""The command that says why two figures differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokbench.commands.compare import print_all
from tokbench.commands.console import DeviceOption, progress, say, told_apart
from tokbench.commands.destinations import check_folder
from tokbench.commands.values import choice
from tokbench.errors import TokbenchError, unknown_name

if TYPE_CHECKING:
    from tokbench.records.record import Record
    from tokbench.records.store import Rows
    from tokbench.report.explain.explanation import Explanation

FORMATS = ("text", "terminal", "md", "csv", "latex", "json")
"""Sentences, and how tables are written."""

OUT = Path("runs")
"""Where records go unless it is told."""

ResultsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--results", help="Records, or folders of them, that A and B are named in, and that may lie between them [default: runs]."
    ),
]


def explain(
    first: Annotated[str, typer.Argument(metavar="A", help="A record file, a folder with one, or its name or tokenizer in --results.")],
    second: Annotated[str | None, typer.Argument(metavar="B", help="What to compare with it; with --published a tokenizer.")] = None,
    results: ResultsOption = None,
    metrics: Annotated[str | None, typer.Option("--metrics", help="Only these figures, separated by commas.")] = None,
    published: Annotated[bool, typer.Option("--published", help="Compare A with what others published of its tokenizer, or of B.")] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure again with the causes changed one after another, and so tell them apart.")
    ] = False,
    every_order: Annotated[
        bool, typer.Option("--every-order", help="With --measure: measure all combinations, and average over all orders of the causes.")
    ] = False,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", callback=told_apart, help="With --measure: where the images are, as run takes them; may be repeated."),
    ] = None,
    weights: Annotated[
        list[str] | None, typer.Option("--weights", help="With --measure: weights that are not the zoo's own; may be repeated.")
    ] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option("--reference", callback=told_apart, help="With --measure: references of A or B, as run takes them; may be repeated."),
    ] = None,
    device: DeviceOption = "cpu",
    out_dir: Annotated[Path, typer.Option("--out", "-o", help="With --measure: folder for the records that are made.")] = OUT,
    form: Annotated[str, choice("--format", "-f", among=FORMATS, help="Sentences, or how to write tables.")] = "text",
) -> None:
    """Say why the figures of two records differ, and by how much each cause moved them.

    Causes are told apart by records that share all but one of them, in --results and beside A and B.
    """
    from tokbench.records.store import read_rows
    from tokbench.report.explain.explanation import explain as explained
    from tokbench.report.explain.find import around, find_one

    elsewhere = {"--device": device != "cpu", "--out": out_dir != OUT}
    _belong(measure, {"--every-order": every_order, "--data": data, "--weights": weights, "--reference": reference, **elsewhere})
    _belong(not (published and measure), {"--published": published}, "compares with what cannot be measured again; leave --measure out")
    places = results if results is not None else [Path("runs")] * Path("runs").is_dir()
    if published:
        _print_quoted(find_one(first, places), second, metrics, form)
        return
    if second is None:
        raise TokbenchError("explain needs B (What to compare with it), got none; or give --published. See: tokbench explain --help")
    a, b = (find_one(given, places) for given in (first, second))
    keys = _figures(metrics, [a[1], b[1]])
    others = [item for item in around([a[0], b[0]], places) if item[0] not in (a[0], b[0])]
    sides: list[tuple[Record, Rows]] = [(record, read_rows(path, images=record.data.count)) for path, record in (a, b, *others)]
    if measure:
        check_folder(out_dir, "--out")
        records = [record for record, _ in sides]
        sides += _measured(records, keys, data or [], weights or [], reference or [], device, out_dir, every=every_order)
    print_explanation(explained(sides[0], sides[1], sides[2:], keys), form)


def _print_quoted(found: tuple[Path, Record], name: str | None, metrics: str | None, form: str) -> None:
    """Print what others published beside a record."""
    from tokbench.records.store import read_rows
    from tokbench.report.explain.quoted import as_json, quoted, tables, text

    path, record = found
    ids = {image for column in read_rows(path, images=record.data.count).values() for image in column}
    rows = quoted(record, name, sorted(ids), None if metrics is None else [key.strip() for key in metrics.split(",") if key.strip()])
    if form in ("text", "json"):
        print(text(record, rows) if form == "text" else as_json(record, rows), end="")
    else:
        print_all(tables(record, rows), form)


def _belong(
    allowed: bool, options: dict[str, object], why: str = "is for what is measured again; give --measure too, or leave it out"
) -> None:
    """Refuse options where they mean nothing."""
    given = [name for name, value in options.items() if value]
    if given and not allowed:
        raise TokbenchError(f"{given[0]} {why}")


def _measured(
    records: Sequence[Record],
    keys: Sequence[str] | None,
    data: list[str],
    weights: list[str],
    references: list[str],
    device: str,
    out: Path,
    *,
    every: bool,
) -> list[tuple[Record, Rows]]:
    """Measure what is missing between the first two records, and write it.

    Raises:
        TokbenchError: If nothing of it can be measured.
    """
    import torch

    from tokbench.bench.again import Workshop, against, metrics_of
    from tokbench.bench.environment import environment
    from tokbench.bench.prepared import RunOptions
    from tokbench.ranks import own_device
    from tokbench.records.store import write_record
    from tokbench.report.explain.causes import Between
    from tokbench.report.explain.plan import here, wanted

    between, place = Between(records[0], records[1]), own_device(device)
    like = here(records[0], environment(), place, torch.get_num_threads())
    chosen = keys if keys is not None else [key for key in records[0].metrics if key in records[1].metrics]
    missing = wanted(between, records[2:], like, every=every, keys=chosen)
    if not missing:
        say("nothing is missing between the two records: there is no more to tell apart by measuring")
    names = metrics_of(chosen)
    made: list[tuple[Record, Rows]] = []
    problem: TokbenchError | None = None
    shop = Workshop(data, weights, references, device=place)
    if not references and against(names) and any(one.reference is not None for one in missing):
        say(f"{', '.join(against(names))} compares with a reference, and is not measured again without; give it by --reference")
    for number, one in enumerate(missing, start=1):
        changed = ", ".join(key for key in between.order if key in one.changed) or "nothing"
        try:
            with progress(f"{number}/{len(missing)} {changed}", one.data.data.count) as advance:
                options = RunOptions(progress=advance)
                found = shop.measure(one.tokenizer, one.data, one.protocol, names, options, reference=one.reference)
        except TokbenchError as error:
            problem = problem or error
            say(f"not measured with {changed} as in B: {error}")
            continue
        say(f"measured with {changed} as in B: record {write_record(found.record, found.rows, out)}")
        made.append((found.record, found.rows))
    if problem is not None and not made:
        raise problem
    return made


def print_explanation(found: Explanation, form: str) -> None:
    """Print an explanation in a format."""
    from tokbench.report.explain.write import as_json, tables, text

    if form in ("text", "json"):
        print(text(found) if form == "text" else as_json(found), end="")
    else:
        print_all(tables(found), form)


def _figures(given: str | None, records: Sequence[Record]) -> list[str] | None:
    """Keys of ``--metrics``.

    Raises:
        TokbenchError: If there is none, or one that no record has.
    """
    if given is None:
        return None
    keys = [key.strip() for key in given.split(",") if key.strip()]
    known = {key for record in records for key in (*record.figures(), *record.metrics)}
    for key in keys:
        if key not in known:
            raise unknown_name("figure", key, known, hint="--metrics takes figures of A and B.")
    if not keys:
        raise TokbenchError(f"--metrics needs some of {', '.join(sorted(known))}, got {given!r}")
    return keys
