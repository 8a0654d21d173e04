"""TAESD as its author publishes it: one file a half, and SANA's, which goes through more sizes in the decoder than in the encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from safetensors.torch import save_file
from torch import Tensor

import tokbench
from tokbench.errors import TokbenchError
from tokbench.tokenizers import zoo
from tokbench.tokenizers.taesd.config import TAESDConfig
from tokbench.tokenizers.taesd.model import TAESD

SANA = zoo.resolve("taesd/sana")[1].config
Halves = tuple[dict[str, Tensor], dict[str, Tensor]]


def halves(config: object) -> Halves:
    """Weights of both halves in the names of madebyollin/taesd, which counts the clamping before the decoder as a layer."""
    assert isinstance(config, TAESDConfig)
    torch.manual_seed(0)
    found: Halves = ({}, {})
    for key, value in TAESD(config).state_dict().items():
        half, _, number, *rest = key.split(".")
        found[half == "decoder"][".".join([str(int(number) + (half == "decoder")), *rest])] = value + 0.02 * torch.randn(value.shape)
    return found


def block(state: dict[str, Tensor], number: int, x: Tensor) -> Tensor:
    """Three convolutions around the identity."""
    y = x
    for place in (0, 2, 4):
        y = conv(state, f"{number}.conv.{place}", y)
        y = y.relu() if place < 4 else y
    return (x + y).relu()


def conv(state: dict[str, Tensor], name: str, x: Tensor, stride: int = 1) -> Tensor:
    return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), stride, 1)


def of_sana(both: Halves, images: Tensor) -> tuple[Tensor, Tensor]:
    """Latents and images, layer by layer as the published code runs them, of images in [0, 1]."""
    down, up = both
    x = conv(down, "2", conv(down, "0", images, 2).relu(), 2).relu()
    x = block(down, 4, x)
    for first in (5, 9, 13):
        x = conv(down, str(first), x, 2)
        for number in range(first + 1, first + 4):
            x = block(down, number, x)
    latents = conv(down, "17", x)
    x = conv(up, "1", torch.tanh(latents / 3) * 3).relu()
    for first in (3, 8, 13, 18, 23):
        for number in range(first, first + 3):
            x = block(up, number, x)
        x = conv(up, str(first + 4), F.interpolate(x, scale_factor=2.0))
    return latents, conv(up, "29", block(up, 28, x))


@pytest.mark.parametrize("given", ["folder", "taesana_encoder.pth", "taesana_decoder.pth"])
@torch.no_grad()
def test_sana_from_its_two_files(given: str, tmp_path: Path) -> None:
    both = halves(SANA)
    for state, half in zip(both, ("encoder", "decoder"), strict=True):
        torch.save(state, tmp_path / f"taesana_{half}.pth")
    model = tokbench.load("taesd/sana", weights=tmp_path if given == "folder" else tmp_path / given)
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    latents, decoded = of_sana(both, images)
    tokens = model.encode(images * 2 - 1)
    assert tokens.grid == (2, 3)
    torch.testing.assert_close(tokens.latents, rearrange(latents, "b c h w -> b (h w) c"), atol=1e-5, rtol=0)  # type: ignore[union-attr]
    torch.testing.assert_close(model.decode(tokens), decoded * 2 - 1, atol=1e-4, rtol=0)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_pairs_of_the_others(suffix: str, tmp_path: Path) -> None:
    both = halves(zoo.resolve("taesd/sd")[1].config)
    for name in ("taesd", "taesdxl"):
        for state, half in zip(both, ("encoder", "decoder"), strict=True):
            place, moved = tmp_path / f"{name}_{half}{suffix}", {key: value + (name == "taesdxl") for key, value in state.items()}
            save_file(moved, place) if suffix == ".safetensors" else torch.save(moved, place)
    with pytest.raises(
        TokbenchError, match=rf"holds several pairs .*: taesd_encoder\{suffix}, taesdxl_encoder\{suffix}; give one of these files"
    ):
        tokbench.load("taesd/sd", weights=tmp_path)
    model = tokbench.load("taesd/sd", weights=tmp_path / f"taesd_encoder{suffix}")
    assert torch.equal(model.state_dict()["decoder.layers.0.weight"], both[1]["1.weight"])
    assert torch.equal(model.state_dict()["encoder.layers.0.weight"], both[0]["0.weight"])
    (tmp_path / f"taesd_decoder{suffix}").unlink()
    with pytest.raises(TokbenchError, match="does not fit TAESD"):
        tokbench.load("taesd/sd", weights=tmp_path / f"taesd_encoder{suffix}")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"stem": (32,)}, "stem ends with the channels of the first level, 64"),
        ({"stem": (64,)}, "one number for each of the 5 sizes"),
        ({"up_widths": (64, 64)}, "one number for each of the 4 sizes"),
        ({"up_blocks": (1, 0, 1, 1)}, "must be positive"),
    ],
)
def test_decoders_that_do_not_make_images_of_their_size(change: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        replace(TAESDConfig(), **change)
