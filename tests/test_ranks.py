"""Processes that a launcher started: which device each takes, and what is left to the first."""

from __future__ import annotations

import pytest

from tokbench.commands.console import own_place
from tokbench.errors import TokbenchError
from tokbench.ranks import Ranks, join_tasks, leave_the_others, own_device, ranks_from_environment, started_tasks

SECOND = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}

BATCH = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "4"}
STEP = {**BATCH, "SLURM_PROCID": "2", "SLURM_LOCALID": "1", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_ID": "0"}
MPI = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
PMI = {"PMI_RANK": "2", "PMI_SIZE": "4"}
PLACE = {"MASTER_ADDR": "node1", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("device", "environment", "own"),
    [
        ("cuda", SECOND, "cuda:1"),
        ("cpu", SECOND, "cpu"),
        ("mps", SECOND, "mps"),
        ("cuda", {"RANK": "1", "WORLD_SIZE": "2"}, "cuda"),
        ("cuda:3", {"RANK": "1", "WORLD_SIZE": "2"}, "cuda:3"),
        ("cuda", {"RANK": "9", "WORLD_SIZE": "16", "SLURM_LOCALID": "1"}, "cuda:1"),
        ("cuda", {"RANK": "9", "WORLD_SIZE": "16", "SLURM_LOCALID": "1", "CUDA_VISIBLE_DEVICES": "0,1"}, "cuda:1"),
        ("cuda", {"RANK": "9", "WORLD_SIZE": "16", "SLURM_LOCALID": "1", "CUDA_VISIBLE_DEVICES": "3"}, "cuda:0"),
        ("cuda", {**SECOND, "SLURM_LOCALID": "0", "CUDA_VISIBLE_DEVICES": "3"}, "cuda:1"),  # which is refused, as torchrun shares it out
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


@pytest.mark.parametrize(
    ("environment", "launcher", "rank", "count"),
    [
        (STEP, "srun", 2, 4),
        (MPI, "mpirun", 1, 2),
        (PMI, "mpiexec", 2, 4),
        (STEP | PMI, "srun", 2, 4),  # srun --mpi=pmi2
        (STEP | MPI, "mpirun", 1, 2),  # whose daemons srun started
    ],
)
def test_tasks_are_known_by_what_started_them(environment: dict[str, str], launcher: str, rank: int, count: int) -> None:
    tasks = started_tasks(environment)
    assert tasks is not None
    assert (tasks.launcher, tasks.rank, tasks.count) == (launcher, rank, count)
    assert f"{tasks.rank_name}+1))/${tasks.count_name}, then tokbench merge" in tasks.advice(in_parts=True)
    assert started_tasks(environment | SECOND) is None  # torchrun, or a script that says it


@pytest.mark.parametrize(
    "environment",
    [
        {},
        BATCH,  # a script of sbatch, of four tasks that srun will start
        {**BATCH, "SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_ID": "4294967290"},  # a shell of salloc
        {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"},
        {"PMI_RANK": "0"},
        {"PMI_RANK": "x", "PMI_SIZE": "2"},
        {"PMI_RANK": "2", "PMI_SIZE": "2"},
    ],
)
def test_one_process_is_no_task(environment: dict[str, str]) -> None:
    before = dict(environment)
    assert started_tasks(environment) is None
    assert join_tasks(["run"], environment) is None
    assert join_tasks(["run"], environment | PLACE) is None
    assert environment == before


@pytest.mark.parametrize(
    ("environment", "local"),
    [
        (STEP, {"LOCAL_RANK": "1"}),
        (STEP | {"CUDA_VISIBLE_DEVICES": "3"}, {"LOCAL_RANK": "0"}),
        (MPI, {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}),
        (PMI, {}),
    ],
)
def test_tasks_with_a_place_to_meet_share_the_work(environment: dict[str, str], local: dict[str, str]) -> None:
    apart = dict(environment)
    assert join_tasks(["run", "-t", "vqgan"], apart) == started_tasks(environment)
    assert apart == environment
    for words in (["run", "--part", "1/4"], ["run", "--part=1/4"]):
        apart = environment | PLACE
        assert join_tasks(words, apart) == started_tasks(environment)
        assert apart == environment | PLACE
    joined = environment | PLACE
    assert join_tasks(["run", "-t", "vqgan"], joined) is None
    tasks = started_tasks(environment)
    assert tasks is not None
    assert joined == environment | PLACE | {"RANK": str(tasks.rank), "WORLD_SIZE": str(tasks.count)} | local
    assert ranks_from_environment(joined) == Ranks(tasks.rank, tasks.count)
