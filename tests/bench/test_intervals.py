"""Intervals cover what they should, and know about groups."""

import numpy as np
import pytest

from tokbench.bench.intervals import group_bootstrap, group_jackknife


def test_bootstrap_is_about_two_standard_errors_of_group_means():
    rng = np.random.default_rng(0)
    groups = [str(i // 10) for i in range(1000)]
    values = np.repeat(rng.normal(size=100), 10)  # images of a group are equal: 100 independent samples, not 1000
    interval = group_bootstrap(values.tolist(), groups)
    width = interval.high - interval.low
    assert width == pytest.approx(2 * 1.96 * values.std() / 10, rel=0.15)
    assert interval == group_bootstrap(values.tolist(), groups)


def test_no_interval_where_there_is_nothing_to_resample():
    assert group_bootstrap([1.0, 2.0], ["a", "a"]) is None
    assert group_bootstrap([1.0, float("inf")], ["a", "b"]) is None
    assert group_jackknife(1.0, lambda keep: 1.0, ["a", "b", "c", "d"]) is None


def test_jackknife_of_a_mean_equals_the_textbook():
    values = np.arange(10.0)
    interval = group_jackknife(values.mean(), lambda keep: float(values[keep].mean()), [str(i) for i in range(10)])
    error = values.std(ddof=1) / np.sqrt(10)
    assert interval.high - interval.low == pytest.approx(2 * 2.262157 * error, rel=1e-5)
