"""load_rgb: the right pixels from every kind of file, and a reason for every file it refuses."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile

from tokbench.images import MAX_PIXELS, UnreadableImage, load_rgb

Pixels = NDArray[np.uint8]


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, *, bits: int, colour: int, rows: bytes, chunks: bytes = b"") -> bytes:
    """A PNG file written by hand, for the kinds Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunks + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def row(data: bytes) -> list[tuple[int, ...]]:
    """The pixels of the first row."""
    image = load_rgb(data)
    assert image.mode == "RGB"
    return [tuple(pixel) for pixel in np.asarray(image)[0].tolist()]


def grey(*levels: int) -> list[tuple[int, int, int]]:
    return [(level, level, level) for level in levels]


def noise(width: int = 20, height: int = 24) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_rgb_is_untouched() -> None:
    image = noise()
    assert np.array_equal(np.asarray(load_rgb(encode(image, "PNG"))), np.asarray(image))


def test_a_path_and_its_bytes_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode(noise(), "PNG"))
    assert load_rgb(path).tobytes() == load_rgb(str(path)).tobytes() == load_rgb(path.read_bytes()).tobytes()


def test_16_bit_grey_png_is_scaled_and_rounded() -> None:
    levels = [0, 128, 129, 257, 32767, 32768, 65406, 65407, 65535]
    data = png(len(levels), 1, bits=16, colour=0, rows=b"\0" + struct.pack(f">{len(levels)}H", *levels))
    assert row(data) == grey(*(int(level * 255 / 65535 + 0.5) for level in levels))
    assert row(data) == grey(0, 0, 1, 1, 127, 128, 254, 255, 255)


def test_16_bit_grey_png_with_a_transparent_level() -> None:
    data = png(3, 1, bits=16, colour=0, rows=b"\0" + struct.pack(">3H", 0, 7, 32768), chunks=chunk(b"tRNS", struct.pack(">H", 7)))
    assert row(data) == grey(0, 255, 128)


@pytest.mark.parametrize("kind", [">u2", "<u2", "<i4"])
def test_deep_grey_tiff_is_scaled(kind: str) -> None:
    """The last is mode I, which is also what older Pillows make of a 16-bit PNG."""
    image = Image.fromarray(np.array([[0, 257, 32768, 65535]], dtype=kind))
    assert row(encode(image, "TIFF")) == grey(0, 1, 128, 255)


def test_deep_grey_is_clamped() -> None:
    assert row(encode(Image.fromarray(np.array([[-5, 70000]], dtype=np.int32)), "TIFF")) == grey(0, 255)


def test_16_bit_rgb_png_keeps_the_high_byte() -> None:
    data = png(2, 1, bits=16, colour=2, rows=b"\0" + struct.pack(">6H", 0x1234, 0x80FF, 0xFFFF, 0, 0x7F00, 0xFE01))
    assert row(data) == [(0x12, 0x80, 0xFF), (0, 0x7F, 0xFE)]


def test_1_bit() -> None:
    assert row(png(8, 1, bits=1, colour=0, rows=b"\0\xa5")) == grey(255, 0, 255, 0, 0, 255, 0, 255)
    assert row(encode(Image.fromarray(np.array([[True, False]])), "TIFF")) == grey(255, 0)


def test_grey() -> None:
    assert row(encode(Image.fromarray(np.array([[0, 7, 255]], np.uint8)), "PNG")) == grey(0, 7, 255)


def test_grey_with_a_transparent_level() -> None:
    assert row(png(3, 1, bits=8, colour=0, rows=b"\0\x00\x05\xfe", chunks=chunk(b"tRNS", b"\0\5"))) == grey(0, 255, 254)


def test_grey_with_alpha_is_laid_over_white() -> None:
    image = Image.fromarray(np.array([[[0, 255], [0, 0], [0, 128], [100, 51]]], np.uint8), mode="LA")
    assert row(encode(image, "PNG")) == grey(0, 255, 127, 224)


def test_rgb_with_alpha_is_laid_over_white() -> None:
    image = Image.fromarray(np.array([[[255, 0, 0, 255], [1, 2, 3, 0], [255, 0, 0, 128], [10, 100, 200, 51]]], np.uint8))
    assert row(encode(image, "PNG")) == [(255, 0, 0), (255, 255, 255), (255, 127, 127), (206, 224, 244)]


def test_rgb_with_a_transparent_colour() -> None:
    data = png(2, 1, bits=8, colour=2, rows=b"\0\x00\x05\xff\1\2\3", chunks=chunk(b"tRNS", b"\0\1\0\2\0\3"))
    assert row(data) == [(0, 5, 255), (255, 255, 255)]


def palette(*indices: int) -> Image.Image:
    image = Image.fromarray(np.array([indices], np.uint8), mode="P")
    image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    return image


def test_palette() -> None:
    assert row(encode(palette(2, 0, 1), "PNG")) == [(0, 0, 200), (200, 0, 0), (0, 200, 0)]


def test_palette_with_a_transparent_index() -> None:
    assert row(encode(palette(2, 0, 1), "PNG", transparency=0)) == [(0, 0, 200), (255, 255, 255), (0, 200, 0)]


def test_palette_with_alpha_of_each_index() -> None:
    assert row(encode(palette(2, 0, 1), "PNG", transparency=bytes([255, 0, 51]))) == [(204, 204, 244), (200, 0, 0), (255, 255, 255)]


def test_animated_gif_gives_its_first_frame() -> None:
    frames = [palette(0, 1, 2), palette(2, 2, 2), palette(1, 1, 1)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert Image.open(io.BytesIO(data)).n_frames == 3  # type: ignore[attr-defined]
    assert row(data) == [(200, 0, 0), (0, 200, 0), (0, 0, 200)]


def test_transparent_gif_is_laid_over_white() -> None:
    assert row(encode(palette(0, 1, 2), "GIF", transparency=1)) == [(200, 0, 0), (255, 255, 255), (0, 0, 200)]


def test_cmyk_jpeg_with_the_inverted_values_of_adobe() -> None:
    data = encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100)
    assert b"Adobe" in data
    assert np.abs(np.array(row(data)[0]) - (255, 0, 0)).max() <= 3


def test_cmyk_tiff() -> None:
    assert row(encode(Image.new("CMYK", (1, 1), (255, 0, 0, 0)), "TIFF")) == [(0, 255, 255)]
    assert row(encode(Image.new("CMYK", (1, 1), (0, 0, 0, 255)), "TIFF")) == [(0, 0, 0)]


def test_ycbcr_tiff() -> None:
    assert np.abs(np.array(row(encode(Image.new("YCbCr", (1, 1), (76, 85, 255)), "TIFF"))[0]) - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (10, 20, 200), (255, 255, 255), (128, 128, 128), (0, 0, 0)])
def test_lab_tiff(colour: tuple[int, int, int]) -> None:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(Image.new("RGB", (1, 1), colour), *profiles, outputMode="LAB")
    assert lab is not None
    pixel = row(encode(lab, "TIFF"))[0]
    assert np.abs(np.array(pixel) - colour).max() <= 18, "LAB of 8 bits a channel is coarse, but not this coarse"
    assert np.abs(np.array(pixel) - colour).mean() <= 10


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 0.25, 0.4], [0, 64, 102]),
        ([0.0, 128.4, 255.0], [0, 128, 255]),
        ([0.0, 1.0, 2.0], [0, 1, 2]),
        ([-3.0, 0.2, 1.0], [0, 51, 255]),
        ([-3.0, 300.0, 9.0], [0, 255, 9]),
        ([np.nan, np.inf, 0.2], [0, 255, 51]),
        ([np.nan, -np.inf, 77.0], [0, 0, 77]),
        ([np.nan, np.nan, np.nan], [0, 0, 0]),
    ],
)
def test_float_tiff_is_scaled_by_its_range(values: list[float], levels: list[int]) -> None:
    assert row(encode(Image.fromarray(np.array([values], np.float32)), "TIFF")) == grey(*levels)


UPRIGHT = np.arange(3 * 16 * 24, dtype=np.uint32).reshape(16, 24, 3).astype(np.uint8)
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2),
    6: np.rot90(UPRIGHT, 1),
    7: UPRIGHT.transpose(1, 0, 2)[::-1, ::-1],
    8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_exif_orientation(orientation: int, kind: str, options: dict[str, Any]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(np.ascontiguousarray(STORED[orientation])), kind, exif=exif, **options)
    assert np.array_equal(np.asarray(load_rgb(data)), UPRIGHT)


@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_of_a_jpeg(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    colours = np.array([[[0, 0, 0], [255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0], [255, 255, 255]]], np.uint8)
    upright = colours.repeat(16, axis=0).repeat(16, axis=1)
    turns = {5: upright.transpose(1, 0, 2), 6: np.rot90(upright, 1), 7: upright.transpose(1, 0, 2)[::-1, ::-1], 8: np.rot90(upright, -1)}
    flips = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1]}
    stored = np.ascontiguousarray((turns | flips)[orientation])
    pixels = np.asarray(load_rgb(encode(Image.fromarray(stored), "JPEG", quality=100, subsampling=0, exif=exif)))
    assert pixels.shape == upright.shape
    assert np.abs(pixels.astype(int) - upright).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("exif", [b"Exif\0\0garbagegarbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xffaaaaaaaa", b"\0"])
def test_damaged_exif_does_not_cost_the_pixels(kind: str, exif: bytes) -> None:
    image = Image.new("RGB", (8, 8), (0, 0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = np.asarray(load_rgb(encode(image, kind, exif=exif, quality=100)))
    assert np.abs(pixels.astype(int) - (0, 0, 255)).max() <= 3


KINDS: list[tuple[str, dict[str, Any]]] = [
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("PNG", {}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("BMP", {}),
    ("GIF", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("JPEG2000", {}),
    ("AVIF", {}),
]


@pytest.mark.parametrize("allowed", [False, True], ids=["default", "truncated-allowed"])
@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_a_truncated_file_is_refused_or_whole(kind: str, options: dict[str, Any], allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut anywhere, a file gives a reason or the very pixels: what is cut may be a trailer."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", allowed)
    data = encode(noise(16, 12), kind, **options)
    whole = load_rgb(data).tobytes()
    refused = 0
    for length in {*range(0, len(data), 3), 209, *range(len(data) - 30, len(data))}:
        try:
            pixels = load_rgb(data[:length]).tobytes()
        except UnreadableImage:
            refused += 1
        else:
            assert pixels == whole, f"cut to {length} of {len(data)} bytes"
    assert refused > len(data) / 3 - 10
    assert ImageFile.LOAD_TRUNCATED_IMAGES is allowed


def test_jpeg2000_without_its_end_is_refused() -> None:
    """OpenJPEG makes flat grey of some of these without an error."""
    data = encode(noise(), "JPEG2000")
    whole = load_rgb(data).tobytes()
    for length in range(len(data) - 1):
        with pytest.raises(UnreadableImage):
            load_rgb(data[:length])
    assert load_rgb(data).tobytes() == whole


def test_the_switch_for_truncated_files_survives_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encode(noise(64, 64), "JPEG")
    cut = data[: len(data) // 2]

    def refused(number: int) -> bool:
        try:
            load_rgb(cut if number % 2 else data)
        except UnreadableImage:
            return bool(number % 2)
        return not number % 2

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(refused, range(300)))
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


@pytest.mark.parametrize("pillow_limit", [89_478_485, None])
@pytest.mark.parametrize(("width", "height"), [(60_000, 60_000), (1, MAX_PIXELS + 1), (13_379, 13_377)])
def test_absurdly_large_images_are_refused_before_decoding(
    width: int, height: int, pillow_limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*_: object) -> None:
        pytest.fail("it was decoded")

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow_limit)
    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    with pytest.raises(UnreadableImage, match=f"{width}x{height} pixels, more than {MAX_PIXELS}|exceeds limit of 178956970 pixels"):
        load_rgb(png(width, height, bits=8, colour=2, rows=b"\0"))


def test_large_images_are_read_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_rgb(encode(noise(12, 12), "PNG")).size == (12, 12)
    with pytest.raises(UnreadableImage, match="absurdly large"):
        load_rgb(encode(noise(15, 15), "PNG"))


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", bytes(1000), png(0, 0, bits=8, colour=2, rows=b"")])
def test_what_is_not_an_image_is_refused_by_a_reason_without_an_address(data: bytes) -> None:
    with pytest.raises(UnreadableImage) as caught:
        load_rgb(data)
    assert str(caught.value)
    assert "0x" not in str(caught.value)
    assert "BytesIO" not in str(caught.value)


def test_the_reason_does_not_name_the_path(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    for path in (tmp_path, tmp_path / "none.png", tmp_path / "text.png"):
        with pytest.raises(UnreadableImage) as caught:
            load_rgb(path)
        assert str(tmp_path) not in str(caught.value)
        assert len(str(caught.value)) > 10


def test_a_damaged_png_is_refused() -> None:
    data = bytearray(encode(noise(), "PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(UnreadableImage):
        load_rgb(bytes(data))


def test_reading_does_not_import_torch() -> None:
    code = "import sys, tokbench.images; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_formats_that_would_start_another_program_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "drawing.jpg"
    Image.new("RGB", (8, 8)).save(path, "EPS")
    with pytest.raises(UnreadableImage, match="not an image of a known format"):
        load_rgb(path)


def smooth(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(1)
    return Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(("shortest", "side"), [(None, 381), (200, 381), (191, 381), (190, 191), (96, 191), (95, 96), (47, 48), (2, 48)])
def test_jpegs_are_decoded_at_the_smallest_fraction_whose_shortest_side_suffices(shortest: int | None, side: int) -> None:
    data = encode(smooth(501, 381), "JPEG", quality=95)
    found = load_rgb(data, shortest=shortest)
    assert min(found.size) == side
    assert np.array_equal(np.asarray(found), np.asarray(load_rgb(data))) == (side == 381)
    means = np.asarray(found.resize((4, 3), Image.Resampling.BOX)).astype(int)
    assert np.abs(means - np.asarray(load_rgb(data).resize((4, 3), Image.Resampling.BOX))).max() <= 6


def test_fractions_of_jpegs_are_upright_grey_or_of_several_pictures_as_whole_ones_are() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    found = load_rgb(encode(smooth(320, 160), "JPEG", exif=turned), shortest=40)
    assert found.size == (40, 80)
    assert load_rgb(encode(smooth(320, 160).convert("L"), "JPEG"), shortest=40).mode == "RGB"
    several = encode(smooth(320, 160), "MPO", save_all=True, append_images=[smooth(320, 160)])
    assert load_rgb(several, shortest=40).size == (80, 40)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF"])
def test_files_of_other_kinds_have_no_fractions(kind: str) -> None:
    data = encode(smooth(80, 64), kind)
    assert np.array_equal(np.asarray(load_rgb(data, shortest=1)), np.asarray(load_rgb(data)))


def test_a_cut_jpeg_is_refused_at_any_fraction() -> None:
    data = encode(smooth(320, 160), "JPEG")
    with pytest.raises(UnreadableImage, match="truncated"):
        load_rgb(data[: len(data) // 2], shortest=20)
