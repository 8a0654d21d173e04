"""Runs with a journal: the same record whoever measures which chunk, whenever it is killed, and nothing of another run in it."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import tokbench
from tokbench import cli
from tokbench.bench import chunk_files
from tokbench.bench.chunk_files import read_chunk, write_chunk
from tokbench.bench.chunks import Part, parse_part, spans
from tokbench.bench.journal import INDEX, JournalIndex, open_journal, read_index
from tokbench.bench.prepared import PreparedRun, RunOptions
from tokbench.bench.sharing import _check_same_run
from tokbench.data.folder import FolderSource
from tokbench.errors import TokbenchError
from tokbench.files import DRAFT, cannot_write, folder_lock
from tokbench.records.protocol import get_protocol
from tokbench.signals import Ended

METRICS = "psnr,ssim,codebook,stability"


@pytest.fixture
def pictures(folder, monkeypatch):
    """Twelve pictures and a broken one, in chunks of three."""
    monkeypatch.setattr("tokbench.bench.prepared.chunk_size", lambda protocol: 3)
    (folder / "05a.png").write_bytes(b"not an image")
    return folder


@pytest.fixture
def run(tokbench_cli, pictures):
    def call(*words, metrics=METRICS, out="runs", name="pixel/palette-512"):
        return tokbench_cli("run", "-t", name, "--data", pictures, "--metrics", metrics, "--size", "32", "--out", out, *words)

    return call


def records(folder):
    """Records without what differs from run to run, and their rows, by file."""
    found = {}
    for path in sorted(Path(folder).glob("*.json")):
        values = json.loads(path.read_text())
        del values["timing"], values["created"]
        found[path.name] = (json.dumps(values), path.with_suffix(".parquet").read_bytes())
    return found


def journals(folder):
    return {path.name: sorted(item.name for item in path.iterdir()) for path in Path(folder).glob("*.journal")}


def first_line(err):
    (line,) = [line for line in err.splitlines() if line.startswith("tokbench: ")]
    return line


@pytest.fixture
def reference(run, tmp_path):
    status, _, err = run(out="whole")
    assert status == 0, err
    found = records(tmp_path / "whole")
    assert len(found) == 1
    return found


def test_a_run_leaves_a_record_alone(run, reference, tmp_path):
    assert sorted(path.name for path in (tmp_path / "whole").iterdir()) == [
        "pixel-palette-512_tokbench-256+data=pictures+size=32.json",
        "pixel-palette-512_tokbench-256+data=pictures+size=32.parquet",
    ]
    (text, _) = next(iter(reference.values()))
    data = json.loads(text)["data"]
    assert (data["requested"], data["count"], [item["id"] for item in data["skipped"]]) == (13, 12, ["05a.png"])


def test_chunks_change_nothing(run, reference, monkeypatch, tmp_path):
    monkeypatch.setattr("tokbench.bench.prepared.chunk_size", lambda protocol: 256)
    assert run(out="one")[0] == 0
    assert records(tmp_path / "one") == reference


def test_parts_make_the_record_of_the_whole(run, reference, tokbench_cli, tmp_path):
    for part in ("2/3", "1/3", "3/3"):
        status, out, err = run("--part", part)
        assert (status, out) == (0, ""), err
        assert f"part {part}, " in err
    before = journals(tmp_path / "runs")
    assert len(before) == 3
    assert before["pixel-palette-512_tokbench-256+data=pictures+size=32.part-1-of-3.journal"] == [
        "000000.parquet", "000000.safetensors", "000003.parquet", "000003.safetensors", INDEX,
    ]  # fmt: skip
    status, out, err = tokbench_cli("merge", "runs")
    assert status == 0, err
    assert "3 parts, 12 images" in err
    assert records(tmp_path / "runs") == reference
    assert journals(tmp_path / "runs") == before
    assert tokbench_cli("compare", "runs")[0] == 0
    assert tokbench_cli("merge", "runs", "--out", "else", "--fail-if", "psnr<99")[0] == 1
    assert records(tmp_path / "else") == reference
    assert tokbench_cli("merge", "runs", tmp_path / "runs", "--out", "twice")[0] == 0  # one folder by two names
    assert records(tmp_path / "twice") == reference


def test_there_may_be_more_parts_than_chunks(run, reference, tokbench_cli, tmp_path):
    for number in range(1, 8):
        assert run("--part", f"{number}/7")[0] == 0
    assert tokbench_cli("merge", "runs")[0] == 0
    assert records(tmp_path / "runs") == reference


def test_an_array_of_one_job_merges_like_any_other(run, reference, tokbench_cli, tmp_path):
    status, out, err = run("--part", "1/1")
    assert (status, out) == (0, ""), err
    assert "part 1/1, 5 of 5 chunks, in runs/" in err
    assert list(journals(tmp_path / "runs")) == ["pixel-palette-512_tokbench-256+data=pictures+size=32.part-1-of-1.journal"]
    assert records(tmp_path / "runs") == {}
    assert run("--resume", name="pixel/rgb")[0] == 0  # a whole run beside it is none of its parts
    assert run("--resume")[0] == 0  # nor is one of the same name, also where an earlier version calls it so
    index = tmp_path / "runs" / "pixel-palette-512_tokbench-256+data=pictures+size=32.journal" / INDEX
    index.write_text(index.read_text().replace('"whole"', '"1/1"'))
    assert run("--resume")[0] == 0
    index.write_text(index.read_text().replace('"whole"', '"1/1"'))
    alone = set(records(tmp_path / "runs"))
    assert len(alone) == 2
    status, _, err = tokbench_cli("merge", "runs", "--out", "merged")
    assert status == 0, err
    assert "1 part, 12 images" in err
    assert records(tmp_path / "merged") == reference
    assert set(records(tmp_path / "runs")) == alone


def test_parts_that_do_not_fit_are_refused(run, tokbench_cli, tmp_path):
    def refused():
        status, out, err = tokbench_cli("merge", "runs")
        assert (status, out) == (2, "")
        assert not list((tmp_path / "runs").glob("*.parquet"))
        return first_line(err)

    (tmp_path / "runs").mkdir()
    assert refused() == "tokbench: no parts of runs in runs; tokbench run --part K/N makes them"
    assert run("--part", "1/3")[0] == 0
    assert "lacks part 2/3, 3/3; run it with --part, then merge again" in refused()
    assert run("--part", "2/3")[0] == 0
    assert run("--part", "3/3")[0] == 0
    one, two, three = sorted((tmp_path / "runs").glob("*.journal"))
    shutil.copytree(two, tmp_path / "runs" / "copy" / two.name)
    assert "part 2/3 of pixel-palette-512_tokbench-256+data=pictures+size=32 is there twice, in " in refused()
    shutil.rmtree(tmp_path / "runs" / "copy")
    (two / "000004.parquet").unlink()
    assert "lacks 1 of its 2 chunks (4); run that part again with --resume" in refused()
    shutil.copy(one / "000000.parquet", two / "000000.parquet")
    shutil.copy(one / "000000.safetensors", two / "000000.safetensors")
    assert run("--part", "2/3", "--resume")[0] == 0
    assert "holds chunk 0, of other parts" in refused()
    (two / "000000.parquet").unlink()
    (one / "000000.safetensors").write_bytes((one / "000003.safetensors").read_bytes())
    assert "000000.safetensors is damaged (its digest is another one)" in refused()
    index = json.loads((three / INDEX).read_text())
    (three / INDEX).write_text(json.dumps(index | {"part": "3/4"}))
    assert "these do not fit together; keep the parts of one division" in refused()
    index["facts"]["versions"]["numpy"] = "0.1"
    (three / INDEX).write_text(json.dumps(index))
    assert "are of two runs: versions.numpy is " in refused()
    held = [(path / INDEX).read_text() for path in (one, two, three)]
    for change, says in (
        (lambda index: index["data"].update(images=10**12), "lacks 111111111110 of its 111111111112 chunks (6, 9, 12, 15, 18 and "),
        (lambda index: index["data"].update(images=10**20), "no journal that can be read"),
        (lambda index: index["facts"]["metrics"]["psnr"].update(settings=[]), "by other metrics: metrics.psnr.settings."),
    ):
        for path, text in zip((one, two, three), held, strict=True):
            index = json.loads(text)
            index["facts"]["versions"] = json.loads(held[0])["facts"]["versions"]
            change(index)
            (path / INDEX).write_text(json.dumps(index))
        assert says in refused()
    for path, text in zip((one, two, three), held, strict=True):
        (path / INDEX).write_text(text)
        index = json.loads(text)
        index["facts"]["versions"]["numpy"] = "0.1"
        (path / INDEX).write_text(json.dumps(index))
    assert "was measured by other packages: versions.numpy is 0.1 there" in refused()


def test_a_part_of_another_run_in_place_of_a_missing_one_is_named(run, tokbench_cli):
    assert run("--part", "1/2")[0] == 0
    assert run("--part", "2/2", "--seed", "1")[0] == 0
    status, _, err = tokbench_cli("merge", "runs")
    assert status == 2
    assert "size=32 lacks part 2/2; runs/pixel-palette-512_" in first_line(err)
    assert "part-2-of-2.journal is of another run: protocol.seed is 1 there and 0 here; run it with --part, then merge" in first_line(err)
    assert run("--part", "1/2", "--seed", "1")[0] == 0  # that run has all of its parts now
    assert "another run" not in first_line(tokbench_cli("merge", "runs")[2])


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "a/b", "-1/3", "1/3/5", "1/9999999", ""])
def test_what_is_no_part_is_refused(text, run):
    status, _, err = run("--part", text)
    assert status == 2
    assert first_line(err) == f"tokbench: --part takes K/N with K from 1 to N, such as 3/16, got {text!r}"


@pytest.mark.parametrize("words", [["--json"], ["--fail-if", "psnr<1"], ["--save-images", "images"]])
def test_parts_have_no_figures(words, run):
    status, _, err = run("--part", "1/2", *words)
    assert status == 2
    assert f"{words[0]} needs the whole run, and --part 1/2 measures a part of it" in first_line(err)
    assert ("tokbench merge" in err) == (words[0] != "--save-images")  # which merge does not take


def stopped(monkeypatch, at):
    """End the process, as by a signal, before a chunk."""
    whole = PreparedRun._chunk

    def chunk(self, number, *rest):
        if number == at:
            raise Ended(15)
        return whole(self, number, *rest)

    monkeypatch.setattr(PreparedRun, "_chunk", chunk)
    return whole


def test_an_ended_run_is_gone_on_with(run, reference, monkeypatch, caplog, tmp_path):
    whole = stopped(monkeypatch, 3)
    status, _, err = run()
    assert status == 143
    folder = "runs/pixel-palette-512_tokbench-256+data=pictures+size=32.journal"
    assert f"tokbench: ended by SIGTERM; 3 of 5 chunks are in {folder}; go on with the same command and --resume" in err
    measured = []
    monkeypatch.setattr(PreparedRun, "_chunk", lambda self, number, *rest: measured.append(number) or whole(self, number, *rest))
    status, _, err = run("--resume")
    assert status == 0, err
    assert measured == [3, 4]
    assert records(tmp_path / "runs") == reference
    measured.clear()
    assert run("--resume", out="runs")[0] == 0  # all is there
    assert measured == []
    assert len(journals(tmp_path / "runs")) == 1  # for the next
    status, _, err = run()
    assert status == 0
    assert "held 5 chunks of an earlier run, measured again now; --resume goes on with what is there" in caplog.text
    assert measured == [0, 1, 2, 3, 4]
    assert journals(tmp_path / "runs") == {}


def test_a_record_of_which_nothing_is_new_is_not_written_again(run, pictures, tmp_path, crops):
    runs = tmp_path / "runs"
    assert run("--resume")[0] == 0
    before = {path: path.read_bytes() for path in runs.glob("*.*") if path.is_file()}
    for _ in range(2):
        status, out, err = run("--resume", "--json")
        assert status == 0, err
        (record,) = runs.glob("*.json")
        assert f"pixel/palette-512: nothing is new, record runs/{record.name} is there and complete; leave --resume out to measure" in err
        assert json.loads(out) == [json.loads(record.read_text())]  # when it was written, too
        assert {path: path.read_bytes() for path in runs.glob("*.*") if path.is_file()} == before
    record.with_suffix(".parquet").unlink()  # it is not whole any more
    assert run("--resume")[0] == 0
    assert len(list(runs.glob("*.json"))) == 2
    Image.fromarray(crops[12].permute(1, 2, 0).numpy()).save(pictures / "later.png")
    for _ in range(2):
        assert run("--resume")[0] == 0
        assert len(list(runs.glob("*.json"))) == 3
    assert run()[0] == 0  # measured again
    assert len(list(runs.glob("*.json"))) == 4


def test_what_a_killed_process_left_of_a_record_that_is_there_goes(run, tmp_path):
    runs = tmp_path / "runs"
    assert run("--resume")[0] == 0
    (record,) = runs.glob("*.json")
    for files in ((), (record, record.with_suffix(".parquet"))):  # killed while it tidied up, and as soon as it had named the record
        draft = runs / f".{record.name}{DRAFT}"
        draft.mkdir()
        (draft / "lock").touch()
        for file in files:
            (draft / file.name).hardlink_to(file)
        assert run("--resume")[0] == 0
        assert not draft.exists()
        assert list(runs.glob("*.json")) == [record]
        assert record.with_suffix(".parquet").is_file()


def test_parts_are_merged_into_one_record(run, tokbench_cli, tmp_path):
    for part in ("1/2", "2/2"):
        assert run("--part", part)[0] == 0
    assert tokbench_cli("merge", "runs")[0] == 0
    before = records(tmp_path / "runs")
    status, _, err = tokbench_cli("merge", "runs")
    assert status == 0
    assert "2 parts, 12 images, record runs/" in err
    (tmp_path / "file").write_text("")
    for words, says in ((["file"], "DIR 'file' is no folder"), (["runs", "--out", "file"], "--out 'file' is no folder")):
        assert first_line(tokbench_cli("merge", *words)[2]) == f"tokbench: {says}; choose another place"
    assert "json is there and complete; nothing is new" in err
    assert records(tmp_path / "runs") == before


def test_a_run_ended_before_its_first_chunk_leaves_nothing(run, monkeypatch, tmp_path):
    stopped(monkeypatch, 0)
    status, _, err = run()
    assert (status, err.splitlines()[-1]) == (143, "tokbench: ended by SIGTERM")
    assert not (tmp_path / "runs").exists()


def test_damaged_chunks_are_measured_again(run, reference, monkeypatch, caplog, tmp_path):
    whole = stopped(monkeypatch, 4)
    assert run()[0] == 143
    (folder,) = (tmp_path / "runs").glob("*.journal")
    (folder / "000000.safetensors").write_bytes(b"")
    (folder / "000001.parquet").write_bytes((folder / "000001.parquet").read_bytes()[:-9])
    (folder / "000002.safetensors").unlink()
    monkeypatch.setattr(PreparedRun, "_chunk", whole)
    status, _, err = run("--resume")
    assert status == 0, err
    assert "000001.parquet is damaged" in caplog.text
    assert ": 2 of its chunks are measured again, as their images or metrics are others now" in caplog.text
    assert records(tmp_path / "runs") == reference


def test_a_folder_that_has_grown_is_measured_where_it_is_new(run, pictures, monkeypatch, caplog, tmp_path, crops):
    whole, measured = PreparedRun._chunk, []
    monkeypatch.setattr(PreparedRun, "_chunk", lambda self, number, *rest: measured.append(number) or whole(self, number, *rest))
    assert run("--resume")[0] == 0
    measured.clear()
    for i in (12, 13, 14):
        Image.fromarray(crops[i].permute(1, 2, 0).numpy()).save(pictures / f"later-{i}.png")
    status, _, err = run("--resume")
    assert status == 0, err
    assert measured == [4, 5]  # the last one was not full
    assert ": 1 of its chunks are measured again, as their images or metrics are others now" in caplog.text
    assert run(out="new")[0] == 0
    assert set(records(tmp_path / "new").values()) < set(records(tmp_path / "runs").values())
    (pictures / "00.png").rename(pictures / "zz.png")
    status, _, err = run("--resume")
    assert status == 2
    assert "holds '00.png', which is not among the images of pictures asked for now" in first_line(err)
    (pictures / "zz.png").rename(pictures / "00.png")
    Image.new("RGB", (64, 64)).save(pictures / "03.png")
    status, _, err = run("--resume")
    assert status == 2
    assert "03.png of pictures is not the image it was when runs/" in first_line(err)


def test_what_is_refused_stays_as_it_is(run, pictures, tokbench_cli, tmp_path):
    for part in ("1/2", "2/2"):
        assert run("--part", part)[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*.*") if path.is_file()}
    (pictures / "00.png").rename(tmp_path / "away.png")
    status, _, err = run("--part", "1/2", "--resume")
    assert status == 2
    assert "holds '00.png', which is not among the images of pictures asked for now" in first_line(err)
    assert before == {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*.*") if path.is_file()}
    assert tokbench_cli("merge", "runs")[0] == 0  # the parts still fit together


def test_an_image_that_was_touched_since_is_looked_at(run, pictures, monkeypatch, tmp_path):
    whole, measured = PreparedRun._chunk, []
    monkeypatch.setattr(PreparedRun, "_chunk", lambda self, number, *rest: measured.append(number) or whole(self, number, *rest))
    assert run("--resume")[0] == 0
    measured.clear()
    os.utime(pictures / "01.png")
    assert run("--resume")[0] == 0
    assert measured == []
    before = (pictures / "01.png").read_bytes()
    Image.new("RGB", (64, 64)).save(pictures / "01.png")  # neither is the first of its chunk
    status, _, err = run("--resume")
    assert status == 2
    assert "01.png of pictures is not the image it was when runs/" in first_line(err)
    (pictures / "01.png").write_bytes(before)
    (pictures / "05a.png").write_bytes(before)  # it could not be read
    status, _, err = run("--resume")
    assert status == 0, err
    assert measured == [2]
    for chunk in (tmp_path / "runs").glob("*.journal/*.parquet"):
        os.utime(chunk, (time.time() + 86400,) * 2)  # by a clock that was put back since
    assert run("--resume")[0] == 0
    good = (pictures / "01.png").read_bytes()
    Image.new("RGB", (64, 64)).save(pictures / "01.png")
    assert "01.png of pictures is not the image it was when runs/" in first_line(run("--resume")[2])
    (pictures / "01.png").write_bytes(good)
    monkeypatch.setattr(FolderSource, "changed_since", lambda self, index, moment: False)
    Image.new("RGB", (64, 64)).save(pictures / "01.png")
    assert run("--resume")[0] == 0  # of a file that nobody touched nothing is read


def test_another_run_is_not_gone_on_with(run, monkeypatch, tmp_path):
    stopped(monkeypatch, 2)
    assert run()[0] == 143
    monkeypatch.setattr("tokbench.bench.prepared.versions", lambda: {"tokbench": "9"})
    status, _, err = run("--resume")
    assert status == 2
    assert first_line(err).startswith(
        "tokbench: runs/pixel-palette-512_tokbench-256+data=pictures+size=32.journal is of another run: versions."
    )
    assert first_line(err).endswith("choose another --out, or leave --resume out to begin anew")
    for words, what in (
        (["--seed", "1"], "protocol.seed is 0 there and 1 here"),
        (["--limit", "5"], "protocol.samples is None there and 5 here"),
    ):
        status, _, err = run("--resume", *words)
        assert status == 2
        assert what in first_line(err)
    status, _, err = run()  # which begins anew beside it
    assert status == 143
    assert sorted(journals(tmp_path / "runs")) == [
        "pixel-palette-512_tokbench-256+data=pictures+size=32.journal",
        "pixel-palette-512_tokbench-256+data=pictures+size=32_2.journal",
    ]


def test_a_journal_is_gone_on_with_when_that_before_it_has_gone(run, monkeypatch, tmp_path):
    whole, measured = stopped(monkeypatch, 2), []
    assert run()[0] == 143
    monkeypatch.setattr("tokbench.bench.prepared.versions", lambda: {"tokbench": "9"})
    assert run()[0] == 143
    first, second = sorted((tmp_path / "runs").glob("*.journal"), key=lambda path: len(path.name))
    shutil.rmtree(first)
    monkeypatch.setattr(PreparedRun, "_chunk", lambda self, number, *rest: measured.append(number) or whole(self, number, *rest))
    status, _, err = run("--resume")
    assert status == 0, err
    assert measured == [2, 3, 4]
    assert list(journals(tmp_path / "runs")) == [second.name]


def test_processes_that_measure_different_runs_are_refused(pictures, tmp_path):
    prepared = PreparedRun(
        tokbench.load("pixel/palette-512"), pictures, metrics=("psnr",), protocol=get_protocol(), options=RunOptions(cache=False)
    )
    index = JournalIndex(prepared.facts, prepared.data, Part())
    with open_journal(tmp_path / "runs", index, resume=False) as journal:
        _check_same_run(journal.folder, index)
        with pytest.raises(TokbenchError, match=r"measures another run than the first: versions\.tokbench is .* there and 9 here"):
            _check_same_run(journal.folder, replace(index, facts=replace(index.facts, versions={"tokbench": "9"})))
        with pytest.raises(TokbenchError, match=r"asked for 2/3, the first for whole; give all the same --part, or unset RANK and WORLD_"):
            _check_same_run(journal.folder, replace(index, part=Part(2, 3)))
        with pytest.raises(TokbenchError, match="measures another run than the first: images is "):
            _check_same_run(journal.folder, replace(index, data=replace(index.data, ids_sha256="0" * 64)))
    with pytest.raises(TokbenchError, match="of the first process is not seen by this one; give an --out that all processes share"):
        _check_same_run(tmp_path / "elsewhere", index)


def test_one_process_at_a_time_measures_the_same(run, monkeypatch, tmp_path):
    stopped(monkeypatch, 2)
    assert run()[0] == 143
    (folder,) = (tmp_path / "runs").glob("*.journal")
    with folder_lock(folder, "run"):
        for words in ([], ["--resume"]):
            status, _, err = run(*words)
            assert status == 2
            assert "another process measures pixel/palette-512 on pictures into runs/" in first_line(err)
        assert run(name="pixel/rgb")[0] == 143  # others are not kept out
        assert run("--part", "1/9")[0] == 0
    assert sorted(path.name for path in folder.glob("*.parquet")) == ["000000.parquet", "000001.parquet"]


def test_a_full_disk_leaves_the_journal_whole(run, reference, monkeypatch, tmp_path):
    write = chunk_files.write_bytes

    def full(path, data):
        if path.name.startswith("000002"):
            raise cannot_write(path, OSError(28, "No space left on device"))
        write(path, data)

    monkeypatch.setattr(chunk_files, "write_bytes", full)
    status, _, err = run()
    assert status == 2
    assert "000002.safetensors (No space left on device); make room or choose another place" in first_line(err)
    assert records(tmp_path / "runs") == {}
    monkeypatch.setattr(chunk_files, "write_bytes", write)
    assert run("--resume")[0] == 0
    assert records(tmp_path / "runs") == reference


def test_images_are_saved_by_whoever_measures_them(run, monkeypatch, tmp_path):
    whole = stopped(monkeypatch, 3)
    assert run("--save-images", "images")[0] == 143
    monkeypatch.setattr(PreparedRun, "_chunk", whole)
    assert run("--save-images", "images", "--resume")[0] == 0
    assert run("--save-images", "once", out="once")[0] == 0
    for name in ("originals.json", "pixel-palette-512.json"):
        assert (tmp_path / "images" / name).read_bytes() == (tmp_path / "once" / name).read_bytes()
    assert len(list((tmp_path / "images").rglob("*.png"))) == 24


def test_images_that_do_not_lie_where_they_are_wanted_are_made_again(run, monkeypatch, tmp_path):
    assert run("--save-images", "images", "--resume")[0] == 0
    whole, measured = PreparedRun._chunk, []
    monkeypatch.setattr(PreparedRun, "_chunk", lambda self, number, *rest: measured.append(number) or whole(self, number, *rest))
    assert run("--save-images", "images", "--resume")[0] == 0
    assert measured == []
    assert run("--save-images", "others", "--resume")[0] == 0
    assert measured == [0, 1, 2, 3, 4]
    pictures = {folder: sorted(path.name for path in (tmp_path / folder).rglob("*.png")) for folder in ("images", "others")}
    assert len(pictures["others"]) == 24
    assert pictures["images"] == pictures["others"]
    measured.clear()
    next((tmp_path / "others").rglob("04.png")).unlink()
    assert run("--save-images", "others", "--resume")[0] == 0
    assert measured == [1]
    assert len(list((tmp_path / "others").rglob("*.png"))) == 24


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"journal": 2}', '{"journal": 1, "part": "1/1", "facts": {}, "data": 3}', "[" * 9999])
def test_a_journal_of_others_is_refused(content, run, tmp_path):
    folder = tmp_path / "runs" / "pixel-palette-512_tokbench-256+data=pictures+size=32.journal"
    folder.mkdir(parents=True)
    (folder / INDEX).write_text(content)
    status, _, err = run("--resume")
    assert status == 2
    assert "journal.json is no journal that can be read (" in first_line(err)


def test_a_folder_of_that_name_with_other_things_stays(run, tmp_path):
    folder = tmp_path / "runs" / "pixel-palette-512_tokbench-256+data=pictures+size=32.journal"
    folder.mkdir(parents=True)
    (folder / "mine.txt").write_text("mine")
    assert run()[0] == 0
    assert (folder / "mine.txt").read_text() == "mine"
    assert len(records(tmp_path / "runs")) == 1


COUNTING = """
import torch
from tokbench.bench.metrics.base import Figure, Metric
from tokbench.records.figures import FigureInfo

class Counting(Metric):
    name = "counting"
    figures = (FigureInfo(name, "images seen", "images", None, "images that were seen", digits=0),)
    def __init__(self):
        super().__init__()
        {keeps}
    def update(self, observation):
        self.seen += len(observation)
        if {fails} in (*observation.places,):
            raise ValueError("no")
    def report(self):
        return {{"counting": Figure(float(self.seen))}}
    def finish(self):
        if {fails} == "finish":
            raise ValueError("no")
"""


def test_a_metric_without_states_has_a_figure_in_one_process_and_a_reason_elsewhere(run, tokbench_cli, monkeypatch, tmp_path):
    (tmp_path / "counting_alone.py").write_text(COUNTING.format(keeps="self.seen = 0", fails="()"))
    monkeypatch.syspath_prepend(tmp_path)
    metrics = "psnr,counting_alone:Counting"
    assert run(metrics=metrics)[0] == 0
    ((text, _),) = records(tmp_path / "runs").values()
    assert json.loads(text)["metrics"]["counting"]["value"] == 12
    for part in ("1/2", "2/2"):
        assert run("--part", part, metrics=metrics, out="parts")[0] == 0
    status, _, err = tokbench_cli("merge", "parts")
    assert status == 2
    assert "counting_alone:Counting, code that is run only if you ask for it; add --metrics counting_alone:Counting" in first_line(err)
    assert tokbench_cli("merge", "parts", "--metrics", "counting_alone:Counting")[0] == 1
    ((text, _),) = records(tmp_path / "parts").values()
    reason = "it failed in merge (it keeps no states (add_state), which other processes and resumed runs need)"
    assert json.loads(text)["metrics"]["counting"]["reason"] == reason


def test_a_metric_that_fails_at_an_image_has_one_reason_for_any_parts(run, tokbench_cli, monkeypatch, tmp_path):
    keeps = 'self.add_state("seen", default=torch.tensor(0), dist_reduce_fx="sum")'
    (tmp_path / "counting_fails.py").write_text(COUNTING.format(keeps=keeps, fails="4"))
    monkeypatch.syspath_prepend(tmp_path)
    metrics = "psnr,counting_fails:Counting"
    assert run(metrics=metrics)[0] == 1
    line = "tokbench: pixel/palette-512: metric counting fails in update (ValueError: no); the others go on"
    for words, fails in ((["--part", "1/2"], False), (["--part", "2/2"], True), (["--part", "2/2", "--resume"], True)):
        status, _, err = run(*words, metrics=metrics, out="parts")
        assert (status, line in err.splitlines()) == (int(fails), fails)  # the image lies in the second
    status, _, err = tokbench_cli("merge", "parts", "--metrics", "counting_fails:Counting")
    assert status == 1
    assert line in err.splitlines()
    assert {name: text for name, (text, _) in records(tmp_path / "runs").items()} == {
        name: text for name, (text, _) in records(tmp_path / "parts").items()
    }


def test_a_metric_that_fails_after_the_last_image_is_named_in_every_part(run, tokbench_cli, monkeypatch, tmp_path):
    keeps = 'self.add_state("seen", default=torch.tensor(0), dist_reduce_fx="sum")'
    (tmp_path / "counting_ends.py").write_text(COUNTING.format(keeps=keeps, fails='"finish"'))
    monkeypatch.syspath_prepend(tmp_path)
    metrics = "psnr,counting_ends:Counting"
    line = "tokbench: pixel/palette-512: metric counting fails in finish (ValueError: no); the others go on"
    for part in ("1/2", "2/2"):
        status, _, err = run("--part", part, metrics=metrics, out="parts")
        assert (status, err.splitlines().count(line)) == (1, 1)
    status, _, err = tokbench_cli("merge", "parts", "--metrics", "counting_ends:Counting")
    assert (status, err.splitlines().count(line)) == (1, 1)


@pytest.fixture
def command_in_processes(in_processes):
    """Runs a command in so many processes; returns how each ended."""

    def call(count, *words):
        def work(rank):
            sys.argv = ["tokbench", *map(str, words)]
            cli.main()

        return in_processes(count, work)

    return call


@pytest.mark.parametrize("count", [pytest.param(2, marks=pytest.mark.slow), 3])  # three show what two would
def test_several_processes_make_the_record_of_one(count, command_in_processes, reference, pictures, monkeypatch, tmp_path):
    words = ["run", "-t", "pixel/palette-512", "-t", "pixel/rgb", "--data", pictures, "--metrics", METRICS, "--size", "32", "--out", "runs"]
    with monkeypatch.context() as ending:
        stopped(ending, 3)
        assert 143 in command_in_processes(count, *words)
    (left,) = journals(tmp_path / "runs").values()
    assert "000000.parquet" in left
    assert "000003.parquet" not in left
    assert command_in_processes(count, *words, "--resume") == [0] * count
    found = records(tmp_path / "runs")
    assert len(found) == 2
    assert reference.items() <= found.items()
    assert len(journals(tmp_path / "runs")) == 2
    assert command_in_processes(count, *words, "--save-images", "images") == [0] * count
    assert journals(tmp_path / "runs") == {}
    assert len(list((tmp_path / "images").rglob("*.png"))) == 36
    for part in ("1/2", "2/2"):
        assert command_in_processes(count, *words[:-1], "parts", "--part", part) == [0] * count
    assert len(journals(tmp_path / "parts")) == 4


@pytest.fixture
def task(monkeypatch):
    """Makes this process a task of srun."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)

    def task(rank, count):
        values = {"SLURM_PROCID": rank, "SLURM_STEP_NUM_TASKS": count, "SLURM_NTASKS": count, "SLURM_LOCALID": rank}
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))

    return task


def test_tasks_of_srun_that_are_told_where_to_meet_share_the_work(in_processes, reference, pictures, task, tmp_path):
    def work(rank):
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
            del os.environ[name]
        task(rank, 2)
        sys.argv = ["tokbench", "run", "-t", "pixel/palette-512", "--data", str(pictures), "--metrics", METRICS, "--size", "32"]
        sys.exit(cli.main())

    assert in_processes(2, work) == [0, 0]
    assert records(tmp_path / "runs") == reference


def test_tasks_of_srun_that_know_of_no_place_to_meet_are_told_how_to_share(run, reference, task, tokbench_cli, tmp_path):
    how = (
        "to share the work among the 2 tasks of srun, export MASTER_ADDR and MASTER_PORT, or give each "
        "--part $((SLURM_PROCID+1))/$SLURM_STEP_NUM_TASKS, then tokbench merge"
    )
    task(0, 2)
    status, _, err = run("--resume")
    assert status == 0
    assert f"each task of srun does all of this; {how}" in err.splitlines()
    task(1, 2)
    (folder,) = (tmp_path / "runs").glob("*.journal")
    with folder_lock(folder, "run"):
        status, _, err = run("--resume")
    assert status == 2
    assert first_line(err).endswith(f"wait for it to end, or choose another --out; {how}")
    assert "does all of this" not in err  # once is enough
    for rank in range(2):
        task(rank, 2)
        status, _, err = run("--part", f"{rank + 1}/2", out="parts")
        assert status == 0
        assert "of srun" not in err
    task(0, 1)  # a script of sbatch, or a shell in an allocation
    status, _, err = tokbench_cli("merge", "parts")
    assert status == 0
    assert records(tmp_path / "parts") == reference
    status, _, err = run(out="alone")
    assert (status, "of srun" in err) == (0, False)
    assert records(tmp_path / "alone") == reference


IN_ONE = """
import os, torch, tokbench
class Fine(tokbench.Tokenizer):
    trained_with, stride = (), 1
    def layout(self, height, width):
        return tokbench.TokenLayout.strided(height, width, 1, channels=3)
    def _encode(self, images, seeds):
        return tokbench.ContinuousTokens(images.flatten(2).transpose(1, 2).contiguous(), tuple(images.shape[2:]))
    def _decode(self, tokens, seeds):
        return tokens.latents.transpose(1, 2).unflatten(2, tokens.grid)
class Loading(Fine):
    def __init__(self):
        super().__init__()
        if os.environ["RANK"] == "1":
            raise ValueError("not here")
class Memory(Fine):
    def _encode(self, images, seeds):
        if os.environ["RANK"] == "1":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return super()._encode(images, seeds)
"""


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("Loading", "in_one:Loading could not be loaded by another process of this run; what it", "in_one:Loading fails in __init__ "),
        (
            "Memory",
            "in_one:Memory could not be measured by process 1",
            "in_one:Memory ran out of memory in process 1, counted from 0; lower",
        ),
    ],
)
def test_what_fails_in_one_process_is_named_and_the_others_are_measured(
    name, first, second, command_in_processes, pictures, monkeypatch, tmp_path
):
    (tmp_path / "in_one.py").write_text(IN_ONE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    words = ["run", "-t", f"in_one:{name}", "-t", "in_one:Fine", "--data", pictures, "--metrics", "psnr", "--size", "32"]

    def said(rank, text):
        with (tmp_path / f"said-{rank}").open("a") as file:
            file.write(text)

    monkeypatch.setattr("tokbench.commands.measuring.say", lambda text: said(os.environ["RANK"], f"{text}\n"))
    monkeypatch.setattr("tokbench.commands.console.say", lambda text: said(os.environ["RANK"], f"{text}\n"))
    assert command_in_processes(2, *words) == [1, 1]
    assert f"tokbench: {first}" in (tmp_path / "said-0").read_text()
    assert f"tokbench: {second}" in (tmp_path / "said-1").read_text()
    assert [path.name for path in (tmp_path / "runs").glob("*.json")] == ["in_one-Fine_tokbench-256+data=pictures+size=32.json"]


@pytest.mark.slow
def test_torchrun_starts_such_processes(reference, pictures, tmp_path):
    (tmp_path / "shared.py").write_text(
        "from tokbench.bench import prepared\nprepared.chunk_size = lambda protocol: 3\nfrom tokbench.cli import main\nmain()\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--rdzv-backend", "c10d"]
    command += ["--rdzv-endpoint", "localhost:0", str(tmp_path / "shared.py"), "run", "-t", "pixel/palette-512", "--data", str(pictures)]
    command += ["--metrics", METRICS, "--size", "32", "--out", "runs"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert records(tmp_path / "runs") == reference
    assert journals(tmp_path / "runs") == {}


def test_processes_without_a_place_to_meet_are_refused(run, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    status, _, err = run()
    assert status == 2
    assert "WORLD_SIZE=2 is set and MASTER_ADDR and MASTER_PORT not, so that processes cannot meet" in first_line(err)


def test_parts_and_spans():
    assert spans(10, 4) == [range(0, 4), range(4, 8), range(8, 10)]
    assert [list(Part(k, 3).chunks(7)) for k in (1, 2, 3)] == [[0, 3, 6], [1, 4], [2, 5]]
    assert list(parse_part("5/5").chunks(3)) == []
    assert list(parse_part("1/1").chunks(3)) == list(Part().chunks(3)) == [0, 1, 2]
    assert (parse_part("1/1").whole, Part().whole) == (False, True)
    assert str(parse_part(" 3/16 ")) == "3/16"
    with pytest.raises(ValueError, match="a part is K/N"):
        Part(2, 1)
    with pytest.raises(TokbenchError):
        parse_part("one")


def test_a_chunk_comes_back_from_its_files_bit_by_bit(pictures, tmp_path):
    prepared = PreparedRun(
        tokbench.load("pixel/palette-512"), pictures, metrics=("psnr", "codebook"), protocol=get_protocol(), options=RunOptions(cache=False)
    )
    for chunk in prepared.measure([1, 4]):
        write_chunk(tmp_path, chunk)
        again = read_chunk(tmp_path, chunk.facts.number)
        assert (again.facts, again.rows) == (chunk.facts, chunk.rows)
        assert again.states.keys() == chunk.states.keys()
        for name, state in chunk.states.items():
            assert again.states[name].dtype == state.dtype
            assert again.states[name].numpy().tobytes() == state.numpy().tobytes()
    rows = pq.read_table(tmp_path / "000001.parquet").to_pylist()
    assert [row["id"] for row in rows] == [b"03.png", b"04.png", b"05.png"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    with pytest.raises(FileNotFoundError):
        read_chunk(tmp_path, 2)
    (tmp_path / "000002.parquet").write_bytes((tmp_path / "000001.parquet").read_bytes())
    with pytest.raises(TokbenchError, match="is damaged"):
        read_chunk(tmp_path, 2)


@pytest.mark.parametrize("name", ["000000.parquet", "000000.safetensors"])
def test_files_with_changed_bytes_are_refused_or_hold_what_they_held(name, run, tmp_path):
    assert run("--part", "1/5")[0] == 0
    (folder,) = (tmp_path / "runs").glob("*.journal")
    whole = (folder / name).read_bytes()
    draw = np.random.default_rng(0)

    def read():
        chunk = read_chunk(folder, 0)
        return chunk.facts, chunk.rows, {key: state.numpy().tobytes() for key, state in chunk.states.items()}

    before, refused = read(), list[str]()
    for case in range(40):
        data = bytearray(whole)
        if case % 4 == 0:
            del data[int(draw.integers(len(data))) :]
        else:
            data[int(draw.integers(len(data)))] ^= 1 << int(draw.integers(8))
        (folder / name).write_bytes(data)
        try:
            found = read()
        except TokbenchError as error:
            refused.append(str(error))
        else:
            assert found == before
    assert len(refused) >= 20
    assert all(str(folder) in text for text in refused)


def test_an_index_with_changed_bytes_is_refused_or_read(run, tmp_path):
    assert run("--part", "1/5")[0] == 0
    (folder,) = (tmp_path / "runs").glob("*.journal")
    whole = (folder / INDEX).read_bytes()
    draw, refused = np.random.default_rng(1), list[str]()
    for _ in range(60):
        data = bytearray(whole)
        data[int(draw.integers(len(data)))] = int(draw.integers(256))
        (folder / INDEX).write_bytes(data)
        try:
            found = read_index(folder)
        except TokbenchError as error:
            refused.append(str(error))
        else:
            assert isinstance(found, JournalIndex)
    assert refused
    assert all("is no journal that can be read" in text for text in refused)
