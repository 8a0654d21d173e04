"""``import tokenizers`` is another project's name; it must never find a folder of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = [ROOT / folder for folder in ("tokbench", "tests", "tokenizers")]

SCRIPT = """
import importlib.util
import tokbench, tokbench.tokenizers
spec = importlib.util.find_spec("tokenizers")
for place in [] if spec is None else [spec.origin or "", *(spec.submodule_search_locations or [])]:
    print(place)
"""


def places(cwd: Path) -> list[Path]:
    """Where a fresh interpreter finds the name."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=cwd, env=environment, capture_output=True, text=True, check=True)
    return [Path(line).resolve() for line in done.stdout.splitlines()]


@pytest.mark.parametrize("where", ["root", "elsewhere"])
def test_the_name_is_not_ours(where: str, tmp_path: Path) -> None:
    found = places(ROOT if where == "root" else tmp_path)
    assert [place for place in found if any(place.is_relative_to(folder) for folder in OURS)] == []


def test_the_script_would_notice() -> None:
    """Inside the package, our folder does have the name."""
    assert ROOT / "tokbench" / "tokenizers" in places(ROOT / "tokbench")
