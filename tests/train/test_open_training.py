"""Training reaches every setting: of a recipe, its losses and the tokenizer's configuration, quantizers among them."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tokbench
from tokbench.data.folder import FolderSource
from tokbench.errors import TokbenchError
from tokbench.images import to_float
from tokbench.quantizers.configs import BSQ, FSQ, IBQ, LFQ, VQ, ResidualVQ, SimVQ
from tokbench.tokenizers.zoo import resolve
from tokbench.train.autoencoder import AutoencoderObjective
from tokbench.train.options import TrainOptions
from tokbench.train.recipes import KMeansRecipe, Recipe, get_recipe
from tokbench.train.start import adjusted, train_recipe

KINDS = {"fsq": FSQ(), "lfq": LFQ(), "bsq": BSQ(), "simvq": SimVQ(), "ibq": IBQ(), "residual": ResidualVQ()}
OWN = """
from dataclasses import replace
from tokbench.train.recipes import get_recipe

RECIPE = replace(get_recipe("vae-tiny"), name="mine", steps=2, batch_size=2)
NOTHING = 3
"""


@pytest.fixture(scope="module")
def one_picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose only picture is always taken whole, so that the loss says what was learned."""
    root = tmp_path_factory.mktemp("picture")
    Image.fromarray(np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8) * 8).convert("RGB").save(root / "a.png")
    return root


@pytest.mark.parametrize("kind", KINDS)
def test_every_quantizer_trains_and_its_weights_load_by_their_folder(kind: str, one_picture: Path, tmp_path: Path) -> None:
    settings = {"quantizer": kind, "warmup": "2", "hold": "0.9", "crop_scale": "1,1"}
    recipe = adjusted(get_recipe("vqvae-tiny"), settings, steps=12, batch_size=2)
    assert isinstance(recipe, Recipe)
    train_recipe(recipe, FolderSource(one_picture), TrainOptions(tmp_path / "run", size=16, log_every=1))
    losses = [json.loads(line)["pixel"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert sum(losses[-3:]) < 0.6 * sum(losses[:3]), losses
    tokenizer = tokbench.load(str(tmp_path / "run"))
    assert tokenizer.name == "vqvae/tiny"
    assert tokenizer.config == recipe.config == replace(resolve("vqvae/tiny")[1].config, quantizer=KINDS[kind])
    assert tokenizer.trained_with[0].startswith("data:")
    images = to_float(torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8))
    tokens = tokenizer.encode(images)
    assert tokens.codebook_sizes == KINDS[kind].codebook_sizes == tokenizer.layout(32, 32).codebook_sizes  # type: ignore[union-attr]
    assert tokenizer.decode(tokens).shape == images.shape


def test_what_was_trained_is_measured_and_exported(tokbench_cli, folder: Path) -> None:
    words = (
        "--data",
        folder,
        "--steps",
        2,
        "--batch-size",
        2,
        "--size",
        16,
        "--set",
        "quantizer=residual",
        "--set",
        "quantizer.sizes=16,16",
    )
    status, _, log = tokbench_cli("train", "vqvae-tiny", *words, "--out", "mine")
    assert status == 0, log
    assert "vqvae-tiny: step 1 of 2  codebook " in log
    assert "measure them: tokbench run --tokenizer mine" in log
    status, out, log = tokbench_cli("run", "-t", "mine", "--data", folder, "--size", 16, "--metrics", "psnr,usage", "--json")
    assert status == 0, log
    (record,) = json.loads(out)
    assert record["tokenizer"]["config"]["quantizer"] == {
        "sizes": [16, 16],
        "dim": 16,
        "beta": 0.25,
        "loss_form": "paper",
        "kind": "residual",
    }
    assert record["tokens"]["codebook_sizes"] == [16, 16]
    assert tokbench_cli("export", "-t", "mine", "--data", folder, "--size", 16, "--out", "tokens")[0] == 0


def test_every_field_is_reached() -> None:
    recipe = adjusted(
        get_recipe("vqgan-tiny"),
        {
            "learning_rate": "1e-3",
            "losses.perceptual_weight": "0",
            "losses.adversary": "none",
            "losses.codebook.decay": "0.9",
            "crop_scale": "0.5,1",
            "quantizer.codebook_size": "64",
            "autoencoder.channels": "64",
        },
    )
    assert isinstance(recipe, Recipe)
    assert (recipe.learning_rate, recipe.crop_scale, recipe.losses.perceptual_weight) == (1e-3, (0.5, 1.0), 0)
    assert recipe.losses.adversary is None  # type: ignore[union-attr]
    assert recipe.losses.codebook.decay == 0.9  # type: ignore[union-attr]
    assert recipe.config.quantizer == VQ(64, 16, loss_form="commitment")
    assert recipe.config.autoencoder.channels == 64
    assert adjusted(get_recipe("vae-tiny"), {"losses.adversary.weight": "0.5"}).losses.adversary.weight == 0.5  # type: ignore[union-attr]
    flow = adjusted(get_recipe("flowmo-tiny"), {"steps": "5", "config.steps": "7"})
    assert (flow.steps, flow.config.steps) == (5, 7)  # type: ignore[union-attr]
    fitted = adjusted(get_recipe("patch-kmeans-1024"), {"vectors": "500", "seed": "3"})
    assert isinstance(fitted, KMeansRecipe)
    assert (fitted.vectors, fitted.seed) == (500, 3)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"learning_rat": "1"}, "unknown setting 'learning_rat'; did you mean learning_rate\\? docs/training.md lists"),
        ({"codebook_size": "1"}, "unknown setting 'codebook_size'; did you mean quantizer.codebook_size"),
        ({"losses.pixl": "l1"}, r"unknown setting 'losses\.pixl'; did you mean losses\.pixel"),
        ({"quantizer.beat": "1"}, r"unknown setting 'quantizer\.beat'; did you mean quantizer\.beta"),
        ({"losses.pixel": "l3"}, "losses.pixel is one of l1, l2; got 'l3'"),
        ({"quantizer": "fsk"}, "unknown quantizer 'fsk'; did you mean fsq"),
        ({"quantizer": "gumbel", "quantizer.dim": "3"}, "gumbel needs quantizer.dim equal to autoencoder.z_channels, got 3 and 16"),
        ({"steps": "0"}, "steps and batch_size must be positive"),
        ({"tokenizer": "vqgan"}, "tokenizer of vqvae-tiny cannot be set; write a recipe of your own, and give it as module:NAME"),
    ],
)
def test_mistakes_are_named(settings: dict[str, str], problem: str) -> None:
    with pytest.raises(TokbenchError, match=problem):
        adjusted(get_recipe("vqvae-tiny"), settings)


def test_a_recipe_of_ones_own(tokbench_cli, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "my_recipes.py").write_text(OWN)
    status, _, log = tokbench_cli("train", "my_recipes:RECIPE", "--data", folder, "--size", 16)
    assert status == 0, log
    assert (tmp_path / "runs" / "train" / "mine" / "weights.safetensors").is_file()
    status, _, log = tokbench_cli("train", "my_recipes:NOTHING", "--data", folder)
    assert (status, log.count("\n")) == (2, 1)
    assert "'my_recipes:NOTHING' is of type int, not tokbench.train.recipes.Recipe" in log


def test_crops_need_not_be_square(tokbench_cli, folder: Path, tmp_path: Path) -> None:
    base = ("train", "vqvae-tiny", "--data", folder, "--batch-size", 2, "--out", "mine", "--set", "quantizer=fsq")
    status, _, log = tokbench_cli(*base, "--size", "16x24", "--steps", 2)
    assert status == 0, log
    with Image.open(tmp_path / "mine" / "samples" / "000002.png") as picture:
        assert picture.size == (8 * 24, 2 * 16)
    status, _, log = tokbench_cli(*base, "--size", "16x24", "--steps", 3, "--resume")
    assert status == 0, log
    status, _, log = tokbench_cli(*base, "--size", 16, "--steps", 4, "--resume")
    assert (status, log.count("\n")) == (2, 1)
    assert "mine holds a run with size 16x24, not 16; repeat the options it was started with" in log
    status, _, log = tokbench_cli(*base, "--size", "16x0", "--steps", 1)
    assert (status, log) == (
        2,
        "tokbench: --size takes a side of 1 to 8192 px, or height and width such as 576x1024; got '16x0'. See: tokbench train --help\n",
    )


def test_a_run_goes_on_for_more_steps_and_names_what_differs(tokbench_cli, folder: Path) -> None:
    base = ("train", "vqvae-tiny", "--data", folder, "--size", 16, "--batch-size", 2, "--out", "mine", "--set", "quantizer=fsq")
    assert tokbench_cli(*base, "--steps", 2)[0] == 0
    for words, problem in (
        (("--set", "learning_rate=0.5"), "learning_rate 0.001, not 0.5"),
        (("--set", "quantizer.levels=5,5"), "config.quantizer.levels 8,5,5,5, not 5,5"),
        (("--set", "losses.codebook=none"), "losses.codebook.decay 0.97, not None"),
        (("--set", "seed=1"), "seed 0, not 1"),
    ):
        status, _, log = tokbench_cli(*base, "--steps", 4, "--resume", *words)
        assert status == 2
        assert problem in log
    status, _, log = tokbench_cli(*base, "--steps", 4, "--resume")
    assert status == 0, log
    assert "done: 4 steps" in log
    status, _, log = tokbench_cli(*base, "--steps", 3, "--resume")
    assert (status, log.count("\n")) == (2, 1)
    assert "mine holds a run of 4 steps already; give --steps of at least that, or choose another --out" in log


def test_ctrl_c_ends_the_command_with_its_status_and_a_checkpoint(tokbench_cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = AutoencoderObjective.step

    def interrupted(*args: Any) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGINT)
        return step(*args)

    words = ("--data", folder, "--size", 16, "--batch-size", 2, "--steps", 3, "--out", "mine")
    with monkeypatch.context() as patched:
        patched.setattr(AutoencoderObjective, "step", interrupted)
        status, _, log = tokbench_cli("train", "vae-tiny", *words)
    assert status == 130
    assert "interrupted; stopped after step 1 of 3, go on with the same command and --resume" in log
    assert tokbench_cli("train", "vae-tiny", *words, "--resume")[0] == 0


def test_the_guide_runs_as_written(tokbench_cli, tmp_path: Path) -> None:
    """With fewer steps, and fewer images of them."""
    parts = (Path(__file__).parents[2] / "docs" / "training.md").read_text().split("## How the embedded weights")[0].split("```")[1::2]
    commands = 0
    for block in parts:
        if block.startswith("python\n"):
            text = block.removeprefix("python\n").replace("steps=200", "steps=2, batch_size=2")
            (tmp_path / "my_recipes.py").write_text(text)
            continue
        for line in filter(None, block.splitlines()):
            words = line.replace("--steps 200", "--steps 2 --batch-size 2").replace("--limit 64", "--limit 4 --metrics psnr").split()
            status, _, log = tokbench_cli(*words[1:])
            assert status == 0, f"{line}: {log}"
            commands += 1
    assert commands == 4
