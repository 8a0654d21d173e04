"""docs/lm.md: its blocks run in order, in one folder and one session, with a model of random weights."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tokbench.lm.image_model import ImageModel

SMALL = ["--steps", "1", "--batch-size", "2", "--set", "warmup=1", "--set", "images=6", "--set", "edits=2"]
FEWER: dict[str, list[str]] = {
    "pretrain": [*SMALL, "--size", "32", "--set", "network.layers=1", "--set", "network.hidden_size=24", "--set", "network.heads=2"],
    "quality": [*SMALL, "--set", "keep.score=0", "--set", "keep.psnr=0"],
    "dpo": [*SMALL, "--set", "preferences.prompts=2", "--set", "preferences.samples=2"],
}
"""What makes the stages of the page short."""

JUDGE = "def beauty(words, pixels):\n    return float(pixels[..., 0].mean())\n"

PAGE = Path(__file__).parents[2] / "docs" / "lm.md"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def test_the_page_runs_as_written(tokbench_cli: Callable[..., tuple[int, str, str]], artist: ImageModel, tmp_path: Path) -> None:
    artist.model.save(tmp_path / "model")
    (tmp_path / "prompts.txt").write_text("a red circle\na blue square\n")
    for number, name in enumerate(("worse.png", "better.png")):
        Image.fromarray(np.full((32, 32, 3), 200 * number, dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "a red circle", "chosen": "better.png", "rejected": "worse.png"}\n')
    (tmp_path / "my_judges.py").write_text(JUDGE)
    for number in range(4):
        (tmp_path / "pets" / ("cat", "dog")[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 36), (60 * number, 90, 30)).save(tmp_path / "pets" / ("cat", "dog")[number % 2] / f"{number}.png")
    session: dict[str, Any] = {}
    for number, (language, text) in enumerate(BLOCKS):
        if language == "python":
            exec(compile(text, f"docs/lm.md, block {number}", "exec"), session)
            continue
        if language in ("json", "bash"):  # forms of files, and more processes than one
            continue
        for line in text.splitlines():
            name, *arguments = shlex.split(line, comments=True)
            assert name == "tokbench"
            if arguments[:2] == ["lm", "train"]:
                stage = arguments[2] if len(arguments) > 2 else ""
                # What has learned for two steps draws nothing that the reader of scenes could tell apart.
                judged = (
                    ["--reward", "my_judges:beauty"] if stage == "dpo" and "--data" in arguments and "--reward" not in arguments else []
                )
                arguments += [*FEWER.get(stage, []), *judged]
            arguments = [{"500": "3", "300": "3"}.get(word, word) for word in arguments]
            arguments += ["--training-scenes", "2"] if arguments[1] == "evaluate" else []
            arguments += ["--prompts", "3"] if "photos/test" in arguments and "--prompts" not in arguments else []
            status, _, log = tokbench_cli(*arguments)
            assert status == 0, f"{line}: {log}"
    assert {path.name for path in tmp_path.glob("*.png")} >= {"grid.png", "rows.png", "edited.png", "styled.png", "completed.png"}
