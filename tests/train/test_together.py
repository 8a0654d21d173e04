"""Processes that train together: the losses of one process, one process that writes, one step at which all stop."""

from __future__ import annotations

import json
import os
import runpy
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from PIL import Image
from safetensors import safe_open

from tokbench.errors import TokbenchError
from tokbench.launch import joined
from tokbench.train import parts
from tokbench.weights.checkpoints import read_state

SMALL: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("small_runs.py")))
QUICK, STEPS = ("vqgan", "flowmo", "gumbel", "palette"), 8
FAILING = """
from tokbench.errors import TokbenchError
from tokbench.launch import by_the_first, joined
from tokbench.ranks import Elsewhere, ranks_from_environment

def full():
    raise TokbenchError("the disk is full")

try:
    with joined():
        try:
            by_the_first(full)
        except Elsewhere:
            print("elsewhere")
        except TokbenchError as error:
            print(error)
        if ranks_from_environment().rank == 0:  # the other ends
            by_the_first(lambda: None)
except TokbenchError as error:
    print(error)
"""


InProcesses = Callable[[int, Callable[[int], object]], list[int]]


def said_by(in_processes: InProcesses, work: Callable[[], object], root: Path, *, count: int = 2) -> list[tuple[int, str]]:
    """Do the same in processes that meet as those of torchrun do: status of each, and what it printed."""

    def silenced(rank: int) -> None:
        with (root / f"said-{rank}").open("w") as said, redirect_stdout(said), redirect_stderr(said):
            for stream in (1, 2):
                os.dup2(said.fileno(), stream)
            work()

    statuses = in_processes(count, silenced)
    return [(status, (root / f"said-{rank}").read_text()) for rank, status in enumerate(statuses)]


def log(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert all(line.pop("images_per_second", 1) > 0 for line in lines)
    return lines


def assert_same(one: list[dict[str, float]], other: list[dict[str, float]], *, rel: float = 1e-4, absolute: float = 1e-5) -> None:
    for ours, theirs in zip(one, other, strict=True):
        assert theirs == pytest.approx(ours, rel=rel, abs=absolute), ours["step"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for number in range(5):
        values = torch.randint(0, 256, (6, 6, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(number))
        Image.fromarray(values.numpy()).resize((24 + number, 30), Image.Resampling.BICUBIC).save(root / f"{number}.png")
    return root


def both(in_processes: InProcesses, pictures: Path, root: Path, names: Sequence[str], steps: int) -> tuple[Path, Path]:
    """Train by one process and by two."""
    alone, shared = root / "alone", root / "shared"
    for name in names:
        SMALL["run"](name, pictures, alone / name, steps)
    assert said_by(in_processes, lambda: SMALL["main"](pictures, shared, steps, names), root) == [(0, "")] * 2
    return alone, shared


@pytest.fixture(scope="module")
def runs(in_processes: InProcesses, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return both(in_processes, pictures, tmp_path_factory.mktemp("runs"), QUICK, STEPS)


@pytest.mark.parametrize("name", QUICK)
def test_losses_do_not_depend_on_the_number_of_processes(runs: tuple[Path, Path], name: str) -> None:
    alone, shared = (log(root / name) for root in runs)
    assert_same(alone, shared)
    if name == "vqgan":
        assert "generator" in alone[-1]
        assert any(line["restarted"] for line in alone)


@pytest.mark.slow
def test_losses_of_every_recipe_are_the_same_for_twenty_steps(in_processes: InProcesses, pictures: Path, tmp_path: Path) -> None:
    alone, shared = both(in_processes, pictures, tmp_path, [name for name in SMALL["RECIPES"] if name != "palette"], 20)
    for name in ("vqvae", "vqgan", "vae", "flowmo"):
        assert len(log(alone / name)) == 20
    for name in SMALL["RECIPES"]:
        if name == "bf16":  # rounds otherwise
            assert_same(log(alone / name), log(shared / name), rel=0.03, absolute=0.05)
        elif name != "palette":
            assert_same(log(alone / name), log(shared / name))


def test_a_codebook_of_pixels_is_fitted_to_those_of_all_processes(runs: tuple[Path, Path]) -> None:
    one, two = (read_state(root / "palette" / "weights.safetensors")[0]["clusters"] for root in runs)
    torch.testing.assert_close(one, two, atol=1e-4, rtol=0)


def test_one_process_writes_and_says_how_many_there_were(runs: tuple[Path, Path]) -> None:
    for root, count in zip(runs, (1, 2), strict=True):
        assert sorted(path.name for path in (root / "flowmo" / "samples").iterdir()) == ["000005.png", "000008.png"]
        with safe_open(root / "flowmo" / "weights.safetensors", framework="pt") as file:
            run = json.loads(file.metadata()["tokbench"])["run"]
        assert run == {"device": "cpu", "processes": count, "micro_batch": None, "compiled": False}


def test_a_signal_to_one_process_stops_all_and_another_number_goes_on(runs: tuple[Path, Path], pictures: Path) -> None:
    alone, shared = runs
    assert [line["step"] for line in log(shared / "stopped")] == list(range(1, SMALL["STOP"] + 2))
    assert SMALL["run"]("flowmo", pictures, shared / "stopped", STEPS, resume=True).finished
    assert_same(log(alone / "flowmo"), log(shared / "stopped"))


@pytest.mark.parametrize("name", ["vqgan", "flowmo"])
def test_losses_do_not_depend_on_how_many_images_are_seen_at_once(
    runs: tuple[Path, Path], pictures: Path, tmp_path: Path, name: str
) -> None:
    SMALL["run"](name, pictures, tmp_path / name, STEPS, micro_batch=3)
    assert_same(log(runs[0] / name), log(tmp_path / name))


def test_networks_see_no_more_images_than_they_are_told() -> None:
    layer, seen = torch.nn.Linear(3, 2), list[int]()
    layer.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    inner = torch.nn.Sequential(layer)
    parts.adapt(inner, micro_batch=2, compiled=False)
    values = torch.randn(5, 3, requires_grad=True)
    out = inner(values)
    assert torch.equal(out, layer(values))
    out.sum().backward()
    assert seen == [2, 2, 1, 5, 1, 2, 2]
    assert values.grad is not None
    assert torch.allclose(values.grad, layer.weight.sum(dim=0).expand(5, 3))
    assert set(inner.state_dict()) == {"0.weight", "0.bias"}


def test_compiled_networks_have_the_same_losses(
    runs: tuple[Path, Path], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda forward, **how: compiled(forward, backend="eager", **how))
    SMALL["run"]("gumbel", pictures, tmp_path / "run", STEPS, micro_batch=2, compiled=True)
    assert_same(log(runs[0] / "gumbel"), log(tmp_path / "run"))
    with safe_open(tmp_path / "run" / "weights.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["tokbench"])["run"]["compiled"]


def test_what_cannot_be_compiled_is_one_line(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: object, inputs: object) -> None:
        raise OSError("there is no compiler")

    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda forward, **how: compiled(forward, backend=broken, **how))
    with pytest.raises(TokbenchError, match=r"the networks cannot be compiled here \(.*no compiler.*\); leave --compile out"):
        SMALL["run"]("vae", pictures, tmp_path / "run", STEPS, compiled=True)


@pytest.mark.slow
def test_networks_compiled_to_code_have_the_same_losses(runs: tuple[Path, Path], pictures: Path, tmp_path: Path) -> None:
    for name in ("vqgan", "flowmo"):
        SMALL["run"](name, pictures, tmp_path / name, STEPS, micro_batch=3, compiled=True)
        assert_same(log(runs[0] / name), log(tmp_path / name))


def test_a_batch_that_does_not_divide_is_refused(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(TokbenchError, match="a batch of 4 images does not divide among 3 processes; change --batch-size"):
        SMALL["run"]("vae", pictures, tmp_path / "run", STEPS)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(TokbenchError, match=r"WORLD_SIZE=2 is set and MASTER_ADDR.* not, .*; start with torchrun, or unset WORLD_SIZE"):
        SMALL["run"]("vae", pictures, tmp_path / "run", STEPS)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("accelerator", "backends"), [(True, "cpu:gloo,cuda:nccl"), (False, "gloo")])
def test_counts_on_the_processor_go_by_gloo_beside_an_accelerator_too(
    accelerator: bool, backends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: accelerator)
    monkeypatch.setattr(dist, "is_nccl_available", lambda: True)
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **how: asked.append(backend))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    with joined():
        assert asked == [backends]


def test_what_the_first_fails_at_ends_the_others_and_so_does_a_process_that_is_gone(in_processes: InProcesses, tmp_path: Path) -> None:
    (_, first), (_, second) = said_by(in_processes, lambda: exec(FAILING, {}), tmp_path)
    assert first.splitlines()[0] == "the disk is full"
    assert second.splitlines() == ["elsewhere"]
    assert first.splitlines()[1].startswith("another of the processes has ended, and none can go on without it")
