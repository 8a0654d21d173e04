"""An export that was killed and gone on with equals one that was not, to the last byte.

The runs are real processes that end by SIGKILL, forked off one interpreter that has imported everything but started no thread.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

RUNS = r"""
import json, os, random, signal, sys, time, traceback
import torch
import tokbench
from pathlib import Path
from tokbench.records.protocol import get_protocol
from tokbench import files
from tokbench.feed.export import ExportOptions, export

torch.set_num_threads(1)
data, root, plan = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
tokenizer = tokbench.load("pixel/palette-512")
protocol = get_protocol(changes={"size": 16, "micro_batch": 2})


def run(out, *, environment=None, kill=None, limit=None):
    "One process; returns its process id at once."
    pid = os.fork()
    if pid:
        return pid
    try:
        os.environ.update(environment or {})
        if kill is not None:
            deadly(*kill)
        if limit is not None:
            import resource
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        export(tokenizer, data, root / out, protocol=protocol, options=ExportOptions(rows_per_shard=3))
    except tokbench.TokbenchError as error:
        print(json.dumps({"out": out, "error": str(error)}), flush=True)
        os._exit(2)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def deadly(function, moment, number):
    "Kill this process before or after the number-th call of a function of os; `write` counts the writes to a draft."
    calls = 0
    true = getattr(os, function)

    def call(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == number and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = true(*args, **kwargs)
        if calls == number and moment == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(files.os, function, call)


def wait(pid):
    status = os.waitpid(pid, 0)[1]
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


start = time.perf_counter()
assert wait(run("whole")) == 0
seconds = time.perf_counter() - start
rng = random.Random(plan["seed"])
for number in range(plan["random"]):
    out, deaths = f"random{number}", 0
    for attempt in range(plan["attempts"]):
        pid = run(out)
        time.sleep(rng.uniform(0.0, 1.1) * seconds)
        os.kill(pid, signal.SIGKILL)
        deaths += wait(pid) == -signal.SIGKILL
    print(json.dumps({"out": out, "deaths": deaths, "status": wait(run(out))}), flush=True)
for number, kill in enumerate(plan["moments"]):
    out = f"moment{number}"
    death = wait(run(out, kill=kill))
    left = sorted(path.name for path in (root / out).iterdir())
    print(json.dumps({"out": out, "deaths": int(death == -signal.SIGKILL), "left": left, "status": wait(run(out))}), flush=True)
if plan.get("ranks"):
    pids = [run("ranks", environment={"RANK": str(rank), "WORLD_SIZE": "2"}) for rank in range(2)]
    statuses = [wait(pid) for pid in pids]
    print(json.dumps({"out": "ranks", "status": max(statuses)}), flush=True)
if plan.get("limit"):
    status = wait(run("limit", limit=plan["limit"]))
    left = sorted(path.name for path in (root / "limit").iterdir())
    print(json.dumps({"out": "limit", "failed": status, "left": left, "status": wait(run("limit"))}), flush=True)
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(20):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(root / f"{number:02d}.png")
    (root / "07.png").write_bytes(b"broken")
    return root


def carry_out(pictures: Path, root: Path, **plan: object) -> dict[str, dict]:
    """Run a plan; what it prints, by folder."""
    command = [
        sys.executable,
        "-c",
        RUNS,
        str(pictures),
        str(root),
        json.dumps({"seed": 0, "random": 0, "attempts": 1, "moments": []} | plan),
    ]
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {item["out"]: {key: value for line in found if line["out"] == item["out"] for key, value in line.items()} for item in found}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_all_equal(root: Path, results: dict[str, dict]) -> None:
    whole = files(root / "whole")
    assert sorted(whole) == [".export.json", *(f"tokens-{number:05d}-of-00007.parquet" for number in range(7))]
    for out, result in results.items():
        assert result["status"] == 0, result
        assert files(root / out) == whole, out


@pytest.mark.slow
def test_killed_ranked_and_out_of_space(pictures: Path, tmp_path: Path) -> None:
    moments = [("replace", "before", 3), ("replace", "after", 3), ("fsync", "before", 1), ("replace", "before", 8)]
    results = carry_out(pictures, tmp_path, random=2, attempts=1, moments=moments, ranks=True, limit=2500)
    assert_all_equal(tmp_path, results)
    assert [results[f"moment{number}"]["deaths"] for number in range(4)] == [1, 1, 1, 1]
    names = [f"tokens-{number:05d}-of-00007.parquet" for number in range(7)]
    assert results["moment0"]["left"] == [f".{names[2]}.partial", *names[:2]]
    assert results["moment1"]["left"] == names[:3]
    assert results["moment2"]["left"] == [f".{names[0]}.partial"]
    assert results["moment3"]["left"] == ["..export.json.partial", *names]
    assert results["limit"]["failed"] == 2
    assert results["limit"]["error"].startswith(f"cannot write to {tmp_path / 'limit' / names[0]} (File too large); choose another place")
    assert results["limit"]["left"] == []


@pytest.mark.slow
def test_killed_at_twenty_random_moments_and_many_times_over(pictures: Path, tmp_path: Path) -> None:
    once = carry_out(pictures, tmp_path / "once", seed=1, random=20, attempts=1)
    assert_all_equal(tmp_path / "once", once)
    assert sum(result["deaths"] for result in once.values()) >= 10
    often = carry_out(pictures, tmp_path / "often", seed=2, random=5, attempts=6)
    assert_all_equal(tmp_path / "often", often)
