"""l-DeTok against outputs of DeTok under random weights, and at its published size."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file, save_file

import tokbench
from tokbench.configs import with_overrides
from tokbench.errors import TokbenchError
from tokbench.layout import TokenLayout
from tokbench.nn.configs import ViTConfig
from tokbench.plugins import import_class
from tokbench.tokenizers import zoo
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.detok.config import DeTokConfig
from tokbench.tokenizers.detok.model import DeTok, angles_of
from tokbench.tokens import ContinuousTokens

GOLDEN = Path(__file__).parents[1] / "goldens" / "detok"
SMALL = DeTokConfig(ViTConfig(32, 1, 2, patch_size=8), ViTConfig(32, 1, 2, patch_size=8), channels=6, image_size=32)


def fields() -> dict[str, object]:
    """The golden's settings, as a user would set them."""
    settings = json.loads((GOLDEN / "config.json").read_text())
    shape = {"image_size": settings["image_size"], "channels": settings["token_channels"]}
    for side in ("encoder", "decoder"):
        own = settings[side] | {"patch_size": settings["patch_size"]}
        shape |= {f"{side}.{key}": own[name] for key, name in (("width", "width"), ("depth", "layers"), ("heads", "heads"))}
        shape[f"{side}.patch_size"] = own["patch_size"]
    return shape


def loaded(weights: Path = GOLDEN / "state_dict.safetensors", **more: object) -> Tokenizer:
    return tokbench.load("detok/bb", weights=weights, config=fields() | more)


@torch.no_grad()
def test_golden() -> None:
    model, io = loaded(), load_file(GOLDEN / "io.safetensors")
    assert isinstance(model, DeTok)
    tokens = model.encode(io["image"])
    assert isinstance(tokens, ContinuousTokens)
    assert tokens.grid == (4, 4)
    posterior = model.posterior(io["image"])
    for found, expected in ((posterior.mean, io["mean"]), (posterior.logvar, io["logvar"])):
        torch.testing.assert_close(rearrange(found, "b c h w -> b (h w) c"), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(tokens.latents, io["latents"], atol=1e-5, rtol=0)
    torch.testing.assert_close(model.decode(tokens), io["recon"], atol=1e-4, rtol=0)


def test_averages_are_taken_as_their_authors_evaluate(tmp_path: Path) -> None:
    """DeTok saves both, and evaluates with averages."""
    state = load_file(GOLDEN / "state_dict.safetensors")
    other = {key: value + 1 for key, value in state.items()}
    torch.save({"model": other, "model_ema": state, "epoch": 199, "optimizer": {"state": {}}}, tmp_path / "latest.pth")
    images = load_file(GOLDEN / "io.safetensors")["image"]
    found, expected = (model.encode(images) for model in (loaded(tmp_path / "latest.pth"), loaded()))
    assert isinstance(found, ContinuousTokens)
    assert isinstance(expected, ContinuousTokens)
    assert torch.equal(found.latents, expected.latents)


@pytest.mark.parametrize("name", ["bb", "bb-decoder"])
def test_published_size(name: str) -> None:
    family, variant = zoo.resolve(f"detok/{name}")
    with torch.device("meta"):
        model = import_class(family.model)(variant.config)
    assert sum(value.numel() for value in model.state_dict().values()) == 171_711_860
    assert variant.config.layout(256, 256) == TokenLayout((256, 256), (16, 16), channels=16)


@pytest.mark.usefixtures("uncompared")
def test_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(TokbenchError, match=r"image size 64x32 does not fit: this l-DeTok takes 32x32 \(--size 32\)"):
        SMALL.layout(64, 32)
    state = load_file(GOLDEN / "state_dict.safetensors")
    save_file({key: value for key, value in state.items() if key != "encoder.latent_head.bias"}, tmp_path / "part.safetensors")
    with pytest.raises(TokbenchError, match=r"1 missing: encoder\.latent_head\.bias"):
        loaded(tmp_path / "part.safetensors")


def test_samples_need_seeds() -> None:
    model = DeTok(replace(SMALL, posterior="sample")).eval()
    images = torch.full((2, 3, 32, 32), -0.5)
    with pytest.raises(TokbenchError, match="draws noise: pass seeds"):
        model.encode(images)
    first, second = (model.encode(images, seeds=seeds) for seeds in ([1, 2], [1, 3]))
    assert isinstance(first, ContinuousTokens)
    assert isinstance(second, ContinuousTokens)
    assert torch.equal(first.latents[0], second.latents[0])
    assert not torch.equal(first.latents[1], second.latents[1])


def test_angles_go_from_edge_to_edge() -> None:
    angles = angles_of(3, 8)
    assert angles.shape == (9, 8)
    assert not angles[0].any()
    torch.testing.assert_close(angles[-1] / (2 * torch.pi), torch.tensor([7, 7e-4] * 4))
    assert torch.equal(angles[1, :4], torch.zeros(4))  # one column on, in the first row
    torch.testing.assert_close(angles[1, 4:], angles[-1, 4:] / 2)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"channels": 0}, "channels must be positive, got 0"),
        ({"posterior": "mode"}, "posterior is mean or sample, got 'mode'"),
        ({"image_size": 30}, "multiple of the patch size 8, got 30"),
        ({"decoder": ViTConfig(32, 1, 2, patch_size=16)}, "patch_size must be one, got 8 and 16"),
        ({"decoder": ViTConfig(36, 1, 2, patch_size=8)}, "a head must have a multiple of 4 channels, got 18"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_impossible_settings_are_refused(changes: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        replace(SMALL, **changes)
    with pytest.raises(TokbenchError, match="norm is one of layer, rms; got 'group'"):
        with_overrides(SMALL, {"encoder.norm": "group"})


def written(folder: Path, mean: torch.Tensor, std: torch.Tensor, *keys: str) -> None:
    """``stats.pkl`` as ``collect_tokenizer_stats`` writes it: of means and log-variances, by the name of the tokenizer."""
    moments = (torch.cat([mean, mean + 9]), torch.cat([std, std + 9]))
    (folder / "stats.pkl").write_bytes(pickle.dumps({key: {"single": (mean.mean(), std.mean()), "channel": moments} for key in keys}))


def test_statistics_in_a_pickle_beside_weights(tmp_path: Path) -> None:
    """The decoder-tuned file has the encoder of the other, and its statistics."""
    channels = int(str(fields()["channels"]))
    mean, std = torch.linspace(-1, 1, channels), torch.linspace(0.5, 2, channels)
    weights = tmp_path / "detok-BB-gamm3.0-m0.7-decoder_tuned.pth"
    torch.save(load_file(GOLDEN / "state_dict.safetensors"), weights)
    written(tmp_path, mean, std, "detok-SS", "detok-BB-gamm3.0-m0.7", "detok-BB")
    for place in (weights, tmp_path):
        found = loaded(place).normalisation
        assert found is not None
        torch.testing.assert_close(torch.tensor([found.mean, found.std]), torch.stack([mean, std]))
        assert found.scale == 1
    assert tokbench.load(str(zoo.save_tokenizer(loaded(weights), tmp_path / "saved"))).normalisation == found
    written(tmp_path, mean, std, "detok-SS")
    assert loaded(weights).normalisation is None
    written(tmp_path, mean[:-1], std[:-1], "detok-BB")
    assert loaded(weights).normalisation is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            pickle.dumps({"detok-BB": {"channel": (1.0, 2.0)}}),
            "does not do: its statistics are no pairs of a mean and a deviation a channel",
        ),
        (pickle.dumps([1, 2]), "does not do: it holds no tensors called mean and std"),
        (b"no pickle", "is not a readable pickle of plain tensors"),
        (b"cos\nsystem\n(S'true'\ntR.", "is not a readable pickle of plain tensors"),
    ],
)
def test_a_pickle_of_something_else_is_refused_in_a_line(content: bytes, problem: str, tmp_path: Path) -> None:
    weights = tmp_path / "detok-BB.pth"
    torch.save(load_file(GOLDEN / "state_dict.safetensors"), weights)
    (tmp_path / "stats.pkl").write_bytes(content)
    with pytest.raises(TokbenchError, match=problem):
        loaded(weights)
