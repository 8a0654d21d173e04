"""Tables as text: Markdown, CSV, LaTeX, JSON, and for the terminal."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tokbench.configs import plain
from tokbench.errors import unknown_name
from tokbench.escapes import visible
from tokbench.records.distinct import distinct
from tokbench.report.comparable import SETTINGS_MARK, SPEED_MARK
from tokbench.report.table import Cell, Column, Table
from tokbench.report.training import MARK_WORDS as TRAINING_WORDS
from tokbench.report.words import shortened

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

FORMATS = ("terminal", "md", "csv", "latex", "json")

MARK_WORDS = {
    **TRAINING_WORDS,
    SETTINGS_MARK: "measured otherwise than most of this table",
    SPEED_MARK: "measured on different machines, devices, threads or micro-batches",
}
"""Marks in the formats for machines, which have a column or field of words for them."""

TEXT_LIMIT = 400
"""Characters of a name or a note in formats for people."""

FORMULA = ("=", "+", "-", "@")
"""What a formula of a spreadsheet begins with."""

WHERE = "protocol and data"
"""What the titles of tables stand under in CSV."""

BESIDE = ("low", "high", "exact", "best", "note")
"""What follows a column's key in the names of what stands beside its values."""


def render(tables: Sequence[Table], form: str) -> str:
    """Write tables in a text format.

    Args:
        tables: What to write.
        form: ``md``, ``csv``, ``latex`` or ``json``.

    Raises:
        TokbenchError: If the format is unknown.
    """
    writers = {"md": _markdown, "csv": _csv, "latex": _latex, "json": _json}
    if form not in writers:
        raise unknown_name("format", form, FORMATS)
    return writers[form]([_visible(table) for table in tables])


NAME = 24
"""Characters that a long name of a row has at least in a line, where it goes on in another one."""


def print_tables(tables: Sequence[Table], console: Console) -> None:
    """Draw tables in a terminal; where the window is too narrow, metrics go into rows and tokenizers into columns."""
    for table in map(_visible, tables):
        console.print(table.title, highlight=False, markup=False)
        wide = sum(max(len(_title(c)), *(len(cells[i].text) for _, cells in table.rows)) + 3 for i, c in enumerate(table.columns))
        words = all(column.align == "left" for column in table.columns)  # which go on in another line
        name = max(len(name) for name, _ in table.rows)
        if words or wide + name + 4 <= console.width:
            _draw(table, console)
        elif _per_block(table, console) < 2 and wide + NAME + 4 <= console.width:
            _draw(table, console, whole_names=False)
        else:
            _draw_turned(table, console)
        for note in table.notes:
            console.print(f"  {note}", style="dim", highlight=False, markup=False)


def _visible(table: Table) -> Table:
    """The same table with nothing in its texts that a terminal, or a reader's eye, would obey."""
    columns = tuple(replace(column, title=visible(column.title), key=visible(column.key)) for column in table.columns)
    rows = tuple((visible(name), tuple(replace(cell, number=visible(cell.number)) for cell in cells)) for name, cells in table.rows)
    return replace(table, title=visible(table.title), columns=columns, rows=rows, notes=tuple(map(visible, table.notes)))


def _per_block(table: Table, console: Console) -> int:
    """How many rows of a table stand beside each other where it is turned."""
    return max(1, (console.width - 18) // (max(max(len(name) for name, _ in table.rows), 12) + 3))


def _draw(table: Table, console: Console, *, whole_names: bool = True) -> None:
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(header_style="bold")
    drawn.add_column(table.lead, no_wrap=whole_names)
    for column in table.columns:
        drawn.add_column(_title(column), justify=column.align, no_wrap=column.align == "right")
    for name, cells in table.rows:
        drawn.add_row(Text(name), *map(_drawn, cells))
    console.print(drawn)


def _draw_turned(table: Table, console: Console) -> None:
    from rich.table import Table as RichTable
    from rich.text import Text

    per_block = _per_block(table, console)
    for start in range(0, len(table.rows), per_block):
        block = table.rows[start : start + per_block]
        drawn = RichTable(header_style="bold")
        drawn.add_column("", no_wrap=True)
        for name, _ in block:
            drawn.add_column(Text(name), justify="right")
        for i, column in enumerate(table.columns):
            drawn.add_row(_title(column), *(_drawn(cells[i]) for _, cells in block))
        console.print(drawn)


def _drawn(cell: Cell) -> Text:
    from rich.text import Text

    return Text(cell.text, style="bold" if cell.bold else "")


def _title(column: Column) -> str:
    return f"{column.title} {column.arrow}".strip()


def _markdown(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        lines = [f"**{_marked_down(table.title)}**", ""]
        lines.append(f"| {table.lead} | " + " | ".join(_marked_down(_title(column)) for column in table.columns) + " |")
        lines.append("|---|" + "".join("---:|" if column.align == "right" else "---|" for column in table.columns))
        lines += ["| " + " | ".join([_marked_down(name), *map(_markdown_cell, cells)]) + " |" for name, cells in table.rows]
        lines += [""] + [f"- {_marked_down(note)}" for note in table.notes] if table.notes else []
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _markdown_cell(cell: Cell) -> str:
    number = _marked_down(cell.number)
    return (f"**{number}**" if cell.bold else number) + _marked_down(cell.text[len(cell.number) :])


def _marked_down(text: str) -> str:
    """Text as itself: not a cell's end, not HTML, not endless."""
    return html.escape(shortened(text, TEXT_LIMIT), quote=False).replace("|", "\\|")


def _told_apart(table: Table) -> Table:
    """The same table with keys that are no name of its rows, of the table, or of what stands beside the values of another column."""
    cells = list(zip(*(cells for _, cells in table.rows), strict=True)) or [()] * len(table.columns)
    beside = [
        dict.fromkeys(name.removeprefix(column.key) for cell in own for name in _beside(column, cell))
        for column, own in zip(table.columns, cells, strict=True)
    ]
    keys = distinct([(column.key, ends) for column, ends in zip(table.columns, beside, strict=True)], (table.lead, WHERE, "best"))
    return replace(table, columns=tuple(replace(column, key=key) for column, key in zip(table.columns, keys, strict=True)))


def _csv(tables: Sequence[Table]) -> str:
    tables = [_told_apart(table) for table in tables]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    found = [(column, cells[i]) for table in tables for _, cells in table.rows for i, column in enumerate(table.columns)]
    beside = {name for column, cell in found for name in _beside(column, cell)}
    keys = dict.fromkeys(column.key for table in tables for column in table.columns)
    leads = dict.fromkeys(table.lead for table in tables)
    names = dict.fromkeys(name for key in keys for name in (key, *(f"{key}_{end}" for end in BESIDE)))
    columns = [name for name in names if name in keys or name in beside]
    header = list(dict.fromkeys([WHERE, *leads, *columns]))  # a table may have as a column what heads the names of another
    if tables:
        writer.writerow(map(_csv_text, header))
    for table in tables:
        for name, cells in table.rows:
            row: dict[str, Any] = {WHERE: table.title, table.lead: name}
            for column, cell in zip(table.columns, cells, strict=True):
                row |= {column.key: _value(column, cell)} | _beside(column, cell)
            writer.writerow([_csv_text(row.get(key)) for key in header])
    return stream.getvalue()


def _csv_text(value: Any) -> Any:
    """A value as spreadsheets take it: text that would be a formula begins with an apostrophe."""
    if isinstance(value, str) and value[:1] in FORMULA and len(value) > 1 and not _is_number(value):
        return f"'{value}"
    return "" if value is None else str(value).lower() if isinstance(value, bool) else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _value(column: Column, cell: Cell) -> float | str | None:
    """A cell's value, or its words."""
    return cell.number if column.align == "left" else cell.value


def _beside(column: Column, cell: Cell) -> dict[str, Any]:
    """What machines are told beside a value: the ends of its interval, whether it is the best, its marks in words."""
    found: dict[str, Any] = {}
    if column.ranged:
        found |= dict(zip((f"{column.key}_low", f"{column.key}_high"), cell.interval or (None, None), strict=True))
    if cell.exact:
        found[f"{column.key}_exact"] = cell.exact
    if column.tested:
        found[f"{column.key}_best"] = cell.bold if cell.value is not None or cell.exact else None
    if cell.mark:
        found[f"{column.key}_note"] = "; ".join(words for mark, words in MARK_WORDS.items() if mark in cell.mark)
    return found


def _latex(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        aligned = "l" + "".join(column.align[0] for column in table.columns)
        lines = [f"% {table.title}", "% needs \\usepackage{booktabs,threeparttable}"]
        lines += ["\\begin{threeparttable}", f"\\begin{{tabular}}{{{aligned}}}", "\\toprule"]
        lines.append(" & ".join([table.lead, *(_tex(_title(column)) for column in table.columns)]) + " \\\\")
        lines.append("\\midrule")
        lines += [" & ".join([_tex(shortened(name, TEXT_LIMIT)), *map(_latex_cell, cells)]) + " \\\\" for name, cells in table.rows]
        lines += ["\\bottomrule", "\\end{tabular}"]
        if table.notes:
            lines += ["\\begin{tablenotes}", "\\footnotesize", *(f"\\item {_tex(note)}" for note in table.notes), "\\end{tablenotes}"]
        parts.append("\n".join([*lines, "\\end{threeparttable}"]))
    return "\n\n".join(parts) + "\n"


def _latex_cell(cell: Cell) -> str:
    number = "$\\infty$" if cell.number == "inf" else "$-\\infty$" if cell.number == "-inf" else _tex(cell.number)
    ends = f" {{\\scriptsize [{', '.join(map(_tex, cell.ends))}]}}" if cell.ends else ""
    if cell.bold:
        number = f"\\textbf{{\\boldmath {number}}}" if "$" in number else f"\\textbf{{{number}}}"
    return number + ends + _tex(cell.mark + cell.beside)


_TEX = {character: f"\\{character}" for character in "_%&#${}"} | {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    "[": "{[}",  # after the end of a row it would begin an optional argument
    "†": "$^\\dagger$",
    "≠": "$^{\\neq}$",
    "‡": "$^\\ddagger$",
    "§": "\\S{}",
    "↑": "$\\uparrow$",
    "↓": "$\\downarrow$",
}


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in text)


def _json(tables: Sequence[Table]) -> str:
    values = []
    for table in map(_told_apart, tables):
        rows = []
        for name, cells in table.rows:
            row: dict[str, Any] = {table.lead: name}
            for column, cell in zip(table.columns, cells, strict=True):
                row |= plain({column.key: _value(column, cell)} | _beside(column, cell))
            best = [column.key for column, cell in zip(table.columns, cells, strict=True) if cell.bold]
            rows.append(row | ({"best": best} if best else {}))
        values.append({"title": table.title, "rows": rows, "notes": list(table.notes)})
    return json.dumps(values, indent=2) + "\n"
