"""Emu3's vision tokenizer: outputs of both upstream implementations on random weights, the published names, what it refuses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor

import tokbench
from tokbench.errors import TokbenchError
from tokbench.layout import TokenLayout
from tokbench.nn.configs import AutoencoderConfig
from tokbench.nn.movq import SpatialNorm
from tokbench.tokenizers import zoo
from tokbench.tokenizers.emu3.config import PUBLISHED_AUTOENCODER, Emu3Config
from tokbench.tokenizers.emu3.keys import transformers_layout
from tokbench.tokenizers.emu3.model import Emu3
from tokbench.tokens import DiscreteTokens
from tokbench.weights.checkpoints import load_strictly, sha256
from tokbench.weights.obtain import weights_path

MANIFEST = Path(__file__).parents[3] / "shared" / "facts" / "keys" / "emu3_vqvae_transformers.json"


def config_of(
    *, codes: int, channels: int, multipliers: Iterable[int], blocks: int, attended: Iterable[int], frames: int, heads: int = 1
) -> Emu3Config:
    """Upstream's settings; it counts the levels that have attention, highest resolution first."""
    network = AutoencoderConfig(
        z_channels=4,
        channels=channels,
        channel_multipliers=tuple(multipliers),
        num_res_blocks=blocks,
        attn_resolutions=tuple(256 // 2**level for level in attended),
    )
    return Emu3Config(network, codes, frames, heads)


SMALL = config_of(codes=80, channels=32, multipliers=(1, 1), blocks=1, attended=(1,), frames=4)


@dataclass(frozen=True)
class Golden:
    model: Emu3
    state: dict[str, Tensor]
    io: dict[str, Tensor]


@pytest.fixture(scope="module")
def golden(goldens: Path) -> Golden:
    folder = goldens / "emu3_vqvae"
    state = load_file(folder / "state_dict.safetensors")
    model = Emu3(SMALL).eval()
    load_strictly(model, state, origin="golden")
    return Golden(model, state, load_file(folder / "io.safetensors"))


@pytest.fixture(scope="module")
def original(goldens: Path) -> dict:
    return json.loads((goldens / "emu3_vqvae" / "original.json").read_text())


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def on_grid(tokens: DiscreteTokens) -> Tensor:
    return rearrange(tokens.codes, "b (h w) 1 -> b h w", h=tokens.grid[0])


class TestOfTransformers:
    @torch.no_grad()
    def test_latents(self, golden: Golden) -> None:
        close(golden.model.encoder(golden.io["image"]), rearrange(golden.io["encoder_out_btchw"], "b t c h w -> b c t h w"), 1e-5)
        vectors = rearrange(golden.io["prequant_btchw"], "b 1 c h w -> b (h w) c")
        close(golden.model.vectors(golden.io["image"]), vectors, 1e-5)

    def test_codes(self, golden: Golden) -> None:
        tokens = golden.model.encode(golden.io["image"])
        assert isinstance(tokens, DiscreteTokens)
        assert (tokens.grid, tokens.codebook_sizes) == ((16, 12), (80,))
        assert torch.equal(on_grid(tokens), golden.io["indices"])

    def test_images(self, golden: Golden) -> None:
        ids = DiscreteTokens(golden.io["indices"].reshape(2, -1, 1), (16, 12), (80,))
        images = golden.model.decode(ids)
        close(images, golden.io["recon"], 1e-4)
        assert torch.equal(golden.model.decode(golden.model.encode(golden.io["image"])), images)

    @pytest.mark.parametrize("heads", [1, 2])
    @torch.no_grad()
    def test_the_installed_one_agrees(self, heads: int) -> None:
        peer = pytest.importorskip("transformers")
        torch.manual_seed(0)
        upstream = peer.Emu3VQVAE(
            peer.Emu3VQVAEConfig(
                codebook_size=64,
                base_channels=32,
                channel_multiplier=[1, 2],
                num_res_blocks=2,
                attn_resolutions=[1],
                hidden_size=64,
                num_attention_heads=heads,
                temporal_downsample_factor=2,
            )
        ).eval()
        model = Emu3(config_of(codes=64, channels=32, multipliers=(1, 2), blocks=2, attended=(1,), frames=2, heads=heads)).eval()
        load_strictly(model, upstream.state_dict(), origin="transformers")
        images = torch.rand(2, 3, 12, 16) * 2 - 1
        codes = upstream.encode(images, torch.tensor([[12, 16]] * 2))
        codes = codes if isinstance(codes, list) else codes.image_tokens  # what it returns depends on its version
        tokens = model.encode(images)
        assert torch.equal(on_grid(tokens), torch.stack(list(codes)))  # type: ignore[arg-type]
        close(model.decode(tokens), upstream.decode(on_grid(tokens)), 1e-4)  # type: ignore[arg-type]


def drawn(tensors: dict[str, list[int]], seed: int) -> dict[str, Tensor]:
    """The weights of the goldens that store none, as their README says."""
    stream, state = np.random.RandomState(seed), {}
    for key in sorted(tensors):
        shape = tensors[key]
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(0)
            continue
        v = stream.standard_normal(shape)
        if key.endswith("running_var"):
            v = 0.5 + np.abs(v)
        elif len(shape) == 1:
            v = 0.2 * v + ("norm" in key and key.endswith("weight"))
        elif not key.startswith("quantize"):
            v = 1.5 * v / np.sqrt(np.prod(shape[1:]))
        state[key] = torch.from_numpy(v.astype(np.float32))
    return state


class TestOfBaaivision:
    @pytest.mark.parametrize("number", [0, 1])
    @torch.no_grad()
    def test_a_file_in_its_layout(self, original: dict, goldens: Path, tmp_path: Path, number: int) -> None:
        case, path = original["cases"][number], tmp_path / "model.safetensors"
        settings, io = case["config"], load_file(goldens / "emu3_vqvae" / "original.safetensors")
        save_file(drawn(case["tensors"], case["seed"]), path)
        model = Emu3(
            config_of(
                codes=settings["codebook_size"],
                channels=settings["ch"],
                multipliers=settings["ch_mult"],
                blocks=settings["num_res_blocks"],
                attended=settings["attn_resolutions"],
                frames=settings["temporal_downsample_factor"],
            )
        ).eval()
        read = model.read_weights(path)
        state, digest = read.tensors, read.sha256
        load_strictly(model, state, origin=path.name)
        assert digest == sha256(path)

        images = io[f"{number}.image"]
        tokens = model.encode(images)
        assert isinstance(tokens, DiscreteTokens)
        close(rearrange(model.vectors(images), "b (h w) c -> b c h w", h=tokens.grid[0]), io[f"{number}.prequant"], 1e-5)
        assert torch.equal(on_grid(tokens), io[f"{number}.indices"])
        close(model.decode(tokens), io[f"{number}.recon"], 1e-4)


def lines(shapes: dict[str, list[int]]) -> str:
    return "\n".join(sorted(f"{key} {shape}" for key, shape in shapes.items()))


def shapes_of(state: dict[str, Tensor]) -> dict[str, list[int]]:
    return {key: list(value.shape) for key, value in state.items()}


@pytest.fixture(scope="module")
def published() -> Emu3:
    """The full size, without values."""
    with torch.device("meta"):
        return Emu3(zoo.resolve("emu3/vision")[1].config).eval()


def in_original_layout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Back from the names of transformers, by plain replacement."""
    names = {"_proj": "", ".out.": ".proj_out.", "down_block.": "", "up_block.": "", "middle_block": "mid", "attn_norm.": "attn_1.norm."}
    back = {}
    for key, value in state.items():
        name = key
        for new, old in names.items():
            name = name.replace(new, old)
        for number in range(3):
            name = name.replace(f"attn_norms.{number}.", f"attn.{number}.norm.")
        back[name] = value[..., None, None] if key.endswith("_proj.weight") else value
    return back


class TestPublishedSize:
    def test_names_and_shapes_are_those_of_the_published_files(self, published: Emu3, original: dict) -> None:
        own = dict(published.state_dict())
        for state, layout in ((own, "huggingface/transformers"), (in_original_layout(own), "baaivision/Emu3")):
            expected = original["published"][layout]
            assert len(state) == expected["tensors"] == 495
            assert sum(value.numel() for value in state.values()) == expected["elements"] == 270_740_359
            assert hashlib.sha256(lines(shapes_of(state)).encode()).hexdigest() == expected["sha256"]
            assert shapes_of(transformers_layout(state)) == shapes_of(own)

    def test_the_manifest_loads_strictly(self, published: Emu3) -> None:
        if not MANIFEST.is_file():
            pytest.skip("the manifest is not here; its digest is compared above")
        tensors = json.loads(MANIFEST.read_text())["tensors"]
        state = {key: torch.empty(shape, dtype=getattr(torch, dtype), device="meta") for key, (shape, dtype) in tensors.items()}
        published.load_state_dict(state, strict=True)
        assert {key: value.dtype for key, value in published.state_dict().items()} == {key: value.dtype for key, value in state.items()}

    @pytest.mark.usefixtures("empty_cache")
    def test_the_row(self) -> None:
        family, variant = zoo.resolve("emu3")
        assert (family.name, variant.name) == ("emu3", "vision")
        layout = variant.config.layout(256, 256)
        assert layout == TokenLayout(image_size=(256, 256), grid=(32, 32), codebook_sizes=(32768,))
        assert layout.bits_per_image == 15360
        assert variant.config.layout(512, 768).grid == (64, 96)
        attended = [level for level in range(4) if PUBLISHED_AUTOENCODER.has_attention(level)]
        assert attended == [3]
        assert weights_path(variant) is None
        with pytest.raises(TokbenchError, match=r"the weights of emu3/vision are not here; run: tokbench weights get emu3/vision"):
            tokbench.load("emu3/vision", config={"autoencoder.channels": 32})


def test_it_loads_by_name_in_both_layouts(golden: Golden, tmp_path: Path) -> None:
    """At a reduced size, set by name as a user would."""
    reduced: dict[str, object] = {
        f"autoencoder.{key}": getattr(SMALL.autoencoder, key) for key in ("channels", "channel_multipliers", "num_res_blocks")
    }
    reduced |= {"autoencoder.attn_resolutions": (128,), "codebook_size": 80}
    for state in (golden.state, in_original_layout(golden.state)):
        path = tmp_path / "model.safetensors"
        save_file({key: value.contiguous() for key, value in state.items()}, path)
        model = tokbench.load("emu3/vision", weights=path, config=reduced)
        assert model.config == SMALL
        assert (model.name, model.weights_sha256, model.training) == ("emu3/vision", sha256(path), False)
        assert torch.equal(on_grid(model.encode(golden.io["image"])), golden.io["indices"])  # type: ignore[arg-type]


def test_a_file_that_does_not_fit_is_an_error_that_names_keys(golden: Golden, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    state = in_original_layout(golden.state)
    del state["encoder.mid.attn_1.norm.bias"]
    state["decoder.up.0.attn.0.q.weight"] = torch.zeros(32, 32, 1, 1)
    state["decoder.mid.attn_1.q.weight"] = torch.zeros(32, 32, 3, 3)
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    expected = (
        r"model.safetensors does not fit Emu3: 1 missing: encoder.middle_block.attn_norm.bias; "
        r"1 unknown: decoder.up_block.up.0.attn.0.q_proj.weight; 1 of another shape: decoder.middle_block.attn_1.q_proj.weight"
    )
    with pytest.raises(TokbenchError, match=expected) as error:
        load_strictly(Emu3(SMALL), Emu3(SMALL).read_weights(path).tensors, origin=path.name)
    assert "\n" not in str(error.value)


def test_an_image_does_not_depend_on_its_batch(golden: Golden) -> None:
    images = torch.cat([golden.io["image"], golden.io["image"].flip(3)])
    together = golden.model.encode(images)
    assert isinstance(together, DiscreteTokens)
    decoded = golden.model.decode(together)
    for i in range(4):
        alone = replace(together, codes=together.codes[i : i + 1])
        assert torch.equal(golden.model.encode(images[i : i + 1]).codes, alone.codes)  # type: ignore[union-attr]
        close(golden.model.decode(alone), decoded[i : i + 1], 1e-5)
    empty = golden.model.encode(images[:0])
    assert golden.model.decode(empty).shape == (0, 3, 32, 24)


def test_frames_of_a_still_are_computed_once(golden: Golden) -> None:
    sizes: list[int] = []
    sides = (golden.model.encoder, golden.model.decoder)
    handles = [side.conv_in.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0]))) for side in sides]
    golden.model.decode(golden.model.encode(golden.io["image"]))
    for handle in handles:
        handle.remove()
    assert sizes == [2, 2]


@pytest.mark.parametrize(("height", "width"), [(2, 2), (6, 26), (34, 4)])
def test_any_multiple_of_the_stride(golden: Golden, height: int, width: int) -> None:
    images = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1
    tokens = golden.model.encode(images)
    assert tokens.grid == SMALL.layout(height, width).grid == (height // 2, width // 2)
    assert golden.model.decode(tokens).shape == images.shape


@pytest.mark.parametrize(("height", "width"), [(32, 33), (31, 32), (1, 2)])
def test_other_sizes_are_padded_and_cut(golden: Golden, height: int, width: int) -> None:
    tokens = golden.model.encode(torch.zeros(1, 3, height, width))
    assert tokens.grid == (-(-height // 2), -(-width // 2))
    assert golden.model.decode(tokens).shape == (1, 3, height, width)


def test_decoding_can_be_trained_through(golden: Golden) -> None:
    model = Emu3(SMALL).eval()
    model.load_state_dict(golden.state)
    model._decode(model.encode(golden.io["image"]), []).square().mean().backward()  # type: ignore[arg-type]
    model.vectors(golden.io["image"]).square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@torch.no_grad()
def test_normalisation_by_the_condition_against_the_definition() -> None:
    torch.manual_seed(0)
    norm, x, condition = SpatialNorm(4, 8, groups=2), torch.randn(2, 8, 6, 9), torch.randn(2, 4, 2, 3)
    out = norm(x, condition)
    for b, c, i, j in ((0, 0, 0, 0), (1, 7, 5, 8), (0, 3, 2, 3), (1, 4, 3, 2)):
        group = x[b, :4] if c < 4 else x[b, 4:]
        normal = (x[b, c, i, j] - group.mean()) / (group.var(unbiased=False) + 1e-6).sqrt()
        at = condition[b : b + 1, :, i // 3, j // 3, None, None]
        scale, shift = (conv(at)[0, c, 0, 0] for conv in (norm.conv_y, norm.conv_b))
        close(out[b, c, i, j], normal * scale + shift, 1e-5)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"codebook_size": 1}, "at least 2 entries, got 1"),
        ({"frames": 0}, "power of two, got 0"),
        ({"frames": 6}, "power of two, got 6"),
        ({"attention_heads": 0}, "must divide the widths that have attention, got 0"),
        ({"attention_heads": 3}, r"must divide the widths that have attention, got 3 for widths \(32, 32\)"),
        ({"autoencoder": replace(SMALL.autoencoder, double_z=True)}, "double_z=False"),
        ({"autoencoder": replace(SMALL.autoencoder, mid_attention=False)}, "mid_attention=True"),
    ],
)
def test_impossible_settings_are_refused(changes: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        replace(SMALL, **changes)
