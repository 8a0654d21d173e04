"""Axes hold what they are fitted to, and their ticks are few, round and inside."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokbench.report.page.axes import EXTREME, Scale, fit_scale, short
from tokbench.report.page.labels import Box, place_labels

numbers = st.floats(-1e6, 1e6) | st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(numbers, max_size=8), st.booleans())
@example([1e-320, 1.0], True)
@example([1.7e308, -1.7e308], False)
@example([0.0, 0.0], False)
@example([5.0], True)
def test_scales_hold_their_figures_in_order(values, log):
    scale = fit_scale(values, 50, 400, log=log)
    kept = sorted(value for value in values if abs(value) < EXTREME and (not log or value > 1 / EXTREME))
    assert (scale is None) == (not kept)
    if scale is None:
        return
    places = [scale(value) for value in kept]
    assert places == sorted(places)
    assert all(50 <= place <= 400 for place in places)
    ticks = scale.ticks(6)
    assert [tick.at for tick in ticks] == sorted(tick.at for tick in ticks)
    assert all(50 <= tick.at <= 400 for tick in ticks)
    assert sum(bool(tick.text) for tick in ticks) <= 12


@given(st.floats(0.001, 1e6), st.floats(1.5, 1e6))
@example(808423.0, 1.5)
def test_logarithmic_axes_have_named_ticks_at_their_figures(low, ratio):
    scale = fit_scale([low, low * ratio], 0, 300, log=True)
    named = [tick for tick in scale.ticks(6) if tick.text]
    assert len(named) >= 2
    for tick in named:
        value = float(tick.text.replace("k", "e3"))
        assert abs(scale(value) - tick.at) < 300 * 0.002


def test_equal_ratios_are_equally_long_on_a_logarithmic_scale():
    scale = Scale(1, 10_000, True, 0, 400)
    assert [scale(value) for value in (1, 10, 100, 1000, 10_000)] == [0, 100, 200, 300, 400]
    assert (scale(0), scale(-5), scale(math.inf)) == (0, 0, 400)
    assert not scale.holds(0)
    upside_down = Scale(0, 10, False, 200, 0)
    assert [upside_down(value) for value in (0, 5, 10, 99, -math.inf)] == [200, 100, 0, 0, 200]


@pytest.mark.parametrize(("low", "high", "log"), [(1, 1, False), (2, 1, False), (math.nan, 1, False), (0, math.inf, False), (0, 1, True)])
def test_impossible_scales_are_refused(low, high, log):
    with pytest.raises(ValueError, match="scale"):
        Scale(low, high, log, 0, 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.05, "0.05"), (250, "250"), (10_000, "10k"), (1e-6, "1e-6"), (2.5e9, "2.5e9"), (-3, "-3"), (math.inf, "inf")],
)
def test_short_figures(value, text):
    assert short(value) == text


@given(st.lists(st.tuples(st.floats(0, 400), st.floats(0, 300), st.text("abc", max_size=12)), max_size=12))
def test_labels_meet_no_mark_no_other_label_and_no_edge(points):
    frame = Box(0, 0, 400, 300)
    taken = [Box(x - 6, y - 6, x + 6, y + 6) for x, y, _ in points]
    boxes = []
    for label, (_, _, text) in zip(place_labels(points, taken, frame), points, strict=True):
        if label is None:
            continue
        assert label.text == text != ""
        width = 6.1 * len(text)
        left = {"start": label.x, "middle": label.x - width / 2, "end": label.x - width}[label.anchor]
        boxes.append(Box(left + 0.1, label.y - 9.9, left + width - 0.1, label.y + 1.9))
    assert all(box.within(Box(-1, -1, 401, 301)) for box in boxes)
    for i, box in enumerate(boxes):
        assert not any(box.meets(other) for other in boxes[:i])
        assert not any(box.meets(Box(mark.left + 0.2, mark.top + 0.2, mark.right - 0.2, mark.bottom - 0.2)) for mark in taken)


def test_names_of_marks_that_lie_together_are_all_written_and_those_asked_first_come_first():
    frame = Box(0, 0, 400, 300)
    points = [(200.0, 150.0 + i, f"family/{i}") for i in range(8)]
    taken = [Box(x - 6, y - 6, x + 6, y + 6) for x, y, _ in points]
    labels = place_labels(points, taken, frame)
    assert all(labels)
    assert {label.leader is None for label in labels} == {True, False}
    for (x, y, _), label in zip(points, labels, strict=True):
        if label.leader is not None:
            assert math.hypot(label.leader[0] - x, label.leader[1] - y) < 60
    beside = place_labels(points, taken, frame, first=[i == 5 for i in range(8)])[5]
    assert (beside.x, beside.y, beside.leader) == (209.0, 159.0, None)  # to the right, as if it were alone
