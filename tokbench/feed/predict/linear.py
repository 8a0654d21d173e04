"""Linear probe: how well a linear map of the tokens finds what an image is of.

Least squares with a penalty on the weights, from the latents or the vectors of the codes of all positions to one number a class. Every image is
classified by what was learned of the images of other groups. The penalty is the one of a few by which the images learned of, each left out in
turn, are best predicted. Nothing is trained step by step, so there is no seed and no rate to choose.

Source: linear probing of tokenizers is that of TiTok (Yu et al. 2024) and GigaTok (Xiong et al. 2025). A penalty chosen by leaving one out is
the one that Golub, Heath and Wahba 1979 start from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg
from jaxtyping import Float, Int64
from numpy import ndarray

from tokbench.counting import counted
from tokbench.feed.predict.results import NotApplicable, Results
from tokbench.records.intervals import group_jackknife

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1)
"""Penalties that are tried, as shares of the mean square of an image's values."""


def measure_linear(
    products: Float[ndarray, "n n"],
    labels: Sequence[int | None],
    ids: Sequence[str],
    groups: Sequence[str],
    *,
    folds: int,
    results: Results,
) -> None:
    """Add the share of images that are classified right, and that of the most frequent class.

    Args:
        products: Scalar products of the values of every two images.
        labels: Class of each; those of None are left out. Empty if there are none.
        ids: Ids of the images.
        groups: What each is a sample of.
        folds: Parts that groups are dealt to.
        results: Where figures go.

    Raises:
        NotApplicable: If there are no classes, only one, or fewer groups than folds.
    """
    check_labels(labels)
    kept = [place for place, label in enumerate(labels) if label is not None]
    classes, own = np.unique([labels[place] for place in kept], return_inverse=True)
    names = [groups[place] for place in kept]
    if len(classes) < 2:
        raise NotApplicable("all images are of one class")
    if len(set(names)) < folds:
        raise NotApplicable(f"{counted(len(set(names)), 'group')} of images; {folds} parts need at least as many")
    right = classified(products[np.ix_(kept, kept)], own, folds_of(names, folds)) == own
    about = {"classes": len(classes), "folds": folds, "map": "ridge regression to one number a class, penalty by leaving one out"}
    results.per_image("linear_accuracy", right.astype(np.float64), [ids[place] for place in kept], names, **about)

    def most(keep: np.ndarray) -> float:
        return float(np.bincount(own[keep]).max() / keep.sum())

    chance = most(np.ones(len(own), dtype=bool))
    results.of_set("linear_chance", chance, group_jackknife(chance, most, names), classes=len(classes))


def check_labels(labels: Sequence[int | None]) -> None:
    """Refuse images without classes.

    Raises:
        NotApplicable: If none has one.
    """
    if all(label is None for label in labels):
        raise NotApplicable("the images have no classes; give labelled ones, or --labels folder where folders name them")


def folds_of(groups: Sequence[str], folds: int) -> Int64[ndarray, " n"]:
    """Part of every image: whole groups, dealt in the order of their names."""
    number = {name: place % folds for place, name in enumerate(sorted(set(groups)))}
    return np.array([number[name] for name in groups])


def classified(products: Float[ndarray, "n n"], classes: Int64[ndarray, " n"], folds: Int64[ndarray, " n"]) -> Int64[ndarray, " n"]:
    """The class of every image by what was learned of the images of other folds.

    Args:
        products: Scalar products of the values of every two images.
        classes: Class of each, from 0.
        folds: Part of each.
    """
    wanted = np.eye(int(classes.max()) + 1)[classes]
    found = np.zeros(len(classes), dtype=np.int64)
    for fold in np.unique(folds):
        known, asked = folds != fold, folds == fold
        found[asked] = predicted(products[np.ix_(known, known)], products[np.ix_(asked, known)], wanted[known]).argmax(axis=1)
    return found


def predicted(within: Float[ndarray, "n n"], between: Float[ndarray, "m n"], wanted: Float[ndarray, "n c"]) -> Float[ndarray, "m c"]:
    """Predict numbers by ridge regression with an intercept, its penalty chosen by leaving one out.

    Args:
        within: Scalar products of the images learned of.
        between: Those of the images asked for with them.
        wanted: Numbers of the images learned of.
    """
    means, middle = within.mean(axis=0), within.mean()
    centred = within - means[None] - means[:, None] + middle
    asked = between - between.mean(axis=1, keepdims=True) - means[None] + middle
    level = wanted.mean(axis=0)
    rest = wanted - level
    values, vectors = scipy.linalg.eigh(centred)
    values = np.maximum(values, 0)
    turned, squared = vectors.T @ rest, vectors**2
    scale = max(float(np.trace(centred)) / len(centred), 1e-300)

    def left_out(penalty: float) -> float:
        """Mean squared error where each image is left out; its weight on itself is that of the regression and of the intercept."""
        kept = values / (values + penalty * scale)
        weight = squared @ kept + 1 / len(values)
        errors = (rest - vectors @ (kept[:, None] * turned)) / np.maximum(1 - weight, 1e-12)[:, None]
        return float((errors**2).mean())

    penalty = min(PENALTIES, key=left_out)
    weights = vectors @ (turned / (values + penalty * scale)[:, None])
    return asked @ weights + level
