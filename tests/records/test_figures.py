"""Every figure has one row, and every row holds."""

import tomllib
from itertools import groupby
from pathlib import Path

import pytest

from tokbench.bench.metrics import metric_classes
from tokbench.records.figure_info import FigureInfo
from tokbench.records.figures import BY_KEY, FIGURES, RATES, SPEEDS, figures_of
from tokbench.weights.assets import is_asset

ROOT = Path(__file__).parents[2]


def test_every_metric_of_this_package_has_its_rows_and_every_row_its_metric():
    assert {info.measured_by for info in FIGURES} == set(metric_classes())
    assert all(cls.figures == figures_of(name) for name, cls in metric_classes().items())


def test_rows_of_one_metric_stand_together_and_no_key_is_there_twice():
    assert len([name for name, _ in groupby(FIGURES, key=lambda info: info.measured_by)]) == len(metric_classes())
    assert len(BY_KEY) == len((*RATES, *FIGURES, *SPEEDS))


@pytest.mark.parametrize("info", BY_KEY.values(), ids=list(BY_KEY))
def test_a_row_says_what_its_figure_is_and_what_it_takes(info):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert info.title
    assert info.unit
    assert info.meaning
    assert len(info.meaning) < 140
    assert not info.asset or is_asset(info.asset)
    assert info.extra in ("", *extras)


@pytest.mark.parametrize("name", ["key", "title", "unit", "symbol", "meaning"])
@pytest.mark.parametrize("text", ["x" * 201, "two\nlines", "\x1b[31mred", "\u202eevil", 1])
@pytest.mark.usefixtures("unchecked_types")
def test_a_row_holds_lines_that_can_be_shown_as_they_are(name, text):
    texts = {"key": "mine", "title": "mine", "unit": "1", "symbol": "", "meaning": "of others", name: text}
    with pytest.raises(ValueError, match=rf"^{name} must be a line of at most \d+ printable characters$"):
        FigureInfo(**texts, higher_is_better=True)


@pytest.mark.parametrize("wrong", [{"digits": -1}, {"digits": 13}, {"scale": 0.0}, {"scale": float("inf")}, {"scale": float("nan")}])
def test_a_row_that_cannot_be_written_is_refused(wrong):
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))} must be"):
        FigureInfo("mine", "mine", "1", True, "of others", **wrong)


def test_rows_are_read_without_torch():
    import subprocess
    import sys

    code = "import sys, tokbench.records.figures; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
