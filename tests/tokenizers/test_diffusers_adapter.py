"""The adapter to diffusers against the library itself: small random models saved by it, loaded by name; and against our own families."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from einops import rearrange
from torch import Tensor

import tokbench
from tokbench.layout import TokenLayout
from tokbench.plugins import import_class
from tokbench.tokenizers import zoo
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import ContinuousTokens, DiscreteTokens
from tokbench.weights.checkpoints import sha256

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT.parent / "shared" / "facts" / "keys"
"""Names and shapes of published files, where they are."""

SEEDS = [3, 2**40 + 1]


@pytest.fixture(scope="module")
def diffusers() -> Any:
    return pytest.importorskip("diffusers")


@dataclass(frozen=True)
class Case:
    """A class of diffusers and the settings of a small model."""

    variant: str
    library_class: str
    settings: Mapping[str, Any]
    size: tuple[int, int]
    grid: tuple[int, int]
    overrides: tuple[tuple[str, str], ...] = ()

    def model(self, diffusers: Any) -> Any:
        torch.manual_seed(0)
        model = stirred(getattr(diffusers, self.library_class)(**self.settings))
        if self.library_class == "VQModel":
            with torch.no_grad():
                spread(model.quantize.embedding.weight, model.encode(self.images()).latents)
        return model

    def load(self, folder: Path) -> Tokenizer:
        return tokbench.load(f"diffusers/{self.variant}", weights=folder, config=dict(self.overrides))

    def images(self) -> Tensor:
        return torch.rand(2, 3, *self.size, generator=torch.Generator().manual_seed(1)) * 2 - 1


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


def spread(rows: Tensor, latents: Tensor) -> None:
    """Entries of a codebook where the vectors are, so that many are chosen."""
    vectors = rearrange(latents, "b d h w -> (b h w) d")
    rows.copy_(vectors.mean(0) + vectors.std(0) * torch.randn(rows.shape, generator=torch.Generator().manual_seed(2)))


def convolutional(*widths: int, groups: int = 8, attended: tuple[int, ...] = (), **settings: Any) -> dict[str, Any]:
    down = [f"{'Attn' if level in attended else ''}DownEncoderBlock2D" for level in range(len(widths))]
    up = [f"{'Attn' if level in attended else ''}UpDecoderBlock2D" for level in reversed(range(len(widths)))]
    return {"block_out_channels": widths, "down_block_types": down, "up_block_types": up, "norm_num_groups": groups, **settings}


def dc(**settings: object) -> dict[str, Any]:
    return {
        "latent_channels": 4,
        "attention_head_dim": 8,
        **{f"{side}_block_types": ("ResBlock", "EfficientViTBlock", "ResBlock") for side in ("encoder", "decoder")},
        **{f"{side}_block_out_channels": (8, 16, 16) for side in ("encoder", "decoder")},
        **{f"{side}_layers_per_block": (1, 1, 2) for side in ("encoder", "decoder")},
        **{f"{side}_qkv_multiscales": ((), (5,), ()) for side in ("encoder", "decoder")},
        **settings,
    }


CONSISTENCY = {
    "encoder_block_out_channels": (8, 16),
    "encoder_down_block_types": ("DownEncoderBlock2D",) * 2,
    "encoder_norm_num_groups": 4,
    "encoder_layers_per_block": 1,
    "decoder_block_out_channels": (8, 16),
    "decoder_down_block_types": ("ResnetDownsampleBlock2D",) * 2,
    "decoder_up_block_types": ("ResnetUpsampleBlock2D",) * 2,
    "decoder_norm_num_groups": 4,
    "decoder_layers_per_block": 1,
    "scaling_factor": 0.7,
}
TINY = {"num_encoder_blocks": (1, 2, 1), "num_decoder_blocks": (2, 1, 1), "latent_channels": 5}
TINY_WIDTHS = {"encoder_block_out_channels": (8, 8, 8), "decoder_block_out_channels": (8, 8, 8)}
BATCH_NORM = {"decoder_norm_types": ("rms_norm", "batch_norm", "rms_norm"), "decoder_act_fns": ("silu", "relu", "silu")}
FLUX: dict[str, Any] = {"use_quant_conv": False, "use_post_quant_conv": False, "shift_factor": 0.1, "scaling_factor": 0.4}
MOVQ: dict[str, Any] = {"norm_type": "spatial", "latent_channels": 4, "num_vq_embeddings": 33}
AMUSED: dict[str, Any] = {"lookup_from_codebook": True, "mid_block_add_attention": False, "num_vq_embeddings": 60, "vq_embed_dim": 5}

KL, VQ, DC = ("kl", "AutoencoderKL"), ("vq", "VQModel"), ("dc", "AutoencoderDC")
SAMPLE = (("posterior", "sample"),)
CASES = {
    "kl": Case(*KL, convolutional(8, 16, 24, attended=(1,), latent_channels=6), (16, 24), (4, 6)),
    "kl, sample": Case(*KL, convolutional(8, 16, layers_per_block=2), (8, 12), (4, 6), SAMPLE),
    "kl like flux": Case(*KL, convolutional(8, latent_channels=3, **FLUX), (5, 7), (5, 7)),
    "vq": Case(*VQ, convolutional(8, 16, num_vq_embeddings=40), (16, 24), (8, 12)),
    "vq like movq": Case(*VQ, convolutional(32, 32, groups=32, attended=(1,), **MOVQ), (16, 24), (8, 12)),
    "vq like amused": Case(*VQ, convolutional(8, 16, **AMUSED), (12, 8), (6, 4)),
    "tiny": Case("tiny", "AutoencoderTiny", TINY | TINY_WIDTHS, (16, 24), (4, 6)),
    "dc": Case(*DC, dc(), (8, 12), (2, 3)),
    "dc with strides at the ends": Case(
        *DC, dc(encoder_layers_per_block=(0, 1, 1), decoder_layers_per_block=(0, 2, 1), **BATCH_NORM), (12, 8), (3, 2)
    ),
    "dc, a level passed over": Case(
        *DC,
        dc(
            encoder_block_out_channels=(8, 16, 16),
            encoder_layers_per_block=(2, 0, 1),
            decoder_block_out_channels=(8, 16, 16),
            decoder_layers_per_block=(2, 0, 1),
            downsample_block_type="conv",
            upsample_block_type="interpolate",
        ),
        (8, 12),
        (4, 6),
    ),
    "consistency": Case("consistency", "ConsistencyDecoderVAE", CONSISTENCY, (8, 12), (4, 6)),
    "consistency, sample": Case("consistency", "ConsistencyDecoderVAE", CONSISTENCY, (8, 8), (4, 4), SAMPLE),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in SEEDS]


def their_latents(peer: Any, case: Case) -> Tensor:
    found = peer.encode(case.images())
    if hasattr(found, "latent_dist"):
        return found.latent_dist.sample(generators()) if case.overrides else found.latent_dist.mean
    return found.latent if hasattr(found, "latent") else found.latents


def on_grid(tokens: Any) -> Tensor:
    return rearrange(tokens.latents, "b (h w) d -> b d h w", h=tokens.grid[0])


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


@cases
@torch.no_grad()
def test_a_folder_of_save_pretrained(diffusers: Any, case: Case, tmp_path: Path) -> None:
    peer = case.model(diffusers)
    peer.save_pretrained(tmp_path)
    model = case.load(tmp_path)
    assert model.name == f"diffusers/{case.variant}"
    assert model.weights_sha256 == sha256(tmp_path / "diffusion_pytorch_model.safetensors")
    assert model.weights_how == f"safetensors, the whole file; {len(peer.state_dict())} tensors"
    assert not model.training
    latents, tokens = their_latents(peer, case), model.encode(case.images(), seeds=SEEDS)
    assert tokens.grid == model.layout(*case.size).grid == case.grid == tuple(latents.shape[2:])
    if isinstance(tokens, DiscreteTokens):
        _, _, (_, _, indices) = peer.quantize(latents)
        assert torch.equal(tokens.codes.flatten(), indices.flatten())
        assert len(indices.unique()) > len(indices) / 8
    else:
        close(on_grid(tokens), latents, 1e-6)
    noise = {"generator": generators()} if model.decode_is_stochastic else {}
    decoded = peer.decode(latents, **noise).sample  # of VQModel through z + (q - z), which rounds
    close(model.decode(tokens, seeds=SEEDS), decoded, 1e-5 if isinstance(tokens, DiscreteTokens) else 1e-6)


@cases
def test_the_whole_configuration_is_kept(diffusers: Any, case: Case, tmp_path: Path) -> None:
    """What the folder does not say, too, and nothing that is about the file."""
    peer = case.model(diffusers)
    peer.save_pretrained(tmp_path)
    said = json.loads((tmp_path / "config.json").read_text())
    shortened = {key: value for key, value in said.items() if key in case.settings or key.startswith("_")}
    (tmp_path / "config.json").write_text(json.dumps(shortened | {"a_setting_of_tomorrow": None}))
    values = case.load(tmp_path).config.values
    assert {key: said[key] for key in values} == values
    assert not [key for key in values if key.startswith("_")]
    assert set(case.settings) <= set(values)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.library_class == "VQModel"])
@torch.no_grad()
def test_codes_that_encoding_did_not_choose(diffusers: Any, name: str, tmp_path: Path) -> None:
    case = CASES[name]
    peer = case.model(diffusers)
    peer.save_pretrained(tmp_path)
    model = case.load(tmp_path)
    size = model.layout(*case.size).codebook_sizes[0]
    codes = torch.randint(size, (2, case.grid[0] * case.grid[1], 1), generator=torch.Generator().manual_seed(5))
    rows = rearrange(peer.quantize.embedding.weight[codes[..., 0]], "b (h w) d -> b d h w", h=case.grid[0]).contiguous()
    condition = rows if case.settings.get("norm_type") == "spatial" else None
    expected = peer.decoder(peer.post_quant_conv(rows), condition)
    close(model.decode(DiscreteTokens(codes, case.grid, (size,))), expected, 1e-6)


def test_seeds_of_a_consistency_decoder(diffusers: Any, tmp_path: Path) -> None:
    """Each image has its own generator, whatever is beside it."""
    case = CASES["consistency"]
    case.model(diffusers).save_pretrained(tmp_path)
    model = case.load(tmp_path)
    tokens = model.encode(case.images())
    assert isinstance(tokens, ContinuousTokens)
    decoded, other = model.decode(tokens, seeds=[5, 6]), model.decode(tokens, seeds=[5, 7])
    assert torch.equal(decoded[0], other[0])
    assert float((decoded[1] - other[1]).abs().max()) > 0.01
    turned = ContinuousTokens(tokens.latents.flip(0), tokens.grid)
    close(model.decode(turned, seeds=[6, 5]).flip(0), decoded, 1e-6)


def against_our_own(diffusers: Any, case: Case, folder: Path, name: str, **settings: Any) -> tuple[Any, Any]:
    case.model(diffusers).save_pretrained(folder)
    return case.load(folder), tokbench.load(name, weights=folder / "diffusion_pytorch_model.safetensors", config=settings)


def ours(**network: object) -> dict[str, Any]:
    return {f"autoencoder.{key}": value for key, value in network.items()}


def test_our_own_vae_agrees(diffusers: Any, tmp_path: Path) -> None:
    case = CASES["kl"]
    network = ours(z_channels=6, channels=8, channel_multipliers=(1, 2, 3), num_res_blocks=1, attn_resolutions=(128,), norm_groups=8)
    adapter, own = against_our_own(diffusers, case, tmp_path, "vae/sd", embed_dim=6, **network)
    tokens, images = adapter.encode(case.images()), case.images()
    close(tokens.latents, own.encode(images).latents, 1e-4)
    close(adapter.decode(tokens), own.decode(tokens), 1e-4)


def test_our_own_vqgan_agrees(diffusers: Any, tmp_path: Path) -> None:
    case = CASES["vq"]
    network = ours(z_channels=3, channels=8, channel_multipliers=(1, 2), num_res_blocks=1, norm_groups=8)
    adapter, own = against_our_own(
        diffusers, case, tmp_path, "vqgan/ldm-f8", **{"quantizer.codebook_size": 40, "quantizer.dim": 3}, **network
    )
    tokens = adapter.encode(case.images())
    assert torch.equal(tokens.codes, own.encode(case.images()).codes)
    close(adapter.decode(tokens), own.decode(tokens), 1e-4)


@cache
def published(name: str) -> Tokenizer:
    """As a file without a ``config.json`` is read, without a value in memory."""
    family, variant = zoo.resolve(name)
    with torch.device("meta"):
        return import_class(family.model)(variant.config)


@pytest.mark.parametrize(
    ("name", "layout", "parameters"),
    [
        ("diffusers/kl", TokenLayout((256, 256), (32, 32), channels=4), 83_653_863),
        ("diffusers/vq", TokenLayout((256, 256), (64, 64), (8192,)), 55_322_782),
        ("diffusers/tiny", TokenLayout((256, 256), (32, 32), channels=4), 2_445_063),
        ("diffusers/dc", TokenLayout((256, 256), (8, 8), channels=32), 323_356_460),
        ("diffusers/consistency", TokenLayout((256, 256), (32, 32), channels=4), 655_441_366),
    ],
)
def test_rows_have_the_settings_of_published_models(diffusers: Any, name: str, layout: TokenLayout, parameters: int) -> None:
    _, variant = zoo.resolve(name)
    assert variant.config.layout(256, 256) == layout
    model: Any = published(name)
    assert sum(value.numel() for value in model.parameters()) == parameters
    found = model.network.encode(torch.zeros(1, 3, 256, 256, device="meta"))[0]
    latents = found if isinstance(found, Tensor) else found.mean
    assert latents.device.type == "meta"
    assert tuple(latents.shape[2:]) == layout.grid


def test_names_of_the_published_file(diffusers: Any) -> None:
    manifest = MANIFESTS / "sd_vae_diffusers.json"
    if not manifest.is_file():
        pytest.skip("the manifest is not here")
    expected = {f"network.{key}": tuple(shape) for key, (shape, _) in json.loads(manifest.read_text())["tensors"].items()}
    assert {key: tuple(value.shape) for key, value in published("diffusers/kl").state_dict().items()} == expected


@pytest.mark.parametrize("library", ["diffusers", "transformers"])
def test_the_name_is_the_librarys(library: str) -> None:
    """Our folder of that name is found inside the package only."""
    spec = importlib.util.find_spec(library)
    if spec is None:
        pytest.skip(f"{library} is not installed")
    assert not Path(spec.origin or "").resolve().is_relative_to(ROOT / "tokbench")
    ours = importlib.util.find_spec(f"tokbench.tokenizers.{library}")
    assert ours is not None
    assert Path(ours.origin or "").is_relative_to(ROOT / "tokbench")
    build: Callable[..., Any] = import_class(zoo.families()[library].model)
    imported = sys.modules[build.imported(zoo.resolve(library)[1].config.library_class).__module__]  # type: ignore[attr-defined]
    assert not Path(imported.__file__ or "").resolve().is_relative_to(ROOT / "tokbench")
