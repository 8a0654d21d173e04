"""How much of a codebook is used: share of codes, perplexity, entropy, dead codes and coded bits, over the images measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from tokbench.bench.clusters import cluster_jackknife, named, without_clusters
from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.base import Figure, Metric
from tokbench.bench.observation import Observation, Subject
from tokbench.records.figures import figures_of
from tokbench.records.intervals import Interval, group_bootstrap
from tokbench.records.left_out import CLUSTERS, cluster_of
from tokbench.records.record import CodebookUse
from tokbench.tokens import DiscreteTokens

CURVE_POINTS = 256
"""Points at most of the curve of a codebook's use over its ranks."""

UNSEEN = 0.5
"""Added to the count of every code before images are coded by it, so that codes of no other image have a length too.

Source: Krichevsky and Trofimov 1981, "The performance of universal encoding"."""


class Codebook(Metric):
    """Statistics of the histogram of codes, per codebook.

    ``usage`` is the share of codes that occur; ``entropy_bits`` the entropy of the histogram in bits a token;
    ``perplexity`` two to that power; ``dead_codes`` the number that never occur. With several codebooks the value is the
    mean over them (the sum, for ``dead_codes``). All depend on how many tokens were seen; the settings say how many, and
    intervals are those of other images of the same number.

    ``entropy_bits_per_image`` is what an image takes when each of its tokens is coded by how often its code occurs in images of other
    clusters. A decoder with those counts can read it, which no histogram of the image's own codes gives. It passes the ceiling where few
    images say little of many codes.

    Args:
        sizes: Sizes of the codebooks.
    """

    name = "codebook"
    figures = figures_of(name)
    images: torch.Tensor

    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.sizes = sizes
        self._uncounted: list[tuple[tuple[str, ...], torch.Tensor]] = []  # groups and codes that are on a device
        self.add_state("images", default=torch.tensor(0), dist_reduce_fx="sum")
        for k, size in enumerate(sizes):
            self.add_state(f"counts_{k}", default=torch.zeros(CLUSTERS, size, dtype=torch.int32), dist_reduce_fx="sum")

    @classmethod
    def create(cls, context: MetricContext) -> Codebook:
        """Build it for the codebooks of the layout; there are none of latents and of codecs."""
        return cls(context.layout.codebook_sizes if context.layout is not None else ())

    @property
    def settings(self) -> dict[str, Any]:
        """How much was seen."""
        return {"images": int(self.images), "tokens_per_codebook": int(self._by_cluster[0].sum()) if self.sizes else 0}

    def not_applicable(self, subject: Subject) -> str | None:
        """Only codes have a codebook."""
        if subject.layout is None:
            return "a codec, or images alone, without tokens"
        return None if subject.layout.discrete else "continuous latents have no codebook"

    def update(self, observation: Observation) -> None:
        """Take one micro-batch in."""
        tokens = observation.tokens
        if not isinstance(tokens, DiscreteTokens):
            raise ValueError("codebook statistics need discrete tokens")
        self.images += len(observation)
        if tokens.codes.device.type == "cpu":
            self._count(observation.groups, tokens.codes)
        else:
            self._uncounted.append((observation.groups, tokens.codes.clone()))  # whoever made them may write to them

    def settle(self) -> None:
        """Count the codes that are on a device."""
        for groups, codes in self._uncounted:
            self._count(groups, codes.cpu())
        self._uncounted = []

    def _count(self, groups: Sequence[str], codes: torch.Tensor) -> None:
        clusters = torch.tensor([cluster_of(group) for group in groups])[:, None]
        for k, counts in enumerate(self._by_cluster):
            places = (clusters * self.sizes[k] + codes[..., k]).flatten()
            counts.view(-1).index_add_(0, places, torch.ones(len(places), dtype=counts.dtype))

    @property
    def _by_cluster(self) -> list[torch.Tensor]:
        """How often each code occurs in each cluster of images, ``[CLUSTERS, size]``, per codebook."""
        return [getattr(self, f"counts_{k}") for k in range(len(self.sizes))]

    def _counts(self, clusters: Sequence[int] | None = None) -> list[torch.Tensor]:
        """The histogram of every codebook, of some clusters or of all."""
        return [(counts if clusters is None else counts[list(clusters)]).sum(dim=0) for counts in self._by_cluster]

    def report(self) -> dict[str, Figure]:
        """Return the five figures."""
        self.settle()
        sizes = [float(size) for size in self.sizes]
        clusters = tuple(self._by_cluster[0].sum(dim=1).nonzero().flatten().tolist())
        counts_of = cache(self._counts)  # the same clusters are left out for every figure

        def figure(
            statistic: Callable[[torch.Tensor], float], limits: tuple[float, float], combine: Callable[[list[float]], Any] = np.mean
        ) -> Figure:
            values = [statistic(counts) for counts in counts_of(clusters)]

            def of_some(kept: tuple[int, ...]) -> float:
                return float(combine([statistic(one) for one in counts_of(kept)]))

            value = float(combine(values))

            def of_others(left_out: int) -> float:
                pairs = zip(counts_of(clusters), self._by_cluster, strict=True)
                return float(combine([statistic(counts - own[left_out]) for counts, own in pairs]))

            interval = cluster_jackknife(value, of_some, clusters)
            return Figure(
                value,
                interval and _within(interval, *limits),
                tuple(values) if len(values) > 1 else None,
                without=without_clusters(of_others, clusters),
                part="cluster",
            )

        return {
            "usage": figure(_usage, (0.0, 1.0)),
            "perplexity": figure(_perplexity, (1.0, float(np.mean(sizes)))),
            "entropy_bits": figure(_entropy_bits, (0.0, float(np.mean(np.log2(sizes))))),
            "dead_codes": figure(_dead, (0.0, sum(sizes)), np.sum),
            "entropy_bits_per_image": self._coded(clusters),
        }

    def _coded(self, clusters: Sequence[int]) -> Figure:
        """Mean bits of an image, coded by the images of other clusters; every image of a cluster counts its cluster's mean."""
        tokens = int(self._by_cluster[0].sum()) / int(self.images)
        images = [round(int(self._by_cluster[0][cluster].sum()) / tokens) for cluster in clusters]
        bits = [_bits_by_others(counts[list(clusters)]) for counts in self._by_cluster]
        by_cluster = [math.fsum(codebook) for codebook in zip(*bits, strict=True)]
        values = [total / count for total, count in zip(by_cluster, images, strict=True) for _ in range(count)]
        names = [f"{cluster:02d}" for cluster, count in zip(clusters, images, strict=True) for _ in range(count)]
        whole, places = math.fsum(by_cluster), {cluster: place for place, cluster in enumerate(clusters)}

        def of_others(left_out: int) -> float:
            place = places[left_out]
            return (whole - by_cluster[place]) / (sum(images) - images[place])

        return Figure(
            whole / sum(images),
            named(group_bootstrap(values, names)),
            tuple(math.fsum(codebook) / sum(images) for codebook in bits) if len(bits) > 1 else None,
            without=without_clusters(of_others, clusters),
            part="cluster",
        )

    def codebooks(self) -> tuple[CodebookUse, ...]:
        """One curve a codebook."""
        return tuple(_use(counts) for counts in self._counts())


def _within(interval: Interval, least: float, most: float) -> Interval:
    """An interval of clusters, cut to what is possible."""
    return Interval(max(least, interval.low), min(most, interval.high), interval.method)


def _use(counts: torch.Tensor) -> CodebookUse:
    ordered = counts[counts > 0].sort(descending=True).values
    used, tokens = len(ordered), int(counts.sum())
    ranks = np.unique(np.rint(np.geomspace(1, used, CURVE_POINTS)).astype(int)).tolist()
    return CodebookUse(len(counts), tokens, used, tuple(ranks), tuple(int(ordered[rank - 1]) / tokens for rank in ranks))


def _bits_by_others(counts: torch.Tensor) -> list[float]:
    """Bits of all tokens of each cluster, coded by the counts ``[clusters, size]`` of the others."""
    total = counts.sum(dim=0)
    bits = []
    for own in counts:
        others = (total - own).double() + UNSEEN
        seen = own > 0
        bits.append(float(own[seen].double() @ (others.sum().log2() - others[seen].log2())))
    return bits


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
