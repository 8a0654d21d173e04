"""What lists say of the rows of the zoo, which rows they take, and in what order; no torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tokbench.configs import plain
from tokbench.errors import TokbenchError, unknown_name
from tokbench.layout import TokenLayout
from tokbench.tokenizers.family import Family, Variant
from tokbench.tokenizers.published import PublishedFigure, headline, published_figures
from tokbench.tokenizers.sizes import Size, size_of
from tokbench.tokenizers.zoo import families
from tokbench.weights.obtain import State, weights_state

NON_COMMERCIAL = re.compile(r"[,; ]*non-?commercial", re.IGNORECASE)
MORE_IS_BETTER = ("psnr", "ssim")
QUOTED = ("rfid", *MORE_IS_BETTER, "lpips")
"""Published figures that lists can be sorted by."""


@dataclass(frozen=True)
class Listed:
    """A row of the zoo with all that follows from it.

    Args:
        family: Its family.
        variant: The row.
    """

    family: Family
    variant: Variant

    @property
    def name(self) -> str:
        """``family/variant``."""
        return f"{self.family.name}/{self.variant.name}"

    @property
    def default(self) -> bool:
        """Whether the family's name alone means it."""
        return self.variant.name == self.family.default

    @cached_property
    def layout(self) -> TokenLayout:
        """Its tokens for an image of the size it was made for."""
        return self.variant.config.layout(self.variant.image_size, self.variant.image_size)

    @property
    def weights(self) -> State:
        """Whether its weights are at hand."""
        return weights_state(self.family, self.variant)

    @property
    def local(self) -> bool:
        """Whether it works without any download."""
        return self.weights in ("embedded", "here", "none needed")

    @property
    def size(self) -> Size | None:
        """How large it is; None if that is not known."""
        return size_of(self.name)

    @property
    def non_commercial(self) -> bool:
        """Whether the licence of its weights says that they are not for commercial use."""
        return bool(NON_COMMERCIAL.search(self.variant.licence))

    @property
    def terms(self) -> str:
        """Its licence in a few words: first of all whether it is non-commercial, and without where it is said."""
        name = self.variant.licence.partition(" (")[0]
        return f"non-commercial: {NON_COMMERCIAL.sub('', name)}".rstrip(": ") if self.non_commercial else name

    def quoted(self, metric: str) -> PublishedFigure | None:
        """The published figure of a metric that lists show; None if there is none."""
        return headline(self.variant.published, metric)

    def facts(self) -> dict[str, Any]:
        """All there is to say of it, as plain values."""
        layout, variant, size = self.layout, self.variant, self.size
        return {
            "name": self.name,
            "family": self.family.name,
            "default": self.default,
            "summary": variant.summary,
            "image_size": variant.image_size,
            "image_sizes": sizes_taken(variant.config.layout, variant.image_size, variant.config.stride),
            **layout_facts(layout),
            "parameters": None if size is None else size.parameters,
            "bytes": None if size is None else size.bytes,
            "weights": self.weights,
            "file": variant.file,
            "file_sha256": variant.sha256,
            "licence": variant.licence,
            "non_commercial": self.non_commercial,
            "source": variant.source,
            "trained_with": list(variant.trained_with),
            "normalisation": plain(variant.normalisation or getattr(variant.config, "normalisation", None)),
            "published": [plain(figure) for figure in published_figures(variant.published)],
        }

    def flat(self) -> dict[str, str | float | None]:
        """The same as one value a column, for tables: several numbers with spaces between, and of every metric one figure."""
        found = {key: _flat(value) for key, value in self.facts().items() if key not in ("normalisation", "published")}
        for metric in QUOTED:
            figure = self.quoted(metric)
            found[metric] = None if figure is None else figure.value
            for key in ("protocol", "source", "verified"):
                found[f"{metric}_{key}"] = None if figure is None else _flat(getattr(figure, key))
        return found


def sizes_taken(layout: Callable[[int, int], TokenLayout], size: int, stride: int) -> str:
    """Say in words which images a tokenizer takes, and what becomes of those whose sides do not fit.

    Args:
        layout: Its layout of images of a height and a width.
        size: Side of the square images it was made for.
        stride: Pixels a position covers along each axis.
    """
    try:
        padded = any(layout(size + 1, 2 * size + 1).padding)
    except TokbenchError:
        return f"{size}x{size}"
    return f"any; padded to multiples of {stride}, right and below, by copies of the last pixels" if padded else "any"


def layout_facts(layout: TokenLayout) -> dict[str, Any]:
    """What a layout says, as plain values."""
    return {
        "grid": list(layout.grid),
        "downsampling": layout.downsampling,
        "positions": layout.positions,
        "tokens_per_image": layout.tokens_per_image,
        "bits_per_image": layout.bits_per_image,
        "bpp": layout.bpp,
        "codebook_sizes": list(layout.codebook_sizes),
        "channels": layout.channels,
        "scales": list(layout.scales),
        "lengths": list(layout.lengths),
    }


def _flat(value: Any) -> str | float | None:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else value


@dataclass(frozen=True)
class Filter:
    """Which rows a list takes; None does not ask.

    Args:
        families: Names of families; empty takes all.
        discrete: Whether their tokens are codes.
        max_tokens: Tokens of an image at most, at the size a tokenizer was made for.
        licence: How a word of the licence begins, in any case.
        local: Take those alone that work without any download.
        downsampling: Pixels a position covers along each axis.

    Raises:
        TokbenchError: If a family is unknown.
    """

    families: tuple[str, ...] = ()
    discrete: bool | None = None
    max_tokens: int | None = None
    licence: str | None = None
    local: bool = False
    downsampling: int | None = None

    def __post_init__(self) -> None:
        for name in self.families:
            if name not in families():
                raise unknown_name("family", name, families(), hint="See: tokbench list")

    def takes(self, row: Listed) -> bool:
        """Whether a row is so."""
        layout = row.layout
        return (
            (not self.families or row.family.name in self.families)
            and self.discrete in (None, layout.discrete)
            and (self.max_tokens is None or layout.tokens_per_image <= self.max_tokens)
            and (self.licence is None or re.search(rf"(?<!\w){re.escape(self.licence)}", row.variant.licence, re.IGNORECASE) is not None)
            and (row.local or not self.local)
            and self.downsampling in (None, layout.downsampling)
        )


def _quoted(metric: str) -> Callable[[Listed], float | None]:
    def value(row: Listed) -> float | None:
        figure = row.quoted(metric)
        return None if figure is None else figure.value

    return value


SORTS: dict[str, Callable[[Listed], Any]] = {
    "name": lambda row: row.name,
    "tokens": lambda row: row.layout.tokens_per_image,
    "bits": lambda row: row.layout.bits_per_image,
    "f": lambda row: row.layout.downsampling,
    "size": lambda row: None if row.size is None else row.size.bytes,
    **{metric: _quoted(metric) for metric in QUOTED},
}
"""What lists can be sorted by."""


def listed() -> list[Listed]:
    """Every row of the zoo, by family."""
    return [Listed(family, variant) for family in families().values() for variant in family.variants]


def in_order(rows: Iterable[Listed], key: str) -> list[Listed]:
    """Sort rows: the smallest or the best first, those without such a value last.

    Figures under another protocol than most are no rank among these, and come behind them.

    Args:
        rows: What to sort; equal ones stay as they are.
        key: One of ``SORTS``.
    """
    rows, value = list(rows), SORTS[key]
    known = sorted((row for row in rows if value(row) is not None), key=value, reverse=key in MORE_IS_BETTER)
    unknown = [row for row in rows if value(row) is None]
    return [*sorted(known, key=lambda row: _elsewhere(row, key)), *unknown]


def _elsewhere(row: Listed, key: str) -> bool:
    """Whether a row is sorted by a figure of another protocol."""
    figure = row.quoted(key) if key in QUOTED else None
    return figure is not None and not figure.common
