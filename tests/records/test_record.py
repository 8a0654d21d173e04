"""Records survive the trip to JSON and back, are never overwritten, and old or foreign files are met with one line."""

import json
import os

import pytest

import tokbench
from tokbench.bench.runner import run
from tokbench.errors import TokbenchError
from tokbench.records.probe_store import find_probe_records
from tokbench.records.record import SCHEMA, read_record, record_from_dict
from tokbench.records.store import find_records, read_rows, write_record


@pytest.fixture
def evaluation(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))
    return run(tokbench.load("pixel/rgb"), folder, metrics=("psnr", "ssim", "codebook", "rfid"))


def test_round_trip_with_exactness_reason_and_codebooks(evaluation, tmp_path):
    path = write_record(evaluation.record, evaluation.rows, tmp_path / "out")
    assert read_record(path) == evaluation.record
    values = json.loads(path.read_text())
    assert values["schema"] == SCHEMA
    assert "value" not in values["metrics"]["psnr"]
    assert values["metrics"]["psnr"]["exact"] == 12
    assert values["metrics"]["psnr"]["unit"] == "dB"
    assert values["metrics"]["psnr"]["higher_is_better"] is True
    assert values["metrics"]["psnr"]["settings"] == {"data_range": 255, "averaging": "mean of per-image dB"}
    assert list(values["metrics"]["rfid"]) == ["reason"]
    assert len(values["metrics"]["perplexity"]["by_codebook"]) == 3
    assert (
        values["tokens"] | {"positions": 4096, "tokens_per_image": 12288, "grid": [64, 64], "codebook_sizes": [256] * 3} == values["tokens"]
    )
    for key in ("tokenizer", "data", "protocol", "timing", "environment"):
        assert values[key]
    assert values["data"]["digest"] != values["data"]["pixels_digest"]


def test_records_hold_no_path_and_no_host(evaluation, tmp_path):
    import socket

    text = evaluation.record.to_json()
    assert str(tmp_path) not in text
    assert socket.gethostname() not in text.replace("localhost", "") or len(socket.gethostname()) < 4


def test_nothing_is_overwritten(evaluation, tmp_path):
    paths = [write_record(evaluation.record, evaluation.rows, tmp_path / "out") for _ in range(3)]
    assert [path.name for path in paths] == [
        "pixel-rgb_tokbench-256+data=pictures+size=64.json",
        "pixel-rgb_tokbench-256+data=pictures+size=64_2.json",
        "pixel-rgb_tokbench-256+data=pictures+size=64_3.json",
    ]
    assert not [path for path in (tmp_path / "out").iterdir() if "partial" in path.name]
    assert len(find_records([tmp_path / "out"])) == 3


def test_rows_stand_beside_the_record(evaluation, tmp_path):
    import pandas as pd

    path = write_record(evaluation.record, evaluation.rows, tmp_path)
    assert read_rows(path) == evaluation.rows
    table = pd.read_parquet(path.with_suffix(".parquet"))
    assert {column for column in table.columns if not column.endswith(".without_cluster")} == {"id", "psnr", "ssim"}
    assert len(table) == 12


def test_a_record_that_is_being_written_or_was_abandoned_is_not_read(evaluation, tmp_path):
    path = write_record(evaluation.record, evaluation.rows, tmp_path / "first")
    draft = tmp_path / "out" / f".{path.name}.draft"
    draft.parent.mkdir()
    path.parent.rename(draft)
    (draft / "lock").write_text("")
    assert find_records([tmp_path / "out"], may_be_none=True) == []
    assert find_probe_records([tmp_path / "out"]) == []
    again = write_record(evaluation.record, evaluation.rows, tmp_path / "out")
    assert [found for found, _ in find_records([tmp_path / "out"])] == [again]
    assert sorted(os.listdir(again.parent)) == [again.name, again.with_suffix(".parquet").name]


def test_damaged_rows_are_named_in_one_line(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["x"] * 1000, "psnr": [1.0] * 1000}), path)
    whole = path.read_bytes()
    for content in (b"", b"no parquet", whole[: len(whole) // 2], whole[:4] + bytes(len(whole) - 12) + whole[-8:]):
        path.write_bytes(content)
        with pytest.raises(
            TokbenchError, match=r"^cannot read the per-image values in .*a\.parquet \(.+\); measure again, or remove the file$"
        ):
            read_rows(tmp_path / "a.json")
    pq.write_table(pa.table({"psnr": [1.0]}), path)
    with pytest.raises(TokbenchError, match="it has no column of ids"):
        read_rows(tmp_path / "a.json")


def test_unknown_fields_of_a_record_are_ignored_and_newer_schemas_refused(evaluation):
    values = json.loads(evaluation.record.to_json())
    assert record_from_dict(values | {"later": 1}, origin="x") == evaluation.record
    with pytest.raises(TokbenchError, match="x has schema 99, this tokbench reads up to 5"):
        record_from_dict(values | {"schema": 99}, origin="x")
    with pytest.raises(TokbenchError, match="x is not a tokbench record"):
        record_from_dict({"schema": 1, "metrics": {}}, origin="x")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', "\x00\xff"])
def test_foreign_files_are_refused_in_one_line(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(TokbenchError, match=r"a\.json"):
        read_record(path)


def test_missing_records_say_what_to_do(tmp_path):
    with pytest.raises(TokbenchError, match=r"no records in .*tokbench run"):
        find_records([tmp_path])
    with pytest.raises(TokbenchError, match="no record at"):
        find_records([tmp_path / "none.json"])


def test_a_folder_that_cannot_be_written_is_named(evaluation, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TokbenchError, match=r"cannot write to .*file \(.*\); choose another place"):
        write_record(evaluation.record, {}, tmp_path / "file")


def test_records_say_how_the_weights_were_found_in_their_file(folder, tmp_path):
    import torch

    tokenizer = tokbench.load("vqvae/tiny")
    path = tmp_path / "last.ckpt"
    torch.save({"epoch": 3, "state_dict": tokenizer.state_dict() | {"loss.logvar": torch.zeros(())}}, path)
    evaluation = run(tokbench.load("vqvae/tiny", weights=path), folder, metrics=("codebook",))
    count = len(tokenizer.state_dict())
    assert evaluation.record.tokenizer.weights_how == f"zip, entry state_dict; {count} tensors; left out: 1 loss."
    path = write_record(evaluation.record, evaluation.rows, tmp_path / "out")
    assert read_record(path) == evaluation.record
    (use,) = evaluation.record.codebooks
    assert (use.size, use.tokens, use.used) == (1024, 12 * 256, round(1024 * evaluation.record.metrics["usage"].value))


def test_records_of_the_first_schema_are_read(evaluation):
    values = json.loads(evaluation.record.to_json()) | {"schema": 1}
    del values["codebooks"], values["tokenizer"]["weights_how"]
    record = record_from_dict(values, origin="x")
    assert (record.schema, record.codebooks, record.tokenizer.weights_how) == (1, (), None)
    assert record.metrics == evaluation.record.metrics


def test_records_of_the_second_schema_have_speeds_without_intervals(evaluation):
    values = json.loads(evaluation.record.to_json()) | {"schema": 2}
    del values["timing"]["encode_interval"], values["timing"]["decode_interval"], values["tokens"]["bits_interval"]
    record = record_from_dict(values, origin="x")
    assert {record.interval(key) for key in ("encode", "decode", "bits_per_image", "bpp", "parameters")} == {None}
    assert record.timing.threads == evaluation.record.timing.threads


def test_records_of_something_else_are_passed_over(evaluation, tmp_path):
    write_record(evaluation.record, {}, tmp_path)
    (tmp_path / "probe.json").write_text(json.dumps({"schema": 1, "kind": "probe", "metrics": {}}))
    (tmp_path / "vocabulary.json").write_text(json.dumps({"schema": 1}))
    assert len(find_records([tmp_path])) == 1


def test_codecs_are_a_field_and_in_records_without_it_follow_from_the_name(evaluation):
    values = json.loads(evaluation.record.to_json())
    assert values["tokenizer"].pop("codec") is None
    for name, codec in {"anchor/webp-320": "webp", "anchor/jpeg-1": "jpeg", "anchor/": None, "my/anchor": None, "vqgan/tiny": None}.items():
        values["tokenizer"]["name"] = name
        assert record_from_dict(values, origin="it").tokenizer.codec == codec
    said = values | {"tokenizer": values["tokenizer"] | {"name": "anchor/webp-320", "codec": None}}
    assert record_from_dict(said, origin="it").tokenizer.codec is None
