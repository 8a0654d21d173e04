"""Differences between curves: closed forms, Bjontegaard's own polynomial, and which records make a curve."""

import csv
import io
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from tokbench.errors import TokbenchError
from tokbench.records.record import MetricResult
from tokbench.report.bd import Curve, bd_figure, bd_rate, bd_tables, curves_of
from tokbench.report.render import render


def curve(bits, figures, name="a"):
    return Curve(name, tuple(map(float, bits)), tuple(map(float, figures)))


def test_a_curve_that_takes_a_fifth_more_bits_everywhere():
    bits, figures = np.array([100.0, 230.0, 410.0, 900.0]), (25.0, 28.0, 30.5, 35.0)
    one, other = curve(bits * 1.2, figures), curve(bits, figures)
    assert bd_rate(one, other, higher_is_better=True) == pytest.approx(0.2, rel=1e-9)
    assert bd_rate(other, one, higher_is_better=True) == pytest.approx(1 / 1.2 - 1, rel=1e-9)
    assert bd_rate(one, one, higher_is_better=True) == 0
    shifted = curve(bits, np.array(figures) + 0.7)
    assert bd_figure(shifted, other, higher_is_better=True) == pytest.approx(0.7, rel=1e-9)


def test_distances_are_less_where_they_are_better():
    bits = np.array([100.0, 200.0, 400.0])
    distances = np.array([0.4, 0.2, 0.1])
    one, other = curve(bits * 0.5, distances), curve(bits, distances)
    for log in (False, True):
        assert bd_rate(one, other, higher_is_better=False, log=log) == pytest.approx(-0.5, rel=1e-9)
    assert bd_figure(curve(bits, distances - 0.05), curve(bits, distances), higher_is_better=False) == pytest.approx(-0.05)
    assert bd_figure(curve(bits, distances * 0.9), curve(bits, distances), higher_is_better=False, log=True) == pytest.approx(-0.1)


def test_two_points_make_a_line():
    one, other = curve((math.exp(1), math.exp(3)), (0, 2)), curve((math.exp(1), math.exp(2)), (1, 3))  # ln bits 1 + q and (1 + q) / 2
    steps = np.linspace(1, 2, 100_001)
    wanted = math.expm1(np.trapezoid((1 + steps) - (1 + steps) / 2, steps))
    assert bd_rate(one, other, higher_is_better=True) == pytest.approx(wanted, rel=1e-9)


def test_smooth_curves_are_near_those_of_bjontegaards_polynomial():
    """He fits one polynomial of third degree through four points, and integrates it."""
    bits1, psnr1 = (130.0, 260.0, 530.0, 1100.0), (30.1, 33.0, 36.2, 39.5)
    bits2, psnr2 = (120.0, 250.0, 500.0, 990.0), (30.6, 33.8, 37.0, 40.1)
    low, high = max(psnr1[0], psnr2[0]), min(psnr1[-1], psnr2[-1])
    areas = []
    for bits, psnr in ((bits1, psnr1), (bits2, psnr2)):
        integral = np.polyint(np.polyfit(psnr, np.log(bits), 3))
        areas.append(np.polyval(integral, high) - np.polyval(integral, low))
    wanted = math.expm1((areas[0] - areas[1]) / (high - low))
    assert wanted > 0.1
    assert bd_rate(curve(bits1, psnr1), curve(bits2, psnr2), higher_is_better=True) == pytest.approx(wanted, rel=0.02)


def test_curves_that_reach_nothing_in_common_have_no_difference():
    one, other = curve((10, 20), (1, 2)), curve((30, 40), (2, 3))
    assert bd_rate(one, other, higher_is_better=True) is None
    assert bd_figure(one, other, higher_is_better=True) is None


def measured(make_record, name, bits, psnr, **changes):
    record = make_record(name, bits=bits).record
    config = changes.pop("config", record.tokenizer.config)
    return replace(
        record,
        tokenizer=replace(record.tokenizer, config=config),
        metrics=record.metrics | {"psnr": MetricResult(psnr, "dB", True)} | changes,
    )


def test_a_curve_is_a_codec_a_tokenizer_of_several_lengths_or_a_family(make_record):
    records = [
        measured(make_record, "anchor/webp-20", 1000.0, 25.0),
        measured(make_record, "anchor/webp-40", 2000.0, 28.0),
        measured(make_record, "anchor/jpeg-40", 2000.0, 27.0),
        measured(make_record, "titok/a", 320.0, 20.0, config={"kept": 32}),
        measured(make_record, "titok/a", 640.0, 22.0, config={"kept": 64}),
        measured(make_record, "vq/b", 900.0, 26.0),
        measured(make_record, "vq/c", 1800.0, 29.0),
        measured(make_record, "vq/worse", 2000.0, 28.5),
        measured(make_record, "vq/best", 4000.0, math.inf),
        measured(make_record, "vae/d", None, 31.0),
    ]
    names = [record.tokenizer.name for record in records]
    found = curves_of(records, names, "psnr")
    assert [one.name for one in found] == ["anchor/webp", "titok/a", "vq"]
    assert found[2] == Curve("vq", (900.0, 1800.0), (26.0, 29.0), beaten=("vq/worse",))
    (table,) = bd_tables(records, "psnr")
    assert [name for name, _ in table.rows] == ["anchor/webp", "titok/a", "vq"]
    assert any(note == "left out, as fewer bits reach as much: vq/worse" for note in table.notes)
    (row, _, last) = list(csv.DictReader(io.StringIO(render([table], "csv"))))
    assert (row["curve"], row["points"], row["bits_low"], row["bits_high"]) == ("anchor/webp", "2.0", "1000.0", "2000.0")
    assert (row["bd_rate:anchor/webp"], row["bd_rate:titok/a"]) == ("", "")
    wanted = bd_rate(found[2], found[0], higher_is_better=True)
    assert float(last["bd_rate:anchor/webp"]) == pytest.approx(wanted)
    assert wanted < 0
    assert f"| {100 * wanted:.1f} |" in render([table], "md")


def test_marks_of_a_curve_follow_its_differences(make_record):
    judged = MetricResult(0.2, "1", False, judged_by_training_network=True)
    records = [
        measured(make_record, "vq/a", 1000.0, 25.0, lpips=judged),
        measured(make_record, "vq/b", 2000.0, 27.0, lpips=MetricResult(0.1, "1", False)),
        measured(make_record, "anchor/webp-1", 1000.0, 25.0, lpips=MetricResult(0.3, "1", False)),
        measured(make_record, "anchor/webp-2", 3000.0, 25.0, lpips=MetricResult(0.15, "1", False)),
    ]
    (table,) = bd_tables(records, "lpips")
    assert table.rows[0][1][4].mark == "†"
    assert table.rows[1][1][3].mark == "†"
    assert any(note.startswith("† the tokenizer was trained") for note in table.notes)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("psnrr", "unknown figure 'psnrr'; did you mean psnr"),
        ("psnr", r"these records hold no two curves of psnr over bits, of at least 2 points each; measure each family at several rates"),
        ("perplexity", "unknown figure 'perplexity'"),
        ("stretch", "neither more nor less of stretch is better, so that no bits are saved at equal stretch; choose another figure"),
    ],
)
def test_what_has_no_curves_is_refused(make_record, key, text):
    record = measured(make_record, "vq/a", 1000.0, 25.0, stretch=MetricResult(1.0, "1", None))
    with pytest.raises(TokbenchError, match=text):
        bd_tables([record, measured(make_record, "vq/b", 2000.0, 27.0)], key)


def test_compare_shows_it(tokbench_cli):
    from pathlib import Path

    results = Path(__file__).parents[2] / "results" / "photos-64"
    status, out, _ = tokbench_cli("compare", results, "--bd-rate", "lpips", "--format", "md", "--columns", "lpips")
    assert status == 0
    assert "**BD-rate of LPIPS: photos-64" in out
    webp = next(line for line in out.splitlines() if line.startswith("| anchor/webp | 5 |"))
    assert re.search(r"-\d+\.\d \|", webp)  # fewer bits than jpeg
    status, _, err = tokbench_cli("compare", results, "--bd-rate", "usage")
    assert status == 2
    assert "hold no two curves of usage" in err
