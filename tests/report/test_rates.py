"""Bits of codecs: measured of every image, and compared as other figures of images are."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tokbench.bench.anchors import parse_anchor
from tokbench.bench.runner import run
from tokbench.records.intervals import Interval
from tokbench.records.store import read_rows, write_record
from tokbench.report.diff import diff_records
from tokbench.report.explain.explanation import explain
from tokbench.report.page.model import arrange
from tokbench.report.page.spread import spreads
from tokbench.report.rates import rate_result
from tokbench.report.spread import spread_tables


@pytest.fixture
def codec(make_record):
    """Makes a record of a codec whose files have about so many bytes, larger on the same images."""

    def make(name="anchor/webp-320", size=300, seed=0):
        item = make_record(name, bits=None)
        ids = list(item.rows["psnr"])
        noise = np.random.default_rng(seed).integers(-10, 11, len(ids))
        files = {image: 8.0 * int(size + 40 * math.sin(place) + noise[place]) for place, image in enumerate(ids)}
        mean = sum(files.values()) / len(files)
        interval = Interval(mean - 200, mean + 200, "bootstrap of 10 groups, 1000 resamples")
        tokens = replace(item.record.tokens, positions=None, tokens_per_image=None, bits_per_image=mean, bpp=mean / 4096)
        tokens = replace(tokens, grid=(), channels=0, bits_are="mean file size measured", bits_interval=interval)
        return replace(item, record=replace(item.record, tokens=tokens), rows={"bits_per_image": files} | item.rows)

    return make


def changes(before, after):
    return {one.key: one for one in diff_records(before.record, after.record, before.rows, after.rows).changes}


def slow_interval(differences: dict[str, float]) -> tuple[float, float]:
    """Whole groups drawn again, one resample at a time."""
    groups = sorted({image.partition("/")[0] for image in differences})
    draw, means = np.random.Generator(np.random.PCG64(0)), []
    for _ in range(1000):
        picked = [groups[place] for place in draw.integers(len(groups), size=len(groups))]
        values = [value for group in picked for image, value in differences.items() if image.startswith(group)]
        means.append(sum(values) / len(values))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def test_two_codecs_are_compared_image_by_image(codec):
    before, after = codec(), codec("anchor/jpeg-310", 305, seed=1)
    found = changes(before, after)
    files, others = before.rows["bits_per_image"], after.rows["bits_per_image"]
    low, high = slow_interval({image: others[image] - files[image] for image in files})
    bits, bpp = found["bits_per_image"], found["bpp"]
    assert bits.change == pytest.approx(sum(others.values()) / 60 - sum(files.values()) / 60)
    assert (bits.interval.low, bits.interval.high) == pytest.approx((low, high))
    assert (bpp.interval.low, bpp.interval.high) == pytest.approx((low / 4096, high / 4096))
    assert bits.why == bpp.why
    assert bits.why.startswith("60 pairs, 10 groups, p ")
    assert "tokens_per_image" not in found
    assert changes(before, before)["bits_per_image"].verdict == "same"


def test_beyond_chance_neither_more_nor_fewer_bits_are_better(codec):
    assert changes(codec(), codec(size=400))["bits_per_image"].verdict == "unjudged"
    assert changes(codec(), codec(seed=1))["bits_per_image"].verdict == "same"


@pytest.mark.parametrize("first", [True, False])
def test_a_tokenizer_takes_as_many_bits_for_every_image(codec, make_record, first):
    anchor, tokenizer = codec(), make_record("a/b")
    sides = (anchor, tokenizer) if first else (tokenizer, anchor)
    sign = -1 if first else 1
    low, high = slow_interval({image: sign * (bits - 160) for image, bits in anchor.rows["bits_per_image"].items()})
    found = changes(*sides)
    assert (found["bits_per_image"].interval.low, found["bits_per_image"].interval.high) == pytest.approx((low, high))
    assert found["bits_per_image"].why == "60 pairs, 10 groups, p 0.002"
    assert found["tokens_per_image"].why == "one of the records has none"
    assert changes(tokenizer, make_record("c/d", size=512))["bits_per_image"].why == "the same for every image"


def test_records_of_before_are_compared_by_their_intervals(codec, make_record):
    before, after = (replace(item, rows={}) for item in (codec(), codec(size=400)))
    found = changes(before, after)["bits_per_image"]
    assert found.interval.high - found.change == pytest.approx(math.hypot(200, 200))
    assert found.why == "both intervals, as if independent"
    alone = changes(before, make_record("a/b"))
    assert alone["bits_per_image"].interval.high - alone["bits_per_image"].change == pytest.approx(200)
    assert alone["bpp"].interval.high - alone["bpp"].change == pytest.approx(200 / 4096)
    assert alone["bpp"].why == "bootstrap of 10 groups, 1000 resamples"


def test_bits_of_other_images_are_not_judged(codec):
    before, after = codec(), codec(size=400)
    elsewhere = replace(after, record=replace(after.record, data=replace(after.record.data, pixels_digest="f" * 64)))
    found = changes(before, elsewhere)["bits_per_image"]
    assert (found.verdict, found.why, found.unknown) == ("unjudged", "measured on other images", "measured on other images")


def test_latents_have_no_bits(codec, make_record):
    latents = make_record("a/b", bits=None)
    assert changes(codec(), latents)["bits_per_image"].why == "one of the records has none"
    assert rate_result(latents.record, "bits_per_image") is None
    assert rate_result(latents.record, "psnr") is None


def test_the_ends_of_a_change_of_bits_are_there_for_conditions(codec):
    before, after = codec(), codec(size=400, seed=1)
    values = diff_records(before.record, after.record, before.rows, after.rows).values()
    assert values["bits_per_image.change.low"] < values["bits_per_image.change"] < values["bits_per_image.change.high"]


@pytest.mark.parametrize("rows", [True, False])
def test_an_explanation_has_the_interval_of_the_difference(codec, make_record, rows):
    for other in (codec("anchor/webp-400", 400, seed=1), make_record("a/b")):
        sides = [codec(), other]
        if not rows:
            sides = [replace(item, rows={}) for item in sides]
        items = [(item.record, item.rows) for item in sides]
        (split,) = explain(*items, keys=["bits_per_image"]).splits
        assert split.steps[0].interval.low == pytest.approx(changes(*sides)["bits_per_image"].interval.low)


def test_the_spread_of_files_is_shown(codec, make_record):
    anchor, tokenizer = codec(), make_record("a/b")
    (table,) = spread_tables([anchor.record, tokenizer.record], [anchor.rows, tokenizer.rows], keys=["bits_per_image"])
    assert [column.title for column in table.columns] == ["bits/image P5", "bits/image median", "bits/image P95"]
    assert [cell.text for cell in table.rows[1][1]] == ["-", "-", "-"]
    assert table.rows[0][1][1].value == pytest.approx(np.median(list(anchor.rows["bits_per_image"].values())))
    (group,) = arrange([anchor, tokenizer])
    (shown,) = [spread for spread in spreads(group) if spread.title == "bits/image"]
    assert [row.entry.name for row in shown.rows] == ["anchor/webp-320"]


def test_a_run_keeps_the_size_of_every_file(folder, tmp_path):
    evaluation = run(parse_anchor("anchor/webp-320"), folder, size=64, metrics=("psnr",))
    rows = read_rows(write_record(evaluation.record, evaluation.rows, tmp_path))
    bits = rows["bits_per_image"]
    assert bits.keys() == rows["psnr"].keys()
    assert sum(bits.values()) / 12 == pytest.approx(evaluation.record.tokens.bits_per_image)
    assert all(value % 8 == 0 and 8 * 100 < value < 8 * 1000 for value in bits.values())
