"""docs/lm.md: its blocks run in order, in one folder and one session, with a model of random weights."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tokbench.lm.model import LanguageModel

PAGE = Path(__file__).parents[2] / "docs" / "lm.md"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def test_the_page_runs_as_written(tokbench_cli: Callable[..., tuple[int, str, str]], tiny: LanguageModel, tmp_path: Path) -> None:
    tiny.save(tmp_path / "model")
    (tmp_path / "prompts.txt").write_text("a red circle\na blue square\n")
    for number, name in enumerate(("scene.png", "style.png")):
        Image.fromarray(np.random.default_rng(number).integers(256, size=(16, 16, 3), dtype=np.uint8)).save(tmp_path / name)
    session: dict[str, Any] = {}
    for number, (language, text) in enumerate(BLOCKS):
        if language == "python":
            exec(compile(text, f"docs/lm.md, block {number}", "exec"), session)
            continue
        for line in text.splitlines():
            name, *arguments = shlex.split(line, comments=True)
            assert name == "tokbench"
            status, _, log = tokbench_cli(*arguments)
            assert status == 0, f"{line}: {log}"
    assert {path.name for path in tmp_path.glob("*.png")} >= {"grid.png", "rows.png", "edited.png", "styled.png", "completed.png"}
