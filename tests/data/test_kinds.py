"""Images and what describes them, in the forms that people have: nothing is lost in silence, nothing read that was not meant."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, PngImagePlugin

from tokbench.bench.fitting import fit
from tokbench.data.archives import ZipSource
from tokbench.data.folder import IMAGE_EXTENSIONS
from tokbench.data.open import open_source
from tokbench.errors import TokbenchError
from tokbench.feed.classes import read_classes
from tokbench.feed.label_rules import Annotations
from tokbench.images import FORMATS, UnreadableImage, load_rgb
from tokbench.records.protocol import get_protocol

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)


def encoded(form: str, pixels: np.ndarray = PIXELS, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form, **options)
    return stream.getvalue()


def as_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def as_zip(root: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(root.with_suffix(".zip"), "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return root.with_suffix(".zip")


def as_tar(root: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(root.with_suffix(".tar"), "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return root.with_suffix(".tar")


PACKERS = {"folder": as_folder, "zip": as_zip, "tar": as_tar}
Packer = Callable[[Path, dict[str, bytes]], Path]


@pytest.fixture(params=PACKERS)
def pack(request: pytest.FixtureRequest) -> Packer:
    return PACKERS[request.param]


def test_every_extension_of_the_formats_that_are_read_is_listed() -> None:
    Image.init()
    known = {extension[1:] for extension, form in Image.EXTENSION.items() if form in FORMATS}
    assert known - set(IMAGE_EXTENSIONS) == set()


def test_every_file_that_can_be_read_is_found_and_others_are_named(tmp_path: Path, pack: Packer) -> None:
    forms = {
        "ppm": "PPM",
        "pgm": "PPM",
        "tga": "TGA",
        "jfif": "JPEG",
        "jpe": "JPEG",
        "dib": "DIB",
        "j2k": "JPEG2000",
        "Apng": "PNG",
        "ICO": "ICO",
    }
    files = {f"{name}/a.{name}": encoded(form) for name, form in forms.items()}
    source = open_source(
        str(pack(tmp_path / "set", files | {"x/b.heic": b"x", "x/c.SVG": b"x", "x/.d.heic": b"x", "x/e.doc": b"x"})), size=32
    )
    assert len(source) == len(forms)
    assert {Path(name).name for name in source.passed_over} == {"b.heic", "c.SVG"}
    for index in range(len(source)):
        assert source.read(index).mode == "RGB"


def test_images_of_other_kinds_alone_are_named(tmp_path: Path, pack: Packer) -> None:
    with pytest.raises(
        TokbenchError, match=r"no images in .* that can be read, but 1 of kinds that are not read, the first .*a\.heic; convert"
    ):
        open_source(str(pack(tmp_path / "set", {"x/a.heic": b"x"})), size=32)


NAMES = ("a", "v1.0", "v1.5", "img.2024.01.02", "with space", "ü", "UPPER", "deep/er/name.x", "trailing.")


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("ends", [("png", "txt", "cls"), ("JPG", "TXT", "CLS"), ("jpeg", "caption", "label")])
def test_labels_and_captions_belong_to_their_image(tmp_path: Path, pack: Packer, reverse: bool, ends: tuple[str, ...]) -> None:
    image, text, label = ends
    members = [
        (f"{name}.{end}", data)
        for number, name in enumerate(NAMES)
        for end, data in ((image, encoded("PNG")), (text, f"words {number}".encode()), (label, str(number).encode()))
    ]
    path = pack(tmp_path / "set", dict(reversed(members) if reverse else members))
    source = open_source(str(path), size=32)
    assert len(source) == len(NAMES)
    assert source.has_captions
    found = {source.caption(index) for index in range(len(source))}
    assert found == {f"words {number}" for number in range(len(NAMES))}
    if path.suffix == ".tar":
        assert {source.label(index) for index in range(len(source))} == set(range(len(NAMES)))


@pytest.mark.parametrize("field", ["label", "labels", "cls", "class"])
@pytest.mark.parametrize("text", ["caption", "text", "txt", "captions"])
def test_fields_of_json_under_every_name(tmp_path: Path, field: str, text: str) -> None:
    files = {"v1.0.png": encoded("PNG"), "v1.0.json": json.dumps({field: 0, text: "words"}).encode(), "v1.1.png": encoded("PNG")}
    source = open_source(str(as_tar(tmp_path / "set", files)), size=32)
    assert (source.has_labels, source.has_captions) == (True, True)
    assert [(source.label(index), source.caption(index)) for index in range(2)] == [(0, "words"), (None, None)]


def test_notes_that_belong_to_no_image_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_source(str(as_tar(tmp_path / "set", {"a.png": encoded("PNG"), "b.txt": b"words", "c.cls": b"1"})), size=32)
    assert "2 texts, classes or fields of set.tar belong to no image, the first is" in caplog.text


def test_a_byte_order_mark_is_no_label(tmp_path: Path) -> None:
    files = {"a.png": encoded("PNG"), "a.cls": "\ufeff7".encode(), "a.txt": "\ufeffwords".encode()}
    source = open_source(str(as_tar(tmp_path / "set", files)), size=32)
    assert (source.label(0), source.caption(0)) == (7, "words")


def test_columns_that_are_not_taken_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pq.write_table(pa.table({"image": [encoded("PNG")], "prompt": ["words"], "Label": [3]}), tmp_path / "a.parquet")
    source = open_source(str(tmp_path / "a.parquet"), size=32)
    assert source.label(0) == 3
    Annotations(source, "source")
    assert "a.parquet has no column of captions" in caplog.text
    assert "its other columns: prompt" in caplog.text


@pytest.mark.parametrize("pack", [as_folder, as_zip, as_tar])
def test_classes_do_not_depend_on_empty_folders(tmp_path: Path, pack: Packer) -> None:
    train = {f"{name}/1.png": encoded("PNG") for name in ("cat", "dog", "emu")}
    numbers = []
    for split, files in (("train", train), ("val", {name: data for name, data in train.items() if "dog" not in name})):
        path = pack(tmp_path / split, files)
        if split == "val":
            if path.is_dir():
                (path / "dog").mkdir()
            elif path.suffix == ".zip":
                with zipfile.ZipFile(path, "a") as archive:
                    archive.mkdir("dog")
            else:
                with tarfile.open(path, "a") as archive:
                    info = tarfile.TarInfo("dog")
                    info.type = tarfile.DIRTYPE
                    archive.addfile(info)
        source = open_source(str(path), size=32)
        annotations = Annotations(source, "folder")
        numbers.append({source.ids[index].split("/")[-2]: annotations.label(index) for index in range(len(source))})
    assert numbers == [{"cat": 0, "dog": 1, "emu": 2}, {"cat": 0, "emu": 2}]


def test_classes_given_number_every_part_alike(tmp_path: Path) -> None:
    source = open_source(str(as_folder(tmp_path / "val", {"emu/1.png": b"", "cat/1.png": b""})), size=32)
    for name, text in (("c.txt", "dog\n\ncat\nemu\n"), ("c.json", '["dog", "cat", "emu"]'), ("d.json", '{"emu": 2, "dog": 0, "cat": 1}')):
        (tmp_path / name).write_text(text)
        annotations = Annotations(source, "folder", read_classes(tmp_path / name))
        assert annotations.names == ("dog", "cat", "emu")
        assert [annotations.label(index) for index in range(2)] == [1, 2]
    with pytest.raises(TokbenchError, match="val has 1 classes that are not among the 2 given: emu; add them at the end"):
        Annotations(source, "folder", ("dog", "cat"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", "holds no names of classes"),
        ("a.txt", "cat\ncat", "names the class cat twice"),
        ("a.txt", "\n".join([*map(str, range(10_000)), "5"]), "names the class 5 twice"),
        ("a.json", "{", "is not JSON"),
        ("a.json", "[1]", "holds no names"),
        ("a.json", '{"a": 1}', "gives numbers that are not 0 to 0"),
        ("none", None, "cannot read the classes in .*No such file"),
    ],
)
def test_bad_lists_of_classes(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(TokbenchError, match=message):
        read_classes(tmp_path / name)


PNG_TEXT = PngImagePlugin.PngInfo()
PNG_TEXT.add_itxt("XML:com.adobe.xmp", "x" * 2_000_000, zip=True)
PNG_TEXT.add_text("more", "y" * 3_000_000, zip=True)


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + (zlib.crc32(kind + data) if crc is None else crc).to_bytes(4, "big")


def with_chunk(png: bytes, extra: bytes) -> bytes:
    return png[:33] + extra + png[33:]


@pytest.mark.parametrize(
    "data",
    [
        encoded("PNG", pnginfo=PNG_TEXT),
        encoded("PNG", icc_profile=bytes(2_000_000)),
        with_chunk(encoded("PNG"), chunk(b"iCCP", b"broken")),
        with_chunk(encoded("PNG"), chunk(b"tEXt", b"a\0b", crc=0)),
        with_chunk(encoded("PNG"), chunk(b"eXIf", b"not exif at all")),
        with_chunk(encoded("PNG"), chunk(b"gAMA", b"")),
        with_chunk(encoded("PNG"), chunk(b"pHYs", b"1")),
        encoded("PNG") + b"junk behind the end",
    ],
)
def test_metadata_never_cost_the_pixels_of_a_png(data: bytes) -> None:
    assert np.array_equal(np.asarray(load_rgb(data)), PIXELS)


@pytest.mark.parametrize("marker", range(0xE0, 0xF0))
@pytest.mark.parametrize(
    "content", [b"", b"MPF\0", b"ICC_PROFILE\0", b"Photoshop 3.0\x008BIM\x04", b"Exif\0\0II*\0\xff\xff\xff\xff", b"http://x"]
)
def test_metadata_never_cost_the_pixels_of_a_jpeg(marker: int, content: bytes) -> None:
    plain = encoded("JPEG")
    data = plain[:20] + bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content + plain[20:]
    if marker == 0xEE or (marker == 0xE0 and content):  # these say how colours are stored
        return
    assert np.array_equal(np.asarray(load_rgb(data)), np.asarray(load_rgb(plain)))


@pytest.mark.parametrize("seed", range(300))
def test_a_damaged_png_is_refused_or_whole(seed: int) -> None:
    draw = np.random.default_rng(seed)
    data = bytearray(encoded("PNG"))
    for _ in range(draw.integers(1, 4)):
        data[draw.integers(0, len(data))] ^= 1 << int(draw.integers(0, 8))
    damaged = bytes(data if seed % 3 else data[: draw.integers(0, len(data))])
    try:
        found = np.asarray(load_rgb(damaged))
    except UnreadableImage:
        return
    assert np.array_equal(found, PIXELS)


@pytest.mark.parametrize("compression", ["group3", "group4"])
@pytest.mark.parametrize("seed", range(20))
def test_errors_that_libtiff_only_writes_are_refusals(compression: str, seed: int, capfd: pytest.CaptureFixture) -> None:
    draw = np.random.default_rng(seed)
    stream = io.BytesIO()
    Image.fromarray(PIXELS).convert("1").save(stream, "TIFF", compression=compression)
    data = bytearray(stream.getvalue())
    data[8:28] = draw.bytes(20)
    with contextlib.suppress(Exception):
        Image.open(io.BytesIO(data)).load()
    written = capfd.readouterr().err
    if "Warning" not in written and written:
        with pytest.raises(UnreadableImage, match=r"damaged|truncated|error|image"):
            load_rgb(bytes(data))
    else:
        with contextlib.suppress(UnreadableImage):
            load_rgb(bytes(data))
    assert "Fax" not in capfd.readouterr().err


@pytest.mark.parametrize(("width", "height"), [(342, 256), (341, 256), (256, 341), (256, 257), (1000, 256), (256, 256)])
def test_where_nothing_is_scaled_pixels_are_kept(width: int, height: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    left, top = (width - 256) // 2, (height - 256) // 2
    found = fit(Image.fromarray(pixels), get_protocol(changes={"size": 256}))
    assert np.array_equal(found, pixels[top : top + 256, left : left + 256])


def test_pipes_sockets_and_devices_do_not_hang(tmp_path: Path) -> None:
    root = as_folder(tmp_path / "set", {"a.png": encoded("PNG")})
    os.mkfifo(root / "pipe.png")
    (root / "zero.png").symlink_to("/dev/zero")
    (root / "gone.png").symlink_to(root / "nothing.png")
    os.mkfifo(root / "a.txt")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(root / "s.png"))
        source = open_source(str(root), size=32)
    assert source.ids == ("a.png", "gone.png")
    assert set(source.passed_over) == {"pipe.png", "s.png", "zero.png"}
    with pytest.raises(UnreadableImage, match="No such file"):
        source.read(1)
    for name in ("pipe.png", "zero.png"):
        with pytest.raises(UnreadableImage, match="it is a pipe or a device, not a file"):
            load_rgb(root / name)
        with pytest.raises(TokbenchError, match="is neither a file nor a folder"):
            open_source(str(root / name), size=32)


def test_zips_of_windows(tmp_path: Path) -> None:
    path = tmp_path / "w.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("cat\\a.png", "dog\\b.png", "C:\\emu\\c.png", "cat\\a.txt", "__MACOSX\\._a.png", "Thumbs.db"):
            info = zipfile.ZipInfo("x")
            info.filename, info.create_system = name, 0
            archive.writestr(info, b"words" if name.endswith("txt") else encoded("PNG"))
    source = ZipSource(path)
    assert source.ids == ("cat/a.png", "dog/b.png", "emu/c.png")
    assert source.caption(0) == "words"
    assert source.read(2).size == (48, 32)
    assert Annotations(source, "folder").names == ("cat", "dog", "emu")


@pytest.mark.parametrize("name", ["image", "images", "picture", "Image"])
@pytest.mark.parametrize("nested", [False, True])
def test_lists_of_images_give_their_first(tmp_path: Path, name: str, nested: bool, caplog: pytest.LogCaptureFixture) -> None:
    cells = [encoded("PNG"), encoded("PNG", PIXELS[::-1])]
    rows = [[{"bytes": cell, "path": None} for cell in cells] if nested else cells, []]
    pq.write_table(pa.table({name: rows}), tmp_path / "x.parquet")
    source = open_source(str(tmp_path / "x.parquet"), size=32)
    assert np.array_equal(np.asarray(source.read(0)), PIXELS)
    with pytest.raises(UnreadableImage, match="no bytes are stored in this row"):
        source.read(1)
    assert "holds lists of images; the first of each is taken" in caplog.text


def test_paths_in_a_table(tmp_path: Path) -> None:
    as_folder(tmp_path / "set", {"pictures/a.png": encoded("PNG"), "../out.png": encoded("PNG")})
    rows = ["pictures/a.png", "../out.png", str(tmp_path / "set/pictures/a.png"), "none.png", "", None, "C:\\a.png", "a\0b.png", "x" * 5000]
    pq.write_table(pa.table({"image": rows}), tmp_path / "set" / "x.parquet")
    source = open_source(str(tmp_path / "set" / "x.parquet"), size=32)
    assert np.array_equal(np.asarray(source.read(0)), PIXELS)
    for index in range(1, len(rows)):
        with pytest.raises(
            UnreadableImage,
            match=r"leads out of the table's folder|some machine's|No such file|no bytes are stored|none that a file can have|name too long",
        ):
            source.read(index)


def test_a_large_row_group_is_read_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tokbench.data import table

    cells = [encoded("PNG", np.full((4, 4, 3), number, np.uint8)) for number in range(100)]
    pq.write_table(pa.table({"image": cells}), tmp_path / "x.parquet", row_group_size=70)
    monkeypatch.setattr(table, "LARGE_GROUP", 100)
    source = open_source(str(tmp_path / "x.parquet"), size=4)
    for index in (0, 1, 40, 69, 70, 99, 3, 2, 71):
        assert np.asarray(source.read(index))[0, 0, 0] == index


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_of_bytes(tmp_path: Path, save: Callable[..., None]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 9, 3), dtype=np.uint8)
    save(tmp_path / "b.npz", images, np.array([3, 1, 2, 0]))
    source = open_source(str(tmp_path / "b.npz"), size=8)
    assert source.ids == ("00000000", "00000001", "00000002", "00000003")
    for index in range(4):
        assert np.array_equal(np.asarray(source.read(index)), images[index])
    assert [source.label(index) for index in range(4)] == [3, 1, 2, 0]


def test_of_an_npz_with_names_of_its_own_the_only_images_are_taken(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 9, 3), dtype=np.uint8)
    path = tmp_path / "b.npz"
    for others in ({}, {"classes": np.arange(4), "names": np.array(["a", "b", "c", "d"])}):
        np.savez(path, **others, pictures=images)
        assert np.array_equal(np.asarray(open_source(str(path), size=8).read(3)), images[3])
    np.savez(path, classes=np.arange(4), more=np.arange(4))
    with pytest.raises(TokbenchError, match=r"holds int64 \[4\]; images are uint8 \[N, H, W, 3\]"):
        open_source(str(path), size=8)
    np.savez(path, originals=images, classes=np.arange(4), reconstructions=images // 2)
    with pytest.raises(
        TokbenchError, match="holds 2 arrays of images, such as originals and reconstructions; save the one that is meant as arr_0"
    ):
        open_source(str(path), size=8)


@pytest.mark.parametrize("seed", range(80))
def test_a_damaged_npz_is_refused_or_whole(tmp_path: Path, seed: int) -> None:
    draw = np.random.default_rng(seed)
    images = draw.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    (np.savez if seed % 2 else np.savez_compressed)(tmp_path / "b.npz", images)
    data = bytearray((tmp_path / "b.npz").read_bytes())
    data[draw.integers(0, len(data))] ^= 1 << int(draw.integers(0, 8))
    (tmp_path / "b.npz").write_bytes(data if seed % 4 else data[: draw.integers(0, len(data))])
    try:
        source = open_source(str(tmp_path / "b.npz"), size=8)
    except TokbenchError:
        return
    assert all(np.array_equal(np.asarray(source.read(index)), images[index]) for index in range(3))


@pytest.mark.parametrize(
    "array", [np.zeros((2, 8, 8)), np.zeros((2, 8, 8, 4), np.uint8), np.zeros((0, 8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)]
)
def test_arrays_that_are_no_images(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "b.npy", array)
    with pytest.raises(TokbenchError, match=r"images are uint8 \[N, H, W, 3\]"):
        open_source(str(tmp_path / "b.npy"), size=8)


@pytest.mark.parametrize("words", ["--size 32 --size=64", "--out x --out y", "--weights a --weights b", "-t patch --limit 1 --limit 2"])
def test_an_option_of_one_value_is_not_given_twice(tokbench_cli: Callable, words: str) -> None:
    status, _, err = tokbench_cli("run", "-t", "patch", *words.split())
    assert status == 2
    assert "takes one value, and 2 were given" in err


def test_configurations_of_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    text = "---\nconfigs:\n"
    for number, config in enumerate(("big", "small")):
        as_folder(tmp_path / "ds", {f"{config}/{number}.png": encoded("PNG", np.full((8, 8, 3), number, np.uint8))})
        text += f"- config_name: {config}\n  data_files:\n  - split: test\n    path: {config}/*\n"
    (tmp_path / "ds" / "README.md").write_text(text + "---\n")
    for spec in ("ds:small", "ds:small:test"):
        source = open_source(f"hf:{tmp_path}/{spec}", size=8)
        assert source.name == "ds:small:test"
        assert np.asarray(source.read(0))[0, 0, 0] == 1
    for spec, message in (
        ("ds", "has several configurations; it has big, small; name one of them, as in hf:.*/ds:big"),
        ("ds:test", "has several configurations and no 'test'; it has big, small"),
        ("ds:tiny:test", "has no configuration 'tiny'; it has big, small"),
        ("ds:small:train", "has no split 'train'; it has test"),
    ):
        with pytest.raises(TokbenchError, match=message):
            open_source(f"hf:{tmp_path}/{spec}", size=8)
