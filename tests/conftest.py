"""What all tests share: the package's annotations checked at run time, few threads, the golden files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jaxtyping
import pytest

# Before anything imports the package. The tower lets an int stand for a float, as type checkers do.
jaxtyping.install_import_hook("tokbench", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

settings.register_profile("tokbench", deadline=None, max_examples=60)
settings.load_profile("tokbench")

torch.set_num_threads(1)  # the networks are small: more threads wait for each other, the longer the busier the machine


@pytest.fixture(scope="session")
def goldens() -> Path:
    """The folder of golden files."""
    return Path(__file__).parent / "goldens"


@pytest.fixture
def unchecked_types() -> Iterator[None]:
    """Switch the run-time check of annotations off, to reach the package's own validation of what callers pass."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def tokbench_cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Run a command in-process; returns exit status, stdout and stderr."""
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    from rich.console import Console

    from tokbench import cli, console

    out, err = Console(width=200), Console(stderr=True, width=200)
    for module in (cli, console):
        monkeypatch.setattr(module, "out", out)
        monkeypatch.setattr(module, "err", err, raising=False)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tokbench", *map(str, arguments)])
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run
