"""What ``tokbench cache`` says and does."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tokbench.bench.cache_size import bytes_of, in_words
from tokbench.errors import TokbenchError

Cli = Callable[..., tuple[int, str, str]]


def fill(home: Path) -> list[Path]:
    """Two networks, three files of a kilobyte, the first used longest ago."""
    paths = [home / "cache" / "features" / name for name in ("a-1/x.safetensors", "a-1/y.safetensors", "b-2/z.safetensors")]
    for age, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1000))
        os.utime(path, (1e9 + age, 1e9 + age))
    return paths


def test_an_empty_cache_is_shown(tokbench_cli: Cli, tmp_path: Path) -> None:
    status, out, _ = tokbench_cli("cache", "show")
    assert status == 0
    assert out == f"0 B of 4.0 GB in {tmp_path}/cache/features\n"
    assert not (tmp_path / "cache").exists()


def test_networks_and_their_room_are_shown(tokbench_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    monkeypatch.setenv("TOKBENCH_CACHE_GB", "0.5")
    _, out, _ = tokbench_cli("cache", "show")
    assert out.splitlines() == [
        "a-1      2.0 KB       2 segments  last used 2001-09-09",
        "b-2      1.0 KB       1 segment   last used 2001-09-09",
        f"3.0 KB of 500.0 MB in {tmp_path}/cache/features",
    ]
    _, out, _ = tokbench_cli("cache", "show", "--json")
    shown = json.loads(out)
    assert (shown["bytes"], shown["limit_bytes"]) == (3000, 500_000_000)
    assert shown["networks"][0] == {"network": "a-1", "segments": 2, "bytes": 2000, "used": "2001-09-09T01:46:41+00:00"}


def test_prune_keeps_what_it_is_told(tokbench_cli: Cli, tmp_path: Path) -> None:
    paths = fill(tmp_path)
    assert tokbench_cli("cache", "prune")[2] == "removed 0 segments, 0 B; 3.0 KB stay\n"
    assert tokbench_cli("cache", "prune", "--keep", "2.5kb")[2] == "removed 1 segment, 1.0 KB; 2.0 KB stay\n"
    assert [path.exists() for path in paths] == [False, True, True]
    assert tokbench_cli("cache", "prune", "--keep", "0")[2] == "removed 2 segments, 2.0 KB; 0 B stay\n"
    assert not list((tmp_path / "cache" / "features").iterdir())


def test_what_is_wrong_is_said_in_a_line(tokbench_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = fill(tmp_path)
    status, _, err = tokbench_cli("cache", "prune", "--keep", "half")
    assert status == 2
    assert err == "tokbench: --keep: a size is a number and B, KB, MB, GB or TB, as 500MB, got 'half'\n"
    monkeypatch.setenv("TOKBENCH_CACHE_GB", "lots")
    status, _, err = tokbench_cli("cache", "show")
    assert status == 2
    assert err == "tokbench: TOKBENCH_CACHE_GB is a number of gigabytes, 0 or more, got 'lots'; unset it to keep 4\n"
    assert all(path.exists() for path in paths)


def test_files_that_cannot_be_removed_are_said_to_stay(tokbench_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)

    def refuse(path: Path) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "unlink", refuse)
    status, _, err = tokbench_cli("cache", "prune", "--keep", "0")
    assert status == 2
    assert "3.0 KB in" in err
    assert "cannot be removed; see who owns the files there" in err


def test_files_that_another_process_removed_do_not_stay(tokbench_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)

    def gone(path: Path) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "unlink", gone)
    status, _, err = tokbench_cli("cache", "prune", "--keep", "0")
    assert (status, err) == (0, "removed 0 segments, 0 B; 0 B stay\n")


def test_a_run_refuses_what_is_no_limit(tokbench_cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKBENCH_CACHE_GB", "lots")
    status, _, err = tokbench_cli("run", "-t", "pixel/rgb", "--data", folder, "--size", "32")
    assert status == 2
    assert "tokbench: TOKBENCH_CACHE_GB is a number of gigabytes, 0 or more, got 'lots'; unset it to keep 4" in err.splitlines()


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("12", 12), ("1.5 GB", 1_500_000_000), ("3kb", 3000), (" 2MB ", 2_000_000), ("7B", 7), ("1tb", 10**12)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "1 PB", "1e3", "1,5 GB", "nan", "9" * 16, "٣"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(TokbenchError, match="a size is a number and B, KB, MB, GB or TB"):
        bytes_of(text)


def test_sizes_are_written() -> None:
    assert [in_words(size) for size in (0, 999, 1000, 1_550_000, 4 * 10**9, 10**13)] == [
        "0 B", "999 B", "1.0 KB", "1.6 MB", "4.0 GB", "10.0 TB"
    ]  # fmt: skip
