"""Metrics of others that misbehave, one way each: every one is named in one line, and the other metrics finish."""

import importlib
import json
import sys

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.usefixtures("unchecked_types")  # users have no run-time check of annotations, which would come first

GOOD = """
import sys

import torch

from tokbench.bench.metrics.base import Figure, Metric, PerImageMetric
from tokbench.records.figures import FigureInfo

MINE = FigureInfo("mine", "my figure", "1", True, "always one", digits=2)


class Plain(Metric):
    name, figures = "mine", (MINE,)

    def update(self, observation):
        pass

    def report(self):
        return {"mine": Figure(1.0)}


class Each(PerImageMetric):
    name, figures = "mine", (MINE,)

    def per_image(self, observation):
        return observation.reference.double().flatten(1).mean(dim=1)
"""

WHILE = {  # name: the class, words of the line
    "raises": ("class Bad(Plain):\n def update(self, o): raise ValueError('no')", "fails in update (ValueError: no)"),
    "exits": ("class Bad(Plain):\n def update(self, o): sys.exit(0)", "fails in update (SystemExit: 0)"),
    "creates_badly": ("class Bad(Plain):\n @classmethod\n def create(cls, c): 1 / 0", "fails in create (ZeroDivisionError"),
    "creates_nothing": ("class Bad(Plain):\n @classmethod\n def create(cls, c): return None", "fails in create (TypeError"),
    "odd_reason": ("class Bad(Plain):\n def not_applicable(self, s): return 7", "not_applicable returns a int"),
    "reason_raises": ("class Bad(Plain):\n def not_applicable(self, s): raise KeyError(s)", "fails in not_applicable (KeyError"),
    "finish_raises": ("class Bad(Plain):\n def finish(self): raise OSError('full')", "fails in finish (OSError: full)"),
    "report_raises": ("class Bad(Plain):\n def report(self): raise SystemExit('x')", "fails in finish (SystemExit: x)"),
    "report_is_a_number": ("class Bad(Plain):\n def report(self): return 1.0", "report gives float, announced are mine"),
    "report_is_none": ("class Bad(Plain):\n def report(self): return None", "report gives NoneType"),
    "other_figures": ("class Bad(Plain):\n def report(self): return {'psnr': Figure(1.0)}", "report gives ['psnr']"),
    "no_figure": ("class Bad(Plain):\n def report(self): return {'mine': 1.0}", "a float for mine, not a Figure"),
    "tensor": ("class Bad(Plain):\n def report(self): return {'mine': Figure(torch.ones(()))}", "value of mine is a Tensor"),
    "text": ("class Bad(Plain):\n def report(self): return {'mine': Figure('1')}", "value of mine is a str"),
    "nothing": ("class Bad(Plain):\n def report(self): return {'mine': Figure(None)}", "value of mine is a NoneType"),
    "odd_interval": ("class Bad(Plain):\n def report(self): return {'mine': Figure(1.0, (0, 1))}", "not an Interval"),
    "odd_settings": ("class Bad(Plain):\n settings = {'a': torch.ones(2)}", "fails in finish (TypeError: "),
    "odd_rows": ("class Bad(Plain):\n def rows(self): return {'mine': [1.0]}", "rows gives list for mine"),
    "rows_of_text": ("class Bad(Plain):\n def rows(self): return {'mine': {'0.png': 'a'}}", "rows gives dict for mine"),
    "one_value": ("class Bad(Each):\n def per_image(self, o): return torch.zeros(1)", "fails in finish ("),
    "no_tensor": ("class Bad(Each):\n def per_image(self, o): return [0.0]", "fails in update (AttributeError"),
}

BEFORE = {
    "lacks_report": ("class Bad(Metric):\n name, figures = 'mine', (MINE,)\n def update(self, o): pass", "bad_metric:Bad lacks report"),
    "no_name": ("class Bad(Metric):\n figures = (MINE,)\n update = Plain.update\n report = Plain.report", "names itself or its figures"),
    "odd_name": ("class Bad(Plain): name = 'a b'", "names itself or its figures ('a b', 'mine')"),
    "taken": ("class Bad(Plain): name = 'psnr'", "gives a figure 'psnr', which is a metric of tokbench"),
    "a_column": ("class Bad(Plain): name = 'data'", "gives a figure 'data', which is a column of every table"),
    "taken_figure": (
        "class Bad(Plain): figures = (MINE, FigureInfo('usage', 'usage', '1', True, 'mine'))",
        "gives a figure 'usage'",
    ),
    "no_row": ("class Bad(Plain): figures = ()", "does not say what its figures are: figures = (FigureInfo(...),)"),
    "keys_alone": ("class Bad(Plain): figures = ('mine', 'yours')", "does not say what its figures are"),
    "odd_networks": (
        "from dataclasses import replace\nclass Bad(Plain): figures = (replace(MINE, networks='faces'),)",
        "has a row that no record can hold: networks is text, not a list",
    ),
    "odd_row": (
        "class Bad(Plain): figures = (FigureInfo('mine', 'my figure', 1, True, 'always one'),)",
        "unit must be a line of at most 60 printable characters",
    ),
    "no_metric": ("class Bad: pass", "is not a subclass of"),
    "no_syntax": ("class Bad", "cannot import 'bad_metric'"),
    "exits": ("sys.exit(1)", "cannot import 'bad_metric' for 'bad_metric:Bad' (SystemExit: 1)"),
}


@pytest.fixture
def run_with(tmp_path, tokbench_cli, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "pictures").mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{i}.png")

    def run(text):
        (tmp_path / "bad_metric.py").write_text(GOOD + text)
        importlib.invalidate_caches()
        sys.modules.pop("bad_metric", None)
        metrics = "bad_metric:Bad,psnr,stability"
        return tokbench_cli("run", "-t", "pixel/palette-512", "--data", "pictures", "--metrics", metrics, "--json", "--out", "out")

    yield run
    sys.modules.pop("bad_metric", None)


@pytest.mark.parametrize("kind", WHILE)
def test_the_other_metrics_finish(kind, run_with, tmp_path):
    text, words = WHILE[kind]
    status, out, err = run_with(text)
    (line,) = [line for line in err.splitlines() if line.startswith("tokbench: pixel/palette-512: metric mine fails in ")]
    assert words in line
    assert status == 1
    (record,) = json.loads(out)
    assert record["metrics"]["psnr"]["value"] > 20
    assert record["metrics"]["stability"]["value"] == 1
    assert record["metrics"]["mine"].keys() == {"reason"}
    assert record["metrics"]["mine"]["reason"].startswith("it failed in ")
    assert len(list((tmp_path / "out").glob("*.json"))) == 1


@pytest.mark.parametrize("kind", BEFORE)
def test_what_is_no_metric_shows_before_the_work(kind, run_with, tmp_path):
    text, words = BEFORE[kind]
    status, out, err = run_with(text)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert not (tmp_path / "out").exists()


def test_a_figure_of_others_is_shown_as_its_row_says_wherever_its_record_goes(run_with, tokbench_cli):
    status, out, err = run_with("class Bad(Plain): pass")
    assert status == 0, err
    metrics = json.loads(out)[0]["metrics"]
    assert metrics["mine"]["info"]["title"] == "my figure"
    assert (metrics["mine"]["unit"], metrics["mine"]["higher_is_better"]) == ("1", True)
    assert "info" not in metrics["psnr"]
    sys.modules.pop("bad_metric")  # who reads the record need not have it
    status, out, err = tokbench_cli("compare", "out", "--format", "md")
    assert status == 0, err
    assert "| my figure ↑ |" in out
    assert "| 1.00 |" in out


def test_a_metric_that_writes_into_the_images_changes_no_other_figure(run_with):
    def psnr(text):
        status, out, err = run_with(text)
        assert status == 0, err
        return json.loads(out)[0]["metrics"]["psnr"]["value"]

    writes = "class Bad(Plain):\n def update(self, o): o.reconstruction.zero_(); o.reference.fill_(9)"
    assert psnr(writes) == psnr("class Bad(Plain): pass") > 20
