"""Named training recipes: rows of data that reproduce the weights that ship with the package; no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from tokbench.errors import TokbenchError, unknown_name
from tokbench.plugins import import_class
from tokbench.train.ladder import RUNGS, Rung


@dataclass(frozen=True)
class CodebookUpdate:
    """A codebook learned by moving averages, see ``tokbench.quantizers.ema``."""

    decay: float = 0.99
    restart_below: float = 0.1
    restart_every: int = 20


@dataclass(frozen=True)
class Adversary:
    """A PatchGAN discriminator with hinge loss and the adaptive weight of VQGAN (equation 7 of the paper).

    Args:
        weight: Multiplies the adaptive weight.
        start: First step at which it acts on the autoencoder; it learns from step 0.
        learning_rate: Learning rate of the discriminator.
        channels: Width of its first layer.
        layers: Strided layers.
    """

    weight: float = 0.8
    start: int = 0
    learning_rate: float = 2e-4
    channels: int = 64
    layers: int = 3


@dataclass(frozen=True)
class AutoencoderLosses:
    """What a convolutional autoencoder is trained on.

    Args:
        pixel: Absolute or squared error, averaged over pixels and channels of [-1, 1].
        pixel_weight: Its weight.
        perceptual_weight: Weight of LPIPS; 0 leaves it out.
        perceptual_network: Its backbone.
        kl_weight: Weight of the KL term in nats per image, relative to the summed pixel error (latent diffusion's convention).
        codebook: How the codebook learns; None for continuous latents or a codebook learned by gradient.
        adversary: The discriminator, if any.
    """

    pixel: Literal["l1", "l2"] = "l2"
    pixel_weight: float = 1.0
    perceptual_weight: float = 0.0
    perceptual_network: Literal["lpips-vgg", "lpips-alex"] = "lpips-vgg"
    kl_weight: float = 0.0
    codebook: CodebookUpdate | None = None
    adversary: Adversary | None = None


@dataclass(frozen=True)
class FlowLosses:
    """What a FlowMo tokenizer is trained on; see ``tokbench.train.flow``.

    Args:
        perceptual_network: Judge of the perceptual term: LPIPS, or torchvision's ResNet50, whose logits are compared.
        perceptual_weight: Its weight; 0 leaves it out.
        walk_steps: 0 judges where one step would end (stage 1A), otherwise the end of a walk of so many steps (stage 1B).
        recompute: Whether every network call of the walk is computed again for its gradient, which saves memory and costs time.
        code_dropout: Share of images whose code the decoder does not see, for guidance.
        uniform_share: Share of times that are drawn uniformly.
        time_mean: Mean of the normal whose logistic the other times are; above 0, more of them lie near the noise.
        freeze_encoder_after: Share of the steps after which the encoder stands still.
        keep_norms: Whether the weights of the blocks keep the Frobenius norm they start with.
    """

    perceptual_network: Literal["lpips-vgg", "lpips-alex", "resnet50"] = "lpips-vgg"
    perceptual_weight: float = 0.1
    walk_steps: int = 0
    recompute: bool = True
    code_dropout: float = 0.1
    uniform_share: float = 0.1
    time_mean: float = 0.0
    freeze_encoder_after: float = 1.0
    keep_norms: bool = True


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a training run but the data and the machine.

    Args:
        name: What ``tokbench train`` takes.
        tokenizer: ``family/variant`` that is trained.
        losses: What it is trained on.
        summary: One line.
        init_from: ``family/variant`` whose weights it starts from, as far as names and shapes agree; None starts at random.
        steps: Optimiser steps.
        batch_size: Images a step.
        crop_scale: Random squares have a side between these shares of the photo's short side.
        optimizer: ``muon`` moves the weights of hidden layers by ``tokbench.train.muon`` and all others by Adam.
        learning_rate: Peak, after ``warmup`` steps; of both optimizers.
        hold: Share of the steps after which the learning rate falls to zero along a cosine.
        betas: Betas of Adam.
        warmup: Steps of linear warm-up.
        ema_decay: Decay of the averaged weights that are kept.
        grad_clip: Largest gradient norm.
        precision: ``bf16`` runs the networks under autocast; slow on a processor without bfloat16 arithmetic.
        seed: Seed of everything random.
        config: Configuration of the tokenizer; None takes that of its name.

    Raises:
        ValueError: If a count is not positive or the crop scale is no range within 0 to 1.
    """

    name: str
    tokenizer: str
    losses: AutoencoderLosses | FlowLosses
    summary: str
    init_from: str | None = None
    steps: int = 9000
    batch_size: int = 8
    crop_scale: tuple[float, float] = (0.3, 1.0)
    optimizer: Literal["muon", "adamw"] = "muon"
    learning_rate: float = 2e-3
    hold: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    warmup: int = 100
    ema_decay: float = 0.998
    grad_clip: float = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0
    config: Any = None

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1:
            raise ValueError(f"steps and batch_size must be positive, got {self.steps} and {self.batch_size}")
        if not 0 <= self.hold < 1:
            raise ValueError(f"hold must be a share of the steps below 1, got {self.hold}")
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale must be a range within 0 to 1, got {self.crop_scale}")

    def learning_rate_factor(self, step: int) -> float:
        """Share of the peak learning rate at a step: linear warm-up, constant, then half a cosine down to zero."""
        warm = min(1.0, (step + 1) / max(1, self.warmup))
        fallen = max(0.0, (step / self.steps - self.hold) / (1.0 - self.hold))
        return warm * 0.5 * (1.0 + math.cos(math.pi * fallen))


@dataclass(frozen=True)
class KMeansRecipe:
    """A codebook fitted by k-means to raw pixels or patches of random crops.

    Args:
        name: What ``tokbench train`` takes.
        tokenizer: ``family/variant`` that is fitted.
        tensor: The name of its codebook.
        patch: Side of the patches that are clustered; 1 for pixels.
        summary: One line.
        vectors: How many are clustered.
        crop_scale: Random squares have a side between these shares of the photo's short side.
        steps: Lloyd iterations.
        seed: Seed of everything random.
    """

    name: str
    tokenizer: str
    tensor: str
    patch: int
    summary: str
    vectors: int = 400_000
    crop_scale: tuple[float, float] = (0.3, 0.9)
    steps: int = 60
    seed: int = 0


def _of_rung(rung: Rung) -> Recipe:
    """All rungs are trained alike, but for the terms of the loss that are the quantizer's own."""
    codebook = CodebookUpdate() if rung.averages else None
    return Recipe(
        name=f"ladder-{rung.name}",
        tokenizer=rung.tokenizer,
        config=rung.config,
        losses=AutoencoderLosses(pixel="l2", pixel_weight=5.0, kl_weight=1e-6 * rung.continuous, codebook=codebook),
        summary=f"rung of the quantizer ladder: {rung.summary}",
        steps=1500,
        batch_size=16,
        hold=0.4,
    )


RECIPES: tuple[Recipe | KMeansRecipe, ...] = (
    KMeansRecipe(
        name="pixel-palette-512",
        tokenizer="pixel/palette-512",
        tensor="clusters",
        patch=1,
        summary="512 colours by k-means of pixels",
    ),
    KMeansRecipe(
        name="patch-kmeans-1024",
        tokenizer="patch/kmeans-1024",
        tensor="codebook",
        patch=4,
        summary="1024 patches by k-means of raw 4x4 patches",
    ),
    Recipe(
        name="vqvae-tiny",
        tokenizer="vqvae/tiny",
        summary="squared error, codebook by moving averages, started from vae/tiny",
        init_from="vae/tiny",
        losses=AutoencoderLosses(pixel="l2", pixel_weight=5.0, codebook=CodebookUpdate(decay=0.97)),
        steps=6000,
        hold=0.3,
        learning_rate=1e-3,
    ),
    Recipe(
        name="vqvae-scenes",
        tokenizer="vqvae/scenes",
        summary="squared error, codebook by moving averages, on drawn scenes (--data scenes/train:30000)",
        losses=AutoencoderLosses(pixel="l2", pixel_weight=5.0, codebook=CodebookUpdate(decay=0.97)),
        steps=1600,
        batch_size=16,
        crop_scale=(1.0, 1.0),
        hold=0.4,
    ),
    Recipe(
        name="vae-tiny",
        tokenizer="vae/tiny",
        summary="squared error and a light KL term, from random weights",
        losses=AutoencoderLosses(pixel="l2", kl_weight=1e-6),
        steps=4000,
        hold=0.3,
    ),
    Recipe(
        name="vqgan-tiny",
        tokenizer="vqgan/tiny",
        summary="absolute error, LPIPS-VGG and PatchGAN, started from vqvae/tiny",
        init_from="vqvae/tiny",
        losses=AutoencoderLosses(
            pixel="l1",
            perceptual_weight=3.0,
            codebook=CodebookUpdate(),
            adversary=Adversary(weight=0.01, start=1000, channels=32, layers=2),
        ),
        steps=6000,
        batch_size=16,
        crop_scale=(0.3, 0.85),
        hold=0.3,
        learning_rate=1e-3,
        ema_decay=0.999,
        precision="bf16",
    ),
    Recipe(
        name="flowmo-tiny",
        tokenizer="flowmo/tiny",
        summary="flow matching and LPIPS-VGG on the one-step estimate (stage 1A), from random weights",
        losses=FlowLosses(perceptual_weight=0.2, uniform_share=0.2, time_mean=1.5, freeze_encoder_after=0.9),
        steps=2800,
        batch_size=16,
        crop_scale=(0.3, 0.85),
        learning_rate=4e-3,
        hold=0.3,
        betas=(0.9, 0.95),
        warmup=30,
        precision="bf16",
    ),
    Recipe(
        name="flowmo-tiny-post",
        tokenizer="flowmo/tiny",
        summary="LPIPS-VGG at the end of a walk of 8 steps (stage 1B), started from the first stage; the encoder stands still",
        init_from="flowmo/tiny",
        losses=FlowLosses(perceptual_weight=1.0, walk_steps=8, recompute=False, uniform_share=0.2, time_mean=1.5, freeze_encoder_after=0.0),
        steps=600,
        crop_scale=(0.3, 0.85),
        learning_rate=1e-3,
        hold=0.3,
        betas=(0.9, 0.95),
        warmup=30,
        precision="bf16",
    ),
    *map(_of_rung, RUNGS),
)


def get_recipe(name: str) -> Recipe | KMeansRecipe:
    """Find a recipe by name, or import one.

    Args:
        name: Name of a row of ``RECIPES``, or ``package.module:NAME`` of a recipe of one's own.

    Raises:
        TokbenchError: If there is none of that name; the nearest are named. Or if what is imported is no recipe.
    """
    if ":" in name:
        recipe = import_class(name, what="NAME")
        if not isinstance(recipe, Recipe | KMeansRecipe):
            raise TokbenchError(
                f"{name!r} is of type {type(recipe).__name__}, not tokbench.train.recipes.Recipe; docs/training.md shows one"
            )
        return recipe
    for recipe in RECIPES:
        if recipe.name == name:
            return recipe
    raise unknown_name("recipe", name, (recipe.name for recipe in RECIPES), hint="See: tokbench train; a recipe of your own is module:NAME")
