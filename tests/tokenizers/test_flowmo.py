"""FlowMo as a tokenizer: outputs of upstream on random weights, the published sizes, its checkpoints, its decoding settings."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import tokbench
from tokbench.errors import TokbenchError
from tokbench.layout import TokenLayout
from tokbench.nn.configs import MMDiTConfig
from tokbench.tokenizers.flowmo.config import PUBLISHED_DECODER, PUBLISHED_ENCODER, FlowMoConfig
from tokbench.tokenizers.flowmo.model import FlowMo
from tokbench.tokens import DiscreteTokens
from tokbench.weights.checkpoints import load_strictly, sha256

SMALL = FlowMoConfig(
    MMDiTConfig(hidden=32, heads=2, depth=2, axes=(8, 4, 4), published=True),
    MMDiTConfig(hidden=48, heads=2, depth=3, axes=(12, 6, 6), published=True),
    bits=9,
    codebooks=2,
    code_length=16,
    image_size=32,
    steps=6,
)


@dataclass(frozen=True)
class Golden:
    model: FlowMo
    state: dict[str, Tensor]
    io: dict[str, Tensor]

    def configured(self, **changes: object) -> FlowMo:
        model = FlowMo(replace(SMALL, **changes)).eval()  # type: ignore[arg-type]
        load_strictly(model, self.state, origin="golden")
        return model


@pytest.fixture(scope="module")
def golden(goldens: Path) -> Golden:
    folder = goldens / "flowmo"
    state = load_file(folder / "state_dict.safetensors")
    model = FlowMo(SMALL).eval()
    load_strictly(model, state, origin="golden")
    return Golden(model, state, load_file(folder / "io.safetensors"))


def close(actual: Tensor, expected: Tensor, atol: float = 1e-4) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def test_codes_are_upstreams(golden: Golden) -> None:
    tokens = golden.model.encode(golden.io["image"])
    assert isinstance(tokens, DiscreteTokens)
    assert tokens.grid == (16,)
    assert tokens.codebook_sizes == (512, 512)
    assert torch.equal(tokens.codes.flatten(), golden.io["indices_flat"])
    close(golden.model.vectors(golden.io["image"]), golden.io["encoder_code"], 1e-5)


@torch.no_grad()
def test_losses_are_upstreams(golden: Golden) -> None:
    losses = golden.model(golden.io["image"]).losses
    close(losses["entropy"] / SMALL.entropy_weight, golden.io["train_entropy_loss"], 1e-5)
    close(losses["commitment"] / SMALL.commitment_weight, golden.io["train_commit"], 1e-5)
    close(losses["entropy"] + losses["commitment"], golden.io["train_quantizer_loss"], 1e-5)


@torch.no_grad()
def test_every_step_of_the_walk_is_upstreams(golden: Golden) -> None:
    signs = golden.model.quantize.lookup(golden.model.encode(golden.io["image"]).codes)  # type: ignore[union-attr]
    states = golden.model.walk(signs, golden.io["noise"])
    close(torch.stack(states), golden.io["trajectory"])
    close(golden.model.walk(signs, golden.io["reconstruct_noise"])[-1].clamp(-1, 1), golden.io["reconstruct"])


def test_places_of_the_code_tokens_change_the_images(golden: Golden) -> None:
    model = golden.configured(code_places="grid")
    images = golden.io["image"]
    assert (
        float((model.decode(model.encode(images), seeds=[3, 4]) - golden.model.decode(model.encode(images), seeds=[3, 4])).abs().max())
        > 0.01
    )


def test_decoding_needs_codes_and_seeds_only(golden: Golden) -> None:
    tokens = golden.model.encode(golden.io["image"])
    images = golden.model.decode(tokens, seeds=[3, 4])
    assert images.shape == golden.io["image"].shape
    noise = torch.stack([torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(seed)) for seed in (3, 4)])
    expected = golden.model.walk(golden.model.quantize.lookup(tokens.codes), noise)[-1]  # type: ignore[union-attr]
    close(images, expected.detach(), 1e-6)
    with pytest.raises(TokbenchError, match="pass seeds"):
        golden.model.decode(tokens)


def test_an_image_does_not_depend_on_its_batch(golden: Golden) -> None:
    tokens = golden.model.encode(golden.io["image"])
    assert isinstance(tokens, DiscreteTokens)
    together = golden.model.decode(tokens, seeds=[3, 4])
    second = replace(tokens, codes=tokens.codes[1:])
    close(golden.model.decode(second, seeds=[4]), together[1:], 1e-5)
    assert golden.model.decode(replace(tokens, codes=tokens.codes[:0]), seeds=[]).shape == (0, 3, 32, 32)


def count_calls(model: FlowMo, run: Callable[[], object]) -> list[int]:
    """Batch sizes of the decoder's calls."""
    sizes: list[int] = []
    handle = model.decoder.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    run()
    handle.remove()
    return sizes


def test_guidance_doubles_the_batch_within_its_interval_only(golden: Golden) -> None:
    tokens = golden.model.encode(golden.io["image"])
    for changes, expected in (
        ({"steps": 25}, {2: 19, 4: 6}),
        ({"steps": 25, "guidance": 1.0}, {2: 25}),
        ({"steps": 4, "schedule": "linear"}, {2: 2, 4: 2}),
        ({"steps": 8, "guidance_sigmas": (0.0, 1e9)}, {2: 1, 4: 7}),
        ({"steps": 8, "guidance_sigmas": (0.0, math.inf)}, {4: 8}),
        ({"steps": 4, "schedule": "linear", "guidance_sigmas": (1.0, 1.0)}, {2: 3, 4: 1}),  # sigma 1 is time 0.5
        ({"steps": 4, "schedule": "linear", "guidance_sigmas": (1.0, 3.0)}, {2: 2, 4: 2}),  # both ends are times
        ({"steps": 4, "schedule": "linear", "guidance_sigmas": (1.01, 2.99)}, {2: 4}),
        ({"steps": 1, "guidance_sigmas": (0.0, math.inf)}, {4: 1}),
    ):
        model = golden.configured(**changes)
        sizes = count_calls(model, lambda model=model: model.decode(tokens, seeds=[1, 2]))  # type: ignore[misc]
        assert {size: sizes.count(size) for size in set(sizes)} == expected


@torch.no_grad()
def test_a_walk_guided_at_every_step_is_upstreams_without_an_interval(golden: Golden) -> None:
    model = golden.configured(guidance_sigmas=(0.0, math.inf)).double()  # single precision would be apart by as much as the bound
    signs = model.quantize.lookup(model.encode(golden.io["image"].double()).codes)  # type: ignore[union-attr]
    code, state = model.context(signs), golden.io["noise"].double()
    times = [((SMALL.steps - i) / SMALL.steps) ** 4 for i in range(SMALL.steps + 1)]
    for (now, then), ours in zip(pairwise(times), model.walk(signs, state), strict=True):
        at = torch.full((len(state),), now)
        with_code, without = model.velocity(state, code, at), model.velocity(state, torch.zeros_like(code), at)
        state = state - (now - then) * (without + SMALL.guidance * (with_code - without))
        close(ours, state, 1e-6)


def test_settings_change_the_image(golden: Golden) -> None:
    tokens = golden.model.encode(golden.io["image"])
    images = [
        golden.configured(**changes).decode(tokens, seeds=[1, 2])
        for changes in ({}, {"steps": 7}, {"guidance": 2.5}, {"guidance": 1.0}, {"schedule": "linear"}, {"precision": "bf16"})
    ]
    for i, a in enumerate(images):
        for b in images[:i]:
            assert float((a - b).abs().max()) > 1e-4
    close(images[0], images[-1], 0.1)  # half precision is close


def test_half_precision_finds_nearly_the_same_codes(golden: Golden) -> None:
    full, half = (model.encode(golden.io["image"]).codes for model in (golden.model, golden.configured(precision="bf16")))  # type: ignore[union-attr]
    signs = golden.model.quantize.lookup
    assert float((signs(full) == signs(half)).float().mean()) > 0.97


@pytest.mark.parametrize(("bits", "codebooks", "parameters"), [(9, 2, 945_374_085), (14, 4, None)])
def test_published_sizes_on_the_meta_device(bits: int, codebooks: int, parameters: int | None) -> None:
    with torch.device("meta"):
        model = FlowMo(FlowMoConfig(PUBLISHED_ENCODER, PUBLISHED_DECODER, bits=bits, codebooks=codebooks))
    count = sum(value.numel() for value in model.state_dict().values())
    if parameters is None:  # each further channel: txt_in and final_layer_txt of both sides
        parameters = 945_374_085 + (bits * codebooks - 18) * (2 * 768 + 1 + 2 * 1152 + 1)
    assert count == parameters
    assert len(model.state_dict()) == 608


def test_manifest_of_the_published_file() -> None:
    manifest = Path(__file__).parents[3] / "shared" / "facts" / "keys" / "flowmo_lo.json"
    if not manifest.is_file():
        pytest.skip("the manifest is not here")
    with torch.device("meta"):
        model = FlowMo(FlowMoConfig(PUBLISHED_ENCODER, PUBLISHED_DECODER, bits=9, codebooks=2))
    tensors = json.loads(manifest.read_text())["tensors"]
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == {key: value[0] for key, value in tensors.items()}


@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
def test_a_checkpoint_of_the_published_form(golden: Golden, tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "flowmo.pth"
    averaged = {prefix + key: value for key, value in golden.state.items()}
    other = {key: torch.zeros_like(value) for key, value in golden.state.items()}
    torch.save({"total_steps": 7, "model_ema_state_dict": averaged, "model_state_dict": other}, path)
    state = FlowMo(SMALL).read_weights(path).tensors
    model = FlowMo(SMALL)
    load_strictly(model, state, origin=path.name)
    assert all(torch.equal(value, golden.state[key]) for key, value in model.state_dict().items())

    del averaged[prefix + "decoder.img_in.bias"]
    averaged[prefix + "decoder.extra"] = torch.zeros(1)
    torch.save({"total_steps": 7, "model_ema_state_dict": averaged}, path)
    with pytest.raises(TokbenchError, match=r"1 missing: decoder.img_in.bias; 1 unknown: decoder.extra"):
        load_strictly(FlowMo(SMALL), FlowMo(SMALL).read_weights(path).tensors, origin=path.name)


@pytest.mark.usefixtures("empty_cache")
@pytest.mark.parametrize("name", ["flowmo/lo", "flowmo/hi"])
def test_variants_load_a_published_file_by_name(golden: Golden, tmp_path: Path, name: str) -> None:
    """At a reduced size, set by name as a user would; both variants take the golden's widths and bits."""
    path = tmp_path / "flowmo.pth"
    torch.save({"total_steps": 7, "model_ema_state_dict": golden.state, "model_state_dict": {}}, path)
    sides = {"encoder": SMALL.encoder, "decoder": SMALL.decoder}
    reduced: dict[str, object] = {
        f"{side}.{key}": getattr(config, key) for side, config in sides.items() for key in ("hidden", "heads", "depth", "axes")
    }
    reduced |= {"bits": 9, "codebooks": 2, "code_length": 16, "image_size": 32, "steps": 6}
    model = tokbench.load(name, weights=path, config=reduced)
    assert (model.name, model.weights_sha256) == (name, sha256(path))
    assert torch.equal(model.encode(golden.io["image"]).codes.flatten(), golden.io["indices_flat"])  # type: ignore[union-attr]
    with pytest.raises(TokbenchError, match=rf"the weights of {name} are not here; run: tokbench weights get {name}"):
        tokbench.load(name)


def test_layout() -> None:
    assert SMALL.layout(32, 32) == TokenLayout(image_size=(32, 32), grid=(16,), codebook_sizes=(512, 512))
    assert FlowMoConfig(PUBLISHED_ENCODER, PUBLISHED_DECODER, bits=9, codebooks=2).layout(256, 256).bits_per_image == 4608
    assert FlowMoConfig(PUBLISHED_ENCODER, PUBLISHED_DECODER, bits=14, codebooks=4).layout(256, 256).bits_per_image == 14336
    with pytest.raises(TokbenchError, match="image size 64x32 does not fit: this FlowMo takes 32x32"):
        SMALL.layout(64, 32)


def test_codes_of_another_length_are_refused(golden: Golden) -> None:
    with pytest.raises(ValueError, match=r"takes a sequence of 16 codes, got a grid \(8,\)"):
        golden.model.decode(DiscreteTokens(torch.zeros(1, 8, 2, dtype=torch.int64), (8,), (512, 512)), seeds=[1])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"steps": 0}, "must be positive"),
        ({"steps": 10**9}, "at most 100000"),
        ({"bits": 25}, "24 unless entropy_weight is 0, got 25; use more codebooks"),
        ({"bits": 63, "entropy_weight": 0.0}, "at most 62 bits"),
        ({"schedule": "pow_0.001"}, "steps of no length"),
        ({"image_size": 30}, "multiple of the patch size 4"),
        ({"schedule": "cosine"}, "a schedule is"),
        *(({"guidance": value}, "guidance must be a finite number from 0") for value in (-1.0, math.nan, math.inf)),
        *(({"guidance_sigmas": ends}, "two rising numbers") for ends in ((-1.0, 1.0), (math.nan, 1.0), (0.0, math.nan), (math.inf,) * 2)),
        *(({"entropy_weight": value}, "finite numbers from 0") for value in (-1.0, math.nan, math.inf)),
        ({"guidance_sigmas": (1.0, 0.5)}, "two rising numbers"),
        ({"precision": "fp16"}, "fp32 or bf16"),
        ({"code_places": "circle"}, "diagonal or grid"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_impossible_settings_are_refused(changes: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        replace(SMALL, **changes)


@pytest.mark.parametrize(
    ("changes", "guided", "said"),
    [
        ({}, 6, 0),
        ({"steps": 1}, 0, 1),
        ({"steps": 1, "guidance": 1.0}, 0, 0),
        ({"steps": 1, "guidance_sigmas": (0.0, math.inf)}, 1, 0),
        ({"guidance_sigmas": (0.0, 0.0)}, 0, 1),
        ({"schedule": "linear", "steps": 4, "guidance_sigmas": (1.01, 2.99)}, 0, 1),
    ],
)
def test_guidance_that_acts_on_no_step_is_said(changes: dict[str, Any], guided: int, said: int, caplog: pytest.LogCaptureFixture) -> None:
    config = replace(SMALL, **({"steps": 25} | changes))
    assert sum(config.guided) == guided
    FlowMo(config)
    assert [record.getMessage().count("acts on none of the") for record in caplog.records] == [1] * said
