"""Precision, recall, density and coverage against two independent forms, and the metric on features."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tokbench.bench import neighbours
from tokbench.bench.metrics.prdc import PRDC
from tokbench.bench.neighbours import overlap
from tokbench.bench.networks import FeatureNetwork
from tokbench.bench.observation import Listing, Observation, Subject


def samples(count: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(loc=shift, size=(count, 3))


def slow(before: np.ndarray, after: np.ndarray, near: int, wide: int) -> list[float]:
    """Pair by pair, as it is written down."""

    def far(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.sqrt(((x - y) ** 2).sum()))

    def radius(of: np.ndarray, i: int, k: int) -> float:
        return sorted(far(of[i], other) for j, other in enumerate(of) if j != i)[k - 1]

    precision = [any(far(y, x) <= radius(before, i, near) for i, x in enumerate(before)) for y in after]
    recall = [any(far(x, y) <= radius(after, j, near) for j, y in enumerate(after)) for x in before]
    density = [sum(far(y, x) < radius(before, i, wide) for i, x in enumerate(before)) / wide for y in after]
    coverage = [any(far(x, y) < radius(before, i, wide) for y in after) for i, x in enumerate(before)]
    return [float(np.mean(values)) for values in (precision, recall, density, coverage)]


def means(before: np.ndarray, after: np.ndarray, near: int = 3, wide: int = 5) -> list[float]:
    found = overlap(before, after, near=near, wide=wide)
    return [float(values.mean()) for values in (found.precision, found.recall, found.density, found.coverage)]


@pytest.mark.parametrize(("n", "m", "shift", "near", "wide"), [(20, 31, 0.8, 3, 5), (33, 12, 1.5, 1, 2), (9, 9, 0.0, 5, 3)])
def test_it_is_what_is_written_down(n: int, m: int, shift: float, near: int, wide: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", 7)
    before, after = samples(n, 0), samples(m, 1, shift)
    assert means(before, after, near, wide) == pytest.approx(slow(before, after, near, wide), abs=1e-12)


def test_precision_and_recall_are_those_of_torch_fidelity() -> None:
    package = pytest.importorskip("torch_fidelity.metric_prc")
    before, after = samples(300, 0), samples(250, 1, 1.0)
    found = package.prc_features_to_metric(
        torch.from_numpy(after), torch.from_numpy(before), prc_neighborhood=3, prc_batch_size=100, save_cpu_ram=False, verbose=False
    )
    precision, recall, _, _ = means(before, after)
    assert (precision, recall) == pytest.approx((found["precision"], found["recall"]), abs=1e-6)
    assert 0.1 < recall < 0.9


def test_sets_that_are_alike_and_sets_that_are_apart() -> None:
    before = samples(200, 0)
    same = means(before, before)
    assert same[:2] == [1.0, 1.0]
    assert same[3] == 1.0
    assert same[2] == pytest.approx(1.0, abs=0.1)
    assert means(before, before + 100) == [0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [((5, 3), (9, 3), "5 samples have no neighbours number 3 and 5"), ((9, 3), (9, 2), r"one dimension, got \(9, 3\) and \(9, 2\)")],
)
def test_what_has_no_neighbours_is_refused(before: tuple[int, int], after: tuple[int, int], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        overlap(np.zeros(before), np.zeros(after), near=3, wide=5)


def metric() -> PRDC:
    return PRDC(FeatureNetwork("toy", 4, {}, lambda images: images[:, 0, 0, :4].float()), None, micro_batch=4)


def test_the_metric_is_that_of_its_features_in_any_order() -> None:
    generator = torch.Generator().manual_seed(0)
    before, after = (torch.randint(0, 256, (40, 3, 2, 4), dtype=torch.uint8, generator=generator) for _ in range(2))
    listing = Listing(tuple(f"{i:02d}" for i in range(40)), tuple(f"{i // 4}" for i in range(40)))

    def measure(*parts: list[int]) -> PRDC:
        made = []
        for places in parts:
            one = metric()
            keys = tuple(bytes(32) for _ in places)
            one.update(Observation(listing, tuple(places), keys, before[places], after[places], None, lambda: None))
            made.append(one)
        for other in made[1:]:
            made[0].merge_state(other)
        return made[0]

    whole = measure(list(range(40)))
    assert measure(list(range(39, 20, -1)), list(range(21))).report() == whole.report()
    features = [side[:, 0, 0].numpy().astype(float) for side in (before, after)]
    assert list(whole.compute().values()) == pytest.approx(slow(*features, 3, 5), abs=1e-12)
    assert tuple(whole.report()) == ("precision", "recall", "density", "coverage")
    assert {figure.interval.method for figure in whole.report().values()} == {"bootstrap of 10 groups, 1000 resamples, balls kept"}
    kept = overlap(*features, near=3, wide=5)
    for key, values in (("precision", kept.precision), ("coverage", kept.coverage), ("density", kept.density), ("recall", kept.recall)):
        assert whole.report()[key].without["0"] == pytest.approx(values[4:].mean(), rel=1e-12)
    assert metric().not_applicable(Subject(None, 5, (64, 64))) == "5 images; neighbours number 5 need more"
    assert metric().not_applicable(Subject(None, 6, (64, 64))) is None
