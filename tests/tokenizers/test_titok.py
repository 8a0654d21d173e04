"""TiTok and TA-TiTok against outputs of 1d-tokenizer under random weights, and against the names of published files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor

import tokbench
from tokbench.configs import with_overrides
from tokbench.errors import TokbenchError
from tokbench.layout import TokenLayout
from tokbench.nn.configs import AutoencoderConfig, ViTConfig
from tokbench.nn.posterior import Posterior
from tokbench.plugins import import_class
from tokbench.tokenizers import zoo
from tokbench.tokenizers.titok.config import TiTokConfig
from tokbench.tokenizers.titok.model import TiTok
from tokbench.tokens import ContinuousTokens, DiscreteTokens
from tokbench.weights.checkpoints import load_strictly
from tokbench.weights.fitting.fit import fit
from tokbench.weights.fitting.wanted import Wanted

OWN = Path(__file__).parents[1] / "goldens"
SHARED = Path(__file__).parents[3] / "shared"
KINDS = ("titok_legacy", "titok_vq", "titok_vae", "tatitok_vq", "tatitok_vae")

MANIFESTS = {
    "titok_l32": "titok/l-32",
    "titok_b64": "titok/b-64",
    "titok_s128": "titok/s-128",
    "titok_bl64_vq8k": "titok/bl-64-vq",
    "titok_bl128_vq8k": "titok/bl-128-vq",
    "titok_sl256_vq8k": "titok/sl-256-vq",
    "titok_bl64_vae_c16": "titok/bl-64-vae",
    "tatitok_bl64_vq": "titok/ta-bl-64-vq",
    "tatitok_bl128_vq": "titok/ta-bl-128-vq",
    "tatitok_bl32_vae": "titok/ta-bl-32-vae",
    "tatitok_bl64_vae": "titok/ta-bl-64-vae",
    "tatitok_sl128_vae": "titok/ta-sl-128-vae",
}

SIZES = {"titok/ll-32-vae": 606.9e6, "titok/bl-128-vae": 389.6e6}
"""Elements of files whose lists of names are not at hand, as far as they are known."""


def golden_sets() -> list[Path]:
    """The package's own, and further ones where they are."""
    own = [OWN / kind for kind in KINDS if (OWN / kind).is_dir()]
    further = sorted(path for kind in KINDS for path in (SHARED / "goldens2" / kind).glob("*") if (path / "io.safetensors").is_file())
    return own + [path for path in further if not (path.name == "a" and OWN / path.parent.name in own)]


def shape(folder: Path) -> TiTokConfig:
    """A golden's settings, which has sizes of its own for the letters of upstream's."""
    settings = json.loads((folder / "config.json").read_text())
    model = settings["config"]["model"]["vq_model"]
    sides = {}
    for side in ("enc", "dec"):
        size = settings["size_table"][model[f"vit_{side}_model_size"]]
        sides[side] = ViTConfig(size["width"], size["layers"], size["heads"], model[f"vit_{side}_patch_size"])
    pixels = None
    if network := settings.get("pixel_decoder"):
        pixels = AutoencoderConfig(
            network["z_channels"],
            channels=network["hidden_channels"],
            channel_multipliers=tuple(network["channel_mult"]),
            num_res_blocks=network["num_res_blocks"],
            attn_resolutions=(),
            mid_attention=False,
            design="maskgit",
            pooled=True,
        )
    return TiTokConfig(
        sides["enc"],
        sides["dec"],
        length=model["num_latent_tokens"],
        channels=model["token_size"],
        codebook_size=model.get("codebook_size"),
        cosine=model.get("use_l2_norm", False),
        image_size=settings["config"]["dataset"]["preprocessing"]["crop_size"],
        pixels=pixels,
        pixel_codes=settings.get("pixel_codebook_size", 1024),
        text=(model["text_context_length"], model["text_embed_dim"]) if "text_embed_dim" in model else None,
    )


def built(folder: Path) -> TiTok:
    """Read from the file as a user's would be."""
    model = TiTok(shape(folder))
    load_strictly(model, model.read_weights(folder / "state_dict.safetensors").tensors, origin=folder.name)
    return model.eval()


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


@pytest.mark.parametrize("folder", golden_sets(), ids=lambda path: f"{path.parent.name}-{path.name}")
@torch.no_grad()
def test_goldens(folder: Path) -> None:
    model, io = built(folder), load_file(folder / "io.safetensors")
    images = 2 * io["image"] - 1
    tokens = model.encode(images)
    assert tokens.grid == (io["prequant"].shape[3],)
    features = model.features(images)
    close(features, io["prequant"], 1e-5)
    if isinstance(tokens, DiscreteTokens):
        assert torch.equal(tokens.codes.flatten(), io["indices"].flatten())
        close(rearrange(model.embed(tokens), "b n c -> b c 1 n"), io["codes_exact"], 1e-6)
    else:
        posterior = Posterior.of(features)
        close(tokens.latents, rearrange(io["mean"], "b c 1 n -> b n c"), 1e-5)
        close(torch.cat([posterior.logvar, posterior.std]), torch.cat([io["logvar"], io["std"]]), 1e-5)
        torch.testing.assert_close(posterior.kl(), io["kl"].sum(dim=1), atol=0, rtol=1e-5)
    if "decoder_logits" in io:
        assert isinstance(tokens, DiscreteTokens)
        close(model.decoder(model.embed(tokens), None), io["decoder_logits"], 1e-4)
    if model.config.text is None:
        decoded = model.decode(tokens)
    else:
        decoded = model.decode_with_text(tokens, io["text_guidance"])
        with pytest.raises(TokbenchError, match="decodes beside words, which its tokens do not hold: give their CLIP features to"):
            model.decode(tokens)
        with pytest.raises(ValueError, match=r"takes features \(2, 5, 16\), got \(2, 4, 16\)"):
            model.decode_with_text(tokens, io["text_guidance"][:, 1:])
        other = model.decode_with_text(tokens, torch.zeros_like(io["text_guidance"]))
        assert float((other - decoded).abs().max()) > 1e-3
    close((decoded + 1) / 2, io["recon_from_tokens"], 1e-4)


def test_a_record_of_which_codes_were_used_is_left_out(tmp_path: Path) -> None:
    """TA-TiTok's training keeps one where it moves codes that nobody used."""
    model = built(OWN / "titok_vq")
    used = torch.zeros(model.config.codebook_size or 0)
    torch.save(load_file(OWN / "titok_vq" / "state_dict.safetensors") | {"quantize.embed_prob": used}, tmp_path / "trained.bin")
    found = model.read_weights(tmp_path / "trained.bin")
    assert all(torch.equal(found.tensors[key], value) for key, value in model.state_dict().items())
    assert "quantize.embed_prob" in found.how


@pytest.mark.parametrize(("name", "variant"), MANIFESTS.items())
def test_manifests(name: str, variant: str) -> None:
    path = SHARED / "facts" / "keys2" / f"{name}.json"
    if not path.is_file():
        pytest.skip("the manifests are not here")
    listed = json.loads(path.read_text())
    tensors = {key: torch.empty(shape, dtype=getattr(torch, dtype), device="meta") for key, (shape, dtype) in listed["tensors"].items()}
    model = on_meta(variant)
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    found = fit(tensors, Wanted(variant, shapes, frozenset(shapes), model.own_names), dict, origin=name)
    assert (found.fits, found.unknown) == (True, {})
    model.load_state_dict(found.tensors, strict=True, assign=True)
    assert sum(value.numel() for value in model.state_dict().values()) == listed["n_elements"]


@pytest.mark.parametrize(("variant", "elements"), SIZES.items())
def test_sizes(variant: str, elements: float) -> None:
    assert sum(value.numel() for value in on_meta(variant).state_dict().values()) == pytest.approx(elements, abs=5e4)


def on_meta(name: str) -> TiTok:
    family, row = zoo.resolve(name)
    with torch.device("meta"):
        return import_class(family.model)(row.config)


def test_layouts() -> None:
    expected = {"l-32": 384, "b-64": 768, "s-128": 1536, "bl-64-vq": 832, "bl-128-vq": 1664, "sl-256-vq": 3328, "ta-bl-32-vq": 416}
    for name, bits in expected.items():
        assert zoo.resolve(f"titok/{name}")[1].config.layout(256, 256).bits_per_image == bits
    config = zoo.resolve("titok/bl-64-vae")[1].config
    assert config.layout(256, 256) == TokenLayout((256, 256), grid=(64,), channels=16)
    with pytest.raises(TokbenchError, match=r"image size 512x256 does not fit: this TiTok takes 256x256 \(--size 256\)"):
        config.layout(512, 256)


@pytest.mark.usefixtures("empty_cache")
def test_weights_that_are_not_here() -> None:
    with pytest.raises(TokbenchError, match="the weights of titok/l-32 are not here; run: tokbench weights get titok/l-32"):
        tokbench.load("titok")


def test_samples_and_other_lengths() -> None:
    small = ViTConfig(16, 1, 2, patch_size=8)
    config = TiTokConfig(small, small, length=5, channels=3, image_size=16)
    torch.manual_seed(0)
    model = TiTok(replace(config, posterior="sample")).eval()
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with pytest.raises(TokbenchError, match="draws noise: pass seeds"):
        model.encode(images)
    first, second = (model.encode(images, seeds=seeds) for seeds in ([1, 2], [1, 3]))
    assert isinstance(first, ContinuousTokens)
    assert isinstance(second, ContinuousTokens)
    assert torch.equal(first.latents[0], second.latents[0])
    assert not torch.equal(first.latents[1], second.latents[1])
    with pytest.raises(ValueError, match=r"takes a sequence of 5 tokens, got a grid \(4,\)"):
        model.decode(ContinuousTokens(first.latents[:, :4], (4,)))
    with pytest.raises(ValueError, match=r"takes no words, got \(2, 5, 16\)"):
        model.decode_with_text(first, torch.zeros(2, 5, 16))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"length": 0}, "must be positive"),
        ({"codebook_size": 1}, "at least 2 codes, got 1"),
        ({"posterior": "mode"}, "posterior is mean, or sample"),
        ({"codebook_size": 64, "posterior": "sample"}, "posterior is mean, or sample where there is no codebook"),
        ({"image_size": 24}, "multiple of the patch size 16, got 24"),
        ({"pixels": AutoencoderConfig(8, channel_multipliers=(1, 1))}, "makes images of 4 px, not of image_size=32"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_impossible_settings_are_refused(changes: dict, problem: str) -> None:
    config = TiTokConfig(ViTConfig(16, 1, 2), ViTConfig(16, 1, 2), length=4, channels=3, image_size=32)
    with pytest.raises(ValueError, match=problem):
        replace(config, **changes)
    with pytest.raises(TokbenchError, match=r"'pixels.channels' cannot be set: 'channels' is not part of a configuration"):
        with_overrides(config, {"pixels.channels": 32})
    for wrong in ({"width": 0}, {"heads": 3}, {"mlp_ratio": float("inf")}):
        with pytest.raises(ValueError, match=r"must be positive|3 heads do not divide a width of 16"):
            replace(config.encoder, **wrong)
