"""MAETok against a slow form of its equations on files with its names, and at its published sizes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

import tokbench
from tokbench.errors import TokbenchError
from tokbench.layout import TokenLayout
from tokbench.nn.configs import ViTConfig
from tokbench.nn.turning import LearnedTurns
from tokbench.plugins import import_class
from tokbench.tokenizers import zoo
from tokbench.tokenizers.maetok.config import MAETokConfig
from tokbench.tokenizers.maetok.model import MAETok
from tokbench.tokenizers.normalisation import Normalisation
from tokbench.tokens import ContinuousTokens

SIDE = ViTConfig(16, 2, 2, patch_size=4, norm_eps=1e-6, norm_first=False, layer_scale=True)
SMALL = MAETokConfig(SIDE, replace(SIDE, width=24, depth=1, heads=3, layer_scale=False), length=3, channels=5, image_size=12)
OTHER = MAETokConfig(
    replace(SIDE, depth=1, heads=1, patch_size=8), replace(SIDE, heads=4, patch_size=8), length=4, image_size=16, conditioned=False
)
CASES = {
    "published": SMALL,
    "with a class token": replace(SMALL, class_token=True),
    "without conditions": OTHER,
    "without conditions, with a class token": replace(OTHER, class_token=True),
}
LEFT = ("decoder_hog.model.cls_token", "decoder_dino.freqs", "post_quant_conv_clip.weight", "to_pixel_hog.bias", "clip_model.norm.weight")


def shapes(config: MAETokConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of a file of continuous_tokenizer, with what only training reads."""
    yield from ((name, (3,)) for name in (*LEFT, "hog_generator.weight_x", "repa_model.cls_token", "projection.0.weight"))
    for part, side, conditioned in (("encoder", config.encoder, False), ("decoder", config.decoder, config.conditioned)):
        width, patch, patches = side.width, side.patch_size, side.grid(config.image_size) ** 2
        yield f"{part}.freqs", (2, side.depth, width // 2)
        yield from ((f"{part}.freqs_t_{axis}", (patches,)) for axis in "xy")
        yield f"{part}.mask_token", (1, 1, width)
        yield f"{part}.latent_pos_embed", (1, config.length, width)
        yield f"{part}.model.pos_embed", (1, 1 + patches, width)
        yield f"{part}.model.patch_embed.proj.weight", (width, 3, patch, patch)
        yield f"{part}.model.patch_embed.proj.bias", (width,)
        if part == "encoder" or config.class_token:
            yield f"{part}.model.cls_token", (1, 1, width)
        for block in (f"{part}.model.blocks.{i}." for i in range(side.depth)):
            layers = {"attn.qkv": (3 * width, width), "attn.proj": (width, width)}
            layers |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
            if conditioned:
                layers["adaLN_modulation.1"] = (4 * width, config.channels)
            for layer, shape in layers.items():
                yield block + layer + ".weight", shape
                yield block + layer + ".bias", shape[:1]
            if not conditioned:
                yield from ((block + name, (width,)) for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"))
            if side.layer_scale:
                yield from ((block + name, (width,)) for name in ("ls1.gamma", "ls2.gamma"))
        last = {"norm.adaLN_modulation.1.weight": (2 * width, config.channels)} if conditioned else {"norm.weight": (width,)}
        last |= {"norm.adaLN_modulation.1.bias": (2 * width,)} if conditioned else {"norm.bias": (width,)}
        yield from ((f"{part}.model.{name}", shape) for name, shape in last.items())
    yield "encoder.latent_tokens", (1, config.length, config.encoder.width)
    pixels = 3 * config.decoder.patch_size**2
    linear = {"quant_conv": (config.channels, config.encoder.width), "post_quant_conv": (config.decoder.width, config.channels)}
    for name, shape in (linear | {"decoder.to_pixel.model": (pixels, config.decoder.width)}).items():
        yield name + ".weight", shape
        yield name + ".bias", shape[:1]


def drawn(config: MAETokConfig) -> dict[str, Tensor]:
    """Such a file, with random numbers."""
    noise = torch.Generator().manual_seed(7)
    return {name: torch.randn(shape, generator=noise) * (0.3 if len(shape) > 1 else 0.5) for name, shape in shapes(config)}


class Slow:
    """One image at a time, one token, one head and one pair of channels at a time."""

    def __init__(self, config: MAETokConfig, state: dict[str, Tensor]) -> None:
        self.config = config
        self.state = {name: value.double() for name, value in state.items()}

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.state[name + ".weight"].T + self.state[name + ".bias"]

    def normed(self, name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        unit = centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()
        return unit * self.state[name + ".weight"] + self.state[name + ".bias"] if name + ".weight" in self.state else unit

    def modulated(self, block: str, half: int, x: Tensor, latents: Tensor) -> Tensor:
        name = block + "adaLN_modulation.1"
        if name + ".weight" not in self.state:
            return x
        four = self.linear(name, latents * torch.sigmoid(latents)).chunk(4, dim=-1)
        return torch.cat([x[: -len(latents)], x[-len(latents) :] * four[2 * half + 1] + four[2 * half]])

    def turned(self, x: Tensor, place: int, side: int, towards: Tensor) -> Tensor:
        column, row = place % side, place // side
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * torch.exp(1j * (column * towards[0] + row * towards[1]))).flatten()

    def attention(self, part: str, number: int, side: ViTConfig, x: Tensor, before: int) -> Tensor:
        count, head = side.grid(self.config.image_size), side.width // side.heads
        packed = self.linear(f"{part}.model.blocks.{number}.attn.qkv", x)
        mixed = torch.empty(len(x), side.width, dtype=torch.double)
        for h in range(side.heads):
            q, k, v = (packed[:, i * side.width + h * head :][:, :head].clone() for i in range(3))
            towards = self.state[f"{part}.freqs"][:, number, h * head // 2 : (h + 1) * head // 2]
            for place in range(count**2):
                for rows in (q, k):
                    rows[before + place] = self.turned(rows[before + place], place, count, towards)
            mixed[:, h * head : (h + 1) * head] = (q @ k.T / math.sqrt(head)).softmax(dim=-1) @ v
        return self.linear(f"{part}.model.blocks.{number}.attn.proj", mixed)

    def transformed(self, part: str, side: ViTConfig, x: Tensor, before: int, latents: Tensor) -> Tensor:
        for number in range(side.depth):
            block = f"{part}.model.blocks.{number}."
            scales = [self.state.get(f"{block}ls{i}.gamma", torch.ones(1, dtype=torch.double)) for i in (1, 2)]
            shown = self.modulated(block, 0, self.normed(block + "norm1", x), latents)
            x = x + scales[0] * self.attention(part, number, side, shown, before)
            shown = self.modulated(block, 1, self.normed(block + "norm2", x), latents)
            x = x + scales[1] * self.linear(block + "mlp.fc2", F.gelu(self.linear(block + "mlp.fc1", shown)))
        return self.normed(f"{part}.model.norm", x)

    def encoded(self, image: Tensor) -> Tensor:
        side, patch = self.config.encoder, self.config.encoder.patch_size
        kernel = self.state["encoder.model.patch_embed.proj.weight"].flatten(1)
        squares = [column.flatten() for row in image.split(patch, dim=1) for column in row.split(patch, dim=2)]
        patches = torch.stack(squares) @ kernel.T + self.state["encoder.model.patch_embed.proj.bias"]
        seen = torch.cat([self.state["encoder.model.cls_token"][0], patches]) + self.state["encoder.model.pos_embed"][0]
        latents = self.state["encoder.latent_tokens"][0] + self.state["encoder.latent_pos_embed"][0]
        x = self.transformed("encoder", side, torch.cat([seen, latents]), 1, torch.empty(0))
        return self.linear("quant_conv", x[-self.config.length :])

    def decoded(self, latents: Tensor) -> Tensor:
        side, patch = self.config.decoder, self.config.decoder.patch_size
        count, before = side.grid(self.config.image_size), int(self.config.class_token)
        first = [self.state["decoder.model.cls_token"][0]] if before else []
        seen = first + [self.state["decoder.mask_token"][0]] * count**2
        vectors = self.linear("post_quant_conv", latents) + self.state["decoder.latent_pos_embed"][0]
        x = self.transformed("decoder", side, torch.cat([*seen, vectors]), before, latents)
        pixels = self.linear("decoder.to_pixel.model", x[before : before + count**2]).view(count, count, patch, patch, 3)
        return torch.cat([torch.cat(list(row), dim=1) for row in pixels]).permute(2, 0, 1)


def loaded(config: MAETokConfig, path: Path) -> MAETok:
    """A file as a user would load it, with other settings than the published ones."""
    fields: dict[str, object] = {name: getattr(config, name) for name in ("length", "channels", "image_size", "conditioned", "class_token")}
    for side in ("encoder", "decoder"):
        own = getattr(config, side)
        fields |= {f"{side}.{name}": getattr(own, name) for name in ("width", "depth", "heads", "patch_size", "layer_scale")}
    model = tokbench.load("maetok/b-128", weights=path, config=fields)
    assert isinstance(model, MAETok)
    assert model.config == config
    return model


@pytest.fixture
def small(tmp_path: Path) -> MAETok:
    save_file(drawn(SMALL), tmp_path / "model.safetensors")
    return loaded(SMALL, tmp_path / "model.safetensors")


@torch.no_grad()
@pytest.mark.parametrize("config", CASES.values(), ids=list(CASES))
def test_slow_form(config: MAETokConfig, tmp_path: Path) -> None:
    state = drawn(config)
    save_file(state, tmp_path / "model.safetensors")
    model, slow = loaded(config, tmp_path / "model.safetensors"), Slow(config, state)
    images = torch.rand(2, 3, config.image_size, config.image_size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    tokens = model.encode(images)
    assert isinstance(tokens, ContinuousTokens)
    assert tokens.grid == (config.length,)
    expected = torch.stack([slow.encoded(image.double()) for image in images])
    torch.testing.assert_close(tokens.latents.double(), expected, atol=1e-5, rtol=0)
    pictures = torch.stack([slow.decoded(latents) for latents in tokens.latents.double()])
    torch.testing.assert_close(model.decode(tokens).double(), pictures, atol=1e-4, rtol=0)
    torch.testing.assert_close(model.features(images), tokens.latents)


@pytest.mark.parametrize(("name", "size", "parameters"), [("b-128", 256, 173_051_936), ("b-128-512", 512, 173_641_760)])
def test_published_sizes(name: str, size: int, parameters: int) -> None:
    family, variant = zoo.resolve(f"maetok/{name}")
    with torch.device("meta"):
        model = import_class(family.model)(variant.config)
        file = {key: torch.empty(shape) for key, shape in shapes(variant.config)}
    model.load_state_dict(MAETok.own_names(file), assign=True)
    assert sum(value.numel() for value in model.parameters()) == parameters
    assert variant.image_size == size
    assert variant.config.layout(size, size) == TokenLayout((size, size), (128,), channels=32)
    assert "unverified" in variant.summary


def test_frequencies_start_as_two_directions_a_head_square_to_each_other() -> None:
    columns, rows = LearnedTurns(ViTConfig(32, 2, 2), 3, 1).frequencies.detach().view(2, 2, 2, 2, 4)  # axes, blocks, heads, directions
    torch.testing.assert_close(columns.square() + rows.square(), 10 ** (-2 * torch.arange(4) / 4).expand(2, 2, 2, 4))
    torch.testing.assert_close(torch.stack([columns[:, :, 1], rows[:, :, 1]]), torch.stack([-rows[:, :, 0], columns[:, :, 0]]))
    assert len(columns[:, :, 0, 0].unique()) == 4


def test_settings_beside_weights_say_how_latents_are_read(small: MAETok, tmp_path: Path) -> None:
    assert small.normalisation is None
    for settings in ({"vq_mean": 0.25, "vq_std": 2.0}, {"num_latent_tokens": 3, "vq_mean": 0.0, "vq_std": 1.0}):
        (tmp_path / "config.json").write_text(json.dumps(settings))  # of something else; of nobody's saying
        assert loaded(SMALL, tmp_path / "model.safetensors").normalisation is None
    (tmp_path / "config.json").write_text(json.dumps({"num_latent_tokens": 3, "vq_mean": 0.25, "vq_std": 2.0}))
    found = loaded(SMALL, tmp_path)
    assert found.normalisation == Normalisation((0.25,), (2.0,))
    assert found.normalisation_told
    (tmp_path / "config.json").write_text(json.dumps({"num_latent_tokens": 3, "vq_mean": 0.25, "vq_std": -2.0}))
    with pytest.raises(TokbenchError, match=r"config\.json does not do: a normalisation has finite means"):
        loaded(SMALL, tmp_path)


@pytest.mark.usefixtures("uncompared")
def test_what_does_not_fit(small: MAETok, tmp_path: Path) -> None:
    with pytest.raises(TokbenchError, match=r"image size 12x24 does not fit: this MAETok takes 12x12 \(--size 12\)"):
        small.layout(12, 24)
    with pytest.raises(ValueError, match=r"takes a sequence of 3 tokens, got a grid \(2,\)"):
        small.decode(ContinuousTokens(torch.zeros(1, 2, 5), (2,)))
    state = drawn(SMALL)
    save_file({key: value for key, value in state.items() if key != "encoder.freqs"}, tmp_path / "part.safetensors")
    with pytest.raises(TokbenchError, match=r"1 missing: encoder\.turns\.frequencies"):
        loaded(SMALL, tmp_path / "part.safetensors")
    with pytest.raises(TokbenchError, match=r"1 missing: decoder\.cls_token"):
        loaded(replace(SMALL, class_token=True), tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"length": 0}, "length and channels must be positive"),
        ({"image_size": 10}, "multiple of the patch size 4, got 10"),
        ({"decoder": replace(SIDE, patch_size=2)}, "patch_size must be one, got 4 and 2"),
        ({"encoder": replace(SIDE, width=12)}, "a head must have a multiple of 4 channels, got 6"),
    ],
)
def test_impossible_settings_are_refused(changes: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        replace(SMALL, **changes)
