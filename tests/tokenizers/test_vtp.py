"""VTP against outputs of its own code under random weights, and at its published sizes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file, save_file

import tokbench
from tokbench.errors import TokbenchError
from tokbench.layout import TokenLayout
from tokbench.nn.configs import ViTConfig
from tokbench.plugins import import_class
from tokbench.tokenizers import zoo
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.vtp.config import VTPConfig
from tokbench.tokenizers.vtp.model import turning
from tokbench.tokens import ContinuousTokens

GOLDEN = Path(__file__).parents[1] / "goldens" / "vtp"
SMALL = VTPConfig(ViTConfig(32, 1, 2, patch_size=4), ViTConfig(32, 1, 2, patch_size=4), channels=6)
SIZES = {"s": (384, 12), "b": (768, 12), "l": (1024, 24)}
TEXT = (
    "text_transformer.resblocks.0.ln_1.weight",
    "token_embedding.weight",
    "ln_final.bias",
    "text_projection.weight",
    "visual_proj.weight",
)


def loaded(weights: Path = GOLDEN / "state_dict.safetensors") -> Tokenizer:
    """The golden's settings, as a user would set them."""
    settings = json.loads((GOLDEN / "config.json").read_text())
    fields = {f"{side}.{key}": value for side in ("encoder", "decoder") for key, value in settings[side].items()}
    fields |= {f"{side}.patch_size": settings["patch_size"] for side in ("encoder", "decoder")} | {"channels": settings["channels"]}
    return tokbench.load("vtp/b", weights=weights, config=fields)


@torch.no_grad()
def test_golden() -> None:
    model, io = loaded(), load_file(GOLDEN / "io.safetensors")
    tokens = model.encode(2 * io["image"] - 1)
    assert isinstance(tokens, ContinuousTokens)
    assert tokens.grid == (6, 4)
    torch.testing.assert_close(rearrange(tokens.latents, "b (h w) c -> b c h w", h=6), io["latents"], atol=2e-5, rtol=0)
    latents = ContinuousTokens(rearrange(io["latents"], "b c h w -> b (h w) c").contiguous(), (6, 4))
    torch.testing.assert_close((model.decode(latents) + 1) / 2, io["recon"], atol=1e-4, rtol=0)


def test_the_text_side_is_left_out(tmp_path: Path) -> None:
    state = load_file(GOLDEN / "state_dict.safetensors")
    more = {name: torch.zeros(4) for name in (*TEXT, "positional_embedding", "logit_scale")}
    save_file(state | more, tmp_path / "model.safetensors")
    images = 2 * load_file(GOLDEN / "io.safetensors")["image"] - 1
    found, expected = (model.encode(images) for model in (loaded(tmp_path / "model.safetensors"), loaded()))
    assert isinstance(found, ContinuousTokens)
    assert isinstance(expected, ContinuousTokens)
    assert torch.equal(found.latents, expected.latents)


@pytest.mark.parametrize("name", SIZES)
def test_published_sizes(name: str) -> None:
    family, variant = zoo.resolve(f"vtp/{name}")
    with torch.device("meta"):
        model = import_class(family.model)(variant.config)
    width, depth = SIZES[name]
    hidden = -(-(8 * width // 3) // 8) * 8
    block = width * (4 * width + 3 * hidden) + 5 * width + 2 * hidden + 2 * width
    encoder = 769 * width + width + depth * block + width + 64 * width
    decoder = 65 * width + depth * (block + 2 * width) + 2 * width + 768 * (width + 1)
    assert sum(value.numel() for value in model.state_dict().values()) == encoder + decoder
    assert variant.config.layout(512, 256) == TokenLayout((512, 256), (32, 16), channels=64)
    assert variant.normalisation is not None
    assert len(variant.normalisation.mean) == len(variant.normalisation.std) == 64


def test_patches_are_turned_and_what_stands_before_them_is_not() -> None:
    x = torch.randn(1, 2, 1 + 6, 16, generator=torch.Generator().manual_seed(0)).bfloat16().float()
    turned = turning(3, 2, 16)(x)
    assert torch.equal(turned[:, :, 0], x[:, :, 0])
    torch.testing.assert_close(turned.square().sum(-1), x.square().sum(-1), atol=0, rtol=0.02)
    assert bool((turned[:, :, 1:] - x[:, :, 1:]).abs().amax(dim=-1).gt(0.05).all())


@pytest.mark.usefixtures("uncompared")
def test_what_does_not_fit(tmp_path: Path) -> None:
    assert SMALL.layout(30, 32).padding == (2, 0)
    state = load_file(GOLDEN / "state_dict.safetensors")
    save_file({key: value for key, value in state.items() if key != "pixel_decoder.proj_in.bias"}, tmp_path / "part.safetensors")
    with pytest.raises(TokbenchError, match=r"1 missing: decoder\.proj_in\.bias"):
        loaded(tmp_path / "part.safetensors")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"channels": 0}, "channels must be positive, got 0"),
        ({"decoder": ViTConfig(32, 1, 2, patch_size=8)}, "patch_size must be one, got 4 and 8"),
        ({"encoder": ViTConfig(36, 1, 2, patch_size=4)}, "a head must have a multiple of 4 channels, got 18"),
    ],
)
def test_impossible_settings_are_refused(changes: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        replace(SMALL, **changes)
