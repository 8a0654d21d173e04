"""Wrong tokens: how many, which, and always the same ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import tokbench
from tokbench.bench.networks import FeatureNetwork
from tokbench.feed.predict.judge import Judge
from tokbench.feed.predict.pixels import CEILING, decibels
from tokbench.feed.predict.results import Results
from tokbench.feed.predict.sensitivity import Change, measure_sensitivity
from tokbench.feed.predict.vectors import CodeVectors, code_vectors
from tokbench.records.prediction_record import PredictionProtocol


def means(images: torch.Tensor) -> torch.Tensor:
    return images.float().mean(dim=(2, 3))


JUDGING = FeatureNetwork("means", 3, {"network": "means"}, means)


def test_so_many_codes_are_replaced_by_one_of_the_nearest(encoded, small_vqvae) -> None:
    made = encoded(small_vqvae)
    codes = code_vectors(made)
    change, own = Change(made, codes, 3), made.tokens.codes
    table = codes.tables[0].double().numpy()
    order = np.argsort(((table[:, None] - table[None]) ** 2).sum(axis=2), axis=1)
    assert change.at(0.0) is made.tokens
    wrong_before = torch.zeros(own.shape, dtype=torch.bool)
    for probability in (0.1, 0.5, 1.0):
        found = change.at(probability).codes
        wrong = found != own
        assert bool((wrong_before <= wrong).all())
        assert float(wrong.double().mean()) == pytest.approx(probability, abs=0.05)
        assert all(int(other) in order[int(code), 1:4] for code, other in zip(own[wrong], found[wrong], strict=True))
        wrong_before = wrong
    drawn = {int(list(order[int(code)]).index(int(other))) for code, other in zip(own[wrong], found[wrong], strict=True)}
    assert drawn == {1, 2, 3}
    assert change.words == "replaced by one of the 3 nearest codes, all others where there are fewer"


def test_what_is_drawn_depends_on_the_image_alone(encoded, pictures, small_vqvae) -> None:
    made = encoded(small_vqvae)
    some = type(pictures)(pictures.pixels[[5, 2]], [pictures.ids[5], pictures.ids[2]])
    other = encoded(small_vqvae, some)
    whole, part = (Change(one, code_vectors(one), 100).at(0.3).codes for one in (made, other))
    assert [made.ids[2], made.ids[5]] == list(other.ids)
    assert torch.equal(whole[[2, 5]], part)
    seeded = replace(made, protocol=replace(made.protocol, seed=1))
    assert not torch.equal(Change(seeded, code_vectors(made), 100).at(0.3).codes, whole)


def test_signs_are_flipped_one_by_one(encoded, small_vqvae) -> None:
    made = encoded(small_vqvae)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 4)
    change = Change(made, CodeVectors((signs,)), 100)
    assert change.words == "each sign flipped"
    found = signs[change.at(0.2).codes] != signs[made.tokens.codes]
    assert found.double().mean(dim=(0, 1, 2)).tolist() == pytest.approx([0.2] * 4, abs=0.05)
    assert bool((signs[change.at(1.0).codes] == -signs[made.tokens.codes]).all())


def test_latents_get_noise_of_their_channels_deviation(encoded, small_vae) -> None:
    made = encoded(small_vae)
    change, own = Change(made, None, 100), made.tokens.latents.double()
    moved = (change.at(0.5).latents - own) / own.flatten(0, 1).std(dim=0, correction=0)
    assert float(moved.std()) == pytest.approx(0.5, rel=0.05)
    assert float(moved.mean()) == pytest.approx(0, abs=0.02)
    torch.testing.assert_close((change.at(0.1).latents - own) * 5, change.at(0.5).latents - own, rtol=1e-3, atol=1e-4)


def test_the_curve_and_what_is_lost(encoded) -> None:
    made = encoded(tokbench.load("pixel/rgb"))
    results = Results()
    judge = Judge(JUDGING, made.pixels, made.groups, micro_batch=4)
    points = measure_sensitivity(made, code_vectors(made), judge, PredictionProtocol(), results)
    assert [point.probability for point in points] == [0.0, 0.03, 0.1, 0.3]
    assert points[0].psnr == pytest.approx(CEILING)
    assert points[0].psnr > points[1].psnr > points[2].psnr > points[3].psnr
    wrong = Change(made, code_vectors(made), 100).at(0.1)
    values = wrong.codes.numpy().transpose(0, 2, 1).reshape(made.pixels.shape).astype(float)
    squares = ((values - made.pixels.numpy()) ** 2).mean(axis=(1, 2, 3))
    lost = CEILING - np.minimum(10 * np.log10(255**2 / squares), CEILING)
    assert results.figures["sensitivity_loss"].value == pytest.approx(lost.mean())
    assert list(results.rows["sensitivity_loss"].values()) == pytest.approx(lost.tolist())
    assert points[2].psnr == pytest.approx(CEILING - lost.mean())
    assert points[2].fd is None  # of 24 images
    assert results.figures["sensitivity_kd"].settings["probability"] == 0.1


def test_exact_images_count_as_rounding() -> None:
    image = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    other = image.clone()
    other[1] += 10
    assert decibels(image, other).tolist() == pytest.approx([10 * np.log10(255**2 * 12), 10 * np.log10(255**2 / 100)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probabilities": (0.1, 1.1)}, r"probabilities must be above 0 and at most 1, got \(0.1, 1.1\)"),
        ({"probabilities": (0.2, 0.1)}, "probabilities must rise, and 0.1 be among them"),
        ({"probability": 0.2}, "probabilities must rise, and 0.2 be among them"),
        ({"nearest": 0}, "nearest must be 1 to 262144, got 0"),
        ({"folds": 1}, "folds must be 2 to 100, got 1"),
        ({"edits": 0}, "edits must be 1 to 100000, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PredictionProtocol(**changes)
