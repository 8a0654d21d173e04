"""Cosmos-Tokenizer end to end: outputs of upstream on random weights, and TorchScript archives, whose program is not run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor, nn

import tokbench
from tokbench.configs import with_overrides
from tokbench.nn.configs import AutoencoderConfig
from tokbench.nn.haar import from_haar, haar
from tokbench.quantizers.configs import FSQ
from tokbench.tokenizers import zoo
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.conv_vq.config import ConvVQConfig
from tokbench.tokenizers.cosmos.config import CosmosCIConfig
from tokbench.tokenizers.cosmos.model import CosmosDI, cosmos
from tokbench.tokenizers.vae.model import VAE
from tokbench.tokenizers.vae.variants import VAEConfig
from tokbench.tokens import ContinuousTokens, DiscreteTokens
from tokbench.weights.checkpoints import load_strictly

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
        channels=settings["channels"],
        channel_multipliers=tuple(settings["channels_mult"]),
        num_res_blocks=settings["num_res_blocks"],
        attn_resolutions=tuple(settings["attn_resolutions"]),
        resolution=settings["resolution"],
        patch=settings["patch_size"],
        halvings=(settings["spatial_compression"] // settings["patch_size"]).bit_length() - 1,
        **more,
    )


def from_file(model: Tokenizer, path: Path) -> Any:
    found = model.read_weights(path)
    load_strictly(model, found.tensors, origin=path.name)
    return model.eval()


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def check_transform(io: dict[str, Tensor], patch: int) -> None:
    close(haar(io["image"], patch), io["patched"], 1e-6)
    close(from_haar(io["patched"], patch), io["unpatched"], 1e-6)


@golden_sets("cosmos_di")
@torch.no_grad()
def test_di(folder: Path) -> None:
    settings, io = read(folder)
    check_transform(io, settings["patch_size"])
    model = from_file(cosmos(ConvVQConfig(network(settings), FSQ(tuple(settings["levels"])))), folder / "state_dict.safetensors")
    tokens = model.encode(io["image"])
    assert isinstance(tokens, DiscreteTokens)
    assert tokens.grid == tuple(io["indices"].shape[1:])
    vectors, _ = model._vectors(io["image"])
    close(vectors, rearrange(io["prequant"], "b d h w -> b (h w) d"), 2e-5)  # both are some 1e-5 from double precision
    assert torch.equal(tokens.codes.flatten(), io["indices_integer"].flatten())
    close(model.embed(tokens), rearrange(io["codes_exact"], "b d h w -> b (h w) d"), 1e-6)
    close(model.decode(tokens), io["recon_from_indices"], 1e-4)


@golden_sets("cosmos_ci")
@torch.no_grad()
def test_ci(folder: Path) -> None:
    settings, io = read(folder)
    check_transform(io, settings["patch_size"])
    if settings["formulation"] == "VAE":  # which nobody published: the network of a KL autoencoder
        config: Any = VAEConfig(network(settings, double_z=True), embed_dim=settings["latent_channels"])
        model = from_file(VAE(config), folder / "state_dict.safetensors")
    else:
        model = from_file(cosmos(CosmosCIConfig(network(settings), settings["latent_channels"])), folder / "state_dict.safetensors")
    tokens = model.encode(io["image"])
    assert isinstance(tokens, ContinuousTokens)
    assert tokens.grid == tuple(io["prequant"].shape[2:])
    mean = io["prequant"][:, : settings["latent_channels"]]
    close(tokens.latents, rearrange(mean, "b c h w -> b (h w) c"), 1e-5)
    given = ContinuousTokens(rearrange(io["latent"], "b c h w -> b (h w) c").contiguous(), tokens.grid)
    close(model.decode(given), io["recon"], 1e-4)


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_the_transform_has_means_first_and_an_inverse(patch: int) -> None:
    images = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    bands = haar(images, patch)
    assert bands.shape == (2, 3 * patch**2, 16 // patch, 24 // patch)
    close(bands[:, :3], nn.functional.avg_pool2d(images, patch), 1e-12)
    close(from_haar(bands, patch), images, 1e-12)


def test_bands_stand_in_the_published_order() -> None:
    """A pixel that differs below it, beside it, and across."""
    pixels = torch.tensor([[1.0, 2.0], [4.0, 16.0]])[None, None]
    a, b, c, d = pixels.flatten().tolist()
    assert haar(pixels, 2).flatten().tolist() == [(a + b + c + d) / 4, (a + b - c - d) / 4, (a - b + c - d) / 4, (a - b - c + d) / 4]


@pytest.mark.parametrize(("name", "down", "up"), [("ci8x8", [0], [2]), ("di8x8", [0], [2]), ("ci16x16", [0, 1], [1, 2])])
def test_levels_that_halve_and_double(name: str, down: list[int], up: list[int]) -> None:
    """The first of either side, so not the same ones."""
    with torch.device("meta"):
        model: Any = cosmos(zoo.resolve(f"cosmos/{name}")[1].config)  # type: ignore[arg-type]
    assert [i for i, level in enumerate(model.encoder.down) if level.downsample] == down
    assert [i for i, level in enumerate(model.decoder.up) if level.upsample] == up
    assert not any(level.attn for level in (*model.encoder.down, *model.decoder.up))


SMALL = {"autoencoder.channels": 32, "autoencoder.num_res_blocks": 1, "autoencoder.z_channels": 8}


class _Half(nn.Module):
    """Half of a tokenizer under the names of an archive, with constants as archives have them."""

    def __init__(self, constants: str, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        table = nn.Module()
        table.register_buffer("_levels", torch.tensor([8, 8, 8, 5, 5, 5]))
        self.add_module(constants, table)

    def forward(self, x: Tensor) -> Tensor:
        for name, part in self.named_children():
            x = x if name in ("quantizer", "inv_quant") else part(x)
        return x


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[CosmosDI, Path]:
    """A small tokenizer, and a folder with its two halves in single archives."""
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    model: Any = cosmos(with_overrides(zoo.resolve("cosmos/di16x16")[1].config, SMALL)).eval()
    folder = tmp_path / "published"
    folder.mkdir()
    image, codes = torch.zeros(1, 3, 32, 32), torch.zeros(1, 6, 2, 2)
    halves = {
        "encoder": (_Half("quantizer", encoder=model.encoder, quant_conv=model.quant_conv), image),
        "decoder": (_Half("inv_quant", post_quant_conv=model.post_quant_conv, decoder=model.decoder), codes),
    }
    for name, (half, example) in halves.items():
        torch.jit.trace(half.eval(), example, check_trace=False).save(str(folder / f"{name}.jit"))
    return model, folder


@pytest.mark.usefixtures("uncompared")
@pytest.mark.filterwarnings("ignore:.torch.jit.trace")
def test_archives_are_read_and_not_run(archives: tuple[CosmosDI, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model, folder = archives
    monkeypatch.setattr(torch.jit, "load", lambda *_: pytest.fail("the program of an archive was loaded"))
    loaded = tokbench.load("cosmos/di16x16", weights=folder, config=SMALL)
    image = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
    tokens = loaded.encode(image)
    assert isinstance(tokens, DiscreteTokens)
    assert torch.equal(tokens.codes, model.encode(image).codes)  # type: ignore[union-attr]
    assert torch.equal(loaded.decode(tokens), model.decode(tokens))
    assert loaded.weights_sha256 is not None
    with pytest.raises(tokbench.TokbenchError, match=r"does not fit CosmosDI: .* missing"):
        tokbench.load("cosmos/di16x16", weights=folder / "encoder.jit", config=SMALL)
