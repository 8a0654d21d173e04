"""Sensitivity: what is decoded when some tokens are wrong, as those a model draws are.

A code is replaced by one of its nearest others of the same codebook with some probability. Where the codes are signs of several channels,
each sign is flipped with that probability instead. Latents, which have no nearest others, get noise of so many standard deviations of their
channel. Which tokens are replaced is nested: what is wrong at a low probability is wrong at a higher one too.

Source: pFID of "Robust Latent Matters", 2025 (lxa9867/ImageFolder, ``latent_perturbation.py``). There a code may be drawn again as itself,
and only some images of a batch are changed. Noise on latents has no source.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray
from torch import Tensor

from tokbench.feed.predict.encoded import Encoded, decoded
from tokbench.feed.predict.judge import Judge
from tokbench.feed.predict.pixels import CEILING, decibels
from tokbench.feed.predict.results import Results
from tokbench.feed.predict.vectors import CodeVectors, codes_of_signs, number_of_signs
from tokbench.records.intervals import group_bootstrap
from tokbench.records.prediction_record import PredictionProtocol, SensitivityPoint
from tokbench.tokens import ContinuousTokens, DiscreteTokens, Tokens


def measure_sensitivity(
    encoded: Encoded, codes: CodeVectors | None, judge: Judge, settings: PredictionProtocol, results: Results
) -> tuple[SensitivityPoint, ...]:
    """Add the figures at the settings' probability, and return the curve over all of them.

    Args:
        encoded: Images and their tokens.
        codes: Vectors of codes; None for latents.
        judge: Has seen the images.
        settings: Probabilities, and among how many nearest codes one is drawn.
        results: Where figures go.
    """
    change = Change(encoded, codes, settings.nearest)
    points, undisturbed = list[SensitivityPoint](), np.zeros(0)
    for probability in (0.0, *settings.probabilities):
        features, found = list[np.ndarray](), list[Tensor]()
        start = 0
        for batch in decoded(encoded.tokenizer, change.at(probability), encoded.ids, encoded.protocol):
            found.append(decibels(encoded.pixels[start : start + len(batch)], batch))
            features.append(judge.features([batch]))
            start += len(batch)
        psnr, seen = torch.cat(found).numpy(), np.concatenate(features)
        undisturbed = psnr if not probability else undisturbed
        fd = judge.frechet(seen)
        interval = group_bootstrap(psnr.tolist(), encoded.groups)
        points.append(SensitivityPoint(probability, float(psnr.mean()), interval, *(fd or (None, None))))
        if probability == settings.probability:
            about: dict[str, Any] = {"probability": probability, "change": change.words}
            for key, distance in (("sensitivity_fd", fd), ("sensitivity_kd", judge.kernel(seen))):
                if distance is not None:
                    results.of_set(key, distance[0], distance[1], **(judge.settings | about))
            about["psnr_at_most"] = round(CEILING, 4)
            results.per_image("sensitivity_loss", undisturbed - psnr, encoded.ids, encoded.groups, **about)
    return tuple(points)


class Change:
    """What is drawn for every token of every image once, and becomes changed tokens at any probability.

    Args:
        encoded: Images and their tokens.
        codes: Vectors of codes; None for latents.
        nearest: Among how many nearest codes one is drawn.

    Attributes:
        words: How tokens are changed, for records.
    """

    def __init__(self, encoded: Encoded, codes: CodeVectors | None, nearest: int) -> None:
        self.encoded, self.codes = encoded, codes
        tokens = encoded.tokens
        if isinstance(tokens, ContinuousTokens):
            self.words = "noise of so many standard deviations of the channel"
            shape = tokens.latents.shape[1:]
            self._noise = torch.stack([torch.from_numpy(encoded.chance(image).standard_normal(shape)) for image in range(len(encoded))])
            self._std = tokens.latents.double().flatten(0, 1).std(dim=0, correction=0)
            return
        if codes is None:
            raise ValueError("codes need their vectors")
        signs = [table is not None for table in codes.bits]
        self.words = (
            "each sign flipped" if all(signs) else f"replaced by one of the {nearest} nearest codes, all others where there are fewer"
        )
        if any(signs) and not all(signs):
            self.words += "; codebooks of signs have each sign flipped"
        self._draws, self._others = list[ndarray](), list[Int64[Tensor, "b l"]]()
        self._draw(tokens, codes, nearest)

    def _draw(self, tokens: DiscreteTokens, codes: CodeVectors, nearest: int) -> None:
        chances, positions = [self.encoded.chance(image) for image in range(len(self.encoded))], tokens.codes.shape[1]
        for book, signs in enumerate(codes.bits):
            width = () if signs is None else (signs.shape[1],)
            self._draws.append(np.stack([chance.random((positions, *width)) for chance in chances]))
            picked = np.stack([chance.random(positions) for chance in chances])
            if signs is not None:
                self._others.append(torch.empty(0, dtype=torch.int64))
                continue
            used, place = tokens.codes[..., book].unique(return_inverse=True)
            around = codes.neighbours(book, used, nearest)
            choice = torch.from_numpy((picked * around.shape[1]).astype(np.int64)).clamp(max=around.shape[1] - 1)
            self._others.append(around[place, choice])

    def at(self, probability: float) -> Tokens:
        """The tokens, changed with some probability; at 0 as they are."""
        tokens = self.encoded.tokens
        if not probability:
            return tokens
        if isinstance(tokens, ContinuousTokens):
            moved = tokens.latents.double() + probability * self._std * self._noise
            return replace(tokens, latents=moved.to(tokens.latents.dtype))
        assert self.codes is not None
        books = []
        for book, signs in enumerate(self.codes.bits):
            own, hit = tokens.codes[..., book], torch.from_numpy(self._draws[book] < probability)
            books.append(torch.where(hit, self._others[book], own) if signs is None else flipped(own, hit, signs))
        return replace(tokens, codes=torch.stack(books, dim=-1))


def flipped(codes: Int64[Tensor, "b l"], hit: Tensor, signs: Tensor) -> Int64[Tensor, "b l"]:
    """Codes with some of their signs flipped.

    Args:
        codes: Codes of one codebook.
        hit: Which signs of each are flipped, ``[B, L, C]``.
        signs: Signs of every code, ``[S, C]``, each combination once.
    """
    return codes_of_signs(signs)[number_of_signs(signs[codes] ^ hit)]
