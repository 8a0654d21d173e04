"""The built wheel alone: it holds the whole package, and from an empty folder it runs, and so do the examples as written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
FEWER = {"choose_tokenizer": ("photos", "64", "8"), "language_model": ("photos/train", "4"), "train_and_compare": ("2", "fsq", "8")}
"""What is written behind the names of examples, so that they take seconds: fewer images, fewer steps."""
IN_TURN = """
import io, json, os, runpy, sys
from contextlib import redirect_stdout

root, printed = os.getcwd(), {}
for name, path, words in json.loads(sys.argv[1]):
    os.mkdir(os.path.join(root, name))
    os.chdir(os.path.join(root, name))
    sys.argv = [path, *words]
    with redirect_stdout(io.StringIO()) as said:
        runpy.run_path(path, run_name="__main__")
    printed[name] = said.getvalue()
print(json.dumps(printed))
"""
MOST_BYTES = 49_000_000


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built once for all workers, from a copy so that nothing is left in the tree."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    with FileLock(shared / "wheel.lock"):
        if not (shared / "dist").is_dir():
            source = shared / "source"
            shutil.copytree(ROOT / "tokbench", source / "tokbench", ignore=shutil.ignore_patterns("__pycache__"))
            for name in ("pyproject.toml", "README.md", "LICENSE"):
                shutil.copy(ROOT / name, source)
            build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", "--wheel-dir", "built", "."]
            subprocess.run(build, cwd=source, check=True)
            (source / "built").rename(shared / "dist")
    (path,) = (shared / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="session")
def installed(wheel: Path) -> dict[str, str]:
    """An environment in which the package is that of the wheel."""
    site = wheel.parent / "site"
    with FileLock(site.with_suffix(".lock")):
        if not site.is_dir():
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)
    environment = os.environ | {"PYTHONPATH": str(site)}
    asked = [sys.executable, "-c", "import tokbench; print(tokbench.__file__)"]
    found = subprocess.run(asked, cwd=site.parent, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(site / "tokbench" / "__init__.py")
    return environment


def run(words: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Standard output of Python."""
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_the_package_and_is_no_larger_than_it_was(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if not name.split("/")[0].endswith(".dist-info")}
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "tokbench").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert held == files
    assert wheel.stat().st_size < MOST_BYTES


@pytest.mark.slow  # the examples measure too
def test_it_measures_from_an_empty_folder(installed: dict[str, str], tmp_path: Path) -> None:
    (record,) = json.loads(run(["-m", "tokbench", "run", "-t", "vqgan", "--limit", "64", "--json"], tmp_path, installed))
    assert record["data"]["count"] == 64
    assert record["metrics"]["psnr"]["value"] > 25
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_there_are_three_examples() -> None:
    assert [path.stem for path in EXAMPLES] == ["choose_tokenizer", "language_model", "train_and_compare"]


def test_examples_run(installed: dict[str, str], tmp_path: Path) -> None:
    """Each prints what it came to, and writes what its first lines say. One process runs them in turn, in a folder each."""
    turns = [(path.stem, str(path), FEWER[path.stem]) for path in EXAMPLES]
    printed = json.loads(run(["-c", IN_TURN, json.dumps(turns)], tmp_path, installed))
    for path in EXAMPLES:
        assert printed[path.stem].strip()
        promised = path.read_text().split('"""')[1].rpartition("Writes ")[2].rstrip().rstrip(".").replace(" and ", ", ").split(", ")
        assert sorted(name.rstrip("/") for name in promised) == sorted(written.name for written in (tmp_path / path.stem).iterdir())
