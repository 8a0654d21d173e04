"""Every set of upstream's outputs for Emu3 and FlowMo, the package's own and further ones where they are, built from its settings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor

from tokbench.nn.configs import AutoencoderConfig, MMDiTConfig
from tokbench.tokenizers.emu3.config import Emu3Config
from tokbench.tokenizers.emu3.model import Emu3
from tokbench.tokenizers.flowmo.config import FlowMoConfig
from tokbench.tokenizers.flowmo.model import FlowMo
from tokbench.tokens import DiscreteTokens
from tokbench.weights.checkpoints import load_strictly

OWN = Path(__file__).parents[1] / "goldens"
MORE = Path(__file__).parents[3] / "shared" / "goldens"


@dataclass(frozen=True)
class Golden:
    config: dict
    state: dict[str, Tensor]
    io: dict[str, Tensor]


def golden_sets(family: str) -> pytest.MarkDecorator:
    """Set ``a`` of a family is the package's own."""
    further = sorted(path for path in (MORE / family).glob("*") if path.name != "a" and (path / "io.safetensors").is_file())
    none = pytest.param(OWN / family, marks=pytest.mark.skip(reason="there are no further sets here"), id="further")
    return pytest.mark.parametrize("folder", [pytest.param(OWN / family, id="own"), *(further or [none])])


def read(folder: Path) -> Golden:
    config = json.loads((folder / "config.json").read_text())
    return Golden(config, load_file(folder / "state_dict.safetensors"), load_file(folder / "io.safetensors"))


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


@golden_sets("emu3_vqvae")
@torch.no_grad()
def test_emu3(folder: Path) -> None:
    golden = read(folder)
    config, io = golden.config["config"], golden.io
    network = AutoencoderConfig(
        config["latent_channels"],
        channels=config["base_channels"],
        channel_multipliers=tuple(config["channel_multiplier"]),
        num_res_blocks=config["num_res_blocks"],
        attn_resolutions=tuple(256 // 2**level for level in config["attn_resolutions"]),
    )
    shape = Emu3Config(network, config["codebook_size"], config["temporal_downsample_factor"], config.get("num_attention_heads", 1))
    model = Emu3(shape).eval()
    load_strictly(model, golden.state, origin=folder.name)
    tokens = model.encode(io["image"])
    assert isinstance(tokens, DiscreteTokens)
    close(model.encoder(io["image"]), rearrange(io["encoder_out_btchw"], "b t c h w -> b c t h w"), 1e-5)
    close(model.vectors(io["image"]), rearrange(io["prequant_btchw"], "b 1 c h w -> b (h w) c"), 1e-5)
    assert tokens.grid == tuple(io["indices"].shape[1:])
    assert torch.equal(tokens.codes.flatten(), io["indices"].flatten())
    images = model.decode(DiscreteTokens(io["indices"].reshape(len(tokens), -1, 1), tokens.grid, tokens.codebook_sizes))
    close(images, io["recon"], 1e-4)
    assert torch.equal(images, model.decode(tokens))


def side(resolved: dict) -> MMDiTConfig:
    axes = tuple(resolved["axes_dim"])
    assert resolved["attn_scale"] == pytest.approx(8 / sum(axes))  # the one scale that the network has
    return MMDiTConfig(
        resolved["hidden_size"], resolved["num_heads"], resolved["depth"], axes, resolved["mlp_ratio"], float(resolved["theta"]), True
    )


@golden_sets("flowmo")
@torch.no_grad()
def test_flowmo(folder: Path) -> None:
    golden = read(folder)
    config, sampling, io = golden.config["config_model"], golden.config["sampling"], golden.io
    bits = config["codebook_size_for_entropy"]
    interval = sampling["cfg_interval"] or "(0, inf)"  # upstream guides every step where there is none
    low, high = (float(text) for text in interval.strip("()").split(","))
    shape = FlowMoConfig(
        side(golden.config["resolved"]["encoder"]),
        side(golden.config["resolved"]["decoder"]),
        bits=bits,
        codebooks=config["context_dim"] // bits,
        code_length=config["code_length"],
        image_size=golden.config["image_size"],
        patch_size=config["patch_size"],
        steps=sampling["sample_steps"],
        schedule=sampling["schedule"],
        guidance=float(sampling["cfg"]),
        guidance_sigmas=(low, high),
        entropy_weight=config["entropy_loss_weight"],
        commitment_weight=config["commit_loss_weight"],
    )
    model = FlowMo(shape).eval()
    load_strictly(model, golden.state, origin=folder.name)
    tokens = model.encode(io["image"])
    assert isinstance(tokens, DiscreteTokens)
    assert torch.equal(tokens.codes.flatten(), io["indices_flat"])
    vectors = model.vectors(io["image"])
    close(vectors, io["encoder_code"], 1e-5)

    signs = model.quantize.lookup(tokens.codes)
    out = model.train()(io["image"])
    close(signs, io["quantized_code"], 1e-6)
    close(out.vectors, io["quantized_code"], 1e-6)
    close(model.context(signs), io["decoder_context"], 1e-6)
    for mine, name in zip(model.quantize.entropies(vectors), ("per_sample", "codebook"), strict=True):
        close(mine, io[f"train_entropy_{name}"], 1e-5)
    close(out.losses["commitment"] / shape.commitment_weight, io["train_commit"], 1e-5)
    close(out.losses["entropy"] + out.losses["commitment"], io["train_quantizer_loss"], 1e-5)

    model.eval()
    close(model.velocity(io["noise"], model.context(signs), io["timesteps"]), io["velocity"], 1e-5)
    close(model.velocity(io["noise"], torch.zeros_like(io["decoder_context"]), io["timesteps"]), io["velocity_null"], 1e-5)
    states = model.walk(signs, io["noise"])
    close(torch.stack(states), io["trajectory"], 1e-4)
    close(states[-1].clamp(-1, 1), io["sample"], 1e-4)
    close(model.walk(signs, io["reconstruct_noise"])[-1].clamp(-1, 1), io["reconstruct"], 1e-4)
