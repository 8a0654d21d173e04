"""How diffusion models read latents: rows say it, settings of diffusers say it, and it is undone exactly enough."""

from __future__ import annotations

import pytest
import torch

import tokbench
from tokbench.configs import with_overrides
from tokbench.tokenizers import zoo
from tokbench.tokenizers.library.config import LibraryConfig, settings_of
from tokbench.tokenizers.normalisation import Normalisation, from_settings


def test_mean_scale_and_deviation_in_the_order_of_pipelines() -> None:
    latents = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    one = Normalisation(mean=(0.5, -1.0), std=(2.0, 4.0), scale=3.0)
    assert one.applied(latents).tolist() == [[0.75, -0.75], [0.0, 3.0]]
    torch.testing.assert_close(one.undone(one.applied(latents)), latents)
    assert one.fits(2)
    assert not one.fits(3)
    assert Normalisation(scale=0.5).fits(7)


@pytest.mark.parametrize(
    "given", [{"mean": (float("nan"),)}, {"std": (0.0,)}, {"scale": -1.0}, {"std": ()}, {"mean": (0.0,) * 2, "std": (1.0,) * 3}]
)
def test_what_is_none_is_refused(given: dict) -> None:
    with pytest.raises(ValueError, match="a normalisation has"):
        Normalisation(**given)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, None),
        ({"scaling_factor": None, "shift_factor": None}, None),
        ({"scaling_factor": 0.18215}, Normalisation(scale=0.18215)),
        ({"scaling_factor": 0.3611, "shift_factor": 0.1159}, Normalisation((0.1159,), scale=0.3611)),
        ({"scaling_factor": 0.5, "latents_mean": [1, 2.5], "latents_std": [3.0, 4.0]}, Normalisation((1.0, 2.5), (3.0, 4.0), 0.5)),
    ],
)
def test_settings_of_diffusers(values: dict, expected: Normalisation | None) -> None:
    assert from_settings(values) == expected


@pytest.mark.parametrize("values", [{"scaling_factor": "1"}, {"scaling_factor": [1.0, 2.0]}, {"latents_mean": [True]}])
def test_settings_that_are_no_numbers_are_refused(values: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        from_settings(values)


@pytest.mark.parametrize(("mean", "expected"), [([0.5] * 4, Normalisation((0.5,) * 4)), ([0.5] * 3, None)])
def test_of_other_channels_than_the_settings_have(mean: list[float], expected: Normalisation | None) -> None:
    """Defaults of the library may be those of the published model alone."""
    config = zoo.resolve("diffusers/kl")[1].config
    assert isinstance(config, LibraryConfig)
    assert with_overrides(config, {"settings": settings_of(config.values | {"latents_mean": mean})}).normalisation == expected


def test_numbers_that_a_folder_gets_wrong_are_refused() -> None:
    config = zoo.resolve("diffusers/kl")[1].config
    assert isinstance(config, LibraryConfig)
    with pytest.raises(tokbench.TokbenchError, match="scaling_factor must be one number"):
        with_overrides(config, {"settings": settings_of(config.values | {"scaling_factor": [1.0, 2.0]})})


def test_every_row_of_continuous_latents_fits_its_own() -> None:
    found = {}
    for name in zoo.names():
        variant = zoo.resolve(name)[1]
        layout = variant.config.layout(variant.image_size, variant.image_size)
        if variant.normalisation is not None:
            assert not isinstance(variant.config, LibraryConfig), f"{name} says it in its settings"
            assert variant.normalisation.fits(layout.channels)
            found[name] = variant.normalisation
    assert found["vae/sd"] == Normalisation(scale=0.18215)
    assert found["vae/flux"] == Normalisation((0.1159,), scale=0.3611)
    assert found["vae/sd3"] == Normalisation((0.0609,), scale=1.5305)


def test_tokens_that_are_scaled_already_are_not_scaled_again() -> None:
    model = tokbench.load("vae/tiny")
    assert model.normalisation is None
    model.normalisation = Normalisation(scale=0.5)
    assert model.normalisation == Normalisation(scale=0.5)
    scaled = tokbench.load("vae/tiny", config={"latent_scale": 0.5})
    scaled.normalisation = Normalisation(scale=0.5)
    assert scaled.normalisation is None
