"""The tables of docs/protocols.md, made of the records that ``benchmarks/protocols.py`` writes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tokbench.errors import TokbenchError
from tokbench.records.figure_info import FigureInfo
from tokbench.records.figures import BY_KEY
from tokbench.records.protocol import PRESETS
from tokbench.records.record import Record
from tokbench.records.store import find_records, read_rows
from tokbench.report.protocols import presets_table
from tokbench.report.render import render
from tokbench.report.table import EXACT, Cell, Column, Table, figure_column
from tokbench.weights.assets import ASSETS

RESULTS = Path(__file__).parents[1] / "results" / "protocols"

NOTHING = "Nothing has been measured yet."

FIGURES = ("psnr", "ssim", "lpips", "lpips_vgg", "rfid", "fd_efflite0_299")
DISTANCES = ("rfid", "fd_efflite0_299")

STAND_IN = (
    "FD-EffLite0@299 stands in for rFID where Inception's weights are not at hand: EfficientNet-Lite0 is given what the protocol gives "
    "Inception, the same resize and rounding. It is not FID, and says how far such a figure moves, not rFID's own number"
)
PROCESSES = 64
"""Processes among which a sampler that pads is said to part the images."""


class Row(NamedTuple):
    """One disagreement.

    Args:
        title: What evaluations differ in.
        change: Folder of the records that differ from the clean ones in it; empty if there is no such protocol.
        figure: What moves.
        instead: What is said where no figure can be shown.
    """

    title: str
    change: str = ""
    figure: str = ""
    instead: str = ""


ROWS = {
    "1": Row("SSIM with range 2 of pixels in [0, 1]", "ssim-range-2", "ssim"),
    "2": Row("PSNR of batches of 5", "psnr-of-batches", "psnr"),
    "3": Row("PSNR of one error of all images", "psnr-of-all", "psnr"),
    "4a": Row("LPIPS on VGG16, not AlexNet", "clean", "lpips_vgg", "the weights of VGG16 could not be fetched, as said above"),
    "4b": Row("LPIPS given [0, 1], not [-1, 1]", "lpips-0-1", "lpips"),
    "5a": Row("reconstructions cut off to bytes", "truncated", "psnr"),
    "5b": Row("originals cut off too", "truncated-both", "psnr"),
    "5c": Row("rounded half up", "half-up", "psnr"),
    "6": Row("no bytes before the Fréchet distance", "fid-of-floats", "distance"),
    "7a": Row("bilinear, not bicubic", "bilinear", "psnr"),
    "7b": Row("bilinear, not bicubic", "bilinear", "distance"),
    "7c": Row("Lanczos", "lanczos", "psnr"),
    "7d": Row("Lanczos", "lanczos", "distance"),
    "7e": Row("halving by blocks first", "halving", "psnr"),
    "7f": Row("halving by blocks first", "halving", "distance"),
    "7g": Row("bilinear without antialias", "no-antialias", "psnr"),
    "7h": Row("bilinear without antialias", "no-antialias", "distance"),
    "7i": Row("cut as torchvision", "torchvision-crop", "psnr"),
    "7j": Row("network's resize of pytorch-fid", "fid-pytorch", "distance"),
    "7k": Row("network's resize of torchmetrics", "fid-torchmetrics", "distance"),
    "7l": Row("network's resize of clean-fid", "fid-clean", "distance"),
    "8": Row("another reference set", "", "", "the table of references below"),
    "9": Row("run at twice the size, judged at half", "judged-at-half", "psnr"),
    "10": Row("range of PSNR from the originals", "largest-original", "psnr", ""),
    "11": Row("what usage is", "", "", "the table of usage below"),
    "12": Row("latents sampled, not their mean", "posterior-sample", "psnr"),
    "13": Row("bfloat16, not single precision", "bf16", "psnr"),
    "14a": Row("SSIM by 7x7 equal weights", "uniform-window", "ssim"),
    "14b": Row("SSIM with the border", "mirrored", "ssim"),
    "14c": Row("SSIM by the range of batches of 8", "range-of-batch", "ssim"),
    "15": Row("refusing what no batch divides", "", "", "moves no figure: such data are refused there, and measured here"),
    "16": Row(f"images shown twice to fill {PROCESSES} processes", "padding", "psnr"),
}
"""The disagreements by number, in the order of the facts they were found in; those of several parts have letters."""

NOT_FETCHED = "its network ({}) could not be fetched where these records were made;"
"""Why records have no figure of a network."""

AGAINST = {"psnr-of-all": "clean", "largest-original": "psnr-of-all"}
"""Records that a change is compared with, where these are not the clean ones."""


def presets() -> str:
    """The presets, as Markdown."""
    return render([presets_table()], "md")


def figures(folder: Path = RESULTS) -> str:
    """Every figure under every preset, as Markdown: presets below each other, tokenizers beside each other."""
    found = {name: _records(folder / "presets" / name) for name in PRESETS}
    tokenizers = list(dict.fromkeys(name for records in found.values() for name in records))
    if not tokenizers:
        return NOTHING
    tables = []
    for key in FIGURES:
        shown = [name for name in tokenizers if any(_value(records.get(name), key) is not None for records in found.values())]
        column = figure_column(key)
        rows = tuple((name, tuple(_cell(column, _value(records.get(each), key)) for each in shown)) for name, records in found.items())
        notes = (STAND_IN,) if key == "fd_efflite0_299" else ()
        if shown:
            count = {found[next(iter(found))][each].data.count for each in shown}
            title = f"{column.title} at 64 px, N={' and '.join(map(str, sorted(count, reverse=True)))}"
            tables.append(Table(title, tuple(Column(each, each) for each in shown), rows, notes, "protocol"))
    measured = {key for records in found.values() for record in records.values() for key in record.figures()}
    absent = [f"- {BY_KEY[key].title}: {_why_not(BY_KEY[key])}" for key in FIGURES if key not in measured]
    return render(tables, "md") + ("\nNot shown:\n\n" + "\n".join(absent) + "\n" if absent else "")


def _why_not(info: FigureInfo) -> str:
    """Why the records have no such figure, and what to do for one."""
    asset = next((asset for asset in ASSETS if asset.name == info.asset), None)
    if asset is None or asset.embedded:
        return "needs 128 images"
    return f"{NOT_FETCHED.format(asset.summary)} `tokbench weights get {asset.name}` does that"


def sizes(folder: Path = RESULTS) -> str:
    """One tokenizer at the presets' own sizes, with the images that were enlarged, as Markdown."""
    found = [(name, record) for name in PRESETS for record in _records(folder / "sizes" / name).values()]
    if not found:
        return NOTHING
    columns = (
        Column("px", "size"),
        Column("images", "count"),
        Column("enlarged", "enlarged"),
        figure_column("psnr"),
        figure_column("ssim"),
    )
    rows = []
    for name, record in found:
        counts = (record.protocol.size, record.data.count, record.data.enlarged)
        rows.append((name, (*(Cell(str(number), number) for number in counts), *(_cell(c, _value(record, c.key)) for c in columns[3:]))))
    return render([Table(f"{found[0][1].tokenizer.name} at the presets' own sizes", columns, tuple(rows), (), "protocol")], "md")


def disagreements(folder: Path = RESULTS) -> str:
    """By how much each disagreement moves a figure, as Markdown."""
    place = folder / "disagreements"
    clean = _records(place / "clean")
    if not clean:
        return NOTHING
    columns = (Column("what", "what", align="left"), Column("figure", "figure", align="left"), *(Column(name, name) for name in clean))
    rows = [(number, _moved(row, place, clean)) for number, row in ROWS.items()]
    notes = ("value under the clean protocol, and by how much it moves", "8 and 11: the tables below", STAND_IN)
    tables = [Table("What moves by one setting alone, at 64 px", columns, tuple(rows), notes, "disagreement")]
    tables += _beside(
        folder / "reference-sets.json", "8: the same reconstructions from other references", "FD-EffLite0@299, halves of the images"
    )
    tables += _beside(folder / "usage.json", "11: what is called usage, and perplexity", "vqgan/tiny")
    return render(tables, "md")


def tables(folder: Path = RESULTS) -> str:
    """All of them."""
    return "\n".join((presets(), figures(folder), sizes(folder), disagreements(folder)))


def _moved(row: Row, place: Path, clean: dict[str, Record]) -> tuple[Cell, ...]:
    key = next((key for key in DISTANCES if any(_value(record, key) is not None for record in clean.values())), DISTANCES[-1])
    key = key if row.figure == "distance" else row.figure
    column = figure_column(key or "psnr")
    cells = []
    before = _records(place / AGAINST.get(row.change, "clean"))
    after = _records(place / row.change) if row.change not in ("", "padding") else {}
    for name, record in clean.items():
        if row.change == "padding":
            cells.append(_change(column, _value(record, key), _padded(place / "clean", record)))
        elif row.figure == "lpips_vgg":
            cells.append(_change(column, _value(record, "lpips"), _value(record, key)))
        else:
            cells.append(_change(column, _value(before.get(name), key), _value(after.get(name), key)))
    if row.instead and all(cell.text == "-" for cell in cells):
        return (Cell(f"{row.title}: {row.instead}"), Cell(column.title if key else "-"), *cells)
    return (Cell(row.title), Cell(column.title), *cells)


def _change(column: Column, before: float | None, after: float | None) -> Cell:
    if before is None or after is None:
        return Cell("-")
    if math.isinf(before):
        return Cell(EXACT if math.isinf(after) else f"{EXACT}, then {column.write(after)}")
    change = after - before if abs(after - before) > 1e-9 else 0.0
    small = f"{change * column.scale:+.2g}" if change and abs(change * column.scale) < 10**-column.digits else ""
    return Cell(f"{column.write(before)} {small or ('+' if change >= 0 else '-') + column.write(abs(change))}", change)


def _padded(folder: Path, record: Record) -> float | None:
    """Mean PSNR where the first images are counted again until the processes have equally many."""
    path = next(path for path, found in find_records([folder]) if found.tokenizer.name == record.tokenizer.name)
    values = [value for _, value in sorted(read_rows(path).get("psnr", {}).items()) if math.isfinite(value)]
    if not values:
        return None
    values += values[: -len(values) % PROCESSES]
    return sum(values) / len(values)


def _beside(path: Path, title: str, what: str) -> list[Table]:
    if not path.is_file():
        return []
    values: dict[str, float] = json.loads(path.read_text())
    rows = tuple((name, (Cell(f"{value:.4g}", value),)) for name, value in values.items())
    return [Table(title, (Column(what, "value"),), rows, (), "of")]


def _records(folder: Path) -> dict[str, Record]:
    """Records by the names of tokenizers."""
    if not folder.is_dir():
        return {}
    records = [record for _, record in find_records([folder], may_be_none=True)]
    found = {record.tokenizer.name: record for record in records}
    if len(found) < len(records):
        raise TokbenchError(f"{folder} holds two records of one tokenizer; remove one of them")
    return found


def _value(record: Record | None, key: str) -> float | None:
    return None if record is None else record.figures().get(key)


def _cell(column: Column, value: float | None) -> Cell:
    if value is None:
        return Cell("-")
    return Cell(EXACT if math.isinf(value) else column.write(value), value)


TABLES: dict[str, Callable[[], str]] = {"presets": presets, "figures": figures, "sizes": sizes, "disagreements": disagreements}
"""Name of the block in docs/protocols.md to what writes it."""
