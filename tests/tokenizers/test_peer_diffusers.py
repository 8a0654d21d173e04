"""KL and VQ autoencoders against diffusers as it is installed: files of ``save_pretrained`` read by name, random weights."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor, nn

import tokbench
from tokbench.images import to_float, to_uint8
from tokbench.quantizers.vq import VectorQuantizer
from tokbench.tokenizers.vae.model import VAE
from tokbench.tokenizers.vqgan.model import VQGAN
from tokbench.tokens import ContinuousTokens, DiscreteTokens

SEEDS = [3, 2**40 + 1]


@dataclass(frozen=True)
class Shape:
    """A network as both sides call it."""

    widths: tuple[int, ...]
    latent: int
    blocks: int = 1
    attention: tuple[int, ...] = ()
    middle: bool = True
    groups: int = 32
    size: tuple[int, int] = (16, 24)

    def theirs(self) -> dict[str, Any]:
        down = tuple(f"{'Attn' if i in self.attention else ''}DownEncoderBlock2D" for i in range(len(self.widths)))
        up = tuple(f"{'Attn' if i in self.attention else ''}UpDecoderBlock2D" for i in reversed(range(len(self.widths))))
        return {
            "down_block_types": down,
            "up_block_types": up,
            "block_out_channels": self.widths,
            "layers_per_block": self.blocks,
            "latent_channels": self.latent,
            "norm_num_groups": self.groups,
            "mid_block_add_attention": self.middle,
        }

    def ours(self) -> dict[str, object]:
        network = {
            "z_channels": self.latent,
            "channels": self.widths[0],
            "channel_multipliers": tuple(width // self.widths[0] for width in self.widths),
            "num_res_blocks": self.blocks,
            "attn_resolutions": tuple(256 // 2**level for level in self.attention),
            "mid_attention": self.middle,
            "norm_groups": self.groups,
        }
        return {f"autoencoder.{key}": value for key, value in network.items()}

    def images(self) -> Tensor:
        return torch.rand(2, 3, *self.size, generator=torch.Generator().manual_seed(1)) * 2 - 1


SHAPES = {
    "one level, with attention": Shape((32,), 4, blocks=3, attention=(0,), size=(8, 12)),
    "two levels": Shape((32, 64), 4),
    "three levels, without attention": Shape((16, 32, 48), 3, blocks=2, middle=False, groups=8),
    "four levels, attention at two": Shape((16, 16, 32, 32), 16, attention=(1, 3), groups=4),
}

shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


@pytest.fixture(scope="module")
def diffusers() -> Any:
    return pytest.importorskip("diffusers")


@torch.no_grad()
def stirred(model: nn.Module) -> nn.Module:
    """Normalisations and biases off their starting values."""
    generator = torch.Generator().manual_seed(0)
    for value in model.parameters():
        value += (0.1 if value.ndim == 1 else 0.02) * torch.randn(value.shape, generator=generator)
    return model.eval()


def saved(model: Any, folder: Path, **options: object) -> Path:
    """The one weights file that ``save_pretrained`` writes."""
    model.save_pretrained(folder, **options)
    (path,) = (path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin"))
    return path


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def on_grid(vectors: Tensor, grid: tuple[int, ...]) -> Tensor:
    return rearrange(vectors, "b (h w) d -> b d h w", h=grid[0])


def in_sequence(maps: Tensor) -> Tensor:
    return rearrange(maps, "b d h w -> b (h w) d")


def kl_pair(diffusers: Any, shape: Shape, folder: Path, *, quant_convs: bool = True, **ours: object) -> tuple[Any, VAE]:
    torch.manual_seed(0)
    peer = diffusers.AutoencoderKL(**shape.theirs(), use_quant_conv=quant_convs, use_post_quant_conv=quant_convs)
    path = saved(stirred(peer), folder)
    model = tokbench.load("vae/sd", weights=path, config={"embed_dim": shape.latent, "quant_convs": quant_convs} | shape.ours() | ours)
    assert isinstance(model, VAE)
    return peer, model


@pytest.mark.parametrize("quant_convs", [True, False])
@shapes
@torch.no_grad()
def test_autoencoder_kl(diffusers: Any, shape: Shape, quant_convs: bool, tmp_path: Path) -> None:
    peer, model = kl_pair(diffusers, shape, tmp_path, quant_convs=quant_convs)
    assert len(model.state_dict()) == len(peer.state_dict())
    images = shape.images()
    theirs, ours = peer.encode(images).latent_dist, model.posterior(images)
    for name in ("mean", "logvar", "std"):
        close(getattr(ours, name), getattr(theirs, name), 1e-5)
    torch.testing.assert_close(ours.kl(), theirs.kl(), atol=0, rtol=1e-5)
    tokens = model.encode(images)
    assert isinstance(tokens, ContinuousTokens)
    assert tokens.grid == tuple(theirs.mean.shape[2:])
    close(on_grid(tokens.latents, tokens.grid), theirs.mode(), 1e-5)
    close(model.decode(tokens), peer.decode(theirs.mean).sample, 1e-4)


@shapes
@torch.no_grad()
def test_a_sample_with_the_same_noise(diffusers: Any, shape: Shape, tmp_path: Path) -> None:
    """Both draw it an image at a time, from a generator of its own."""
    peer, model = kl_pair(diffusers, shape, tmp_path, posterior="sample")
    images = shape.images()
    theirs = peer.encode(images).latent_dist.sample([torch.Generator().manual_seed(seed) for seed in SEEDS])
    tokens = model.encode(images, seeds=SEEDS)
    assert isinstance(tokens, ContinuousTokens)
    close(on_grid(tokens.latents, tokens.grid), theirs, 1e-5)
    close(model.decode(tokens), peer.decode(theirs).sample, 1e-4)
    assert float((theirs - peer.encode(images).latent_dist.mean).abs().max()) > 0.1


@torch.no_grad()
def test_latents_of_a_pipeline(diffusers: Any, tmp_path: Path) -> None:
    """Shifted and scaled as a diffusion model reads them."""
    shift, scale = 0.1159, 0.3611
    peer, model = kl_pair(diffusers, SHAPES["two levels"], tmp_path, latent_shift=shift, latent_scale=scale)
    images = SHAPES["two levels"].images()
    tokens = model.encode(images)
    assert isinstance(tokens, ContinuousTokens)
    latents = (peer.encode(images).latent_dist.mean - shift) * scale
    close(on_grid(tokens.latents, tokens.grid), latents, 1e-5)
    close(model.decode(tokens), peer.decode(latents / scale + shift).sample, 1e-4)


def test_pixels_of_a_pipeline() -> None:
    """Every byte to a float and back, and values between and beyond bytes."""
    processor = pytest.importorskip("diffusers.image_processor").VaeImageProcessor(do_resize=False)
    pixels = torch.arange(256, dtype=torch.uint8).repeat(3).reshape(1, 3, 16, 16)
    theirs = processor.preprocess(Image.fromarray(pixels[0].permute(1, 2, 0).numpy()))
    close(to_float(pixels), theirs, 1e-6)
    decoded = torch.linspace(-1.3, 1.3, 3 * 64).reshape(1, 3, 8, 8)
    (picture,) = processor.postprocess(decoded)
    assert torch.equal(to_uint8(decoded)[0].permute(1, 2, 0), torch.from_numpy(np.array(picture)))


@pytest.mark.parametrize(("options", "half"), [({"safe_serialization": False}, False), ({}, True), ({"variant": "fp16"}, True)])
@torch.no_grad()
def test_files_of_other_kinds(diffusers: Any, options: dict[str, Any], half: bool, tmp_path: Path) -> None:
    """A pickle, and half precision, which is computed in single."""
    shape = SHAPES["two levels"]
    torch.manual_seed(0)
    peer = stirred(diffusers.AutoencoderKL(**shape.theirs()))
    if half:
        peer.half()
    path = saved(peer, tmp_path, **options)
    model = tokbench.load("vae/sd", weights=path, config=shape.ours())
    assert next(model.parameters()).dtype == torch.float32
    images, peer = shape.images(), peer.float()
    tokens = model.encode(images)
    assert isinstance(tokens, ContinuousTokens)
    close(on_grid(tokens.latents, tokens.grid), peer.encode(images).latent_dist.mean, 1e-5)


def vq_pair(diffusers: Any, shape: Shape, folder: Path, *, embed_dim: int, codes: int) -> tuple[Any, VQGAN]:
    torch.manual_seed(0)
    peer = stirred(diffusers.VQModel(**shape.theirs(), num_vq_embeddings=codes, vq_embed_dim=embed_dim))
    with torch.no_grad():
        latents = in_sequence(peer.encode(shape.images()).latents).flatten(0, 1)
        rows = peer.quantize.embedding.weight
        rows.copy_(latents.mean(0) + latents.std(0) * torch.randn(rows.shape, generator=torch.Generator().manual_seed(2)))
    model = tokbench.load(
        "vqgan/ldm-f8",
        weights=saved(peer, folder),
        config=shape.ours() | {"quantizer.codebook_size": codes, "quantizer.dim": embed_dim, "quantizer.loss_form": "taming"},
    )
    assert isinstance(model, VQGAN)
    return peer, model


@pytest.mark.parametrize(
    ("name", "embed_dim", "codes"),
    [
        ("one level, with attention", 4, 64),
        ("two levels", 6, 40),
        ("three levels, without attention", 3, 256),
        ("four levels, attention at two", 8, 33),
    ],
)
@torch.no_grad()
def test_vq_model(diffusers: Any, name: str, embed_dim: int, codes: int, tmp_path: Path) -> None:
    shape = SHAPES[name]
    peer, model = vq_pair(diffusers, shape, tmp_path, embed_dim=embed_dim, codes=codes)
    images = shape.images()
    latents = peer.encode(images).latents  # not quantized; decode does that
    quantized, _, (*_, indices) = peer.quantize(latents)
    tokens = model.encode(images)
    assert isinstance(tokens, DiscreteTokens)
    assert tokens.grid == tuple(latents.shape[2:])
    assert torch.equal(tokens.codes.flatten(), indices.flatten())
    assert len(indices.unique()) > min(codes, len(indices)) / 4
    decoded = peer.decode(latents)
    close(model.decode(tokens), decoded.sample, 1e-4)
    rows = model.quantize.lookup(tokens.codes)
    assert torch.equal(rows.flatten(0, 1), peer.quantize.embedding.weight[indices])
    close(model.decode(tokens), peer.decode(on_grid(rows, tokens.grid), force_not_quantize=True).sample, 1e-4)

    out = model(images)
    close(out.vectors, in_sequence(latents), 1e-5)
    close(out.quantized.vectors, in_sequence(quantized), 1e-5)
    close(out.quantized.losses["codebook"], decoded.commit_loss.mean(), 1e-5)
    close(out.images, decoded.sample, 1e-4)


@pytest.mark.parametrize(("loss_form", "legacy"), [("taming", True), ("paper", False)])
def test_both_places_of_beta(diffusers: Any, loss_form: str, legacy: bool) -> None:
    """Value of the loss, and the gradients of loss and output to vectors and codebook."""
    quantizers = pytest.importorskip("diffusers.models.autoencoders.vae")
    peer = quantizers.VectorQuantizer(24, 5, beta=0.3, legacy=legacy)
    model = VectorQuantizer(24, 5, beta=0.3, loss_form=loss_form)  # type: ignore[arg-type]
    nn.init.normal_(peer.embedding.weight, generator=torch.Generator().manual_seed(0))
    model.load_state_dict(peer.state_dict())
    theirs = torch.randn(2, 5, 4, 6, generator=torch.Generator().manual_seed(1)).requires_grad_()
    ours = in_sequence(theirs.detach()).requires_grad_()
    upstream = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(2))
    quantized, loss, (*_, indices) = peer(theirs)
    out = model(ours)
    assert torch.equal(out.codes.flatten(), indices)
    close(out.losses["codebook"], loss, 1e-6)
    (7.0 * loss + (quantized * upstream).sum()).backward()
    (7.0 * out.losses["codebook"] + (out.vectors * in_sequence(upstream)).sum()).backward()
    close(ours.grad, in_sequence(theirs.grad), 1e-6)
    close(model.embedding.weight.grad, peer.embedding.weight.grad, 1e-6)


@pytest.mark.usefixtures("uncompared")
def test_a_file_that_does_not_fit_says_so_in_our_names(diffusers: Any, tmp_path: Path) -> None:
    shape = SHAPES["two levels"]
    torch.manual_seed(0)
    path = saved(diffusers.AutoencoderKL(**shape.theirs(), use_quant_conv=False, use_post_quant_conv=False), tmp_path)
    with pytest.raises(tokbench.TokbenchError) as error:
        tokbench.load("vae/sd", weights=path, config=shape.ours())
    assert "does not fit VAE: 4 missing: post_quant_conv.bias, post_quant_conv.weight, quant_conv.bias, quant_conv.weight" in str(
        error.value
    )
    assert "\n" not in str(error.value)


def test_every_shape_differs_from_the_others_in_kind() -> None:
    """Numbers of levels, of blocks, attention in and out of the middle, groups, latents: none of them has one value only."""
    for field in fields(Shape):
        assert len({getattr(shape, field.name) for shape in SHAPES.values()}) > 1, field.name
