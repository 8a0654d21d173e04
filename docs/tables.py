"""Writes the tables of the documents that are made of records and of the rows of figures: ``make tables``."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokbench.records.lm_store import find_lm_records
from tokbench.records.probe_store import find_probe_records
from tokbench.records.store import find_records, read_rows
from tokbench.report.lm import lm_tables
from tokbench.report.measures import measures_table
from tokbench.report.probe import probe_tables
from tokbench.report.render import render
from tokbench.report.table import make_tables
from tokbench.report.telling import FILE as TELLING

ROOT = Path(__file__).parents[1]

README_COLUMNS = ("bits_per_image", "fd_efflite0", "lpips", "psnr", "ssim", "usage", "parameters")

SCENE_COLUMNS = ("bits_per_image", "scene_accuracy", "scene_whole", "scene_whole_original", "psnr")


def results(folder: str, columns: tuple[str, ...] | None = None) -> str:
    """The table of a folder of committed records."""
    records = [record for _, record in find_records([ROOT / "results" / folder])]
    return render(make_tables(records, columns=columns), "md")


def probes() -> str:
    """The tables of the committed records of probes."""
    records = [record for _, record in find_probe_records([ROOT / "results" / "probe-photos-64"])]
    return render(probe_tables(records), "md")


def models(folder: Path = ROOT / "results" / "lm") -> str:
    """The tables of the records of language models in a folder; nothing while there are none."""
    found = find_lm_records([folder]) if folder.is_dir() else []
    return render(lm_tables([record for _, record in found], [read_rows(path) for path, _ in found]), "md")


def study(name: str) -> Any:
    """A script of benchmarks/, which writes its own tables."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # one script imports another
    spec.loader.exec_module(module)
    return module


LADDER, PROTOCOLS = study("quantizer_ladder"), study("protocol_tables")

WHICH = study("which_tokenizer")

PREDICTS = study("what_predicts")

TABLES: dict[tuple[str, str], Callable[[], str]] = {
    ("README.md", "results"): lambda: results("photos-64", README_COLUMNS),
    ("results/README.md", "results"): lambda: results("photos-64"),
    ("results/README.md", "flowmo"): lambda: results("flowmo-photos-64"),
    ("results/README.md", "text"): lambda: results("text-64"),
    ("results/README.md", "faces"): lambda: results("faces-64"),
    ("docs/lm.md", "models"): models,
    ("docs/lm.md", "photo-models"): lambda: models(ROOT / "results" / "lm-photos"),
    ("docs/probe.md", "probe"): probes,
    **{("docs/protocols.md", name): make for name, make in PROTOCOLS.TABLES.items()},
    ("docs/quantizer-ladder.md", "rungs"): LADDER.rungs,
    ("docs/quantizer-ladder.md", "ladder"): LADDER.tables,
    ("docs/which-tokenizer.md", "study"): WHICH.tables,
    ("docs/which-tokenizer.md", "figures"): PREDICTS.tables,
    ("docs/scenes.md", "scenes-64"): lambda: results("scenes-64", SCENE_COLUMNS),
    ("docs/scenes.md", "scenes-32"): lambda: results("scenes-32", SCENE_COLUMNS),
    ("docs/measures.md", "measures"): lambda: render([measures_table()], "md"),
}
"""Document and name of the block to what writes it."""

FILES: dict[str, Callable[[], str]] = {f"tokbench/records/{TELLING}": WHICH.telling}
"""Files of the package that are made of records likewise."""


def with_table(text: str, name: str, table: str) -> str:
    """A document with another table between ``<!-- name -->`` and ``<!-- /name -->``."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    return re.sub(rf"(?<={begin}).*?(?={end})", lambda _: f"{table.strip()}\n", text, flags=re.DOTALL)


def main() -> None:
    """Write every table, and every file."""
    for (document, name), make in TABLES.items():
        path = ROOT / document
        path.write_text(with_table(path.read_text(encoding="utf-8"), name, make()), encoding="utf-8")
    for file, make in FILES.items():
        (ROOT / file).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
