"""Whatever the output can take and whoever reads it: no traceback, at most one line, and a status that says what was."""

import errno
import io
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tokbench import cli
from tokbench.commands import console, zoo
from tokbench.streams import ASCII, take_any_text

RESULTS = Path(__file__).parents[1] / "results"
ENCODINGS = ("ascii", "cp1252", "cp437", "shift_jis", "utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures, and records with marks."""
    root = tmp_path_factory.mktemp("streams")
    (root / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for i in range(4):
        smooth = np.kron(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
        Image.fromarray(smooth).save(root / "pictures" / f"{i}.png")
    (root / "runs").mkdir()
    for place in ("photos-64/vqgan-tiny", "photos-64/vqvae-tiny", "photos-64/pixel-rgb", "flowmo-photos-64/flowmo-tiny"):
        for ending in ("json", "parquet"):
            shutil.copy(RESULTS / f"{place}_photos-64.{ending}", root / "runs")
    return root


@pytest.fixture
def call(folder, monkeypatch):
    """Run a command whose stdout and stderr are files of some kind; returns its status and what stderr got."""
    monkeypatch.setenv("TOKBENCH_CACHE", str(folder / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(folder)

    def run(arguments, stdout, stderr=None):
        told = stderr or io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["tokbench", *arguments])
            patch.setattr(sys, "stdout", stdout)
            patch.setattr(sys, "stderr", told)
            patch.setattr(console, "out", console.Screen())
            patch.setattr(zoo, "out", console.out)
            patch.setattr(console, "err", console.Screen(stderr=True))
            with pytest.raises(SystemExit) as stopped:
                cli.main()
        if stderr is None:
            told.flush()
        return stopped.value.code or 0, told.buffer.getvalue().decode("ascii") if stderr is None else ""

    return run


COMMANDS = [
    "--help", "--version", "list", "list --json", "show vqgan", "show vqgan --json", "train", "published vqgan/imagenet-f16-1024",
    "published --json", "weights list", "weights path vqgan/imagenet-f16-1024", "run --help", "weights get --help",
    *(f"compare runs --format {form}" for form in ("terminal", "md", "csv", "latex", "json")),
    *(f"diff {{0}} {{1}} --format {form}" for form in ("terminal", "md", "csv", "latex", "json")),
]  # fmt: skip
MEASURING = "run -t patch --data pictures --metrics psnr --out again"


def words(command, folder):
    return command.format(*sorted(map(str, (folder / "runs").glob("*.json")))).split()


@pytest.mark.parametrize("command", [*COMMANDS, MEASURING])
def test_every_encoding_takes_what_commands_print(command, call, folder):
    told = {}
    for encoding in ENCODINGS if command != MEASURING else ("ascii", "utf-8"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        status, said = call(words(command, folder), stream)
        assert status == (1 if "weights path" in command else 0)
        assert "Traceback" not in said
        stream.flush()
        told[encoding] = stream.buffer.getvalue().decode(encoding)
        assert told[encoding].strip()
    assert told["ascii"].isascii()
    if command.endswith(("runs --format terminal", "runs --format md")):
        assert "\u2020" in told["utf-8"]  # a mark that is spelled otherwise in others
        assert "+" in told["ascii"]
    assert "\\u" not in told["ascii"] or "json" in command or "latex" in command


class Failing(io.RawIOBase):
    def __init__(self, code, room):
        self.code, self.room = code, room

    def writable(self):
        return True

    def write(self, data):
        if self.room <= 0:
            raise OSError(self.code, os.strerror(self.code))
        taken = min(self.room, len(data))
        self.room -= taken
        return taken


@pytest.mark.parametrize("room", [0, 100])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_output_is_one_line(command, room, call, folder):
    status, said = call(words(command, folder), io.TextIOWrapper(io.BufferedWriter(Failing(errno.ENOSPC, room)), encoding="utf-8"))
    assert "Traceback" not in said
    if room and status < 2:  # it said less
        return
    assert status == 2
    assert said.endswith("tokbench: cannot write to standard output (No space left on device); make room, or send it elsewhere\n")
    assert said.count("tokbench: ") == 1


@pytest.mark.parametrize("room", [0, 100])
@pytest.mark.parametrize("command", COMMANDS)
def test_nobody_reading_is_status_141_and_no_word(command, room, call, folder):
    status, said = call(words(command, folder), io.TextIOWrapper(io.BufferedWriter(Failing(errno.EPIPE, room)), encoding="utf-8"))
    assert status == 141 or (room and status < 2)
    assert "Traceback" not in said
    assert "tokbench: " not in said


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EPIPE])
def test_no_work_is_lost_for_a_remark(code, call, folder):
    before = len(list((folder / "again").glob("*.json")))
    broken = io.TextIOWrapper(io.BufferedWriter(Failing(code, 0)), encoding="utf-8", write_through=True)
    assert call(MEASURING.split(), io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), broken)[0] == 0
    assert len(list((folder / "again").glob("*.json"))) == before + 1
    assert call(["lits"], io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), broken)[0] == 2


def test_without_output_commands_still_work(call):
    assert call(["list"], None) == (0, "")


def test_marks_keep_their_width_and_the_rest_is_escaped():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    take_any_text(stream)
    stream.write("PSNR dB ↑ 24.35† ≠ 中\udcff │ ±1")
    stream.flush()
    assert stream.buffer.getvalue() == b"PSNR dB ^ 24.35+ ! \\u4e2d\\udcff | +-1"
    assert all(text.isascii() for text in ASCII.values())
    assert all(len(ASCII[mark]) == 1 for mark in "†‡≠↑↓…")
