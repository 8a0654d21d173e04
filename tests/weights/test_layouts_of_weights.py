"""One set of weights under the names of every upstream that has the network: the same codes, the same images, those of the golden."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import tokbench
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import ContinuousTokens, DiscreteTokens
from tokbench.weights.key_maps.taming import to_taming

State = dict[str, Tensor]

NETWORK = {"channels": 32, "num_res_blocks": 1, "resolution": 32}
THREE = NETWORK | {"channel_multipliers": (2, 1, 1), "z_channels": 16, "attn_resolutions": (8,)}
GOLDENS: dict[str, tuple[str, dict[str, object], dict[str, object], str]] = {
    "taming": ("vqgan/imagenet-f16-1024", THREE, {"quantizer.codebook_size": 64, "quantizer.dim": 16}, "indices"),
    "taming_gumbel": (
        "vqgan/gumbel-f8",
        THREE | {"z_channels": 12, "attn_resolutions": (16,)},
        {"quantizer.codebook_size": 48, "quantizer.dim": 12},
        "indices_argmax",
    ),
    "llamagen": ("llamagen/vq-16", THREE, {"quantizer.codebook_size": 64}, "indices"),
    "vqmodel_diffusers": (
        "vqgan/ldm-f8",
        NETWORK | {"channel_multipliers": (1, 2), "z_channels": 3, "attn_resolutions": ()},
        {"quantizer.codebook_size": 96, "quantizer.dim": 3},
        "indices",
    ),
    "autoencoder_kl": ("vae/sd", NETWORK | {"channel_multipliers": (1, 2, 1)}, {}, ""),
}
"""The variant whose row is set to the golden's size, what is set of its network and of the rest, and the golden's name for ids."""


def replaced(state: State, names: dict[str, str]) -> State:
    """Rename by patterns, one after the other; levels of the decoder that are named so are counted from the other end."""
    levels = 1 + max(int(found[1]) for key in state if (found := re.match(r"decoder\.up\.(\d+)", key)))
    renamed = {}
    for key, value in state.items():
        for pattern, new in names.items():
            key = re.sub(pattern, new, key)
        renamed[re.sub(r"decoder\.TURN\.(\d+)", lambda found: f"decoder.TURN.{levels - 1 - int(found[1])}", key)] = value
    return renamed


def as_diffusers(state: State, *, old: bool = False) -> State:
    attention = ("query", "key", "value", "proj_attn") if old else ("to_q", "to_k", "to_v", "to_out.0")
    names = {
        r"encoder\.down\.": "encoder.down_blocks.",
        r"decoder\.up\.": "decoder.TURN.",
        r"\.mid\.block_1\.": ".mid_block.resnets.0.",
        r"\.mid\.block_2\.": ".mid_block.resnets.1.",
        r"\.mid\.attn_1\.": ".mid_block.attentions.0.",
        r"\.attn\.(\d+)\.": r".attentions.\1.",
        r"(\.attentions\.\d+)\.norm\.": r"\1.group_norm.",
        **{rf"(\.attentions\.\d+)\.{part}\.": rf"\1.{new}." for part, new in zip(("q", "k", "v", "proj_out"), attention, strict=True)},
        r"\.block\.(\d+)\.": r".resnets.\1.",
        r"\.nin_shortcut\.": ".conv_shortcut.",
        r"\.downsample\.": ".downsamplers.0.",
        r"\.upsample\.": ".upsamplers.0.",
        r"\.norm_out\.": ".conv_norm_out.",
    }
    found = replaced(state, names)
    flat = {key: value.flatten(1) if ".attentions." in key and value.ndim == 4 else value for key, value in found.items()}
    return {key.replace("TURN", "up_blocks"): value for key, value in flat.items()}


def as_llamagen(state: State) -> State:
    names = {
        r"encoder\.down\.": "encoder.conv_blocks.",
        r"decoder\.up\.": "decoder.TURN.",
        r"\.block\.(\d+)\.": r".res.\1.",
        r"\.mid\.block_1\.": ".mid.0.",
        r"\.mid\.attn_1\.": ".mid.1.",
        r"\.mid\.block_2\.": ".mid.2.",
    }
    return {key.replace("TURN", "conv_blocks"): value for key, value in replaced(state, names).items()}


def others(state: State) -> State:
    """Weights that are not the ones to be read."""
    return {key: torch.full_like(value, 9) for key, value in state.items()}


LAYOUTS: dict[str, Callable[[State], object]] = {
    "taming-transformers": lambda state: {"state_dict": state | {"loss.discriminator.main.0.weight": torch.zeros(1)}, "epoch": 3},
    "latent-diffusion, all networks": lambda state: {
        "state_dict": {
            "model.diffusion_model.out.2.bias": torch.zeros(4),
            **{f"first_stage_model.{key}": value for key, value in state.items()},
            "cond_stage_model.logit_scale": torch.zeros(1),
            "model_ema.decay": torch.zeros(1),
        }
    },
    "diffusers": as_diffusers,
    "diffusers, old attention": lambda state: as_diffusers(state, old=True),
    "LlamaGen": lambda state: {
        "ema": as_llamagen(state) | {"quantize.codebook_used": torch.zeros(65536)},
        "model": as_llamagen(others(state)),
        "args": Namespace(lr=1e-4),
    },
}


def load(name: str, path: Path) -> Tokenizer:
    variant, network, rest, _ = GOLDENS[name]
    return tokbench.load(variant, weights=path, config={f"autoencoder.{key}": value for key, value in network.items()} | rest)


@pytest.mark.parametrize("golden", GOLDENS)
def test_the_same_weights_by_other_names(golden: str, goldens: Path, tmp_path: Path) -> None:
    state = to_taming(load_file(goldens / golden / "state_dict.safetensors"))
    state = {key: value for key, value in state.items() if not key.startswith("loss.")}
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "own.safetensors")
    own, io = load(golden, tmp_path / "own.safetensors"), load_file(goldens / golden / "io.safetensors")
    first = own.encode(io["image"])
    images = own.decode(first)
    torch.testing.assert_close(images, io["recon"], atol=1e-4, rtol=0)
    if isinstance(first, ContinuousTokens):
        torch.testing.assert_close(first.latents.transpose(1, 2).reshape(io["mean"].shape), io["mean"], atol=1e-5, rtol=0)
    else:
        assert torch.equal(first.codes.flatten(), io[GOLDENS[golden][3]].flatten())
    for layout, written in LAYOUTS.items():
        torch.save(written(state), tmp_path / "other.pt")
        other = load(golden, tmp_path / "other.pt")
        second = other.encode(io["image"])
        kind = "latents" if isinstance(first, ContinuousTokens) else "codes"
        assert torch.equal(getattr(first, kind), getattr(second, kind)), layout
        assert torch.equal(images, other.decode(second)), layout


@pytest.mark.parametrize("golden", [name for name in GOLDENS if GOLDENS[name][3]])
def test_ids_alone_give_the_images_that_encoding_gives(golden: str, goldens: Path) -> None:
    """Of the golden's file as it is."""
    model, io = load(golden, goldens / golden / "state_dict.safetensors"), load_file(goldens / golden / "io.safetensors")
    tokens = model.encode(io["image"])
    assert isinstance(tokens, DiscreteTokens)
    ids = io[GOLDENS[golden][3]].reshape(len(io["image"]), -1, 1)
    images = model.decode(DiscreteTokens(ids, tokens.grid, tokens.codebook_sizes))
    assert torch.equal(images, model.decode(tokens))
    torch.testing.assert_close(images, io.get("recon_from_indices", io["recon"]), atol=1e-4, rtol=0)


def test_the_names_of_others_are_theirs(goldens: Path) -> None:
    """What this file writes in another layout has the keys of upstream's own file."""
    for golden, renamed in (("llamagen", as_llamagen), ("autoencoder_kl", as_diffusers), ("vqmodel_diffusers", as_diffusers)):
        state = load_file(goldens / golden / "state_dict.safetensors")
        found = renamed(to_taming(state))
        assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in state.items()}
