"""Processes that a launcher started: which device each takes, and what is left to the first."""

from __future__ import annotations

import pytest

from tokbench.commands.console import own_place
from tokbench.errors import TokbenchError
from tokbench.ranks import leave_the_others, own_device

SECOND = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}


@pytest.mark.parametrize(
    ("device", "environment", "own"),
    [
        ("cuda", SECOND, "cuda:1"),
        ("cpu", SECOND, "cpu"),
        ("mps", SECOND, "mps"),
        ("cuda", {"RANK": "1", "WORLD_SIZE": "2"}, "cuda"),
        ("cuda:3", {"RANK": "1", "WORLD_SIZE": "2"}, "cuda:3"),
        ("cuda", {"RANK": "9", "WORLD_SIZE": "16", "SLURM_LOCALID": "1"}, "cuda:1"),
        ("cuda", {}, "cuda"),
        ("cuda:3", {}, "cuda:3"),
        ("cuda:3", {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}, "cuda:3"),
    ],
)
def test_each_process_takes_its_own_device(device: str, environment: dict[str, str], own: str) -> None:
    assert own_device(device, environment) == own


@pytest.mark.parametrize(("device", "environment", "current"), [("cuda", SECOND, ["cuda:1"]), ("cuda", {}, []), ("cpu", SECOND, [])])
def test_the_own_device_is_the_current_one(
    device: str, environment: dict[str, str], current: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tokbench.tokenizers.zoo.usable_device", str)  # there may be none here
    monkeypatch.setattr("torch.cuda.set_device", found.append)
    assert own_place(device) == (current or [device])[0]
    assert found == current


def test_one_device_for_all_is_refused() -> None:
    with pytest.raises(TokbenchError, match="each process takes its own device, so they take a kind, not cuda:0; give --device cuda"):
        own_device("cuda:0", SECOND)


def test_the_first_process_works_alone_and_the_others_leave() -> None:
    first = {**SECOND, "RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2", "HOME": "x"}
    assert not leave_the_others(first)
    assert first == {"HOME": "x"}
    second = dict(SECOND)
    assert leave_the_others(second)
    assert second == SECOND
    one = {"RANK": "0", "WORLD_SIZE": "1"}
    assert not leave_the_others(one)
    assert one == {"RANK": "0", "WORLD_SIZE": "1"}
    with pytest.raises(TokbenchError, match="do not fit together"):
        leave_the_others({"RANK": "1"})
