"""Mutated and hostile archives of images: each member as it was packed, or refused; nothing is unpacked, whatever the names."""

from __future__ import annotations

import gzip
import io
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tokbench.data.folder import StoredImages
from tokbench.data.open import open_source
from tokbench.errors import TokbenchError
from tokbench.images import UnreadableImage

NAMES = ("a.png", "b/c.png", "d.jpg", "e.f.png", "ü.png")
HOSTILE = (
    "../../up.png",
    "/tmp/abs.png",
    "C:\\x.png",
    "a/../../b.png",
    "\x1b[31m.png",
    "a\nb.png",
    "x" * 400 + ".png",
    ".png",
    "a//b.png",
    "con.png",
    "\u202egnp.png",
)


def _image(number: int, form: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.effect_noise((24, 24), 40 + number).convert("RGB").save(data, form)
    return data.getvalue()


CONTENT = {name: _image(number, "JPEG" if name.endswith("jpg") else "PNG") for number, name in enumerate(NAMES)}
NOTES = {"a.txt": b"a caption", "b/c.cls": b"3", "d.json": b'{"label": 2, "caption": "x"}', "a.cls": b"1"}


def _zip(members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return data.getvalue()


def _tar(members: list[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=form) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return data.getvalue()


def _parquet(members: list[tuple[str, bytes]]) -> bytes:
    data = io.BytesIO()
    images = [{"bytes": content, "path": name} for name, content in members]
    pq.write_table(pa.table({"image": images, "label": list(range(len(members))), "caption": [name for name, _ in members]}), data)
    return data.getvalue()


PACKS: dict[str, Callable[[list[tuple[str, bytes]]], bytes]] = {"zip": _zip, "tar": _tar, "parquet": _parquet}


def _lying_zip(chance: random.Random) -> bytes:
    """Sizes, offsets, flags and methods of a zip's records changed."""
    data = bytearray(_zip([*CONTENT.items(), *NOTES.items()]))
    for _ in range(chance.randrange(1, 4)):
        record, fields = chance.choice(
            [
                (b"PK\x01\x02", (8, 10, 16, 20, 24, 28, 30, 42)),
                (b"PK\x03\x04", (6, 8, 14, 18, 22, 26, 28)),
                (b"PK\x05\x06", (8, 10, 12, 16, 20)),
            ]
        )
        places = [at for at in range(len(data)) if data[at : at + 4] == record]
        at = chance.choice(places) + chance.choice(fields)
        width = chance.choice([2, 4])
        number = chance.choice([0, 1, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF, chance.randrange(2**16)])
        data[at : at + width] = (number % 2 ** (8 * width)).to_bytes(width, "little")
    return bytes(data)


def _lying_tar(chance: random.Random) -> bytes:
    """Fields of a tar's headers changed, with a right checksum."""
    data = bytearray(_tar([*CONTENT.items(), *NOTES.items()]))
    places = [at for at in range(0, len(data), 512) if data[at + 257 : at + 262] == b"ustar"]
    at = chance.choice(places)
    kind = chance.choice(["size", "type", "name", "link", "huge"])
    if kind == "size":
        data[at + 124 : at + 136] = f"{chance.choice([0, 1, 511, 2**30, 8**11 - 1]):011o}\0".encode()
    elif kind == "huge":
        data[at + 124 : at + 136] = b"\x80" + (chance.choice([2**40, 2**62, 2**63 + 1])).to_bytes(11, "big")
    elif kind == "type":
        data[at + 156] = chance.choice(b"1234567xgLKSDMV")
    elif kind == "name":
        data[at : at + 100] = chance.choice(HOSTILE).encode()[:100].ljust(100, b"\0")
    else:
        data[at + 156] = ord(chance.choice("12"))
        data[at + 157 : at + 257] = chance.choice([b"/etc/passwd", b"../../x", b"a.png", b"loop"]).ljust(100, b"\0")
    data[at + 148 : at + 156] = b" " * 8
    data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    return bytes(data)


def _special(kind: str, path: Path) -> None:
    """Archives that want memory, time or a place elsewhere."""
    if kind == "bomb":
        path.write_bytes(_zip([("bomb.png", bytes(300 << 20)), *CONTENT.items()]))
    elif kind == "bomb caption":
        path.write_bytes(_zip([("a.txt", bytes(300 << 20)), *CONTENT.items()]))
    elif kind == "sparse":
        with path.open("wb") as file:
            info = tarfile.TarInfo("huge.png")
            info.size = 3 << 30
            file.write(info.tobuf())
            file.truncate(512 + (3 << 30) + 1024)
    elif kind == "many":
        path.write_bytes(_zip([(f"{number}.png", b"") for number in range(20_000)]))
    elif kind == "twice":
        path.write_bytes(_zip([("a.png", CONTENT["a.png"]), ("a.png", b"other")]))
    elif kind == "within":
        inner = _zip(list(CONTENT.items()))
        path.write_bytes(_zip([("inner.zip", inner), ("inner.png", inner)]))
    elif kind == "links":
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            for number, (type_, target) in enumerate(
                [(tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "../x"), (tarfile.CHRTYPE, ""), (tarfile.FIFOTYPE, "")]
            ):
                info = tarfile.TarInfo(f"{number}.png")
                info.type, info.linkname = type_, target
                archive.addfile(info)
            info = tarfile.TarInfo("a.png")
            info.size = len(CONTENT["a.png"])
            archive.addfile(info, io.BytesIO(CONTENT["a.png"]))
        path.write_bytes(data.getvalue())
    elif kind == "pax":
        info = tarfile.TarInfo("a.png")
        info.pax_headers = {"size": "9" * 30, "path": "x" * 70_000}
        info.size = 4
        path.write_bytes(info.tobuf(tarfile.PAX_FORMAT) + b"abcd" + bytes(508 + 1024))
    elif kind == "gzip":
        path.write_bytes(gzip.compress(_tar(list(CONTENT.items()))))
    else:
        path.write_bytes(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0, 0, 0))


SPECIAL = {
    "bomb": "zip", "bomb caption": "zip", "sparse": "tar", "many": "zip", "twice": "zip", "within": "zip",
    "links": "tar", "pax": "tar", "gzip": "tar.gz", "gzip as tar": "tar", "empty": "zip",
}  # fmt: skip


def _read_all(path: Path, attack: Any, name: str, *, check: bool) -> None:
    """Open, then read every member with its notes; each is judged alone."""
    source = None
    with attack.case(f"{name} open"):
        source = open_source(str(path), size=24)
    for index in range(min(len(source), 40) if source is not None else 0):
        assert source is not None
        with attack.case(f"{name} member {source.ids[index][-20:]!r}"):
            if check and isinstance(source, StoredImages):
                known = {key.removesuffix(".png"): value for key, value in CONTENT.items()} | CONTENT
                inside = source.ids[index].split("/", 1)[-1] if path.suffix == ".tar" else source.ids[index]
                if path.suffix == ".zip" and inside in known:
                    assert source.read_bytes(index) == known[inside], "silently different"
            source.open(index)
        with attack.case(f"{name} notes {index}"):
            if source.has_captions:
                source.caption(index)
            if source.has_labels:
                source.label(index)


@pytest.mark.filterwarnings("ignore")
def test_mutated_archives_give_what_was_packed_or_are_refused(trial: Callable, mutate: Callable) -> None:
    attack = trial("archives")
    members = [*CONTENT.items(), *NOTES.items()]
    for number, chance in attack:
        draw = chance.random()
        pack = chance.choice(list(PACKS))
        kind, end = "", pack
        if draw < 0.45:
            kind, data = mutate(PACKS[pack](members if pack != "parquet" else list(CONTENT.items())), chance)
        elif draw < 0.7 and pack != "parquet":
            kind, data = f"lying {pack}", (_lying_zip if pack == "zip" else _lying_tar)(chance)
        elif draw < 0.85:
            names = chance.sample(HOSTILE, 4)
            kind, data = "names", PACKS[pack]([(name, CONTENT["a.png"]) for name in names])
        else:
            kind, data = chance.choice(list(SPECIAL)), b""
            end = SPECIAL[kind]
        path = attack.inside / f"archive.{end}"
        if data:
            path.write_bytes(data)
        else:
            _special("gzip" if kind.startswith("gzip") else kind, path)
        _read_all(path, attack, f"{number} {end} {kind}", check=draw < 0.45)
        path.unlink()
    attack.finish()


@pytest.mark.parametrize("kind", SPECIAL)
def test_special_archives(kind: str, trial: Callable) -> None:
    """Those that want memory or another place, each at least once."""
    attack = trial("archives")
    path = attack.inside / f"archive.{SPECIAL[kind]}"
    _special("gzip" if kind.startswith("gzip") else kind, path)
    _read_all(path, attack, kind, check=False)
    attack.finish()


def test_whole_archives_are_read(tmp_path: Path) -> None:
    """An attack on readers that refuse everything would show nothing."""
    for end, pack in PACKS.items():
        path = tmp_path / f"archive.{end}"
        path.write_bytes(pack([*CONTENT.items(), *(NOTES.items() if end != "parquet" else ())]))
        source = open_source(str(path), size=24)
        assert len(source) == len(CONTENT)
        assert all(source.read(index).size == (24, 24) for index in range(len(source)))
    with pytest.raises((TokbenchError, UnreadableImage)):
        open_source(str(tmp_path / "none.zip"), size=24)
