"""What cannot be written in a format is one line, said before anything is encoded, and leaves nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.feed.formats.pieces import PROTOCOL, Bare, Pictures, Pieces, expected, exported
from tokbench.errors import TokbenchError
from tokbench.feed import ByteText, FormatOptions, TokenDataset, Vocabulary, identify, read_format, read_vocabulary, write_format
from tokbench.feed.export import ExportOptions, export
from tokbench.feed.formats import FORMAT_NAMES
from tokbench.feed.formats.write import FORMATS
from tokbench.feed.memmap import write_memmap
from tokbench.feed.verify import verify
from tokbench.file_units import atomic_folder
from tokbench.files import Busy
from tokbench.layout import TokenLayout
from tokbench.ranks import Ranks


def vocabulary(*sizes: int, **changes: object) -> Vocabulary:
    return Vocabulary.over(ByteText(), TokenLayout((8, 8), (2, 3), sizes), identify(Pieces(*sizes)), **changes)  # type: ignore[arg-type]


def test_formats_are_named_where_commands_and_people_look() -> None:
    assert tuple(FORMATS) == FORMAT_NAMES
    page = (Path(__file__).parents[3] / "docs" / "feed.md").read_text()
    assert [line for line in page.splitlines() if f"| {FORMATS['bin'].reader} |" in line]
    assert not [one.name for one in FORMATS.values() if f"| `{one.name}` | {one.reader} |" not in page]


REFUSED = [
    ("megatrom", (256,), Pictures(), {}, r"unknown format 'megatrom'; did you mean megatron\?"),
    ("latents", (256,), Pictures(), {}, "latents takes latents, and tests/pieces makes codes; choose another format or tokenizer"),
    *((name, (), Pictures(), {}, f"{name} takes codes, and tests/pieces makes latents") for name in FORMAT_NAMES if name != "latents"),
    *(
        (name, (8, 8), Pictures(), {}, f"{name} takes one code a position, and tests/pieces has 2 codebooks")
        for name in ("llamagen", "rar")
    ),
    *((name, (256,), Bare(), {}, f"{name} takes a class .* bare has no labels; .* --labels folder") for name in ("llamagen", "rar")),
    ("bin", (256,), Bare(), {"condition": "label"}, "bare has no labels to stand before its images; choose another --condition"),
    ("sequences", (256,), Bare(), {"condition": "caption"}, "bare has no captions to stand before its images"),
    ("bin", (2**16,), Pictures(), {"id_type": "uint16"}, "the vocabulary has 65800 ids, and uint16 holds 65536; .* choose uint32"),
    ("megatron", (2**16,), Pictures(), {"id_type": "uint16"}, "65800 ids, and uint16 holds 65536; leave --id-type out, or choose int32"),
    ("sequences", (2**31,), Pictures(), {}, "the vocabulary has 2147483912 ids, and sequences holds 2147483648; choose a tokenizer with"),
    ("bin", (2**36,), Pictures(), {"id_type": "uint16"}, "the vocabulary has 68719477000 ids, and bin holds 4294967296"),
    ("megatron", (256,), Pictures(), {"id_type": "uint32"}, "megatron holds ids as uint16 or int32, got uint32; choose one of these"),
    ("sequences", (256,), Pictures(), {"id_type": "uint16"}, "sequences holds ids as int32, got uint16"),
    ("bin", (256,), Pictures(), {"vocabulary": vocabulary(128)}, r"the vocabulary has codebooks \(128,\) on grids of 2 axes, the export"),
    (
        *("bin", (8, 8), Pictures(), {"vocabulary": vocabulary(8, 8, arrangement="parallel")}),
        "the vocabulary is of parallel streams, and rows of ids are one stream",
    ),
]


@pytest.mark.parametrize(("name", "sizes", "source", "how", "problem"), REFUSED)
def test_what_a_format_does_not_take_is_said_before_and_after_encoding(name, sizes, source, how, problem, tmp_path: Path) -> None:
    options = FormatOptions(**how)
    with pytest.raises(TokbenchError, match=problem):
        exported(tmp_path / "tokens", *sizes, source=source, formats={name: None}, format_options=options)
    assert not list(tmp_path.iterdir())
    tokens = exported(tmp_path / "tokens", *sizes, source=source)
    with pytest.raises(TokbenchError, match=problem):
        write_format(tokens, name, options=options)
    assert [path.name for path in tmp_path.iterdir()] == ["tokens"]


def test_images_that_are_no_squares_are_refused_before_they_are_encoded(tokens: Path) -> None:
    job = TokenDataset(tokens).job
    wide = replace(job, preparation=replace(job.preparation, size=(8, 16)))
    with pytest.raises(TokbenchError, match="images that LlamaGen's reader knows are square, got 8x16; give --size one number"):
        FORMATS["llamagen"].plan(wide, FormatOptions())
    assert FORMATS["bin"].plan(wide, FormatOptions()).id_type == FORMATS["bin"].plan(job, FormatOptions()).id_type


def test_a_vocabulary_of_another_tokenizer_is_refused(tokens: Path) -> None:
    other = Pieces(256)
    other.name = "tests/other"
    numbers = Vocabulary.over(ByteText(), TokenLayout((8, 8), (2, 3), (256,)), identify(other))
    with pytest.raises(TokbenchError, match="numbers the codes of another tokenizer: its name is tests/other there and tests/pieces here"):
        write_format(tokens, "bin", options=FormatOptions(vocabulary=numbers))
    wide = Vocabulary.over(ByteText(), TokenLayout((8, 8), (2, 3), (256,)), identify(Pieces(256, grid=(3, 3))))
    with pytest.raises(TokbenchError, match="another tokenizer: tests/pieces has another configuration there; give the one of the export"):
        write_format(tokens, "bin", options=FormatOptions(vocabulary=wide))


@pytest.mark.parametrize(("size", "kind"), [(65_499, 8), (65_500, 4), (65_536, 4)])
def test_ids_are_as_small_as_megatron_itself_takes_them(size: int, kind: int, tmp_path: Path) -> None:
    tokens = exported(tmp_path / "tokens", size - 256 - 8)
    assert (write_format(tokens, "megatron") / "tokens.idx").read_bytes()[17] == kind


@pytest.mark.parametrize(("size", "kind"), [(65_536, "uint16"), (65_537, "uint32")])
def test_ids_are_as_small_as_the_vocabulary_allows(size: int, kind: str, tmp_path: Path) -> None:
    folder = write_format(exported(tmp_path / "tokens", size - 256 - 8), "bin")
    assert json.loads((folder / "tokens.json").read_text())["token_dtype"] == kind
    wide = write_format(tmp_path / "tokens", "bin", tmp_path / "wide", options=FormatOptions(id_type="uint32"))
    assert json.loads((wide / "tokens.json").read_text())["token_dtype"] == "uint32"


def test_options_are_checked_at_birth(unchecked_types: None) -> None:
    for how, problem in (
        ({"condition": "text"}, "condition must be one of auto, caption"),
        ({"loss": "text"}, "loss must be"),
        ({"id_type": "int8"}, "id_type must be"),
    ):
        with pytest.raises(ValueError, match=problem):
            FormatOptions(**how)
    with pytest.raises(ValueError, match="a vocabulary has its own text tokenizer; give one of the two"):
        FormatOptions(vocabulary=vocabulary(256), text=ByteText())


def test_absent_texts_are_named_in_one_line(tokens: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_format(tokens, "bin")
    write_format(exported(tmp_path / "bare", 256, source=Bare()), "bin")
    assert caplog.messages == [
        "3 of 11 rows have no caption; their sequences are images alone",
        "the export of bare has neither captions nor labels: sequences are images alone",
    ]


@pytest.mark.parametrize("name", ["bin", "megatron"])
def test_a_loss_that_a_format_cannot_hold_is_named(name: str, tokens: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_format(tokens, name, options=FormatOptions(loss="image"))
    assert f"{name} has no place for where the loss falls; it will fall on all ids" in caplog.messages


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_written_once_and_never_mixed(tokens: Path, tmp_path: Path) -> None:
    folder = write_format(tokens, "bin")
    before = contents(folder), (folder / "tokens.bin").stat().st_ino
    assert write_format(tokens, "bin") == folder
    assert (contents(folder), (folder / "tokens.bin").stat().st_ino) == before
    other = exported(tmp_path / "other", 128)
    for source, name, how, problem in (
        (
            other,
            "bin",
            {},
            r"holds tokens of another export: tokenizer\.config\.sizes is 256 there and 128 here; .*; choose another folder for bin",
        ),
        (tokens, "megatron", {}, "holds an export as bin; choose another folder for megatron, or delete it"),
        (tokens, "bin", {"loss": "image"}, "holds sequences made otherwise: loss is all there and image here"),
        (tokens, "bin", {"text": ByteText("gpt2")}, "holds sequences of another vocabulary; choose another folder"),
    ):
        with pytest.raises(TokbenchError, match=problem):
            write_format(source, name, folder, options=FormatOptions(**how))
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    for place, problem in (
        (tmp_path / "file", "is a file; choose a folder for bin"),
        (tmp_path / "full", "holds other files; choose another folder for bin"),
        (tokens, "whose readers expect Parquet files alone; choose another folder for bin"),
        (tokens / "below", "whose readers expect Parquet files alone"),
        (tmp_path, "holds other files"),
    ):
        with pytest.raises(TokbenchError, match=problem):
            write_format(tokens, "bin", place)
    assert contents(folder) == before[0]
    (tmp_path / "empty").mkdir()
    assert contents(write_format(tokens, "bin", tmp_path / "empty")) == before[0]


def test_one_folder_is_not_asked_for_twice(tmp_path: Path) -> None:
    for formats, memmap in (({"bin": tmp_path / "x", "rar": tmp_path / "y" / ".." / "x"}, None), ({"bin": tmp_path / "x"}, tmp_path / "x")):
        with pytest.raises(TokbenchError, match=r"x is asked for by .* and .*; give each a folder of its own"):
            exported(tmp_path / "tokens", 256, formats=formats, memmap=memmap)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["sequences", "megatron", "datatrove", "bin", "litdata", "llamagen", "rar"])
def test_a_format_is_whole_or_absent(name: str, tokens: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tokbench.files.os.fsync", fail)
    with pytest.raises(TokbenchError, match=rf"cannot write to .*tokens-{name}.* \(No space left on device\); make room"):
        write_format(tokens, name)
    assert [path.name for path in tokens.parent.iterdir()] == ["tokens"]
    monkeypatch.undo()
    first = contents(write_format(tokens, name))
    assert contents(write_format(tokens, name, tokens.parent / "again")) == first


def test_a_damaged_export_is_not_written(tokens: Path) -> None:
    shard = tokens / "tokens-00001-of-00003.parquet"
    shard.write_bytes(shard.read_bytes()[:-9])
    for name in FORMAT_NAMES:
        if name != "latents":
            with pytest.raises(TokbenchError, match=r"tokens-00001-of-00003\.parquet is damaged"):
                write_format(tokens, name)
    shard.unlink()
    with pytest.raises(TokbenchError, match=r"tokens-00001-of-00003\.parquet is missing; run the export again"):
        write_format(tokens, "bin")
    (tokens / ".export.json").unlink()
    with pytest.raises(TokbenchError, match="is not finished"):
        write_format(tokens, "bin")
    assert [path.name for path in tokens.parent.iterdir()] == ["tokens"]


def test_exports_and_formats_are_not_mistaken_for_each_other(tokens: Path, tmp_path: Path) -> None:
    for name in ("sequences", "bin"):
        folder = write_format(tokens, name)
        with pytest.raises(
            TokbenchError, match=r"holds an export as trainers read it .*; give the folder of the export it was written from"
        ):
            verify(folder)
        with pytest.raises(TokbenchError, match="holds no exported tokens"):
            TokenDataset(folder)
        with pytest.raises(TokbenchError, match="no shards may lie there; choose another --out"):
            export(Pieces(256), Pictures(), folder, protocol=PROTOCOL)
        with pytest.raises(TokbenchError, match="holds no exported tokens"):
            write_format(folder, "megatron")
        with pytest.raises(TokbenchError, match=r"holds an export.*; choose another folder for the memory map"):
            write_memmap(tokens, folder)
    assert verify(tokens).ok
    assert read_format(folder).format == "bin"
    with pytest.raises(TokbenchError, match="holds no export in the format of a trainer; write one with tokbench export --as FORMAT"):
        read_format(tokens)
    with pytest.raises(TokbenchError, match="holds no sequences with a vocabulary"):
        read_vocabulary(write_format(tokens, "rar"))
    (folder / ".format.json").write_text("{}")
    with pytest.raises(TokbenchError, match=r"is damaged .*; delete the folder and write it again"):
        write_format(tokens, "bin")


def test_the_rank_that_finishes_writes_the_formats(tmp_path: Path) -> None:
    formats = {"bin": None, "rar": tmp_path / "lines"}
    first, last = (exported_by(rank, tmp_path, formats) for rank in (1, 0))
    assert (first.complete, first.formats) == (False, {})
    assert last.formats == {"bin": tmp_path / "tokens-bin", "rar": tmp_path / "lines"}
    for ids, _ in expected(tmp_path / "tokens"):
        assert ids[0] == 256
    alone = exported(tmp_path / "alone", 256)
    assert contents(write_format(alone, "bin")) == contents(tmp_path / "tokens-bin")


def exported_by(rank: int, root: Path, formats: dict):
    options = ExportOptions(rows_per_shard=4, formats=formats, ranks=Ranks(rank, 2))
    return export(Pieces(256), Pictures(), root / "tokens", protocol=PROTOCOL, options=options)


def test_a_format_that_another_process_writes_is_left_to_it(tokens: Path, tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "tokens-bin") as draft:
        with pytest.raises(Busy, match="another process is writing"):
            write_format(tokens, "bin")
        result = export(Pieces(256), Pictures(), tokens, protocol=PROTOCOL, options=ExportOptions(rows_per_shard=4, formats={"bin": None}))
        assert (result.complete, result.formats) == (True, {})
        (draft / "tokens.bin").write_text("of the other")
    assert contents(tmp_path / "tokens-bin") == {"tokens.bin": b"of the other"}


def test_a_place_that_cannot_be_written_is_said_before_anything_is_encoded(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TokbenchError, match="cannot write to"):
        exported(tmp_path / "tokens", 256, formats={"bin": tmp_path / "file" / "bin"})
    assert not (tmp_path / "tokens").exists()
