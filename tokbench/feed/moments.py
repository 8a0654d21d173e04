"""Mean and deviation of every channel of many latents, gathered part by part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray


@dataclass(frozen=True)
class Moments:
    """Moments of the values seen so far.

    Args:
        count: Vectors seen.
        mean: Mean of every channel.
        squares: Sum of squared deviations from the mean, of every channel.
    """

    count: int
    mean: tuple[float, ...]
    squares: tuple[float, ...]

    @classmethod
    def of(cls, vectors: Float[ndarray, "n c"]) -> Moments:
        """Gather vectors, in double precision."""
        if not len(vectors):
            return cls(0, (0.0,) * vectors.shape[1], (0.0,) * vectors.shape[1])
        values = vectors.astype(np.float64)
        mean = values.mean(axis=0)
        return cls(len(values), tuple(mean.tolist()), tuple(np.square(values - mean).sum(axis=0).tolist()))

    def __add__(self, other: Moments) -> Moments:
        """Moments of both together.

        Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979, eq. 2.1.
        """
        if not self.count or not other.count:
            return self if self.count else other
        count, share = self.count + other.count, other.count / (self.count + other.count)
        apart = [b - a for a, b in zip(self.mean, other.mean, strict=True)]
        mean = tuple(a + d * share for a, d in zip(self.mean, apart, strict=True))
        squares = tuple(a + b + d * d * self.count * share for a, b, d in zip(self.squares, other.squares, apart, strict=True))
        return Moments(count, mean, squares)

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of every channel: the root of the mean squared deviation."""
        return tuple((value / self.count) ** 0.5 if self.count else 0.0 for value in self.squares)
