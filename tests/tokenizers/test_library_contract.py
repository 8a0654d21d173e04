"""What every tokenizer must do, of the networks that other libraries build: small ones, random weights."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from einops import rearrange
from torch import Tensor

import tokbench
from tokbench.configs import plain, with_overrides
from tokbench.errors import TokbenchError
from tokbench.plugins import import_class
from tokbench.tokenizers import zoo
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.diffusers.config import FRAMES
from tokbench.tokenizers.library.config import LibraryConfig, settings_of
from tokbench.tokenizers.zoo import save_tokenizer
from tokbench.tokens import ContinuousTokens, DiscreteTokens, Tokens

CONVOLUTIONAL = {
    "block_out_channels": (8, 16),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "norm_num_groups": 4,
}
WAN = {"base_dim": 8, "z_dim": 4, "dim_mult": (1, 2), "num_res_blocks": 1, "temperal_downsample": (True,)}

SMALL = {
    "diffusers/kl": CONVOLUTIONAL | {"latent_channels": 3},
    "diffusers/vq": CONVOLUTIONAL | {"latent_channels": 3, "num_vq_embeddings": 30},
    "diffusers/tiny": {
        "encoder_block_out_channels": (8, 8),
        "decoder_block_out_channels": (8, 8),
        "num_encoder_blocks": (1, 1),
        "num_decoder_blocks": (1, 1),
        "latent_channels": 4,
        "upsampling_scaling_factor": 2,
    },
    "diffusers/dc": {
        "latent_channels": 4,
        "attention_head_dim": 8,
        "encoder_block_types": ("ResBlock", "ResBlock", "EfficientViTBlock"),
        "decoder_block_types": ("ResBlock", "ResBlock", "EfficientViTBlock"),
        "encoder_block_out_channels": (8, 8, 16),
        "decoder_block_out_channels": (8, 8, 16),
        "encoder_layers_per_block": (0, 1, 1),
        "decoder_layers_per_block": (0, 1, 1),
        "encoder_qkv_multiscales": ((), (), (5,)),
        "decoder_qkv_multiscales": ((), (), ()),
        "decoder_norm_types": ("rms_norm", "batch_norm", "rms_norm"),
        "decoder_act_fns": ("silu", "relu", "silu"),
    },
    "diffusers/consistency": {
        "encoder_block_out_channels": (8, 16),
        "encoder_down_block_types": ("DownEncoderBlock2D",) * 2,
        "encoder_norm_num_groups": 4,
        "encoder_layers_per_block": 1,
        "decoder_block_out_channels": (8, 16),
        "decoder_down_block_types": ("ResnetDownsampleBlock2D",) * 2,
        "decoder_up_block_types": ("ResnetUpsampleBlock2D",) * 2,
        "decoder_norm_num_groups": 4,
        "decoder_layers_per_block": 1,
        "latent_channels": 4,
    },
    "diffusers/asymmetric": {
        "down_block_out_channels": (8, 16),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_out_channels": (8, 24),
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "norm_num_groups": 4,
        "latent_channels": 4,
    },
    "diffusers/flux2": {
        "block_out_channels": (8, 16),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "latent_channels": 3,
        "patch_size": (2, 2),
    },
    "diffusers/hunyuan-image": {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 8,
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "spatial_compression_ratio": 2,
        "sample_size": 64,
    },
    "diffusers/wan": WAN,
    "diffusers/qwen": WAN,
    "diffusers/qwen-2.1": WAN
    | {"decoder_base_dim": 8, "in_channels": 4, "out_channels": 4, "dim_mult": (1, 2, 2), "temperal_downsample": (False, True)},
    "diffusers/hunyuan-video": {
        "block_out_channels": (8, 16),
        "down_block_types": ("HunyuanVideoDownBlock3D",) * 2,
        "up_block_types": ("HunyuanVideoUpBlock3D",) * 2,
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "latent_channels": 3,
        "spatial_compression_ratio": 2,
        "temporal_compression_ratio": 4,
    },
    "diffusers/hunyuan-video-1.5": {
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "latent_channels": 4,
        "spatial_compression_ratio": 2,
        "temporal_compression_ratio": 1,
    },
    "diffusers/ltx": {
        "block_out_channels": (8, 16),
        "down_block_types": ("LTXVideoDownBlock3D",) * 2,
        "decoder_block_out_channels": (8, 16),
        "layers_per_block": (1, 1, 1),
        "decoder_layers_per_block": (1, 1, 1),
        "spatio_temporal_scaling": (True, False),
        "decoder_spatio_temporal_scaling": (True, False),
        "decoder_inject_noise": (False,) * 3,
        "downsample_type": ("conv", "conv"),
        "upsample_residual": (False, False),
        "upsample_factor": (1, 1),
        "patch_size": 2,
        "latent_channels": 4,
    },
    "diffusers/cogvideox": {
        "block_out_channels": (8, 16),
        "down_block_types": ("CogVideoXDownBlock3D",) * 2,
        "up_block_types": ("CogVideoXUpBlock3D",) * 2,
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "latent_channels": 4,
    },
    "diffusers/cosmos": {
        "encoder_block_out_channels": (16, 16, 16, 32),
        "decode_block_out_channels": (16, 32, 32, 32),
        "attention_resolutions": (),
        "num_layers": 1,
        "patch_size": 2,
        "spatial_compression_ratio": 4,
        "temporal_compression_ratio": 4,
        "latent_channels": 4,
    },
    "diffusers/magvit": {
        "block_out_channels": (8, 16),
        "down_block_types": ("SpatialDownBlock3D", "SpatialTemporalDownBlock3D"),
        "up_block_types": ("SpatialUpBlock3D", "SpatialTemporalUpBlock3D"),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "latent_channels": 4,
    },
    "diffusers/hunyuan-refiner": {
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "latent_channels": 4,
        "spatial_compression_ratio": 2,
        "temporal_compression_ratio": 1,
    },
    "diffusers/kvae": {"channels": 32, "ch_mult": (1, 2), "num_enc_blocks": 1, "num_dec_blocks": 1, "z_channels": 4},
    "diffusers/kvae-video": {"ch": 32, "ch_mult": (1, 2), "num_res_blocks": 1, "z_channels": 4, "temporal_compress_times": 2},
    "diffusers/ltx-2": {
        "block_out_channels": (8, 16),
        "down_block_types": ("LTX2VideoDownBlock3D",) * 2,
        "decoder_block_out_channels": (16,),
        "layers_per_block": (1, 1, 1),
        "decoder_layers_per_block": (1, 1),
        "spatio_temporal_scaling": (True, True),
        "decoder_spatio_temporal_scaling": (True,),
        "decoder_inject_noise": (False, False),
        "downsample_type": ("spatial", "temporal"),
        "upsample_type": ("spatiotemporal",),
        "upsample_residual": (False,),
        "upsample_factor": (1,),
        "patch_size": 2,
        "latent_channels": 4,
    },
    "diffusers/mochi": {
        "encoder_block_out_channels": (32,) * 4,
        "decoder_block_out_channels": (32,) * 4,
        "layers_per_block": (1,) * 5,
        "add_attention_block": (False,) * 5,
        "spatial_expansions": (2, 2, 2),
        "latent_channels": 4,
    },
    "diffusers/kandinsky-sr": {
        "encoder_block_out_channels": (8, 32, 32),
        "decoder_block_out_channels": (8, 32, 32),
        "layers_per_block": 1,
        "latent_channels": 4,
    },
    "diffusers/temporal-decoder": {
        "block_out_channels": (32, 64),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "layers_per_block": 1,
        "latent_channels": 4,
    },
    "transformers/emu3": {
        "codebook_size": 30,
        "base_channels": 32,
        "channel_multiplier": (1, 1),
        "num_res_blocks": 1,
        "attn_resolutions": (1,),
        "hidden_size": 32,
        "temporal_downsample_factor": 2,
    },
    "transformers/janus": {
        "num_embeddings": 30,
        "embed_dim": 4,
        "latent_channels": 6,
        "num_patches": 4,
        "base_channels": 32,
        "channel_multiplier": (1, 1),
        "num_res_blocks": 1,
    },
    "transformers/chameleon": {
        "num_embeddings": 30,
        "embed_dim": 4,
        "latent_channels": 6,
        "base_channels": 32,
        "channel_multiplier": (1, 1),
        "num_res_blocks": 1,
        "attn_resolutions": None,
        "attn_type": "vanilla",
        "resolution": 64,
    },
}
OVERRIDES: dict[str, dict[str, object]] = {"transformers/chameleon": {"decoder": True}}

CASES = [*((name, "") for name in SMALL), ("diffusers/kl", "sample"), ("diffusers/consistency", "sample")]
SEEDS = [11, 2**40 + 12, 13]


def test_no_variant_of_a_library_is_left_out() -> None:
    """Rows of DC-AE are published settings of one class, which is there by its own name; those of RAE have tests of their own."""
    found = {name for name in zoo.names() if isinstance(zoo.resolve(name)[1].config, LibraryConfig)}
    assert set(SMALL) == {name for name in found if not name.startswith(("dcae/", "rae/"))}


@torch.no_grad()
def stirred(model: Tokenizer) -> Tokenizer:
    """Normalisations, biases and running statistics off their starting values."""
    generator = torch.Generator().manual_seed(0)
    for value in model.parameters():
        value.add_((0.1 if value.ndim == 1 else 0.02) * torch.randn(value.shape, generator=generator))
    for key, buffer in model.named_buffers():
        if key.endswith("running_var"):
            buffer.mul_(0.5 + torch.rand(buffer.shape, generator=generator))
    return model.eval()


@cache
def small(name: str, posterior: str) -> Tokenizer:
    pytest.importorskip(name.split("/")[0])
    family, variant = zoo.resolve(name)
    torch.manual_seed(0)
    options = OVERRIDES.get(name, {}) | ({"posterior": posterior} if posterior else {})
    model = stirred(import_class(family.model)(with_overrides(variant.config, {"settings": settings_of(SMALL[name])} | options)))
    model.name = name
    return model


@pytest.fixture(params=CASES, ids="-".join)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return small(*request.param)


def pictures(tokenizer: Tokenizer, count: int = 3) -> Tensor:
    """Higher than wide, so that a transposed grid shows."""
    size = (5 * tokenizer.stride, 3 * tokenizer.stride)
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1


def values(tokens: Tokens) -> Tensor:
    return tokens.codes if isinstance(tokens, DiscreteTokens) else tokens.latents


def part(tokens: Tokens, index: int) -> Tokens:
    one = slice(index, index + 1)
    if isinstance(tokens, DiscreteTokens):
        return dataclasses.replace(tokens, codes=tokens.codes[one])
    return dataclasses.replace(tokens, latents=tokens.latents[one])


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_and_latents_that_are_not_finite_are_refused(tokenizer: Tokenizer, bad: float) -> None:
    broken, images = copy.deepcopy(tokenizer), pictures(tokenizer, 1)
    with torch.no_grad():
        for name, parameter in broken.named_parameters():
            if ".encoder." in name:
                parameter.fill_(bad)
    with pytest.raises(TokbenchError, match=r"(features|latents) in float32 are NaN or infinite; the network needs another precision"):
        broken.encode(images, seeds=[1])


def test_kinds_and_shapes_are_those_of_the_layout(tokenizer: Tokenizer) -> None:
    images = pictures(tokenizer)
    layout = tokenizer.layout(*images.shape[2:])
    tokens = tokenizer.encode(images, seeds=SEEDS)
    assert tokens.grid == layout.grid == (5, 3)
    assert layout == tokenizer.config.layout(*images.shape[2:])
    if layout.discrete:
        assert isinstance(tokens, DiscreteTokens)
        assert tokens.codebook_sizes == layout.codebook_sizes == (30,)
        assert tokens.codes.shape == (3, 15, 1)
    else:
        assert isinstance(tokens, ContinuousTokens)
        assert tokens.latents.shape == (3, 15, layout.channels)
    assert values(tokens).is_contiguous()
    decoded = tokenizer.decode(tokens, seeds=SEEDS)
    assert decoded.shape == images.shape
    assert bool(torch.isfinite(decoded).all())
    assert float(decoded.std()) > 1e-3


def test_an_image_does_not_depend_on_its_batch(tokenizer: Tokenizer) -> None:
    images = pictures(tokenizer)
    tokens = tokenizer.encode(images, seeds=SEEDS)
    decoded = tokenizer.decode(tokens, seeds=SEEDS)
    for i in range(3):
        alone = tokenizer.encode(images[i : i + 1], seeds=SEEDS[i : i + 1])
        close(values(alone), values(part(tokens, i)), 1e-5)
        close(tokenizer.decode(part(tokens, i), seeds=SEEDS[i : i + 1]), decoded[i : i + 1], 2e-5)


def test_it_repeats_exactly_and_leaves_its_input_alone(tokenizer: Tokenizer) -> None:
    images = pictures(tokenizer)
    tokens = tokenizer.encode(images, seeds=SEEDS)
    kept, decoded = values(tokens).clone(), tokenizer.decode(tokens, seeds=SEEDS)
    torch.randn(3)
    assert torch.equal(values(tokenizer.encode(images, seeds=SEEDS)), kept)
    assert torch.equal(tokenizer.decode(tokens, seeds=SEEDS), decoded)
    assert torch.equal(values(tokens), kept)
    assert torch.equal(images, pictures(tokenizer))


@pytest.mark.parametrize("name", [name for name in SMALL if getattr(zoo.resolve(name)[1].config, "library_class", "") in FRAMES])
@torch.no_grad()
def test_an_image_is_a_clip_of_one_frame(name: str) -> None:
    """What the library makes of it; opaque, where its networks know opacity, which is left out of what they decode."""
    tokenizer = small(name, "")
    images = pictures(tokenizer, 1)
    clips = images.unsqueeze(2)
    clips = torch.cat([clips, torch.ones_like(clips[:, :1])], dim=1) if name == "diffusers/qwen-2.1" else clips
    latents = tokenizer.network.encode(clips).latent_dist.mode()
    decoded = tokenizer.network.decode(latents).sample
    assert decoded.shape == clips.shape
    tokens = tokenizer.encode(images)
    close(values(tokens), rearrange(latents, "b c 1 h w -> b (h w) c"), 1e-5)
    close(tokenizer.decode(tokens), decoded[:, :3, 0], 1e-5)


def test_seeds_are_needed_or_ignored_as_declared(tokenizer: Tokenizer) -> None:
    images = pictures(tokenizer, 1)
    tokens = tokenizer.encode(images, seeds=[1])
    calls: list[tuple[bool, Callable[[list[int] | None], Tensor]]] = [
        (tokenizer.encode_is_stochastic, lambda seeds: values(tokenizer.encode(images, seeds=seeds))),
        (tokenizer.decode_is_stochastic, lambda seeds: tokenizer.decode(tokens, seeds=seeds)),
    ]
    for stochastic, call in calls:
        if stochastic:
            with pytest.raises(TokbenchError, match=rf"{tokenizer.name} draws noise: pass seeds=\[...\], one integer per image \(1 here\)"):
                call(None)
            assert not torch.equal(call([1]), call([2]))
        else:
            assert torch.equal(call(None), call([2]))


@pytest.mark.parametrize(
    ("name", "posterior", "encode", "decode"),
    [
        ("diffusers/kl", "", False, False),
        ("diffusers/kl", "sample", True, False),
        ("diffusers/consistency", "", False, True),
        ("diffusers/consistency", "sample", True, True),
        ("diffusers/vq", "", False, False),
    ],
)
def test_what_draws_noise(name: str, posterior: str, encode: bool, decode: bool) -> None:
    tokenizer = small(name, posterior)
    assert (tokenizer.encode_is_stochastic, tokenizer.decode_is_stochastic) == (encode, decode)


def test_decoding_can_be_trained_through(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode(pictures(tokenizer), seeds=SEEDS)
    assert not values(tokens).requires_grad
    public = tokenizer.decode(tokens, seeds=SEEDS)
    assert not public.requires_grad
    assert not public.is_inference()
    image = tokenizer._decode(tokens, SEEDS if tokenizer.decode_is_stochastic else [])
    parameter = next(value for key, value in tokenizer.named_parameters() if "decoder" in key)
    (gradient,) = torch.autograd.grad(image.square().mean(), parameter)
    assert float(gradient.abs().max()) > 0


def test_under_autocast(tokenizer: Tokenizer) -> None:
    images = pictures(tokenizer)
    with torch.autocast("cpu", torch.bfloat16):
        tokens = tokenizer.encode(images, seeds=SEEDS)
        decoded = tokenizer.decode(tokens, seeds=SEEDS).float()
    assert values(tokens).dtype in (torch.float32, torch.int64)
    close(decoded, tokenizer.decode(tokens, seeds=SEEDS), 0.3)


def test_no_images(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode(pictures(tokenizer)[:0], seeds=[])
    assert len(tokens) == 0
    assert tokenizer.decode(tokens, seeds=[]).shape == (0, 3, 5 * tokenizer.stride, 3 * tokenizer.stride)


def test_a_size_that_does_not_fit_is_padded_and_cut(tokenizer: Tokenizer) -> None:
    height, width = 4 * tokenizer.stride + 1, 3 * tokenizer.stride - 1
    images = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1
    tokens = tokenizer.encode(images, seeds=[1])
    layout = tokenizer.layout(height, width)
    assert tokens.grid == layout.grid == (5, 3 if tokenizer.stride > 1 else 2)
    assert layout.padded_size == (5 * tokenizer.stride, layout.grid[1] * tokenizer.stride)
    assert tokenizer.decode(tokens, seeds=[1]).shape == images.shape


def test_the_configuration_is_frozen_and_goes_through_json(tokenizer: Tokenizer) -> None:
    config = tokenizer.config
    assert hash(config) == hash(dataclasses.replace(config))
    for field in dataclasses.fields(config):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, field.name, None)
    recorded = json.loads(json.dumps(plain(config)))
    assert type(config)(**recorded) == config
    assert recorded["library_class"] in type(tokenizer.network).__name__


def test_saved_by_this_package_it_needs_no_variant(tokenizer: Tokenizer, tmp_path: Path) -> None:
    images = pictures(tokenizer, 1)
    again = tokbench.load(str(save_tokenizer(tokenizer, tmp_path / "saved")))
    assert again.name == tokenizer.name
    assert torch.equal(values(again.encode(images, seeds=[1])), values(tokenizer.encode(images, seeds=[1])))
    assert again.state_dict().keys() == tokenizer.state_dict().keys()


def test_a_network_that_does_not_keep_to_its_settings_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = small("diffusers/kl", "")
    monkeypatch.setattr(type(tokenizer.config), "channels", property(lambda self: 5))
    with pytest.raises(TokbenchError, match=r"made \(3, 5, 3\) of images of \(10, 6\), by its settings it should be \(5, 5, 3\)"):
        tokenizer.encode(pictures(tokenizer))


@pytest.mark.parametrize(
    ("name", "changes", "problem"),
    [
        ("diffusers/kl", {"block_out_channels": None}, "block_out_channels of AutoencoderKL must be a list of .* got None"),
        ("diffusers/kl", {"block_out_channels": ()}, r"must be a list of whole numbers, one a level, got \[\]"),
        ("diffusers/kl", {"latent_channels": 0}, "latent_channels of AutoencoderKL must be a positive whole number, got 0"),
        ("diffusers/kl", {"latent_channels": "4"}, "must be a positive whole number, got '4'"),
        ("diffusers/kl", {"latent_channels": True}, "must be a positive whole number, got True"),
        ("diffusers/kl", {"in_channels": 4}, "images have 3 channels, AutoencoderKL is set to in_channels 4"),
        ("diffusers/consistency", {"encoder_in_channels": 1}, "ConsistencyDecoderVAE is set to encoder_in_channels 1"),
        ("diffusers/vq", {"num_vq_embeddings": -8}, "must be a positive whole number, got -8"),
        ("diffusers/tiny", {"upsampling_scaling_factor": 4}, "makes images 2 times smaller, the decoder 4 times larger"),
        ("diffusers/dc", {"decoder_layers_per_block": (0, 0, 1)}, "makes images 4 times smaller, the decoder 2 times larger"),
        ("diffusers/ltx", {"timestep_conditioning": True}, "takes a time of diffusion, and here is none to give"),
        ("diffusers/qwen-2.1", {"in_channels": 3}, "here images make 4 channels, AutoencoderKLQwenImage21 is set to in_channels 3"),
        ("diffusers/wan", {"patch_size": 2, "in_channels": 3}, "here images make 12 channels, AutoencoderKLWan is set to in_channels 3"),
        ("diffusers/flux2", {"patch_size": (2, 1)}, "patch_size of AutoencoderKLFlux2 must be a positive whole number"),
        ("transformers/emu3", {"channel_multiplier": 2}, "channel_multiplier of Emu3VQVAE must be a list"),
        ("transformers/chameleon", {"num_res_blocks": 0}, "must be a positive whole number, got 0"),
        ("transformers/chameleon", {"base_channels": 40}, "multiple of norm_groups=32"),
    ],
)
def test_impossible_settings_are_refused(name: str, changes: dict[str, object], problem: str) -> None:
    config = zoo.resolve(name)[1].config
    with pytest.raises(TokbenchError, match=problem) as error:
        with_overrides(config, {"settings": settings_of(SMALL[name] | changes)})
    assert "is refused" in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ({"settings": "nonsense"}, "settings=nonsense is refused"),
        ({"settings": "[3]"}, "settings must be a JSON object"),
        ({"settings": "{}"}, "settings of AutoencoderKL lack latent_channels"),
        ({"library_class": "VQModel"}, "library_class is one of AutoencoderKL; got 'VQModel'"),
        ({"posterior": "mode"}, "posterior is one of mean, sample; got 'mode'"),
        ({"decoder_steps": 2}, "unknown setting 'decoder_steps'"),
    ],
)
def test_overrides_that_do_not_fit(overrides: dict[str, object], problem: str) -> None:
    with pytest.raises(TokbenchError, match=problem):
        with_overrides(zoo.resolve("diffusers/kl")[1].config, overrides)


def test_steps_that_the_library_has_no_schedule_for() -> None:
    with pytest.raises(TokbenchError, match="decoder_steps is one of 2; got 3"):
        with_overrides(zoo.resolve("diffusers/consistency")[1].config, {"decoder_steps": 3})


def test_settings_that_the_library_refuses() -> None:
    pytest.importorskip("diffusers")
    family, variant = zoo.resolve("diffusers/kl")
    config = with_overrides(variant.config, {"settings": settings_of(SMALL["diffusers/kl"] | {"norm_num_groups": 3})})
    with pytest.raises(TokbenchError, match=r"AutoencoderKL of diffusers cannot be built from these settings \(.*divisible.*\)"):
        import_class(family.model)(config)
