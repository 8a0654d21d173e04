"""The convolutional tokenizers end to end against outputs of taming-transformers, LlamaGen and diffusers on random weights.

Every weights file is read as a user's would be, in the names its upstream writes and in every other layout there is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor

from tokbench.nn.configs import AutoencoderConfig
from tokbench.quantizers.configs import VQ, Gumbel
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.conv_vq.config import ConvVQConfig
from tokbench.tokenizers.conv_vq.model import ConvVQTokenizer
from tokbench.tokenizers.llamagen.model import LlamaGen
from tokbench.tokenizers.vae.model import VAE
from tokbench.tokenizers.vae.variants import VAEConfig
from tokbench.tokenizers.vqgan.model import VQGAN
from tokbench.tokens import ContinuousTokens, DiscreteTokens
from tokbench.weights.checkpoints import load_strictly
from tokbench.weights.key_maps.taming import to_taming

Model = TypeVar("Model", bound=Tokenizer)

OWN = Path(__file__).parents[1] / "goldens"
MORE = Path(__file__).parents[3] / "shared" / "goldens"
"""Further sets, where they are; set ``a`` of every family is the package's own."""


def sets(family: str) -> list[Path]:
    return [OWN / family, *sorted(path for path in (MORE / family).glob("*") if path.name != "a" and path.is_dir())]


def golden_sets(family: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("golden", [read(path) for path in sets(family)], ids=lambda golden: golden.name)


@dataclass(frozen=True)
class Golden:
    """A folder; the tensors are read when asked for."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def config(self) -> dict:
        return json.loads((self.folder / "config.json").read_text())

    @property
    def io(self) -> dict[str, Tensor]:
        return tensors(self.folder / "io.safetensors")

    @property
    def state(self) -> dict[str, Tensor]:
        return tensors(self.folder / "state_dict.safetensors")


def read(folder: Path) -> Golden:
    return Golden(folder)


@cache
def tensors(path: Path) -> dict[str, Tensor]:
    return load_file(path)


def from_file(model: Model, state: dict[str, Tensor], path: Path) -> Model:
    """Through a file and the class's own reading, strictly."""
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    found = model.read_weights(path)
    assert len(found.sha256) == 64
    load_strictly(model, found.tensors, origin=path.name)
    return model.eval()


def taming_config(ddconfig: dict) -> AutoencoderConfig:
    return AutoencoderConfig(
        ddconfig["z_channels"],
        channels=ddconfig["ch"],
        channel_multipliers=tuple(ddconfig["ch_mult"]),
        num_res_blocks=ddconfig["num_res_blocks"],
        attn_resolutions=tuple(ddconfig["attn_resolutions"]),
        resolution=ddconfig["resolution"],
        double_z=ddconfig["double_z"],
    )


def diffusers_config(config: dict, *, double_z: bool) -> AutoencoderConfig:
    widths, size = config["block_out_channels"], config.get("sample_size", 32)
    return AutoencoderConfig(
        config["latent_channels"],
        channels=widths[0],
        channel_multipliers=tuple(width // widths[0] for width in widths),
        num_res_blocks=config["layers_per_block"],
        attn_resolutions=tuple(size // 2**level for level, kind in enumerate(config["down_block_types"]) if kind.startswith("Attn")),
        resolution=size,
        double_z=double_z,
        mid_attention=config.get("mid_block_add_attention", True),
        norm_groups=config["norm_num_groups"],
    )


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def assert_codes(model: ConvVQTokenizer, golden: Golden, indices: Tensor) -> DiscreteTokens:
    """Encoding gives upstream's ids."""
    image = golden.io["image"]
    tokens = model.encode(image)
    side = image.shape[2] // model.stride
    assert tokens.grid == (side, side)
    assert tokens.codebook_sizes == (model.config.quantizer.codebook_sizes[0],)
    assert torch.equal(tokens.codes.flatten(), indices.flatten())
    assert model.layout(image.shape[2], image.shape[3]).grid == tokens.grid
    return tokens


def grid_of(vectors: Tensor, like: Tensor) -> Tensor:
    return rearrange(vectors, "b (h w) d -> b d h w", h=like.shape[2])


def old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same file as diffusers wrote it before it renamed its attention."""
    renamed = {}
    for key, value in state.items():
        for new, old in {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}.items():
            key = key.replace(f".{new}.", f".{old}.")
        renamed[key] = value
    return renamed


def assert_same(model: Tokenizer, other: Tokenizer, image: Tensor) -> None:
    first, second = model.encode(image), other.encode(image)
    for name in ("codes", "latents"):
        if hasattr(first, name):
            assert torch.equal(getattr(first, name), getattr(second, name))
    assert torch.equal(model.decode(first), other.decode(second))


def taming(golden: Golden, path: Path, **changes: object) -> VQGAN:
    config = golden.config
    shape = ConvVQConfig(
        taming_config(config["ddconfig"]), VQ(config["n_embed"], config["embed_dim"], beta=config["beta"], loss_form="taming")
    )
    shape = replace(shape, quantizer=replace(shape.quantizer, **changes))  # type: ignore[arg-type]
    return from_file(VQGAN(shape), golden.state, path)


@golden_sets("taming")
class TestTaming:
    def test_encode_and_decode(self, golden: Golden, tmp_path: Path) -> None:
        model, io = taming(golden, tmp_path / "w.safetensors"), golden.io
        tokens = assert_codes(model, golden, io["indices"])
        images = model.decode(tokens)
        close(images, io["recon_from_indices"], 1e-4)
        close(images, io["recon"], 1e-4)
        assert torch.equal(grid_of(model.quantize.lookup(tokens.codes), io["codes_exact"]), io["codes_exact"])

    @pytest.mark.parametrize(("loss_form", "name"), [("taming", "emb_loss_legacy"), ("paper", "emb_loss_fixed")])
    @torch.no_grad()
    def test_training_pass(self, golden: Golden, tmp_path: Path, loss_form: str, name: str) -> None:
        out = taming(golden, tmp_path / "w.safetensors", loss_form=loss_form).train()(golden.io["image"])
        close(grid_of(out.vectors, golden.io["prequant"]), golden.io["prequant"], 1e-5)
        close(out.quantized.losses["codebook"], golden.io[name], 1e-6)
        close(out.images, golden.io["recon"], 1e-4)

    def test_the_network_is_fully_convolutional(self, golden: Golden, tmp_path: Path) -> None:
        model = taming(golden, tmp_path / "w.safetensors")
        image = torch.cat([golden.io["image"]] * 2, dim=2)
        tokens = model.encode(image)
        assert tokens.grid == (image.shape[2] // model.stride, image.shape[3] // model.stride)
        assert model.decode(tokens).shape == image.shape


@golden_sets("taming_gumbel")
class TestTamingGumbel:
    def model(self, golden: Golden, path: Path) -> VQGAN:
        config = golden.config
        autoencoder = taming_config(config["ddconfig"])
        shape = ConvVQConfig(autoencoder, Gumbel(config["n_embed"], config["embed_dim"], kl_weight=config["kl_weight"]))
        return from_file(VQGAN(shape), golden.state, path)

    def test_encode_and_decode(self, golden: Golden, tmp_path: Path) -> None:
        model, io = self.model(golden, tmp_path / "w.safetensors"), golden.io
        tokens = assert_codes(model, golden, io["indices_argmax"])
        close(model.decode(tokens), io["recon"], 1e-4)
        assert torch.equal(grid_of(model.quantize.lookup(tokens.codes), io["codes"]), io["codes"])

    @torch.no_grad()
    def test_training_pass(self, golden: Golden, tmp_path: Path) -> None:
        """In evaluation mode there is no noise; in training mode it comes from the generator that is passed."""
        model, io = self.model(golden, tmp_path / "w.safetensors"), golden.io
        out = model(io["image"])
        close(grid_of(out.vectors, io["prequant"]), io["prequant"], 1e-5)
        close(out.quantized.losses["kl"] / golden.config["kl_weight"], io["kl"] / golden.config["kl_weight"], 1e-4)
        close(out.images, io["recon"], 1e-4)
        noisy = model.train()(io["image"], generator=torch.Generator().manual_seed(3)).quantized
        assert torch.equal(noisy.codes.reshape(io["noisy_indices"].shape), io["noisy_indices"])
        assert not torch.equal(noisy.codes, out.quantized.codes)
        with pytest.raises(ValueError, match="pass a generator"):
            model(io["image"])
        assert torch.equal(model.encode(io["image"]).codes, out.quantized.codes)  # type: ignore[union-attr]  # never noise


@golden_sets("llamagen")
class TestLlamaGen:
    def model(self, golden: Golden, path: Path, state: dict[str, Tensor] | None = None, **changes: object) -> LlamaGen:
        args, size = golden.config["model_args"], golden.config["resolution"]
        multipliers = tuple(args["encoder_ch_mult"])
        autoencoder = AutoencoderConfig(
            args["z_channels"],
            channels=golden.config["ch"],
            channel_multipliers=multipliers,
            num_res_blocks=golden.config["num_res_blocks"],
            attn_resolutions=(size // 2 ** (len(multipliers) - 1),),
            resolution=size,
        )
        quantizer = VQ(
            args["codebook_size"],
            args["codebook_embed_dim"],
            beta=args["commit_loss_beta"],
            cosine=args["codebook_l2_norm"],
            entropy_weight=args["entropy_loss_ratio"],
        )
        config = ConvVQConfig(autoencoder, replace(quantizer, **changes))  # type: ignore[arg-type]
        return from_file(LlamaGen(config), golden.state if state is None else state, path)

    def test_encode_and_decode(self, golden: Golden, tmp_path: Path) -> None:
        model, io = self.model(golden, tmp_path / "w.safetensors"), golden.io
        tokens = assert_codes(model, golden, io["indices"])
        images = model.decode(tokens)
        close(images, io["recon_from_indices"], 1e-4)
        close(images, io["recon"], 1e-4)
        close(grid_of(model.quantize.lookup(tokens.codes), io["codes_exact"]), io["codes_exact"], 1e-6)

    @torch.no_grad()
    def test_training_pass(self, golden: Golden, tmp_path: Path) -> None:
        io = golden.io
        out = self.model(golden, tmp_path / "w.safetensors").train()(io["image"])
        close(grid_of(out.vectors, io["prequant"]), io["prequant"], 1e-5)
        close(grid_of(out.quantized.vectors, io["quant"]), io["quant"], 1e-5)
        close(out.quantized.losses["codebook"], io["train_vq_loss"] + io["train_commit_loss"], 1e-5)
        close(out.quantized.losses.get("entropy", torch.tensor(0.0)), io["train_entropy_loss"], 1e-5)

    def test_the_same_weights_by_taming_names(self, golden: Golden, tmp_path: Path) -> None:
        renamed = to_taming(golden.state)
        assert not set(renamed) & {key for key in golden.state if ".conv_blocks." in key or ".mid." in key}
        other = self.model(golden, tmp_path / "b.safetensors", renamed)
        assert_same(self.model(golden, tmp_path / "a.safetensors"), other, golden.io["image"])


def test_directions_are_not_nearest_entries(tmp_path: Path) -> None:
    """The golden's entries have various lengths: without normalisation other codes win, and other images come out."""
    golden = read(OWN / "llamagen")
    plain = TestLlamaGen().model(golden, tmp_path / "w.safetensors", cosine=False)
    assert not torch.equal(plain.encode(golden.io["image"]).codes.flatten(), golden.io["indices"])  # type: ignore[union-attr]
    codes = golden.io["indices"].reshape(len(golden.io["image"]), -1, 1)
    side = golden.io["quant"].shape[2]
    images = plain.decode(DiscreteTokens(codes, (side, side), plain.config.quantizer.codebook_sizes))
    assert float((images - golden.io["recon"]).abs().max()) > 0.1


@golden_sets("autoencoder_kl")
class TestAutoencoderKL:
    def model(self, golden: Golden, path: Path, state: dict[str, Tensor] | None = None, **changes: object) -> VAE:
        config = golden.config["config"]
        shape = VAEConfig(
            diffusers_config(config, double_z=True), embed_dim=config["latent_channels"], quant_convs=config.get("use_quant_conv", True)
        )
        return from_file(VAE(replace(shape, **changes)), golden.state if state is None else state, path)  # type: ignore[arg-type]

    def test_encode_and_decode(self, golden: Golden, tmp_path: Path) -> None:
        model, io = self.model(golden, tmp_path / "w.safetensors"), golden.io
        tokens = model.encode(io["image"])
        assert isinstance(tokens, ContinuousTokens)
        assert tokens.grid == tuple(io["mean"].shape[2:])
        close(grid_of(tokens.latents, io["mean"]), io["mean"], 1e-5)
        close(model.decode(tokens), io["recon"], 1e-4)

    @torch.no_grad()
    def test_posterior(self, golden: Golden, tmp_path: Path) -> None:
        model, io = self.model(golden, tmp_path / "w.safetensors"), golden.io
        posterior = model.posterior(io["image"])
        close(torch.cat([posterior.mean, posterior.logvar], dim=1), torch.cat([io["mean"], io["logvar"]], dim=1), 1e-5)
        close(posterior.sample(io["noise"]), io["sample"], 1e-5)
        torch.testing.assert_close(posterior.kl(), io["kl"], atol=0, rtol=1e-5)

    def test_latents_as_a_diffusion_model_reads_them(self, golden: Golden, tmp_path: Path) -> None:
        config = golden.config["config"]
        scaled = self.model(
            golden,
            tmp_path / "w.safetensors",
            latent_scale=config.get("scaling_factor", 0.18215),
            latent_shift=config.get("shift_factor") or 0.0,
        )
        tokens = scaled.encode(golden.io["image"])
        close(grid_of(tokens.latents, golden.io["latents_scaled"]), golden.io["latents_scaled"], 1e-5)  # type: ignore[union-attr]
        close(scaled.decode(tokens), golden.io["recon"], 1e-4)

    def test_the_same_weights_by_other_names(self, golden: Golden, tmp_path: Path) -> None:
        """As older files of diffusers have them, and as latent-diffusion has them."""
        model = self.model(golden, tmp_path / "a.safetensors")
        for state in (old_names(golden.state), to_taming(golden.state)):
            assert not any(".to_q." in key for key in state)
            assert_same(model, self.model(golden, tmp_path / "b.safetensors", state), golden.io["image"])


@golden_sets("vqmodel_diffusers")
class TestVQModel:
    def model(self, golden: Golden, path: Path, state: dict[str, Tensor] | None = None) -> VQGAN:
        config = golden.config["config"]
        shape = ConvVQConfig(
            diffusers_config(config, double_z=False),
            VQ(config["num_vq_embeddings"], config.get("vq_embed_dim") or config["latent_channels"], loss_form="taming"),
        )
        return from_file(VQGAN(shape), golden.state if state is None else state, path)

    def test_encode_and_decode(self, golden: Golden, tmp_path: Path) -> None:
        model, io = self.model(golden, tmp_path / "w.safetensors"), golden.io
        tokens = assert_codes(model, golden, io["indices"])
        images = model.decode(tokens)
        close(images, io["recon"], 1e-4)
        close(images, io["recon_from_codes"], 1e-4)
        assert torch.equal(grid_of(model.quantize.lookup(tokens.codes), io["codes_exact"]), io["codes_exact"])

    @torch.no_grad()
    def test_training_pass(self, golden: Golden, tmp_path: Path) -> None:
        out = self.model(golden, tmp_path / "w.safetensors").train()(golden.io["image"])
        close(grid_of(out.vectors, golden.io["latents"]), golden.io["latents"], 1e-5)
        close(grid_of(out.quantized.vectors, golden.io["quant"]), golden.io["quant"], 1e-5)
        close(out.quantized.losses["codebook"], golden.io["commit_loss"].mean(), 1e-6)

    def test_the_same_weights_by_other_names(self, golden: Golden, tmp_path: Path) -> None:
        model = self.model(golden, tmp_path / "a.safetensors")
        for state in (old_names(golden.state), to_taming(golden.state)):
            assert not any(".to_q." in key for key in state)
            assert_same(model, self.model(golden, tmp_path / "b.safetensors", state), golden.io["image"])
