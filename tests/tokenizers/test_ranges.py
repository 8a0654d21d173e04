"""Images in [0, 1] are a common mistake, and bright ones are none."""

from __future__ import annotations

import logging

import pytest
import torch

import tokbench
from tokbench.images import to_float
from tokbench.tokenizers import base
from tokbench.tokenizers.base import Tokenizer


@pytest.fixture
def palette() -> Tokenizer:
    """One that is cheap to ask, and that nothing was said of yet."""
    base._warn_of_range.cache_clear()
    return tokbench.load("pixel/palette-512")


def photo() -> torch.Tensor:
    return torch.randint(256, (1, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_images_in_zero_to_one_are_warned_of_once(palette: Tokenizer, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        palette.encode(photo() / 255)
    (line,) = caplog.messages
    assert line.startswith("pixel/palette-512 was given images all in [0, 1]; it takes [-1, 1], as tokbench.to_float makes of bytes")
    assert caplog.records[0].levelno == logging.WARNING


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_bright_images_and_those_of_both_signs_are_not(dtype: torch.dtype, palette: Tokenizer, caplog: pytest.LogCaptureFixture) -> None:
    bright, white = photo() // 2 + 128, torch.full((1, 3, 16, 16), 255, dtype=torch.uint8)
    for images in (to_float(bright), to_float(white), to_float(photo()), photo() / 127.5 - 1, to_float(bright) + 0.5):
        palette.to(dtype).encode(images.to(dtype))
    assert not caplog.messages


def test_a_tokenizer_without_vectors_says_so() -> None:
    tokenizer = tokbench.load("pixel/rgb")
    tokens = tokenizer.encode(to_float(photo()))
    torch.testing.assert_close(tokenizer.embed(tokens)[0, :, 0].view(16, 16), to_float(photo())[0, 0])

    class Plain(type(tokenizer)):  # type: ignore[misc]
        _embed = Tokenizer._embed

    with pytest.raises(tokbench.TokbenchError, match=r"^Plain has no code vectors; its class gives some by writing _embed\(codes\)$"):
        Plain(tokenizer.config).embed(tokens)
