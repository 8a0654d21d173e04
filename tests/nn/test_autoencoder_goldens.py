"""The convolutional networks against outputs of CompVis/taming-transformers and diffusers on random weights.

Tolerances are a few times the drift of those implementations between single and double precision.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor

from tokbench.nn.configs import AutoencoderConfig
from tokbench.nn.discriminator import PatchDiscriminator
from tokbench.quantizers.configs import VQ
from tokbench.tokenizers.conv_vq.config import ConvVQConfig
from tokbench.tokenizers.vae.model import VAE
from tokbench.tokenizers.vae.variants import VAEConfig
from tokbench.tokenizers.vqgan.model import VQGAN
from tokbench.tokens import ContinuousTokens
from tokbench.train.autoencoder import adaptive_weight, hinge_loss
from tokbench.weights.checkpoints import load_strictly


@dataclass(frozen=True)
class Golden:
    config: dict
    state: dict[str, Tensor]
    io: dict[str, Tensor]


def read_golden(folder: Path) -> Golden:
    config = json.loads((folder / "config.json").read_text())
    return Golden(config, load_file(folder / "state_dict.safetensors"), load_file(folder / "io.safetensors"))


def autoencoder_config(ddconfig: dict) -> AutoencoderConfig:
    return AutoencoderConfig(
        z_channels=ddconfig["z_channels"],
        channels=ddconfig["ch"],
        channel_multipliers=tuple(ddconfig["ch_mult"]),
        num_res_blocks=ddconfig["num_res_blocks"],
        attn_resolutions=tuple(ddconfig["attn_resolutions"]),
        resolution=ddconfig["resolution"],
        double_z=ddconfig["double_z"],
    )


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


@pytest.fixture(scope="module")
def taming(goldens: Path) -> Golden:
    return read_golden(goldens / "taming")


def vqgan(golden: Golden, loss_form: str = "taming") -> VQGAN:
    config = golden.config
    model = VQGAN(
        ConvVQConfig(autoencoder_config(config["ddconfig"]), VQ(config["n_embed"], config["embed_dim"], config["beta"], loss_form))  # type: ignore[arg-type]
    )
    load_strictly(model, {key: value for key, value in golden.state.items() if not key.startswith("loss.")}, origin="golden")
    return model.eval()


def discriminator(golden: Golden) -> PatchDiscriminator:
    prefix, losses = "loss.discriminator.", golden.config["lossconfig"]
    model = PatchDiscriminator(channels=losses["disc_ndf"], layers=losses["disc_num_layers"])
    state = {key.removeprefix(prefix): value for key, value in golden.state.items() if key.startswith(prefix)}
    load_strictly(model, state, origin="golden")
    return model


class TestTaming:
    @torch.no_grad()
    def test_encoder(self, taming: Golden) -> None:
        model = vqgan(taming)
        close(model.encoder(taming.io["image"]), taming.io["encoder_out"], 1e-5)
        close(model.quant_conv(taming.io["encoder_out"]), taming.io["prequant"], 1e-5)

    def test_codes(self, taming: Golden) -> None:
        tokens = vqgan(taming).encode(taming.io["image"])
        assert tokens.grid == (8, 8)
        assert torch.equal(tokens.codes.flatten(), taming.io["indices"])

    @torch.no_grad()
    def test_lookup_is_exact(self, taming: Golden) -> None:
        vectors = vqgan(taming).quantize.lookup(taming.io["indices"].reshape(2, 64, 1))
        assert torch.equal(rearrange(vectors, "b (h w) d -> b d h w", h=8), taming.io["codes_exact"])

    @torch.no_grad()
    def test_decoder(self, taming: Golden) -> None:
        model = vqgan(taming)
        close(model.post_quant_conv(taming.io["quant"]), taming.io["post_quant"], 1e-5)
        close(model.decoder(taming.io["post_quant"]), taming.io["recon"], 1e-4)
        close(model.decode(model.encode(taming.io["image"])), taming.io["recon_from_indices"], 1e-4)

    @pytest.mark.parametrize(("loss_form", "name"), [("taming", "emb_loss_legacy"), ("paper", "emb_loss_fixed")])
    @torch.no_grad()
    def test_quantizer_loss(self, taming: Golden, loss_form: str, name: str) -> None:
        quantized = vqgan(taming, loss_form)(taming.io["image"]).quantized
        close(rearrange(quantized.vectors, "b (h w) d -> b d h w", h=8), taming.io["quant"], 1e-5)
        close(quantized.losses["codebook"], taming.io[name], 1e-6)

    @torch.no_grad()
    def test_discriminator(self, taming: Golden) -> None:
        model = discriminator(taming).eval()
        close(model(taming.io["image"]), taming.io["disc_logits_real"], 1e-5)
        close(model(taming.io["recon"]), taming.io["disc_logits_fake"], 1e-5)

    def test_training_losses(self, taming: Golden) -> None:
        model, judge = vqgan(taming).double(), discriminator(taming).train().double()  # a ratio of gradients needs them exact
        images, losses = taming.io["image"].double(), taming.config["lossconfig"]

        out = model(images)
        nll = (out.images - images).abs().mean()
        g_loss = -judge(out.images).mean()
        weight = losses["disc_weight"] * adaptive_weight(nll, g_loss, model.decoder.last_weight)
        total = nll + weight * g_loss + losses["codebook_weight"] * out.quantized.losses["codebook"]
        d_loss = hinge_loss(judge(images), judge(out.images.detach()))

        figures = {"nll": nll, "g_loss": g_loss, "d_weight": weight, "ae_total": total, "d_loss": d_loss}
        for name, value in figures.items():
            close(value.detach().float(), taming.io[f"train_{name}"], 1e-5)


@pytest.fixture(scope="module")
def kl(goldens: Path) -> Golden:
    return read_golden(goldens / "autoencoder_kl")


@pytest.fixture
def vae(kl: Golden, goldens: Path) -> VAE:
    names = json.loads((goldens / "autoencoder_kl" / "ldm_key_map.json").read_text())
    state = {}
    for key, value in kl.state.items():
        state[names[key]["ldm"]] = value[..., None, None] if names[key]["unsqueeze_to_conv1x1"] else value
    model = VAE(VAEConfig(autoencoder_config(kl.config["ldm_ddconfig"]), embed_dim=kl.config["config"]["latent_channels"]))
    load_strictly(model, state, origin="golden")
    return model.eval()


class TestAutoencoderKL:
    @torch.no_grad()
    def test_posterior(self, vae: VAE, kl: Golden) -> None:
        close(vae.quant_conv(vae.encoder(kl.io["image"])), kl.io["moments"], 1e-5)
        posterior = vae.posterior(kl.io["image"])
        for name in ("mean", "logvar", "std"):
            close(getattr(posterior, name), kl.io[name], 1e-5)
        close(posterior.sample(kl.io["noise"]), kl.io["sample"], 1e-5)
        torch.testing.assert_close(posterior.kl(), kl.io["kl"], atol=0, rtol=1e-5)

    def test_encode_returns_the_mean(self, vae: VAE, kl: Golden) -> None:
        tokens = vae.encode(kl.io["image"])
        assert tokens.grid == (8, 8)
        close(rearrange(tokens.latents, "b (h w) c -> b c h w", h=8), kl.io["mode"], 1e-5)

    def test_decode(self, vae: VAE, kl: Golden) -> None:
        tokens = ContinuousTokens(rearrange(kl.io["mean"], "b c h w -> b (h w) c"), (8, 8))
        close(vae.decode(tokens), kl.io["recon"], 1e-4)
        close(vae.decode(vae.encode(kl.io["image"])), kl.io["recon"], 1e-4)

    @torch.no_grad()
    def test_training_pass_decodes_the_sample(self, vae: VAE, kl: Golden) -> None:
        out = vae(kl.io["image"], kl.io["noise"])
        close(out.images, vae.decoder(vae.post_quant_conv(kl.io["sample"])), 1e-4)

    @torch.no_grad()
    def test_log_variance_is_clamped(self, vae: VAE, kl: Golden) -> None:
        vae.quant_conv.bias[4:6], vae.quant_conv.bias[6:] = -100.0, 100.0
        logvar = vae.posterior(kl.io["image"]).logvar
        assert logvar[:, :2].unique().tolist() == [-30.0]
        assert logvar[:, 2:].unique().tolist() == [20.0]
