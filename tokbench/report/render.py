"""Tables as text: Markdown, CSV, LaTeX, JSON, and for the terminal."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tokbench.configs import plain
from tokbench.errors import unknown_name
from tokbench.report.table import Column, Table

if TYPE_CHECKING:
    from rich.console import Console

FORMATS = ("terminal", "md", "csv", "latex", "json")


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
    return writers[form](tables)


def print_tables(tables: Sequence[Table], console: Console) -> None:
    """Draw tables in a terminal; where the window is too narrow, metrics go into rows and tokenizers into columns."""
    for table in tables:
        console.print(table.title, highlight=False, markup=False)
        wide = sum(max(len(_title(c)), *(len(cells[i].text) for _, cells in table.rows)) + 3 for i, c in enumerate(table.columns))
        if wide + max(len(name) for name, _ in table.rows) + 4 <= console.width:
            _draw(table, console)
        else:
            _draw_turned(table, console)
        for note in table.notes:
            console.print(f"  {note}", style="dim", highlight=False, markup=False)


def _draw(table: Table, console: Console) -> None:
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(header_style="bold")
    drawn.add_column("tokenizer", no_wrap=True)
    for column in table.columns:
        drawn.add_column(_title(column), justify="right", no_wrap=True)
    for name, cells in table.rows:
        drawn.add_row(Text(name), *(Text(cell.text) for cell in cells))
    console.print(drawn)


def _draw_turned(table: Table, console: Console) -> None:
    from rich.table import Table as RichTable
    from rich.text import Text

    per_block = max(1, (console.width - 18) // (max(max(len(name) for name, _ in table.rows), 12) + 3))
    for start in range(0, len(table.rows), per_block):
        block = table.rows[start : start + per_block]
        drawn = RichTable(header_style="bold")
        drawn.add_column("", no_wrap=True)
        for name, _ in block:
            drawn.add_column(Text(name), justify="right")
        for i, column in enumerate(table.columns):
            drawn.add_row(_title(column), *(Text(cells[i].text) for _, cells in block))
        console.print(drawn)


def _title(column: Column) -> str:
    return f"{column.title} {column.arrow}".strip()


def _markdown(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        lines = [f"**{table.title}**", ""]
        lines.append("| tokenizer | " + " | ".join(_title(column) for column in table.columns) + " |")
        lines.append("|---|" + "---:|" * len(table.columns))
        lines += ["| " + " | ".join([name.replace("|", "\\|"), *(cell.text for cell in cells)]) + " |" for name, cells in table.rows]
        lines += [""] + [f"- {note}" for note in table.notes] if table.notes else []
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _csv(tables: Sequence[Table]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for table in tables:
        writer.writerow(["protocol and data", "tokenizer", *(column.key for column in table.columns)])
        for name, cells in table.rows:
            writer.writerow([table.title, name, *("" if cell.value is None else repr(cell.value) for cell in cells)])
    return stream.getvalue()


def _latex(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        lines = [f"% {table.title}", "\\begin{tabular}{l" + "r" * len(table.columns) + "}", "\\toprule"]
        lines.append(" & ".join(["tokenizer", *(_tex(_title(column)) for column in table.columns)]) + " \\\\")
        lines.append("\\midrule")
        lines += [" & ".join([_tex(name), *(_tex(cell.text) for cell in cells)]) + " \\\\" for name, cells in table.rows]
        lines += ["\\bottomrule", "\\end{tabular}", *(f"% {note}" for note in table.notes)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _tex(text: str) -> str:
    for plain_text, escaped in (
        ("\\", "\\textbackslash{}"),
        ("_", "\\_"),
        ("%", "\\%"),
        ("&", "\\&"),
        ("#", "\\#"),
        ("$", "\\$"),
        ("†", "$^\\dagger$"),
    ):
        text = text.replace(plain_text, escaped)
    return text.replace("↑", "$\\uparrow$").replace("↓", "$\\downarrow$")


def _json(tables: Sequence[Table]) -> str:
    values = [
        {
            "title": table.title,
            "rows": [
                {"tokenizer": name} | {c.key: plain(cell.value) for c, cell in zip(table.columns, cells, strict=True)}
                for name, cells in table.rows
            ],
            "notes": list(table.notes),
        }
        for table in tables
    ]
    return json.dumps(values, indent=2) + "\n"
