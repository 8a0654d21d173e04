"""Intervals cover what they should, and know about groups."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from scipy.stats import binom, t

from tokbench.records import intervals
from tokbench.records.intervals import Interval, group_bootstrap, group_jackknife, jackknife_interval, median_interval


def test_bootstrap_is_about_two_standard_errors_of_group_means():
    rng = np.random.default_rng(0)
    groups = [str(i // 10) for i in range(1000)]
    values = np.repeat(rng.normal(size=100), 10)  # images of a group are equal: 100 independent samples, not 1000
    interval = group_bootstrap(values.tolist(), groups)
    width = interval.high - interval.low
    assert width == pytest.approx(2 * 1.96 * values.std() / 10, rel=0.15)
    assert interval == group_bootstrap(values.tolist(), groups)


@pytest.mark.parametrize("picks", [1, 700, 1 << 19])
def test_the_bootstrap_is_that_of_all_resamples_at_once(picks, monkeypatch):
    values = np.random.default_rng(1).normal(size=999)
    groups = [f"{i % 333:03d}" for i in range(999)]
    sums, counts = values.reshape(3, 333).sum(axis=0), np.full(333, 3)
    drawn = np.random.Generator(np.random.PCG64(0)).integers(333, size=(1000, 333))
    low, high = np.quantile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [0.025, 0.975])
    whole = group_bootstrap(values.tolist(), groups)
    assert (whole.low, whole.high) == pytest.approx((low, high), rel=1e-12)
    monkeypatch.setattr(intervals, "PICKS", picks)
    assert group_bootstrap(values.tolist(), groups) == whole


def test_the_bootstrap_of_many_groups_takes_little_memory():
    count = 50_000
    values, groups = np.random.default_rng(2).normal(size=count).tolist(), [f"{i:05d}" for i in range(count)]
    tracemalloc.start()
    group_bootstrap(values, groups)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40e6  # all resamples at once are 1.2 GB


def test_no_interval_where_there_is_nothing_to_resample():
    assert group_bootstrap([1.0, 2.0], ["a", "a"]) is None
    assert group_bootstrap([1.0, float("inf")], ["a", "b"]) is None
    assert group_jackknife(1.0, lambda keep: 1.0, ["a", "b", "c", "d"]) is None


def test_jackknife_of_a_mean_equals_the_textbook():
    values = np.arange(10.0)
    interval = group_jackknife(values.mean(), lambda keep: float(values[keep].mean()), [str(i) for i in range(10)])
    error = values.std(ddof=1) / np.sqrt(10)
    assert interval.high - interval.low == pytest.approx(2 * 2.262157 * error, rel=1e-5)


def test_jackknife_of_some_parts_is_that_of_all_but_for_chance():
    values = np.random.default_rng(0).exponential(size=20_000)
    without = (values.sum() - values) / (len(values) - 1)
    whole = jackknife_interval(values.mean(), without, "all")
    some = jackknife_interval(values.mean(), without[:2000], "some", count=len(values))
    assert whole.high - whole.low == pytest.approx(2 * 1.96 * values.std(ddof=1) / np.sqrt(len(values)), rel=1e-3)
    assert some.high - some.low == pytest.approx(whole.high - whole.low, rel=0.1)
    assert some.method == "some"
    assert jackknife_interval(1.0, without[:4], "few") is None


def test_median_of_ten_lies_between_the_second_and_the_ninth():
    values = [9.0, 1.0, 5.0, 3.0, 7.0, 2.0, 8.0, 4.0, 6.0, 1e9]  # tables of order statistics: 97.9 %
    assert median_interval(values) == (2.0, 9.0)
    assert median_interval([3.0, 1.0, 2.0, 6.0, 5.0, 4.0]) == (1.0, 6.0)
    assert median_interval([1.0] * 5) is None
    assert median_interval([]) is None


@pytest.mark.parametrize("count", [6, 17, 45])
def test_intervals_of_medians_cover_what_they_say_for_lopsided_values(count):
    rng = np.random.default_rng(count)
    found = [median_interval(rng.exponential(size=count).tolist()) for _ in range(2000)]
    covered = np.mean([low <= np.log(2) <= high for low, high in found])
    assert 0.94 < covered < 0.99


def test_ends_that_can_be_drawn():
    assert Interval(0.25, 0.5, "any").ends(100.0) == (25.0, 50.0)
    assert Interval(0.25, float("inf"), "any").ends() is None
    assert Interval(float("nan"), 1.0, "any").ends() is None


def test_quantiles_are_those_of_scipy():
    for count in (*range(1, 400), 3125, 65_537):
        k = int(binom.ppf(0.025, count, 0.5))
        assert median_interval(range(count)) == ((k - 1, count - k) if k else None)
    assert median_interval([]) is None
    for known in (5, 40, 1000):
        estimates = np.arange(float(known))
        found = jackknife_interval(0.0, estimates, "")
        assert found.high == float(t.ppf(0.975, known - 1)) * np.sqrt(estimates.var(ddof=1) / known) * (known - 1)


def test_intervals_do_without_the_distributions_of_scipy():
    """Importing these takes a second."""
    code = (
        "import sys, numpy as np; from tokbench.records.intervals import *; median_interval([1.0] * 9); "
        "jackknife_interval(1.0, np.arange(9.0), ''); print('scipy.stats' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
