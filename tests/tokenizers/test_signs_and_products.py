"""Open-MAGVIT2, IBQ, Show-o and Janus end to end: outputs of upstream on random weights, the files they publish, other libraries."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor

import tokbench
from tokbench.configs import with_overrides
from tokbench.errors import TokbenchError
from tokbench.nn.configs import AutoencoderConfig
from tokbench.plugins import import_class
from tokbench.quantizers.configs import IBQ, LFQ, VQ
from tokbench.tokenizers import zoo
from tokbench.tokenizers.conv_vq.config import ConvVQConfig
from tokbench.tokenizers.conv_vq.model import ConvVQTokenizer
from tokbench.tokenizers.ibq.model import IBQTokenizer
from tokbench.tokenizers.janus.model import Janus
from tokbench.tokenizers.magvit2.model import MAGVIT2
from tokbench.tokens import DiscreteTokens
from tokbench.weights.checkpoints import load_strictly

OWN = Path(__file__).parents[1] / "goldens"
MORE = Path(__file__).parents[3] / "shared" / "goldens2"
"""Outputs of upstream, where they are."""


def golden_sets(family: str) -> pytest.MarkDecorator:
    found = sorted(path for path in (MORE / family).glob("*") if path.is_dir())
    none = pytest.param(MORE, marks=pytest.mark.skip(reason=f"the outputs of {family} are not here"), id="none")
    return pytest.mark.parametrize("folder", found or [none], ids=lambda folder: folder.name)


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    return json.loads((folder / "config.json").read_text())["config"], load_file(folder / "io.safetensors")


def network(settings: dict[str, Any], **more: Any) -> AutoencoderConfig:
    return AutoencoderConfig(
        settings["z_channels"],
        channels=settings["ch"],
        channel_multipliers=tuple(settings["ch_mult"]),
        num_res_blocks=settings["num_res_blocks"],
        attn_resolutions=tuple(settings.get("attn_resolutions", ())),
        resolution=settings["resolution"],
        double_z=settings["double_z"],
        **more,
    )


def from_file(model: ConvVQTokenizer, path: Path) -> ConvVQTokenizer:
    """As a user's file is read, strictly."""
    found = model.read_weights(path)
    load_strictly(model, found.tensors, origin=path.name)
    return model.eval()


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def assert_codes_and_images(model: ConvVQTokenizer, io: dict[str, Tensor]) -> DiscreteTokens:
    """Encoding gives upstream's ids, its vectors, and decoding of either upstream's images."""
    tokens = model.encode(io["image"])
    assert isinstance(tokens, DiscreteTokens)
    assert tokens.grid == tuple(io["prequant"].shape[2:])
    assert torch.equal(tokens.codes.flatten(), io["indices"].flatten())
    vectors, _ = model._vectors(io["image"])
    close(vectors, rearrange(io["prequant"], "b d h w -> b (h w) d"), 1e-5)
    assert torch.equal(model.embed(tokens), rearrange(io["codes_exact"], "b d h w -> b (h w) d"))
    given = DiscreteTokens(io["indices"].reshape(len(tokens), -1, 1), tokens.grid, tokens.codebook_sizes)
    images = model.decode(given)
    close(images, io["recon_from_codes"], 1e-4)
    assert torch.equal(images, model.decode(tokens))
    return tokens


def magvit2(folder: Path) -> MAGVIT2:
    settings, _ = read(folder)
    bits = settings["embed_dim"]
    autoencoder = network(settings["ddconfig"], mid_attention=False, design="magvit2")
    return MAGVIT2(ConvVQConfig(autoencoder, LFQ(bits, temperature=0.01), quant_convs=False))


@golden_sets("open_magvit2")
@torch.no_grad()
def test_open_magvit2(folder: Path) -> None:
    settings, io = read(folder)
    model = from_file(magvit2(folder), folder / "state_dict.safetensors")
    assert isinstance(model, MAGVIT2)
    if settings["use_ema"]:
        io = averaged(io)
    assert_codes_and_images(model, io)
    if not settings["use_ema"]:
        vectors = rearrange(io["prequant"], "b d h w -> b (h w) d")
        certain, used = model.quantize.entropies(vectors)  # type: ignore[operator]
        close(certain, io["train_per_sample_entropy"], 1e-5)
        close(used, io["train_codebook_entropy"], 1e-5)
        losses = model.quantize(vectors).losses
        close(losses["commitment"] / model.quantize.commitment_weight, io["train_commit_loss"], 1e-5)  # type: ignore[operator]


def averaged(io: dict[str, Tensor]) -> dict[str, Tensor]:
    """Outputs of the averages, where a file has both, by the names of those of the raw weights."""
    return io | {key.removesuffix("_ema"): value for key, value in io.items() if key.endswith("_ema")}


@golden_sets("ibq")
@torch.no_grad()
def test_ibq(folder: Path) -> None:
    settings, io = read(folder)
    quantizer = IBQ(
        settings["n_embed"],
        settings["embed_dim"],
        beta=settings["beta"],
        entropy_temperature=settings["entropy_temperature"],
        diversity_weight=settings["batch_maximization_weight"],
    )
    model = from_file(IBQTokenizer(ConvVQConfig(network(settings["ddconfig"]), quantizer)), folder / "state_dict.safetensors")
    if settings["use_ema"]:
        io = averaged(io)
    assert_codes_and_images(model, io)
    if not settings["use_ema"]:
        losses = model.quantize(rearrange(io["prequant"], "b d h w -> b (h w) d")).losses
        close(losses["codebook"], io["quant_loss"], 1e-5)


def test_the_spread_of_a_code_is_the_unbiased_one() -> None:
    """Divided by the number of places instead, images change by far more than rounding."""
    torch.manual_seed(0)
    plain = {"attn_resolutions": (), "mid_attention": False, "design": "magvit2"}
    autoencoder = AutoencoderConfig(4, channels=32, channel_multipliers=(1, 2, 1), num_res_blocks=1, **plain)
    model = MAGVIT2(ConvVQConfig(autoencoder, LFQ(4), quant_convs=False)).eval()
    code, x = torch.randn(2, 4, 4, 4).sign(), torch.randn(2, 32, 4, 4)
    places, adapt = code.flatten(2), model.decoder.adaptive[-1]
    scale = adapt.gamma((((places - places.mean(2, keepdim=True)) ** 2).sum(2) / (places.shape[2] - 1) + 1e-6).sqrt())
    normed = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), unbiased=False, keepdim=True) + 1e-6).sqrt()
    assert adapt.norm.num_channels == adapt.norm.num_groups
    close(adapt(x, code), normed * scale[:, :, None, None] + adapt.beta(places.mean(2))[:, :, None, None], 1e-5)
    with pytest.raises(TokbenchError, match="image size 4x4 is one token, and this network needs the spread of several; use at least 4x8"):
        model.encode(torch.zeros(1, 3, 4, 4))
    assert model.decode(model.encode(torch.zeros(1, 3, 4, 8))).isfinite().all()
    with pytest.raises(TokbenchError, match="image size 1x2 is one token, and this network needs the spread of several; use at least 1x8"):
        model.encode(torch.zeros(1, 3, 1, 2))
    assert model.decode(model.encode(torch.zeros(1, 3, 1, 8))).shape == (1, 3, 1, 8)


@pytest.mark.parametrize(
    "change", [{"mid_attention": True}, {"attn_resolutions": (16,)}, {"local_levels": 1}, {"norm": "rms"}, {"pooled": True}]
)
def test_layers_that_the_design_does_not_have_are_refused(change: dict[str, Any]) -> None:
    plain = {"attn_resolutions": (), "mid_attention": False, "design": "magvit2"}
    AutoencoderConfig(4, **plain)
    with pytest.raises(ValueError, match="design=magvit2 has no attention"):
        AutoencoderConfig(4, **(plain | change))


@pytest.mark.parametrize("name", ["vae/sd", "flux/2", "cosmos/ci8x8", "titok/l-32"])
def test_tokenizers_that_do_not_have_the_design_refuse_it(name: str) -> None:
    config = zoo.resolve(name)[1].config
    part = "pixels" if name == "titok/l-32" else "autoencoder"
    change = {f"{part}.design": "magvit2", f"{part}.attn_resolutions": (), f"{part}.mid_attention": False}
    more = {"pixels.pooled": False} if part == "pixels" else {"autoencoder.halvings": "none"}
    with pytest.raises(TokbenchError, match="design=magvit2 is of tokenizers that have but codes; take taming or maskgit here"):
        with_overrides(config, change | more)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"design": "vqgan"}, "design is taming or maskgit or magvit2, got 'vqgan'"),
        ({"patch": 3}, "patch must be a power of two, got 3"),
        ({"halvings": 6}, "halvings is 0 to 5, the levels there are, got 6"),
        ({"encoder_blocks": (1, 2)}, "have 5 numbers, one a level, or none"),
        ({"decoder_multipliers": (1, 1, 2, 2, 0)}, "must be positive"),
    ],
)
def test_impossible_levels_are_refused(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        AutoencoderConfig(4, **change)


def test_without_convolutions_the_quantizer_takes_the_code_as_it_is() -> None:
    with pytest.raises(
        ValueError, match=r"without quant_convs the quantizer's values \(8\) must be as many as autoencoder.z_channels \(4\)"
    ):
        ConvVQConfig(AutoencoderConfig(4), LFQ(8), quant_convs=False)


SMALL = {"autoencoder.channels": 32, "autoencoder.encoder_blocks": (2, 1, 1, 1, 1), "autoencoder.decoder_blocks": (1, 1, 1, 2, 1)}


def test_show_o_reads_its_own_names_and_packs_the_first_channel_highest(tmp_path: Path) -> None:
    """By the formula of its source, on random weights in the layout of its file."""
    family, variant = zoo.resolve("magvit2/show-o")
    torch.manual_seed(0)
    model = import_class(family.model)(with_overrides(variant.config, SMALL)).eval()
    state = {
        re.sub("^quant_conv", "encoder.quant_conv", re.sub("^post_quant_conv", "decoder.post_quant_conv", key)): value.contiguous()
        for key, value in model.state_dict().items()
    }
    codes = torch.arange(8192)[:, None] >> torch.arange(12, -1, -1) & 1
    state |= {"quantize.embedding": codes.float() * 2 - 1, "quantize.power_vals": 2 ** torch.arange(12, -1, -1)}
    save_file(state, tmp_path / "model.safetensors")
    loaded = tokbench.load("magvit2/show-o", weights=tmp_path / "model.safetensors", config=SMALL)
    image = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
    tokens = loaded.encode(image)
    features = model.quant_conv(model.encoder(image))
    ids = ((features > 0).long() * state["quantize.power_vals"].reshape(1, -1, 1, 1)).sum(1)
    assert isinstance(tokens, DiscreteTokens)
    assert torch.equal(tokens.codes.flatten(), ids.flatten())
    signs = rearrange(state["quantize.embedding"][ids], "b h w d -> b d h w")
    assert torch.equal(loaded.decode(tokens), model.decoder(model.post_quant_conv(signs)))


def test_show_o_has_levels_of_unlike_depth_and_width() -> None:
    family, variant = zoo.resolve("magvit2/show-o")
    with torch.device("meta"):
        model = import_class(family.model)(variant.config)
    assert [len(level.block) for level in model.encoder.down] == [4, 3, 4, 3, 4]
    assert [len(level.block) for level in model.decoder.up] == [4, 4, 3, 4, 3]
    assert [level.block[-1].conv2.out_channels for level in model.encoder.down] == [128, 256, 256, 512, 512]
    assert [level.block[-1].conv2.out_channels for level in model.decoder.up] == [128, 128, 256, 256, 512]


def test_janus_equals_the_class_of_transformers(tmp_path: Path) -> None:
    """With codes of length 1 the library's ids are the published ones too; the file is read within its model's names."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    settings = {"base_channels": 32, "channel_multiplier": [1, 2, 1], "num_res_blocks": 1, "latent_channels": 16, "embed_dim": 4}
    theirs = transformers.JanusVQVAE(transformers.JanusVQVAEConfig(num_embeddings=48, num_patches=8, **settings)).eval()
    theirs.quantize.embedding.weight.data = torch.nn.functional.normalize(torch.randn(48, 4))
    state = {f"model.vqmodel.{key}": value.contiguous() for key, value in theirs.state_dict().items()}
    save_file(state | {"model.language_model.norm.weight": torch.ones(3)}, tmp_path / "model.safetensors")
    autoencoder = AutoencoderConfig(16, channels=32, channel_multipliers=(1, 2, 1), num_res_blocks=1, attn_resolutions=(8,), resolution=32)
    ours = from_file(Janus(ConvVQConfig(autoencoder, VQ(48, 4, cosine=True))), tmp_path / "model.safetensors")
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    tokens = ours.encode(image)
    assert isinstance(tokens, DiscreteTokens)
    with torch.no_grad():
        assert torch.equal(tokens.codes.flatten(), theirs.encode(image).image_tokens.flatten())
        close(ours.decode(tokens), theirs.decode(tokens.codes.flatten(1)), 1e-4)


def test_janus_reads_the_names_of_llamagen_within_its_model(tmp_path: Path) -> None:
    folder = OWN / "llamagen"
    io = load_file(folder / "io.safetensors")
    state = {f"gen_vision_model.{key}": value for key, value in load_file(folder / "state_dict.safetensors").items()}
    save_file(state | {"language_model.norm.weight": torch.ones(3)}, tmp_path / "model.safetensors")
    settings = json.loads((folder / "config.json").read_text())
    args, size = settings["model_args"], settings["resolution"]
    multipliers = tuple(args["encoder_ch_mult"])
    autoencoder = AutoencoderConfig(
        args["z_channels"],
        channels=settings["ch"],
        channel_multipliers=multipliers,
        num_res_blocks=settings["num_res_blocks"],
        attn_resolutions=(size // 2 ** (len(multipliers) - 1),),
        resolution=size,
    )
    model = from_file(
        Janus(ConvVQConfig(autoencoder, VQ(args["codebook_size"], args["codebook_embed_dim"], cosine=True))), tmp_path / "model.safetensors"
    )
    tokens = model.encode(io["image"])
    assert isinstance(tokens, DiscreteTokens)
    assert torch.equal(tokens.codes.flatten(), io["indices"].flatten())
    close(model.decode(tokens), io["recon_from_indices"], 1e-4)
