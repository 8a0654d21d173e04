"""The stages of a language model as rows of data: what is learned, from which tasks, how long; no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from tokbench.configs import UNLESS_DEFAULT, with_overrides
from tokbench.data.scenes.edits import EDIT_KINDS, EditKind
from tokbench.errors import TokbenchError, unknown_name
from tokbench.plugins import import_class

Stage = Literal["pretrain", "quality", "dpo"]
"""What a stage is made by: ``transformers.Trainer``, ``trl.SFTTrainer`` or ``trl.DPOTrainer``."""


@dataclass(frozen=True)
class NetworkSizes:
    """A small Llama, where a stage starts from scratch.

    Args:
        layers: Blocks.
        hidden_size: Width.
        heads: Attention heads.
        intermediate_size: Width within the feed-forward part of a block.
        positions: Ids of the longest sequence.

    Raises:
        ValueError: If a number is not positive, or the heads do not divide the width into even parts.
    """

    layers: int = 4
    hidden_size: int = 192
    heads: int = 6
    intermediate_size: int = 512
    positions: int = 2048

    def __post_init__(self) -> None:
        if min(self.layers, self.hidden_size, self.heads, self.intermediate_size, self.positions) < 1:
            raise ValueError(f"sizes of a network must be positive, got {self}")
        if self.hidden_size % (2 * self.heads):
            raise ValueError(f"hidden_size must be a multiple of twice the heads, got {self.hidden_size} and {self.heads}")


@dataclass(frozen=True)
class Shares:
    """How often each task comes, in proportion to the others.

    Raises:
        ValueError: If a share is negative, or all are 0.
    """

    generate: float = 1.0
    edit: float = 0.0
    describe: float = 0.0
    complete: float = 0.0
    text: float = 0.0

    def __post_init__(self) -> None:
        values = [getattr(self, item.name) for item in fields(self)]
        if not all(0 <= value < float("inf") for value in values) or not any(values):
            raise ValueError(f"shares of tasks are not negative and not all 0, got {self}")

    @property
    def chosen(self) -> list[Any]:
        """Names of the tasks that have a share."""
        return [item.name for item in fields(self) if getattr(self, item.name) > 0]


@dataclass(frozen=True)
class Words:
    """What is done to the words of an image, as far as web data do it too.

    Args:
        drop: Share of sequences that draw an image without words or instruction, which classifier-free guidance needs.
        wrong: Share of images with the words of another one.
        vague: Share of images with some of their words only.

    Raises:
        ValueError: If one is no share.
    """

    drop: float = 0.1
    wrong: float = 0.0
    vague: float = 0.0

    def __post_init__(self) -> None:
        if not all(0 <= getattr(self, item.name) <= 1 for item in fields(self)):
            raise ValueError(f"drop, wrong and vague are shares of 0 to 1, got {self}")


@dataclass(frozen=True)
class Filter:
    """Which images a stage keeps, by what their reconstruction shows.

    Args:
        score: Least reward of words and reconstruction; with the reader of scenes, the share of attributes that it reads right.
        psnr: Least PSNR of the reconstruction in dB.

    Raises:
        ValueError: If one is NaN.
    """

    score: float = 1.0
    psnr: float = 0.0

    def __post_init__(self) -> None:
        if self.score != self.score or self.psnr != self.psnr:
            raise ValueError(f"score and psnr must be numbers, got {self}")


@dataclass(frozen=True)
class Preferences:
    """How pairs of a better and a worse image are made from a model's own samples, and learned from.

    Args:
        prompts: Words that are sampled.
        samples: Images for each.
        beta: How strongly the model is held to the reference: beta of DPO.
        margin: A pair is kept if its rewards differ by more than this.
        temperature: What logits are divided by when samples are drawn.
        top_k: Codes that a sample chooses among; 0 takes all.
        guidance: How far samples are led away from wordless ones; None as the model says.
        imitation: Weight of the better image's own likelihood beside the loss of DPO (``sft`` of ``trl``), which keeps it from falling.

    Raises:
        ValueError: If there are no prompts, fewer than 2 samples, or a number is out of range.
    """

    prompts: int = 512
    samples: int = 4
    beta: float = 0.1
    margin: float = 0.0
    temperature: float = 1.0
    top_k: int = 0
    imitation: float = 0.0
    guidance: float | None = field(default=1.0, metadata=UNLESS_DEFAULT)

    def __post_init__(self) -> None:
        if self.guidance is not None and not math.isfinite(self.guidance):
            raise ValueError(f"guidance is a finite number, got {self.guidance}")
        if self.prompts < 1 or self.samples < 2:
            raise ValueError(f"there must be a prompt and two samples at least, got {self.prompts} and {self.samples}")
        if not (self.beta > 0 and self.margin >= 0 and self.temperature > 0 and self.top_k >= 0 and self.imitation >= 0):
            raise ValueError(f"beta and temperature are above 0, margin, top_k and imitation not below, got {self}")
        if not all(map(math.isfinite, (self.beta, self.margin, self.temperature, self.imitation))):
            raise ValueError(f"beta, margin, temperature and imitation are finite, got {self}")


@dataclass(frozen=True)
class StageRecipe:
    """Everything that determines a stage but the data, the model it starts from and the machine.

    Args:
        name: What ``tokbench lm train`` takes.
        stage: Which of the three.
        summary: One line.
        tasks: Shares of the tasks.
        words: What is done to words.
        keep: Which images are kept; None keeps all.
        preferences: How pairs are made; read by ``dpo`` alone.
        loss: Whether loss falls on the ``answer`` of a task or on ``all`` its ids.
        network: Sizes, where it starts from scratch.
        deepen: Blocks that a model which it goes on from is made to have, see ``tokbench.lm.deepen``; None leaves it as deep as it is.
        low_quality: Share of drawn scenes that are rendered badly.
        images: Scenes that are drawn for it, where the data are scenes.
        edits: Pairs for editing among them.
        edit_kinds: Kinds of edit to draw from; one that is named twice comes twice as often.
        halves: Images that are encoded once more with their lower half hidden, for completions.
        steps: Optimiser steps.
        batch_size: Sequences a step, over all processes; pairs for ``dpo``.
        optimizer: ``adamw`` of torch, or ``muon``, which moves the weights of hidden layers by ``tokbench.train.muon`` and the others by
            AdamW.
        learning_rate: Peak, after the warm-up.
        warmup: Steps of linear warm-up.
        schedule: How the learning rate falls then.
        weight_decay: Weight decay of AdamW, on matrices alone.
        betas: Betas of AdamW.
        grad_clip: Largest gradient norm.
        precision: ``bf16`` runs the network under autocast.
        seed: Seed of everything random.
        guidance: How far images drawn from words are led away from wordless ones where nobody says, see ``SamplingOptions``; it goes into
            the model. None leaves what the stage before said.

    Raises:
        ValueError: If a number is out of range.
    """

    name: str
    stage: Stage
    summary: str
    tasks: Shares = field(default_factory=Shares)
    words: Words = field(default_factory=Words)
    keep: Filter | None = None
    preferences: Preferences = field(default_factory=Preferences)
    loss: Literal["answer", "all"] = "answer"
    network: NetworkSizes = field(default_factory=NetworkSizes)
    deepen: int | None = field(default=None, metadata=UNLESS_DEFAULT)
    low_quality: float = 0.0
    images: int = 20_000
    edits: int = 5_000
    edit_kinds: tuple[EditKind, ...] = field(default=EDIT_KINDS, metadata=UNLESS_DEFAULT)
    halves: int = 5_000
    steps: int = 2000
    batch_size: int = 32
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-3
    warmup: int = 100
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.95)
    grad_clip: float = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0
    guidance: float | None = field(default=None, metadata=UNLESS_DEFAULT)

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size, self.images, self.halves) < 1:
            given = f"{self.steps}, {self.batch_size}, {self.images} and {self.halves}"
            raise ValueError(f"steps, batch_size, images and halves must be positive, got {given}")
        if not self.learning_rate > 0 or min(self.warmup, self.edits, self.seed) < 0:
            raise ValueError(f"learning_rate is above 0; warmup, edits and seed are not negative, got {self.learning_rate}, {self.warmup}")
        if not (math.isfinite(self.learning_rate) and 0 <= self.weight_decay < math.inf and 0 <= self.grad_clip < math.inf):
            given = f"{self.learning_rate}, {self.weight_decay} and {self.grad_clip}"
            raise ValueError(f"learning_rate, weight_decay and grad_clip are finite, the last two not negative, got {given}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are at least 0 and below 1, got {self.betas}")
        if self.seed >= 2**32:
            raise ValueError(f"seed is below 2^32, got {self.seed}")
        if not 0 <= self.low_quality <= 1:
            raise ValueError(f"low_quality is a share of 0 to 1, got {self.low_quality}")
        if self.deepen is not None and self.deepen < 1:
            raise ValueError(f"deepen is a number of blocks from 1, got {self.deepen}")
        if not self.edit_kinds or not set(self.edit_kinds) <= set(EDIT_KINDS):
            raise ValueError(f"edit_kinds are some of {', '.join(EDIT_KINDS)}, got {self.edit_kinds}")
        if self.guidance is not None and not math.isfinite(self.guidance):
            raise ValueError(f"guidance is a finite number, got {self.guidance}")


MOSTLY_DRAWN = Shares(generate=0.5, edit=0.26, describe=0.13, complete=0.06, text=0.05)
MORE_EDITED = Shares(generate=0.4, edit=0.45, describe=0.1, complete=0.03, text=0.02)
HARDER_EDITS: tuple[EditKind, ...] = (*EDIT_KINDS, "resize", "move", "swap", "swap", "like")
"""Kinds of edit by how hard they are to learn: those that must draw a thing anew, as it was, come more often."""

RECIPES: tuple[StageRecipe, ...] = (
    StageRecipe(
        name="pretrain",
        stage="pretrain",
        summary="all tasks from scratch, with some wrong and vague words and bad renderings, as web data have them",
        tasks=MOSTLY_DRAWN,
        words=Words(drop=0.1, wrong=0.05, vague=0.1),
        low_quality=0.2,
        images=30_000,
        edits=15_000,
        halves=4_000,
        steps=6000,
        optimizer="muon",
        learning_rate=2e-3,
        warmup=200,
        guidance=3.0,
    ),
    StageRecipe(
        name="deepen",
        stage="pretrain",
        summary="a model of pretrain made twice as deep by blocks that change nothing at first, and taught on, with more edits",
        tasks=MORE_EDITED,
        words=Words(drop=0.1, wrong=0.05, vague=0.1),
        deepen=8,
        low_quality=0.1,
        images=20_000,
        edits=24_000,
        edit_kinds=HARDER_EDITS,
        halves=4_000,
        steps=2600,
        optimizer="muon",
        learning_rate=2e-3,
        warmup=100,
        seed=2,
    ),
    StageRecipe(
        name="quality",
        stage="quality",
        summary="all tasks on images whose reconstruction still shows what was asked, with exact words",
        tasks=Shares(generate=0.5, edit=0.35, describe=0.1, complete=0.03, text=0.02),
        words=Words(drop=0.1),
        keep=Filter(score=1.0, psnr=25.0),
        images=12_000,
        edits=12_000,
        edit_kinds=HARDER_EDITS,
        halves=2_000,
        steps=1200,
        optimizer="muon",
        learning_rate=1e-3,
        warmup=20,
        seed=1,
        guidance=2.0,
    ),
    StageRecipe(
        name="dpo",
        stage="dpo",
        summary="pairs of a model's own images, the better one by the score of what they show, with a frozen reference",
        preferences=Preferences(prompts=1500, samples=6, imitation=0.25, guidance=None),
        steps=60,
        batch_size=16,
        learning_rate=5e-6,
        warmup=10,
        schedule="constant",
        weight_decay=0.0,
    ),
)


def get_recipe(name: str) -> StageRecipe:
    """Find a recipe by name, or import one.

    Args:
        name: Name of a row of ``RECIPES``, or ``package.module:NAME`` of a recipe of one's own.

    Raises:
        TokbenchError: If there is none of that name; the nearest are named. Or if what is imported is no recipe.
    """
    if ":" in name:
        recipe = import_class(name, what="NAME")
        if not isinstance(recipe, StageRecipe):
            raise TokbenchError(f"{name!r} is of type {type(recipe).__name__}, not tokbench.lm.recipes.StageRecipe; docs/lm.md shows one")
        return recipe
    for row in RECIPES:
        if row.name == name:
            return row
    raise unknown_name("stage", name, (row.name for row in RECIPES), hint="See: tokbench lm train; a recipe of your own is module:NAME")


def adjusted(
    recipe: StageRecipe, settings: Mapping[str, object] | None = None, *, steps: int | None = None, batch_size: int | None = None
) -> StageRecipe:
    """Copy a recipe with other settings.

    Args:
        recipe: To start from.
        settings: New values by dotted name, such as ``learning_rate`` or ``tasks.edit``.
        steps: Its length; None keeps the recipe's.
        batch_size: Sequences a step; None keeps the recipe's.

    Raises:
        TokbenchError: If a setting is unknown, does not fit or cannot be changed, or a number is not positive.
    """
    for name, number in (("--steps", steps), ("--batch-size", batch_size)):
        if number is not None and number < 1:
            raise TokbenchError(f"{name} must be at least 1, got {number}")
    settings = dict(settings or {})
    if fixed := [key for key in settings if key in ("name", "stage", "summary")]:
        raise TokbenchError(f"{fixed[0]} of {recipe.name} cannot be set; write a recipe of your own, and give it as module:NAME")
    changed: StageRecipe = with_overrides(recipe, settings)
    return replace(changed, steps=steps or changed.steps, batch_size=batch_size or changed.batch_size)
