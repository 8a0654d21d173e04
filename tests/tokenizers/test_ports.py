"""Networks ported from diffusers against its own classes with small random weights: two-dimensional ones of video networks, too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

import tokbench
from tokbench.plugins import import_class
from tokbench.tokenizers import zoo
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.taesd.config import TAESDConfig
from tokbench.tokenizers.taesd.model import TAESD, _Block
from tokbench.tokens import ContinuousTokens


@pytest.fixture(scope="module")
def diffusers() -> Any:
    return pytest.importorskip("diffusers")


@dataclass(frozen=True)
class Port:
    """A row of ours, the class it is a port of, and the settings of a small network on both sides."""

    name: str
    library_class: str
    theirs: Mapping[str, Any]
    ours: Mapping[str, object]
    size: tuple[int, int]
    published: Mapping[str, Any] = field(default_factory=dict)
    frames: bool = False

    def peer(self, diffusers: Any) -> Any:
        torch.manual_seed(0)
        return stirred(getattr(diffusers, self.library_class)(**self.theirs))

    def images(self) -> Tensor:
        return torch.rand(2, 3, *self.size, generator=torch.Generator().manual_seed(1)) * 2 - 1


@torch.no_grad()
def stirred(model: Any) -> Any:
    """Normalisations, biases and running statistics off their starting values."""
    generator = torch.Generator().manual_seed(0)
    for value in model.parameters():
        value += (0.1 if value.squeeze().ndim == 1 else 0.02) * torch.randn(value.shape, generator=generator)
    for key, value in model.named_buffers():
        if key.endswith(("running_mean", "running_var")):
            value += 0.5 * torch.rand(value.shape, generator=generator)
    return model.eval()


WAN = {"base_dim": 8, "z_dim": 4, "dim_mult": [1, 2, 2], "num_res_blocks": 1, "temperal_downsample": [False, True]}
WAN |= {"latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}
WAN_OURS = {"z_channels": 4, "channels": 8, "channel_multipliers": (1, 2, 2), "num_res_blocks": 1, "temporal": (False, True)}
WAN_22 = {"is_residual": True, "in_channels": 12, "out_channels": 12, "patch_size": 2, "decoder_base_dim": 16, "scale_factor_spatial": 8}
PUBLISHED_22 = {
    "base_dim": 160,
    "z_dim": 48,
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "decoder_base_dim": 256,
}


FLUX: dict[str, Any] = {"block_out_channels": (32, 64), "layers_per_block": 1, "latent_channels": 6}
FLUX |= {f"{way}_block_types": (f"{name}Block2D",) * 2 for way, name in (("down", "DownEncoder"), ("up", "UpDecoder"))}
FLUX_OURS = {"z_channels": 6, "channels": 32, "channel_multipliers": (1, 2), "num_res_blocks": 1}
HUNYUAN: dict[str, Any] = {"block_out_channels": (32, 64, 64), "layers_per_block": 1, "latent_channels": 8, "in_channels": 3}
HUNYUAN |= {"out_channels": 3, "spatial_compression_ratio": 4, "sample_size": 64, "scaling_factor": 0.7}
HUNYUAN_IMAGE = {
    "block_out_channels": (128, 256, 512, 512, 1024, 1024),
    "layers_per_block": 2,
    "latent_channels": 64,
    "spatial_compression_ratio": 32,
}
HUNYUAN_OURS = {"z_channels": 8, "widths": (32, 64, 64), "num_res_blocks": 1}
TINY: dict[str, Any] = {"num_encoder_blocks": (1, 2, 1), "num_decoder_blocks": (1, 2, 1), "latent_channels": 5}
TINY |= {"encoder_block_out_channels": (8, 8, 8), "decoder_block_out_channels": (8, 8, 8)}


def below(part: str, **values: object) -> dict[str, object]:
    return {f"{part}.{key}": value for key, value in values.items()}


PORTS = {
    "qwen": Port("qwen/image", "AutoencoderKLQwenImage", WAN, below("network", **WAN_OURS), (12, 8), frames=True),
    "wan 2.1": Port("wan/2.1", "AutoencoderKLWan", WAN, below("network", **WAN_OURS), (8, 12), frames=True),
    "wan 2.2": Port(
        "wan/2.2",
        "AutoencoderKLWan",
        WAN | WAN_22,
        below("network", **WAN_OURS, decoder_channels=16),
        (16, 24),
        published=PUBLISHED_22,
        frames=True,
    ),
    "wan 2.2, time halved at every step": Port(
        "wan/2.2",
        "AutoencoderKLWan",
        WAN | WAN_22 | {"dim_mult": [1, 4, 4], "num_res_blocks": 2, "temperal_downsample": [True, True]},
        below(
            "network", **WAN_OURS | {"channel_multipliers": (1, 4, 4), "num_res_blocks": 2, "temporal": (True, True)}, decoder_channels=16
        ),
        (16, 8),
        frames=True,
    ),
}
PORTS |= {
    "flux 2": Port("flux/2", "AutoencoderKLFlux2", FLUX, below("autoencoder", **FLUX_OURS), (16, 24)),
    "hunyuan": Port(
        "hunyuan/image", "AutoencoderKLHunyuanImage", HUNYUAN, below("network", **HUNYUAN_OURS), (8, 12), published=HUNYUAN | HUNYUAN_IMAGE
    ),
    "taesd": Port("taesd/sd", "AutoencoderTiny", TINY, {"widths": (8,) * 3, "blocks": (1, 2, 1), "z_channels": 5}, (16, 24)),
    "taesd of one width a level": Port(
        "taesd/flux",
        "AutoencoderTiny",
        TINY | {"latent_channels": 3},
        {"widths": (8,) * 3, "blocks": (1, 2, 1), "z_channels": 3},
        (8, 4),
        published={"latent_channels": 16},
    ),
}
ports = pytest.mark.parametrize("port", PORTS.values(), ids=PORTS)


def theirs(peer: Any, port: Port, images: Tensor) -> tuple[Tensor, Tensor]:
    """Latents on their grid, and the images they decode to."""
    found = peer.encode(images.unsqueeze(2) if port.frames else images)
    latents = found.latent_dist.mode() if hasattr(found, "latent_dist") else found.latents
    decoded = peer.decode(latents).sample
    if port.name == "flux/2":  # as its pipeline lays latents out
        latents = rearrange(latents, "b c (h p) (w q) -> b (c p q) h w", p=2, q=2)
    return (latents.squeeze(2), decoded.squeeze(2)) if port.frames else (latents, decoded)


def load(port: Port, path: Path) -> Tokenizer:
    return tokbench.load(port.name, weights=path, config=dict(port.ours))


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def check(tokenizer: Tokenizer, latents: Tensor, decoded: Tensor, images: Tensor) -> None:
    tokens = tokenizer.encode(images)
    assert isinstance(tokens, ContinuousTokens)
    assert tokens.grid == tuple(latents.shape[2:])
    close(tokens.latents, rearrange(latents, "b c h w -> b (h w) c"), 1e-5)
    assert float(latents.std()) > 0.01
    assert float(decoded.std()) > 0.01
    ours = tokenizer.decode(tokens)
    close(ours.clamp(-1, 1), decoded.clamp(-1, 1), 1e-4)


@ports
@torch.no_grad()
def test_it_computes_what_diffusers_computes(diffusers: Any, port: Port, tmp_path: Path) -> None:
    peer = port.peer(diffusers)
    peer.save_pretrained(tmp_path)
    latents, decoded = theirs(peer, port, port.images())
    check(load(port, tmp_path / "diffusion_pytorch_model.safetensors"), latents, decoded, port.images())


@pytest.mark.parametrize("name", ["qwen", "wan 2.1", "wan 2.2"])
@torch.no_grad()
def test_files_by_the_names_of_wan(diffusers: Any, name: str, tmp_path: Path) -> None:
    """The published ``.pth`` files hold the same tensors by other names."""
    port = PORTS[name]
    peer = port.peer(diffusers)
    state = {by_wan(key, name == "wan 2.2"): value for key, value in peer.state_dict().items()}
    assert len(state) == len(peer.state_dict())
    assert "encoder.middle.1.to_qkv.weight" in state
    torch.save(state, tmp_path / "vae.pth")
    check(load(port, tmp_path / "vae.pth"), *theirs(peer, port, port.images()), port.images())


def by_wan(key: str, nested: bool) -> str:
    """Name of a tensor in Wan's own files, of a network with one block a level in the encoder and two in the decoder."""
    for pattern, name in (
        (r"^quant_conv\.", "conv1."),
        (r"^post_quant_conv\.", "conv2."),
        (r"coder\.conv_in\.", "coder.conv1."),
        (r"coder\.norm_out\.", "coder.head.0."),
        (r"coder\.conv_out\.", "coder.head.2."),
        (r"mid_block\.attentions\.0", "middle.1"),
        (r"\.norm1\.", ".residual.0."),
        (r"\.conv1\.(?=\w+$)(?<!coder\.conv1\.)", ".residual.2."),
        (r"\.norm2\.", ".residual.3."),
        (r"\.conv2\.", ".residual.6."),
        (r"\.conv_shortcut\.", ".shortcut."),
    ):
        key = re.sub(pattern, name, key)
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"middle.{2 * int(found[1])}", key)
    key = key.replace("encoder.down_blocks.", "encoder.downsamples.")
    if nested:
        key = re.sub(r"encoder\.downsamples\.(\d)\.resnets\.", r"encoder.downsamples.\1.downsamples.", key)
        key = re.sub(r"encoder\.downsamples\.(\d)\.downsampler\.", r"encoder.downsamples.\1.downsamples.1.", key)
        key = re.sub(r"decoder\.up_blocks\.(\d)\.resnets\.", r"decoder.upsamples.\1.upsamples.", key)
        return re.sub(r"decoder\.up_blocks\.(\d)\.upsampler\.", r"decoder.upsamples.\1.upsamples.2.", key)
    key = re.sub(r"decoder\.up_blocks\.(\d)\.resnets\.(\d)\.", lambda found: f"decoder.upsamples.{3 * int(found[1]) + int(found[2])}.", key)
    return re.sub(r"decoder\.up_blocks\.(\d)\.upsamplers\.0\.", lambda found: f"decoder.upsamples.{3 * int(found[1]) + 2}.", key)


@pytest.mark.parametrize("port", {port.name: port for port in PORTS.values()}.values(), ids=lambda port: port.name)
def test_published_shapes(diffusers: Any, port: Port) -> None:
    """On the meta device: every tensor of the class at its published size has its place, and none is missing."""
    family, variant = zoo.resolve(port.name)
    published = next((one.published for one in PORTS.values() if one.name == port.name and one.published), {})
    with torch.device("meta"):
        model: Any = import_class(family.model)(variant.config)
        peer = getattr(diffusers, port.library_class)(**published)
    renamed = type(model).own_names(dict(peer.state_dict()))
    assert {key: value.shape for key, value in renamed.items()} == {key: value.shape for key, value in model.state_dict().items()}
    images = torch.zeros(1, 3, 64, 64, device="meta")
    latents = model._to_tokens(model.posterior(images).mean) if hasattr(model, "posterior") else model.encoder(images)
    layout = variant.config.layout(64, 64)
    assert latents.shape == (1, layout.channels, *layout.grid)


@ports
def test_names_of_ours_stay(diffusers: Any, port: Port, tmp_path: Path) -> None:
    peer = port.peer(diffusers)
    peer.save_pretrained(tmp_path)
    tokenizer = load(port, tmp_path / "diffusion_pytorch_model.safetensors")
    own = tokenizer.state_dict()
    assert type(tokenizer).own_names(dict(own)).keys() == own.keys()
    again = tokbench.load(str(zoo.save_tokenizer(tokenizer, tmp_path / "saved")))
    assert torch.equal(again.encode(port.images()).latents, tokenizer.encode(port.images()).latents)  # type: ignore[union-attr]


ADAPTERS = {
    "AutoencoderKLWan": "diffusers/wan",
    "AutoencoderKLQwenImage": "diffusers/qwen",
    "AutoencoderKLFlux2": "diffusers/flux2",
    "AutoencoderKLHunyuanImage": "diffusers/hunyuan-image",
    "AutoencoderTiny": "diffusers/tiny",
}


@ports
def test_the_adapter_agrees(diffusers: Any, port: Port, tmp_path: Path) -> None:
    port.peer(diffusers).save_pretrained(tmp_path)
    adapter = tokbench.load(ADAPTERS[port.library_class], weights=tmp_path)
    ours = load(port, tmp_path / "diffusion_pytorch_model.safetensors")
    tokens = adapter.encode(port.images())
    assert isinstance(tokens, ContinuousTokens)
    assert adapter.layout(*port.size) == ours.layout(*port.size)
    close(tokens.latents, ours.encode(port.images()).latents, 1e-4)  # type: ignore[union-attr]
    close(adapter.decode(tokens).clamp(-1, 1), ours.decode(tokens).clamp(-1, 1), 1e-4)
    if port.name in ("flux/2", "taesd/sd"):  # said by the weights, or by what the latents are
        assert adapter.normalisation == ours.normalisation


@torch.no_grad()
def test_statistics_of_flux_2_normalise_as_its_pipeline_does(diffusers: Any, tmp_path: Path) -> None:
    port = PORTS["flux 2"]
    peer = port.peer(diffusers)
    peer.save_pretrained(tmp_path)
    latents, _ = theirs(peer, port, port.images())
    std = torch.sqrt(peer.bn.running_var.view(1, -1, 1, 1) + peer.config.batch_norm_eps)
    expected = (latents - peer.bn.running_mean.view(1, -1, 1, 1)) / std
    tokenizer = load(port, tmp_path / "diffusion_pytorch_model.safetensors")
    tokens = tokenizer.encode(port.images())
    assert isinstance(tokens, ContinuousTokens)
    assert tokenizer.normalisation is not None
    close(tokenizer.normalisation.applied(tokens.latents), rearrange(expected, "b c h w -> b (h w) c"), 1e-4)


@pytest.mark.parametrize(
    ("name", "renames"),
    [
        ("flux 2", ((r"^quant_conv\.", "encoder.quant_conv."), (r"^post_quant_conv\.", "decoder.post_quant_conv."))),
        ("taesd", ((r"^encoder\.layers\.", "encoder."), (r"^decoder\.layers\.(\d+)", lambda found: f"decoder.{int(found[1]) + 1}"))),
        ("hunyuan", ((r"^(encoder\.down\.\d)\.step", r"\1.downsample"), (r"^(decoder\.up\.\d)\.step", r"\1.upsample"))),
    ],
)
def test_files_by_the_names_of_their_publishers(diffusers: Any, name: str, renames: Any, tmp_path: Path) -> None:
    port = PORTS[name]
    port.peer(diffusers).save_pretrained(tmp_path)
    tokenizer = load(port, tmp_path / "diffusion_pytorch_model.safetensors")
    state = {}
    for key, value in tokenizer.state_dict().items():
        for pattern, replacement in renames:
            key = re.sub(pattern, replacement, key)
        state[key] = value
    assert state.keys() != tokenizer.state_dict().keys()
    torch.save(state, tmp_path / "published.pt")
    again = load(port, tmp_path / "published.pt")
    close(again.encode(port.images()).latents, tokenizer.encode(port.images()).latents, 0)  # type: ignore[union-attr]


def test_a_branch_of_pooled_blocks_counts() -> None:
    """What ``taef2`` has beside the blocks of the lowest level, and the others have not."""
    plain, pooled = (TAESD(TAESDConfig(4, (8, 8), (1, 2), pooled=pooled)).eval() for pooled in (False, True))
    extra = pooled.state_dict().keys() - plain.state_dict().keys()
    assert {key.rpartition(".pool.")[0] for key in extra} == {f"encoder.layers.{n}" for n in (3, 4)} | {
        f"decoder.layers.{n}" for n in (2, 3)
    }
    block = stirred(_Block(8, pooled=True))
    x = torch.randn(1, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    wide = F.group_norm(F.conv2d(x, block.pool[0].weight), 4, block.pool[1].weight, block.pool[1].bias)
    inner = x + F.conv2d(wide.relu(), block.pool[3].weight)
    close(block(x), (block.conv(inner) + inner).relu(), 1e-6)
