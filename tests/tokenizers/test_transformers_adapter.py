"""The adapter to transformers against the library itself: small random models saved by it, loaded by name; and against our own families."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import tokbench
from tokbench.errors import TokbenchError
from tokbench.layout import TokenLayout
from tokbench.nn.configs import AutoencoderConfig
from tokbench.plugins import import_class
from tokbench.quantizers.configs import VQ
from tokbench.tokenizers import zoo
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.conv_vq.config import ConvVQConfig
from tokbench.tokenizers.library.config import settings_of
from tokbench.tokenizers.vqgan.model import VQGAN
from tokbench.tokens import DiscreteTokens
from tokbench.weights.checkpoints import sha256

EMU3: dict[str, dict[str, Any]] = {
    "one level": {"channel_multiplier": [1], "attn_resolutions": [0], "hidden_size": 32, "temporal_downsample_factor": 4},
    "two levels, heads": {
        "channel_multiplier": [1, 2],
        "attn_resolutions": [1],
        "hidden_size": 64,
        "num_attention_heads": 2,
        "temporal_downsample_factor": 2,
    },
    "one frame": {"channel_multiplier": [1, 1, 1], "attn_resolutions": [], "hidden_size": 32, "temporal_downsample_factor": 1},
}
CHAMELEON: dict[str, dict[str, Any]] = {
    "two levels": {"channel_multiplier": [1, 2]},
    "attention within": {"channel_multiplier": [1, 1, 2], "attn_resolutions": [8, 16], "resolution": 32},
    "no attention": {"channel_multiplier": [1, 1], "attn_type": "none", "embed_dim": 5},
}
SIZE = (12, 20)


@pytest.fixture(scope="module")
def transformers() -> Any:
    return pytest.importorskip("transformers")


@torch.no_grad()
def stirred(model: Any) -> Any:
    """Normalisations, biases and running statistics off their starting values."""
    generator = torch.Generator().manual_seed(0)
    for value in model.parameters():
        value += (0.1 if value.ndim == 1 else 0.02) * torch.randn(value.shape, generator=generator)
    for key, value in model.named_buffers():
        if key.endswith(("running_mean", "running_var")):
            value += 0.5 * torch.rand(value.shape, generator=generator)
    return model.eval()


@torch.no_grad()
def spread(codebook: nn.Embedding, vectors: Tensor) -> None:
    """Entries where the vectors are, so that many are chosen."""
    vectors = vectors.flatten(0, -2)
    noise = torch.randn(codebook.weight.shape, generator=torch.Generator().manual_seed(2))
    codebook.weight.copy_(vectors.mean(0) + vectors.std(0) * noise)


def images() -> Tensor:
    return torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def emu3_config(transformers: Any, **settings: object) -> Any:
    return transformers.Emu3VQVAEConfig(codebook_size=60, base_channels=32, num_res_blocks=1, **settings)


@torch.no_grad()
def emu3(transformers: Any, **settings: object) -> Any:
    torch.manual_seed(0)
    model = stirred(transformers.Emu3VQVAE(emu3_config(transformers, **settings)))
    clip = images().unsqueeze(1).repeat(1, model.config.temporal_downsample_factor, 1, 1, 1)
    features = model.quant_conv(model.encoder(clip).permute(0, 2, 1, 3, 4))
    spread(model.quantize.embedding, rearrange(features, "b d 1 h w -> b h w d"))
    return model


def chameleon_config(transformers: Any, **settings: object) -> Any:
    values: dict[str, Any] = {"num_embeddings": 50, "embed_dim": 6, "latent_channels": 6, "base_channels": 32, "num_res_blocks": 1}
    return transformers.ChameleonVQVAEConfig(**(values | settings))


@torch.no_grad()
def chameleon(transformers: Any, **settings: object) -> Any:
    torch.manual_seed(0)
    model = stirred(transformers.ChameleonVQVAE(chameleon_config(transformers, **settings)))
    spread(model.quantize.embedding, rearrange(model.quant_conv(model.encoder(images())), "b d h w -> b h w d"))
    return model


def their_emu3_codes(peer: Any) -> Tensor:
    found = peer.encode(images(), torch.tensor([SIZE] * 2))
    return torch.stack(list(found if isinstance(found, list) else found.image_tokens))  # what it returns depends on its version


def on_grid(tokens: Any) -> Tensor:
    assert isinstance(tokens, DiscreteTokens)
    return rearrange(tokens.codes, "b (h w) 1 -> b h w", h=tokens.grid[0])


def with_decoder(peer: Any) -> tuple[dict[str, Tensor], VQGAN]:
    """Our own network with the weights of theirs and a decoder of its own, and its tensors: the layouts are the same."""
    values = peer.config
    attention = values.attn_type == "vanilla"
    network = AutoencoderConfig(
        values.latent_channels,
        channels=values.base_channels,
        channel_multipliers=tuple(values.channel_multiplier),
        num_res_blocks=values.num_res_blocks,
        attn_resolutions=tuple(values.attn_resolutions or ()),
        resolution=values.resolution,
        mid_attention=attention,
    )
    torch.manual_seed(1)
    own = stirred(VQGAN(ConvVQConfig(network, VQ(values.num_embeddings, values.embed_dim))))
    own.load_state_dict(own.state_dict() | peer.state_dict(), strict=True)
    return own.state_dict(), own


class TestEmu3:
    @pytest.mark.parametrize("settings", EMU3.values(), ids=EMU3)
    @torch.no_grad()
    def test_a_folder_of_save_pretrained(self, transformers: Any, settings: dict[str, Any], tmp_path: Path) -> None:
        peer = emu3(transformers, **settings)
        peer.save_pretrained(tmp_path)
        model = tokbench.load("transformers/emu3", weights=tmp_path)
        assert model.weights_sha256 == sha256(tmp_path / "model.safetensors")
        assert model.weights_how == f"safetensors, the whole file; {len(peer.state_dict())} tensors"
        tokens, indices = model.encode(images()), their_emu3_codes(peer)
        assert torch.equal(on_grid(tokens), indices)
        assert len(indices.unique()) > 15
        assert model.layout(*SIZE).grid == tuple(indices.shape[1:])
        close(model.decode(tokens), peer.decode(indices), 1e-6)
        assert isinstance(tokens, DiscreteTokens)
        other = DiscreteTokens(59 - tokens.codes, tokens.grid, (60,))  # codes that encoding did not choose
        close(model.decode(other), peer.decode(59 - indices), 1e-6)

    def test_our_own_agrees(self, transformers: Any, tmp_path: Path) -> None:
        emu3(transformers, **EMU3["two levels, heads"]).save_pretrained(tmp_path)
        adapter = tokbench.load("transformers/emu3", weights=tmp_path)
        network = {"channels": 32, "channel_multipliers": (1, 2), "num_res_blocks": 1, "attn_resolutions": (128,)}
        options: dict[str, Any] = {"codebook_size": 60, "frames": 2, "attention_heads": 2}
        options |= {f"autoencoder.{key}": value for key, value in network.items()}
        own = tokbench.load("emu3/vision", weights=tmp_path / "model.safetensors", config=options)
        tokens = adapter.encode(images())
        assert torch.equal(on_grid(tokens), on_grid(own.encode(images())))
        close(adapter.decode(tokens), own.decode(tokens), 1e-4)

    @torch.no_grad()
    def test_within_its_language_model(self, transformers: Any, tmp_path: Path) -> None:
        """Of the shards only those with its tensors are read."""
        peer = emu3(transformers, **EMU3["two levels, heads"])
        config = transformers.Emu3Config(
            vq_config=peer.config.to_dict(),
            text_config={
                "vocab_size": 4000,
                "hidden_size": 16,
                "intermediate_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "pad_token_id": 0,
                "bos_token_id": 1,
                "eos_token_id": 2,
            },
            vocabulary_map={"<image>": 3},
        )
        whole = transformers.Emu3ForConditionalGeneration(config)
        whole.model.vqmodel.load_state_dict(peer.state_dict())
        whole.save_pretrained(tmp_path, max_shard_size="60KB")
        index = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
        needed = {file for name, file in index.items() if "vqmodel." in name}
        for file in set(index.values()) - needed:
            (tmp_path / file).unlink()
        assert needed < set(index.values())
        model = tokbench.load("transformers/emu3", weights=tmp_path)
        assert "without the prefix" in (model.weights_how or "")
        assert "vqmodel." in (model.weights_how or "")
        assert torch.equal(on_grid(model.encode(images())), their_emu3_codes(peer))

    def test_the_row_is_the_published_model(self, transformers: Any) -> None:
        family, variant = zoo.resolve("transformers/emu3")
        assert variant.config.layout(512, 512) == TokenLayout((512, 512), (64, 64), (32768,))
        own, published = zoo.resolve("emu3/vision")[1].config, transformers.Emu3VQVAEConfig()
        assert {key: getattr(published, key) for key in variant.config.values} == {
            key: tuple(value) if isinstance(value, list) else value for key, value in variant.config.values.items()
        }
        with torch.device("meta"):
            theirs = import_class(family.model)(variant.config).state_dict()
            ours = import_class("tokbench.tokenizers.emu3.model:Emu3")(own).state_dict()
        assert {key.removeprefix("network."): value.shape for key, value in theirs.items()} == {
            key: value.shape for key, value in ours.items()
        }


class TestChameleon:
    @pytest.mark.parametrize("settings", CHAMELEON.values(), ids=CHAMELEON)
    @torch.no_grad()
    def test_a_folder_of_save_pretrained_only_encodes(self, transformers: Any, settings: dict[str, Any], tmp_path: Path) -> None:
        peer = chameleon(transformers, **settings)
        peer.save_pretrained(tmp_path)
        model = tokbench.load("transformers/chameleon", weights=tmp_path)
        tokens, indices = model.encode(images()), peer.encode(images()).image_tokens
        assert torch.equal(tokens.codes.flatten(), indices.flatten())  # type: ignore[union-attr]
        assert len(indices.unique()) > 15
        assert not model.config.decoder
        with pytest.raises(TokbenchError, match=r"these weights of transformers/chameleon have no decoder, so they only encode") as error:
            model.decode(tokens)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("settings", CHAMELEON.values(), ids=CHAMELEON)
    @torch.no_grad()
    def test_with_a_decoder_in_the_folder(self, transformers: Any, settings: dict[str, Any], tmp_path: Path) -> None:
        peer = chameleon(transformers, **settings)
        peer.save_pretrained(tmp_path)
        state, own = with_decoder(peer)
        save_file(state, tmp_path / "model.safetensors")
        model = tokbench.load("transformers/chameleon", weights=tmp_path)
        assert model.config.decoder
        tokens = model.encode(images())
        assert torch.equal(on_grid(tokens), on_grid(own.encode(images())))
        close(model.decode(tokens), own.decode(tokens), 1e-4)
        quantized = peer.encode(images()).quantized_last_hidden_state
        close(model.decode(tokens), own.decoder(own.post_quant_conv(quantized)), 1e-4)

    def test_its_own_file(self, transformers: Any, tmp_path: Path) -> None:
        """A checkpoint of training, whose names are the library's, with what training left in it."""
        peer = chameleon(transformers, **CHAMELEON["two levels"])
        state, own = with_decoder(peer)
        path = tmp_path / "vqgan.ckpt"
        torch.save({"epoch": 3, "state_dict": state | {"loss.discriminator.main.0.weight": torch.zeros(2)}}, path)
        settings = settings_of({key: getattr(peer.config, key) for key in zoo.resolve("transformers/chameleon")[1].config.values})
        model = tokbench.load("transformers/chameleon", weights=path, config={"settings": settings})
        assert model.weights_how == f"zip, entry state_dict; {len(state)} tensors; left out: 1 loss."
        tokens = model.encode(images())
        assert torch.equal(on_grid(tokens), on_grid(own.encode(images())))
        close(model.decode(tokens), own.decode(tokens), 1e-4)

    @pytest.mark.parametrize("decoder", [False, True])
    def test_within_its_language_model(self, transformers: Any, tmp_path: Path, decoder: bool) -> None:
        peer = chameleon(transformers, **CHAMELEON["two levels"])
        config = transformers.ChameleonConfig(
            vq_config=peer.config.to_dict(),
            vocab_size=100,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            vocabulary_map={"<image>": 3},
        )
        whole = transformers.ChameleonForConditionalGeneration(config)
        whole.model.vqmodel.load_state_dict(peer.state_dict())
        whole.save_pretrained(tmp_path)
        state, own = with_decoder(peer)
        if decoder:
            path = tmp_path / "model.safetensors"
            decoders = {f"model.vqmodel.{name}": value for name, value in state.items() if name.startswith("decoder.")}
            save_file(load_file(path) | decoders, path)
        model = tokbench.load("transformers/chameleon", weights=tmp_path)
        others = len(whole.state_dict()) - len(peer.state_dict())
        assert model.weights_how is not None
        assert model.weights_how.endswith(f"without the prefix model.vqmodel.; left out: {others} outside model.vqmodel.")
        tokens = model.encode(images())
        assert torch.equal(tokens.codes.flatten(), peer.encode(images()).image_tokens.flatten())  # type: ignore[union-attr]
        assert model.config.decoder is decoder
        if decoder:
            close(model.decode(tokens), own.decode(tokens), 1e-4)

    def test_the_row_is_the_published_model(self, transformers: Any) -> None:
        family, variant = zoo.resolve("transformers/chameleon")
        assert variant.config.layout(512, 512) == TokenLayout((512, 512), (32, 32), (8192,))
        published = transformers.ChameleonVQVAEConfig()
        assert {key: getattr(published, key) for key in variant.config.values} == {
            key: tuple(value) if isinstance(value, list) else value for key, value in variant.config.values.items()
        }
        with torch.device("meta"):
            theirs = transformers.ChameleonVQVAE(published).state_dict()
            ours = import_class(family.model)(variant.config).state_dict()
        assert {key: value.shape for key, value in ours.items()} == {f"network.{key}": value.shape for key, value in theirs.items()}

    def test_settings_of_every_model_are_left_out(self, transformers: Any, tmp_path: Path) -> None:
        chameleon(transformers, **CHAMELEON["two levels"]).save_pretrained(tmp_path)
        model = tokbench.load("transformers/chameleon", weights=tmp_path)
        assert model.config.values.keys() == zoo.resolve("transformers/chameleon")[1].config.values.keys()


class TestRefusals:
    @pytest.mark.parametrize(
        ("found", "said"),
        [
            ({"model_type": "chameleon_vqgan"}, "is of ChameleonVQVAE, not of Emu3VQVAE; load it as transformers/chameleon"),
            (
                {"model_type": "chameleon", "vq_config": {}},
                "is of ChameleonVQVAE, not of Emu3VQVAE; load it as transformers/chameleon",
            ),
            ({"_class_name": "VQModel"}, "is of VQModel, not of Emu3VQVAE; load it as diffusers/vq"),
            ({"model_type": "Emu3VisionVQ"}, "is of Emu3VisionVQ, not of Emu3VQVAE; load it as emu3/vision, with its model.safetensors as"),
            ({"model_type": "llama"}, "is of llama, not of Emu3VQVAE; there are tokenizers for AsymmetricAutoencoderKL, .*, VQModel$"),
            ({}, "is of no class, not of Emu3VQVAE"),
        ],
    )
    def test_another_class(self, tmp_path: Path, found: dict[str, object], said: str) -> None:
        (tmp_path / "config.json").write_text(json.dumps(found))
        with pytest.raises(TokbenchError, match=said):
            tokbench.load("transformers/emu3", weights=tmp_path)

    @pytest.mark.parametrize(
        ("found", "said"),
        [
            ({"channel_multiplier": "wide"}, "config.json does not do: channel_multiplier of Emu3VQVAE must be a list"),
            ({"in_channels": 1}, "config.json does not do: images have 3 channels, Emu3VQVAE is set to in_channels 1"),
            ({"base_channels": 33}, "Emu3VQVAE of transformers cannot be built from these settings"),
        ],
    )
    def test_settings_that_do_not_do(self, transformers: Any, tmp_path: Path, found: dict[str, object], said: str) -> None:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "emu3_vqgan"} | found))
        with pytest.raises(TokbenchError, match=said) as error:
            tokbench.load("transformers/emu3", weights=tmp_path)
        assert "\n" not in str(error.value)

    def test_a_damaged_file(self, transformers: Any, tmp_path: Path) -> None:
        chameleon(transformers, **CHAMELEON["two levels"]).save_pretrained(tmp_path)
        path = tmp_path / "model.safetensors"
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(TokbenchError, match=r"model.safetensors is not a readable safetensors file \(.*\); it may be truncated"):
            tokbench.load("transformers/chameleon", weights=tmp_path)

    def test_without_the_library(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "config.json").write_text('{"model_type": "emu3_vqgan"}')
        monkeypatch.setitem(sys.modules, "transformers", None)
        with pytest.raises(TokbenchError, match=r"needs the package transformers, .* pip install 'tokbench\[transformers\]'"):
            tokbench.load("transformers", weights=tmp_path)


class TestImageGPT:
    @pytest.fixture
    def clusters(self) -> Tensor:
        return torch.rand(512, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def load(self, place: Path) -> Tokenizer:
        return tokbench.load("pixel/image-gpt", weights=place)

    def test_the_row(self) -> None:
        family, variant = zoo.resolve("pixel/image-gpt")
        assert variant.config.layout(variant.image_size, variant.image_size) == TokenLayout((32, 32), (32, 32), (512,))
        assert variant.config.layout(32, 32).bits_per_image == 32 * 32 * 9
        assert family.default == "palette-512"

    def test_codes_of_its_image_processor(self, transformers: Any, clusters: Tensor, tmp_path: Path) -> None:
        """Whole folder, its one file, or the array that was published first."""
        processor = transformers.ImageGPTImageProcessor(clusters=clusters.numpy(), size={"height": 32, "width": 32})
        processor.save_pretrained(tmp_path)
        np.save(tmp_path / "kmeans_centers.npy", clusters.numpy())
        pixels = torch.randint(256, (3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
        expected = torch.as_tensor(np.asarray(processor(pixels.permute(1, 2, 0).numpy(), return_tensors="np")["input_ids"]))
        for place in (tmp_path, tmp_path / "preprocessor_config.json", tmp_path / "kmeans_centers.npy"):
            model = self.load(place)
            tokens = model.encode(tokbench.to_float(pixels[None]))
            assert isinstance(tokens, DiscreteTokens)
            assert torch.equal(tokens.codes.flatten(), expected.flatten())
            assert len(tokens.codes.unique()) > 200
            decoded = tokbench.to_uint8(model.decode(tokens))[0]
            levels = torch.round(127.5 * (clusters[expected.flatten()] + 1))  # as Image-GPT draws its samples
            assert torch.equal(rearrange(decoded, "c h w -> (h w) c").float(), levels)
        assert model.weights_sha256 == sha256(tmp_path / "kmeans_centers.npy")

    def test_a_folder_without_a_palette(self, tmp_path: Path) -> None:
        with pytest.raises(TokbenchError, match=r"preprocessor_config.json holds no palette \(.*\); give an array of colours"):
            self.load(tmp_path)
        (tmp_path / "preprocessor_config.json").write_text('{"size": 32}')
        with pytest.raises(TokbenchError, match=r"preprocessor_config.json holds no palette \('clusters'\)"):
            self.load(tmp_path)
        shutil.rmtree(tmp_path)
        with pytest.raises(TokbenchError, match="no weights file at"):
            self.load(tmp_path)


@pytest.mark.parametrize("within", [False, True], ids=["alone", "in its language model"])
def test_janus_is_what_the_library_computes(tmp_path: Path, within: bool) -> None:
    """Codes are compared as they are, decoded at length 1, and of any size, where the library's own decode takes one."""
    transformers = pytest.importorskip("transformers")
    config = transformers.JanusVQVAEConfig(
        num_embeddings=48, embed_dim=4, latent_channels=6, num_patches=4, base_channels=32, channel_multiplier=[1, 2], num_res_blocks=1
    )
    torch.manual_seed(0)
    theirs = transformers.JanusVQVAE(config).eval()
    theirs.quantize.embedding.weight.data = torch.randn(48, 4) * torch.rand(48, 1)
    theirs.save_pretrained(tmp_path)
    if within:
        state = {f"model.vqmodel.{key}": value.contiguous() for key, value in theirs.state_dict().items()}
        save_file(state | {"model.language_model.norm.weight": torch.ones(3)}, tmp_path / "model.safetensors")
        settings = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "janus", "vq_config": settings}))
    ours = tokbench.load("transformers/janus", weights=tmp_path)
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    tokens = ours.encode(images)
    with torch.no_grad():
        expected = theirs.encode(images).image_tokens
        assert torch.equal(tokens.codes.flatten(), expected.flatten())  # type: ignore[union-attr]
        torch.testing.assert_close(ours.decode(tokens), theirs.decode(expected.reshape(2, -1)), atol=1e-5, rtol=0)
    wide = ours.encode(torch.zeros(1, 3, 8, 12))
    assert ours.decode(wide).shape == (1, 3, 8, 12)
    torch.testing.assert_close(ours.embed(tokens).norm(dim=-1), torch.ones(2, 16))
