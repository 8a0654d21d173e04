"""The gallery of a group: chosen images with their reconstructions and figures, within a budget of bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tokbench.report.page.budget import take_fitting
from tokbench.report.page.embed import data_uri, script_json
from tokbench.report.page.environment import macros
from tokbench.report.page.model import TEXT_LIMIT, Entry, Group, clipped
from tokbench.report.pictures import ChosenImage, Pictures
from tokbench.report.table import Column, infinite_word


@dataclass(frozen=True)
class Shot:
    """One reconstruction.

    Args:
        entry: The record.
        source: The picture, as a data URI.
        values: Per-image figures: column key to value.
        caption: The first of them as text.
    """

    entry: Entry
    source: str
    values: dict[str, float]
    caption: tuple[str, ...]


@dataclass(frozen=True)
class GalleryImage:
    """One original and what the tokenizers made of it.

    Args:
        name: The image's id.
        why: Reasons for its choice.
        width: Width of the picture, in pixels.
        height: Height in pixels.
        source: The original, as a data URI.
        shots: The reconstructions.
    """

    name: str
    why: tuple[str, ...]
    width: int
    height: int
    source: str
    shots: tuple[Shot, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """The kinds of reasons, without names and figures: ``worst PSNR dB``."""
        return tuple(dict.fromkeys(reason.partition(" (")[0] for reason in self.why))

    @property
    def figures(self) -> dict[int, dict[str, float | str]]:
        """For the script: entry number to column key to value, infinity as a word."""
        return {
            shot.entry.number: {key: value if math.isfinite(value) else str(value) for key, value in shot.values.items()}
            for shot in self.shots
        }


@dataclass(frozen=True)
class Gallery:
    """All images.

    Args:
        images: In the order of their choice.
        columns: Per-image metrics there are.
        left_out: Records without pictures, each with the reason.
        dropped: Chosen images that did not fit the page.
        no_room: Names of records whose reconstruction of the first image did not fit.
    """

    images: tuple[GalleryImage, ...]
    columns: tuple[Column, ...]
    left_out: tuple[str, ...]
    dropped: int
    no_room: tuple[str, ...]


def make_gallery(group: Group, chosen: Sequence[ChosenImage], pictures: Pictures, budget: int) -> tuple[Gallery, int]:
    """Embed pictures in the order of their choice, as long as they fit.

    Args:
        group: The records.
        chosen: Which images, and why.
        pictures: Pictures of the group's records, in their order.
        budget: Bytes there are for the pictures with what is written about them.

    Returns:
        The gallery, and the bytes its images take.
    """
    columns = tuple(group.row_columns)
    wanted = [item for item in chosen if item.image_id in pictures.originals]
    images, spent = take_fitting((_image(group, item, pictures, columns) for item in wanted), _weight, _shortened, budget)
    shown = {shot.entry.number for image in images[:1] for shot in image.shots}
    no_room = [
        entry.label
        for entry, made in zip(group.entries, pictures.by_record, strict=True)
        if images and images[0].name in made and entry.number not in shown
    ]
    reasons: dict[str, list[str]] = {}
    for entry, reason in zip(group.entries, pictures.missing, strict=True):
        if reason is not None:
            reasons.setdefault(clipped(reason, TEXT_LIMIT), []).append(entry.label)
    left_out = tuple(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
    return Gallery(tuple(images), columns, left_out, len(wanted) - len(images), tuple(no_room)), spent


def _weight(image: GalleryImage) -> int:
    """Bytes on the page, with a long number."""
    return len(macros("_gallery.html.j2").article(image, 10**6).encode()) + len(script_json(image.figures).encode())


def _shortened(image: GalleryImage) -> GalleryImage | None:
    return replace(image, shots=image.shots[:-1]) if image.shots else None


def credit_lines(pictures: Pictures, names: Iterable[str]) -> list[str]:
    """Say whose originals are.

    Args:
        pictures: Made again.
        names: Ids of the images shown; others are not named.

    Returns:
        Lines on all originals, then one for each owner; empty if nothing is shown.
    """
    names = dict.fromkeys(names)
    owned: dict[str, list[str]] = {}
    for name in names:
        if name in pictures.credits:
            owned.setdefault(pictures.credits[name], []).append(clipped(name))
    lines = [line for line in pictures.attribution.splitlines() if line.strip()] if names else []
    return [clipped(line, TEXT_LIMIT) for line in [*lines, *(f"{', '.join(images)}: {owner}" for owner, images in owned.items())]]


def _image(group: Group, item: ChosenImage, pictures: Pictures, columns: Sequence[Column]) -> GalleryImage:
    original = pictures.originals[item.image_id]
    shots = []
    for entry, made in zip(group.entries, pictures.by_record, strict=True):
        picture = made.get(item.image_id)
        if picture is not None:
            values = {c.key: entry.rows[c.key][item.image_id] for c in columns if item.image_id in entry.rows.get(c.key, {})}
            caption = tuple(figure_text(c, values[c.key]) for c in columns if c.key in values and c.info is not None and c.info.leading)
            shots.append(Shot(entry, data_uri(np.ascontiguousarray(picture.reconstruction)), values, caption))
    why = tuple(part for part in (clipped(part, 160) for part in item.why.split("; ")) if part)
    return GalleryImage(item.image_id, why, original.shape[1], original.shape[0], data_uri(np.ascontiguousarray(original)), tuple(shots))


def figure_text(column: Column, value: float) -> str:
    """A figure with the name of its metric, ``PSNR 27.14 dB`` or ``face distance 0.348``."""
    name, symbol = (column.title, "") if column.info is None else (clipped(column.info.title), clipped(column.info.symbol))
    if math.isfinite(value):
        return f"{name} {value * column.scale:.{column.digits}f} {symbol}".strip()
    return f"{name} {infinite_word(value, column.higher_is_better)}"
