"""Image tokenizers of transformers as it is installed: files of ``save_pretrained`` read by name, random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import tokbench
from tokbench.errors import TokbenchError
from tokbench.plugins import import_class
from tokbench.tokenizers import zoo
from tokbench.tokenizers.llamagen.model import LlamaGen
from tokbench.tokenizers.vqgan.model import VQGAN
from tokbench.tokens import DiscreteTokens


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
        if key.endswith("running_mean"):
            value += 0.2 * torch.randn(value.shape, generator=generator)
        if key.endswith("running_var"):
            value *= 0.5 + torch.rand(value.shape, generator=generator)
    return model.eval()


@torch.no_grad()
def spread(codebook: nn.Embedding, vectors: Tensor) -> None:
    """Rows where the vectors are, so that many codes are chosen."""
    noise = torch.randn(codebook.weight.shape, generator=torch.Generator().manual_seed(2))
    codebook.weight.copy_(vectors.mean(0) + vectors.std(0) * noise)


def saved(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    (path,) = folder.glob("*.safetensors")
    return path


def pictures(height: int, width: int) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def assert_many(codes: Tensor, size: int) -> None:
    assert len(codes.unique()) > min(size, codes.numel()) / 5


def network(**settings: object) -> dict[str, object]:
    return {f"autoencoder.{key}": value for key, value in settings.items()}


@pytest.mark.parametrize(
    ("multipliers", "blocks", "attended", "hidden", "heads", "frames", "size"),
    [
        ((1,), 1, (0,), 32, 2, 4, (6, 9)),
        ((1, 2), 2, (1,), 64, 1, 2, (12, 20)),
        ((1, 2, 2), 1, (1, 2), 64, 4, 1, (16, 12)),
        ((1, 1, 2, 1), 1, (3,), 32, 1, 8, (16, 24)),
    ],
)
@torch.no_grad()
def test_emu3(
    transformers: Any,
    tmp_path: Path,
    multipliers: tuple[int, ...],
    blocks: int,
    attended: tuple[int, ...],
    hidden: int,
    heads: int,
    frames: int,
    size: tuple[int, int],
) -> None:
    torch.manual_seed(0)
    config = transformers.Emu3VQVAEConfig(
        codebook_size=60,
        base_channels=32,
        channel_multiplier=list(multipliers),
        num_res_blocks=blocks,
        attn_resolutions=list(attended),
        hidden_size=hidden,
        num_attention_heads=heads,
        temporal_downsample_factor=frames,
    )
    peer, images = stirred(transformers.Emu3VQVAE(config)), pictures(*size)
    overrides = network(
        channels=32, channel_multipliers=multipliers, num_res_blocks=blocks, attn_resolutions=tuple(256 // 2**level for level in attended)
    )
    overrides |= {"codebook_size": 60, "frames": frames, "attention_heads": heads}

    def load() -> Any:
        return tokbench.load("emu3/vision", weights=saved(peer, tmp_path), config=overrides)

    spread(peer.quantize.embedding, load().vectors(images).flatten(0, 1))
    model = load()
    assert model.state_dict().keys() == peer.state_dict().keys()
    found = peer.encode(images, torch.tensor([size] * 2))
    indices = torch.stack(list(found if isinstance(found, list) else found.image_tokens))  # what it returns depends on its version
    tokens = model.encode(images)
    grid = tuple(side // 2 ** (len(multipliers) - 1) for side in size)
    assert tokens.grid == grid == tuple(indices.shape[1:])
    assert torch.equal(tokens.codes.flatten(), indices.flatten())
    assert_many(tokens.codes, 60)
    close(model.decode(tokens), peer.decode(indices), 1e-4)
    other = DiscreteTokens(59 - tokens.codes, grid, (60,))  # codes that encoding did not choose
    close(model.decode(other), peer.decode(59 - indices), 1e-4)


@pytest.mark.parametrize(
    ("multipliers", "blocks", "attended", "kind", "latent", "embed", "size"),
    [
        ((1, 2), 2, None, "vanilla", 8, 8, (12, 20)),
        ((1, 1, 2), 1, (8, 16), "vanilla", 4, 6, (16, 24)),
        ((1, 2, 1, 1), 1, None, "none", 16, 5, (32, 16)),
    ],
)
@pytest.mark.usefixtures("uncompared")
@torch.no_grad()
def test_the_encoder_of_chameleon(
    transformers: Any,
    tmp_path: Path,
    multipliers: tuple[int, ...],
    blocks: int,
    attended: tuple[int, ...] | None,
    kind: str,
    latent: int,
    embed: int,
    size: tuple[int, int],
) -> None:
    """It has VQGAN's names, and the encoder's half of them: transformers has no decoder for it."""
    torch.manual_seed(0)
    config = transformers.ChameleonVQVAEConfig(
        embed_dim=embed,
        num_embeddings=70,
        latent_channels=latent,
        resolution=32,
        base_channels=32,
        channel_multiplier=list(multipliers),
        num_res_blocks=blocks,
        attn_resolutions=None if attended is None else list(attended),
        attn_type=kind,
    )
    peer, images = stirred(transformers.ChameleonVQVAE(config)), pictures(*size)
    spread(peer.quantize.embedding, rearrange(peer.quant_conv(peer.encoder(images)), "b d h w -> (b h w) d"))
    path = saved(peer, tmp_path)
    overrides = network(
        z_channels=latent,
        channels=32,
        channel_multipliers=multipliers,
        num_res_blocks=blocks,
        attn_resolutions=attended or (),
        resolution=32,
        mid_attention=kind == "vanilla",
    )
    overrides |= {"quantizer.codebook_size": 70, "quantizer.dim": embed, "quantizer.loss_form": "taming"}
    with pytest.raises(
        TokbenchError, match=r"model\.safetensors does not fit VQGAN: \d+ missing: decoder\.conv_in\.bias, .*\.\.\.\. Is it"
    ):
        tokbench.load("vqgan/imagenet-f16-1024", weights=path, config=overrides)

    half = load_file(path)
    save_file(half | decoder_of("vqgan/imagenet-f16-1024", overrides), path)
    model = tokbench.load("vqgan/imagenet-f16-1024", weights=path, config=overrides)
    assert isinstance(model, VQGAN)
    assert {key for key in model.state_dict() if not key.startswith("decoder.")} == half.keys()
    found, out = peer.encode(images), model(images)
    assert torch.equal(model.encode(images).codes.flatten(), found.image_tokens)  # type: ignore[union-attr]
    assert_many(found.image_tokens, 70)
    quantized = rearrange(found.quantized_last_hidden_state, "b d h w -> b (h w) d")
    close(out.quantized.vectors, quantized, 1e-5)
    close(out.quantized.losses["codebook"], found.embedding_loss, 1e-5)


def decoder_of(name: str, overrides: dict[str, object]) -> dict[str, Tensor]:
    """A decoder with random weights, by this package's names."""
    family, variant = zoo.resolve(name)
    config = zoo.with_overrides(variant.config, overrides)
    state = import_class(family.model)(config).state_dict()
    return {key: value for key, value in state.items() if key.startswith("decoder.")}


@pytest.mark.parametrize(
    ("channels", "multipliers", "blocks", "latent", "size"),
    [(32, (1, 2), 2, 8, 12), (64, (2, 1, 1), 1, 4, 16), (32, (1, 1, 2, 2), 1, 16, 32)],
)
@torch.no_grad()
def test_janus(transformers: Any, tmp_path: Path, channels: int, multipliers: tuple[int, ...], blocks: int, latent: int, size: int) -> None:
    """LlamaGen's network; but this encoder looks for the nearest entry, where LlamaGen looks for the nearest direction.

    Its decoder's levels are numbered as they run, under VQGAN's names, which number them from the highest resolution.
    """
    torch.manual_seed(0)
    levels = len(multipliers)
    config = transformers.JanusVQVAEConfig(
        embed_dim=8,
        num_embeddings=70,
        latent_channels=latent,
        num_patches=size // 2 ** (levels - 1),
        base_channels=channels,
        channel_multiplier=list(multipliers),
        num_res_blocks=blocks,
    )
    peer, images = stirred(transformers.JanusVQVAE(config)), pictures(size, size)
    spread(peer.quantize.embedding, rearrange(peer.quant_conv(peer.encoder(images)), "b d h w -> (b h w) d"))
    state = {}
    for key, value in load_file(saved(peer, tmp_path)).items():
        part = key.split(".")
        if part[:2] == ["decoder", "up"]:
            part[2] = str(levels - 1 - int(part[2]))
        state[".".join(part)] = value
    path = tmp_path / "renamed.safetensors"
    save_file(state, path)
    overrides: dict[str, Any] = network(
        z_channels=latent,
        channels=channels,
        channel_multipliers=multipliers,
        num_res_blocks=blocks,
        attn_resolutions=(256 // 2 ** (levels - 1),),
    )
    overrides |= {"quantizer.codebook_size": 70}
    nearest, directions = (
        tokbench.load("llamagen/vq-16", weights=path, config=overrides | {"quantizer.cosine": cosine}) for cosine in (False, True)
    )
    assert isinstance(directions, LlamaGen)
    found = peer.encode(images)
    tokens = nearest.encode(images)
    assert torch.equal(tokens.codes.flatten(), found.image_tokens)  # type: ignore[union-attr]
    assert_many(found.image_tokens, 70)
    close(directions.decode(tokens), peer.decode(found.image_tokens.reshape(2, -1)), 1e-4)

    peer.quantize.embedding.weight.copy_(nn.functional.normalize(peer.quantize.embedding.weight, dim=-1))
    unit = nn.functional.normalize(peer.quant_conv(peer.encoder(images)), dim=1)  # where both searches are one
    assert torch.equal(directions.encode(images).codes.flatten(), peer.quantize(unit)[2])  # type: ignore[union-attr]
