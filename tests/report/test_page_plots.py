"""Plots stand where the figures are: held against slow references."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tokbench.records.intervals import Interval
from tokbench.records.record import CodebookUse, MetricResult
from tokbench.report.page.model import arrange
from tokbench.report.page.render import missing_anchors
from tokbench.report.page.scatter import BOTTOM, RIGHT, TOP, rate_plots, speed_plots
from tokbench.report.page.spread import BASE, BINS, HILL, spreads
from tokbench.report.page.usage import BARS_BASE, BARS_TOP, OCTAVES, rank_plot, usage_histograms


def measured(make_record, name, bpp, psnr, fd, seed=0):
    item = make_record(name, seed=seed)
    metrics = item.record.metrics | {
        "psnr": MetricResult(psnr, "dB", True),
        "fd_efflite0": MetricResult(fd, "squared feature distance", False),
    }
    tokens = replace(item.record.tokens, bpp=bpp, bits_per_image=None if bpp is None else bpp * 4096)
    return replace(item, record=replace(item.record, metrics=metrics, tokens=tokens))


def plot_of(plots, title):
    return next(plot for plot in plots if plot.title.startswith(title))


def test_the_front_steps_through_its_points_and_on_to_the_frame(make_record):
    rng = np.random.default_rng(3)
    octaves = rng.uniform(-4, 4, size=12)
    items = [
        measured(make_record, f"family/{i}", float(2**octave), float(25 + 2 * octave + rng.normal(0, 2)), 10.0 + i)
        for i, octave in enumerate(octaves)
    ]
    (group,) = arrange(items)
    plot = plot_of(rate_plots(group), "PSNR")
    places = {mark.point.record: f"{mark.x:g} {mark.y:g}" for mark in plot.marks}
    corners = plot.front.removeprefix("M").split("L")
    assert 1 < len(plot.data.front) < 12
    assert corners[::2] == [places[point.record] for point in plot.data.front]
    assert corners[-1] == f"{RIGHT} {corners[-2].split()[1]}"
    for mark in plot.marks:
        assert mark.beaten_by == tuple(group.entries[other].number for other in mark.point.beaten_by)


def test_marks_lie_at_their_figures_on_logarithmic_axes(make_record):
    (group,) = arrange([measured(make_record, f"family/{i}", 10.0**i, 30, 10.0**i) for i in range(3)])
    plot = plot_of(rate_plots(group), "FD-EffLite0")
    xs, ys = [mark.x for mark in plot.marks], [mark.y for mark in plot.marks]
    assert xs[2] - xs[1] == pytest.approx(xs[1] - xs[0], abs=0.05)
    assert ys[2] - ys[1] == pytest.approx(ys[1] - ys[0], abs=0.05)
    assert ys[0] > ys[2]
    assert plot.data.x.log
    assert plot.data.y.log


def test_zero_and_infinity_stand_on_the_frame_and_stretch_nothing(make_record):
    perfect = measured(make_record, "pixel/rgb", 24.0, math.inf, 1e-13)
    interval = Interval(-1e-13, 3e-13, "jackknife")
    perfect = replace(
        perfect,
        record=replace(
            perfect.record,
            metrics=perfect.record.metrics | {"fd_efflite0": MetricResult(0.0, "squared feature distance", False, {}, interval)},
        ),
    )
    (group,) = arrange([measured(make_record, "family/a", 0.5, 25, 100.0), measured(make_record, "family/b", 1.0, 27, 50.0), perfect])
    plots = rate_plots(group)
    fd, psnr = (next(mark for mark in plot_of(plots, title).marks if mark.entry.name == "pixel/rgb") for title in ("FD", "PSNR"))
    assert fd.point.off
    assert psnr.point.off
    assert (fd.y, psnr.y) == (BOTTOM, TOP)
    assert fd.bar is None
    others = [mark.y for mark in plot_of(plots, "FD").marks if mark.entry.name != "pixel/rgb"]
    assert abs(others[0] - others[1]) > 100


def test_continuous_latents_and_codecs_have_their_place(make_record):
    items = [
        measured(make_record, "vae/a", None, 30, 50),
        measured(make_record, "vq/a", 0.5, 25, 70),
        measured(make_record, "anchor/webp-320", 0.61, 28, 90),
        measured(make_record, "anchor/webp-640", 1.2, 31, 60),
    ]
    (group,) = arrange(items)
    plot = plot_of(rate_plots(group), "PSNR")
    assert plot.data.left_out == ("vae/a: continuous latents have no bits",)
    assert [mark.entry.name for mark in plot.marks] == ["anchor/webp-320", "anchor/webp-640", "vq/a"]
    ends = [f"{mark.x:g} {mark.y:g}" for mark in plot.marks[:2]]
    assert plot.codec_paths == {"webp": "M" + "L".join(ends)}
    assert not any(end in plot.front for end in ends)
    speeds = plot_of(speed_plots(group), "PSNR")
    assert {mark.entry.name for mark in speeds.marks} == {"vae/a", "vq/a"}
    assert missing_anchors(group) == ["anchor/webp-256", "anchor/jpeg-256"]


def test_intervals_of_speeds_lie_across_their_marks(make_record):
    a, b = make_record("family/a"), make_record("family/b", seed=1)
    b = replace(b, record=replace(b.record, timing=replace(b.record.timing, decode_interval=Interval(-1.0, math.inf, "none"))))
    (group,) = arrange([a, b])
    marks = {mark.entry.name: mark for mark in plot_of(speed_plots(group), "PSNR").marks}
    low, high = marks["family/a"].bar_across
    assert low < marks["family/a"].x < high
    assert "50 decoded images per second  [45, 52]" in marks["family/a"].tip
    assert marks["family/b"].bar_across is None
    assert all(mark.bar_across is None for mark in plot_of(rate_plots(group), "PSNR").marks)


def test_no_mark_says_minus_zero(make_record):
    exact = measured(make_record, "pixel/rgb", 24.0, math.inf, -1e-13)
    tiny = MetricResult(-1e-13, "squared feature distance", False, {}, Interval(-2e-13, 3e-13, "jackknife"))
    exact = replace(exact, record=replace(exact.record, metrics=exact.record.metrics | {"fd_efflite0": tiny}))
    (group,) = arrange([measured(make_record, "family/a", 0.5, 25, 100.0), exact])
    mark = next(mark for mark in plot_of(rate_plots(group), "FD").marks if mark.entry.name == "pixel/rgb")
    assert mark.tip.split("\n")[1] == "FD-EffLite0 0.00  [0.00, 0.00] (no place on this axis)"


def test_marks_say_which_figures_were_measured_otherwise(make_record):
    items = [measured(make_record, f"family/{i}", 0.5 + i, 25 + i, 100.0 - i, seed=i) for i in range(3)]
    lpips = replace(items[2].record.metrics["lpips"], value=0.1234, settings={"network": "another"}, interval=None)
    items[2] = replace(items[2], record=replace(items[2].record, metrics=items[2].record.metrics | {"lpips": lpips}))
    (group,) = arrange(items)
    for plots in (rate_plots(group), speed_plots(group)):
        tips = {mark.entry.name: mark.tip for mark in plot_of(plots, "LPIPS").marks}
        assert tips["family/2"].split("\n")[1] == "LPIPS 0.1234 ≠ measured with other settings"
        assert "≠" not in tips["family/0"] + tips["family/1"]
        assert not any("≠" in mark.tip for mark in plot_of(plots, "PSNR").marks)


def test_a_crowd_names_only_its_front(make_record):
    (group,) = arrange([measured(make_record, f"family/{i:02d}", 0.5 + 0.1 * i, 30 - 0.3 * i, 10) for i in range(20)])
    plot = plot_of(rate_plots(group), "PSNR")
    assert [mark.label.text for mark in plot.marks if mark.label] == ["family/00"]


def test_hills_are_histograms(make_record):
    (group,) = arrange([make_record("family/a", images=300), make_record("family/b", seed=1, images=300)])
    spread = next(spread for spread in spreads(group) if spread.title.startswith("PSNR"))
    every = [np.array(list(entry.rows["psnr"].values())) for entry in group.entries]
    row = spread.rows[1]
    # read the path back: heights of the steps, in units of the highest
    heights, at, height = np.zeros(BINS), 0, 0.0
    for part in row.hill.split("H")[1:]:
        place, _, upright = part.rstrip("Z").partition("V")
        step = round((float(place) - 10) / (400 / BINS))
        heights[at:step] = height
        at, height = step, (BASE - float(upright)) / HILL
    low, high = min(v.min() for v in every), max(v.max() for v in every)
    margin = 0.07 * (high - low)
    counts = np.histogram(every[1], np.linspace(low - margin, high + margin, BINS + 1))[0]
    assert heights == pytest.approx(counts / counts.max(), abs=0.006)
    assert row.text == f"{np.median(every[1]):.2f}"
    assert row.ends[0] < row.quartiles[0] < row.quartiles[1] < row.quartiles[2] < row.ends[1]


def test_infinite_images_are_counted_not_drawn(make_record):
    a, b = make_record("family/a"), make_record("pixel/rgb")
    some = dict.fromkeys(list(a.rows["psnr"])[:5], math.inf)
    a = replace(a, rows=a.rows | {"psnr": a.rows["psnr"] | some})
    b = replace(b, rows=b.rows | {"psnr": dict.fromkeys(b.rows["psnr"], math.inf)})
    (group,) = arrange([a, b])
    spread = next(spread for spread in spreads(group) if spread.title.startswith("PSNR"))
    assert [row.entry.name for row in spread.rows] == ["family/a"]
    assert "55 images, 5 more exact" in spread.rows[0].tip
    assert spread.left_out == ("pixel/rgb: 60 images, all exact",)


def test_usage_histograms_count_codes(make_record):
    rng = np.random.default_rng(0)
    size = 512
    counts = np.sort(rng.multinomial(20_000, rng.dirichlet(np.full(size, 0.3))))[::-1]
    used = counts[counts > 0]
    ranks = np.unique(np.rint(np.geomspace(1, len(used), 256)).astype(int))
    use = CodebookUse(size, 20_000, len(used), tuple(map(int, ranks)), tuple(float(used[r - 1] / 20_000) for r in ranks))
    item = make_record("family/a", size=size)
    item = replace(item, record=replace(item.record, codebooks=(use, use)))
    (group,) = arrange([item])
    (bars,) = usage_histograms(group)
    relative = used / 20_000 * size
    edges = [0, *(2.0**octave for octave in OCTAVES), np.inf]
    exact = np.histogram(relative, edges)[0] / size
    shown = [float(bar.tip.split("%")[0]) / 100 for bar in bars.bars]
    assert shown == pytest.approx(exact.tolist(), abs=0.006)  # between points of the curve, codes are read off a line
    assert float(bars.never.tip.split("%")[0]) / 100 == pytest.approx(1 - len(used) / size, abs=0.0006)
    assert "1,024 codes in 2 codebooks, 40,000 tokens" in bars.summary
    plot = rank_plot(group)
    assert len(plot.lines) == 2
    assert "codebook 2 of 2" in plot.lines[1].tip


def test_histograms_of_a_group_share_one_scale(make_record):
    even = CodebookUse(8, 800, 8, tuple(range(1, 9)), (0.125,) * 8)
    half = CodebookUse(8, 800, 4, tuple(range(1, 5)), (0.25,) * 4)
    items = [
        replace(item, record=replace(item.record, codebooks=(use,)))
        for item, use in ((make_record("family/a"), even), (make_record("family/b", seed=1), half))
    ]
    (group,) = arrange(items)
    all_alike, half_used = usage_histograms(group)
    assert max(bar.height for bar in all_alike.bars) == BARS_BASE - BARS_TOP
    assert half_used.never.height == pytest.approx((BARS_BASE - BARS_TOP) / 2)
    assert max(bar.height for bar in half_used.bars) == pytest.approx((BARS_BASE - BARS_TOP) / 2)
    assert [(tick.text, tick.at) for tick in all_alike.ticks] == [
        (f"{percent}", pytest.approx(BARS_BASE - (BARS_BASE - BARS_TOP) * percent / 100, abs=0.01)) for percent in (0, 25, 50, 75, 100)
    ]
    assert half_used.ticks == all_alike.ticks


@pytest.mark.parametrize(
    "use",
    [
        CodebookUse(8, 10, 2, (), ()),
        CodebookUse(8, 10, 2, (1, 2), (0.5,)),
        CodebookUse(8, 10, 2, (1, 9), (0.5, 0.1)),
        CodebookUse(8, 10, 2, (1, 2), (0.5, math.nan)),
        CodebookUse(8, 10, 2, (1, 2), (0.5, 0.0)),
    ],
)
def test_curves_that_are_none_are_left_out(make_record, use):
    item = make_record("family/a")
    (group,) = arrange([replace(item, record=replace(item.record, codebooks=(use,)))])
    assert rank_plot(group) is None
    assert usage_histograms(group) == []


def test_a_codebook_of_one_used_code_has_a_curve(make_record):
    item = make_record("family/a")
    (group,) = arrange([replace(item, record=replace(item.record, codebooks=(CodebookUse(8, 10, 1, (1,), (1.0,)),)))])
    assert len(rank_plot(group).lines) == 1
    assert usage_histograms(group)[0].never.tip.startswith("87.5%")
