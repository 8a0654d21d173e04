"""Families of other packages, by entry point."""

import json
import os
import subprocess
import sys

import pytest

from tokbench.tokenizers import zoo

VARIANTS = """
from dataclasses import dataclass

from tokbench.layout import TokenLayout
from tokbench.tokenizers.family import Family, Variant


@dataclass(frozen=True)
class Config:
    levels: int = 2
    stride: int = 1

    def layout(self, height, width):
        return TokenLayout.strided(height, width, self.stride, codebook_sizes=(self.levels,) * 3)


ROW = Variant(name="two", config=Config(), image_size=8, summary="black or white a channel", needs_weights=False)
FAMILY = Family(name="threshold", summary="two levels", model="otherpackage.model:Threshold", variants=(ROW,), default="two")
"""

MODEL = """
from tokbench import DiscreteTokens, Tokenizer


class Threshold(Tokenizer):
    def __init__(self, config):
        super().__init__()
        self.config = config

    def _encode(self, images, seeds):
        return DiscreteTokens((images > 0).long().flatten(2).transpose(1, 2).contiguous(), tuple(images.shape[2:]), (2, 2, 2))

    def _decode(self, tokens, seeds):
        return (tokens.codes.float() * 2 - 1).transpose(1, 2).unflatten(2, tokens.grid)
"""


@pytest.fixture
def other_package(tmp_path):
    """A package with an entry point, as pip would have installed it."""
    (tmp_path / "otherpackage").mkdir()
    (tmp_path / "otherpackage" / "__init__.py").write_text("")
    (tmp_path / "otherpackage" / "variants.py").write_text(VARIANTS)
    (tmp_path / "otherpackage" / "model.py").write_text(MODEL)
    info = tmp_path / "otherpackage-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: otherpackage\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tokbench.tokenizers]\nthreshold = otherpackage.variants:FAMILY\n")
    return tmp_path


@pytest.fixture
def in_reach(other_package, monkeypatch):
    """The package is found by this process too."""
    monkeypatch.syspath_prepend(other_package)
    zoo.families.cache_clear()
    yield
    zoo.families.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "otherpackage"]:
        del sys.modules[name]


def tokbench(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": str(folder), "TOKBENCH_CACHE": str(folder / "cache")}
    return subprocess.run(
        [sys.executable, "-m", "tokbench", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_a_family_of_another_package_is_listed(other_package):
    names = [row["name"] for row in json.loads(tokbench(other_package, "list", "--json").stdout)]
    assert "threshold/two" in names
    assert "vqgan/tiny" in names


def test_a_family_of_another_package_is_measured(in_reach, tokbench_cli):
    status, out, err = tokbench_cli("run", "-t", "threshold", "--limit", "4", "--metrics", "psnr,stability", "--json", "--out", "out")
    assert status == 0, err
    (record,) = json.loads(out)
    assert record["tokenizer"]["name"] == "threshold/two"
    assert record["metrics"]["stability"]["value"] == 1.0


def test_a_broken_plugin_is_named_in_one_line(other_package):
    (other_package / "otherpackage" / "variants.py").write_text("import nothing_like_this")
    done = tokbench(other_package, "list")
    assert done.returncode == 2
    assert "the tokenizer plug-in 'threshold' (otherpackage.variants:FAMILY) cannot be imported" in done.stderr
    assert done.stderr.count("\n") == 1
