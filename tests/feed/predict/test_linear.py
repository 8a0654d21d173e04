"""The linear probe, held to regressions solved one by one."""

from __future__ import annotations

import numpy as np
import pytest

from tokbench.feed.predict.linear import PENALTIES, classified, folds_of, measure_linear, predicted
from tokbench.feed.predict.results import NotApplicable, Results

RNG = np.random.default_rng(0)


def ridge(known: np.ndarray, wanted: np.ndarray, asked: np.ndarray, penalty: float) -> np.ndarray:
    """Weights of features, and an intercept that is not penalized."""
    features = np.c_[known, np.ones(len(known))]
    penalties = np.diag([penalty] * known.shape[1] + [0.0])
    weights = np.linalg.solve(features.T @ features + penalties, features.T @ wanted)
    return np.c_[asked, np.ones(len(asked))] @ weights


def test_predictions_are_those_of_a_regression_with_the_penalty_that_leaving_one_out_chooses() -> None:
    for features, noise in ((4, 0.1), (6, 3.0)):
        known, asked = RNG.normal(size=(30, features)) + 5, RNG.normal(size=(7, features)) + 5
        wanted = known @ RNG.normal(size=(features, 3)) + noise * RNG.normal(size=(30, 3))
        centred = known - known.mean(axis=0)
        scale = (centred**2).sum() / len(known)
        errors = []
        for penalty in PENALTIES:
            left = [
                wanted[i] - ridge(np.delete(known, i, 0), np.delete(wanted, i, 0), known[i : i + 1], penalty * scale)[0]
                for i in range(len(known))
            ]
            errors.append((np.array(left) ** 2).mean())
        best = PENALTIES[int(np.argmin(errors))] * scale
        np.testing.assert_allclose(predicted(known @ known.T, asked @ known.T, wanted), ridge(known, wanted, asked, best), rtol=1e-6)


def test_classes_that_lie_apart_are_found_and_chance_is_not_beaten_without_any() -> None:
    classes, names = np.arange(120) % 3, [f"{place:03d}" for place in range(120)]
    apart = np.eye(3)[classes] * 4 + RNG.normal(size=(120, 3))
    assert (classified(apart @ apart.T, classes, folds_of(names, 5)) == classes).mean() > 0.95
    nothing = RNG.normal(size=(120, 8))
    assert (classified(nothing @ nothing.T, classes, folds_of(names, 5)) == classes).mean() < 0.5


def test_no_image_is_classified_by_one_of_its_group() -> None:
    groups = [f"{place // 2:02d}" for place in range(80)]
    classes = RNG.integers(2, size=40).repeat(2)  # that of the group, and nothing else is alike
    values = RNG.normal(size=(40, 200)).repeat(2, axis=0)
    products = values @ values.T
    folds = folds_of(groups, 5)
    assert all(len(set(folds[np.array(groups) == name])) == 1 for name in groups)
    assert (classified(products, classes, folds) == classes).mean() < 0.75
    assert (classified(products, classes, np.arange(80) % 2) == classes).mean() == 1


def test_the_figure_and_its_chance() -> None:
    labels = [None, *[0, 1, 1, 1] * 5]
    ids, groups = [f"{place}" for place in range(21)], [f"{place // 3}" for place in range(21)]
    values = np.c_[np.array([0 if label is None else label for label in labels]) * 2.0 - 1, RNG.normal(size=21) * 0.01]
    results = Results()
    measure_linear(values @ values.T, labels, ids, groups, folds=5, results=results)
    assert results.figures["linear_accuracy"].value == 1
    chance = results.figures["linear_chance"]
    assert chance.value == 0.75
    assert chance.interval.low < 0.75 < chance.interval.high
    assert set(results.rows["linear_accuracy"]) == set(ids[1:])
    assert results.figures["linear_accuracy"].settings["classes"] == 2


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([], "the images have no classes; give labelled ones, or --labels folder where folders name them"),
        ([None] * 6, "the images have no classes"),
        ([3] * 6, "all images are of one class"),
        ([0, 1, 0, 1, None, None], "4 groups of images; 5 parts need at least as many"),
    ],
)
def test_what_cannot_be_classified(labels: list, reason: str) -> None:
    with pytest.raises(NotApplicable, match=reason):
        measure_linear(np.eye(6), labels, list("abcdef"), list("abcdef"), folds=5, results=Results())
