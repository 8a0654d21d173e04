"""Tables of words in a terminal: one column takes what room is left, and its words wrap."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from tokbench.commands.console import out

if TYPE_CHECKING:
    from tokbench.report.table import Table


def print_words(table: Table, *, wrapped: str, left_out: Collection[str] = ()) -> None:
    """Draw a table of words.

    Args:
        table: Its notes stand below.
        wrapped: Key of the column that takes what room is left.
        left_out: Keys of columns that are not drawn.
    """
    from rich import table as rich_table
    from rich.box import SIMPLE_HEAD

    shown = [i for i, column in enumerate(table.columns) if column.key not in left_out]
    drawn = rich_table.Table(header_style="bold", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    drawn.add_column(table.lead, no_wrap=True)
    for i in shown:
        drawn.add_column(table.columns[i].title, ratio=1 if table.columns[i].key == wrapped else None, justify=table.columns[i].align)
    for key, cells in table.rows:
        drawn.add_row(key, *(cells[i].text for i in shown))
    out.print(drawn)
    for note in table.notes:
        out.print(note, style="dim", highlight=False, markup=False)
