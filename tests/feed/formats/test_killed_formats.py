"""Folders of trainers' formats are whole or not there: killed at every file that is opened, put on the disk, moved or removed, or interrupted there."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.feed.formats.pieces import exported
from tokbench.feed import write_format
from tokbench.feed.formats import FORMAT_NAMES
from tokbench.feed.formats import rows as format_rows

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

CHANGES = ("os.rename", "os.link", "os.mkdir", "os.rmdir", "os.remove", "fsync")
INTERRUPTED = 7
BEGINNING, END, STEP = 8, 14, 6
"""Operations on files that each is stopped at, where a format is begun and where it is finished; between them some."""


def forked(work: Callable[[], object]) -> int:
    """Start a process that does some work; 7 is its status if it is interrupted."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except KeyboardInterrupt:
            status = INTERRUPTED
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(status)
    return pid


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


REMOVED = ("os.rmdir", "os.remove")
"""What tidies up, where an interruption leaves the rest to the next command."""


def at_operation(number: int, root: Path, stop: Callable[[], None]) -> Callable[[], int]:
    """Have this process stopped before the so-manieth operation on files below a folder; for good, so only in one of its own.

    Returns:
        What says how many there were.
    """
    seen, passed_over = 0, REMOVED if stop is interrupt else ()

    def look(event: str, arguments: tuple[Any, ...] = ()) -> None:
        nonlocal seen
        place = arguments[0] if arguments else ""
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        if event not in ("open", *CHANGES) or event in passed_over or (event != "fsync" and not str(place).startswith(str(root))):
            return
        seen += 1
        if seen == number:
            stop()

    true = os.fsync

    def sync(descriptor: int) -> None:
        look("fsync")
        true(descriptor)

    sys.addaudithook(look)
    os.fsync = sync
    return lambda: seen


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt() -> None:
    raise KeyboardInterrupt


def contents(folder: Path) -> dict[str, Any]:
    """What lies in the files of a folder; the heads of tensors in any order."""
    return {str(path.relative_to(folder)): parsed(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def parsed(path: Path) -> Any:
    whole = path.read_bytes()
    if path.suffix != ".safetensors":
        return whole
    end = 8 + int.from_bytes(whole[:8], "little")
    return json.loads(whole[8:end]), whole[end:]


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(("name", "stop"), [*((name, kill) for name in FORMAT_NAMES), ("litdata", interrupt), ("latents", interrupt)])
def test_a_format_is_whole_or_not_there_and_the_same_command_ends_well(name: str, stop: Callable[[], None], tmp_path: Path) -> None:
    tokens = exported(tmp_path / "tokens", *(() if name == "latents" else (256,)), rows=6)
    whole = contents(write_format(tokens, name, tmp_path / "reference"))
    assert whole
    told = tmp_path / "told"
    (tmp_path / "all").mkdir()

    def tried() -> None:
        operations = at_operation(0, tmp_path / "all", stop)
        write_format(tokens, name, tmp_path / "all" / "rows")
        told.write_text(str(operations()))

    assert ended(forked(tried)) == 0
    last = int(told.read_text())
    assert last > BEGINNING
    for number in sorted({*range(1, BEGINNING), *range(BEGINNING, last, STEP), *range(max(1, last - END), last + 1)}):
        root = tmp_path / f"{number}"
        place = root / "rows"
        place.mkdir(parents=True)  # an empty folder gives way
        if number % 2:
            place.rmdir()

        def work(number: int = number, place: Path = place) -> None:
            at_operation(number, place.parent, stop)
            write_format(tokens, name, place)

        status = ended(forked(work))
        there = place.is_dir() and any(place.iterdir())
        assert not there or contents(place) == whole, "half a folder that a trainer would read"
        assert status == (INTERRUPTED if stop is interrupt else -signal.SIGKILL)
        assert stop is kill or not hidden(root), "what is interrupted leaves nothing"
        assert write_format(tokens, name, place) == place
        assert contents(place) == whole
        assert not hidden(root)


def test_a_command_that_is_killed_as_it_writes_leaves_nothing_to_be_read(
    tokbench_cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = exported(tmp_path / "tokens", 256, rows=2)
    words = ("export", "--from", tokens, "--as", "sequences=first", "--as", "bin=second")
    true = format_rows.ExportRows.shard

    def slow(self: Any, number: int) -> Any:
        for group in true(self, number):
            yield group
            time.sleep(0.2)

    def work() -> None:
        monkeypatch.setattr(format_rows.ExportRows, "shard", slow)
        tokbench_cli(*words)

    pid = forked(work)
    draft = tmp_path / ".second.draft"
    until = time.monotonic() + 60
    while not draft.is_dir() and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    assert ended(pid) == -signal.SIGKILL
    assert draft.is_dir(), "it was killed while it wrote"
    assert not (tmp_path / "second").exists()
    first = contents(tmp_path / "first")
    assert first
    status, out, err = tokbench_cli(*words)
    assert (status, out) == (0, ""), err
    assert contents(tmp_path / "first") == first, "what was whole is kept"
    assert (tmp_path / "second" / "tokens.bin").is_file()
    assert not hidden(tmp_path)
