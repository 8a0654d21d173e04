"""How plots look on paper: widths, type, colours told apart by everyone, and files with the same bytes every time."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokbench.errors import missing_extra
from tokbench.files import write_bytes
from tokbench.report.words import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
WIDTHS = {"column": 3.25, "page": 6.75}
"""Inches, of one column and of a page of two."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D00", "#5A3A99")
"""Told apart by colour-blind readers too (after Okabe and Ito); every tokenizer has a marker and dashes besides."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)), (0, (7, 2)))
CODECS = {"webp": "*", "jpeg": "p"}
"""Markers of codecs, which are black; one of another name has a hexagon."""

CODEC_NAMES = {"webp": "WebP", "jpeg": "JPEG"}

GREY, PALE = "#666666", "#efefef"
LINE = 0.16
"""Inches a line of the legend takes."""

CROWD, CROWD_LIMIT, MOST_LIMIT = 12, 38, 80
"""Up to so many names may have two lines each, more of them one; characters of a line of the legend in a crowd, and else."""

STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.linewidth": 0.4,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "lines.linewidth": 1.0,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "tokbench",
    "pdf.fonttype": 42,
    "savefig.dpi": 300,
}

_NO_DATES = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}


@dataclass(frozen=True)
class Paper:
    """The look of every record, the same in all plots.

    Args:
        names: Names of the records' rows, in order.
        codecs: The codec of each record, None for tokenizers.
    """

    names: tuple[str, ...]
    codecs: tuple[str | None, ...]

    def look(self, name: str) -> dict[str, Any]:
        """Colour and marker of a record."""
        codec = self.codecs[self.names.index(name)]
        if codec is not None:
            return {"color": "black", "marker": CODECS.get(codec, "h")}
        number = [other for other, codec in zip(self.names, self.codecs, strict=True) if codec is None].index(name)
        return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}

    def dashes(self, name: str) -> dict[str, Any]:
        """Colour and dashes of a record's line."""
        return {"color": self.look(name)["color"], "linestyle": DASHES[self.names.index(name) % len(DASHES)]}


@contextmanager
def paper_style() -> Iterator[None]:
    """Set type and lines for what is drawn or written inside.

    Raises:
        TokbenchError: If matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise missing_extra("matplotlib", "plots", "tokbench plot") from error
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def codec_label(codec: str) -> str:
    """The entry of the legend for all rates of a codec."""
    return f"{CODEC_NAMES.get(codec, codec)} (codec)"


def panel_height(width: float) -> float:
    """Inches that the axes of a panel take in height; what stands below them comes on top."""
    return 0.5 * min(width, WIDTHS["column"])


def legend_size(labels: Sequence[str], width: float) -> tuple[int, float]:
    """Lay a legend out.

    Args:
        labels: Its entries.
        width: Inches it may take.

    Returns:
        How many columns it has, and how many inches it takes in height.
    """
    if not labels:
        return 1, 0.0
    texts = fitted(labels, _line_limit(labels, width))
    longest = max(len(line) for text in texts for line in text.split("\n"))
    columns = max(1, min(len(labels), int(width * 13 / (longest + 4))))
    lines = [text.count("\n") + 1 for text in texts]
    per_column = -(-len(labels) // columns)
    return columns, LINE * max(sum(lines[start : start + per_column]) for start in range(0, len(lines), per_column))


def add_legend(figure: Figure, axes: Sequence[Axes], labels: Sequence[str], width: float) -> None:
    """Put one legend for all panels below them, with these entries in this order."""
    found: dict[str, Any] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    present = [label for label in labels if label in found]
    if present:
        figure.legend(
            [found[label] for label in present],
            fitted(present, _line_limit(present, width)),
            loc="outside lower center",
            ncols=legend_size(present, width)[0],
            handlelength=1.8,
            columnspacing=1.0,
            handletextpad=0.5,
            labelspacing=0.3,
        )


def _line_limit(labels: Sequence[str], width: float) -> int:
    """Characters of a line of the legend."""
    return min(int(width * 12), CROWD_LIMIT if len(labels) > CROWD else MOST_LIMIT)


def fitted(names: Sequence[str], limit: int) -> list[str]:
    """Names in lines of so many characters, two at most, one in a crowd; of longer ones the middle is left out.

    Args:
        names: All that are shown together.
        limit: Characters of a line.

    Returns:
        The names for matplotlib, which takes none of their dollars for formulas.
    """
    most = 2 if len(names) <= CROWD else 1
    return [verbatim(_fitted(" ".join(name.split()), limit, most)) for name in names]


def verbatim(text: str) -> str:
    """Text for matplotlib, which would take what stands between dollars for a formula."""
    return text.replace("$", r"\$")


def _fitted(name: str, limit: int, most: int) -> str:
    for length in range(most * limit, 0, -1):
        lines = textwrap.wrap(shortened(name, length), limit)
        if len(lines) <= most:
            return "\n".join(lines)
    return ""


def save_figure(figure: Figure, path: Path, form: str) -> None:
    """Write a figure in one of ``FORMATS``, without date and version; nobody sees a half-written file.

    Raises:
        TokbenchError: If it cannot be written.
    """
    stream = io.BytesIO()
    with paper_style():
        figure.savefig(stream, format=form, metadata=_NO_DATES[form])
    write_bytes(path, stream.getvalue())
