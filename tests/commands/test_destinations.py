"""Places for output that cannot be, refused in one line before anything is measured or read; and machines that lack something."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

import tokbench
from tokbench import cli
from tokbench.commands.errors import in_words
from tokbench.errors import TokbenchError, out_of_memory
from tokbench.images import UnreadableImage
from tokbench.weights.assets import cache_dir

FILES = {
    "report --output": ["report", "nothing", "--output"],
    "reconstruct --output": ["reconstruct", "nothing.png", "-t", "pixel", "--output"],
    "run --gate-report": ["run", "-t", "no.module:Nothing", "--fail-if", "psnr<1", "--gate-report"],
    "compare --gate-report": ["diff", "nothing", "nothing", "--fail-if", "psnr<1", "--gate-report"],
}
FOLDERS = {
    "run": ["run", "-t", "no.module:Nothing", "--out"],
    "plot": ["plot", "nothing", "--out"],
    "export": ["export", "-t", "no.module:Nothing", "--out"],
    "export --memmap": ["export", "-t", "no.module:Nothing", "--out", "fine", "--memmap"],
    "probe": ["probe", "-t", "no.module:Nothing", "--out"],
    "predict": ["predict", "-t", "no.module:Nothing", "--out"],
    "convert": ["convert", "-t", "no.module:Nothing", "--out"],
    "train": ["train", "vqvae-tiny", "--data", "nothing", "--out"],
}
SILLY_FILES = {
    "folder": "is a folder; give a file",
    "": "is a folder; give a file",
    "-": "none for standard output",
    "file/name.png": "leads through 'file', which is no folder",
    "file/deep/name.png": "leads through 'file', which is no folder",
    "dangling/name.png": "leads through 'dangling', a link to nothing",
    "loop/name.png": "cannot be written (Too many levels of symbolic links)",
    "n" * 256 + ".png": "cannot be written (File name too long)",
    "n" * 256 + "/name.png": "cannot be written (File name too long)",
}
SILLY_FOLDERS = {
    "file": "is no folder",
    "/dev/full": "is no folder",
    "-": "none for standard output",
    "file/deep": "leads through 'file', which is no folder",
    "dangling": "leads through 'dangling', a link to nothing",
    "loop": "cannot be written (Too many levels of symbolic links)",
    "n" * 256: "cannot be written (File name too long)",
}


@pytest.fixture
def places(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("precious")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    return {path.name for path in tmp_path.iterdir()}


def refused(tokbench_cli, tmp_path, places, arguments, expected):
    status, out, err = tokbench_cli(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("tokbench: --")
    assert expected in err
    assert {path.name for path in tmp_path.iterdir()} == places
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("command", FILES)
def test_a_file_that_cannot_be_is_refused_first(command, tokbench_cli, tmp_path, places):
    for place, expected in SILLY_FILES.items():
        refused(tokbench_cli, tmp_path, places, [*FILES[command], place], "must end in" if _is_other(command, place) else expected)


def _is_other(command, place):
    return command.startswith("reconstruct") and not place.endswith(".png")


@pytest.mark.parametrize("command", FOLDERS)
def test_a_folder_that_cannot_be_is_refused_first(command, tokbench_cli, tmp_path, places):
    for place, expected in SILLY_FOLDERS.items():
        refused(tokbench_cli, tmp_path, places, [*FOLDERS[command], place], expected)


@pytest.mark.parametrize("command", [*FILES, *FOLDERS])
def test_what_cannot_be_written_is_refused_first(command, tokbench_cli, tmp_path, places, monkeypatch):
    monkeypatch.setattr(os, "access", lambda place, mode: False)  # as root, which may write everything, would not see
    refused(tokbench_cli, tmp_path, places, [*(FILES | FOLDERS)[command], "new/name.png"], "lies in '.', which cannot be written")


@pytest.mark.parametrize("command", [*FILES, *FOLDERS])
@pytest.mark.parametrize(("number", "advice"), [(errno.ENOSPC, "make room or choose another place"), (errno.EACCES, "; choose another")])
def test_what_says_no_only_when_it_is_written_is_refused_first(command, number, advice, tokbench_cli, tmp_path, places, monkeypatch):
    def full(**options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    expected = f"lies in '.', which cannot be written ({os.strerror(number)})"
    refused(tokbench_cli, tmp_path, places, [*(FILES | FOLDERS)[command], "new/name.png"], expected)
    assert advice in tokbench_cli(*(FILES | FOLDERS)[command], "new/name.png")[2]


OUT_OF_MEMORY = [
    MemoryError(),
    np._core._exceptions._ArrayMemoryError((1 << 40,), np.dtype(np.float64)),
    pa.ArrowMemoryError("malloc of size 8796093022208 failed"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 8 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("command", ["run", "export", "train", "probe", "reconstruct", "report", "compare", "convert", "list"])
def test_lack_of_memory_is_one_line_that_names_what_to_lower(command, error, tokbench_cli, monkeypatch):
    def fail(**options):
        raise error

    monkeypatch.setattr(cli.root_command(), "main", fail)
    status, out, err = tokbench_cli(command)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    lower = {"run": "--size", "export": "--size", "train": "--size", "probe": "--size", "reconstruct": "--size", "report": "--images"}
    assert re.match(rf"tokbench: {command} ran out of memory( \(asked for .*\))?; (lower {lower.get(command, 'x')}|free some)", err)
    assert ("--device cpu" in err) == (
        command in ("run", "export", "train", "probe", "reconstruct") and bool(re.search("CUDA|MPS", str(error)))
    )


def test_lack_of_memory_is_seen_through_other_errors():
    def raised(cause):
        try:
            try:
                raise cause
            except Exception as error:
                raise TokbenchError("weights.pt is not readable") from error
        except TokbenchError as error:
            return error

    circle = ValueError("no")
    circle.__cause__ = raised(circle)
    assert not out_of_memory(circle)
    assert all(out_of_memory(raised(error)) for error in OUT_OF_MEMORY)
    assert not any(
        map(out_of_memory, (raised(ValueError("no")), RuntimeError("no"), OSError(errno.ENOSPC, "full"), UnreadableImage("cut")))
    )


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            RuntimeError("CUDA error: device-side assert triggered\nCompile with ..."),
            "the device failed (CUDA error: device-side assert triggered)",
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "or use --device cpu"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/x"), "/tmp/x: No space left on device"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
    ],
)
def test_what_the_machine_lacks_is_worded(error, expected):
    assert expected in str(in_words(error, cli.root_command(), ["run"]))


def test_home_is_meant_by_its_sign_where_no_shell_saw_it(tokbench_cli, folder, monkeypatch, tmp_path):
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    run = ["run", "-t", "pixel", "--data", folder, "--limit", "2", "--size", "32", "--metrics", "psnr"]
    for words in (["--out=~/runs"], ["--out", "~/parts", "--part", "1/1"]):
        status, _, err = tokbench_cli(*run, *words)
        assert status == 0, err
    export = ["export", "-t", "pixel/palette-512", "--data", folder, "--limit", "2", "--size", "32", "--out=~/tokens", "--as", "bin=~/bin"]
    for words in (export, ["compare", "~/runs"], ["verify", "~/tokens"], ["report", "~/runs", "--images", "0", "--output=~/page.html"]):
        status, _, err = tokbench_cli(*words)
        assert status == 0, err
    assert tokbench_cli("report", "~/runs", "--images", "0", "-o~/short.html")[0] == 0
    assert sorted(path.name for path in home.iterdir()) == ["bin", "page.html", "parts", "runs", "short.html", "tokens"]
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("name", ["runs:1", "s3:", "file:x", "~"])
def test_a_folder_of_a_name_that_libraries_take_for_an_address(name, tokbench_cli, folder, tmp_path):
    record = tokbench.evaluate("pixel/rgb", folder, limit=2, size=32, metrics="psnr")
    path = tokbench.write_record(record, {"psnr": {"a": 1.0}}, name)
    assert path.parent == Path(name)
    assert sorted(file.suffix for file in (tmp_path / name).iterdir()) == [".json", ".parquet"]
    assert tokbench.read_rows(path.absolute()) == {"psnr": {"a": 1.0}}


@pytest.mark.parametrize("error", [RuntimeError("of ours"), KeyError("x"), FileNotFoundError(2, "No such file"), AssertionError()])
def test_a_mistake_of_ours_keeps_its_traceback(error, tokbench_cli, monkeypatch):
    def fail(**options):
        raise error

    monkeypatch.setattr(cli.root_command(), "main", fail)
    status, _, err = tokbench_cli("list")
    assert status == 1
    assert err.startswith("Traceback")
    assert err.endswith("tokbench: this is a mistake of tokbench; please report it, with the lines above\n")


def test_without_a_home_there_is_no_cache_and_a_hint(monkeypatch):
    for name in ("TOKBENCH_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda number: {}[number])
    assert cache_dir().name == "set TOKBENCH_CACHE"
    assert not cache_dir().exists()


def test_a_working_folder_that_was_deleted(tmp_path):
    code = """
import os, sys
from tokbench import cli
here = os.getcwd()
os.rmdir(here)
for words, expected in (["list"], 0), (["show", "vqgan"], 0), (["report", "nothing"], 2), (["compare"], 2), (["plot"], 2):
    sys.argv = ["tokbench", *words]
    try:
        cli.main()
    except SystemExit as stop:
        assert stop.code == expected, (words, stop.code)
"""
    (tmp_path / "gone").mkdir()
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "gone", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 3
    assert "lies in a folder that was deleted" in done.stderr
