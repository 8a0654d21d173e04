"""VAR and Infinity: outputs and names of the published code, images from the first scales, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

import tokbench
from tokbench.configs import build, plain, with_overrides
from tokbench.errors import TokbenchError
from tokbench.nn.configs import AutoencoderConfig
from tokbench.plugins import import_class
from tokbench.quantizers.configs import BSQ, VQ
from tokbench.tokenizers import zoo
from tokbench.tokenizers.infinity.config import RATIOS, InfinityConfig
from tokbench.tokenizers.infinity.model import Infinity
from tokbench.tokenizers.multiscale.config import MultiScaleConfig
from tokbench.tokenizers.var.model import VAR
from tokbench.tokens import DiscreteTokens
from tokbench.weights.checkpoints import load_strictly

OWN = Path(__file__).parents[1] / "goldens" / "var_vqvae"
SHARED = Path(__file__).parents[3] / "shared"
MORE = sorted(path for path in (SHARED / "goldens2" / "var_vqvae").glob("*") if path.name != "a" and (path / "io.safetensors").is_file())
MANIFEST = SHARED / "facts" / "keys2" / "var_vae_ch160v4096z32.json"


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def var_config(settings: dict) -> MultiScaleConfig:
    of, network = settings["vqvae_args"], settings.get("encoder_decoder_args", {})
    multipliers = tuple(network.get("ch_mult", (1, 1, 2, 2, 4)))
    shared, blend = of.get("share_quant_resi", 4), abs(of.get("quant_resi", 0.5))
    return MultiScaleConfig(
        AutoencoderConfig(
            of["z_channels"],
            channels=network.get("ch", of["ch"]),
            channel_multipliers=multipliers,
            num_res_blocks=network.get("num_res_blocks", 2),
            attn_resolutions=(256 // 2 ** (len(multipliers) - 1),) if settings.get("using_sa", True) else (),
            mid_attention=settings.get("using_mid_sa", True),
        ),
        VQ(of["vocab_size"], of["z_channels"], cosine=of.get("using_znorm", False), raw_rows=of.get("using_znorm", False)),
        scales=tuple(of["v_patch_nums"]),
        blends=(shared or len(of["v_patch_nums"])) if blend > 1e-6 else 0,
        blend=blend,
        code_kernel=3,
    )


@pytest.mark.parametrize("folder", [OWN, *MORE], ids=lambda folder: folder.name)
@torch.no_grad()
def test_var(folder: Path, tmp_path: Path) -> None:
    settings, io = json.loads((folder / "config.json").read_text()), load_file(folder / "io.safetensors")
    model = VAR(var_config(settings)).eval()
    load_strictly(model, model.read_weights(folder / "state_dict.safetensors").tensors, origin=folder.name)
    tokens = model.encode(io["image"])
    assert isinstance(tokens, DiscreteTokens)
    close(model.quant_conv(model.encoder(io["image"])), io["prequant"], 1e-5)
    assert torch.equal(tokens.codes[..., 0], io["indices"])
    if "phi_index_per_scale" in settings:
        assert list(model.quantize.blend_of) == settings["phi_index_per_scale"]
    for ours, theirs in zip(model.quantize.sums(tokens.codes), io["f_hat_per_scale"], strict=True):
        close(ours, theirs, 1e-5)
    images = model.decode(tokens)
    close(images, io["recon_unclamped"], 1e-4)
    close(images.clamp(-1, 1), io["recon_from_indices"], 1e-4)
    layout = model.layout(*io["image"].shape[2:])
    assert len(layout.lengths) == len(layout.scales) == len(io["recon_per_scale"])
    for length, theirs in zip(layout.lengths, io["recon_per_scale"], strict=True):
        close(model.decode(tokens.prefix(length)).clamp(-1, 1), theirs, 1e-4)
    vectors, _ = model._vectors(io["image"])
    close(model.quantize(vectors).losses["codebook"], io["vq_loss"], 1e-5)


@pytest.mark.skipif(not MANIFEST.is_file(), reason="the manifest is not here")
def test_the_manifest_of_var_loads_strictly() -> None:
    listed = json.loads(MANIFEST.read_text())["tensors"]
    state = {key: torch.empty(shape, device="meta") for key, (shape, _) in listed.items() if key != "quantize.ema_vocab_hit_SV"}
    model = on_meta("var/ch160")
    renamed = model.own_names(state)
    model.load_state_dict(renamed, strict=True, assign=True)
    assert sum(value.numel() for value in renamed.values()) == sum(value.numel() for value in state.values()) == 108_989_315 - 40_960


def on_meta(name: str) -> VAR | Infinity:
    family, variant = zoo.resolve(name)
    with torch.device("meta"):
        return import_class(family.model)(variant.config)


SMALL = MultiScaleConfig(
    AutoencoderConfig(6, channels=8, channel_multipliers=(1, 2), num_res_blocks=1, attn_resolutions=(), mid_attention=False, norm_groups=4),
    BSQ(6, 2, entropy_form="analytical"),
    quant_convs=False,
    scales=(1, 2, 4),
    enlarge="bilinear",
)


@pytest.fixture
def infinity() -> Infinity:
    torch.manual_seed(0)
    return Infinity(SMALL).eval()


def wrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """In the names of upstream, by plain replacement."""
    renamed = {}
    for key, value in state.items():
        name = key.replace("downsample.conv.", "downsample.conv.conv.").replace("upsample.conv.", "upsample.conv.conv.")
        for layer in ("conv_in", "conv_out", "conv1", "conv2", "nin_shortcut"):
            name = name.replace(f".{layer}.", f".{layer}.conv.")
        for layer in ("norm1", "norm2", "norm_out"):
            name = name.replace(f".{layer}.", f".{layer}.norm.")
        renamed[name] = value
    return renamed | {f"{part}.lfq.mask": torch.ones(6, dtype=torch.int64) for part in ("quantizer", "quantize")}


@pytest.mark.parametrize("entry", ["vae", None])
def test_infinity_takes_files_of_upstream(infinity: Infinity, tmp_path: Path, entry: str | None) -> None:
    state = wrapped(infinity.state_dict())
    assert "encoder.down.0.downsample.conv.conv.weight" in state
    assert "decoder.up.1.block.0.norm1.norm.bias" in state
    torch.save({entry: state} if entry else state, tmp_path / "infinity_vae.pth")
    read = infinity.read_weights(tmp_path / "infinity_vae.pth").tensors
    assert {key: value.shape for key, value in read.items()} == {key: value.shape for key, value in infinity.state_dict().items()}
    assert all(torch.equal(read[key], value) for key, value in infinity.state_dict().items())


@torch.no_grad()
def test_infinity_codes_are_those_of_its_features(infinity: Infinity) -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1
    tokens = infinity.encode(images)
    assert (tokens.grid, tokens.codebook_sizes) == ((21,), (8, 8))
    features = infinity.encoder(images)
    first = (features.mean(dim=(2, 3)) > 0).long()
    assert torch.equal(tokens.codes[:, 0], (first.unflatten(1, (2, 3)) * torch.tensor([4, 2, 1])).sum(dim=-1))
    sums = infinity.quantize.sums(tokens.codes)
    close(infinity.decode(tokens), infinity.decoder(sums[-1]), 1e-6)
    close(infinity.decode(tokens.prefix(5)), infinity.decoder(sums[1]), 1e-6)


def test_lengths_between_scales_are_refused(infinity: Infinity) -> None:
    tokens = infinity.encode(torch.zeros(1, 3, 8, 8))
    with pytest.raises(TokbenchError, match="an image is decoded from 1, 5, 21 positions, got 6; take one of these lengths"):
        infinity.decode(tokens.prefix(6))


@pytest.mark.parametrize("size", [(8, 16), (16, 16), (4, 4)])
def test_images_of_another_size_are_refused_in_one_line(infinity: Infinity, size: tuple[int, int]) -> None:
    with pytest.raises(TokbenchError, match=rf"image size {size[0]}x{size[1]} does not fit: these scales are for 8x8 \(--size 8"):
        infinity.encode(torch.zeros(1, 3, *size))


@torch.no_grad()
def test_maps_of_images_that_are_not_square_are_those_of_upstream() -> None:
    """By its own loop over clips of one frame, whose maps are averaged down and enlarged along three axes."""
    torch.manual_seed(0)
    model = Infinity(replace(SMALL, scales=(1, 2, 3), widths=(1, 2, 5))).eval()
    images = torch.rand(2, 3, 6, 10, generator=torch.Generator().manual_seed(1)) * 2 - 1
    layout = model.layout(6, 10)
    assert (layout.grid, layout.lengths, layout.downsampling, layout.bits_per_image) == ((20,), (1, 5, 20), 2, 20 * 6)
    rest, total, bits, images_by_map = model.encoder(images)[:, :, None], torch.zeros(()), [], []
    for height, width in ((1, 1), (2, 2), (3, 5)):
        reduced = rest if (height, width) == (3, 5) else F.interpolate(rest, size=(1, height, width), mode="area")
        signs = torch.where(reduced > 0, 1.0, -1.0)
        bits.append((signs[:, :, 0] > 0).long().flatten(2).transpose(1, 2))
        found = signs / 6**0.5
        found = found if (height, width) == (3, 5) else F.interpolate(found, size=(1, 3, 5), mode="trilinear")
        rest, total = rest - found, total + found
        images_by_map.append(model.decoder(total[:, :, 0]))
    tokens = model.encode(images)
    assert isinstance(tokens, DiscreteTokens)
    packed = (torch.cat(bits, dim=1).unflatten(2, (2, 3)) * torch.tensor([4, 2, 1])).sum(dim=-1)
    assert torch.equal(tokens.codes, packed)
    for length, expected in zip(layout.lengths, images_by_map, strict=True):
        assert layout.prefix(length).widths == (1, 2, 5)[: layout.lengths.index(length) + 1]
        close(model.decode(tokens.prefix(length)), expected, 1e-5)
    with pytest.raises(TokbenchError, match=r"image size 10x6 does not fit: these scales are for 6x10 \(--size 6x10, or"):
        model.encode(images.transpose(2, 3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_codes_are_made_in_single_precision_whatever_the_network_computes_in(dtype: torch.dtype) -> None:
    config = var_config(json.loads((OWN / "config.json").read_text()))
    model = VAR(config).eval().to(dtype)
    tokens = model.encode(torch.zeros(1, 3, 32, 32, dtype=dtype))
    assert model.decode(tokens).dtype == dtype


@pytest.mark.parametrize(
    ("name", "positions", "bits", "elements"),
    [
        ("var/ch160", 680, 8160, 108_989_315 - 40_960),
        ("var/ch160-512", 2240, 26880, 108_989_315 - 40_960),
        ("infinity/d16", 521, 521 * 16, None),
        ("infinity/d32reg", 521, 521 * 32, None),
        ("infinity/d64-512", 2521, 2521 * 64, None),
        ("infinity/d32-1024", 10521, 10521 * 32, None),
    ],
)
def test_rows(name: str, positions: int, bits: int, elements: int | None) -> None:
    variant = zoo.resolve(name)[1]
    layout = variant.config.layout(variant.image_size, variant.image_size)
    assert (layout.grid, layout.bits_per_image, layout.lengths[-1]) == ((positions,), bits, positions)
    if elements is not None:
        assert sum(value.numel() for value in on_meta(name).state_dict().values()) == elements


@pytest.mark.usefixtures("empty_cache")
def test_what_nobody_compared_says_so() -> None:
    assert all("unverified" in variant.summary for variant in zoo.families()["infinity"].variants)
    with pytest.raises(TokbenchError, match="run: tokbench weights get var/ch160"):
        tokbench.load("var/ch160")


def test_own_files_load_by_name(infinity: Infinity, tmp_path: Path) -> None:
    save_file({key: value.contiguous() for key, value in infinity.state_dict().items()}, tmp_path / "own.safetensors")
    settings = {
        "autoencoder.z_channels": 6,
        "autoencoder.channels": 8,
        "autoencoder.channel_multipliers": (1, 2),
        "autoencoder.num_res_blocks": 1,
        "autoencoder.norm_groups": 4,
        "quantizer.bits": 6,
        "quantizer.codes_per_position": 2,
        "scales": "1,2,4",
    }
    assert tokbench.load("infinity/d16", weights=tmp_path / "own.safetensors", config=settings).layout(8, 8).lengths == (1, 5, 21)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"scales": ()}, "scales must rise from 1 or more"),
        ({"scales": (1, 4, 2)}, "scales must rise from 1 or more"),
        ({"widths": (1, 4, 2)}, "widths must rise from 1 or more"),
        ({"widths": (1, 4)}, r"there are as many widths as scales, 3, got \(1, 4\); set both together"),
        ({"blends": 4}, "blends is 0 to 3"),
        ({"blend": 1.5}, "blend 0 to 1"),
        ({"code_kernel": 2}, "code_kernel must be odd, got 2"),
        ({"quantizer": BSQ(9)}, r"without quant_convs the quantizer's values \(9\) must be as many as autoencoder.z_channels"),
    ],
)
def test_impossible_settings_are_refused(changes: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        MultiScaleConfig(**(vars(SMALL) | changes))


def infinity_at(**settings: object) -> InfinityConfig:
    config = with_overrides(zoo.resolve("infinity/d32reg")[1].config, settings)
    assert isinstance(config, InfinityConfig)
    return config


@pytest.mark.parametrize("ratio", sorted(RATIOS))
@pytest.mark.parametrize("name", ["infinity/d32reg", "infinity/d32reg-512", "infinity/d32reg-1024"])
def test_scales_of_images_that_are_not_square_follow_from_their_ratio(name: str, ratio: float) -> None:
    """The last map is of the ratio that names it, and of about as many pixels as that of the square."""
    square = zoo.resolve(name)[1].config
    config = with_overrides(square, {"ratio": ratio})
    assert isinstance(square, InfinityConfig)
    assert isinstance(config, InfinityConfig)
    height, width = config.grid
    assert abs(height / width - ratio) < 0.01
    assert 0.8 < height * width / square.grid[0] ** 2 < 1.35
    assert len(config.scales) == len(square.scales)
    layout = config.layout(16 * height, 16 * width)
    assert layout.image_size == (16 * height, 16 * width)
    assert layout.lengths[-1] == sum(h * w for h, w in zip(config.scales, config.widths or config.scales, strict=True))
    assert build(type(config), plain(config)) == config
    assert RATIOS[1 / 2] == RATIOS[2][::-1]


def test_a_published_size_that_is_not_set_says_its_ratio() -> None:
    assert infinity_at(ratio=1.5).layout(336, 224).lengths[:4] == (1, 5, 11, 35)
    with pytest.raises(
        TokbenchError, match=r"^image size 224x336 does not fit: these scales are for 256x256; for it, take --set ratio=0\.666$"
    ):
        infinity_at().layout(224, 336)
    with pytest.raises(TokbenchError, match=r"image size 256x256 does not fit: these scales are for 336x224; for it, take --set ratio=1$"):
        infinity_at(ratio=1.5).layout(256, 256)
    with pytest.raises(TokbenchError, match=r"image size 100x100 does not fit: these scales are for 256x256 \(--size 256"):
        infinity_at().layout(100, 100)
    with pytest.raises(TokbenchError, match=r"ratio is one of 0\.333, 0\.4, .*, 2\.5, 3, got 1\.1"):
        infinity_at(ratio=1.1)
    with pytest.raises(TokbenchError, match=r"ratio=2 has 13 scales, got 14"):
        infinity_at(scales=tuple(range(1, 15)), ratio=2.0)
