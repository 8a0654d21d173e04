"""The rungs of the quantizer ladder: alike but for the quantizer, at ten bits a position, and all of each one learns."""

import math
from dataclasses import replace

import pytest
import torch

from tokbench.plugins import import_class
from tokbench.tokenizers.zoo import resolve
from tokbench.train.autoencoder import AutoencoderObjective
from tokbench.train.ladder import LADDER_AUTOENCODER, RUNGS, Rung
from tokbench.train.recipes import AutoencoderLosses, Recipe, get_recipe

WITH_CODES = [rung for rung in RUNGS if not rung.continuous]


def recipe_of(rung: Rung) -> Recipe:
    recipe = get_recipe(f"ladder-{rung.name}")
    assert isinstance(recipe, Recipe)
    return recipe


def test_recipes_differ_in_the_quantizer_and_its_own_terms_alone():
    own = {"name": "", "tokenizer": "", "summary": "", "config": None}
    alike = AutoencoderLosses(pixel="l2", pixel_weight=5.0)
    recipes = [recipe_of(rung) for rung in RUNGS]
    assert len({replace(recipe, losses=alike, **own) for recipe in recipes}) == 1
    assert all(replace(recipe.losses, kl_weight=0.0, codebook=None) == alike for recipe in recipes)
    assert [recipe.name for recipe in recipes if recipe.losses.codebook is not None] == ["ladder-vq-ema"]
    assert [recipe.name for recipe in recipes if recipe.losses.kl_weight] == ["ladder-kl"]
    assert {recipe.steps for recipe in recipes} == {1500}


@pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: rung.name)
def test_networks_are_equal_and_weights_small(rung):
    assert replace(rung.config.autoencoder, double_z=False) == LADDER_AUTOENCODER
    with torch.device("meta"):
        model = import_class(resolve(rung.tokenizer)[0].model)(rung.config)
    assert 2 * sum(tensor.numel() for tensor in model.state_dict().values()) < 1_500_000  # as they are kept, in half precision


@pytest.mark.parametrize("rung", WITH_CODES, ids=lambda rung: rung.name)
def test_a_position_has_ten_bits_or_next_to_it(rung):
    layout = rung.config.layout(64, 64)
    assert layout.positions == 256
    assert sum(map(math.log2, layout.codebook_sizes)) == pytest.approx(10, abs=0.05)


@pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: rung.name)
def test_one_step_moves_all_that_learns(rung):
    torch.manual_seed(0)
    recipe = recipe_of(rung)
    objective = AutoencoderObjective(import_class(resolve(rung.tokenizer)[0].model)(rung.config).train(), recipe, None)
    before = {name: value.clone() for name, value in objective.model.state_dict().items()}
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1  # 1,024 vectors, to start 1,024 rows from
    figures = objective.step(images, 0, torch.Generator().manual_seed(0))
    assert all(map(math.isfinite, figures.values()))
    still = {name for name, value in objective.model.state_dict().items() if torch.equal(value, before[name])}
    frozen = {name for name in still if name.endswith(".k.bias")}  # attention does not depend on it
    assert still - frozen == ({"quantize.frozen_codebook"} if rung.name == "simvq" else set())
