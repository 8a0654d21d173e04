"""A run that was stopped and resumed equals one that was not, to the last bit."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.nn.configs import AutoencoderConfig
from tokbench.quantizers.configs import VQ, Gumbel
from tokbench.tokenizers import zoo
from tokbench.tokenizers.conv_vq.config import ConvVQConfig
from tokbench.tokenizers.family import Family, Variant
from tokbench.tokenizers.plugin import import_class
from tokbench.tokenizers.vae.variants import VAEConfig
from tokbench.tokenizers.vqvae.model import VQVAE
from tokbench.train import loop
from tokbench.train.autoencoder import AutoencoderObjective
from tokbench.train.loop import train
from tokbench.train.options import TrainOptions, TrainResult
from tokbench.train.recipes import Recipe, get_recipe
from tokbench.weights.checkpoints import load_strictly, read_state, save_weights

NAMES = ("vqvae-tiny", "vae-tiny", "vqgan-tiny")
SIZE, STEPS, HALF = 16, 8, 4
SMALL = AutoencoderConfig(z_channels=4, channels=32, channel_multipliers=(1, 1), num_res_blocks=1, attn_resolutions=())


def small_resolve(name: str) -> tuple[Family, Variant]:
    """The zoo's rows with a network small enough for a test."""
    family, variant = zoo.resolve(name)
    if isinstance(variant.config, VAEConfig):
        config: object = VAEConfig(replace(SMALL, double_z=True), embed_dim=3)
    else:
        config = ConvVQConfig(SMALL, VQ(16, 4, loss_form="commitment"))
    return family, replace(variant, config=config, image_size=SIZE)


def small_recipe(name: str) -> Recipe:
    """The recipe as it ships but for its length, with all that acts later in a run acting at once."""
    recipe = get_recipe(name)
    assert isinstance(recipe, Recipe)
    losses = replace(recipe.losses, perceptual_weight=0.0)
    if losses.codebook is not None:
        losses = replace(losses, codebook=replace(losses.codebook, restart_below=0.99, restart_every=3))
    if losses.adversary is not None:
        losses = replace(losses, adversary=replace(losses.adversary, start=2, channels=8))
    return replace(recipe, steps=STEPS, batch_size=2, warmup=3, losses=losses)


@dataclass(frozen=True)
class Runner:
    """Runs recipes on the same pictures and starting weights."""

    folder: Path
    source: ImageSource

    def options(self, out: str, recipe: Recipe | None = None, *, resume: bool = False, save_every: int = HALF) -> TrainOptions:
        """Where and how; a recipe that starts from weights gets some: those of an autoencoder bring no codebook."""
        start = {None: None, "vae/tiny": "autoencoder.safetensors", "vqvae/tiny": "init.safetensors"}[recipe and recipe.init_from]
        weights = self.folder / start if start else None
        return TrainOptions(out=self.folder / out, init_weights=weights, resume=resume, log_every=2, save_every=save_every)

    def run(self, recipe: Recipe, out: str, *, resume: bool = False, stop_after: int | None = None, save_every: int = HALF) -> TrainResult:
        """Train; ``stop_after`` raises once that many steps are done, as a crash would."""

        def progress(done: int, total: int, figures: dict[str, float]) -> None:
            assert total == recipe.steps
            if done == stop_after:
                raise Crash

        options = self.options(out, recipe, resume=resume, save_every=save_every)
        return train(recipe, self.source, options, progress=progress)

    def weights(self, out: str) -> dict[str, Tensor]:
        return read_state(self.folder / out / "weights.safetensors")[0]

    def log(self, out: str) -> list[dict]:
        lines = [json.loads(line) for line in (self.folder / out / "log.jsonl").read_text().splitlines()]
        assert all(line.pop("images_per_second") > 0 for line in lines)
        return lines


class Crash(Exception):
    pass


@pytest.fixture
def runner(tmp_path: Path, noise: Callable[[list], ImageSource], monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setattr(loop, "resolve", small_resolve)
    torch.manual_seed(5)
    start = VQVAE(small_resolve("vqvae/tiny")[1].config)
    torch.nn.init.normal_(start.quantize.embedding.weight)
    state = start.state_dict()
    save_weights(state, tmp_path / "init.safetensors", about={})
    save_weights(
        {key: value for key, value in state.items() if not key.endswith(loop.CODEBOOK)}, tmp_path / "autoencoder.safetensors", about={}
    )
    return Runner(tmp_path, noise([(40, 30), (20, 24), (18, 60)]))


def assert_equal_runs(runner: Runner, one: str, other: str) -> None:
    assert runner.log(one) == runner.log(other)
    weights = runner.weights(other)
    assert all(torch.equal(value, weights[key]) for key, value in runner.weights(one).items())
    states = [torch.load(runner.folder / out / "checkpoint.pt", weights_only=True) for out in (one, other)]
    assert_equal(states[0], states[1])


def assert_equal(a: object, b: object) -> None:
    if isinstance(a, Tensor):
        assert isinstance(b, Tensor)
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert isinstance(b, dict)
        assert a.keys() == b.keys()
        for key, value in a.items():
            assert_equal(value, b[key])
    elif isinstance(a, list | tuple):
        for x, y in zip(a, b, strict=True):  # type: ignore[call-overload]
            assert_equal(x, y)
    else:
        assert a == b


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_equals_an_uninterrupted_one(runner: Runner, name: str) -> None:
    recipe = small_recipe(name)
    whole = runner.run(recipe, "whole")
    assert whole == TrainResult(STEPS, True, runner.folder / "whole" / "weights.safetensors")

    with pytest.raises(Crash):
        runner.run(recipe, "parts", stop_after=HALF + 2)  # two steps beyond the checkpoint
    torch.manual_seed(99)
    assert runner.run(recipe, "parts", resume=True).finished
    assert_equal_runs(runner, "whole", "parts")
    assert sorted(path.name for path in (runner.folder / "parts").iterdir()) == [
        "checkpoint.pt",
        "log.jsonl",
        "samples",
        "weights.safetensors",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_term_of_the_recipe_acts(runner: Runner, name: str) -> None:
    runner.run(small_recipe(name), "run")
    log = runner.log("run")
    assert [line["step"] for line in log] == [2, 4, 6, 8]
    terms = {"vqvae-tiny": {"codebook", "pixel", "batch_perplexity", "restarted"}, "vae-tiny": {"kl", "pixel"}}.get(
        name, {"codebook", "pixel", "generator", "adaptive_weight", "discriminator"}
    )
    assert terms <= log[-1].keys()
    assert "restarted" not in terms or log[2]["restarted"] > 0  # the second look, after a resumed run's start
    if name == "vqgan-tiny":
        assert "generator" not in log[0]  # the discriminator acts from step 2
        assert "discriminator" in log[0]
    family, variant = small_resolve(get_recipe(name).tokenizer)
    load_strictly(import_class(family.model)(variant.config), runner.weights("run"), origin="run")
    with safe_open(runner.folder / "run" / "weights.safetensors", framework="pt") as file:
        about = json.loads(file.metadata()["tokbench"])
    assert (about["tokenizer"], about["steps"]) == (get_recipe(name).tokenizer, STEPS)
    assert sorted(path.name for path in (runner.folder / "run" / "samples").iterdir()) == ["000004.png", "000008.png"]


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    recipe = replace(small_recipe("vae-tiny"), steps=100, warmup=10, learning_rate=0.5, hold=0.0)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=recipe.learning_rate)
    rates = []
    for step in range(recipe.steps):
        loop._schedule(recipe, {"model": optimizer}, step)
        rates.append(optimizer.param_groups[0]["lr"])
    expected = [0.5 * min(1, (step + 1) / 10) * (1 + math.cos(math.pi * step / 100)) / 2 for step in range(100)]
    assert rates == pytest.approx(expected)
    assert rates[-1] < 1e-3 * recipe.learning_rate


def test_a_codebook_starts_from_the_first_batch_where_the_starting_weights_have_none(runner: Runner) -> None:
    """A VAE's weights bring no codebook: left at its random start, hardly a code would ever be chosen."""
    recipe = replace(small_recipe("vqvae-tiny"), steps=2)
    assert recipe.init_from == "vae/tiny"
    runner.run(recipe, "run", save_every=1)
    assert runner.log("run")[-1]["batch_perplexity"] > 4


def test_training_lowers_the_loss(runner: Runner) -> None:
    runner.run(replace(small_recipe("vqvae-tiny"), steps=60), "run", save_every=1000)
    log = runner.log("run")
    assert log[-1]["pixel"] < 0.7 * log[0]["pixel"]


def test_an_interrupt_ends_the_run_after_the_step_with_a_checkpoint(runner: Runner) -> None:
    recipe = small_recipe("vqvae-tiny")
    runner.run(recipe, "whole")

    def interrupt(done: int, total: int, figures: dict[str, float]) -> None:
        if done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    stopped = train(recipe, runner.source, runner.options("parts", recipe, save_every=1000), progress=interrupt)
    assert signal.getsignal(signal.SIGINT) is handler
    assert not stopped.finished
    assert stopped.steps in (2, 3)
    assert stopped.weights.is_file()
    assert runner.run(recipe, "parts", resume=True).finished
    assert_equal_runs(runner, "whole", "parts")


def test_a_second_interrupt_does_not_wait(runner: Runner) -> None:
    def interrupt(done: int, total: int, figures: dict[str, float]) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(small_recipe("vae-tiny"), runner.source, runner.options("run"), progress=interrupt)
    assert signal.getsignal(signal.SIGINT) is handler


def test_resuming_a_finished_run_changes_nothing(runner: Runner) -> None:
    recipe = small_recipe("vae-tiny")
    runner.run(recipe, "run")
    before = {path.name: path.read_bytes() for path in (runner.folder / "run").iterdir() if path.is_file()}
    assert runner.run(recipe, "run", resume=True) == TrainResult(STEPS, True, runner.folder / "run" / "weights.safetensors")
    assert before == {path.name: path.read_bytes() for path in (runner.folder / "run").iterdir() if path.is_file()}


class TestRefusals:
    @pytest.fixture
    def stopped(self, runner: Runner) -> Recipe:
        recipe = small_recipe("vae-tiny")
        with pytest.raises(Crash):
            runner.run(recipe, "run", stop_after=HALF)
        return recipe

    def test_another_recipe(self, runner: Runner, stopped: Recipe) -> None:
        with pytest.raises(TokbenchError, match=r"run holds a run with learning_rate 0.002, not 0.001; repeat the options"):
            runner.run(replace(stopped, learning_rate=1e-3), "run", resume=True)

    def test_another_size(self, runner: Runner, stopped: Recipe) -> None:
        with pytest.raises(TokbenchError, match=r"run holds a run with size 16, not 18; repeat the options"):
            train(stopped, runner.source, replace(runner.options("run", resume=True), size=18))

    def test_another_source(self, runner: Runner, stopped: Recipe) -> None:
        runner.source.name = "other"
        with pytest.raises(TokbenchError, match=r"run holds a run with source noise, not other; repeat the options"):
            runner.run(stopped, "run", resume=True)

    def test_a_folder_that_holds_a_run(self, runner: Runner, stopped: Recipe) -> None:
        log = (runner.folder / "run" / "log.jsonl").read_text()
        with pytest.raises(TokbenchError, match=r"run already holds a run; add --resume to go on with it, or choose another --out"):
            runner.run(stopped, "run")
        assert (runner.folder / "run" / "log.jsonl").read_text() == log

    def test_nothing_to_resume(self, runner: Runner) -> None:
        with pytest.raises(TokbenchError, match=r"nothing to resume: no checkpoint.pt in .*empty; leave --resume out to start there"):
            runner.run(small_recipe("vae-tiny"), "empty", resume=True)

    @pytest.mark.parametrize("part", ["step", "objective", "averaged"])
    @pytest.mark.parametrize("value", [None, -1, "x", [], {}])
    def test_a_checkpoint_with_a_missing_or_foreign_part(self, runner: Runner, stopped: Recipe, part: str, value: object) -> None:
        path = runner.folder / "run" / "checkpoint.pt"
        state = torch.load(path, weights_only=True)
        torch.save({key: item for key, item in state.items() if key != part} if value is None else state | {part: value}, path)
        with pytest.raises(TokbenchError, match=r"checkpoint.pt is not a readable checkpoint \(.+\); start again in another --out"):
            runner.run(stopped, "run", resume=True)

    @pytest.mark.parametrize("content", [b"", b"PK not really", None])
    def test_a_damaged_checkpoint(self, runner: Runner, stopped: Recipe, content: bytes | None) -> None:
        path = runner.folder / "run" / "checkpoint.pt"
        path.write_bytes(path.read_bytes()[:1000] if content is None else content)
        with pytest.raises(TokbenchError, match=r"checkpoint.pt is not a readable checkpoint \(.+\); start again in another --out"):
            runner.run(stopped, "run", resume=True)

    def test_a_size_the_tokenizer_cannot_take(self, runner: Runner) -> None:
        with pytest.raises(TokbenchError, match="image size 17x17 does not fit"):
            train(small_recipe("vqvae-tiny"), runner.source, replace(runner.options("run"), size=17))
        assert not (runner.folder / "run").exists()

    def test_a_device_that_is_not_there(self, runner: Runner) -> None:
        with pytest.raises(TokbenchError, match=r"device 'tpu5' cannot be used here"):
            train(small_recipe("vae-tiny"), runner.source, replace(runner.options("run"), device="tpu5"))

    def test_a_first_batch_with_fewer_vectors_than_codes(self, runner: Runner) -> None:
        recipe = replace(small_recipe("vqvae-tiny"), batch_size=1, init_from=None)
        with pytest.raises(TokbenchError, match="a batch of 1 is too small to start the codebook from; it takes at least 4"):
            train(recipe, runner.source, replace(runner.options("run"), size=4))

    def test_starting_weights_that_are_not_there(self, runner: Runner) -> None:
        (runner.folder / "init.safetensors").unlink()
        with pytest.raises(TokbenchError, match=r"no weights file at .*init.safetensors"):
            runner.run(small_recipe("vqgan-tiny"), "run")

    def test_starting_weights_for_a_recipe_that_starts_at_random(self, runner: Runner) -> None:
        recipe = replace(small_recipe("vae-tiny"), init_from=None)
        options = replace(runner.options("run"), init_weights=runner.folder / "init.safetensors")
        with pytest.raises(TokbenchError, match=r"vae-tiny starts from random weights; leave --init-weights out"):
            train(recipe, runner.source, options)


class TestLog:
    def test_lines_beyond_the_checkpoint_and_half_a_line_are_dropped(self, runner: Runner) -> None:
        recipe = small_recipe("vae-tiny")
        with pytest.raises(Crash):
            runner.run(recipe, "run", stop_after=HALF + 2)
        path = runner.folder / "run" / "log.jsonl"
        assert [line["step"] for line in runner.log("run")] == [2, 4, 6]
        with path.open("a") as log:
            log.write('{"step": 7, "pix')
        runner.run(recipe, "run", resume=True)
        assert [line["step"] for line in runner.log("run")] == [2, 4, 6, 8]

    def test_a_lost_log_does_not_lose_the_run(self, runner: Runner) -> None:
        recipe = small_recipe("vae-tiny")
        with pytest.raises(Crash):
            runner.run(recipe, "run", stop_after=HALF)
        (runner.folder / "run" / "log.jsonl").unlink()
        assert runner.run(recipe, "run", resume=True).finished
        assert [line["step"] for line in runner.log("run")] == [6, 8]


def test_a_diverged_run_is_reported(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "to_float", lambda images: torch.full(images.shape, float("nan")))
    with pytest.raises(TokbenchError, match="training diverged: the loss is nan at step 0; lower the learning rate, or train in fp32"):
        runner.run(small_recipe("vae-tiny"), "run")


def test_a_diverged_run_keeps_its_last_checkpoint(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Crash):
        runner.run(small_recipe("vae-tiny"), "run", stop_after=HALF)
    before = {path.name: path.read_bytes() for path in (runner.folder / "run").iterdir() if path.is_file()}
    monkeypatch.setattr(loop, "to_float", lambda images: torch.full(images.shape, float("nan")))
    with pytest.raises(TokbenchError, match=f"the loss is nan at step {HALF}; .* The last checkpoint is as it was"):
        runner.run(small_recipe("vae-tiny"), "run", resume=True)
    after = {path.name: path.read_bytes() for path in (runner.folder / "run").iterdir() if path.is_file()}
    assert after["checkpoint.pt"] == before["checkpoint.pt"]
    assert after["weights.safetensors"] == before["weights.safetensors"]


def test_weights_that_decode_to_nothing_are_reported_and_not_kept(runner: Runner) -> None:
    with pytest.raises(Crash):
        runner.run(small_recipe("vae-tiny"), "run", stop_after=HALF)
    path = runner.folder / "run" / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    for key, value in state["averaged"].items():
        if key.startswith(("decoder.norm_out", "decoder.conv_out")):
            value.copy_(value.sign() * 3e38)
    torch.save(state, path)
    before = path.read_bytes()
    with pytest.raises(
        TokbenchError, match=r"decode pixels that are not finite: training diverged, or .* damaged; .* The last checkpoint is as it was"
    ):
        runner.run(small_recipe("vae-tiny"), "run", resume=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["model", "discriminator"])
def test_nothing_moves_along_a_gradient_that_is_not_finite(name: str) -> None:
    objective = AutoencoderObjective(VQVAE(small_resolve("vqvae/tiny")[1].config), small_recipe("vqgan-tiny"), torch.nn.Identity())
    parameters = [parameter for group in objective.optimizers[name].param_groups for parameter in group["params"]]
    before = [parameter.detach().clone() for parameter in parameters]
    total = torch.stack([parameter.sum() for parameter in parameters]).sum()
    for loss, what in ((total * float("inf"), "loss"), ((total - total.detach()).sqrt(), "gradient")):  # a root of 0 is steep
        with pytest.raises(TokbenchError, match=f"training diverged: the {what} .* at step 7; lower the learning rate"):
            objective.apply(loss, 7, name)
        assert all(torch.equal(kept, parameter) for kept, parameter in zip(before, parameters, strict=True))


def test_a_gumbel_quantizer_draws_from_the_steps_generator() -> None:
    """Equal seeds give equal steps, other seeds other ones; the codebook moves by its gradient."""
    recipe = replace(small_recipe("vqvae-tiny"), losses=replace(small_recipe("vqvae-tiny").losses, codebook=None))

    def weights_after_a_step(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(0)
        model = VQVAE(ConvVQConfig(SMALL, Gumbel(16, 4, kl_weight=1e-3)))
        before = model.quantize.embed.weight.clone()
        objective = AutoencoderObjective(model.train(), recipe, None)
        figures = [objective.step(torch.zeros(2, 3, SIZE, SIZE), step, torch.Generator().manual_seed(seed + step)) for step in range(3)]
        assert all(math.isfinite(value) for row in figures for value in row.values())
        assert not torch.equal(model.quantize.embed.weight, before)
        return dict(model.state_dict())

    one, again, other = (weights_after_a_step(seed) for seed in (1, 1, 9))
    assert all(torch.equal(value, again[key]) for key, value in one.items())
    assert not all(torch.equal(value, other[key]) for key, value in one.items())
