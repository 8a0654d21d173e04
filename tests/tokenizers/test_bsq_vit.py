"""BSQ-ViT: outputs and names of the published code, files as its training writes them, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.nn.configs import ViTConfig
from tokbench.quantizers.configs import BSQ
from tokbench.tokenizers import zoo
from tokbench.tokenizers.bsq.config import BSQViTConfig
from tokbench.tokenizers.bsq.model import BSQViT
from tokbench.tokens import DiscreteTokens
from tokbench.weights.checkpoints import load_strictly
from tokbench.weights.choice import Choice

OWN = Path(__file__).parents[1] / "goldens" / "bsq_vit"
SHARED = Path(__file__).parents[3] / "shared"
MORE = sorted(path for path in (SHARED / "goldens2" / "bsq_vit").glob("*") if path.name != "a" and (path / "io.safetensors").is_file())
MANIFESTS = {"128_b18g2": "b18g2-128", "256_b18g2": "b18g2", "256_b18g18": "b18g18", "256_b36g36": "b36g36"}


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def side(settings: dict) -> ViTConfig:
    return ViTConfig(settings["width"], settings["layers"], settings["heads"], settings["patch_size"], settings["mlp_ratio"])


def config_of(settings: dict, codes: int = 1) -> BSQViTConfig:
    encoder, decoder = settings["vitconfig"], settings.get("dvitconfig") or settings["vitconfig"]
    signs = BSQ(settings["embed_dim"], codes, entropy_form="analytical", unit_codes=settings["post_q_l2_norm"])
    return BSQViTConfig(side(encoder), side(decoder), signs, encoder["image_size"], decoder.get("dim_ffn_output", 3072))


def golden(folder: Path = OWN, codes: int = 1) -> BSQViT:
    model = BSQViT(config_of(json.loads((folder / "config.json").read_text())["config"], codes)).eval()
    load_strictly(model, model.read_weights(folder / "state_dict.safetensors").tensors, origin=folder.name)
    return model


@pytest.mark.parametrize("folder", [OWN, *MORE], ids=lambda folder: folder.name)
@torch.no_grad()
def test_outputs_of_upstream(folder: Path) -> None:
    model, io = golden(folder), load_file(folder / "io.safetensors")
    vectors = model.vectors(io["image"])
    close(F.normalize(vectors, dim=-1), io["prequant"], 1e-5)
    assert torch.equal(vectors > 0, io["bits"].bool())
    tokens = model.encode(io["image"])
    assert isinstance(tokens, DiscreteTokens)
    assert torch.equal(tokens.codes.flatten(), io["indices"].flatten())
    close(model.embed(tokens), io["codes_exact"], 1e-6)
    images = model.decode(tokens)
    close(images, io["recon_from_codes"], 1e-4)
    assert torch.equal(images, model.decode(DiscreteTokens(io["indices"].reshape(len(images), -1, 1), tokens.grid, tokens.codebook_sizes)))


@torch.no_grad()
def test_several_codes_are_runs_of_the_bits_of_one() -> None:
    images = load_file(OWN / "io.safetensors")["image"]
    one, two = (golden(codes=codes).encode(images).codes for codes in (1, 2))
    assert torch.equal(one[..., 0], two[..., 0] * 2**6 + two[..., 1])
    close(golden(codes=2).decode(golden(codes=2).encode(images)), golden().decode(golden().encode(images)), 1e-6)


@pytest.mark.parametrize("averages", [True, False])
def test_files_of_its_training(tmp_path: Path, averages: bool) -> None:
    """Averages have one more word before their names than raw weights."""
    state = load_file(OWN / "state_dict.safetensors")
    file = {
        "epoch": 3,
        "state_dict": {f"module.{key}": value for key, value in state.items()},
        "ema_state_dict": {f"module.module.{key}": 2 * value for key, value in state.items()},
    }
    torch.save(file, tmp_path / "checkpoint.pt")
    model = golden()
    found = model.read_weights(tmp_path / "checkpoint.pt", Choice(averages=averages)).tensors
    raw = model.state_dict()
    assert found.keys() == raw.keys()
    assert all(torch.equal(value, raw[key] * (2 if averages else 1)) for key, value in found.items())


def manifest(name: str) -> Path:
    return SHARED / "facts" / "keys2" / f"bsqvit_{name}.json"


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_load_strictly(name: str) -> None:
    if not manifest(name).is_file():
        pytest.skip("the manifests are not here")
    listed = json.loads(manifest(name).read_text())
    config = zoo.resolve(f"bsq/{MANIFESTS[name]}")[1].config
    assert config == replace(config_of(listed["params"]), quantizer=config.quantizer)
    with torch.device("meta"):
        model = BSQViT(config)
    state = {key: torch.empty(shape, dtype=getattr(torch, dtype), device="meta") for key, (shape, dtype) in listed["tensors"].items()}
    found = model.own_names(state)
    model.load_state_dict(found, strict=True, assign=True)
    basis = sum(state[key].numel() for key in ("quantize.basis", "quantize.group_basis"))
    assert sum(value.numel() for value in found.values()) == listed["n_elements"] - basis
    assert config.quantizer.channels == listed["params"]["embed_dim"]


@pytest.mark.parametrize(
    ("name", "grid", "sizes", "bits"),
    [("b18g18", (32, 32), (2**18,), 18432), ("b36g36", (32, 32), (2**18, 2**18), 36864), ("b18g2-128", (16, 16), (2**18,), 4608)],
)
def test_rows(name: str, grid: tuple[int, int], sizes: tuple[int, ...], bits: int) -> None:
    variant = zoo.resolve(f"bsq/{name}")[1]
    layout = variant.config.layout(variant.image_size, variant.image_size)
    assert (layout.grid, layout.codebook_sizes, layout.bits_per_image) == (grid, sizes, bits)


@pytest.mark.parametrize("size", [(32, 40), (40, 40), (16, 16)])
def test_images_of_another_size_are_refused_in_one_line(size: tuple[int, int]) -> None:
    with pytest.raises(TokbenchError, match=rf"image size {size[0]}x{size[1]} does not fit: this BSQ-ViT takes 32x32 \(--size 32\)"):
        golden().encode(torch.zeros(1, 3, *size))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"image_size": 30}, "image_size must be a multiple of the patch size 8, got 30"),
        ({"hidden_pixels": 0}, "hidden_pixels must be positive, got 0"),
        ({"decoder": ViTConfig(48, 2, 4, 16)}, "patch_size must be one, got 8 and 16"),
    ],
)
def test_impossible_settings_are_refused(changes: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        replace(golden().config, **changes)


def test_training_reaches_every_weight() -> None:
    model, images = golden(), load_file(OWN / "io.safetensors")["image"]
    quantized = model.quantize(model.vectors(images))
    (model.decoder(model.post_quant_embed(quantized.vectors)).square().mean() + quantized.losses["commitment"]).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
