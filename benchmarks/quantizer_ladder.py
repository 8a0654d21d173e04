"""What does a quantizer change, where network, data, steps and bits are the same?

Run by hand, a row at a time or all of them, and the tables at the end::

    python benchmarks/quantizer_ladder.py row simvq
    python benchmarks/quantizer_ladder.py row fsq --seed 1
    python benchmarks/quantizer_ladder.py all
    python benchmarks/quantizer_ladder.py table

A row trains the recipe ``ladder-NAME`` on the train photos, measures what comes of it on the test photos, and trains the probe on its codes.
Everything is made by commands of ``tokbench``; their records and the log of the training lie in a folder a row under ``--results``. What lies
there already is not made again, and a training that was stopped goes on.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from tokbench.errors import TokbenchError
from tokbench.files import write_bytes
from tokbench.records.probe_record import ProbeRecord
from tokbench.records.probe_store import find_probe_records
from tokbench.records.record import Record
from tokbench.records.store import find_records
from tokbench.report.render import render
from tokbench.report.sections import make_sections
from tokbench.report.table import Cell, Column, Table, figure_column
from tokbench.tokenizers.vae.variants import VAEConfig
from tokbench.train.ladder import RUNGS, Rung
from tokbench.train.options import CHECKPOINT, LOG

RESULTS = Path(__file__).parents[1] / "results" / "quantizer-ladder"

REPEATED, SEEDS = ("vq-ema", "ibq", "fsq"), (1, 2)
"""Rungs that are trained with further seeds: rows by averages, rows by gradients, and a grid that is given."""

METRICS = ("psnr", "lpips", "fd_efflite0", "kd_efflite0", "codebook")

CODED = 8
"""Images that the probe's coder writes and reads back; its bits are measured on all that are held out."""

CODES, QUALITY = ("usage", "perplexity"), ("fd_efflite0", "kd_efflite0", "lpips", "psnr", "parameters")
"""Figures of a run that the tables show: of codes, and of every rung."""

BITS, STORAGE = Column("bits/image", "bits"), Column("storage bits/image", "storage")
ENTROPY, PROBE = Column("own entropy", "entropy"), Column("probe bits", "probe")

OF_CODEBOOKS = "usage and perplexity are means over codebooks: residual has two of 32 codes, which compare with no others"
OF_IMAGES = "own entropy and probe bits are per image, of all codebooks together: by the frequencies of the codes, and under the probe"
OF_SEEDS = "mean over seeds, in brackets the lowest and the highest; the last row is over rungs, each with one seed"
OF_STORAGE = "storage bits: what the latents take as they are kept, in single precision; nobody has coded them"

NOTHING = "Nothing has been measured yet."


class Measured(NamedTuple):
    """What is known of one row."""

    rung: Rung
    record: Record
    probe: ProbeRecord | None

    def value(self, column: Column) -> float | None:
        """Its figure for a column; None if it has none."""
        probed = {ENTROPY.key: "entropy_bits_per_image", PROBE.key: "bits_per_image"}
        if column.key in probed:
            figure = None if self.probe is None else self.probe.figures.get(probed[column.key])
            return None if figure is None else figure.value
        tokens = {BITS.key: self.record.tokens.bits_per_image, STORAGE.key: self.record.tokens.storage_bits_per_image}
        return tokens[column.key] if column.key in tokens else self.record.figures().get(column.key)


def tokbench(*words: object) -> None:
    """Run a command, and stop where it fails."""
    print("tokbench", *words, flush=True)
    subprocess.run([sys.executable, "-m", "tokbench", *map(str, words)], check=True)


def label_of(name: str, *, seed: int, steps: int | None, limit: int | None) -> str:
    """Folder of a row: its rung, and what is set otherwise than the ladder has it, such as ``fsq+seed=1``."""
    settings = {"seed": seed or None, "steps": steps, "limit": limit}
    return name + "".join(f"+{key}={value}" for key, value in settings.items() if value is not None)


def row(rung: Rung, seed: int, options: argparse.Namespace) -> None:
    """Train, measure and probe one rung, as far as that is not done."""
    label = label_of(rung.name, seed=seed, steps=options.steps, limit=options.limit)
    run, results = Path(options.runs) / label, Path(options.results) / label
    measured = results.is_dir() and find_records([results], may_be_none=True)
    probed = results.is_dir() and find_probe_records([results])
    if not (measured and (probed or rung.continuous)):
        steps = [] if options.steps is None else ["--steps", options.steps]
        limit = [] if options.limit is None else ["--limit", options.limit]
        going_on = ["--resume"] if (run / CHECKPOINT).is_file() else []
        tokbench("train", f"ladder-{rung.name}", "--set", f"seed={seed}", *steps, "--out", run, *going_on)
        if not measured:
            write_bytes(results / LOG, (run / LOG).read_bytes())
            tokbench("run", "-t", run, "--metrics", ",".join(METRICS), *limit, "--out", results)
        if not probed and not rung.continuous:
            seen = [] if options.limit is None else ["--images-seen", options.limit]
            probe(run, results, *limit, *seen)
    print(f"done: {results}", flush=True)


def probe(run: Path, results: Path, *less: object) -> None:
    """Train the probe, and take its record over without its model."""
    place = run / "probe"
    if not list(place.glob("*.json")):
        tokbench("probe", "-t", run, "--condition", "none", "--coded-images", CODED, *less, "--out", place)
    for record in place.glob("*.json"):
        for path in (record.with_suffix(".parquet"), record):  # the record last: it says that the rest is there
            write_bytes(results / path.name, path.read_bytes())


def every_row(options: argparse.Namespace) -> None:
    """Make all rows: every rung, then further seeds of some."""
    for rung in RUNGS:
        row(rung, 0, options)
    for seed in SEEDS:
        for rung in RUNGS:
            if rung.name in REPEATED:
                row(rung, seed, options)


def tables(folder: Path = RESULTS) -> str:
    """Read the tables of docs/quantizer-ladder.md from records, as Markdown.

    Args:
        folder: Where the rows lie.

    Raises:
        TokbenchError: If rows do not compare, or the records of one do not belong together.
    """
    rows = measured_rows(folder)
    if not rows:
        return NOTHING
    sections = make_sections([one.record for one in rows.values()])
    budgets = {(one.probe.probe, one.probe.condition, one.probe.held_out.digest) for one in rows.values() if one.probe is not None}
    if len(sections) > 1 or len(budgets) > 1:
        raise TokbenchError(f"rows in {folder} were measured otherwise than others there; move them out, or measure them again alike")
    title = sections[0].title
    quality = tuple(map(figure_column, QUALITY))
    of_codes = (BITS, *map(figure_column, CODES), ENTROPY, PROBE, *quality)
    once = {label: one for label, one in rows.items() if "seed=" not in label}
    codes = {label: one for label, one in once.items() if not one.rung.continuous}
    latents = {label: one for label, one in once.items() if one.rung.continuous}
    found = [
        table(title, of_codes, {label: [one] for label, one in codes.items()}, OF_CODEBOOKS, OF_IMAGES),
        table(f"apart, latents without codes: {title}", (STORAGE, *quality), {label: [one] for label, one in latents.items()}, OF_STORAGE),
        spread(f"over seeds: {title}", of_codes, rows, codes),
    ]
    return render([one for one in found if one.rows], "md")


def rungs() -> str:
    """Read the table of rungs from their rows, as Markdown."""
    columns = (Column("bits/position", "bits"), Column("codes", "codes"), Column("values", "values"), Column("what", "what", align="left"))
    cells = {rung.name: (*map(Cell, shape(rung)), Cell(rung.summary)) for rung in RUNGS}
    note = "values: numbers a position between encoder and decoder"
    return render([Table("recipes `ladder-RUNG`", columns, tuple(cells.items()), (note,), lead="rung")], "md")


def shape(rung: Rung) -> tuple[str, str, str]:
    """Bits, codes and values of a position; latents have no codes."""
    if isinstance(rung.config, VAEConfig):
        return "-", "-", str(rung.config.embed_dim)
    sizes = rung.config.quantizer.codebook_sizes
    return f"{sum(map(math.log2, sizes)):.2f}", " x ".join(map(str, sizes)), str(rung.config.quantizer.channels)


def spread(title: str, columns: Sequence[Column], rows: Mapping[str, Measured], once: Mapping[str, Measured]) -> Table:
    """How far figures move by the seed alone, and beside it from rung to rung."""
    seeds: dict[str, list[Measured]] = {}
    for label, one in rows.items():
        seeds.setdefault("+".join(part for part in label.split("+") if not part.startswith("seed=")), []).append(one)
    several = {f"{name}, {len(found)} seeds": found for name, found in seeds.items() if len(found) > 1}
    if several and len(once) > 1:
        several[f"{len(once)} rungs, one seed"] = list(once.values())
    return table(title, columns, several, OF_SEEDS)


def table(title: str, columns: Sequence[Column], rows: Mapping[str, Sequence[Measured]], *notes: str) -> Table:
    """A table of single rows, or of means with the lowest and the highest of several."""
    cells = {name: tuple(cell(column, [one.value(column) for one in found]) for column in columns) for name, found in rows.items()}
    return Table(title, tuple(columns), tuple(cells.items()), notes, lead="rung")


def cell(column: Column, values: Sequence[float | None]) -> Cell:
    """One value, or the mean of several with the lowest and the highest."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return Cell("-")
    ends = (column.write(min(known)), column.write(max(known))) if len(known) > 1 else None
    return Cell(column.write(fmean(known)), fmean(known), ends)


def measured_rows(folder: Path) -> dict[str, Measured]:
    """Rows by their labels, in the order of the rungs; one that is not measured yet is left out.

    Raises:
        TokbenchError: If a folder is of no rung or holds two records of a kind, or the probe had other weights than the run.
    """
    places = [path for path in sorted(folder.iterdir()) if path.is_dir()] if folder.is_dir() else []
    rungs = {rung.name: rung for rung in RUNGS}
    found: dict[str, Measured] = {}
    for place in sorted(places, key=lambda path: list(rungs).index(named) if (named := path.name.partition("+")[0]) in rungs else -1):
        rung = rungs.get(place.name.partition("+")[0])
        if rung is None:
            raise TokbenchError(f"{place} is of no rung of the ladder; rungs are {', '.join(rungs)}")
        records, probes = find_records([place], may_be_none=True), find_probe_records([place])
        if len(records) > 1 or len(probes) > 1:
            raise TokbenchError(f"{place} holds {len(records)} records of runs and {len(probes)} of probes; keep one of each")
        states = {one.tokenizer.state_sha256 for _, one in (*records, *probes)}
        if len(states) > 1:
            raise TokbenchError(f"the records in {place} are of different weights; remove the folder, and make the row again")
        if records:
            found[place.name] = Measured(rung, records[0][1], probes[0][1] if probes else None)
    return found


def main() -> None:
    """Make rows, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    one, every, shown = (
        parts.add_parser("row", help="make one row"),
        parts.add_parser("all", help="make all rows"),
        parts.add_parser("table", help="print the tables"),
    )
    rungs = {rung.name: rung for rung in RUNGS}
    one.add_argument("rung", choices=rungs)
    one.add_argument("--seed", type=int, default=0)
    for part in (one, every):
        part.add_argument("--steps", type=int, help="fewer steps, to try it; the row's folder says so")
        part.add_argument("--limit", type=int, help="so many images measured and probed, to try it; the row's folder says so")
        part.add_argument("--runs", default="runs/quantizer-ladder")
    for part in (one, every, shown):
        part.add_argument("--results", default=RESULTS)
    one.set_defaults(work=lambda options: row(rungs[options.rung], options.seed, options))
    every.set_defaults(work=every_row)
    shown.set_defaults(work=lambda options: print(tables(Path(options.results))))
    options = parser.parse_args()
    if getattr(options, "seed", 0) < 0:
        parser.error(f"--seed must be at least 0, got {options.seed}")
    options.work(options)


if __name__ == "__main__":
    main()
