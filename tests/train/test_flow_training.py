"""Training of FlowMo: every term acts, runs resume exactly, what shall stand still does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tokbench.data.source import ImageSource
from tokbench.nn.configs import MMDiTConfig
from tokbench.nn.perceptual import LogitDistance
from tokbench.tokenizers.family import Family, Variant
from tokbench.tokenizers.flowmo.config import FlowMoConfig
from tokbench.tokenizers.flowmo.model import FlowMo
from tokbench.train import loop
from tokbench.train.flow import FlowObjective
from tokbench.train.loop import train
from tokbench.train.options import TrainOptions
from tokbench.train.recipes import FlowLosses, Recipe
from tokbench.weights.checkpoints import read_state

SIDE = MMDiTConfig(hidden=32, heads=2, depth=1, axes=(8, 4, 4))
CONFIG = FlowMoConfig(SIDE, replace(SIDE, depth=2), bits=4, codebooks=2, code_length=6, image_size=16, patch_size=8, steps=2)
VARIANT = Variant(name="small", config=CONFIG, image_size=16, summary="")
FAMILY = Family("flowmo", "", "tokbench.tokenizers.flowmo.model:FlowMo", (VARIANT,), "small")
FIRST = Recipe(
    name="flowmo-small",
    tokenizer="flowmo/small",
    summary="",
    losses=FlowLosses(perceptual_weight=0.0, code_dropout=0.3, freeze_encoder_after=0.75),
    steps=8,
    batch_size=3,
    warmup=2,
)


class Distance(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).square().mean(dim=(1, 2, 3))


def objective(*, steps: int = 8, seed: int = 0, **losses: object) -> FlowObjective:
    torch.manual_seed(seed)
    changed = replace(FIRST.losses, **losses)  # type: ignore[arg-type]
    return FlowObjective(FlowMo(CONFIG).train(), replace(FIRST, losses=changed, steps=steps, grad_clip=1e9), Distance())


def images(seed: int = 0) -> Tensor:
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def run_steps(trained: FlowObjective, steps: range) -> list[dict[str, float]]:
    return [trained.step(images(step), step, torch.Generator().manual_seed(step)) for step in steps]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "resolve", lambda name: (FAMILY, VARIANT))


@pytest.mark.usefixtures("small")
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, noise: Callable[[list], ImageSource]) -> None:
    source = noise([(40, 30), (20, 24)])

    class Crash(Exception):
        pass

    def crash(done: int, total: int, figures: dict[str, float]) -> None:
        if done == 5:
            raise Crash

    def options(out: str, *, resume: bool = False) -> TrainOptions:
        return TrainOptions(out=tmp_path / out, resume=resume, log_every=1, save_every=3)

    train(FIRST, source, options("whole"))
    with pytest.raises(Crash):
        train(FIRST, source, options("parts"), progress=crash)
    torch.manual_seed(99)
    train(FIRST, source, options("parts", resume=True))
    logs = []
    for out in ("whole", "parts"):
        lines = [json.loads(line) for line in (tmp_path / out / "log.jsonl").read_text().splitlines()]
        logs.append([{key: value for key, value in line.items() if key != "images_per_second"} for line in lines])
    assert logs[0] == logs[1]
    assert {"flow", "entropy", "commitment", "bits_on", "estimate_psnr"} <= logs[0][0].keys()
    assert all(0.1 < line["bits_on"] < 0.9 for line in logs[0])
    whole, parts = (read_state(tmp_path / out / "weights.safetensors")[0] for out in ("whole", "parts"))
    assert all(torch.equal(value, parts[key]) for key, value in whole.items())
    assert (tmp_path / "whole" / "samples" / "000008.png").is_file()


def test_training_lowers_the_loss() -> None:
    trained = objective(steps=1000, freeze_encoder_after=1.0)
    log = [trained.step(images(), step, torch.Generator().manual_seed(step)) for step in range(60)]
    first, last = (sum(line["flow"] for line in part) for part in (log[:10], log[-10:]))
    assert last < 0.9 * first


def test_the_encoder_stands_still_after_its_share_of_the_steps() -> None:
    trained = objective(freeze_encoder_after=0.5)
    before = run_steps(trained, range(4))
    encoder = {key: value.clone() for key, value in trained.model.encoder.state_dict().items()}
    decoder = {key: value.clone() for key, value in trained.model.decoder.state_dict().items()}
    after = run_steps(trained, range(4, 8))
    assert "entropy" in before[-1]
    assert "entropy" not in after[0]
    for key, value in trained.model.encoder.state_dict().items():
        torch.testing.assert_close(value, encoder[key], atol=1e-6, rtol=1e-5)
    assert any(not torch.equal(value, decoder[key]) for key, value in trained.model.decoder.state_dict().items())


@pytest.mark.parametrize("keep", [True, False])
def test_norms_of_the_blocks_weights_are_kept_or_not(keep: bool) -> None:
    trained = objective(keep_norms=keep)
    weights = {name: layer.weight for name, layer in trained.model.named_modules() if isinstance(layer, nn.Linear)}
    norms = {name: float(weight.detach().norm()) for name, weight in weights.items()}
    run_steps(trained, range(4))
    changed = {name for name, weight in weights.items() if abs(float(weight.detach().norm()) - norms[name]) > 1e-4 * norms[name]}
    blocks = {name for name in weights if "double_blocks." in name}
    assert blocks
    assert (not changed & blocks) == keep
    assert changed - blocks


def test_gates_start_closed() -> None:
    """So a decoder's blocks start as the identity."""
    model = FlowMo(CONFIG)
    for block in model.decoder.double_blocks:
        for mod in (block.img_mod, block.txt_mod):
            gates = mod(torch.randn(2, 32))
            assert not gates[2].any()
            assert not gates[5].any()
            assert gates[0].any()


def test_without_its_code_the_decoder_sees_zeros_mask_included(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = objective(code_dropout=1.0)
    seen: list[Tensor] = []
    embed = trained.model.decoder.embed
    monkeypatch.setattr(trained.model.decoder, "embed", lambda context: seen.append(context.detach()) or embed(context))
    run_steps(trained, range(1))
    assert not seen[0].any()
    seen.clear()
    trained = objective(code_dropout=0.0)
    embed = trained.model.decoder.embed
    monkeypatch.setattr(trained.model.decoder, "embed", lambda context: seen.append(context.detach()) or embed(context))
    run_steps(trained, range(1))
    assert torch.equal(seen[0][..., -1], torch.ones(3, 6))


def test_the_perceptual_term_judges_one_step_or_a_whole_walk() -> None:
    one, walk = objective(perceptual_weight=1.0), objective(perceptual_weight=1.0, walk_steps=3)
    calls = {}
    for name, trained in (("one", one), ("walk", walk)):
        times: list[Tensor] = []
        trained.model.decoder.register_forward_pre_hook(lambda module, args, times=times: times.append(args[3].detach()))
        figures = run_steps(trained, range(1))[0]
        calls[name] = times
        assert figures["perceptual"] > 0
    assert len(calls["one"]) == 1
    assert len(calls["walk"]) == 1 + 2 * 3  # each step of the walk is computed again for its gradient
    starts = calls["walk"][1:4]
    assert torch.equal(starts[0], torch.ones(3))
    assert bool((starts[1] < starts[0]).all())
    assert starts[1].unique().numel() == 3  # every image has its own times


def test_the_walks_gradient_does_not_depend_on_computing_it_again() -> None:
    gradients = []
    for recompute in (True, False):
        trained = objective(perceptual_weight=1.0, walk_steps=3, recompute=recompute)
        with torch.no_grad():  # open the gates, so that the walk depends on all of the decoder
            for block in trained.model.decoder.double_blocks:
                for mod in (block.img_mod, block.txt_mod):
                    mod.lin.weight.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
        run_steps(trained, range(1))
        gradients.append({name: p.grad for name, p in trained.model.named_parameters()})
    for name, gradient in gradients[0].items():
        other = gradients[1][name]
        assert (gradient is None) == (other is None), name
        if gradient is not None:
            torch.testing.assert_close(gradient, other, atol=1e-6, rtol=1e-4)
    assert gradients[0]["encoder.img_in.weight"].any()  # type: ignore[union-attr]  # the walk reaches the encoder


def test_a_perceptual_loss_needs_its_network() -> None:
    with pytest.raises(ValueError, match="pass its network"):
        FlowObjective(FlowMo(CONFIG), replace(FIRST, losses=FlowLosses()), None)


def test_distance_of_logits() -> None:
    classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    distance = LogitDistance(classifier, size=32)
    a, b = images(1).requires_grad_(), images(2).requires_grad_()
    out = distance(a, b)
    means = [((x + 1) / 2).mean(dim=(2, 3)) / torch.tensor([0.229, 0.224, 0.225]) for x in (a, b)]
    torch.testing.assert_close(out, (means[0] - means[1]).square().mean(dim=1), atol=1e-3, rtol=1e-2)
    out.sum().backward()
    assert a.grad is not None
    assert b.grad is None
