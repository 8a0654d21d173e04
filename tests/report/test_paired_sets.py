"""Figures of whole sets on the same images are compared group by group: sound by simulation, and sharper than two intervals."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t

from tokbench.bench.runner import run
from tokbench.records.left_out import WITHOUT as ENDS
from tokbench.records.left_out import cluster_of, parts_of
from tokbench.records.protocol import get_protocol
from tokbench.records.record import MetricResult
from tokbench.records.store import read_rows, write_record
from tokbench.report.diff import diff_records
from tokbench.report.paired_sets import left_out, set_difference
from tokbench.report.significance import interval_of_difference, significantly_best

KEY = "fd_efflite0"
WITHOUT = ENDS["group"]


def spread(values):
    """A figure that is no mean, as a Fréchet distance is none: the standard deviation of all images."""
    return float(np.std(values, ddof=1))


@pytest.fixture
def of_values(make_record):
    """Makes a record whose figure is ``spread`` of values ``[groups, 6]``, with what it is without each group."""
    item = make_record("a/b")

    def make(values, figure=spread):
        groups = len(values)
        without = [figure(np.delete(values, i, axis=0)) for i in range(groups)]
        whole, mean = figure(values), sum(without) / groups
        error = math.sqrt((groups - 1) / groups * sum((one - mean) ** 2 for one in without))
        half = t.ppf(0.975, groups - 1) * error
        metric = MetricResult(whole, "1", False, interval=replace(item.record.metrics[KEY].interval, low=whole - half, high=whole + half))
        data = replace(item.record.data, count=values.size, groups=groups)
        record = replace(item.record, data=data, metrics={KEY: metric})
        return record, {KEY + WITHOUT: {f"{i:03d}/{j}": without[i] for i in range(groups) for j in range(6)}}

    return make


def test_the_interval_is_the_jackknife_of_the_difference(of_values):
    values = np.random.default_rng(0).normal(size=(8, 6))
    other = values * 1.2 + np.random.default_rng(1).normal(size=(8, 6)) * 0.1
    found = set_difference([(1.0, *of_values(other)), (-1.0, *of_values(values))], KEY)
    differences = [spread(np.delete(other, i, 0)) - spread(np.delete(values, i, 0)) for i in range(8)]
    mean = sum(differences) / 8
    error = math.sqrt(7 / 8 * sum((one - mean) ** 2 for one in differences))
    assert found.value == pytest.approx(spread(other) - spread(values))
    assert found.interval.high - found.value == pytest.approx(t.ppf(0.975, 7) * error)
    assert found.p == pytest.approx(2 * t.sf(abs(found.value) / error, 7))
    assert (found.groups, found.interval.method) == (8, "paired jackknife of 8 groups")


@pytest.mark.parametrize("keep", [12, 6])
def test_resamples_spread_as_the_jackknife_says(of_values, keep):
    """Also where what a figure is without a group is known of half the groups alone; one tokenizer's groups move it as the other's do."""
    values = np.random.default_rng(0).normal(size=(12, 6))
    sides = [of_values(values), of_values(values * 2)]
    for _, rows in sides:
        rows[KEY + WITHOUT] = {name: value for name, value in rows[KEY + WITHOUT].items() if int(name[:3]) < keep}
    found = left_out(sides, KEY)
    assert (len(found.estimates), found.count) == (keep, 12)
    picks = np.random.default_rng(1).multinomial(keep, [1 / keep] * keep, size=20_000)
    drawn = found.resampled(np.array([record.metrics[KEY].value for record, _ in sides]), picks)
    for i, (record, rows) in enumerate(sides):
        alone = set_difference([(1.0, record, rows)], KEY)
        error = (alone.interval.high - alone.value) / t.ppf(0.975, keep - 1)
        assert drawn[:, i].std() == pytest.approx(error, rel=0.03)
        assert drawn[:, i].mean() == pytest.approx(alone.value, abs=0.05 * error)
    assert drawn[:, 1] == pytest.approx(2 * drawn[:, 0])


def test_a_mean_of_images_is_paired_with_what_is_none(of_values):
    """Of a mean it is known what it is without each group, if its record has values of images."""
    values = np.random.default_rng(0).normal(size=(12, 6))
    pooled, mean = of_values(values), of_values(values, figure=np.mean)
    found = set_difference([(1.0, *pooled), (-1.0, *mean)], KEY)
    by_image = {f"{i:03d}/{j}": float(values[i, j]) for i in range(12) for j in range(6)}
    assert set_difference([(1.0, *pooled), (-1.0, mean[0], {KEY: by_image})], KEY).interval.high == pytest.approx(found.interval.high)
    assert set_difference([(1.0, mean[0], {KEY: by_image}), (-1.0, mean[0], {KEY: by_image})], KEY) is None  # those are paired by image
    others = {name: value + 1 for name, value in by_image.items()}
    assert set_difference([(1.0, *pooled), (-1.0, mean[0], {KEY: others})], KEY) is None  # the figure is not their mean


def test_clusters_and_tenths_are_left_out_as_they_were_measured(of_values):
    """Groups of one part have one number, and count once."""
    values = np.random.default_rng(0).normal(size=(40, 6))
    record, _ = of_values(values)
    groups = [f"{i:03d}" for i in range(40)]
    for part, what in (("cluster", "clusters"), ("tenth", "tenths of the groups")):
        of = parts_of(part, groups)
        numbers = {name: float(place) for place, name in enumerate(sorted(set(of.values())))}
        rows = {KEY + ENDS[part]: {f"{group}/{j}": numbers[of[group]] for group in groups for j in range(6)}}
        found = left_out([(record, rows), (record, rows)], KEY)
        assert found.estimates[:, 1].tolist() == list(numbers.values())
        assert found.name == f"{len(numbers)} {what}"
        assert left_out([(record, rows), (record, {})], KEY) is None
    assert len(set(parts_of("tenth", groups).values())) == 10
    assert [parts_of("cluster", groups)[name] for name in groups[:2]] == [f"{cluster_of(name):02d}" for name in groups[:2]]


def test_the_interval_holds_the_true_difference_as_often_as_it_says(of_values):
    """Both tokenizers see the same hard and easy groups; two intervals as if independent are several times as wide."""
    rng, hits, narrower, runs = np.random.default_rng(2), 0, 0, 200
    truth = math.sqrt(1 + 1 + 0.2**2) - math.sqrt(2)
    for _ in range(runs):
        common = rng.normal(size=(40, 1)) + rng.normal(size=(40, 6))
        first, second = of_values(common), of_values(common + 0.2 * rng.normal(size=(40, 6)))
        found = set_difference([(1.0, *second), (-1.0, *first)], KEY)
        hits += found.interval.low <= truth <= found.interval.high
        apart = interval_of_difference(second[0].metrics[KEY], first[0].metrics[KEY])
        narrower += found.interval.high - found.interval.low < (apart.high - apart.low) / 3
    assert 0.9 <= hits / runs <= 0.99
    assert narrower == runs


def test_diff_and_best_see_what_two_intervals_do_not(of_values):
    rng = np.random.default_rng(3)
    common = rng.normal(size=(40, 1)) + rng.normal(size=(40, 6))
    worse = of_values(common * 1.03)
    better = of_values(common)
    apart = interval_of_difference(worse[0].metrics[KEY], better[0].metrics[KEY])
    assert apart.low < 0 < apart.high
    (change,) = [one for one in diff_records(better[0], worse[0], better[1], worse[1]).changes if one.key == KEY]
    assert (change.verdict, change.why.split(", p ")[0]) == ("worse", "paired jackknife of 40 groups")
    assert significantly_best([worse[0], better[0]], [worse[1], better[1]], KEY) == [False, True]
    assert significantly_best([worse[0], better[0]], [{}, better[1]], KEY) == [False, False]
    (alone,) = [one for one in diff_records(better[0], worse[0], {}, worse[1]).changes if one.key == KEY]
    assert (alone.verdict, alone.why) == ("same", "both intervals, as if independent")


def test_nothing_is_told_of_other_images_few_groups_or_equal_records(of_values):
    values = np.random.default_rng(4).normal(size=(8, 6))
    one, same = of_values(values), of_values(values)
    found = set_difference([(1.0, *one), (-1.0, *same)], KEY)
    assert (found.value, found.p, found.significant) == (0.0, 1.0, False)
    assert set_difference([(1.0, *one), (-1.0, *of_values(values[:7]))], KEY) is None
    assert set_difference([(1.0, *of_values(values[:4])), (-1.0, *of_values(values[:4]))], KEY) is None
    assert set_difference([(1.0, *one), (-1.0, same[0], {})], KEY) is None


def test_runs_keep_what_distances_are_without_each_group_and_gates_use_it(tokbench_cli, folder, tmp_path):
    paths = []
    for name in ("patch/kmeans-1024", "pixel/palette-512"):
        found = run(name, folder, protocol=get_protocol(changes={"size": 64}), metrics="kd_efflite0,psnr,codebook")
        paths.append(write_record(found.record, found.rows, tmp_path / "runs"))
    rows = read_rows(paths[0])
    column = rows["kd_efflite0" + WITHOUT]
    assert set(column) == {f"{i:02d}.png" for i in range(12)}
    assert len(set(column.values())) == 12
    alike = {f"{i:02d}.png" for i in range(12) if cluster_of(f"{i:02d}.png") == cluster_of("03.png")}
    counted = {key: rows[key + ENDS["cluster"]]["03.png"] for key in ("usage", "dead_codes", "entropy_bits", "perplexity")}
    assert "entropy_bits_per_image" + ENDS["cluster"] in rows
    for name in ("03.png", *sorted(alike - {"03.png"})):
        (folder / name).unlink()
        without = run("patch/kmeans-1024", folder, protocol=get_protocol(changes={"size": 64}), metrics="kd_efflite0,codebook").record
        if name == "03.png":
            assert column["03.png"] == pytest.approx(without.metrics["kd_efflite0"].value, rel=1e-6)
    for key, value in counted.items():
        assert value == pytest.approx(without.metrics[key].value, rel=1e-12)
    arguments = ("diff", paths[0], paths[1], "--fail-if")
    status, out, err = tokbench_cli(*arguments, "kd_efflite0.change.high<0")
    assert status == 1, err
    assert "failed kd_efflite0.change.high<0" in err
    assert "paired jackknife of 12 groups" in out
    assert re.search(r"usage .*paired jackknife of \d+ clusters, p ", out)
    assert tokbench_cli(*arguments, "kd_efflite0.change.low>0")[0] == 0
    status, _, err = tokbench_cli(*arguments, "parameters.change.low>0")
    assert status == 1
    assert "no parameters.change.low: its change has no interval" in err
    assert tokbench_cli("diff", paths[0], paths[1], "--fail-if", "kd_efflite0.chance.low>0")[0] == 2
    status, _, err = tokbench_cli("report", "runs", "--images", "0", "-o", "page.html")
    assert status == 0, err
    assert WITHOUT not in (tmp_path / "page.html").read_text()
    assert WITHOUT not in tokbench_cli("compare", "runs", "--spread", "--format", "csv")[1]
