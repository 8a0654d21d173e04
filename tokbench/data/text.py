"""The data set ``text``: 128 rendered pictures whose typed lines are known, for what reads the reconstructions.

There are four fonts, four looks and four sizes, and two draws of each. The looks are dark on light, light on dark, coloured, and white on
a darkened test photo. Sizes go from 10 px up to what the picture allows. The words are drawn by a generator seeded with the picture's id
and size.
"""

from __future__ import annotations

import colorsys
import hashlib
import math
import random
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, NamedTuple

from PIL import Image

from tokbench.data.glyphs import FONTS, Font, draw_text, font_bytes, line_height, side_room, text_width
from tokbench.data.photos import Photo, photo_rows
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.images import load_rgb
from tokbench.resizing import resized

TEXT_RULE = "text-lines-1"
"""Name of the rules below; it changes whenever they do."""

TEXT_SIZES = (64, 512)
"""Smallest and largest picture on request."""

MIN_PX, MAX_PX, STEPS, DRAWS = 10, 80, 4, 2
"""Pixels an em at least and at most, how many sizes there are, and how many pictures of each font, look and size."""

MAX_LINES, MAX_CHARACTERS = 4, 14
"""Lines of a picture, and characters of a line, at most."""

Look = Literal["paper", "night", "colour", "photo"]
LOOKS: tuple[Look, ...] = ("paper", "night", "colour", "photo")
Colour = tuple[int, int, int]

_WORDS = (
    "arm bay cup day ear fog hat ink jar key map net oak pen rug sun tea van wax yew "
    "arch boat calm dusk east farm gate hand iron jade kite lamp moon nest open park quay rope salt tree "
    "amber bread cloud dance eagle field grape house juice knife lemon music night ocean paper queen river stone table water "
    "anchor bridge candle dragon engine forest garden hammer island jacket kettle ladder market number orange pepper rocket "
    "balcony captain diamond evening feather gallery harvest journey kitchen library machine network pattern quarter"
)
WORDS = tuple(_WORDS.split())
"""Words of three to seven letters."""


class TypedLine(NamedTuple):
    """One line of text in a picture.

    Args:
        text: As typed.
        box: Left, top, right and bottom of the rectangle it fills, in pixels of the picture.
    """

    text: str
    box: tuple[int, int, int, int]


class TypedSource(ImageSource):
    """A source that knows what is written in its pictures. They come ready at one size, so that the boxes hold."""

    metrics = ("text_accuracy",)

    @abstractmethod
    def lines(self, index: int) -> tuple[TypedLine, ...]:
        """What is written in one picture.

        Args:
            index: 0 to ``len - 1``.

        Returns:
            At least one line of at least one character.
        """

    def caption(self, index: int) -> str:
        """What is written in one picture, its lines joined by line breaks."""
        return "\n".join(line.text for line in self.lines(index))


@dataclass(frozen=True)
class _Page:
    """How one picture is drawn: its text with left and top of each line, colours, and the photo behind it."""

    id: str
    font: Font
    px: int
    texts: tuple[str, ...]
    places: tuple[tuple[int, int], ...]
    ink: Colour
    ground: Colour
    photo: Photo | None


class TextImages(TypedSource):
    """The pictures at one size.

    Args:
        size: Side in pixels, 64 to 512. The larger, the larger the letters and the longer the lines.

    Raises:
        TokbenchError: If the size is out of range.
    """

    name = "text"

    def __init__(self, size: int) -> None:
        if not TEXT_SIZES[0] <= size <= TEXT_SIZES[1]:
            raise TokbenchError(
                f"the data set text comes in sizes {TEXT_SIZES[0]} to {TEXT_SIZES[1]} px, got {size}; choose another --size"
            )
        self.ready_size: int = size
        combinations = product(FONTS, letter_sizes(size), LOOKS, range(DRAWS))
        pages = [_page(font, px, look, draw, size) for font, px, look, draw in combinations]
        self._pages = sorted(pages, key=lambda page: page.id)
        self.ids = tuple(page.id for page in self._pages)

    def lines(self, index: int) -> tuple[TypedLine, ...]:
        """What is written in one picture."""
        page = self._pages[index]
        return tuple(TypedLine(text, _box(text, place, page)) for text, place in zip(page.texts, page.places, strict=True))

    def read(self, index: int) -> Image.Image:
        """Draw one picture."""
        page = self._pages[index]
        picture = _ground(page, self.ready_size)
        for text, place in zip(page.texts, page.places, strict=True):
            picture.paste(page.ink, place, draw_text(text, page.font, page.px))
        return picture

    def credit(self, index: int) -> str:
        """Whose the photo behind the words is; empty if there is none."""
        photo = self._pages[index].photo
        return f"the photo behind the words, cut and darkened, is by {photo.credit}" if photo else ""

    def raw_digest(self, index: int) -> bytes:
        """Digest of the page, the letters and the photo behind it."""
        page = self._pages[index]
        behind = page.photo.read_bytes() if page.photo else b""
        where = (page.id, page.px, page.texts, page.places, page.ink, page.ground)
        return hashlib.sha256(f"{TEXT_RULE}:{self.ready_size}:{where}\0".encode() + font_bytes(page.font) + behind).digest()


def letter_sizes(size: int) -> tuple[int, ...]:
    """Pixels an em in pictures of one size, in equal ratios from ``MIN_PX`` to 5/16 of the side or ``MAX_PX``.

    Args:
        size: Side of the pictures in pixels.

    Returns:
        ``STEPS`` sizes, rising: 10, 13, 16, 20 at 64 px; 10, 20, 40, 80 from 256 px on.
    """
    largest = min(size * 5 / 16, MAX_PX)
    return tuple(round(MIN_PX * (largest / MIN_PX) ** (step / (STEPS - 1))) for step in range(STEPS))


def _page(font: Font, px: int, look: Look, draw: int, size: int) -> _Page:
    name = f"{font}/{px:02d}px/{look}-{draw}"
    rng = random.Random(int.from_bytes(hashlib.sha256(f"{TEXT_RULE}:{size}:{name}".encode()).digest(), "big"))
    room = size - 2 * side_room(px)
    count = max(1, min(MAX_LINES, size // math.ceil(1.5 * px)))
    texts = tuple(_line(rng, font, px, room) for _ in range(count))
    pitch = size // count
    places = tuple(
        (_below(rng, room - text_width(text, font, px) + 1), number * pitch + _below(rng, pitch - line_height(px) + 1))
        for number, text in enumerate(texts)
    )
    ink, ground = _colours(rng, look)
    photos = photo_rows("test")
    return _Page(name, font, px, texts, places, ink, ground, photos[_below(rng, len(photos))] if look == "photo" else None)


def _line(rng: random.Random, font: Font, px: int, room: int) -> str:
    """One to three words that fit: small, capitalised or large letters, numbers, and letters with numbers."""
    line = ""
    for _ in range(3):
        number = str(10 ** (1 + _below(rng, 3)) + _below(rng, 900))
        choices = [
            _of(rng, WORDS),
            _of(rng, WORDS).capitalize(),
            _of(rng, WORDS).upper(),
            number,
            f"{_of(rng, 'ABEFHKMNPRTX')}{number[:2]}",
            f"{1 + _below(rng, 9)}:{10 + _below(rng, 50)}",
        ]
        first = _below(rng, len(choices))
        joined = [f"{line} {choice}".strip() for choice in choices[first:] + choices[:first]]
        fitting = [text for text in joined if len(text) <= MAX_CHARACTERS and text_width(text, font, px) <= room]
        if not fitting:
            break
        line = fitting[0]
    return line


def _colours(rng: random.Random, look: Look) -> tuple[Colour, Colour]:
    """Ink and ground."""
    dark, light, hue = 0.05 + 0.15 * rng.random(), 0.85 + 0.1 * rng.random(), rng.random()
    if look == "photo":
        return (255, 255, 255), (0, 0, 0)
    saturation = 0.8 if look == "colour" else 0.1
    pair = _rgb(hue, dark, saturation), _rgb(hue + 0.4, light, saturation)
    return pair[::-1] if look == "night" else pair


def _rgb(hue: float, lightness: float, saturation: float) -> Colour:
    red, green, blue = colorsys.hls_to_rgb(hue % 1.0, lightness, saturation)
    return round(255 * red), round(255 * green), round(255 * blue)


def _ground(page: _Page, size: int) -> Image.Image:
    if page.photo is None:
        return Image.new("RGB", (size, size), page.ground)
    photo = load_rgb(page.photo.read_bytes())
    side = min(photo.size)
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    square = resized(photo, (size, size), Image.Resampling.LANCZOS, (left, top, left + side, top + side))
    return square.point([level * 2 // 5 for level in range(256)] * 3)  # dark enough that white can be read on any


def _box(text: str, place: tuple[int, int], page: _Page) -> tuple[int, int, int, int]:
    left, top = place
    return left, top, left + text_width(text, page.font, page.px) + 2 * side_room(page.px), top + line_height(page.px)


def _below(rng: random.Random, limit: int) -> int:
    return int(rng.random() * limit)  # the one draw of the generator that every version of Python makes alike


def _of(rng: random.Random, choices: Sequence[str]) -> str:
    return choices[_below(rng, len(choices))]
