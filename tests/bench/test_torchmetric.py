"""The base class of torchmetrics is imported without its metrics, which whoever asks for them still finds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(code: str, *places: Path) -> str:
    paths = [str(place) for place in (*places, ROOT)]
    code = f"import sys; sys.path[:0] = {paths!r}\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_what_measures_is_imported_without_the_metrics_of_others() -> None:
    found = run(
        """
import tokbench.bench.prepared, tokbench.bench.sharing
heavy = {"torchvision", "transformers", "torch._dynamo", "torchmetrics.functional", "scipy.signal"} & set(sys.modules)
import pickle, torchmetrics
from tokbench.bench.metrics.base import Metric
own = pickle.loads(pickle.dumps(Metric))
first = issubclass(own, torchmetrics.Metric)
mean = torchmetrics.MeanMetric()
mean.update(2.0)
print(heavy, first, isinstance(mean, torchmetrics.metric.Metric), issubclass(own, torchmetrics.Metric), float(mean.compute()))
print(type(torchmetrics).__name__, hasattr(torchmetrics, "no such name"), bool(torchmetrics.__version__))
"""
    )
    assert found.splitlines() == ["set() True True True 2.0", "module False True"]


@pytest.mark.parametrize(("needs", "whole"), [("", False), ("from torchmetrics import whole\n", True)])
def test_a_version_whose_parts_need_the_whole_package_is_imported_whole(tmp_path: Path, needs: str, whole: bool) -> None:
    package = tmp_path / "torchmetrics"
    (package / "utilities").mkdir(parents=True)
    (package / "__init__.py").write_text("whole = True\nfrom torchmetrics.metric import Metric\n")
    (package / "metric.py").write_text("class Metric: ...\nfrom torchmetrics.utilities import dim_zero_cat\n")
    (package / "utilities" / "__init__.py").write_text(f"{needs}dim_zero_cat = len\n")
    code = "import tokbench.bench.torchmetric as own, torchmetrics\nprint('whole' in vars(torchmetrics), torchmetrics.Metric is own.Metric)"
    assert run(code, tmp_path).split() == [str(whole), "True"]
