"""Memory that files made to take all of it really take: below 1 GB above what the process had, two threads at once."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")]

LIMIT_MB = 1000

MEASURE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from tokbench.data.open import open_source
from tokbench.errors import TokbenchError
from tokbench.images import UnreadableImage

def peak():  # of this program alone: ru_maxrss begins with what its parent had
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))

before = peak()
try:
    source = open_source(sys.argv[1], size=64)
except TokbenchError as error:
    print(peak() - before, "refused", error)
    sys.exit()

def read(index):
    try:
        return str(source.read(index).size)
    except UnreadableImage as error:
        return f"refused: {error}"

def words(index):
    try:
        return str(source.caption(index))[:20]
    except TokbenchError as error:
        return f"refused: {error}"

with ThreadPoolExecutor(2) as pool:
    found = list(pool.map(read, [*range(len(source)), 0])) + list(pool.map(words, range(len(source))))
print(peak() - before, *found)
"""


def png(width: int, height: int, bits: int, colour: int, channels: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(9), bytes(1 + width * channels * bits // 8)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def saved(form: str, side: int, mode: str = "RGB", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (side, side)).save(stream, form, **options)
    return stream.getvalue()


IMAGES: dict[str, Callable[[], bytes]] = {
    "grey of 16 bits": lambda: png(9900, 9900, 16, 0, 1),
    "RGBA of 16 bits": lambda: png(9900, 9900, 16, 6, 4),
    "grey with alpha": lambda: png(9900, 9900, 8, 4, 2),
    "PNG beyond the limit": lambda: png(13000, 13000, 16, 0, 1),
    "GIF": lambda: saved("GIF", 9900, "L"),
    "TIFF": lambda: saved("TIFF", 9900, compression="tiff_deflate"),
    "CMYK TIFF": lambda: saved("TIFF", 9900, "CMYK", compression="tiff_deflate"),
    "float TIFF": lambda: saved("TIFF", 9900, "F", compression="tiff_deflate"),
    "WebP": lambda: saved("WEBP", 5700, lossless=True, method=0),
    "JPEG": lambda: saved("JPEG", 9900),
    "progressive JPEG": lambda: saved("JPEG", 9900, progressive=True),
    "JPEG 2000": lambda: saved("JPEG2000", 6000),
    "JPEG 2000 beyond the limit": lambda: saved("JPEG2000", 9000, "L"),
    "BMP": lambda: saved("BMP", 9000),
}


@pytest.fixture
def measure(tmp_path: Path) -> Iterator[Callable[[Path], tuple[float, str]]]:
    def run(path: Path) -> tuple[float, str]:
        done = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, timeout=300, check=True)
        peak, _, found = done.stdout.partition(" ")
        return float(peak), found

    yield run
    for path in tmp_path.rglob("*"):
        if path.is_file():
            path.unlink()


@pytest.mark.parametrize("name", IMAGES)
def test_one_image(name: str, tmp_path: Path, measure: Callable, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "set").mkdir()
    data = IMAGES[name]()
    suffix = {"PNG": "png", "GIF8": "gif", "RIFF": "webp"}.get(data[1:4].decode("latin-1"), "png")
    (tmp_path / "set" / f"a.{suffix}").write_bytes(data)
    peak, found = measure(tmp_path / "set")
    with capsys.disabled():
        print(f"\n{name}: {len(data) / 1e6:.1f} MB of file, {peak:.0f} MB above: {found[:60].strip()}")
    assert peak < LIMIT_MB
    if "limit" in name:
        assert "refused" in found


def sparse(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def a_sparse_file(root: Path) -> Path:
    (root / "set").mkdir()
    sparse(root / "set" / "a.png", 8 << 30)
    return root / "set"


def a_sparse_text(root: Path) -> Path:
    (root / "set").mkdir()
    (root / "set" / "a.png").write_bytes(saved("PNG", 8))
    sparse(root / "set" / "a.txt", 8 << 30)
    return root / "set"


def zeros(root: Path, *, lie: bool) -> Path:
    path = root / "z.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.png", "b.png", "b.txt"):
            with archive.open(name, "w", force_zip64=True) as member:
                for _ in range(40):
                    member.write(bytes(50 << 20))
    if lie:
        data = bytearray(path.read_bytes())
        at = data.find(b"PK\x01\x02")
        while at >= 0:
            data[at + 24 : at + 28] = (1000).to_bytes(4, "little")
            at = data.find(b"PK\x01\x02", at + 4)
        path.write_bytes(data)
    return path


def a_zip_bomb(root: Path) -> Path:
    return zeros(root, lie=False)


def a_zip_bomb_that_lies(root: Path) -> Path:
    return zeros(root, lie=True)


def a_huge_member(root: Path) -> Path:
    path = root / "t.tar"
    with path.open("wb") as file:
        for name in ("a.png", "a.txt", "a.json", "b.png"):
            info = tarfile.TarInfo(name)
            info.size = 3 << 30
            file.write(info.tobuf())
            file.seek(info.size, io.SEEK_CUR)
        file.write(bytes(1024))
    return path


def a_huge_header(root: Path) -> Path:
    path = root / "t.tar"
    with path.open("wb") as file:
        info = tarfile.TarInfo("././@LongLink")
        info.type, info.size = tarfile.GNUTYPE_LONGNAME, 4 << 30
        file.write(info.tobuf())
        file.truncate((4 << 30) + 4096)
    return path


def a_large_row_group(root: Path) -> Path:
    cells = [bytes(10 << 20)] * 60 + [saved("PNG", 8)]
    pq.write_table(pa.table({"image": cells}), root / "x.parquet", compression="zstd", write_batch_size=4)
    return root / "x.parquet"


@pytest.mark.parametrize(
    "make", [a_sparse_file, a_sparse_text, a_zip_bomb, a_zip_bomb_that_lies, a_huge_member, a_huge_header, a_large_row_group]
)
def test_sets(make: Callable[[Path], Path], tmp_path: Path, measure: Callable, capsys: pytest.CaptureFixture) -> None:
    peak, found = measure(make(tmp_path))
    with capsys.disabled():
        print(f"\n{make.__name__}: {peak:.0f} MB above: {found[:100].strip()}")
    assert peak < LIMIT_MB
    assert "refused" in found or make is a_large_row_group
