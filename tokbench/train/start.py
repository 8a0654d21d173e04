"""One way in for every kind of recipe, and one to change any setting of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tokbench.configs import flat, plain, with_overrides
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError, unknown_name
from tokbench.tokenizers.zoo import resolve
from tokbench.train.kmeans import fit
from tokbench.train.loop import train
from tokbench.train.options import TrainOptions, TrainResult
from tokbench.train.recipes import KMeansRecipe, Recipe

CONFIG = "config."
"""Begins a key that is of the tokenizer's configuration although the recipe has one of that name too."""


def train_recipe(
    recipe: Recipe | KMeansRecipe,
    source: ImageSource,
    options: TrainOptions,
    *,
    progress: Callable[[int, int, dict[str, float]], None] = lambda done, total, figures: None,
) -> TrainResult:
    """Train by a recipe of any kind; see ``tokbench.train.loop.train`` and ``tokbench.train.kmeans.fit``."""
    if isinstance(recipe, KMeansRecipe):
        return fit(recipe, source, options, progress=progress)
    return train(recipe, source, options, progress=progress)


def adjusted(
    recipe: Recipe | KMeansRecipe, settings: Mapping[str, object] | None = None, *, steps: int | None = None, batch_size: int | None = None
) -> Recipe | KMeansRecipe:
    """Copy a recipe with other settings.

    Args:
        recipe: To start from.
        settings: New values by dotted name: of the recipe (``learning_rate``), its losses (``losses.perceptual_weight``) or the
            tokenizer's configuration (``quantizer``, ``quantizer.levels``, ``autoencoder.channels``). ``config.`` before a name
            says that it is of the configuration.
        steps: Its length; None keeps the recipe's.
        batch_size: Images a step; None keeps the recipe's.

    Raises:
        TokbenchError: If a setting is unknown, does not fit or cannot be changed, a number is not positive, or there are no batches.
    """
    for name, number in (("--steps", steps), ("--batch-size", batch_size)):
        if number is not None and number < 1:
            raise TokbenchError(f"{name} must be at least 1, got {number}")
    if isinstance(recipe, KMeansRecipe):
        if batch_size is not None:
            raise TokbenchError(f"{recipe.name} has no batches; leave --batch-size out")
        return replace(_changed(recipe, dict(settings or {})), steps=steps or recipe.steps)
    own = {field: value for field, value in plain(recipe).items() if field != "config"}
    config = recipe.config or resolve(recipe.tokenizer)[1].config
    of_recipe: dict[str, object] = {}
    of_config: dict[str, object] = {}
    for key, value in (settings or {}).items():
        if key.startswith(CONFIG):
            of_config[key.removeprefix(CONFIG)] = value
        elif key.partition(".")[0] in own:
            of_recipe[key] = value
        elif key.partition(".")[0] in plain(config):
            of_config[key] = value
        else:
            raise unknown_name("setting", key, [*own, *flat(own), *flat(plain(config))], hint="docs/training.md lists what can be set")
    changed = _changed(recipe, of_recipe)
    if of_config:
        changed = replace(changed, config=with_overrides(config, of_config))
    return replace(changed, steps=steps or changed.steps, batch_size=batch_size or changed.batch_size)


def _changed(recipe: Any, settings: Mapping[str, object]) -> Any:
    if fixed := [key for key in settings if key in ("name", "tokenizer", "tensor", "summary")]:
        raise TokbenchError(f"{fixed[0]} of {recipe.name} cannot be set; write a recipe of your own, and give it as module:NAME")
    return with_overrides(recipe, settings)
