"""The command that says what can be measured: metrics."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from tokbench.commands.console import out
from tokbench.commands.words_table import print_words

WIDE = 140
"""Columns of a terminal that also shows titles and units."""


def metrics(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List what can be measured, and what each figure needs."""
    from tokbench.configs import plain
    from tokbench.records.figures import FIGURES
    from tokbench.report.measures import measures_table, needs
    from tokbench.weights.assets import ASSETS, asset_path

    assets = {asset.name for asset in ASSETS} | {info.asset for info in FIGURES if info.asset}
    here = {name for name in assets if asset_path(name).is_file()}
    if as_json:
        print(json.dumps([plain(info) | {"metric": info.measured_by, "needs": needs(info, here)} for info in FIGURES], indent=2))
        return
    print_words(measures_table(here), wrapped="meaning", left_out=() if out.width >= WIDE else ("title", "unit"))
