"""The command that makes the HTML report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokbench.commands.compare import first_passes, without_repeats
from tokbench.commands.console import say, told_apart
from tokbench.commands.destinations import check_file
from tokbench.commands.values import whole
from tokbench.errors import TokbenchError
from tokbench.files import write_text
from tokbench.report.words import counted

if TYPE_CHECKING:
    from tokbench.records.examples import Example
    from tokbench.records.lm_record import LanguageModelRecord
    from tokbench.report.page.model import Group
    from tokbench.report.page.models import Evaluated
    from tokbench.report.page.render import Shown


def report(
    places: Annotated[list[Path] | None, typer.Argument(help="Record files, or folders of them [default: runs].")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="HTML file to write.")] = Path("report.html"),
    images: Annotated[int, whole("--images", low=0, high=500, help="Images in the gallery at most; 0 makes no pictures.")] = 24,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            callback=told_apart,
            help="Where the images are that are neither the photos, the text nor the fetched faces; once for each data set.",
        ),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
) -> None:
    """Make one HTML page of records, to read and to look at.

    Tables, plots, pictures, and how to get it all again.
    """
    from tokbench.records.everything import find_everything
    from tokbench.report.page.commands import Asked
    from tokbench.report.page.leading import leading
    from tokbench.report.page.model import Measured, arrange
    from tokbench.report.page.render import (
        models_section,
        passes_section,
        prediction_section,
        probe_section,
        render_page,
        speed_section,
        told_section,
    )
    from tokbench.report.telling import telling_of

    check_file(output, "--output")
    places = places or [Path("runs")]
    everything = find_everything(places)
    runs, probes = without_repeats(everything.runs), everything.probes
    firsts = first_passes(runs)
    groups = arrange([Measured(path.name, record, *_rows(path, record.data.count)) for path, record in firsts])
    sets = tuple(data or ())
    shown = [_pictures(group, images, sets) if images else None for group in groups]
    evaluated = [_evaluated(path, record, images) for path, record in everything.models]
    telling = telling_of([(one.record, one.rows) for one in evaluated], replace(everything, runs=firsts).holders)
    extra = [] if telling.own else [told_section(telling)]
    if len(firsts) < len(runs):
        extra.append(passes_section([record for _, record in runs]))
    if probes:
        extra.append(probe_section([record for _, record in probes], groups))
    if evaluated:
        extra.append(models_section(evaluated, images))
    if everything.speeds:
        extra.append(speed_section([record for _, record in everything.speeds], groups))
    if everything.predictions:
        extra.append(prediction_section([record for _, record in everything.predictions]))
    first = leading(telling, everything.holders, groups)
    page = render_page(groups, shown, extra=extra, leading=first, asked=Asked(tuple(map(str, places)), str(output), images, sets))
    write_text(output, page)
    for line in _lacking(groups, shown, bool(probes), images):
        say(line)
    say(f"wrote {output}: {counted(len(runs) + everything.count - len(everything.runs), 'record')}, {output.stat().st_size / 1e6:.1f} MB")
    if open_page:
        import webbrowser

        webbrowser.open(output.resolve().as_uri())


def _lacking(groups: Sequence[Group], shown: Sequence[Shown | None], probes: bool, images: int) -> Iterator[str]:
    """What the page will not show, and why, a line each."""
    if not images:
        yield "no pictures: --images 0 asks for none"
    for group, pictures in zip(groups, shown, strict=True):
        reasons: dict[str, list[str]] = {}
        for entry, reason in zip(group.entries, pictures.pictures.missing if pictures else (), strict=False):
            if reason is not None:
                reasons.setdefault(reason, []).append(entry.label)
        for reason, names in reasons.items():
            yield f"no pictures of {', '.join(names)}: {reason}"
        bare = [f"{entry.label}{f' ({entry.problem})' if entry.problem else ''}" for entry in group.entries if not entry.rows]
        if bare:
            yield f"no per-image values, so no distributions and few tests, of {', '.join(bare)}"
    if not probes:
        yield "nothing on how learnable the tokens are: there are no records of tokbench probe"


def _rows(path: Path, images: int) -> tuple[dict[str, dict[str, float]], str | None]:
    """The per-image rows beside a record; without them, if they are damaged, why."""
    from tokbench.records.store import read_rows

    try:
        return read_rows(path, images=images), None
    except TokbenchError as error:
        beside = path.with_suffix(".parquet")
        return {}, str(error).replace(str(beside), beside.name)


def _evaluated(path: Path, record: LanguageModelRecord, images: int) -> Evaluated:
    """A record of a language model with what lies beside it; what is damaged is left out, and said."""
    from tokbench.records.examples import read_examples
    from tokbench.report.page.models import Evaluated

    rows, problem = _rows(path, record.protocol.prompts)
    problems = [problem] if problem else []
    examples: list[Example] = []
    if images:
        try:
            examples = read_examples(path)
        except TokbenchError as error:
            problems.append(str(error).replace(str(path.with_suffix("")), path.stem))
    for one in problems:
        say(one)
    return Evaluated(path.name, record, rows, examples, tuple(problems))


def _pictures(group: Group, limit: int, data: tuple[str, ...]) -> Shown:
    """Make the pictures of a group's most telling images again."""
    from tokbench.bench.pictures import make_pictures
    from tokbench.report.page.render import Shown
    from tokbench.report.pictures import choose_images

    records = [entry.record for entry in group.entries]
    chosen = choose_images(records, [entry.rows for entry in group.entries], limit)
    say(f"{group.title}: {counted(len(chosen), 'image')} through {counted(len(records), 'tokenizer')}")
    return Shown(chosen, make_pictures(records, [item.image_id for item in chosen], data=data))
