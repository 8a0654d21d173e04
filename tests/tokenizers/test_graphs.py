"""Encode and decode as exported graphs, the way to other runtimes: the same tokens and images as without."""

from __future__ import annotations

import pytest
import torch

import tokbench
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import ContinuousTokens, DiscreteTokens, Tokens


class Encode(torch.nn.Module):
    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    def forward(self, images: torch.Tensor) -> Tokens:
        return self.tokenizer.encode(images, seeds=[0])


class Decode(torch.nn.Module):
    """A graph has tensors for inputs; the grid is its own."""

    def __init__(self, tokenizer: Tokenizer, like: Tokens) -> None:
        super().__init__()
        self.tokenizer, self.like = tokenizer, like

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        like = self.like
        if isinstance(like, DiscreteTokens):
            return self.tokenizer.decode(DiscreteTokens(given, like.grid, like.codebook_sizes))
        return self.tokenizer.decode(ContinuousTokens(given, like.grid))


def values(tokens: Tokens) -> torch.Tensor:
    return tokens.codes if isinstance(tokens, DiscreteTokens) else tokens.latents


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["vqgan", "vae", "vqvae", "pixel/palette-512", "pixel/rgb", "patch"])
def test_encode_and_decode_export(name: str) -> None:
    tokenizer = tokbench.load(name)
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    tokens, encoded = tokenizer.encode(images), torch.export.export(Encode(tokenizer).eval(), (images,)).module()(images)
    assert type(encoded) is type(tokens)
    assert encoded.grid == tokens.grid
    if isinstance(tokens, ContinuousTokens):
        torch.testing.assert_close(encoded.latents, tokens.latents, atol=1e-5, rtol=1e-5)
    else:
        assert torch.equal(values(encoded), values(tokens))
    decoded = torch.export.export(Decode(tokenizer, tokens).eval(), (values(tokens),)).module()(values(tokens))
    torch.testing.assert_close(decoded, tokenizer.decode(tokens), atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.filterwarnings("ignore")
def test_a_training_pass_exports() -> None:
    tokenizer = tokbench.load("vqgan")
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        out = torch.export.export(tokenizer, (images,)).module()(images)
    torch.testing.assert_close(out.images, tokenizer(images).images, atol=1e-5, rtol=1e-5)
