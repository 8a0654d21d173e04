"""Interpolation: what lies midway between each image and its nearest neighbour, decoded, beside the images.

A model that generates has to fill the space between the tokens it was trained on. Where what lies between two like images decodes to no
image, it will decode to none either. The latents of each image go halfway, on a sphere, to those of the image whose latents have the largest
cosine with its own. Codes go, position by position, to the code nearest to the middle of two vectors.

Source: iFID of "Making rFID Predictive of Diffusion gFID", 2026 (tongdaxu/Making-rFID-Predictive-of-Diffusion-gFID). There the neighbour is
drawn from the ten nearest of a training set; here it is the nearest of the images themselves, of another group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from tokbench.feed.predict.encoded import Encoded, decoded
from tokbench.feed.predict.judge import Judge
from tokbench.feed.predict.results import NotApplicable, Results
from tokbench.feed.predict.vectors import CodeVectors
from tokbench.tokens import DiscreteTokens, Tokens

BLOCK = 4096
"""Values of every image whose products are added up at once."""


def measure_interpolation(
    encoded: Encoded, codes: CodeVectors | None, judge: Judge, products: Float[ndarray, "n n"], results: Results
) -> None:
    """Add the distances between the images and what is decoded midway.

    Args:
        encoded: Images and their tokens.
        codes: Vectors of codes; None for latents.
        judge: Has seen the images.
        products: What ``products_of`` gives of their vectors.
        results: Where figures go.

    Raises:
        NotApplicable: If there is no image of another group.
    """
    between = midway(encoded, codes, nearest_of_others(products, encoded.groups))
    features = judge.features(decoded(encoded.tokenizer, between, encoded.ids, encoded.protocol))
    settings = judge.settings | {
        "neighbour": "largest cosine among the images of other groups",
        "between": "spherical, midway" if codes is None else "nearest code to the middle of two vectors, codebook by codebook",
    }
    for key, found in (("interpolation_fd", judge.frechet(features)), ("interpolation_kd", judge.kernel(features))):
        if found is not None:
            results.of_set(key, *found, **settings)


def products_of(vectors: Float[Tensor, "b l d"]) -> Float[ndarray, "b b"]:
    """Scalar products of the vectors of every two images, all positions together, in double precision."""
    flat = vectors.flatten(1).numpy()
    total = np.zeros((len(flat), len(flat)))
    for start in range(0, flat.shape[1], BLOCK):
        part = flat[:, start : start + BLOCK].astype(np.float64)
        total += part @ part.T
    return total


def nearest_of_others(products: Float[ndarray, "n n"], groups: Sequence[str]) -> Int64[ndarray, " n"]:
    """For every image the one of another group with the largest cosine; of several, the first.

    Raises:
        NotApplicable: If an image has none.
    """
    names = np.unique(np.asarray(groups), return_inverse=True)[1]
    if names.max(initial=0) < 1:
        raise NotApplicable("all images are of one group, and neighbours are those of others")
    lengths = np.sqrt(np.maximum(np.diagonal(products), 0))
    scale = np.outer(lengths, lengths)
    cosines = np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
    cosines[names[:, None] == names[None]] = -np.inf
    return cosines.argmax(axis=1)


def midway(encoded: Encoded, codes: CodeVectors | None, partners: Int64[ndarray, " n"]) -> Tokens:
    """Tokens midway between those of each image and of its partner."""
    tokens, others = encoded.tokens, torch.from_numpy(partners)
    if not isinstance(tokens, DiscreteTokens):
        latents = tokens.latents
        return replace(tokens, latents=on_the_sphere(latents.double(), latents[others].double()).to(latents.dtype))
    if codes is None:
        raise ValueError("codes need their vectors")
    chance = np.stack([encoded.chance(image).random(tokens.codes.shape[1:]) for image in range(len(encoded))])
    found = tokens.codes.clone()
    for book, table in enumerate(codes.tables):
        one, other = tokens.codes[..., book], tokens.codes[others][..., book]
        apart = one != other
        middle = (table[one[apart]] + table[other[apart]]) / 2
        found[..., book][apart] = codes.nearest(book, middle, chance[..., book][apart.numpy()])
    return replace(tokens, codes=found)


def on_the_sphere(one: Float[Tensor, "b l d"], other: Float[Tensor, "b l d"]) -> Float[Tensor, "b l d"]:
    """The middle of the arc between the values of two images, all positions together.

    Halfway, both weights of spherical interpolation are ``sin(a / 2) / sin(a) = 1 / (2 cos(a / 2))``, ``a`` the angle between the two.
    """
    lengths = one.flatten(1).norm(dim=1) * other.flatten(1).norm(dim=1)
    cosine = ((one * other).flatten(1).sum(dim=1) / lengths.clamp(min=1e-300)).clamp(-1, 1)
    half = ((1 + cosine) / 2).sqrt()  # cos(a / 2)
    weights = torch.where(half > 1e-3, 1 / (2 * half.clamp(min=1e-3)), 0.5)  # opposite points have no arc of their own
    return (one + other) * weights[:, None, None]
