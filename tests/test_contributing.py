"""The worked examples of CONTRIBUTING.md run as they stand there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def examples():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    return dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", text, flags=re.DOTALL))


def commands():
    return re.findall(r"^tokbench run .*$", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.MULTILINE)


def test_there_are_two_examples_each_with_its_command():
    assert len(examples()) == 2
    assert len([line for line in commands() if ":" in line]) == 2


@pytest.mark.parametrize("command", [line for line in commands() if ":" in line] if (ROOT / "CONTRIBUTING.md").is_file() else [])
def test_examples_run_as_written(command, tmp_path):
    for name, code in examples().items():
        (tmp_path / name).write_text(code)
    words = command.split()[1:]
    done = subprocess.run(
        [sys.executable, "-m", "tokbench", *words, "--limit", "20", "--json", "--out", "out"],
        cwd=tmp_path,
        env=os.environ | {"TOKBENCH_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(done.stdout)
    for name in words[words.index("--metrics") + 1].split(",") if "--metrics" in words else ():
        key = name if ":" not in name else "contrast_loss"
        assert "value" in record["metrics"][key], record["metrics"]
