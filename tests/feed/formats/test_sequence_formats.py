"""Formats of sequences, read back by the libraries that train on them, or by a reader written from the layout."""

from __future__ import annotations

import json
import shutil
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from tests.feed.formats.pieces import COUNT, Pictures, Pieces, expected, exported
from tokbench.errors import TokbenchError
from tokbench.feed import ByteText, FileText, FormatOptions, Vocabulary, identify, parse, read_vocabulary, write_format
from tokbench.feed.formats import FORMAT_NAMES
from tokbench.feed.formats.options import Loss
from tokbench.feed.summary import read_summary
from tokbench.images import UnreadableImage
from tokbench.layout import TokenLayout

IGNORED = -100


def as_rows(sequences: list[tuple[list[int], list[bool]]]) -> list[dict[str, list[int]]]:
    """Rows as trainers take them."""
    return [
        {"input_ids": ids, "labels": [i if carries else IGNORED for i, carries in zip(ids, loss, strict=True)]} for ids, loss in sequences
    ]


@pytest.mark.parametrize("loss", ["all", "image"])
@pytest.mark.parametrize("sizes", [(256,), (16, 256, 8)])
def test_datasets_reads_the_sequences(loss: Loss, sizes: tuple[int, ...], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    tokens, options = exported(tmp_path / "tokens", *sizes), FormatOptions(loss=loss)
    folder = write_format(tokens, "sequences", options=options)
    assert folder == tmp_path / "tokens-sequences"
    rows = datasets.load_dataset("parquet", data_dir=str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.column_names == ["input_ids", "labels"]
    assert list(rows) == as_rows(expected(tokens, options))
    streamed = datasets.load_dataset("parquet", data_dir=str(folder), split="train", streaming=True)
    assert list(streamed) == list(rows)
    vocabulary = read_vocabulary(folder)
    text, image = parse(rows[3]["input_ids"], vocabulary)
    assert text == Pictures().caption(3)
    assert image.codebook_sizes == sizes
    assert (IGNORED in rows[3]["labels"]) == (loss == "image")


def test_trl_and_transformers_train_on_the_sequences_as_they_are(tokens: Path, tmp_path: Path) -> None:
    datasets, trl = pytest.importorskip("datasets"), pytest.importorskip("trl")
    import transformers
    from tokenizers import Tokenizer, models

    folder = write_format(tokens, "sequences", options=FormatOptions(loss="image"))
    rows = datasets.load_dataset("parquet", data_dir=str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    network = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=read_vocabulary(folder).size, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
        )
    )
    plain = transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"<pad>": 0}, "<pad>")), pad_token="<pad>")
    common = {"output_dir": str(tmp_path / "run"), "report_to": "none", "use_cpu": True, "max_steps": 1, "save_strategy": "no"}
    how = trl.SFTConfig(**common, max_length=None, bf16=False, per_device_train_batch_size=2, gradient_checkpointing=False)
    trainer = trl.SFTTrainer(network, how, train_dataset=rows, processing_class=plain)
    wanted = as_rows(expected(tokens, FormatOptions(loss="image")))
    assert [{key: row[key] for key in ("input_ids", "labels")} for row in trainer.train_dataset] == wanted
    batch = trainer.data_collator(wanted[:2])
    assert batch["labels"][0, : len(wanted[0]["labels"])].tolist() == wanted[0]["labels"]
    assert np.isfinite(trainer.train().training_loss)

    same = [row for row in wanted if len(row["input_ids"]) == len(wanted[1]["input_ids"])]
    batch = transformers.default_data_collator(same)
    assert batch["input_ids"].tolist() == [row["input_ids"] for row in same]
    assert network(**{key: value.to(torch.int64) for key, value in batch.items()}).loss.isfinite()


def test_litdata_reads_its_folder(tokens: Path, tmp_path: Path) -> None:
    pytest.importorskip("polars")  # which its loader asks for
    litdata = pytest.importorskip("litdata")
    from litdata.streaming import item_loader

    folder = write_format(tokens, "litdata")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    rows = litdata.StreamingDataset(str(folder), item_loader=item_loader.ParquetLoader(), cache_dir=str(tmp_path / "cache"), shuffle=False)
    assert len(rows) == COUNT
    assert [rows[index] for index in range(COUNT)] == as_rows(expected(tokens))
    assert list(rows) == as_rows(expected(tokens))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_index_of_litdata_says_what_its_own_would(tokens: Path, tmp_path: Path) -> None:
    pytest.importorskip("polars")
    pytest.importorskip("litdata")
    from litdata.streaming import writer

    folder = write_format(tokens, "litdata")
    ours = json.loads((folder / "index.json").read_text())
    writer.index_parquet_dataset(str(folder), cache_dir=str(tmp_path), num_workers=1)
    theirs = json.loads((folder / "index.json").read_text())
    assert ours["config"] == theirs["config"]
    assert ours["chunks"] == sorted(theirs["chunks"], key=lambda chunk: chunk["filename"])


@pytest.mark.parametrize(("sizes", "token_size"), [((256,), 2), ((2**17,), 4)])
def test_megatron_files_equal_those_of_another_writer(sizes: tuple[int, ...], token_size: int, tmp_path: Path) -> None:
    pytest.importorskip("datatrove")
    from datatrove.pipeline.tokens.megatron_tokenizer import MegatronTokenizedFile

    tokens = exported(tmp_path / "tokens", *sizes)
    folder = write_format(tokens, "megatron")
    (tmp_path / "theirs").mkdir()
    theirs = MegatronTokenizedFile(str(tmp_path / "theirs"), "tokens", token_size=token_size)
    for ids, _ in expected(tokens):
        theirs.write(ids)
    theirs.close()
    for name in ("tokens.bin", "tokens.idx"):
        assert (folder / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()
    assert {path.name for path in folder.iterdir()} == {"tokens.bin", "tokens.idx", ".format.json", ".vocabulary.json"}


def read_megatron(folder: Path) -> list[list[int]]:
    """The documents of a folder, read as the layout says."""
    index = (folder / "tokens.idx").read_bytes()
    assert index[:9] == b"MMIDIDX\0\0"
    version, code, count, ends = struct.unpack_from("<QBQQ", index, 9)
    assert (version, ends) == (1, count + 1)
    lengths = np.frombuffer(index, "<i4", count, 34)
    pointers = np.frombuffer(index, "<i8", count, 34 + 4 * count)
    documents = np.frombuffer(index, "<i8", ends, 34 + 12 * count)
    assert documents.tolist() == list(range(count + 1))
    assert len(index) == 34 + 12 * count + 8 * ends
    kind = {8: "<u2", 4: "<i4"}[code]
    data = (folder / "tokens.bin").read_bytes()
    return [np.frombuffer(data, kind, length, start).tolist() for length, start in zip(lengths, pointers, strict=True)]


def test_megatron_files_are_read_by_their_layout_however_small_the_parts_of_the_index(
    tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_megatron(write_format(tokens, "megatron"))
    assert whole == [ids for ids, _ in expected(tokens)]
    monkeypatch.setattr("tokbench.feed.formats.streams.CHUNK", 3)
    assert read_megatron(write_format(tokens, "megatron", tokens.parent / "again")) == whole


@pytest.mark.parametrize("loss", ["all", "image"])
@pytest.mark.parametrize(("sizes", "token_size"), [((256,), 2), ((2**17,), 4)])
def test_datatrove_reads_its_folder(loss: Loss, sizes: tuple[int, ...], token_size: int, tmp_path: Path) -> None:
    pytest.importorskip("datatrove")
    from datatrove.pipeline.tokens.tokenizer import TokenizedFile
    from datatrove.utils.dataset import DatatroveFolderDataset

    options = FormatOptions(loss=loss)
    tokens = exported(tmp_path / "tokens", *sizes)
    folder = write_format(tokens, "datatrove", options=options)
    sequences = expected(tokens, options)
    (tmp_path / "theirs").mkdir()
    theirs = TokenizedFile(
        str(tmp_path / "theirs"),
        "tokens.ds",
        save_loss_metadata=loss != "all",
        save_final_metadata=True,
        tokenizer_name_or_path="tokbench:tests/pieces",
        token_size=token_size,
    )
    for ids, carries in sequences:
        theirs.write(ids, np.array(carries) if loss != "all" else None)
    theirs.close()
    files = {path.name for path in (tmp_path / "theirs").iterdir()}
    assert ("tokens.ds.loss" in files) == (loss == "image")
    assert {path.name for path in folder.iterdir()} == {*files, ".format.json", ".vocabulary.json"}
    for name in files - {"tokens.ds.metadata"}:
        assert (folder / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()
    ours, other = ((place / "tokens.ds.metadata").read_text().split("\n") for place in (folder, tmp_path / "theirs"))
    assert ours[:2] == other[:2]
    assert len(ours) == len(other)
    stream = [number for ids, _ in sequences for number in ids]
    rows = DatatroveFolderDataset(str(folder), seq_len=9, filename_pattern="*.ds", token_size=token_size, return_positions=True)
    assert torch.cat([rows[index]["input_ids"] for index in range(len(rows))]).tolist() == stream[: 10 * len(rows)]
    assert len(rows) == len(stream) // 10


@pytest.mark.parametrize(("sizes", "kind"), [((256,), "uint16"), ((2**17,), "uint32")])
def test_a_flat_file_is_what_its_json_says(sizes: tuple[int, ...], kind: str, tmp_path: Path) -> None:
    tokens = exported(tmp_path / "tokens", *sizes)
    folder = write_format(tokens, "bin")
    about = json.loads((folder / "tokens.json").read_text())
    stream = [number for ids, _ in expected(tokens) for number in ids]
    found = np.memmap(folder / about["file"], np.dtype(about["token_dtype"]).newbyteorder("<"), mode="r")
    assert about["token_dtype"] == kind
    assert found.tolist() == stream
    assert (about["num_tokens"], about["num_sequences"]) == (len(stream), COUNT)
    assert about["vocab_size"] == 256 + 8 + sizes[0]
    assert (found == about["special_ids"]["bos"]).sum() == COUNT
    assert about["code_offsets"] == [256 + 8]


@pytest.mark.parametrize("condition", ["caption", "label", "none"])
def test_the_text_before_an_image_is_chosen(condition: str, tokens: Path) -> None:
    options = FormatOptions(condition=condition)  # type: ignore[arg-type]
    folder = write_format(tokens, "bin", options=options)
    stream = [number for ids, _ in expected(tokens, options) for number in ids]
    assert np.fromfile(folder / "tokens.bin", "<u2").tolist() == stream


def test_a_vocabulary_of_ones_own_numbers_the_ids(tokens: Path) -> None:
    layout = TokenLayout((8, 8), (2, 3), (256,))

    vocabulary = Vocabulary.over(ByteText("gpt2"), layout, identify(Pieces(256)))
    options = FormatOptions(vocabulary=vocabulary)
    folder = write_format(tokens, "bin", options=options)
    assert np.fromfile(folder / "tokens.bin", "<u2").tolist() == [number for ids, _ in expected(tokens, options) for number in ids]
    assert read_vocabulary(folder) == vocabulary
    assert expected(tokens, options) != expected(tokens)


@pytest.mark.parametrize("grid", [(6,), (3, 2)])
def test_grids_of_one_axis_and_of_two_come_back(grid: tuple[int, ...], tmp_path: Path) -> None:
    tokens = exported(tmp_path / "tokens", 256, grid=grid)
    documents = read_megatron(write_format(tokens, "megatron"))
    assert documents == [ids for ids, _ in expected(tokens)]
    assert parse(documents[0], read_vocabulary(tmp_path / "tokens-megatron"))[0].grid == grid


def test_texts_are_written_by_a_tokenizer_of_ones_own(tmp_path: Path, tokens: Path) -> None:
    library = pytest.importorskip("tokenizers")
    alphabet = sorted(library.pre_tokenizers.ByteLevel.alphabet())
    whole = library.Tokenizer(library.models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    whole.pre_tokenizer, whole.decoder = library.pre_tokenizers.ByteLevel(add_prefix_space=False), library.decoders.ByteLevel()
    whole.add_special_tokens(["<s>"])
    whole.save(str(tmp_path / "tokenizer.json"))
    options = FormatOptions(text=FileText.open(tmp_path / "tokenizer.json"))
    folder = write_format(tokens, "bin", options=options)
    stream = np.fromfile(folder / "tokens.bin", "<u2").tolist()
    assert stream == [number for ids, _ in expected(tokens, options) for number in ids]
    vocabulary = read_vocabulary(folder, text_file=tmp_path / "tokenizer.json")
    assert vocabulary.size == 257 + 8 + 256
    assert parse(stream[: stream.index(vocabulary.special.eos) + 1], vocabulary)[0].grid == (2, 3)
    narrow = FormatOptions(text=FileText.open(tmp_path / "tokenizer.json", size=200))
    with pytest.raises(TokbenchError, match=r"the caption of 001: the text can only be written with .*, a special token; take that out"):
        write_format(tokens, "bin", tmp_path / "narrow", options=narrow)
    assert not (tmp_path / "narrow").exists()


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    class Many(Pictures):
        def __init__(self, count: int) -> None:
            self.ids = tuple(f"{number:05d}" for number in range(count))

    for count in (32, 320):
        exported(tmp_path / str(count), 256, source=Many(count), rows=32)

    def peak(count: int, name: str) -> int:
        tracemalloc.start()
        try:
            write_format(tmp_path / str(count), name)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    for name in ("sequences", "megatron", "rar"):
        peak(32, name)  # imports and caches
        shutil.rmtree(tmp_path / f"32-{name}")
        assert peak(320, name) - peak(32, name) < 40_000, name  # the ids of 288 more images are 60 kB as int64


@pytest.mark.parametrize("name", [name for name in FORMAT_NAMES if name != "latents"])
def test_a_shard_without_rows_is_in_no_format_s_way(name: str, tmp_path: Path) -> None:
    class Broken(Pictures):
        def read(self, index: int):
            if 4 <= index < 8:
                raise UnreadableImage("broken")
            return super().read(index)

    tokens = exported(tmp_path / "tokens", 256, source=Broken())
    assert read_summary(tokens).rows == (4, 0, 3)
    folder = write_format(tokens, name)
    if name == "megatron":
        assert read_megatron(folder) == [ids for ids, _ in expected(tokens)]
    if name in ("sequences", "litdata"):
        assert sum(pq.read_metadata(path).num_rows for path in folder.glob("*.parquet")) == 7
