"""How much of a codebook is used: share of codes, perplexity, entropy and dead codes, over the images measured."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
import torchmetrics

from tokbench.bench.metrics.base import Figure, Metric
from tokbench.bench.observation import Observation, Subject
from tokbench.records.figures import figures_of
from tokbench.records.intervals import Interval, group_jackknife
from tokbench.records.record import CodebookUse
from tokbench.tokens import DiscreteTokens

CURVE_POINTS = 256
"""Points at most of the curve of a codebook's use over its ranks."""

CLUSTERS = 64
"""Groups of images are counted in so many clusters at most, by a hash of their names: intervals are taken over these, and what is
kept does not grow with the number of images."""


class Codebook(Metric):
    """Statistics of the histogram of codes, per codebook.

    ``usage`` is the share of codes that occur; ``entropy_bits`` the entropy of the histogram in bits a token;
    ``perplexity`` two to that power; ``dead_codes`` the number that never occur. With several codebooks the value is the
    mean over them (the sum, for ``dead_codes``). All depend on how many tokens were seen; the settings say how many, and
    intervals are those of other images of the same number.
    """

    name = "codebook"
    figures = figures_of(name)

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._clusters: dict[int, list[torch.Tensor]] = {}
        self._images = 0

    @property
    def settings(self) -> dict[str, Any]:
        """How much was seen."""
        counts = self._counts()
        return {"images": self._images, "tokens_per_codebook": int(counts[0].sum()) if counts else 0}

    def not_applicable(self, subject: Subject) -> str | None:
        """Only codes have a codebook."""
        if subject.layout is None:
            return "a codec without tokens"
        return None if subject.layout.discrete else "continuous latents have no codebook"

    def update(self, observation: Observation) -> None:
        """Take one micro-batch in."""
        tokens = observation.tokens
        if not isinstance(tokens, DiscreteTokens):
            raise ValueError("codebook statistics need discrete tokens")
        codes = tokens.codes.cpu()
        clusters = torch.tensor([_cluster(group) for group in observation.groups])
        for cluster in clusters.unique().tolist():
            chosen = codes[clusters == cluster]
            counts = [torch.bincount(chosen[..., k].flatten(), minlength=size).int() for k, size in enumerate(tokens.codebook_sizes)]
            self._take(cluster, counts)
        self._images += len(observation)

    def _take(self, cluster: int, counts: list[torch.Tensor]) -> None:
        before = self._clusters.get(cluster)
        self._clusters[cluster] = counts if before is None else [a + b for a, b in zip(before, counts, strict=True)]

    def _counts(self, clusters: Sequence[int] | None = None) -> list[torch.Tensor]:
        """The histogram of every codebook, of some clusters or of all."""
        chosen = [self._clusters[cluster] for cluster in (self._clusters if clusters is None else clusters)]
        return [torch.stack(parts).sum(dim=0) for parts in zip(*chosen, strict=True)]

    def report(self) -> dict[str, Figure]:
        """Return the four figures."""
        sizes = [float(len(counts)) for counts in self._counts()]
        counts_of = cache(self._counts)  # the same clusters are left out for every figure

        def figure(
            statistic: Callable[[torch.Tensor], float], limits: tuple[float, float], combine: Callable[[list[float]], Any] = np.mean
        ) -> Figure:
            clusters = tuple(sorted(self._clusters))
            values = [statistic(counts) for counts in counts_of(clusters)]

            def without(kept: np.ndarray) -> float:
                return float(combine([statistic(one) for one in counts_of(tuple(np.array(clusters)[kept].tolist()))]))

            value = float(combine(values))
            interval = group_jackknife(value, without, [f"{cluster:02d}" for cluster in clusters])
            return Figure(value, interval and _within(interval, *limits), tuple(values) if len(values) > 1 else None)

        return {
            "usage": figure(_usage, (0.0, 1.0)),
            "perplexity": figure(_perplexity, (1.0, float(np.mean(sizes)))),
            "entropy_bits": figure(_entropy_bits, (0.0, float(np.mean(np.log2(sizes))))),
            "dead_codes": figure(_dead, (0.0, sum(sizes)), np.sum),
        }

    def codebooks(self) -> tuple[CodebookUse, ...]:
        """One curve a codebook."""
        return tuple(_use(counts) for counts in self._counts())

    def merge_state(self, incoming_state: dict[str, Any] | torchmetrics.Metric) -> None:
        """Take in what another instance has seen of other images."""
        if not isinstance(incoming_state, Codebook):
            raise ValueError("Codebook merges with its own kind only")
        for cluster, counts in incoming_state._clusters.items():
            self._take(cluster, counts)
        self._images += incoming_state._images
        self._update_count += incoming_state._update_count


def _within(interval: Interval, least: float, most: float) -> Interval:
    """An interval of clusters, cut to what is possible."""
    return Interval(max(least, interval.low), min(most, interval.high), interval.method.replace("groups", "clusters"))


def _cluster(group: str) -> int:
    return hashlib.sha256(group.encode()).digest()[0] % CLUSTERS


def _use(counts: torch.Tensor) -> CodebookUse:
    ordered = counts[counts > 0].sort(descending=True).values
    used, tokens = len(ordered), int(counts.sum())
    ranks = np.unique(np.rint(np.geomspace(1, used, CURVE_POINTS)).astype(int)).tolist()
    return CodebookUse(len(counts), tokens, used, tuple(ranks), tuple(int(ordered[rank - 1]) / tokens for rank in ranks))


def _entropy_bits(counts: torch.Tensor) -> float:
    share = counts.double() / counts.sum()
    share = share[share > 0]
    return max(0.0, float(-(share * share.log2()).sum()))


def _perplexity(counts: torch.Tensor) -> float:
    return float(2.0 ** _entropy_bits(counts))


def _dead(counts: torch.Tensor) -> float:
    return float((counts == 0).sum())


def _usage(counts: torch.Tensor) -> float:
    return 1.0 - _dead(counts) / len(counts)
