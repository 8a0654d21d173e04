"""What lies midway, held to angles and loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tokbench.feed.predict.interpolation import midway, nearest_of_others, on_the_sphere, products_of
from tokbench.feed.predict.results import NotApplicable
from tokbench.feed.predict.vectors import code_vectors, vectors_of


def slow_slerp(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Spherical interpolation at one half, by its angle."""
    angle = math.acos(float(one @ other) / math.sqrt(float(one @ one) * float(other @ other)))
    weight = math.sin(angle / 2) / math.sin(angle)
    return weight * one + weight * other


def slow_partners(values: np.ndarray, groups: tuple[str, ...]) -> list[int]:
    found = []
    for place, own in enumerate(values):
        cosines = {
            other: float(own @ there) / math.sqrt(float(own @ own) * float(there @ there))
            for other, there in enumerate(values)
            if groups[other] != groups[place]
        }
        found.append(max(cosines, key=lambda other: (cosines[other], -other)))
    return found


def test_partners_are_the_nearest_of_other_groups(encoded, small_vae) -> None:
    made = encoded(small_vae)
    vectors = vectors_of(made, None)
    found = nearest_of_others(products_of(vectors), made.groups)
    assert found.tolist() == slow_partners(vectors.flatten(1).double().numpy(), made.groups)


def test_products_are_sums_over_all_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokbench.feed.predict.interpolation.BLOCK", 5)
    vectors = torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(0))
    flat = vectors.flatten(1).double().numpy()
    np.testing.assert_allclose(products_of(vectors), [[sum(a * b) for b in flat] for a in flat], rtol=1e-12)


def test_images_of_one_group_have_no_neighbours() -> None:
    with pytest.raises(NotApplicable, match=r"^all images are of one group, and neighbours are those of others$"):
        nearest_of_others(np.eye(3), ("a", "a", "a"))


def test_a_repeated_image_is_no_neighbour_of_itself(encoded, pictures, small_vae) -> None:
    pixels = pictures.pixels.copy()
    pixels[20] = pixels[3]
    made = encoded(small_vae, type(pictures)(pixels))
    assert made.groups[20] == made.groups[21] == made.groups[2] == made.groups[3] == "01"
    partners = nearest_of_others(products_of(vectors_of(made, None)), made.groups)
    assert partners[3] not in (2, 3, 20, 21)
    assert partners[20] == partners[3]


def test_an_image_without_length_is_near_to_none() -> None:
    products = np.array([[0.0, 0.0, 0.0], [0.0, 1.0, -1.0], [0.0, -1.0, 1.0]])
    assert nearest_of_others(products, ("a", "b", "c")).tolist() == [1, 0, 0]


def test_latents_meet_on_the_sphere(encoded, small_vae) -> None:
    made = encoded(small_vae)
    partners = nearest_of_others(products_of(vectors_of(made, None)), made.groups)
    between = midway(made, None, partners)
    own = made.tokens.latents.double().flatten(1).numpy()
    expected = [slow_slerp(own[place], own[partner]) for place, partner in enumerate(partners)]
    np.testing.assert_allclose(between.latents.flatten(1).numpy(), expected, rtol=2e-5, atol=2e-6)
    assert between.latents.dtype == made.tokens.latents.dtype


def test_the_same_and_opposite_points() -> None:
    one = torch.tensor([[[3.0, 4.0]], [[1.0, 0.0]], [[0.0, 0.0]]], dtype=torch.float64)
    other = torch.tensor([[[3.0, 4.0]], [[-1.0, 0.0]], [[0.0, 0.0]]], dtype=torch.float64)
    assert torch.allclose(on_the_sphere(one, other), torch.tensor([[[3.0, 4.0]], [[0.0, 0.0]], [[0.0, 0.0]]], dtype=torch.float64))


def test_codes_go_to_the_code_nearest_to_the_middle(encoded, small_vqvae) -> None:
    made = encoded(small_vqvae)
    codes = code_vectors(made)
    partners = nearest_of_others(products_of(vectors_of(made, codes)), made.groups)
    between = midway(made, codes, partners)
    table = codes.tables[0].double().numpy()
    own = made.tokens.codes[..., 0].numpy()
    changed = 0
    for place, partner in enumerate(partners):
        for position in range(own.shape[1]):
            middle = (table[own[place, position]] + table[own[partner, position]]) / 2
            far = ((table - middle) ** 2).sum(axis=1)
            found = int(between.codes[place, position, 0])
            assert far[found] <= far.min() * (1 + 1e-4) + 1e-9
            changed += found != own[place, position]
    assert changed
    alike = midway(made, codes, np.arange(len(made)))
    assert torch.equal(alike.codes, made.tokens.codes)
