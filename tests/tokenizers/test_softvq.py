"""SoftVQ-VAE against outputs of continuous_tokenizer under random weights, and at its published sizes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tokbench
from tokbench.errors import TokbenchError
from tokbench.layout import TokenLayout
from tokbench.nn.configs import ViTConfig
from tokbench.plugins import import_class
from tokbench.tokenizers import zoo
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.normalisation import Normalisation
from tokbench.tokenizers.softvq.config import SoftVQConfig
from tokbench.tokenizers.softvq.model import SoftVQ
from tokbench.tokens import ContinuousTokens

GOLDEN = Path(__file__).parents[1] / "goldens" / "softvq"
SMALL = SoftVQConfig(ViTConfig(32, 1, 2, patch_size=8), ViTConfig(32, 1, 2, patch_size=8), length=4, channels=6, image_size=32)

FIELDS = {
    "length": "num_latent_tokens",
    "channels": "codebook_embed_dim",
    "codebook_size": "codebook_size",
    "codebooks": "num_codebooks",
    "temperature": "tau",
    "image_size": "image_size",
}
"""Our fields, and upstream's names for them."""


def loaded(weights: Path = GOLDEN / "state_dict.safetensors") -> Tokenizer:
    """The golden's settings, as a user would set them."""
    settings = json.loads((GOLDEN / "config.json").read_text())
    config, sides = settings["config"], settings["vit"]
    fields = {own: config[name] for own, name in FIELDS.items()}
    for side, patch in (("encoder", config["enc_patch_size"]), ("decoder", config["dec_patch_size"])):
        fields |= {f"{side}.width": sides["embed_dim"], f"{side}.depth": sides["depth"], f"{side}.heads": sides["num_heads"]}
        fields[f"{side}.patch_size"] = patch
    return tokbench.load("softvq/l-64", weights=weights, config=fields)


@torch.no_grad()
def test_golden() -> None:
    model, io = loaded(), load_file(GOLDEN / "io.safetensors")
    assert isinstance(model, SoftVQ)
    torch.testing.assert_close(model.features(io["image"]), io["prequant"], atol=1e-5, rtol=0)
    tokens = model.encode(io["image"])
    assert isinstance(tokens, ContinuousTokens)
    assert tokens.grid == (8,)
    torch.testing.assert_close(tokens.latents, io["quant"], atol=1e-5, rtol=0)
    torch.testing.assert_close(model.decode(tokens), io["recon"], atol=1e-4, rtol=0)
    assert len(torch.unique(tokens.latents)) == tokens.latents.numel()  # mixtures, no codes


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("l-64", 608_136_992),
        ("bl-64", 390_546_976),
        ("b-64", 172_973_088),
        ("l-32", 609_152_832),
        ("bl-32", 391_571_008),
        ("b-32", 173_997_120),
        ("bl-64-512", 391_923_232),
        ("l-32-512", 610_725_696),
    ],
)
def test_published_sizes(name: str, parameters: int) -> None:
    """The paper has 173 million parameters for letter B, 391 for BL and 608 for L."""
    family, variant = zoo.resolve(f"softvq/{name}")
    with torch.device("meta"):
        model = import_class(family.model)(variant.config)
    assert sum(value.numel() for value in model.state_dict().values()) == parameters
    length, size = int(name.split("-")[1]), variant.image_size
    assert size == (512 if name.endswith("-512") else 256)
    assert variant.config.layout(size, size) == TokenLayout((size, size), (length,), channels=2048 // length)
    assert ("unverified" in variant.summary) == (name != "l-64")


def test_settings_beside_weights(tmp_path: Path) -> None:
    """Temperatures are refused unless set, and how latents are read is taken."""
    save_file(load_file(GOLDEN / "state_dict.safetensors"), tmp_path / "model.safetensors")
    settings = json.loads((GOLDEN / "config.json").read_text())["config"] | {"vq_mean": -0.5, "vq_std": 0.25}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert loaded(tmp_path).normalisation == Normalisation((-0.5,), (0.25,))
    assert loaded().normalisation == Normalisation((0.0009714666,), (0.07259091,))  # of the row
    (tmp_path / "config.json").write_text(json.dumps(settings | {"tau": 0.1}))
    with pytest.raises(
        TokbenchError, match=r"config\.json sets tau to 0\.1, here it is 0\.07; load it as softvq with --set temperature=0\.1"
    ):
        loaded(tmp_path)


def test_files_of_training_hold_more(tmp_path: Path) -> None:
    state = load_file(GOLDEN / "state_dict.safetensors")
    more = {"repa_model.cls_token": torch.zeros(1, 1, 4), "projection.0.weight": torch.zeros(4, 6)}
    save_file(state | more, tmp_path / "model.safetensors")
    images = load_file(GOLDEN / "io.safetensors")["image"]
    found, expected = (model.encode(images) for model in (loaded(tmp_path / "model.safetensors"), loaded()))
    assert isinstance(found, ContinuousTokens)
    assert isinstance(expected, ContinuousTokens)
    assert torch.equal(found.latents, expected.latents)


@pytest.mark.usefixtures("uncompared")
def test_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(TokbenchError, match=r"image size 64x32 does not fit: this SoftVQ-VAE takes 32x32 \(--size 32\)"):
        SMALL.layout(64, 32)
    state = load_file(GOLDEN / "state_dict.safetensors")
    save_file({key: value for key, value in state.items() if key != "quant_conv.bias"}, tmp_path / "part.safetensors")
    with pytest.raises(TokbenchError, match=r"1 missing: quant_conv\.bias"):
        loaded(tmp_path / "part.safetensors")
    model = SoftVQ(SMALL).eval()
    tokens = model.encode(torch.zeros(1, 3, 32, 32))
    assert isinstance(tokens, ContinuousTokens)
    with pytest.raises(ValueError, match=r"takes a sequence of 4 tokens, got a grid \(3,\)"):
        model.decode(ContinuousTokens(tokens.latents[:, :3], (3,)))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"length": 0}, "must be positive"),
        ({"temperature": 0.0}, "must be positive"),
        ({"temperature": float("nan")}, "must be positive"),
        ({"codebooks": 3}, "3 codebooks do not share 4 tokens"),
        ({"image_size": 36}, "multiple of the patch size 8, got 36"),
    ],
)
def test_impossible_settings_are_refused(changes: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        replace(SMALL, **changes)
