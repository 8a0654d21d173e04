"""The benchmark of runs on a GPU: tried with a clock of its own on a CPU, and no figure on the page that it did not print."""

import itertools
import re
from pathlib import Path

import pytest
import torch

import tokbench
from tokbench.bench.prepared import PreparedRun, RunOptions
from tokbench.records.protocol import get_protocol

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def gpu(script):
    return script("benchmarks/gpu.py")


class Ticking:
    """A clock by which each call takes as many seconds as calls were timed before, and one."""

    name = "ticking"

    def __init__(self):
        self.timed = 0

    def once(self, work):
        work()
        return 1.0

    def repeated(self, work, calls):
        for _ in range(calls + 1):
            work()
        self.timed += 1
        return lambda seconds=self.timed: float(seconds)


def test_stages_and_runs_are_counted_in_images(gpu, folder):
    protocol = get_protocol(changes={"size": 64, "micro_batch": 4})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tokbench.bench.chunks.MICRO_BATCHES", 1)
        options = RunOptions(cache=False)
        prepared = PreparedRun(tokbench.load("vqvae"), folder, metrics=("lpips", "kd_efflite0"), protocol=protocol, options=options)
        with_codes = PreparedRun(tokbench.load("vqvae"), folder, metrics=("stability",), protocol=protocol, options=options)
    assert gpu.stage_seconds(prepared, Ticking(), calls=1) == {"encode": 1 / 4, "decode": 2 / 4, "judges": 3 / 4}
    assert gpu.stage_seconds(with_codes, Ticking(), calls=1) == {"encode": 1 / 4, "decode": 2 / 4, "again": 3 / 4, "judges": 4 / 4}
    ticks = itertools.count(10, 2)
    assert gpu.run_rate(prepared, lambda: float(next(ticks))) == 8 / 4  # of twelve images, those after the first chunk


def test_pictures_are_as_many_as_asked_for(gpu, tmp_path):
    gpu.make_pictures(tmp_path, 3)
    assert len({path.read_bytes() for path in tmp_path.glob("*.jpg")}) == 3


def test_idle_is_what_no_work_covers(gpu):
    assert gpu.idle_share([(0, 4), (2, 6), (8, 10), (3, 5)]) == pytest.approx(0.2)
    assert gpu.idle_share([(5, 7)]) == 0
    assert gpu.idle_share([]) is None


def test_the_page_shows_what_the_benchmark_prints(gpu):
    page = (ROOT / "docs" / "speed.md").read_text()
    text = page[page.index(gpu.BEGIN) + len(gpu.BEGIN) : page.index(gpu.END)]
    if "Measured on" not in text:
        assert text == gpu.table([])
        assert text.count("not measured") == 32
    row = gpu.Row("a/b", "bf16", {"encode": 100.0, "decode": 50.0, "again": 200.0, "judges": 100.0}, 25.0, 20.0, 0.125)
    assert "| `a/b` | bf16 | 100.0 | 50.0 | 200.0 | 100.0 | 25.0 | 20.0 | 0.800 | 0.125 |" in gpu.table([row], "a GPU")
    assert re.search(r"Measured on a GPU\.\n$", gpu.table([row], "a GPU"))


def test_without_a_gpu_it_says_so(gpu, capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    gpu.main([])
    assert capsys.readouterr().out == gpu.table([]) + "\n"
