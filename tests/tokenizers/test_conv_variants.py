"""The published variants of the convolutional tokenizers: their sizes, their files' names and shapes, loading them by name.

Networks of published size are built on the meta device: names and shapes without a value in memory.
"""

from __future__ import annotations

import hashlib
import re
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tokbench
from tokbench.configs import with_overrides
from tokbench.errors import TokbenchError
from tokbench.nn.configs import AutoencoderConfig
from tokbench.plugins import import_class
from tokbench.quantizers.configs import VQ
from tokbench.tokenizers import zoo
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.conv_vq.config import ConvVQConfig
from tokbench.tokens import ContinuousTokens, DiscreteTokens
from tokbench.weights.key_maps.taming import to_taming

FILES = [
    ("vqgan/imagenet-f16-1024", "taming_vqgan_imagenet_f16_1024", 343, 72_141_699, "114236fac3ffefd9"),
    ("vqgan/gumbel-f8", "taming_vqgan_gumbel_f8_8192", 301, 68_995_971, "096b21bfd4ba35d9"),
    ("vqgan/ldm-f4", "ldm_vq_f4_8192_taming_layout", 205, 55_322_782, "090fe57bd492e9ee"),
    ("vqgan/ldm-f8", "ldm_vq_f8_16384_taming_layout", 299, 67_717_295, "8af43bad92996aaa"),
    ("llamagen/vq-16", "llamagen_vq16", 343, 71_883_403, "65fde0a278c42c11"),
    ("vae/sd", "sd_vae_ldm", 248, 83_653_863, "e6a5b336c9bc293e"),
    ("vae/sd", "sd_vae_diffusers", 248, 83_653_863, "e6a5b336c9bc293e"),
]
"""Variant, file, and of the file's weights under the names used here: their number, their elements, and a digest of names and shapes."""

SIZES = {
    "vqgan/imagenet-f16-16384": 72_141_699 + (16384 - 1024) * 256,
    "vqgan/ldm-f4-noattn": 55_322_782 - 2 * (4 * 512 * 513 + 2 * 512),  # two attention blocks of four projections and a norm
    "vqgan/ldm-f8-n256": 67_717_295 - (16384 - 256) * 4,
    "llamagen/vq-8": 70_175_371 - 65536,  # the file also holds a record of 65536 codes
    "llamagen/vq-16-t2i": 71_883_403,
    "vae/kl-f8": 83_653_863,
    "vae/sdxl": 83_653_863,
    "vae/flux": 83_819_683,
    "vae/sd3": 83_819_683,
    "vae/eq": 83_653_863,
    "vae/va": 69_836_067,
    "vae/e2e-sd3.5": 83_819_683,
}

Shapes = dict[str, tuple[int, ...]]


@cache
def on_meta(name: str) -> Tokenizer:
    family, variant = zoo.resolve(name)
    with torch.device("meta"):
        return import_class(family.model)(variant.config)


def shapes(state: Mapping[str, torch.Tensor]) -> Shapes:
    return {key: tuple(value.shape) for key, value in state.items()}


def digest(found: Shapes) -> str:
    lines = (f"{key} {','.join(map(str, shape))}" for key, shape in sorted(found.items()))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def elements(tokenizer: Tokenizer) -> int:
    return sum(value.numel() for value in tokenizer.state_dict().values())


@pytest.mark.parametrize(("name", "file", "keys", "count", "expected"), FILES)
def test_names_and_shapes_are_those_of_the_published_file(name: str, file: str, keys: int, count: int, expected: str) -> None:
    tokenizer = on_meta(name)
    assert len(tokenizer.state_dict()) == keys
    assert elements(tokenizer) == count
    assert digest(shapes(tokenizer.state_dict())) == expected


@pytest.mark.parametrize(("name", "count"), SIZES.items())
def test_size_of_the_other_variants(name: str, count: int) -> None:
    assert elements(on_meta(name)) == count


def test_f16_of_imagenet_is_one_network() -> None:
    """VA-VAE is kl-f16 with 32 latent channels for 16, and REPA-E tunes it."""
    around = 9 * 512 * (32 + 16) + 32  # the convolutions that make mean and log-variance, and that read latents
    between = (64**2 + 64 - 32**2 - 32) + (32**2 + 32 - 16**2 - 16)
    assert elements(on_meta("vae/va")) - elements(on_meta("vae/kl-f16")) == around + between
    for name in ("e2e-va", "e2e-in"):
        assert shapes(on_meta(f"vae/{name}").state_dict()) == shapes(on_meta("vae/va").state_dict())


def test_what_flux_leaves_out() -> None:
    own, other = (set(on_meta(name).state_dict()) for name in ("vae/sd", "vae/flux"))
    assert own - other == {f"{layer}.{kind}" for layer in ("quant_conv", "post_quant_conv") for kind in ("weight", "bias")}
    assert other < own


@pytest.mark.parametrize(
    ("name", "grid", "books", "channels"),
    [
        ("vqgan/imagenet-f16-16384", (16, 16), (16384,), 0),
        ("vqgan/gumbel-f8", (32, 32), (8192,), 0),
        ("vqgan/ldm-f4-noattn", (64, 64), (8192,), 0),
        ("vqgan/ldm-f8-n256", (32, 32), (256,), 0),
        ("vqgan/ldm-f16", (16, 16), (16384,), 0),
        ("llamagen/vq-8", (32, 32), (16384,), 0),
        ("llamagen/vq-16-t2i", (16, 16), (16384,), 0),
        ("vae/kl-f4", (64, 64), (), 3),
        ("vae/kl-f16", (16, 16), (), 16),
        ("vae/kl-f32", (8, 8), (), 64),
        ("vae/sdxl", (32, 32), (), 4),
        ("vae/flux", (32, 32), (), 16),
        ("vae/sd3", (32, 32), (), 16),
        ("vae/va", (16, 16), (), 32),
        ("vae/eq-ema", (32, 32), (), 4),
        ("vae/e2e-va", (16, 16), (), 32),
        ("vae/e2e-flux", (32, 32), (), 16),
    ],
)
def test_layouts(name: str, grid: tuple[int, int], books: tuple[int, ...], channels: int) -> None:
    _, variant = zoo.resolve(name)
    layout = variant.config.layout(256, 256)
    assert (layout.grid, layout.codebook_sizes, layout.channels) == (grid, books, channels)
    assert variant.image_size == 256


LICENCES = ("MIT", "Apache-2.0", "OpenRAIL-M", "Stability Community", "Chameleon Research, non-commercial", "not stated")
DATA = ("data:imagenet/train", "data:openimages/train", "data:laion-coco/train")


def published() -> list[str]:
    return [name for name in zoo.names() if name.split("/")[0] in ("vqgan", "vae", "llamagen") and not name.endswith("/tiny")]


@pytest.mark.parametrize("name", published())
@pytest.mark.usefixtures("empty_cache")
def test_rows_of_weights_that_are_not_shipped(name: str) -> None:
    variant = zoo.resolve(name)[1]
    assert variant.weights is None
    assert variant.needs_weights
    assert re.fullmatch(rf"({'|'.join(LICENCES)}) \(.*(repository|model card).*\)", variant.licence)
    assert set(variant.trained_with) <= {*DATA, "lpips-vgg", "dinov2", "unknown"}
    assert ("lpips-vgg" in variant.trained_with) == (name not in ("vae/flux", "vae/sd3"))
    with (
        torch.device("meta"),
        pytest.raises(TokbenchError, match=rf"^the weights of {name} are not here; run: tokbench weights get {name}"),
    ):
        tokbench.load(name)


REDUCED = {"channels": 32, "channel_multipliers": (2, 1, 1), "num_res_blocks": 1, "resolution": 32}

State = dict[str, torch.Tensor]


def lightning(state: State) -> object:
    """As taming-transformers writes it; the golden's discriminator is in it."""
    return {"epoch": 3, "global_step": 7, "state_dict": state, "optimizer_states": [{"state": {}}]}


def llamagen(state: State) -> object:
    other = {key: torch.zeros_like(value) for key, value in state.items()}
    return {"model": other, "ema": state, "discriminator": {"main.0.weight": torch.zeros(1)}, "steps": 7, "args": Namespace(lr=1e-4)}


def stable_diffusion(state: State) -> object:
    """A checkpoint of all networks, the autoencoder by the names of latent-diffusion."""
    own = {f"first_stage_model.{key}": value for key, value in to_taming(state).items()}
    return {"state_dict": {"model.diffusion_model.out.2.bias": torch.zeros(4)} | own | {"cond_stage_model.logit_scale": torch.zeros(1)}}


def aligned(state: State) -> object:
    """As LightningDiT writes it, with the network that latents were aligned with."""
    beside = {"foundation_model.model.cls_token": torch.zeros(1, 1, 4), "linear_proj.weight": torch.zeros(4, 4, 1, 1)}
    return {"state_dict": to_taming(state) | beside | {"loss.logvar": torch.zeros(())}}


@pytest.mark.parametrize(
    ("name", "golden", "wrap", "overrides", "codes"),
    [
        (
            "vqgan/imagenet-f16-1024",
            "taming",
            lightning,
            {"z_channels": 16, "attn_resolutions": (8,), "quantizer.codebook_size": 64, "quantizer.dim": 16},
            "indices",
        ),
        (
            "vqgan/gumbel-f8",
            "taming_gumbel",
            lightning,
            {"z_channels": 12, "attn_resolutions": (16,), "quantizer.codebook_size": 48, "quantizer.dim": 12},
            "indices_argmax",
        ),
        ("llamagen/vq-16", "llamagen", llamagen, {"z_channels": 16, "attn_resolutions": (8,), "quantizer.codebook_size": 64}, "indices"),
        (
            "vqgan/ldm-f8",
            "vqmodel_diffusers",
            dict,
            {"z_channels": 3, "channel_multipliers": (1, 2), "attn_resolutions": (), "quantizer.codebook_size": 96, "quantizer.dim": 3},
            "indices",
        ),
        ("vae/sd", "autoencoder_kl", stable_diffusion, {"channel_multipliers": (1, 2, 1)}, None),
        (
            "vae/va",
            "autoencoder_kl",
            aligned,
            {"channel_multipliers": (1, 2, 1), "z_channels": 4, "attn_resolutions": (), "embed_dim": 4},
            None,
        ),
    ],
)
def test_variants_load_a_file_by_name(
    name: str,
    golden: str,
    wrap: Callable[[State], object],
    overrides: dict[str, object],
    codes: str | None,
    goldens: Path,
    tmp_path: Path,
) -> None:
    """A file as upstream wraps it, at a reduced size that is set by name as a user would."""
    path = tmp_path / "weights.pt"
    torch.save(wrap(load_file(goldens / golden / "state_dict.safetensors")), path)
    fields = {key if "." in key or key == "embed_dim" else f"autoencoder.{key}": value for key, value in (REDUCED | overrides).items()}
    tokenizer = tokbench.load(name, weights=path, config=fields)
    io = load_file(goldens / golden / "io.safetensors")
    tokens = tokenizer.encode(io["image"])
    assert tokenizer.name == name
    if codes is None:
        assert isinstance(tokens, ContinuousTokens)
    else:
        assert isinstance(tokens, DiscreteTokens)
        assert torch.equal(tokens.codes.flatten(), io[codes].flatten())
    torch.testing.assert_close(tokenizer.decode(tokens), io["recon"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"quantizer": "fsk"}, "unknown quantizer 'fsk'; did you mean fsq"),
        ({"quantizer": "gumbel", "quantizer.dim": 8}, "gumbel needs quantizer.dim equal to autoencoder.z_channels, got 8 and 16"),
        ({"quantizer.entropy_weight": -1.0}, "entropy_weight must not be negative, got -1.0"),
        ({"quantizer": "gumbel", "quantizer.kl_weight": float("nan")}, "kl_weight takes a value of type float, got nan"),
        ({"quantizer": "fsq", "quantizer.levels": "1,2"}, "a channel needs at least 3 levels"),
        ({"quantizer.codebook_size": 1}, "a codebook needs at least 2 codes, got 1"),
        ({"codebook_size": 64}, "unknown setting 'codebook_size'; did you mean quantizer.codebook_size"),
    ],
)
def test_impossible_settings_are_refused(change: dict, problem: str) -> None:
    config = ConvVQConfig(AutoencoderConfig(16), VQ(16, 8))
    with pytest.raises(TokbenchError, match=problem):
        with_overrides(config, change)


@pytest.mark.parametrize("change", [{"latent_scale": 0.0}, {"latent_scale": float("inf")}, {"latent_shift": float("nan")}])
def test_impossible_scales_of_latents_are_refused(change: dict) -> None:
    with pytest.raises(ValueError, match="latent_shift must be finite and latent_scale positive, got "):
        replace(zoo.resolve("vae/sd")[1].config, **change)


@pytest.mark.parametrize("resolution", [36, 50, 100, 256])
@pytest.mark.parametrize("steps", [None, 0, 1, 2, 3])
def test_levels_with_attention_are_counted_as_upstream_counts(resolution: int, steps: int | None) -> None:
    """The encoder halves the size it counts, the decoder doubles it from below, so that odd sizes meet at the lowest level alone."""
    levels, halvings = 4, 3 if steps is None else steps
    down, up, size = [], [], resolution
    for level in range(levels):
        down.append(size)
        size = size // 2 if level < halvings else size
    size = resolution // 2 ** (levels - 1)
    for level in reversed(range(levels)):
        up.insert(0, size)
        size = size * 2 if level >= levels - halvings else size
    for wanted in {*down, *up}:
        config = AutoencoderConfig(4, channel_multipliers=(1,) * levels, attn_resolutions=(wanted,), resolution=resolution, halvings=steps)
        assert [config.has_attention(level) for level in range(levels)] == [one == wanted for one in down]
        assert [config.decoder_has_attention(level) for level in range(levels)] == [one == wanted for one in up]
