"""The command that says how figures can be measured: protocols."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from tokbench.commands.console import out
from tokbench.commands.values import choice, completing
from tokbench.commands.words_table import print_words
from tokbench.errors import unknown_name
from tokbench.records.protocol import PRESETS

PROTOCOL_FORMATS = ("terminal", "md", "csv", "json")


def protocols(
    name: Annotated[
        str | None, typer.Argument(autocompletion=completing(lambda: PRESETS), help="One of them, to be shown whole, with its sources.")
    ] = None,
    form: Annotated[str, choice("--format", "-f", among=PROTOCOL_FORMATS, help="How to write it.")] = "terminal",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as --format json does.")] = False,
) -> None:
    """List how figures can be measured: presets of this package, and those that repeat evaluations of others."""
    from tokbench.configs import plain
    from tokbench.records.preset_sources import preset_facts
    from tokbench.report.protocols import preset_table, presets_table
    from tokbench.report.render import render

    if name is not None and name not in PRESETS:
        raise unknown_name("protocol", name, PRESETS, hint="See: tokbench protocols")
    if as_json or form == "json":
        facts = [preset_facts(each) for each in PRESETS] if name is None else preset_facts(name)
        print(json.dumps(plain(facts), indent=2))
        return
    table = presets_table() if name is None else preset_table(name)
    if form != "terminal":
        print(render([table], form), end="")
        return
    out.print(table.title, highlight=False, markup=False)
    print_words(table, wrapped=table.columns[-1].key)
