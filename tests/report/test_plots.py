"""What plots show: points by hand, fronts against a slow search, curves against the counts they come from."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokbench.records.figures import FIGURES
from tokbench.records.intervals import Interval
from tokbench.records.record import CodebookUse, MetricResult
from tokbench.report.plots.codebooks import rank_curves, use_histograms
from tokbench.report.plots.data import Axis, Point, beats, metric_axis, quality
from tokbench.report.plots.images import distributions
from tokbench.report.plots.scatters import rate_scatter, speed_scatter
from tokbench.report.plots.ticks import even_steps, labels_fit, log_ticks, plain
from tokbench.report.table import Column, column_of, metric_columns
from tokbench.report.words import counted, shortened

COLUMNS = {info.key: column_of(info) for info in FIGURES}
COORDINATES = st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, math.inf])


@given(points=st.lists(st.tuples(COORDINATES, COORDINATES), max_size=12), x_higher=st.booleans(), y_higher=st.booleans())
def test_a_point_is_on_the_front_if_no_other_beats_it(points, x_higher, y_higher):
    """The one rule of paper and page; against a sweep along one axis."""
    x, y = Axis("x", False, x_higher), Axis("y", False, y_higher)
    made = [Point(i, str(i), across, up) for i, (across, up) in enumerate(points)]
    costs = [(-across if x_higher else across, -up if y_higher else up) for across, up in points]
    swept, best = set(), None
    for across in sorted({across for across, _ in costs}):
        up = min(up for other, up in costs if other == across)
        if best is None or up < best:
            swept |= {i for i, cost in enumerate(costs) if cost == (across, up)}
            best = up
    assert {point.record for point in made if not any(beats(other, point, x, y) for other in made)} == swept


def test_records_with_equal_figures_share_the_front(make_record):
    records = [make_record(name, seed=i).record for i, name in enumerate(("a/b", "c/d", "e/f"))]
    for record, value in zip(records, (30.0, 30.0, 29.0), strict=True):
        record.metrics["psnr"] = MetricResult(value, "dB", True)
    data = rate_scatter(records, ["a", "c", "e"], COLUMNS["psnr"])
    assert [point.name for point in data.front] == ["a", "c"]
    assert [point.beaten_by for point in data.points] == [(), (), (0, 1)]


def test_rate_points_and_what_has_no_place(make_record):
    plain, bits = make_record("a/b", grid=(8, 8)), make_record("vae/x", seed=1, bits=None)
    codec = make_record("anchor/webp-320", seed=2)
    judged = make_record("c/d", seed=3, better=1)
    judged.record.metrics["lpips"] = replace(judged.record.metrics["lpips"], judged_by_training_network=True)
    lossless = make_record("pixel/rgb", seed=4)
    lossless.record.metrics["lpips"] = MetricResult(0.0, "1", False)
    records = [item.record for item in (plain, bits, codec, judged, lossless)]
    data = rate_scatter(records, ["p", "v", "w", "j", "l"], COLUMNS["lpips"])
    assert [(point.name, point.off) for point in data.points] == [("p", False), ("w", False), ("j", False), ("l", True)]
    assert data.points[0].x == 8 * 8 * 10 / 4096
    assert data.points[0].y == records[0].metrics["lpips"].value
    assert data.points[0].interval == (records[0].metrics["lpips"].interval.low, records[0].metrics["lpips"].interval.high)
    assert [point.codec for point in data.points] == [None, "webp", None, None]
    assert [point.judged for point in data.points] == [False, False, True, False]
    assert data.left_out == ("v: continuous latents have no bits",)
    assert [point.name for point in data.front] == ["l"]  # of the same bits as j, and exact
    assert (data.x.log, data.y.log, data.y.higher_is_better) == (True, True, False)
    records[0].metrics["psnr"] = MetricResult(math.inf, "dB", True)
    data = rate_scatter(records, ["p", "v", "w", "j", "l"], COLUMNS["psnr"])
    assert (data.points[0].y, data.points[0].off, data.points[0].interval) == (math.inf, True, None)
    assert [point.name for point in data.front] == ["j", "p"]
    records[2].metrics["psnr"] = MetricResult(math.nan, "dB", True)
    records[3] = replace(records[3], tokens=replace(records[3].tokens, bpp=0.0))
    assert rate_scatter(records, ["p", "v", "w", "j", "l"], COLUMNS["psnr"]).left_out == (
        "v: continuous latents have no bits", "w: PSNR dB is nan", "j: bits per pixel is 0"
    )  # fmt: skip
    (alone,) = [rate_scatter([lossless.record], ["l"], COLUMNS["lpips"])]
    assert (alone.points, alone.left_out) == ((), ("l: LPIPS is 0",))
    assert not rate_scatter(records, ["p", "v", "w", "j", "l"], COLUMNS["rfid"]).points


@pytest.mark.parametrize("value", [1e308, -1e308, 1e300, 1e16, math.inf])
def test_what_an_axis_cannot_hold_is_off_it_and_pulls_nothing_else_along(make_record, value):
    records = [make_record(name, seed=i).record for i, name in enumerate(("a/b", "c/d", "e/f"))]
    for key in ("lpips", "ssim", "usage"):
        records[1].metrics[key] = replace(records[1].metrics[key], value=value)
        data = rate_scatter(records, ["a", "c", "e"], COLUMNS[key])
        assert [point.off for point in data.points] == [False, True, False], key
        assert data.points[1].interval is None
    records[0].metrics["ssim"] = MetricResult(0.8, "1", True, interval=Interval(-1e300, 1e300, "by hand"))
    assert rate_scatter(records, ["a", "c", "e"], COLUMNS["ssim"]).points[0].interval == (-1e15, 1e15)
    records[2] = replace(records[2], tokens=replace(records[2].tokens, bpp=1e300))
    data = rate_scatter(records, ["a", "c", "e"], COLUMNS["ssim"])
    assert [point.name for point in data.points] == ["a", "c"]
    assert data.left_out == ("e: bits per pixel is 1e+300",)


def test_distances_below_what_a_logarithmic_axis_holds_are_off_it(make_record):
    records = [make_record(name, seed=i).record for i, name in enumerate(("a/b", "c/d"))]
    records[0].metrics["lpips"], records[1].metrics["lpips"] = MetricResult(1e-14, "1", False), MetricResult(1e-16, "1", False)
    assert [point.off for point in rate_scatter(records, ["a", "c"], COLUMNS["lpips"]).points] == [False, True]


def test_figures_of_other_settings_are_marked_and_those_settings_named(make_record):
    records = [make_record(name, seed=i).record for i, name in enumerate(("a/b", "c/d", "e/f", "vae/x"))]
    for record, net in zip(records, ("alex", "alex", "vgg", "squeeze"), strict=True):
        record.metrics["lpips"] = replace(record.metrics["lpips"], settings={"net": net})
    records[3] = replace(records[3], tokens=replace(records[3].tokens, bpp=None))
    data = rate_scatter(records, ["a", "c", "e", "v"], COLUMNS["lpips"])
    assert [(point.name, point.unlike) for point in data.points] == [("a", False), ("c", False), ("e", True)]
    assert data.note == "≠ LPIPS with other settings than most of this plot: net alex or vgg"  # v is not in it
    data = rate_scatter(records, ["a", "c", "e", "v"], COLUMNS["psnr"])
    assert data.note == ""
    assert not any(point.unlike for point in data.points)


def test_shares_are_drawn_in_per_cent(make_record):
    record = make_record("a/b").record
    data = rate_scatter([record], ["a"], COLUMNS["usage"])
    assert data.points[0].y == pytest.approx(97)
    assert metric_axis(COLUMNS["usage"]).label == "usage % ↑"
    assert metric_axis(Column("mine", "mine")).label == "mine"
    (box,) = distributions([{"stability": {"x": 0.25, "y": 0.75}}], ["a"], COLUMNS["stability"])
    assert (box.mean, box.lowest, box.highest) == (50, 25, 75)


def test_speeds_of_another_machine_are_left_out(make_record):
    records = [make_record(name, seed=i).record for i, name in enumerate(("a/b", "c/d", "e/f"))]
    records[2] = replace(records[2], timing=replace(records[2].timing, threads=64))
    records[1] = replace(records[1], timing=replace(records[1].timing, decode_images_per_second=None))
    data = speed_scatter(records, ["a", "c", "e"], COLUMNS["psnr"])
    assert [(point.name, point.x) for point in data.points] == [("a", 50.0)]
    assert data.left_out == ("c: not timed", "e: measured on another machine")
    assert [point.x for point in speed_scatter(records, ["a", "c", "e"], COLUMNS["psnr"], direction="encode").points] == [100.0, 101.0]
    assert speed_scatter([], [], COLUMNS["psnr"]).points == ()
    records[1] = replace(records[1], timing=replace(records[1].timing, threads=64))  # two of three, but only one of them has a speed
    assert [point.name for point in speed_scatter(records, ["a", "c", "e"], COLUMNS["psnr"]).points] == ["a"]
    codec = make_record("anchor/webp-320", seed=3).record  # timed as a whole
    for direction in ("encode", "decode"):
        data = speed_scatter([*records, codec], ["a", "c", "e", "w"], COLUMNS["psnr"], direction=direction)
        assert "w" not in {point.name for point in data.points} | {line[0] for line in data.left_out}


def test_a_single_short_pass_has_no_front(make_record):
    records = [make_record(f"a/{i}", seed=i, better=-i).record for i in range(3)]
    short = [replace(record, timing=replace(record.timing, encode_interval=None, decode_interval=None)) for record in records]
    for found, drawn in ((records, True), (short, False), ([*records[:2], short[2]], False)):
        data = speed_scatter(found, ["a", "b", "c"], COLUMNS["psnr"])
        assert bool(data.front) is drawn
        assert len(data.points) == 3


def test_intervals_of_speeds_lie_across(make_record):
    records = [make_record(name, seed=i).record for i, name in enumerate(("a/b", "c/d"))]
    records[1] = replace(records[1], timing=replace(records[1].timing, decode_interval=Interval(0.0, 1.0, "from nothing")))
    data = speed_scatter(records, ["a", "c"], COLUMNS["psnr"])
    assert [point.x_interval for point in data.points] == [(45.0, 52.0), None]
    assert [point.x_interval for point in rate_scatter(records, ["a", "c"], COLUMNS["psnr"]).points] == [None, None]


def test_quality_is_drawn_where_it_was_measured(make_record):
    assert [column.key for column in quality(metric_columns([make_record("a/b").record]))] == ["fd_efflite0", "lpips", "psnr", "ssim"]


def test_quantiles_are_numpy_s_and_infinite_values_stay_out(make_record):
    item = make_record("a/b")
    values = np.array(list(item.rows["psnr"].values()))
    boxes = distributions([item.rows, {"psnr": {"x": math.inf}}, {}, {"psnr": {"x": math.nan}}], ["a", "b", "c", "d"], COLUMNS["psnr"])
    assert [(box.name, box.count, box.beyond) for box in boxes] == [("a", 60, 0), ("b", 1, 1)]
    assert boxes[1].quantiles == ()
    assert boxes[0].quantiles == tuple(np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95]))
    assert boxes[0].mean == pytest.approx(values.mean())
    (huge,) = distributions([{"stability": {"x": 1e308, "y": 1e308, "z": 0.5}}], ["a"], COLUMNS["stability"])
    assert (huge.count, huge.beyond, huge.quantiles) == (3, 2, ())


def used(counts, points=10**9):
    """The curve of these counts, with at most so many ranks."""
    ordered = sorted((count for count in counts if count), reverse=True)
    chosen = sorted({round(rank) for rank in np.geomspace(1, len(ordered), min(points, len(ordered)))} | {1, len(ordered)})
    if points > len(ordered):
        chosen = range(1, len(ordered) + 1)
    total = sum(counts)
    return CodebookUse(len(counts), total, len(ordered), tuple(chosen), tuple(ordered[rank - 1] / total for rank in chosen))


def histogram(counts, edges):
    """By looking at every code."""
    multiples = [count * len(counts) / sum(counts) for count in counts if count]
    return [sum(a <= m < b for m in multiples) / len(counts) for a, b in itertools.pairwise(edges)]


def test_a_histogram_counts_every_code_once(make_record):
    counts = [0, 0, 1, 3, 5, 5, 8, 13, 40, 25]
    record = replace(make_record("a/b").record, codebooks=(used(counts),))
    (made,) = use_histograms([record], ["a"])
    assert made.dead == 0.2
    assert sum(made.shares) + made.dead == pytest.approx(1)
    assert list(made.shares) == pytest.approx(histogram(counts, made.edges))


def test_a_histogram_of_few_ranks_comes_near(make_record):
    rng = np.random.default_rng(0)
    counts = np.rint(np.exp(rng.normal(5, 1, 4096))).astype(int).tolist()
    record = replace(make_record("a/b").record, codebooks=(used(counts, points=256),))
    (made,) = use_histograms([record], ["a"])
    assert list(made.shares) == pytest.approx(histogram(counts, made.edges), abs=0.02)  # ranks lie up to 3.3 % apart


def test_several_codebooks_are_one_histogram_and_several_curves(make_record):
    first, second = [1, 1, 2, 4], [8, 0, 0, 0]
    record = replace(make_record("a/b").record, codebooks=(used(first), used(second)))
    older = replace(record, codebooks=())
    (made,) = use_histograms([older, record], ["old", "a"])
    by_hand = [(a + b) / 2 for a, b in zip(histogram(first, made.edges), histogram(second, made.edges), strict=True)]
    assert list(made.shares) == pytest.approx(by_hand)
    assert made.dead == 3 / 8
    assert [(curve.name, curve.use.size) for curve in rank_curves([older, record], ["old", "a"])] == [("a", 4), ("a", 4)]


@given(low=st.floats(1e-9, 1e6), span=st.floats(1.01, 1e9), room=st.floats(0.8, 6.0), upright=st.booleans())
def test_ticks_lie_on_their_axis_and_keep_apart(low, span, room, upright):
    ticks = log_ticks(low, low * span, room, upright=upright)
    assert all(low <= tick <= low * span for tick in ticks)
    assert ticks == sorted(set(ticks))
    places = [math.log(tick / low) / math.log(span) * room for tick in ticks]
    assert labels_fit(places, ["0"] * len(ticks), upright=upright)


def test_ticks_are_round_numbers():
    assert log_ticks(0.4, 30, 2.6) == [0.5, 1, 2, 5, 10, 20]
    assert log_ticks(3, 30000, 1.6) == [10, 100, 1000, 10000]
    assert log_ticks(3, 30000, 0.9) == [100, 10000]
    assert log_ticks(0.14, 0.23, 1.1, upright=True) == [0.14, 0.16, 0.18, 0.2, 0.22]
    assert even_steps(19.2, 23.4, 4) == [20, 22]
    assert even_steps(-0.3, 0.31, 4) == [-0.2, 0, 0.2]
    assert [plain(value) for value in (-20, -0.2, 0.0, 0.2, 2e6, -2e6)] == ["-20", "-0.2", "0", "0.2", "2e+06", "-2e+06"]


def test_words():
    assert [counted(1, "image"), counted(2000, "image"), counted(0, "class", "classes")] == ["1 image", "2,000 images", "0 classes"]
    assert [shortened("abcdefgh", limit) for limit in (8, 7, 3)] == ["abcdefgh", "abc…fgh", "a…h"]
