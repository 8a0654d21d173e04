"""The zoo as a table that fits its window, a line a tokenizer, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokbench.bench.cache_size import in_words

if TYPE_CHECKING:
    from rich.console import Console

    from tokbench.tokenizers.listed import Listed
    from tokbench.tokenizers.published import PublishedFigure

ELSEWISE, SECOND_HAND = "≠", "?"
"""Marks of published figures: under another protocol than most, and not read in its source."""

STATES = {"embedded": "here", "to fetch": "fetch", "to be given": "give", "none needed": "-"}
"""Weights in words that are short enough for a column."""

NOTES = (
    "* what the family's name alone means. Tokens and bits are of images of px pixels a side. ≈ by the shapes of tensors.",
    "Weights: here, fetch (tokbench weights get NAME), give (--weights FILE), - (none needed).",
    "Figures are published ones, of ImageNet val at 256 px; ≠ under another protocol, ? second hand: tokbench published NAME.",
)


@dataclass(frozen=True)
class Shown:
    """A column of the table.

    Args:
        title: Heading.
        cell: What it says of a row.
        right: Whether it is aligned to the right, as numbers are.
        leaves: Where the window is narrow, the columns with the highest number leave first; those with 0 stay.
    """

    title: str
    cell: Callable[[Listed], str]
    right: bool = True
    leaves: int = 0

    def width(self, rows: Iterable[Listed]) -> int:
        """Characters of its longest cell."""
        return max(len(self.title), *(len(self.cell(row)) for row in rows))


def _books(sizes: Sequence[int]) -> str:
    if len(sizes) <= 1:
        return "".join(map(str, sizes))
    return f"{len(sizes)} x {sizes[0]}" if len(set(sizes)) == 1 else ", ".join(map(str, sizes))


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _figure(metric: str) -> Callable[[Listed], str]:
    def cell(row: Listed) -> str:
        figure = row.quoted(metric)
        return "-" if figure is None else f"{figure.value:g}{_marks(figure)}"

    return cell


def _marks(figure: PublishedFigure) -> str:
    return ELSEWISE * (not figure.common) + SECOND_HAND * (not figure.verified)


def size_in_words(size: int | None) -> str:
    """A number of bytes that was computed from shapes: ``≈ 335 MB``; empty if it is not known."""
    return "" if size is None else f"≈ {in_words(size)}"


COLUMNS = (
    Shown("tokenizer", lambda row: row.name + "*" * row.default, right=False),
    Shown("px", lambda row: str(row.variant.image_size), leaves=3),
    Shown("f", lambda row: _number(row.layout.downsampling, "d"), leaves=4),
    Shown("tokens", lambda row: str(row.layout.tokens_per_image)),
    Shown("bits", lambda row: _number(row.layout.bits_per_image, ".0f")),
    Shown("bpp", lambda row: _number(row.layout.bpp, ".3f"), leaves=6),
    Shown("codes", lambda row: _books(row.layout.codebook_sizes) or f"{row.layout.channels} ch."),
    Shown("rFID", _figure("rfid"), leaves=1),
    Shown("PSNR", _figure("psnr"), leaves=7),
    Shown("MB", lambda row: "-" if row.size is None else f"≈{row.size.bytes / 1e6:.0f}", leaves=2),
    Shown("weights", lambda row: STATES.get(row.weights, row.weights), right=False, leaves=5),
)
LICENCE = Shown("licence", lambda row: row.terms or "-", right=False)
SUMMARY = Shown("what it is", lambda row: row.variant.summary, right=False, leaves=8)
SHORTEST = {LICENCE: 15, SUMMARY: 24}
"""Characters that these columns are left at least; of longer texts the end is cut off."""


def fitting(rows: Sequence[Listed], width: int) -> dict[Shown, int]:
    """The columns that there is room for, each with its width.

    Args:
        rows: What the table shows.
        width: Characters of a line.
    """
    natural = {column: column.width(rows) for column in (*COLUMNS, LICENCE, SUMMARY)}
    found = {column: min(most, SHORTEST.get(column, most)) for column, most in natural.items()}
    while _length(found) > width and (last := max(found, key=lambda one: one.leaves)).leaves:
        del found[last]
    for column in SHORTEST:
        if column in found:
            found[column] = min(natural[column], found[column] + max(0, width - _length(found)))
    return found


def _length(widths: Mapping[Shown, int]) -> int:
    return sum(widths.values()) + len(widths) - 1


def lines(rows: Sequence[Listed], width: int) -> list[str]:
    """The heading, and a line for every row, with as many columns as there is room for.

    Args:
        rows: What the table shows.
        width: Characters of a line.
    """
    widths = fitting(rows, width)
    cells = [{column: column.title for column in widths}, *({column: column.cell(row) for column in widths} for row in rows)]
    return [" ".join(_set(line[column], room, column.right) for column, room in widths.items()).rstrip() for line in cells]


def _set(text: str, room: int, right: bool) -> str:
    text = text if len(text) <= room else f"{text[: room - 1]}…"
    return text.rjust(room) if right else text.ljust(room)


def print_table(rows: Sequence[Listed], console: Console) -> None:
    """Draw rows of the zoo, a line each, with as many columns as the window has room for."""
    heading, *rest = lines(rows, console.width)
    console.print(heading, style="bold", highlight=False, markup=False, soft_wrap=True)
    for line in rest:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for note in NOTES:
        console.print(note, style="dim", highlight=False, markup=False)


def print_sets(console: Console) -> None:
    """Say which words sets are named by, for how many tokenizers each holds, and what it means."""
    from tokbench.tokenizers.sets import MEANINGS, SIGN, counts
    from tokbench.tokenizers.zoo import families

    found, known = counts(), families()
    for word in sorted(found, key=lambda one: (one not in MEANINGS, one in known, not one.startswith("f"), len(one), one)):
        meaning = MEANINGS.get(word) or (f"family {word}" if word in known else _of_number(word))
        console.print(f"{SIGN + word:<18}{found[word]:>4}  {meaning}", highlight=False, markup=False)
    console.print(
        f"Words joined by - shall all hold: {SIGN}discrete-f16-local. {SIGN}FILE.txt holds a name or such a set a line.", style="dim"
    )


def _of_number(word: str) -> str:
    pixels = word.removesuffix("px")
    return f"made for {pixels} px" if pixels != word else f"one position for {word[1:]} x {word[1:]} pixels"


def csv_of(rows: Sequence[Listed]) -> str:
    """Rows of the zoo as CSV; empty fields are not known, or do not apply."""
    from tokbench.tokenizers.listed import listed

    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(listed()[0].flat()), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.flat() for row in rows)
    return stream.getvalue()


def quoted(figures: Iterable[Mapping[str, Any]]) -> list[str]:
    """Published figures, a line each, with their protocol and their source."""
    return [
        f"{'published':<18}{one['metric']} {one['value']:g}: {one['protocol']} ({one['source']}{'' if one['verified'] else ', second hand'})"
        for one in figures
    ]
