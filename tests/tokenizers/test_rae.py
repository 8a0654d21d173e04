"""RAE against the library's own class under small random weights: three encoders, statistics of latents, and sizes that differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file, save_file

import tokbench
from tokbench.configs import with_overrides
from tokbench.errors import TokbenchError
from tokbench.layout import TokenLayout
from tokbench.plugins import import_class
from tokbench.tokenizers import zoo
from tokbench.tokenizers.library.config import settings_of
from tokbench.tokenizers.rae.config import RAEConfig
from tokbench.tokens import ContinuousTokens

DECODER = {
    "decoder_hidden_size": 32,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 48,
    "encoder_hidden_size": 64,
    "encoder_num_hidden_layers": 1,
}
ENCODERS: dict[str, dict[str, Any]] = {
    "dinov2": {"encoder_type": "dinov2", "encoder_patch_size": 14, "encoder_input_size": 42, "patch_size": 16},
    "siglip2": {"encoder_type": "siglip2", "encoder_patch_size": 16, "encoder_input_size": 48, "patch_size": 8},
    "mae": {"encoder_type": "mae", "encoder_patch_size": 16, "encoder_input_size": 48, "patch_size": 16},
}
STATISTICS = {"dinov2": ("std",), "siglip2": ("mean", "std"), "mae": ()}
"""The published DINOv2 file has deviations alone, those of the others means too."""


def peer(kind: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The library's class; it looks for SigLIP's layers where transformers has them no more."""
    diffusers = pytest.importorskip("diffusers")
    transformers = pytest.importorskip("transformers")
    if not hasattr(transformers.SiglipVisionModel, "vision_model"):
        monkeypatch.setattr(transformers.SiglipVisionModel, "vision_model", property(lambda model: model), raising=False)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    numbers = {f"latents_{name}": 0.5 + torch.rand(64, 3, 3, generator=generator) for name in STATISTICS[kind]}
    model = diffusers.AutoencoderRAE(**DECODER, **ENCODERS[kind], **numbers).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.add_((0.1 if value.squeeze().ndim == 1 else 0.02) * torch.randn(value.shape, generator=generator))
    return model


@pytest.mark.parametrize("kind", ENCODERS)
@torch.no_grad()
def test_the_librarys_own_class(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = peer(kind, monkeypatch)
    theirs.save_pretrained(tmp_path)
    monkeypatch.undo()
    ours = tokbench.load("rae", weights=tmp_path)
    side = 3 * ENCODERS[kind]["patch_size"]
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    latents = theirs.encode(images).latent
    tokens = ours.encode(2 * images - 1)
    assert isinstance(tokens, ContinuousTokens)
    assert tokens.grid == ours.layout(side, side).grid == (3, 3)
    torch.testing.assert_close(rearrange(tokens.latents, "b (h w) c -> b c h w", h=3), latents, atol=1e-5, rtol=0)
    decoded = ours.decode(tokens)
    torch.testing.assert_close((decoded + 1) / 2, theirs.decode(latents).sample, atol=1e-5, rtol=0)
    assert decoded.shape == images.shape
    assert ours.normalisation is None
    assert isinstance(ours.config, RAEConfig)
    assert ours.config.statistics == bool(STATISTICS[kind])
    assert len(ours.config.settings) < 2000  # statistics are with the weights alone


OLDER = {
    "dinov2": {"attention.q_proj": "attention.attention.query", "attention.k_proj": "attention.attention.key"}
    | {"attention.v_proj": "attention.attention.value", "attention.o_proj": "attention.output.dense"},
    "siglip2": {"encoder.embeddings": "encoder.vision_model.embeddings", "encoder.encoder": "encoder.vision_model.encoder"}
    | {"encoder.head": "encoder.vision_model.head"},
}
OLDER["mae"] = OLDER["dinov2"] | {"encoder.layers": "encoder.encoder.layer", "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense"}
"""Layers of encoders, and the names that transformers 4 gave them, which the published files have."""


@pytest.mark.parametrize("kind", ENCODERS)
@torch.no_grad()
def test_files_as_they_are_published(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By older names, and with the positions that the network makes itself."""
    theirs = peer(kind, monkeypatch)
    theirs.save_pretrained(tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    state = {"decoder.decoder_pos_embed": torch.zeros(1, 10, 32)}
    for key, value in load_file(path).items():
        name = key
        for new, old in OLDER[kind].items():
            name = name.replace(f"{new}.", f"{old}.") if key.startswith("encoder.") else name
        state[name] = value
    assert len(state.keys() - theirs.state_dict().keys()) > 8
    save_file(state, path)
    ours = tokbench.load("rae", weights=tmp_path)
    side = 3 * ENCODERS[kind]["patch_size"]
    images = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close((ours.decode(ours.encode(2 * images - 1)) + 1) / 2, theirs(images).sample, atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", zoo.families()["rae"].variants, ids=lambda variant: variant.name)
def test_published_rows(variant: zoo.Variant) -> None:
    pytest.importorskip("diffusers")
    with torch.device("meta"):
        network = import_class(zoo.families()["rae"].model)(variant.config).network
    channels = {"s": 384, "b": 768, "l": 1024}[variant.name.split("-")[1]]
    side = variant.image_size // 16
    assert variant.config.layout(variant.image_size, variant.image_size) == TokenLayout((side * 16,) * 2, (side, side), channels=channels)
    assert network._latents_std.shape == (channels, side, side)
    assert (len(network.decoder.decoder_layers), network.decoder.decoder_hidden_size) == (28, 1152)
    assert network.decoder_image_size == variant.image_size


def test_other_sizes_and_other_files(tmp_path: Path) -> None:
    config = zoo.resolve("rae")[1].config
    with pytest.raises(TokbenchError, match=r"image size 224x224 does not fit: this RAE takes 256x256 \(--size 256\)"):
        config.layout(224, 224)
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL"}))
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"")
    with pytest.raises(TokbenchError, match="is of AutoencoderKL, not of AutoencoderRAE; load it as diffusers/kl"):
        tokbench.load("rae", weights=tmp_path)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"latents_std": [1.0]}, "leave out latents_std, which the weights hold"),
        ({"encoder_input_size": 225}, "encoder_input_size of AutoencoderRAE must be a multiple of encoder_patch_size"),
        ({"image_size": 224}, "image_size of AutoencoderRAE must be 256, got 224"),
        ({"reshape_to_2d": False}, "are a grid here; leave reshape_to_2d out"),
        ({"patch_size": None}, "patch_size of AutoencoderRAE must be a positive whole number, got None"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, object], problem: str) -> None:
    config = zoo.resolve("rae")[1].config
    assert isinstance(config, RAEConfig)
    with pytest.raises(TokbenchError, match=problem):
        with_overrides(config, {"settings": settings_of({**config.values, **changes})})
