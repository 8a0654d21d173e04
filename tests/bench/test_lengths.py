"""Quality over length: sequences that decode from their first tokens, kept short in Python and by --lengths."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

import tokbench
from tokbench import DiscreteTokens, Tokenizer, TokenLayout
from tokbench.bench.identity import identity_of
from tokbench.cli import app
from tokbench.conduct import layout_of
from tokbench.errors import TokbenchError
from tokbench.records.store import find_records
from tokbench.report.page.commands import run_command

SIDES = (1, 2, 4, 8)


@dataclass(frozen=True)
class Config:
    """Nothing to set."""

    stride: int = 8

    def layout(self, height: int, width: int) -> TokenLayout:
        if (height, width) != (64, 64):
            raise TokbenchError("64 px only")
        return TokenLayout.multi_scale(self.stride, SIDES, codebook_sizes=(256,) * 3)


class Pyramid(Tokenizer):
    """Mean colours of 1, 4, 16 and 64 squares; the last ones there are what is decoded."""

    Config = Config
    trained_with = ()

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def _encode(self, images: Tensor, seeds: list[int]) -> DiscreteTokens:
        means = [torch.nn.functional.adaptive_avg_pool2d(images, side).flatten(2).transpose(1, 2) for side in SIDES]
        codes = ((torch.cat(means, dim=1) + 1) / 2 * 255).round().long()
        return DiscreteTokens(codes, (85,), (256,) * 3)

    def _decode(self, tokens: DiscreteTokens, seeds: list[int]) -> Tensor:
        side = SIDES[self.layout(64, 64).lengths.index(tokens.grid[0])]
        colours = (tokens.codes[:, -(side**2) :].float() / 127.5 - 1).transpose(1, 2).unflatten(2, (side, side))
        return torch.nn.functional.interpolate(colours, size=(64, 64))

    def _image_size(self, grid: tuple[int, ...]) -> tuple[int, int]:
        return 64, 64


SPEC = f"{__name__}:Pyramid"


@pytest.fixture
def pyramid() -> Pyramid:
    return Pyramid(Config())


def test_encode_keeps_what_it_is_told_to(pyramid: Pyramid) -> None:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    kept = pyramid.keeping(21)
    tokens = kept.encode(images)
    assert isinstance(tokens, DiscreteTokens)
    assert torch.equal(tokens.codes, pyramid.encode(images).codes[:, :21])  # type: ignore[union-attr]
    assert torch.equal(kept.decode(tokens), pyramid.decode(tokens))
    assert layout_of(kept, 64, 64) == pyramid.layout(64, 64).prefix(21)
    assert (pyramid.kept_length, pyramid.encode(images).grid) == (None, (85,))


def test_weights_are_shared_and_a_record_says_what_was_kept() -> None:
    model = tokbench.load("vqvae/tiny")
    kept = model.keeping(64)
    assert type(kept) is type(model)
    assert all(own is other for own, other in zip(model.parameters(), kept.parameters(), strict=True))
    assert (identity_of(kept).config["kept_length"], identity_of(kept).settings) == (64, {"kept_length": "64"})
    assert "kept_length" not in identity_of(model).config


@pytest.mark.parametrize("length", [3, 86])
def test_lengths_that_decode_nothing_are_refused(pyramid: Pyramid, length: int) -> None:
    with pytest.raises(TokbenchError, match=f"an image is decoded from 1, 5, 21, 85 positions, got {length}"):
        pyramid.keeping(length).encode(torch.zeros(1, 3, 64, 64))


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["run", *words])
    return result.exit_code, f"{result.output} {result.exception or ''}"


def test_a_curve_is_a_record_for_every_length(tmp_path: Path) -> None:
    code, text = run("-t", SPEC, "--lengths", "1,5,85", "--limit", "8", "--metrics", "psnr,usage", "--out", str(tmp_path))
    assert code == 0, text
    records = sorted((record for _, record in find_records([tmp_path])), key=lambda record: record.tokens.positions or 0)
    assert [record.tokens.positions for record in records] == [1, 5, 85]
    assert [record.tokens.bits_per_image for record in records] == [24, 120, 85 * 24]
    quality = [record.metrics["psnr"].value for record in records]
    assert quality == sorted(quality)
    assert quality[2] > quality[0] + 3
    assert [record.tokenizer.settings for record in records] == [{"kept_length": str(length)} for length in (1, 5, 85)]
    assert "--lengths 5" in run_command(records[1])
    assert len(list(tmp_path.glob("*kept_length=5*.json"))) == 1
    pictured = json.loads(next(tmp_path.glob("*kept_length=1_*.json")).read_text())
    assert pictured["tokens"]["grid"] == [1]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("-t", SPEC, "--lengths", "1,2"), "Pyramid: an image is decoded from 1, 5, 21, 85 positions, got 2"),
        (("-t", "vqvae/tiny", "--lengths", "16"), "decoded from all 256 positions of its tokens, which have no shorter form"),
        (("-t", "anchor/webp-320", "--lengths", "16"), "is a codec, without tokens to keep --lengths of"),
        (("-t", SPEC, "--lengths", "short"), "--lengths takes whole numbers from 1"),
    ],
)
def test_what_has_no_such_length_is_refused_before_anything_is_measured(tmp_path: Path, words: tuple[str, ...], problem: str) -> None:
    code, text = run(*words, "--limit", "4", "--out", str(tmp_path / "runs"))
    assert code != 0
    assert problem in text
    assert not (tmp_path / "runs").exists()
