"""The double-stream transformer against outputs of kylesargent/FlowMo on random weights."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from tokbench.nn import mmdit
from tokbench.nn.configs import MMDiTConfig
from tokbench.nn.flow import euler, image_estimate, mix
from tokbench.nn.mmdit import MMDiT, code_positions, patchify, rotate, rotation, unpatchify
from tokbench.nn.schedules import schedule_times, time_of_sigma
from tokbench.weights.checkpoints import load_strictly

PATCH, GRID, LENGTH = 4, (8, 8), 16


@dataclass(frozen=True)
class Golden:
    config: dict
    io: dict[str, Tensor]
    encoder: MMDiT
    decoder: MMDiT

    def codes(self) -> Tensor:
        zeros = torch.zeros_like(self.io["encoder_code"])
        by = rotation(code_positions(LENGTH, GRID, "diagonal"), GRID, self.encoder.config)
        return self.encoder(patchify(self.io["image"], PATCH), self.encoder.embed(zeros), by)

    def velocity(self, state: Tensor, context: Tensor, times: Tensor) -> Tensor:
        by = rotation(code_positions(LENGTH, GRID, "diagonal"), GRID, self.decoder.config)
        return unpatchify(self.decoder(patchify(state, PATCH), self.decoder.embed(context), by, times), PATCH, GRID)


def side_config(resolved: dict) -> MMDiTConfig:
    return MMDiTConfig(
        hidden=resolved["hidden_size"],
        heads=resolved["num_heads"],
        depth=resolved["depth"],
        axes=tuple(resolved["axes_dim"]),
        mlp_ratio=resolved["mlp_ratio"],
        theta=float(resolved["theta"]),
        published=True,
    )


def side_state(state: dict[str, Tensor], side: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{side}."): value for key, value in state.items() if key.startswith(f"{side}.")}


@pytest.fixture(scope="module")
def golden(goldens: Path) -> Golden:
    folder = goldens / "flowmo"
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "state_dict.safetensors")
    sides = config["resolved"]
    encoder = MMDiT(side_config(sides["encoder"]), patch_dim=48, context_dim=18, out="code", timed=False)
    decoder = MMDiT(side_config(sides["decoder"]), patch_dim=48, context_dim=19, out="image", timed=True)
    load_strictly(encoder, side_state(state, "encoder"), origin="golden")
    load_strictly(decoder, side_state(state, "decoder"), origin="golden")
    return Golden(config, load_file(folder / "io.safetensors"), encoder, decoder)


def close(actual: Tensor, expected: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


@torch.no_grad()
def test_code_vectors(golden: Golden) -> None:
    close(golden.codes(), golden.io["encoder_code"])


@torch.no_grad()
def test_velocity_with_and_without_code(golden: Golden) -> None:
    io, context = golden.io, golden.io["decoder_context"]
    close(golden.velocity(io["noise"], context, io["timesteps"]), io["velocity"])
    close(golden.velocity(io["noise"], torch.zeros_like(context), io["timesteps"]), io["velocity_null"])


@torch.no_grad()
def test_one_time_serves_a_whole_batch(golden: Golden) -> None:
    io, context = golden.io, golden.io["decoder_context"]
    one, each = torch.tensor([0.3]), torch.tensor([0.3, 0.3])
    close(golden.velocity(io["noise"], context, one), golden.velocity(io["noise"], context, each))


@torch.no_grad()
def test_training_terms(golden: Golden) -> None:
    io = golden.io
    state = mix(io["image"], io["noise"], io["timesteps"])
    velocity = golden.velocity(state, io["decoder_context"], io["timesteps"])
    close(state, io["train_noised"])
    close(velocity, io["train_velocity"])
    close(image_estimate(state, velocity, io["timesteps"]), io["train_x_pred"])
    close(F.mse_loss(velocity, io["noise"] - io["image"]), io["train_diffusion_loss"])


@torch.no_grad()
def test_the_walk_of_post_training(golden: Golden) -> None:
    io = golden.io
    times = list(io["posttrain_times"].unbind(1))
    states = list(euler(lambda state, time: golden.velocity(state, io["decoder_context"], time), io["posttrain_noise"], times))
    close(states[-1], io["posttrain_sample"], 1e-4)


@torch.no_grad()
def test_every_step_of_guided_sampling(golden: Golden) -> None:
    io, sampling, context = golden.io, golden.config["sampling"], golden.io["decoder_context"]
    low, high = time_of_sigma(0.17), time_of_sigma(1.02)

    def velocity(state: Tensor, time: Tensor) -> Tensor:
        with_code = golden.velocity(state, context, time)
        if not low < float(time) < high:
            return with_code
        without = golden.velocity(state, torch.zeros_like(context), time)
        return without + sampling["cfg"] * (with_code - without)

    times = [torch.tensor([time]) for time in schedule_times(sampling["schedule"], sampling["sample_steps"])]
    states = list(euler(velocity, io["noise"], times))
    close(torch.stack(states), io["trajectory"], 1e-4)
    close(states[-1].clamp(-1, 1), io["sample"], 1e-4)


@torch.no_grad()
def test_what_upstream_never_reads_is_not_needed(golden: Golden) -> None:
    """The lean form has a third less in the encoder and gives the same outputs."""
    for full, context, out, timed in ((golden.encoder, 18, "code", False), (golden.decoder, 19, "image", True)):
        lean = MMDiT(replace(full.config, published=False), patch_dim=48, context_dim=context, out=out, timed=timed)  # type: ignore[arg-type]
        state = full.state_dict()
        load_strictly(lean, {key: state[key] for key in lean.state_dict()}, origin="lean")
        assert len(lean.state_dict()) < len(state)
        by, code = rotation(code_positions(LENGTH, GRID, "diagonal"), GRID, full.config), golden.io["decoder_context"][..., :context]
        times = golden.io["timesteps"] if timed else None
        patches = patchify(golden.io["noise"], PATCH)
        assert torch.equal(lean(patches, lean.embed(code), by, times), full(patches, full.embed(code), by, times))


@torch.no_grad()
@pytest.mark.parametrize("quirk", ["ATTENTION_SCALE", "final"])
def test_upstream_quirks_matter(golden: Golden, monkeypatch: pytest.MonkeyPatch, quirk: str) -> None:
    """The usual attention scale, or a final layer normalised once, is far off: the golden holds both."""
    if quirk == "ATTENTION_SCALE":
        monkeypatch.setattr(mmdit, "ATTENTION_SCALE", 24**0.5)
    else:
        plain = golden.decoder.final_layer_img

        def once(x: Tensor, vec: Tensor) -> Tensor:
            shift, scale = plain.adaLN_modulation(vec)[:, None].chunk(2, dim=-1)
            return plain.linear((1 + scale) * F.layer_norm(x, x.shape[-1:], eps=1e-6) + shift)

        monkeypatch.setattr(plain, "forward", once)
    io = golden.io
    assert float((golden.velocity(io["noise"], io["decoder_context"], io["timesteps"]) - io["velocity"]).abs().max()) > 0.05


def test_rotation_keeps_lengths_and_depends_on_distance_only() -> None:
    config = MMDiTConfig(hidden=16, heads=1, depth=1, axes=(8, 4, 4))
    by = rotation(code_positions(4, (3, 5), "diagonal"), (3, 5), config)
    assert by.cos.shape == by.sin.shape == (4 + 15, 8)
    q, k = (torch.randn(1, 1, 1, 16, generator=torch.Generator().manual_seed(seed)).expand(1, 1, 19, 16) for seed in (1, 2))
    close(rotate(q, by).norm(dim=-1), q.norm(dim=-1))
    logits = (rotate(q, by) @ rotate(k, by).transpose(-1, -2))[0, 0]
    close(logits[4 + 0, 4 + 6], logits[4 + 7, 4 + 13])  # patches one row and one column apart
    close(logits[0, 2], logits[1, 3])  # code tokens two apart
    assert torch.equal(by.cos[0], torch.ones(8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rotation_is_the_same_where_it_is_traced(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    angles = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    given = torch.randn(2, 5, 3, 16, generator=torch.Generator().manual_seed(2)).to(dtype).transpose(1, 2)
    found = []
    for plainly in (True, False):
        monkeypatch.setattr(mmdit, "plainly_computed", lambda *tensors, plainly=plainly: plainly)
        by, x = (
            mmdit.Rotation(angles.cos().to(dtype).requires_grad_(), angles.sin().to(dtype).requires_grad_()),
            given.clone().requires_grad_(),
        )
        turned = rotate(x, by)
        assert turned.dtype == dtype
        turned.float().square().mean().add(turned.float()[..., 0].sum()).backward()
        found.append((turned, x.grad, by.cos.grad, by.sin.grad))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(
            one, other, rtol=1.6e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-3 if dtype == torch.bfloat16 else 1e-6
        )


def test_code_tokens_on_a_grid_stand_at_the_centres_of_their_cells() -> None:
    places = code_positions(4, (8, 8), "grid")
    assert places.tolist() == [[0, 1.5, 1.5], [0, 1.5, 5.5], [0, 5.5, 1.5], [0, 5.5, 5.5]]
    assert code_positions(6, (4, 6), "grid")[:, 1].unique().tolist() == [0.5, 2.5]
    assert code_positions(6, (4, 6), "grid")[:, 2].unique().tolist() == [0.5, 2.5, 4.5]
    assert code_positions(3, (8, 8), "diagonal").tolist() == [[0, 0, 0], [1, 1, 1], [2, 2, 2]]


def test_a_local_start_attends_nearby_with_open_gates() -> None:
    config = MMDiTConfig(hidden=96, heads=2, depth=1, axes=(16, 16, 16), theta=100.0)
    torch.manual_seed(0)
    model = MMDiT(config, patch_dim=12, context_dim=5, out="image", timed=True)
    model.start_local()
    block = model.double_blocks[0]
    features = torch.randn(1, 4, 96, generator=torch.Generator().manual_seed(1))
    q, _, _ = block.txt_attn.project(features)
    _, k, _ = block.img_attn.project(torch.randn(1, 64, 96, generator=torch.Generator().manual_seed(2)))
    by = rotation(code_positions(4, (8, 8), "grid"), (8, 8), config)
    code, patch = (mmdit.Rotation(by.cos[part], by.sin[part]) for part in (slice(4), slice(4, None)))
    attention = (rotate(q, code) @ rotate(k, patch).transpose(-1, -2) / 6).softmax(dim=-1)[0].unflatten(-1, (8, 8))
    own = torch.stack([attention[:, i, rows, columns].sum(dim=(1, 2)) for i, (rows, columns) in enumerate(CELLS)], dim=1)
    assert own[0].min() > 0.45  # the first head's share of a quarter of the image
    assert own[1].max() < 0.45
    assert torch.equal(block.img_mod.lin.bias.view(6, 96)[[2, 5]], torch.ones(2, 96))


CELLS = [(rows, columns) for rows in (slice(4), slice(4, None)) for columns in (slice(4), slice(4, None))]


def test_patches_are_rows_first_and_channel_fastest() -> None:
    image = torch.arange(3 * 4 * 6.0).reshape(1, 3, 4, 6)
    patches = patchify(image, 2)
    assert patches.shape == (1, 6, 12)
    assert patches[0, 1, :6].tolist() == [2.0, 26.0, 50.0, 3.0, 27.0, 51.0]
    assert torch.equal(unpatchify(patches, 2, (2, 3)), image)


def test_times_are_given_to_a_timed_network_only(golden: Golden) -> None:
    by = rotation(code_positions(LENGTH, GRID, "diagonal"), GRID, golden.encoder.config)
    patches, code = patchify(golden.io["image"], PATCH), golden.encoder.embed(golden.io["encoder_code"])
    with pytest.raises(ValueError, match="takes no times"):
        golden.encoder(patches, code, by, golden.io["timesteps"])
    with pytest.raises(ValueError, match="times are needed"):
        golden.decoder(patches, golden.decoder.embed(golden.io["decoder_context"]), by)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"heads": 3}, "3 heads do not divide"),
        ({"axes": (8, 4, 2)}, "sum to the head dimension 16"),
        ({"axes": (9, 3, 4)}, "axes must be even"),
        ({"depth": 0}, "must be positive"),
        ({"theta": 0.0}, "must be positive"),
    ],
)
def test_impossible_shapes_are_refused(changes: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        replace(MMDiTConfig(hidden=32, heads=2, depth=1, axes=(8, 4, 4)), **changes)
