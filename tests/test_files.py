"""Files, and several that belong together, are whole or absent: whatever fails, whoever is killed, and whoever else writes."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tokbench.errors import TokbenchError
from tokbench.file_units import Taken, atomic_folder, atomic_unit
from tokbench.files import Busy, atomic_file, cannot_write, folder_lock, partial_name, remove_abandoned, write_text

NAMES = ("a.parquet", "a", "a.json")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def write_unit(folder: Path, text: str = "new") -> None:
    with atomic_unit(folder, NAMES) as draft:
        (draft / "a.parquet").write_text(f"rows {text}")
        (draft / "a").mkdir()
        (draft / "a" / "model").write_text(f"model {text}")
        (draft / "a.json").write_text(f"record {text}")


WHOLE = {"a.parquet": b"rows new", "a/model": b"model new", "a.json": b"record new"}

KILLS = """
# For every call of the system that changes a folder: a process that is killed just before it, and one that is killed just after it.
import json, os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests_files_subject import subject, again
from tokbench import files

NAMES = ("open", "link", "replace", "unlink", "mkdir", "rmdir", "ftruncate", "fsync")

def deadly(number, moment):
    calls = 0
    def wrap(name):
        true = getattr(os, name)
        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == number and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = true(*args, **kwargs)
            if calls == number and moment == "after":
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        setattr(os, name, call)
    for name in NAMES:
        wrap(name)

def tree(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}

number, found = 0, []
while True:
    number += 1
    died = False
    for moment in ("before", "after"):
        folder = Path(f"{number}{moment}")
        folder.mkdir()
        pid = os.fork()
        if pid == 0:
            deadly(number, moment)
            subject(folder)
            os._exit(0)
        killed = os.WIFSIGNALED(os.waitpid(pid, 0)[1])
        died |= killed
        left = tree(folder)
        again(folder)
        found.append({"killed": killed, "left": left, "then": tree(folder), "entries": sorted(os.listdir(folder))})
    if not died:
        break
print(json.dumps(found))
"""


def killed_everywhere(tmp_path: Path, subject: str) -> list[dict]:
    (tmp_path / "code").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "code" / "tests_files_subject.py").write_text(subject)
    command = [sys.executable, "-c", KILLS, str(tmp_path / "code")]
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        command, cwd=tmp_path / "work", env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert sum(one["killed"] for one in found) > 8
    assert not found[-1]["killed"]
    return found


def test_a_file_is_whole_or_as_it_was_wherever_the_process_is_killed(tmp_path):
    found = killed_everywhere(
        tmp_path,
        """
from tokbench.files import write_text
def subject(folder):
    (folder / "page.html").write_text("old")
    write_text(folder / "page.html", "new")
def again(folder):
    write_text(folder / "page.html", "newer")
""",
    )
    for one in found:
        assert one["left"].get("page.html") in (None, "", "old", "new")  # none and empty: killed before the subject begins
        assert one["then"] == {"page.html": "newer"}


def test_a_unit_is_whole_or_absent_wherever_the_process_is_killed(tmp_path):
    found = killed_everywhere(
        tmp_path,
        """
from tokbench.file_units import Taken, atomic_unit
def write(folder, name):
    with atomic_unit(folder, [f"{name}.parquet", name, f"{name}.json"]) as draft:
        (draft / f"{name}.parquet").write_text("rows")
        (draft / name / "deep").mkdir(parents=True)
        (draft / name / "deep" / "model").write_text("model")
        (draft / f"{name}.json").write_text("record")
def subject(folder):
    write(folder, "a")
def again(folder):
    write(folder, "b")
""",
    )
    whole = {f"{{}}{end}": text for end, text in ((".json", "record"), (".parquet", "rows"), ("/deep/model", "model"))}
    first, second = ({key.format(name): text for key, text in whole.items()} for name in "ab")
    assert any(one["then"] == second for one in found)
    for one in found:
        seen = {name: text for name, text in one["left"].items() if not name.startswith(".")}
        assert "a.json" not in seen or seen == first
        assert one["then"] in (second, first | second)
        assert ("a.json" in seen) == ("a.json" in one["then"])
        assert not [name for name in one["entries"] if name.startswith(".")]


def test_an_error_names_the_finished_file(tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device")
    for hidden in (".model.bin.draft/.config.json.partial", ".model.bin.draft/config.json", ".config.json.partial", "config.json"):
        expected = f"cannot write to {tmp_path / 'config.json'} (No space left on device); make room or choose another place"
        assert str(cannot_write(tmp_path / hidden, full)) == expected
    assert str(cannot_write(Path(".partial"), full)).startswith("cannot write to .partial (")


FAILURES = [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT, errno.EACCES]


@pytest.mark.parametrize("code", FAILURES, ids=[errno.errorcode[code] for code in FAILURES])
@pytest.mark.parametrize("function", ["fsync", "replace", "open", "ftruncate"])
def test_a_file_that_cannot_be_written_leaves_nothing(function, code, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    (tmp_path / "page.html").write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(os, function, fail)
        with pytest.raises(TokbenchError, match=r"cannot write to .*page\.html \(.*\); (make room or )?choose another place$"):
            write_text(tmp_path / "page.html", "new")
    assert files(tmp_path) in ({"page.html": b"old"}, {"page.html": b"old", ".page.html.partial": b""})  # where even emptying fails
    write_text(tmp_path / "page.html", "new")
    assert files(tmp_path) == {"page.html": b"new"}


@pytest.mark.parametrize("code", FAILURES, ids=[errno.errorcode[code] for code in FAILURES])
@pytest.mark.parametrize("function", ["fsync", "link", "open", "mkdir"])
def test_a_unit_that_cannot_be_written_leaves_nothing(function, code, tmp_path, monkeypatch):
    calls = 0
    true = getattr(os, function)

    def fail(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls >= 2 or function != "link":
            raise OSError(code, os.strerror(code))
        return true(*args, **kwargs)

    (tmp_path / "other").write_text("")
    with monkeypatch.context() as patch:
        patch.setattr(os, function, fail)
        with pytest.raises(TokbenchError, match=r"cannot write to .* \(.*\); (make room or )?choose another place$"):
            write_unit(tmp_path)
    assert files(tmp_path) == {"other": b""}
    write_unit(tmp_path)
    assert files(tmp_path) == WHOLE | {"other": b""}


def test_a_unit_overwrites_nothing(tmp_path):
    write_unit(tmp_path)
    with pytest.raises(Taken, match=r"a\.parquet is there already"):
        write_unit(tmp_path, "newer")
    (tmp_path / "a.json").unlink()
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(Taken, match=r"a is there already"):
        write_unit(tmp_path, "newer")
    assert files(tmp_path) == {"a/model": b"model new"}


def test_what_appears_meanwhile_is_not_overwritten(tmp_path):
    with pytest.raises(Taken, match=r"a\.json is there already"), atomic_unit(tmp_path, NAMES) as draft:  # noqa: PT012
        (draft / "a.parquet").write_text("rows")
        (draft / "a.json").write_text("record")
        (tmp_path / "a.json").write_text("of another")
    assert files(tmp_path) == {"a.json": b"of another"}


def test_a_unit_works_without_hard_links(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", fail)
    write_unit(tmp_path)
    assert files(tmp_path) == WHOLE
    with pytest.raises(Taken):
        write_unit(tmp_path)


def test_two_processes_do_not_write_one_unit(tmp_path):
    with atomic_unit(tmp_path, NAMES) as draft:
        (draft / "a.json").write_text("record")
        with pytest.raises(Busy, match="another process is writing"), atomic_unit(tmp_path, NAMES):
            pass
        with atomic_unit(tmp_path, ["b.json"]) as other:  # tidies up before, and leaves what is being written
            (other / "b.json").write_text("other")
    assert files(tmp_path) == {"a.json": b"record", "b.json": b"other"}


def test_hidden_folders_of_others_stay(tmp_path):
    (tmp_path / ".mine.draft").mkdir()
    (tmp_path / ".mine.draft" / "notes").write_text("of the user")
    write_unit(tmp_path)
    assert files(tmp_path) == WHOLE | {".mine.draft/notes": b"of the user"}


def test_an_abandoned_draft_takes_away_only_what_it_put_there(tmp_path):
    folder = tmp_path / "records"
    (folder / ".good.json.draft").mkdir(parents=True)
    (folder / ".good.json.draft" / "lock").write_text("")
    for name in ("good.json", "good.parquet"):
        (folder / name).write_text("precious")
        (folder / ".good.json.draft" / name).write_text("precious")  # equal, but not the same file
    write_unit(folder)
    assert files(folder) == WHOLE | {"good.json": b"precious", "good.parquet": b"precious"}


@pytest.mark.parametrize("hidden", [".page.html.partial"])
def test_a_link_in_the_place_of_a_draft_is_not_followed(hidden, tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / hidden).symlink_to(tmp_path / "precious")
    with pytest.raises(TokbenchError, match="cannot write to"):
        write_text(tmp_path / "page.html", "new")
    assert (tmp_path / "precious").read_text() == "precious"


def test_links_stay_and_what_they_point_to_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "page.html").symlink_to(tmp_path / "there" / "page.html")
    for text in ("new", "newer"):
        write_text(tmp_path / "page.html", text)
        assert (tmp_path / "page.html").is_symlink()
        assert files(tmp_path / "there") == {"page.html": text.encode()}


def test_devices_are_written_as_they_are(tmp_path):
    write_text(Path("/dev/null"), "text")
    with pytest.raises(TokbenchError, match=r"cannot write to /dev/full \(No space left on device\)"):
        write_text(Path("/dev/full"), "text")
    assert Path("/dev/full").is_char_device()


def test_names_as_long_as_a_file_system_allows(tmp_path):
    name = "n" * 255
    write_text(tmp_path / name, "new")
    assert files(tmp_path) == {name: b"new"}
    assert partial_name(Path("é" * 126)).name != f".{'é' * 126}.partial"
    with pytest.raises(TokbenchError, match=r"\(File name too long\); choose a shorter name"):
        write_text(tmp_path / ("n" * 256), "new")
    assert files(tmp_path) == {name: b"new"}


@pytest.mark.parametrize("name", ["%s", "-o", "a\nb", "e\u0301", "é", "\udcff", " ", "~", "*", "[x]"])
def test_odd_names(name, tmp_path):
    write_text(tmp_path / name, f"text {name}")
    remove_abandoned(tmp_path, set())
    assert os.listdir(tmp_path) == [name]


def test_an_error_that_a_library_wraps_keeps_its_reason(tmp_path):
    with pytest.raises(TokbenchError, match="No space left"), atomic_file(tmp_path / "model") as file:  # noqa: PT012
        file.raw.failure = OSError(errno.ENOSPC, "No space left on device")
        raise RuntimeError("unexpected pos 320 vs 214")
    assert not files(tmp_path)
    with pytest.raises(RuntimeError, match="of its own"), atomic_file(tmp_path / "model"):
        raise RuntimeError("of its own")
    assert not files(tmp_path)


def test_one_process_at_a_time_has_a_folder(tmp_path):
    with (
        folder_lock(tmp_path, "train"),
        pytest.raises(Busy, match="another process is writing into"),
        folder_lock(tmp_path, "train"),
    ):
        pass
    assert not files(tmp_path)
    (tmp_path / ".train.lock").write_text("")  # of a killed process
    with folder_lock(tmp_path, "train"):
        pass
    assert not files(tmp_path)
    with pytest.raises(FileNotFoundError), folder_lock(tmp_path, "train"):  # errors within are not errors of the lock
        Path("missing").read_text()


def test_a_folder_is_whole_or_absent_wherever_the_process_is_killed(tmp_path):
    found = killed_everywhere(
        tmp_path,
        """
from tokbench.file_units import Taken, atomic_folder
def subject(folder):
    (folder / "a").mkdir()
    write(folder)
def write(folder):
    with atomic_folder(folder / "a") as draft:
        (draft / "deep").mkdir()
        (draft / "deep" / "model").write_text("model")
        (draft / "record").write_text("record")
def again(folder):
    try:
        write(folder)
    except Taken:
        with atomic_folder(folder / "b") as draft:
            pass
        (folder / "b").rmdir()
""",
    )
    whole = {"a/deep/model": "model", "a/record": "record"}
    for one in found:
        seen = {name: text for name, text in one["left"].items() if not name.startswith(".")}
        assert seen in ({}, whole)
        assert one["then"] == whole
        assert one["entries"] == ["a"]


def test_very_many_files_are_put_on_the_disk_at_once(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("tokbench.file_units.MOST_SYNCED_ALONE", 3)
    monkeypatch.setattr("tokbench.file_units.os.sync", lambda: calls.append("all"))
    monkeypatch.setattr("tokbench.file_units._sync_file", lambda path: calls.append(path.name))
    for count, expected in ((2, ["0", "1"]), (3, ["all"]), (5, ["all"])):
        with atomic_folder(tmp_path / str(count)) as draft:
            for number in range(count):
                (draft / str(number)).write_text("")
        assert sorted(calls) == expected
        calls.clear()


def test_a_folder_overwrites_nothing_but_an_empty_one(tmp_path):
    def write(place):
        with atomic_folder(place) as draft:
            (draft / "a").write_text("new")

    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("target")
    for name in ("empty", "link", "deep/er"):
        write(tmp_path / name)
        with pytest.raises(Taken, match=rf"{name} is there already, and nothing is overwritten; choose another place"):
            write(tmp_path / name)
    assert files(tmp_path) == {"deep/er/a": b"new", "empty/a": b"new", "target/a": b"new"}
    assert (tmp_path / "link" / "a").is_file()
    with atomic_folder(tmp_path / "once"), pytest.raises(Busy, match="another process is writing"), atomic_folder(tmp_path / "once"):
        pass
