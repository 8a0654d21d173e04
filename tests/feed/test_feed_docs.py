"""docs/feed.md: every block of it runs, in order, in one folder and one session; and the names it imports are what they seem."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tokbench import cli

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "feed.md"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL) if PAGE.is_file() else []


def write_tokenizer(path: Path) -> None:
    """A byte-level tokenizer.json with one special token, in place of a language model's own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>"])
    tokenizer.save(str(path))


def run_shared(in_processes: Callable[..., list[int]], arguments: Sequence[str]) -> None:
    """Do what torchrun would be told to do, without a new interpreter for each process."""
    option, count, *module = arguments[:4]
    assert (option, module) == ("--nproc-per-node", ["-m", "tokbench"])

    def work(rank: int) -> None:
        sys.argv = ["tokbench", *arguments[4:]]
        cli.main()

    assert in_processes(int(count), work) == [0] * int(count)


def test_the_page_runs_as_written(tokbench_cli, in_processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("datasets", "tokenizers", "transformers"):
        pytest.importorskip(package)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache" / "datasets")
    write_tokenizer(tmp_path / "tokenizer.json")
    session: dict[str, Any] = {}
    for number, (language, text) in enumerate(BLOCKS):
        if language == "python":
            if any(find_spec(package) is None for package in re.findall(r"^from (datatrove|litdata)\b", text, flags=re.MULTILINE)):
                continue
            exec(compile(text, f"docs/feed.md, block {number}", "exec"), session)
            continue
        for line in text.splitlines():
            command = line.partition(" #")[0]
            name, *arguments = shlex.split(command)
            if name == "torchrun":
                run_shared(in_processes, arguments)
            else:
                assert name == "tokbench"
                status, _, log = tokbench_cli(*arguments)
                assert status == 0, f"{command}: {log}"
    assert {language for language, _ in BLOCKS} == {"python", ""}
    assert sorted(path.name for path in (tmp_path / "shards").glob("*.parquet")) == [f"tokens-{i:05d}-of-00004.parquet" for i in range(4)]
    assert json.loads((tmp_path / "vocabulary.json").read_text())["text"]["kind"] == "file"


def test_links_of_the_page_are_there_and_the_readme_links_to_it() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE.read_text(encoding="utf-8")):
        assert "://" in target or (PAGE.parent / target).exists(), target
    assert "(docs/feed.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_public_names_are_no_modules_whatever_was_imported_before() -> None:
    import tokbench.feed.fitting
    import tokbench.feed.label_rules
    import tokbench.feed.loss
    import tokbench.feed.parsing
    import tokbench.feed.probe

    for module in (tokbench.feed, tokbench.feed.probe):
        assert set(module.__all__) == set(dir(module))
        for name in module.__all__:
            assert not isinstance(getattr(module, name), ModuleType), name
    for name in ("parse", "fit", "labels"):
        assert callable(getattr(tokbench.feed, name))


def test_importing_the_feed_is_light() -> None:
    code = "import sys, tokbench.feed, tokbench.feed.probe, tokbench.feed.probe.options; assert not {'torch', 'numpy'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_probe_needs_no_metric() -> None:
    code = "import sys, tokbench.feed.probe.run, tokbench.feed.compare; assert 'torchmetrics' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
