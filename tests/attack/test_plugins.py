"""Plug-ins that break their word in ways that a careless author finds, between two that keep it: named in one line, and nothing half-written."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MODULE = '''
import sys
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from tokbench import ContinuousTokens, DiscreteTokens, TokenLayout, Tokenizer


@dataclass(frozen=True)
class Config:
    levels: int = 16


class Good(Tokenizer):
    Config = Config
    trained_with = ()
    stride = 8

    def __init__(self, config):
        super().__init__()
        self.config = config

    def layout(self, height, width):
        return TokenLayout((height, width), (height // 8, width // 8), (16, 16, 16))

    def numbers(self, images):
        return ((F.avg_pool2d(images, 8).flatten(2).transpose(1, 2) + 1) / 2 * 15).round().long().contiguous()

    def _encode(self, images, seeds):
        return DiscreteTokens(self.numbers(images), (images.shape[2] // 8, images.shape[3] // 8), (16, 16, 16))

    def _decode(self, tokens, seeds):
        blocks = (tokens.codes.float() / 15 * 2 - 1).transpose(1, 2).unflatten(2, tokens.grid)
        return F.interpolate(blocks, scale_factor=8, mode="nearest")


class Forged(DiscreteTokens):
    """Tokens whose checks are switched off."""

    def __post_init__(self):
        pass


def loop(n=0):
    return loop(n + 1)


class Quiet(BaseException):
    def __str__(self):
        raise SystemExit(3)
'''

ENCODE = {
    "nothing": "return None",
    "a_list": "return [1, 2, 3]",
    "an_array": "return self.numbers(images).numpy()",
    "a_bare_tensor": "return self.numbers(images)",
    "floats": "return Forged(self.numbers(images).float(), (2, 2), (16, 16, 16))",
    "narrow_integers": "return Forged(self.numbers(images).to(torch.int32), (2, 2), (16, 16, 16))",
    "negative": "return Forged(self.numbers(images) - 5, (2, 2), (16, 16, 16))",
    "too_large": "return Forged(self.numbers(images) + 16, (2, 2), (16, 16, 16))",
    "far_too_large": "return Forged(self.numbers(images) + 2**62, (2, 2), (16, 16, 16))",
    "one_of_many": "return Forged(self.numbers(images)[:1], (2, 2), (16, 16, 16))",
    "twice_as_many": "return Forged(self.numbers(images).repeat(2, 1, 1), (2, 2), (16, 16, 16))",
    "another_grid": "return Forged(self.numbers(images), (4, 1), (16, 16, 16))",
    "other_books": "return Forged(self.numbers(images), (2, 2), (16, 16, 32))",
    "no_positions": "return Forged(self.numbers(images)[:, :0], (2, 2), (16, 16, 16))",
    "latents_instead": "return ContinuousTokens(F.avg_pool2d(images, 8).flatten(2).transpose(1, 2).contiguous(), (2, 2))",
    "a_long_error": "raise ValueError('\\x1b[31mred\\n' + 'x' * 100000)",
    "an_exit": "sys.exit(0)",
    "an_exit_with_words": "sys.exit('bye')",
    "a_quiet_exception": "raise Quiet",
    "endless_recursion": "return loop()",
    "a_key_error": "return {}['codes']",
    "stop_iteration": "return next(iter(()))",
}
DECODE = {
    "no_pixels": "return None",
    "pixels_in_a_list": "return [0.0]",
    "bytes": "return Good._decode(self, tokens, seeds).mul(127).add(128).to(torch.uint8)",
    "double_precision": "return Good._decode(self, tokens, seeds).double()",
    "another_size": "return Good._decode(self, tokens, seeds)[..., :-1]",
    "one_channel": "return Good._decode(self, tokens, seeds)[:, :1]",
    "not_a_number": "return Good._decode(self, tokens, seeds) * float('nan')",
    "infinite": "return Good._decode(self, tokens, seeds) / 0",
    "one_picture": "return Good._decode(self, tokens, seeds)[:1]",
    "elsewhere": "return Good._decode(self, tokens, seeds).to('meta')",
}
CLASS = {
    "no_layout": "def layout(self, height, width):\n        return None",
    "layout_fails": "def layout(self, height, width):\n        raise RuntimeError('\\x07 no layout')",
    "made_in_vain": "def __init__(self, config):\n        raise SystemExit(7)",
}
KINDS = (*ENCODE, *DECODE, *CLASS)


def _source() -> str:
    parts = [MODULE]
    parts += [f"class {kind}(Good):\n    def _encode(self, images, seeds):\n        {body}\n" for kind, body in ENCODE.items()]
    parts += [f"class {kind}(Good):\n    def _decode(self, tokens, seeds):\n        {body}\n" for kind, body in DECODE.items()]
    parts += [f"class {kind}(Good):\n    {body}\n" for kind, body in CLASS.items()]
    return "\n\n".join(parts)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "careless.py").write_text(_source())
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "careless"
    sys.modules.pop("careless", None)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(5):
        draw = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(draw).save(folder / f"{number}.png")
    return folder


@pytest.mark.filterwarnings("ignore")
def test_careless_plugins_are_named_and_the_others_measured(trial: Callable, module: str, pictures: Path) -> None:
    attack = trial("plugins")
    common = ("--data", pictures, "--size", 16)
    good = f"{module}:Good"
    for number, _ in attack:
        kind = KINDS[number]
        bad = f"{module}:{kind}"
        with attack.case(f"run {kind}"):
            status, text = attack.command("run", "-t", good, "-t", bad, "-t", "patch", *common, "--metrics", "psnr", "--out", kind)
            assert status == 1, f"status {status}: {text[-300:]}"
            lines = [line for line in text.splitlines() if kind in line and "record" not in line]
            assert len(lines) == 1, f"{len(lines)} lines name it: {text[-500:]!r}"
            assert lines[0].isprintable(), lines[0]
            assert len(lines[0]) < 1000, "a long line"
            assert len(list(Path(kind).glob("*.json"))) == len(list(Path(kind).glob("*.parquet"))) == 2
        if kind in DECODE:
            continue
        out = attack.inside / f"{kind} export"
        with attack.case(f"export {kind}"):
            status, text = attack.command("export", "-t", bad, *common, "--out", out)
            assert status in (1, 2), f"status {status}"
            assert kind in text, text[-300:]
            assert not [path for path in out.glob("*") if not path.name.startswith(".")], "left behind"
    attack.finish()


def test_there_are_as_many_plugins_as_counted(counts: dict[str, int]) -> None:
    assert len(KINDS) == counts["plugins"]


def test_the_one_that_keeps_its_word_is_measured(trial: Callable, module: str, pictures: Path) -> None:
    """An attack on a command that refuses everything would show nothing."""
    attack = trial("plugins")
    status, text = attack.command("run", "-t", f"{module}:Good", "--data", pictures, "--size", 16, "--metrics", "psnr", "--out", "good")
    assert status == 0, text
