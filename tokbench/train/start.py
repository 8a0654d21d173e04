"""One way in for every kind of recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.train.kmeans import fit
from tokbench.train.loop import train
from tokbench.train.options import TrainOptions, TrainResult
from tokbench.train.recipes import KMeansRecipe, Recipe


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


def adjusted(recipe: Recipe | KMeansRecipe, *, steps: int | None = None, batch_size: int | None = None) -> Recipe | KMeansRecipe:
    """Copy a recipe with another length or batch size.

    Raises:
        TokbenchError: If a number is not positive, or the recipe has no batches.
    """
    for name, value in (("--steps", steps), ("--batch-size", batch_size)):
        if value is not None and value < 1:
            raise TokbenchError(f"{name} must be at least 1, got {value}")
    if isinstance(recipe, KMeansRecipe):
        if batch_size is not None:
            raise TokbenchError(f"{recipe.name} has no batches; leave --batch-size out")
        return replace(recipe, steps=steps or recipe.steps)
    return replace(recipe, steps=steps or recipe.steps, batch_size=batch_size or recipe.batch_size)
