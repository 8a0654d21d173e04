"""Trainings of seconds, as what several processes run."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tokbench.data.folder import FolderSource
from tokbench.launch import joined
from tokbench.nn.configs import AutoencoderConfig, MMDiTConfig
from tokbench.quantizers.configs import BSQ, LFQ, VQ, Gumbel
from tokbench.tokenizers.conv_vq.config import ConvVQConfig
from tokbench.tokenizers.flowmo.config import FlowMoConfig
from tokbench.tokenizers.vae.variants import VAEConfig
from tokbench.train.options import TrainOptions, TrainResult
from tokbench.train.recipes import Adversary, AutoencoderLosses, CodebookUpdate, FlowLosses, KMeansRecipe, Recipe
from tokbench.train.start import train_recipe

STEPS, STOP = 20, 4  # of squared errors: the gradient of an absolute one jumps with a sign, and rounding decides some
SMALL = AutoencoderConfig(z_channels=4, channels=8, channel_multipliers=(1, 1), num_res_blocks=1, attn_resolutions=(), norm_groups=4)
SIDE = MMDiTConfig(hidden=32, heads=2, depth=1, axes=(8, 4, 4))
FLOW = FlowMoConfig(SIDE, SIDE, bits=4, codebooks=2, code_length=6, image_size=16, patch_size=8, steps=2, guidance=1.0)
AVERAGES = AutoencoderLosses(pixel="l2", codebook=CodebookUpdate(restart_below=0.99, restart_every=3))
JUDGED = replace(AVERAGES, adversary=Adversary(weight=0.1, start=2, channels=8, layers=2))
VQS = ConvVQConfig(SMALL, VQ(16, 4, loss_form="commitment"))


def recipe(name: str, tokenizer: str, losses: AutoencoderLosses | FlowLosses, config: object) -> Recipe:
    return Recipe(name, tokenizer, losses, "", config=config, steps=STEPS, batch_size=4, warmup=3)


RECIPES = {
    made.name: made
    for made in (
        recipe("vqvae", "vqvae/tiny", AVERAGES, VQS),
        recipe("vqgan", "vqgan/tiny", JUDGED, VQS),
        recipe("vae", "vae/tiny", AutoencoderLosses(kl_weight=1e-3), VAEConfig(replace(SMALL, double_z=True), embed_dim=3)),
        recipe("flowmo", "flowmo/tiny", FlowLosses(perceptual_weight=0.0, freeze_encoder_after=0.75), FLOW),
        replace(recipe("lfq", "vqgan/tiny", AVERAGES, ConvVQConfig(SMALL, LFQ(4, entropy_weight=0.1))), steps=4),
        replace(recipe("bsq", "vqgan/tiny", AVERAGES, ConvVQConfig(SMALL, BSQ(4, entropy_form="analytical"))), steps=4),
        replace(recipe("gumbel", "vqgan/tiny", AVERAGES, ConvVQConfig(SMALL, Gumbel(16, 4))), steps=4),
        replace(recipe("still", "vqvae/tiny", replace(AVERAGES, codebook=None), VQS), steps=4),
        replace(recipe("bf16", "vqgan/tiny", replace(JUDGED, codebook=None), VQS), steps=4, precision="bf16"),
        KMeansRecipe("palette", "pixel/palette-512", "clusters", 1, "", vectors=1500, steps=10),
    )
}


def run(
    name: str,
    pictures: Path,
    out: Path,
    steps: int,
    *,
    micro_batch: int | None = None,
    compiled: bool = False,
    resume: bool = False,
    stop: bool = False,
) -> TrainResult:
    """Train, for so many steps at most; ``stop`` has the first process signalled after step ``STOP``."""

    def progress(done: int, total: int, figures: dict[str, float]) -> None:
        if stop and done == STOP:
            os.kill(os.getpid(), signal.SIGTERM)

    recipe = replace(RECIPES[name], steps=min(steps, RECIPES[name].steps))
    options = TrainOptions(out, 16, log_every=1, save_every=5, micro_batch=micro_batch, compiled=compiled, resume=resume)
    return train_recipe(recipe, FolderSource(pictures), options, progress=progress)


def main(pictures: Path, out: Path, steps: int, names: Sequence[str]) -> None:
    with joined():  # once for all: processes that part do not find each other again
        for name in names:
            run(name, pictures, out / name, steps)
        stopped = run("flowmo", pictures, out / "stopped", steps, stop=True)
    assert (stopped.steps, stopped.finished, stopped.signal) == (STOP + 1, False, signal.SIGTERM), stopped
