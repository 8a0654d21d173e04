"""Recipes are consistent data."""

import itertools
from dataclasses import replace

import pytest

from tokbench.errors import TokbenchError
from tokbench.tokenizers.zoo import families, resolve
from tokbench.train.recipes import RECIPES, Recipe, get_recipe
from tokbench.train.start import adjusted


def test_every_embedded_weight_has_its_recipe():
    trained = {f"{family.name}/{variant.name}" for family in families().values() for variant in family.variants if variant.weights}
    assert trained == {recipe.tokenizer for recipe in RECIPES}


def test_what_a_recipe_trains_with_is_what_its_variant_says():
    for recipe in RECIPES:
        trained_with = resolve(recipe.tokenizer)[1].trained_with
        data = "scenes/train:30000" if recipe.tokenizer.endswith("/scenes") else "photos/train"
        assert f"data:{data}" in trained_with
        judges = {name for name in trained_with if not name.startswith("data:")}
        perceptual = isinstance(recipe, Recipe) and recipe.losses.perceptual_weight > 0
        assert judges == ({recipe.losses.perceptual_network} if perceptual else set())
        assert "efflite0" not in trained_with


def test_learning_rate_warms_up_holds_and_falls_to_zero():
    recipe = replace(get_recipe("vqvae-tiny"), steps=1000, warmup=100, hold=0.5)
    factors = [recipe.learning_rate_factor(step) for step in range(1000)]
    assert factors[0] == 0.01
    assert factors[99:500] == [1.0] * 401
    assert factors[750] == pytest.approx(0.5)
    assert factors[999] < 1e-5
    assert all(a >= b for a, b in itertools.pairwise(factors[500:]))
    with pytest.raises(ValueError, match="hold must be"):
        replace(recipe, hold=1.0)


def test_adjusting_checks_its_numbers():
    assert adjusted(get_recipe("vqvae-tiny"), steps=3, batch_size=2).batch_size == 2
    with pytest.raises(TokbenchError, match="--steps must be at least 1, got -1"):
        adjusted(get_recipe("vqvae-tiny"), steps=-1)
    with pytest.raises(TokbenchError, match="no batches"):
        adjusted(get_recipe("pixel-palette-512"), batch_size=4)
