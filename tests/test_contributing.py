"""The worked examples of CONTRIBUTING.md run as they stand there."""

import json
import re
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
def test_examples_run_as_written(command, tokbench_cli, tmp_path):
    for name, code in examples().items():
        (tmp_path / name).write_text(code)
    words = command.split()[1:]
    status, printed, log = tokbench_cli(*words, "--limit", "20", "--json", "--out", "out")
    assert status == 0, log
    (record,) = json.loads(printed)
    for name in words[words.index("--metrics") + 1].split(",") if "--metrics" in words else ():
        key = name if ":" not in name else "contrast_loss"
        assert "value" in record["metrics"][key], record["metrics"]
