"""Probes on the page: alone or beside runs, as curves that compare, with the commands that make them again."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tokbench.records.probe_protocol import get_probe_protocol
from tokbench.records.probe_record import CurvePoint
from tokbench.records.protocol import get_protocol
from tokbench.records.record import MetricResult
from tokbench.report.page.commands import probe_command
from tokbench.report.page.learned import learned_plots
from tokbench.report.page.model import arrange
from tokbench.report.page.render import probe_section, render_page

HOSTILE = "<script>window.pwned=1</script>"


def points(curve):
    return [tuple(map(float, point.split())) for point in curve.path.removeprefix("M").split("L")]


def test_curves_are_in_per_cent_of_uniform_codes(make_probe):
    few, many = make_probe("vqvae/tiny"), make_probe("pixel/palette-512", scale=16)
    learning, along = learned_plots([few, many])
    assert [curve.name for curve in learning.curves] == ["vqvae/tiny", "pixel/palette-512"]
    assert learning.curves[0].path == learning.curves[1].path  # both learn the same share, of 2,560 and of 40,960 bits
    assert "101.0 % of uniform codes at first, 73.3 % at last" in learning.curves[0].tip
    assert len(points(along.curves[0])) == 32
    heights = [height for _, height in points(along.curves[0])]
    assert heights[0] < heights[-1]  # 8 bits at first, 6.5 at last: lower on the page is a larger pixel
    assert heights[:8] == [heights[0]] * 8


def test_tokenizers_keep_their_colours_and_others_take_free_ones(make_record, make_probe):
    def of(probe, item):
        return replace(probe, tokenizer=item.record.tokenizer)

    items = [make_record(name) for name in ("other/one", "other/two", "other/three", "vqvae/tiny")]
    groups = arrange(items)
    learning, _ = learned_plots([of(make_probe("vqvae/tiny"), items[3]), make_probe("a/b"), make_probe("c/d")], groups)
    assert [(curve.colour, curve.dash) for curve in learning.curves] == [(3, 3), (4, 4), (5, 0)]
    assert len({curve.colour for curve in learned_plots([make_probe(f"a/{i}") for i in range(8)])[0].curves}) == 8
    crowd = [make_probe(f"a/{i}") for i in range(36)]
    learning, _ = learned_plots([of(make_probe("vqvae/tiny"), items[3]), *crowd], groups)
    assert len({(curve.colour, curve.dash) for curve in learning.curves}) == 37, "40 looks, 3 of which others have"


def test_rungs_of_one_name_have_colours_of_their_own(make_record, make_probe):
    item = make_record("vqvae/tiny")

    def rung(place):
        return replace(make_probe("vqvae/tiny"), tokenizer=replace(item.record.tokenizer, state_sha256=f"{place}" * 64))

    first = replace(item, record=replace(item.record, tokenizer=rung(0).tokenizer))
    for groups in ((), arrange([first])):
        for plot in learned_plots([rung(0), rung(1), rung(2)], groups):
            assert [curve.colour for curve in plot.curves] == [0, 1, 2]
    again = [rung(0), rung(1), replace(rung(1), created="2027-01-02T00:00:00+00:00"), rung(2)]
    learning, _ = learned_plots(again)
    assert [curve.colour for curve in learning.curves] == [0, 1, 1, 2], "what is one has one colour"


def test_what_does_not_compare_has_plots_of_its_own(make_probe):
    larger = replace(make_probe(), protocol=get_protocol(changes={"size": 128}))
    assert [plot.title for plot in learned_plots([make_probe(), larger])] == [
        "Bits of held-out tokens while the probe learns, photos-64",
        "Bits along the sequence, photos-64",
        "Bits of held-out tokens while the probe learns, photos-64+size=128",
        "Bits along the sequence, photos-64+size=128",
    ]


def test_missing_and_infinite_figures_leave_curves_out(make_probe):
    bare = replace(make_probe(), figures={"uniform_bits_per_image": MetricResult(reason="none")})
    assert learned_plots([bare]) == []
    odd = replace(make_probe(), by_position=(), curve=(CurvePoint(0, None, math.nan), CurvePoint(8, None, math.inf)))
    assert learned_plots([odd]) == []
    (learning, _) = learned_plots([odd, make_probe("a/b")])
    assert [curve.name for curve in learning.curves] == ["a/b"]


def test_a_page_of_probes_alone(make_probe):
    page = render_page([], [], extra=[probe_section([make_probe(), make_probe(HOSTILE)])])
    assert "Made by tokbench from 2 records" in page
    assert 'id="filter"' not in page
    assert "tokbench probe -t vqvae/tiny --out results" in page
    assert HOSTILE not in page
    with pytest.raises(ValueError, match="0 groups"):
        render_page([], [])


def test_probes_beside_runs_are_counted_and_linked(make_record, make_probe):
    groups = arrange([make_record("family/a")])
    page = render_page(groups, [None], extra=[probe_section([make_probe("family/a")], groups)])
    assert "Made by tokbench from 2 records" in page
    assert '<a href="#learnability">Learnability</a>' in page
    assert page.index("tokbench run -t family/a") < page.index("tokbench probe -t family/a")


def test_commands_name_what_is_not_usual(make_probe):
    record = make_probe()
    changed = replace(
        record,
        probe=get_probe_protocol(changes={"seed": 3, "images_seen": 100, "layers": 2}),
        protocol=get_protocol(changes={"seed": 3, "size": 32}),
        train=replace(record.train, name="birds"),
    )
    command, remark = probe_command(changed).split("  # ")
    words = command.split()
    for option, value in (("--data", "birds"), ("--size", "32"), ("--seed", "3"), ("--images-seen", "100")):
        assert words.count(option) == 1
        assert words[words.index(option) + 1] == value
    assert "budget with layers=2" in remark
    assert "held out: photos/test" in remark
