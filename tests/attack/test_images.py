"""Mutated images of every format, through the reader and through a folder: read, or refused in words."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tokbench.data.folder import FolderSource
from tokbench.images import FORMATS, UnreadableImage, load_rgb

SUFFIX = {"JPEG2000": "jp2", "JPEG": "jpg", "MPO": "jpg", "TIFF": "tif", "PPM": "png", "DIB": "bmp", "TGA": "png", "ICO": "png"}
MODES = ("RGB", "L", "RGBA", "P", "LA", "1", "I;16", "CMYK", "F")


def _picture(side: int, chance: random.Random) -> Image.Image:
    draw = np.random.default_rng(chance.randrange(2**32))
    return Image.fromarray(np.kron(draw.integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8), np.ones((4, 4, 1), np.uint8)))


def _in_mode(picture: Image.Image, mode: str) -> Image.Image:
    if mode in ("I;16", "F"):
        return Image.fromarray(np.asarray(picture.convert("L")).astype("<u2" if mode == "I;16" else np.float32) * 200)
    return picture.convert(mode)


@pytest.fixture(scope="module")
def samples() -> list[tuple[str, str, bytes]]:
    """A file of each format in each mode that can be written: format, mode, bytes."""
    Image.init()
    made = []
    for form in FORMATS:
        if form not in Image.SAVE:
            continue
        for mode in MODES:
            data, options = io.BytesIO(), {"save_all": True, "append_images": []} if form == "MPO" else {}
            if form == "TIFF":
                options = {"compression": random.Random(mode).choice(["tiff_lzw", "tiff_deflate", "raw", "packbits"])}
            try:
                _in_mode(_picture(32, random.Random(form + mode)), mode).save(data, form, **options)
            except (OSError, ValueError, KeyError):
                continue
            made.append((form, mode, data.getvalue()))
    assert {form for form, _, _ in made} >= {"PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP"}
    return made


def _chunks(data: bytes) -> list[bytes]:
    found, at = [], 8
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found.append(data[at : at + 12 + size])
        at += 12 + size
    return found


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _forged_png(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    """Chunks of a PNG swapped, lost, doubled, or lying with a right checksum."""
    chunks = _chunks(data)
    kind = chance.choice(["order", "lost", "doubled", "size", "depth", "text", "profile", "animation"])
    if kind == "order":
        chance.shuffle(chunks)
    elif kind == "lost":
        del chunks[chance.randrange(len(chunks))]
    elif kind == "doubled":
        chunks.insert(chance.randrange(len(chunks)), chance.choice(chunks))
    elif kind in ("size", "depth"):
        body = bytearray(chunks[0][8:-4])
        if kind == "size":
            body[0:8] = struct.pack(">II", chance.choice([0, 1, 40_000, 2**31 - 1]), chance.choice([0, 1, 4_000, 2**31 - 1]))
        else:
            body[8:13] = chance.randbytes(5)
        chunks[0] = _chunk(b"IHDR", bytes(body))
    elif kind == "text":
        chunks.insert(1, _chunk(chance.choice([b"zTXt", b"iTXt", b"tEXt"]), b"a\0\0" + zlib.compress(bytes(chance.choice([10, 8 << 20])))))
    elif kind == "profile":
        chunks.insert(1, _chunk(chance.choice([b"iCCP", b"eXIf", b"tRNS", b"PLTE"]), chance.randbytes(chance.randrange(64))))
    else:
        chunks.insert(1, _chunk(b"acTL", struct.pack(">II", chance.choice([0, 2, 2**31 - 1]), 0)))
    return f"chunks {kind}", data[:8] + b"".join(chunks)


PLAIN_FORMS = ("PNG",)
"""Formats whose pixels lie under a checksum."""


@pytest.mark.filterwarnings("ignore")
def test_mutated_images_are_read_or_refused(trial: Callable, samples: list, mutate: Callable, capfd: pytest.CaptureFixture) -> None:
    attack = trial("images")
    folder = attack.inside / "pictures"
    folder.mkdir()
    names: list[tuple[str, str]] = []
    for number, chance in attack:
        form, mode, data = chance.choice(samples)
        forged = form == "PNG" and chance.random() < 0.5
        kind, bad = _forged_png(data, chance) if forged else mutate(data, chance)
        name = f"{number} {form} {mode} {kind}"
        path = folder / f"{number:04d}.{SUFFIX.get(form, form.lower())}"
        path.write_bytes(bad)
        names.append((path.name, name))
        with attack.case(name):
            capfd.readouterr()
            image = load_rgb(bad)
            assert image.mode == "RGB"
            said = capfd.readouterr().err  # libtiff writes there past Python; whatever it complains of must be refused
            assert not said, f"accepted, but {said[:200]!r}"
            if form in PLAIN_FORMS and not forged:
                assert np.array_equal(image, load_rgb(data)), "silently different"
        with attack.case(f"{name} by path"):
            load_rgb(path)
    source = FolderSource(folder)
    assert len(source) == len(attack.numbers)
    for index, (_, name) in enumerate(sorted(names)):
        with attack.case(f"{name} in a folder"):
            source.open(index)
    attack.finish()


@pytest.mark.filterwarnings("ignore")
def test_a_run_goes_on_past_mutated_images(trial: Callable, samples: list, mutate: Callable) -> None:
    """Skipped, counted and named, or measured: the record is whole."""
    attack = trial("images")
    folder = attack.inside / "pictures"
    folder.mkdir()
    for number, chance in attack:
        form, _, data = chance.choice(samples)
        (folder / f"{number:04d}.{SUFFIX.get(form, form.lower())}").write_bytes(mutate(data, chance)[1])
    for number in range(4):
        _picture(32, random.Random(number)).save(folder / f"good{number}.png")
    with attack.case("run", seconds=120):
        status, text = attack.command("run", "-t", "patch", "--data", folder, "--size", 32, "--metrics", "psnr", "--out", "records")
        assert status == 0, text[-500:]
        records = list(Path("records").glob("*.json"))
        assert len(records) == 1
        assert records[0].with_suffix(".parquet").is_file()
    attack.finish()


def test_the_reader_says_of_each_sample_what_it_holds(samples: list) -> None:
    """Whole files are read: an attack on a reader that refuses everything would show nothing."""
    for _, _, data in samples:
        assert load_rgb(data).size == (32, 32)
    with pytest.raises(UnreadableImage):
        load_rgb(b"no image")
