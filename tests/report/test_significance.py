"""Bold only beyond chance: against every pattern of signs, a simulation of correlated crops, and what has no answer."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from tokbench.records.intervals import Interval
from tokbench.records.record import MetricResult
from tokbench.report.significance import image_groups, interval_of_difference, paired_best, paired_difference, significantly_best, too_few


def crops(photos, per_photo, seed, *, shift=0.0, within=0.1):
    """Differences that are nearly the same for all crops of a photo."""
    rng = np.random.default_rng(seed)
    photo = rng.normal(size=photos) + shift
    return {f"{i:03d}/{j}": float(photo[i] + within * rng.normal()) for i in range(photos) for j in range(per_photo)}


def groups_of(rows):
    return {name: name.split("/")[0] for name in rows}


def zeros(rows):
    return dict.fromkeys(rows, 0.0)


@pytest.mark.parametrize("photos", [3, 7, 10])
def test_p_is_the_share_of_all_patterns_of_signs(photos):
    rows = crops(photos, 4, seed=photos, shift=0.6)
    found = paired_difference(rows, zeros(rows), groups_of(rows))
    sums = [sum(value for name, value in rows.items() if name.startswith(f"{i:03d}/")) for i in range(photos)]
    patterns = [abs(sum(s * x for s, x in zip(signs, sums, strict=True))) for signs in itertools.product((1, -1), repeat=photos)]
    assert found.p == pytest.approx(sum(p >= abs(sum(sums)) - 1e-9 for p in patterns) / len(patterns), abs=1e-12)
    assert found.mean == pytest.approx(sum(rows.values()) / len(rows))
    assert (found.images, found.groups) == (4 * photos, photos)


def test_random_signs_come_near_all_of_them():
    rows = crops(14, 1, seed=3, shift=0.45)
    values = np.array(list(rows.values()))
    signs = 1 - 2 * ((np.arange(2**14)[:, None] >> np.arange(14)) & 1)
    exact = float(np.mean(np.abs(signs @ values) >= abs(values.sum()) - 1e-9))
    found = paired_difference(rows, zeros(rows), None)
    assert 0.01 < exact < 0.5
    assert found.p == pytest.approx(exact, abs=4 * math.sqrt(exact / 9999))
    assert found == paired_difference(rows, zeros(rows), None)
    assert found.p != paired_difference(rows, zeros(rows), None, seed=1).p


def test_correlated_crops_are_no_independent_samples():
    """Two equal tokenizers on 10 photos of 30 crops: by photo they differ in one run of 20, by crop in most."""
    by_photo = by_crop = 0
    for seed in range(200):
        rows = crops(10, 30, seed)
        by_photo += paired_difference(rows, zeros(rows), groups_of(rows)).p <= 0.05
        by_crop += paired_difference(rows, zeros(rows), None).p <= 0.05 if seed < 20 else 0
    assert by_photo <= 20
    assert by_crop >= 10


def test_more_groups_than_blocks_are_dealt_into_blocks():
    rng = np.random.default_rng(0)
    rows = {f"{i:06d}": float(value) for i, value in enumerate(rng.normal(0.1, 1.0, 5000))}
    found = paired_difference(rows, zeros(rows), None)
    assert found.p == 1 / 10_000
    assert found.groups == 5000
    assert found.interval.low == pytest.approx(found.mean - 1.96 / math.sqrt(5000), abs=0.006)


def test_the_best_must_beat_every_other_one():
    base = crops(12, 3, seed=1)
    better = {name: value + 1.0 + 0.1 * math.sin(i) for i, (name, value) in enumerate(base.items())}
    near = {name: value + 0.001 * math.sin(7 * i) for i, (name, value) in enumerate(better.items())}
    groups = groups_of(base)
    assert paired_best([base, better], groups, higher_is_better=True) == [False, True]
    assert paired_best([base, better], groups, higher_is_better=False) == [True, False]
    assert paired_best([base, better, near], groups, higher_is_better=True) == [False] * 3
    assert paired_best([better, better], groups, higher_is_better=True) == [False, False]


def test_many_comparisons_are_corrected():
    """Six photos that all agree have p 2/64: enough for one comparison, not for two at once."""
    base = crops(6, 2, seed=0)
    winner = {name: value + 1 for name, value in base.items()}
    assert paired_best([base, winner], groups_of(base), higher_is_better=True) == [False, True]
    assert paired_best([base, base, winner], groups_of(base), higher_is_better=True) == [False] * 3


def test_too_few_groups_are_never_enough():
    base = crops(5, 40, seed=0)
    winner = {name: value + 100 for name, value in base.items()}
    assert paired_best([base, winner], groups_of(base), higher_is_better=True) == [False, False]


def test_records_without_rows_take_no_part_and_other_images_end_it():
    base = crops(8, 2, seed=2)
    winner = {name: value + 1 for name, value in base.items()}
    groups = groups_of(base)
    assert paired_best([base, {}, winner], groups, higher_is_better=True) == [False, False, True]
    assert paired_best([base, {}], groups, higher_is_better=True) == [False, False]
    assert paired_best([], groups, higher_is_better=True) == []
    part = dict(list(winner.items())[:-1])
    assert paired_best([base, part], groups, higher_is_better=True) == [False, False]
    assert paired_best([base, {f"x{name}": value for name, value in winner.items()}], groups, higher_is_better=True) == [False, False]
    assert paired_difference(base, {"other": 1.0}, None) is None


def test_infinity_beats_what_is_finite_and_not_itself():
    base = crops(8, 2, seed=2)
    perfect = dict.fromkeys(base, math.inf)
    groups = groups_of(base)
    assert paired_best([base, perfect], groups, higher_is_better=True) == [False, True]
    assert paired_best([perfect, base, dict(perfect)], groups, higher_is_better=True) == [False] * 3
    found = paired_difference(perfect, base, groups)
    assert math.isnan(found.mean)
    assert (found.above, found.below, found.sign, found.interval, found.significant) == (16, 0, 1, None, True)
    same = paired_difference(perfect, perfect, groups)
    assert (same.mean, same.p, same.significant) == (0.0, 1.0, False)
    mixed = {name: math.inf if i % 2 else -math.inf for i, name in enumerate(base)}
    assert paired_difference(mixed, base, groups).p == 1.0


def test_values_near_the_largest_float_raise_and_warn_of_nothing(recwarn):
    huge = {name: math.copysign(1.7e308, value) for name, value in crops(8, 2, seed=2).items()}
    other = {name: -value for name, value in huge.items()}
    assert paired_best([huge, dict(huge)], groups_of(huge), higher_is_better=True) == [False, False]
    assert paired_difference(huge, other, groups_of(huge)).interval is None
    assert not recwarn.list


def test_missing_values_are_left_out():
    base = crops(8, 2, seed=2)
    holed = {name: value + 1 for name, value in base.items()} | {next(iter(base)): math.nan}
    assert paired_difference(holed, base, None).images == len(base) - 1
    assert paired_best([base, holed], groups_of(base), higher_is_better=True) == [False, False]


def test_groups_follow_from_ids_and_their_number(make_record):
    record = make_record("a/b").record
    ids = ["p1/00", "p1/01", "p2/00"]
    assert image_groups(replace(record, data=replace(record.data, groups=2)), ids) == {"p1/00": "p1", "p1/01": "p1", "p2/00": "p2"}
    assert image_groups(replace(record, data=replace(record.data, groups=3)), ids) == {name: name for name in ids}
    assert image_groups(replace(record, data=replace(record.data, groups=1)), ids) is None


def test_records_are_compared_by_rows_and_sets_by_intervals(make_record):
    worse, best = make_record("a/b", seed=1), make_record("c/d", seed=1, better=3)
    records, rows = [worse.record, best.record], [worse.rows, best.rows]
    for key in ("psnr", "lpips", "ssim", "fd_efflite0"):
        assert significantly_best(records, rows, key) == [False, True], key
        assert significantly_best(records[::-1], rows[::-1], key) == [True, False], key
    assert significantly_best(records, rows, "rfid") == [False, False]
    assert significantly_best(records, rows, "usage") == [False, False]
    assert significantly_best(records[1:], rows[1:], "psnr") == [False]
    near = make_record("c/d", better=1)
    assert significantly_best([worse.record, near.record], rows, "fd_efflite0") == [False, False]  # 100 ± 10 and 90 ± 10
    with pytest.raises(ValueError, match="2 records with 1"):
        significantly_best(records, rows[:1], "psnr")


@pytest.mark.parametrize(
    "change",
    [
        lambda r: replace(r, data=replace(r.data, pixels_digest="f" * 64)),
        lambda r: replace(r, protocol=replace(r.protocol, uint8="truncate")),
        lambda r: replace(r, metrics=r.metrics | {"psnr": replace(r.metrics["psnr"], settings={"data_range": 1})}),
        lambda r: replace(r, metrics=r.metrics | {"psnr": replace(r.metrics["psnr"], higher_is_better=None)}),
    ],
    ids=["images", "protocol", "settings", "direction"],
)
def test_what_does_not_compare_is_never_bold(make_record, change):
    worse, best = make_record("a/b", seed=1), make_record("c/d", seed=1, better=3)
    assert significantly_best([worse.record, change(best.record)], [worse.rows, best.rows], "psnr") == [False, False]


def test_interval_of_a_difference():
    a, b = MetricResult(10.0, interval=Interval(7.0, 14.0, "")), MetricResult(4.0, interval=Interval(0.0, 7.0, ""))
    found = interval_of_difference(a, b)
    assert (found.low, found.high) == pytest.approx((6 - math.hypot(3, 3), 6 + math.hypot(4, 4)))
    mirrored = interval_of_difference(b, a)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))
    assert interval_of_difference(a, MetricResult(4.0)) is None
    assert interval_of_difference(MetricResult(reason="no"), b) is None


def test_too_few_groups_are_those_that_nothing_could_set_apart():
    for photos in range(2, 9):
        rows = {f"{i:03d}/{j}": 1.0 + 0.01 * i for i in range(photos) for j in range(2)}  # each group says the same
        assert (too_few(2 * photos, photos) is not None) is not paired_difference(rows, zeros(rows), groups_of(rows)).significant
    assert too_few(8, 5) == (
        "8 images of 5 groups: intervals over fewer than 6 groups mean little, and no difference paired by image is beyond chance"
    )
    assert too_few(2000, 1).startswith("2,000 images of 1 group: ")
    assert too_few(1, 1).startswith("measured on 1 image: there are no intervals")
