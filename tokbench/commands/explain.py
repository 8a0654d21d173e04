"""The command that says why two figures differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokbench.commands.compare import print_all
from tokbench.commands.values import choice
from tokbench.errors import TokbenchError, unknown_name

if TYPE_CHECKING:
    from tokbench.records.record import Record
    from tokbench.report.explain.explanation import Explanation

FORMATS = ("text", "terminal", "md", "csv", "latex", "json")
"""Sentences, and how tables are written."""

ResultsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--results", help="Records, or folders of them, that A and B are named in, and that may lie between them [default: runs]."
    ),
]


def explain(
    first: Annotated[str, typer.Argument(metavar="A", help="A record file, a folder with one, or its name or tokenizer in --results.")],
    second: Annotated[str, typer.Argument(metavar="B", help="What to compare with it.")],
    results: ResultsOption = None,
    metrics: Annotated[str | None, typer.Option("--metrics", help="Only these figures, separated by commas.")] = None,
    form: Annotated[str, choice("--format", "-f", among=FORMATS, help="Sentences, or how to write tables.")] = "text",
) -> None:
    """Say why the figures of two records differ, and by how much each cause moved them.

    Causes are told apart by records that share all but one of them, in --results and beside A and B.
    """
    from tokbench.records.store import read_rows
    from tokbench.report.explain.explanation import explain as explained
    from tokbench.report.explain.find import around, find_one

    places = results if results is not None else [Path("runs")] * Path("runs").is_dir()
    a, b = (find_one(given, places) for given in (first, second))
    keys = _figures(metrics, [a[1], b[1]])
    others = [item for item in around([a[0], b[0]], places) if item[0] not in (a[0], b[0])]
    sides = [(record, read_rows(path, images=record.data.count)) for path, record in (a, b, *others)]
    print_explanation(explained(sides[0], sides[1], sides[2:], keys), form)


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
