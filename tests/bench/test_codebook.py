"""Codebook statistics against counting by hand."""

import hashlib
import math
import re

import pytest
import torch

from tokbench.bench.metrics.codebook import Codebook
from tokbench.bench.metrics.stability import Stability
from tokbench.bench.observation import Again, Listing, Observation, Subject
from tokbench.layout import TokenLayout
from tokbench.tokens import DiscreteTokens


def observation(codes, sizes, again=None):
    tokens = DiscreteTokens(codes, (codes.shape[1],), sizes)
    images = torch.zeros(len(codes), 3, 1, codes.shape[1], dtype=torch.uint8)
    names = tuple(map(str, range(len(codes))))
    keys = tuple(bytes(32) for _ in names)
    listing, places = Listing(names, names), tuple(range(len(codes)))
    encoded = None if again is None else DiscreteTokens(again, tokens.grid, sizes)
    return Observation(listing, places, keys, images, images, tokens, lambda: Again(encoded, lambda: encoded))


def test_uniform_half_used_codebook():
    metric = Codebook((8,))
    metric.update(observation(torch.tensor([[[0], [1]], [[2], [3]]]), (8,)))
    figures = metric.report()
    assert figures["usage"].value == 0.5
    assert figures["dead_codes"].value == 4
    assert figures["entropy_bits"].value == 2.0
    assert figures["perplexity"].value == 4.0
    assert figures["usage"].by_codebook is None
    assert metric.settings == {"images": 2, "tokens_per_codebook": 4}


def test_several_codebooks_are_reported_one_by_one():
    metric = Codebook((2, 4))
    metric.update(observation(torch.tensor([[[0, 0], [1, 0]]]), (2, 4)))
    figures = metric.report()
    assert figures["usage"].by_codebook == (1.0, 0.25)
    assert figures["usage"].value == 0.625
    assert figures["dead_codes"].value == 3.0
    assert figures["entropy_bits"].by_codebook == (1.0, 0.0)
    assert figures["perplexity"].by_codebook == (2.0, 1.0)


def test_skewed_histogram():
    metric = Codebook((2,))
    metric.update(observation(torch.tensor([[[0], [0], [0], [1]]]), (2,)))
    assert metric.compute()["entropy_bits"] == pytest.approx(-(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25)), abs=1e-15)


def test_intervals_are_those_of_other_images():
    """Every image shows a few neighbouring codes, so what would change with other images is which codes there are."""
    generator = torch.Generator().manual_seed(1)

    def measure():
        metric = Codebook((128,))
        first = (100 * torch.rand(300, 1, 1, generator=generator) ** 2).long()
        metric.update(observation(first + torch.randint(8, (300, 16, 1), generator=generator), (128,)))
        return metric.report()

    found = [measure() for _ in range(40)]
    for key in ("usage", "perplexity", "entropy_bits", "dead_codes"):
        ours = [one[key] for one in found]
        assert all(one.interval.low <= one.value <= one.interval.high for one in ours)
        assert {one.interval.method for one in ours} == {"jackknife of 64 clusters in 10 folds"}
        spread = 2 * 2.262 * torch.tensor([one.value for one in ours]).std().item()
        assert sum(one.interval.high - one.interval.low for one in ours) / 40 == pytest.approx(spread, rel=0.4), key


def test_intervals_stay_within_what_is_possible():
    metric = Codebook((40,))
    codes = torch.arange(40)[:, None, None].expand(40, 4, 1)  # every image has a code of its own: each left out takes one away
    metric.update(observation(codes, (40,)))
    figures = metric.report()
    assert figures["usage"].interval.high == 1
    assert figures["usage"].interval.low < 1
    assert figures["dead_codes"].interval.low == 0
    assert figures["perplexity"].interval.high == 40
    few = Codebook((40,))
    few.update(observation(codes[:3], (40,)))
    assert {figure.interval for key, figure in few.report().items() if key != "entropy_bits_per_image"} == {None}


def slow_coded_bits(codes, sizes):
    """Image by image and token by token, by the images whose names have another digest."""
    clusters = [hashlib.sha256(str(name).encode()).digest()[0] % 64 for name in range(len(codes))]
    bits = []
    for image, cluster in zip(codes.tolist(), clusters, strict=True):
        others = [other for other, of in zip(codes.tolist(), clusters, strict=True) if of != cluster]
        length = 0.0
        for k, size in enumerate(sizes):
            counts = [0.5] * size
            for other in others:
                for token in other:
                    counts[token[k]] += 1
            length += sum(-math.log2(counts[token[k]] / sum(counts)) for token in image)
        bits.append(length)
    return sum(bits) / len(bits)


@pytest.mark.parametrize("sizes", [(6,), (3, 5)])
def test_coded_bits_are_those_of_the_codes_of_other_images(sizes):
    generator = torch.Generator().manual_seed(0)
    columns = [(size * torch.rand(30, 7, 1, generator=generator) ** 3).long() for size in sizes]
    codes = torch.cat(columns, dim=2)
    metric = Codebook(sizes)
    metric.update(observation(codes, sizes))
    figure = metric.report()["entropy_bits_per_image"]
    assert figure.value == pytest.approx(slow_coded_bits(codes, sizes), rel=1e-12)
    assert figure.value < 7 * sum(map(math.log2, sizes))
    assert figure.interval.low < figure.value < figure.interval.high
    assert re.fullmatch(r"bootstrap of \d+ clusters, 1000 resamples", figure.interval.method)
    parts = figure.by_codebook
    assert parts is None if len(sizes) == 1 else sum(parts) == pytest.approx(figure.value)


def test_an_image_without_others_takes_the_ceiling():
    metric = Codebook((32,))
    metric.update(observation(torch.zeros(1, 10, 1, dtype=torch.int64), (32,)))
    figure = metric.report()["entropy_bits_per_image"]
    assert (figure.value, figure.interval) == (50.0, None)


def test_what_other_images_never_show_costs_more_than_the_ceiling():
    metric = Codebook((40,))
    metric.update(observation(torch.arange(40)[:, None, None].expand(40, 4, 1), (40,)))
    assert metric.compute()["entropy_bits_per_image"] > 4 * math.log2(40)


def test_what_is_kept_does_not_grow_with_the_images():
    metric = Codebook((8,))
    metric.update(observation(torch.zeros(3000, 1, 1, dtype=torch.int64), (8,)))
    assert {key: state.shape for key, state in metric.metric_state.items()} == {"images": (), "counts_0": (64, 8)}


def test_continuous_latents_give_reasons():
    subject = Subject(TokenLayout((8, 8), (2, 2), channels=4), 10, (8, 8))
    assert Codebook(()).not_applicable(subject) == "continuous latents have no codebook"
    assert Stability().not_applicable(subject) == "continuous latents have no codes to compare"


def test_stability_is_the_share_of_equal_codes():
    metric = Stability()
    metric.update(observation(torch.tensor([[[0], [1], [2], [3]]]), (4,), again=torch.tensor([[[0], [1], [2], [0]]])))
    assert metric.compute()["stability"] == 0.75


def test_the_curve_of_use_over_ranks():
    codes = torch.tensor([3] * 4 + [0] * 2 + [5] * 2)[None, :, None]
    metric = Codebook((8,))
    metric.update(observation(codes, (8,)))
    (use,) = metric.codebooks()
    assert (use.size, use.tokens, use.used) == (8, 8, 3)
    assert dict(zip(use.ranks, use.shares, strict=True)) == {1: 0.5, 2: 0.25, 3: 0.25}


def test_the_curve_of_a_large_codebook_keeps_its_ends():
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(5000, (4, 4000, 1), generator=generator)
    metric = Codebook((8192,))
    metric.update(observation(codes, (8192,)))
    (use,) = metric.codebooks()
    counts = sorted(torch.bincount(codes.flatten()).tolist(), reverse=True)
    assert use.used == sum(count > 0 for count in counts)
    assert (use.ranks[0], use.ranks[-1]) == (1, use.used)
    assert len(use.ranks) <= 256
    assert use.shares == tuple(counts[rank - 1] / 16000 for rank in use.ranks)
