"""Tokenizers cast to another number format, and networks whose values are not finite."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import tokbench
from tokbench.errors import TokbenchError
from tokbench.plugins import import_class
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import ContinuousTokens

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
NAMES = ("vae", "vqvae", "vqgan", "flowmo", "pixel/palette-512", "pixel/rgb", "patch")


def images(side: int = 64) -> torch.Tensor:
    smooth = torch.nn.functional.interpolate(torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0)), side, mode="bilinear")
    return smooth * 2 - 1


def side_of(name: str) -> int:
    """Pixels that are enough: one size for a transformer, and few for convolutions, which are slow in half precision."""
    return 64 if name == "flowmo" else 32


def loaded(name: str) -> Tokenizer:
    """With fewer steps of decoding, where there are such."""
    return tokbench.load(name, config={"steps": 5} if name == "flowmo" else None)


def round_trip(tokenizer: Tokenizer, pixels: torch.Tensor) -> torch.Tensor:
    dtype = pixels.dtype
    tokens = tokenizer.encode(pixels, seeds=[0, 1])
    if isinstance(tokens, ContinuousTokens):
        assert tokens.latents.dtype == dtype
    decoded = tokenizer.decode(tokens, seeds=[0, 1])
    assert decoded.dtype == dtype or not list(tokenizer.buffers())  # without weights there is nothing to cast
    return decoded.float()


@pytest.mark.parametrize("name", NAMES)
def test_every_format_decodes_what_it_encoded(name: str) -> None:
    pixels = images(side_of(name))
    expected = round_trip(loaded(name), pixels)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        found = round_trip(loaded(name).to(dtype), pixels.to(dtype))
        assert float((found - expected).abs().mean()) < 0.05, dtype


@pytest.mark.parametrize("name", NAMES)
def test_autocast_decodes_what_it_encoded(name: str) -> None:
    tokenizer, pixels = loaded(name), images(side_of(name))
    expected = round_trip(tokenizer, pixels)
    with torch.autocast("cpu", torch.bfloat16):
        decoded = tokenizer.decode(tokenizer.encode(pixels, seeds=[0, 1]), seeds=[0, 1])
    assert float((decoded.float() - expected).abs().mean()) < 0.05


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["vae", "vqvae", "flowmo"])
def test_every_format_trains(name: str, dtype: torch.dtype) -> None:
    model: Any = tokbench.load(name).to(dtype).train()
    side = 64 if name == "flowmo" else 16  # convolutions in half precision are slow
    pixels = images()[:, :, :side, :side].to(dtype)
    if name == "vae":
        out = model(pixels, torch.randn(2, model.config.embed_dim, *model.layout(side, side).grid))
        loss = (out.images - pixels).square().mean() + 1e-6 * out.posterior.kl().mean()
    elif name == "vqvae":
        out = model(pixels)
        loss = (out.images - pixels).square().mean() + out.quantized.losses["codebook"]
    else:
        out = model(pixels)
        loss = model.velocity(pixels, model.context(out.vectors), torch.tensor([0.3, 0.8])).square().mean() + out.losses["commitment"]
    loss.backward()
    grads = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert len(grads) > 20
    assert all(bool(grad.isfinite().all()) for grad in grads)


@pytest.mark.parametrize("name", ["llamagen/vq-16", "emu3/vision", "vqgan/gumbel-f8", "vae/kl-f8"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_published_networks_take_every_format(name: str, dtype: torch.dtype) -> None:
    from tokbench.configs import flat, plain, with_overrides
    from tokbench.tokenizers.zoo import resolve

    family, variant = resolve(name)
    small = {key: 32 for key in flat(plain(variant.config)) if key.rpartition(".")[2] in ("channels", "base_channels")}
    torch.manual_seed(0)
    tokenizer = import_class(family.model)(with_overrides(variant.config, small)).to(dtype).eval()
    decoded = tokenizer.decode(tokenizer.encode(images(32).to(dtype), seeds=[0, 1]), seeds=[0, 1])
    assert decoded.dtype == dtype
    assert decoded.shape == (2, 3, 32, 32)


@pytest.mark.parametrize("name", ["vae", "vqvae", "vqgan", "flowmo"])
def test_activations_that_overflow_are_named(name: str) -> None:
    tokenizer = tokbench.load(name).half()
    with torch.no_grad():
        next(tokenizer.parameters()).mul_(1e6)
    with pytest.raises(TokbenchError, match=r"(features|latents) in float\d\d are NaN or infinite; the network needs another precision"):
        tokenizer.encode(images().half(), seeds=[0, 1])
