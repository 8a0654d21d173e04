"""Names of published files: every layout of the convolutional autoencoder under the names of taming-transformers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.nn.configs import AutoencoderConfig
from tokbench.tokenizers.vae.model import VAE
from tokbench.tokenizers.vae.variants import VAEConfig
from tokbench.weights.checkpoints import load_strictly
from tokbench.weights.key_maps.diffusers import from_diffusers, is_diffusers
from tokbench.weights.key_maps.llamagen import from_llamagen, is_llamagen
from tokbench.weights.key_maps.taming import to_taming

OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same file as diffusers wrote it before it renamed its attention."""
    renamed = {}
    for key, value in state.items():
        for new, old in OLD_ATTENTION.items():
            key = key.replace(f".{new}.", f".{old}.")
        renamed[key] = value
    return renamed


def same(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[key], value) for key, value in expected.items())


@pytest.fixture(scope="module")
def diffusers(goldens: Path) -> dict[str, Tensor]:
    return load_file(goldens / "autoencoder_kl" / "state_dict.safetensors")


@pytest.fixture(scope="module")
def latent_diffusion(goldens: Path, diffusers: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights by the table that was checked against the classes of latent-diffusion."""
    names = json.loads((goldens / "autoencoder_kl" / "ldm_key_map.json").read_text())
    return {names[key]["ldm"]: value[..., None, None] if names[key]["unsqueeze_to_conv1x1"] else value for key, value in diffusers.items()}


def test_diffusers_names_are_those_of_its_table(diffusers: dict[str, Tensor], latent_diffusion: dict[str, Tensor]) -> None:
    same(from_diffusers(diffusers), latent_diffusion)


def test_old_names_of_attention(goldens: Path, diffusers: dict[str, Tensor], latent_diffusion: dict[str, Tensor]) -> None:
    old = old_names(diffusers)
    table = json.loads((goldens / "autoencoder_kl" / "state_dict_deprecated_attn.json").read_text())
    assert set(old) == {table.get(key, key) for key in diffusers}
    assert not set(table) & set(old)
    same(from_diffusers(old), latent_diffusion)


def test_attention_that_is_a_convolution_already_stays_one(diffusers: dict[str, Tensor], latent_diffusion: dict[str, Tensor]) -> None:
    convolutions = {key: value[..., None, None] if ".attentions." in key and value.ndim == 2 else value for key, value in diffusers.items()}
    same(from_diffusers(convolutions), latent_diffusion)


def test_levels_with_attention_in_diffusers_names() -> None:
    """Every level with attention in both halves; the decoder's levels are counted from the other end."""
    names = {
        "encoder.down_blocks.2.attentions.1.to_out.0.weight": "encoder.down.2.attn.1.proj_out.weight",
        "encoder.down_blocks.0.attentions.0.group_norm.bias": "encoder.down.0.attn.0.norm.bias",
        "decoder.up_blocks.0.attentions.2.query.weight": "decoder.up.2.attn.2.q.weight",
        "decoder.up_blocks.2.attentions.0.to_k.bias": "decoder.up.0.attn.0.k.bias",
        "decoder.up_blocks.1.upsamplers.0.conv.weight": "decoder.up.1.upsample.conv.weight",
    }
    found = from_diffusers({key: torch.ones(2, 2) if key.endswith("weight") else torch.ones(2) for key in names})
    assert list(found) == list(names.values())
    assert found["encoder.down.2.attn.1.proj_out.weight"].shape == (2, 2, 1, 1)
    assert found["decoder.up.1.upsample.conv.weight"].shape == (2, 2)


def test_llamagen_names() -> None:
    names = {
        "encoder.conv_in.weight": "encoder.conv_in.weight",
        "encoder.conv_blocks.0.res.1.conv2.bias": "encoder.down.0.block.1.conv2.bias",
        "encoder.conv_blocks.0.downsample.conv.weight": "encoder.down.0.downsample.conv.weight",
        "encoder.conv_blocks.2.attn.0.proj_out.weight": "encoder.down.2.attn.0.proj_out.weight",
        "encoder.mid.0.norm1.weight": "encoder.mid.block_1.norm1.weight",
        "encoder.mid.1.q.bias": "encoder.mid.attn_1.q.bias",
        "decoder.mid.2.conv1.weight": "decoder.mid.block_2.conv1.weight",
        "decoder.conv_blocks.0.attn.2.norm.weight": "decoder.up.2.attn.2.norm.weight",
        "decoder.conv_blocks.0.upsample.conv.bias": "decoder.up.2.upsample.conv.bias",
        "decoder.conv_blocks.2.res.0.nin_shortcut.weight": "decoder.up.0.block.0.nin_shortcut.weight",
        "quantize.embedding.weight": "quantize.embedding.weight",
        "post_quant_conv.bias": "post_quant_conv.bias",
    }
    found = from_llamagen({key: torch.tensor(i) for i, key in enumerate(names)})
    assert {key: int(value) for key, value in found.items()} == {name: i for i, name in enumerate(names.values())}


def test_the_layout_is_told_by_the_keys(goldens: Path, diffusers: dict[str, Tensor], latent_diffusion: dict[str, Tensor]) -> None:
    llamagen = load_file(goldens / "llamagen" / "state_dict.safetensors")
    for state, kinds in ((diffusers, (True, False)), (llamagen, (False, True)), (latent_diffusion, (False, False))):
        assert (is_diffusers(state), is_llamagen(state)) == kinds
    same(to_taming(diffusers), latent_diffusion)
    same(to_taming(old_names(diffusers)), latent_diffusion)
    same(to_taming(llamagen), from_llamagen(llamagen))
    same(to_taming(latent_diffusion), latent_diffusion)
    same(to_taming(to_taming(diffusers)), latent_diffusion)


def test_the_input_is_left_alone(diffusers: dict[str, Tensor]) -> None:
    kept = dict(diffusers)
    to_taming(diffusers)["more"] = torch.zeros(1)
    assert diffusers.keys() == kept.keys()
    assert all(diffusers[key] is value for key, value in kept.items())
    assert to_taming({}) == {}


def test_keys_of_no_layout_are_named_by_strict_loading(diffusers: dict[str, Tensor]) -> None:
    autoencoder = AutoencoderConfig(4, channels=32, channel_multipliers=(1, 2, 1), num_res_blocks=1, attn_resolutions=(), double_z=True)
    model = VAE(VAEConfig(autoencoder, embed_dim=4))
    strange = dict(diffusers)
    strange["encoder.mid_block.attentions.0.to_gate.weight"] = strange.pop("encoder.mid_block.attentions.0.to_q.weight")
    strange["encoder.time_embedding"] = torch.zeros(1)
    with pytest.raises(TokbenchError) as error:
        load_strictly(model, to_taming(strange), origin="vae.safetensors")
    assert "1 missing: encoder.mid.attn_1.q.weight;" in str(error.value)
    assert "2 unknown: encoder.mid.attn_1.to_gate.weight, encoder.time_embedding." in str(error.value)
