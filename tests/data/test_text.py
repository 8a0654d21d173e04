"""The rendered text: what is written where, on every machine the same."""

from __future__ import annotations

import hashlib
import pickle
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from tokbench.data.glyphs import EM, FIRST, FONTS, LAST, draw_text, line_height, side_room, text_width
from tokbench.data.open import open_source, open_training_source
from tokbench.data.text import MAX_CHARACTERS, WORDS, TextImages, letter_sizes
from tokbench.errors import TokbenchError

SIZES = (64, 100, 256, 512)


@pytest.fixture(scope="module")
def pages() -> TextImages:
    return TextImages(64)


@pytest.mark.parametrize("size", SIZES)
def test_every_font_look_and_size_is_there_twice(size: int) -> None:
    source = open_source("text", size=size)
    assert source.name == "text"
    assert source.ready_size == size
    assert len(source) == len(set(source.ids)) == 128
    assert list(source.ids) == sorted(source.ids)
    parts = [name.rpartition("-")[0].split("/") for name in source.ids]
    for column, count in zip(zip(*parts, strict=True), (32, 32, 32), strict=True):
        assert {value: column.count(value) for value in column} == dict.fromkeys(column, count)
    assert source.read(0).size == (size, size)
    assert [source.group(index) for index in range(128)] == list(source.ids)


@pytest.mark.parametrize(
    ("size", "sizes"), [(64, (10, 13, 16, 20)), (128, (10, 16, 25, 40)), (256, (10, 20, 40, 80)), (512, (10, 20, 40, 80))]
)
def test_letters_grow_with_the_picture_up_to_a_limit(size: int, sizes: tuple[int, ...]) -> None:
    assert letter_sizes(size) == sizes


@pytest.mark.parametrize("size", SIZES)
def test_lines_lie_inside_and_apart(size: int) -> None:
    source = TextImages(size)
    for index in range(len(source)):
        lines = source.lines(index)
        assert lines
        for text, (left, top, right, bottom) in lines:
            assert 0 <= left < right <= size
            assert 0 <= top < bottom <= size
            assert 1 <= len(text) <= MAX_CHARACTERS
            assert text == " ".join(text.split())
        assert all(above.box[3] <= below.box[1] for above, below in pairwise(lines))


def test_kinds_of_words_are_mixed(pages: TextImages) -> None:
    words = [word for index in range(128) for line in pages.lines(index) for word in line.text.split()]
    for kind in (str.islower, str.isupper, str.istitle, str.isdigit):
        assert sum(map(kind, words)) > 40
    assert len({word.lower() for word in words} & set(WORDS)) > 60


def test_ink_fills_its_boxes_and_nothing_else(pages: TextImages) -> None:
    for index in range(0, 128, 3):
        if "photo" in pages.ids[index]:
            continue
        pixels = np.asarray(pages.read(index)).astype(int)
        outside = np.ones((64, 64), dtype=bool)
        ground = pages._pages[index].ground
        ink = np.abs(pixels - ground).sum(axis=2)
        for _, (left, top, right, bottom) in pages.lines(index):
            outside[top:bottom, left:right] = False
            assert ink[top:bottom, left:right].max() > 200
        assert not ink[outside].any()


def test_the_photo_look_stands_on_photos_dark_enough_for_white(pages: TextImages) -> None:
    shown = [index for index, name in enumerate(pages.ids) if "photo" in name]
    photos = {pages._pages[index].photo for index in shown}
    assert len(photos) > 10
    for index in shown:
        pixels = np.asarray(pages.read(index)).astype(int)
        assert pixels.max() >= 240
        assert np.median(pixels) <= 102


PIXELS, RAW = "7f1c437475d39356", "f31594c3341ad66a"


def test_pictures_are_the_same_everywhere(pages: TextImages) -> None:
    """The drawn letters are stored, so this holds whatever the versions of Pillow and FreeType; photos hang on WebP, see test_photos."""
    total = hashlib.sha256()
    for index, name in enumerate(pages.ids):
        total.update(repr((name, pages.lines(index))).encode())
        if "photo" not in name:
            total.update(pages.read(index).tobytes())
    assert total.hexdigest()[:16] == PIXELS
    raw = hashlib.sha256(b"".join(pages.raw_digest(index) for index in range(128)))
    assert raw.hexdigest()[:16] == RAW


def test_digests_tell_pictures_apart_and_survive_copying(pages: TextImages) -> None:
    digests = {source.raw_digest(index) for source in (pages, TextImages(65)) for index in range(128)}
    assert len(digests) == 256
    copy = pickle.loads(pickle.dumps(pages))
    image, digest = copy.open(7)
    assert (image.tobytes(), digest) == (pages.read(7).tobytes(), pages.raw_digest(7))
    assert copy.lines(7) == pages.lines(7)


@pytest.mark.parametrize("size", [63, 513])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(TokbenchError, match=f"the data set text comes in sizes 64 to 512 px, got {size}; choose another --size"):
        open_source("text", size=size)


def test_nothing_is_trained_on_it() -> None:
    with pytest.raises(TokbenchError, match="text is what tokenizers are measured on and never trained on"):
        open_training_source("text")


@pytest.mark.parametrize("font", FONTS)
def test_stored_letters_are_what_the_font_engine_draws(font: str) -> None:
    if font == "sans":
        engine = ImageFont.load_default(EM)
    else:
        matplotlib = pytest.importorskip("matplotlib")
        file = {"serif": "DejaVuSerif", "mono": "DejaVuSansMono", "bold": "DejaVuSans-BoldOblique"}[font]
        engine = ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/{file}.ttf", EM)
    engine = engine.font_variant(layout_engine=ImageFont.Layout.BASIC)
    px = EM // 4
    for text in ("Hamburgefonstiv", "0123456789:-", "jQx~{|}@W"):
        drawn = draw_text(text, font, px)  # type: ignore[arg-type]
        assert drawn.size == (text_width(text, font, px) + 2 * side_room(px), line_height(px))  # type: ignore[arg-type]
        reference = Image.new("L", (drawn.width * 4, drawn.height * 4))
        x = side_room(px) * 4
        for character in text:  # one by one, without kerning
            alone = Image.new("L", reference.size)
            ImageDraw.Draw(alone).text((x, EM), character, font=engine, fill=255, anchor="ls")
            reference.paste(255, (0, 0), alone)
            x += round(engine.getlength(character))
        difference = np.abs(np.asarray(drawn, float) - np.asarray(reference.resize(drawn.size, Image.Resampling.BOX), float))
        assert difference.mean() < 1.5  # of 255; the stored letters have one bit a pixel
        assert np.asarray(drawn).max() > 250


def test_letters_are_printable_ascii_of_reasonable_size() -> None:
    everything = "".join(map(chr, range(ord(FIRST), ord(LAST) + 1)))
    for font in FONTS:
        assert text_width(everything, font, 40) == pytest.approx(2 * text_width(everything, font, 20), abs=2)
    with pytest.raises(ValueError, match="'é' is not printable ASCII"):
        draw_text("café", "sans", 20)
    for px in (3, 81):
        with pytest.raises(ValueError, match=f"px must be 4 to 80, got {px}"):
            draw_text("a", "sans", px)
