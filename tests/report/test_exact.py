"""Images that come back exactly have no decibels: they are counted, and hide no loss of the others, in any format or gate."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tokbench.bench.metrics.psnr import PSNR
from tokbench.bench.observation import Listing, Observation
from tokbench.records.record import MetricResult, read_record, record_from_dict
from tokbench.records.store import read_rows
from tokbench.report.diff import diff_records
from tokbench.report.gate import check, parse_conditions, record_values
from tokbench.report.render import render
from tokbench.report.significance import paired_best, paired_difference
from tokbench.report.table import make_tables


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Five noisy pictures, and a black one that every codec gives back exactly."""
    folder = tmp_path / "d"
    folder.mkdir()
    for i in range(5):
        small = np.random.default_rng(i).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(small).resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    Image.new("RGB", (64, 64)).save(folder / "black.png")
    return folder


def of(record, values: dict[str, float]):
    """The record with a PSNR of these values, and its rows."""
    finite = [value for value in values.values() if math.isfinite(value)]
    metric = MetricResult(math.fsum(finite) / len(finite) if finite else None, "dB", True, exact=len(values) - len(finite))
    return replace(record, metrics={"psnr": metric}, data=replace(record.data, groups=len(values))), {"psnr": values}


def changed(make_record, before, after, condition="psnr.change<-0.2", rows=True):
    record = make_record("a/b").record
    (a, rows_a), (b, rows_b) = (of(record, {f"{i}": float(value) for i, value in enumerate(values)}) for values in (before, after))
    difference = diff_records(a, b, rows_a if rows else {}, rows_b if rows else {})
    (one,) = [one for one in difference.changes if one.key == "psnr"]
    (found,) = check(parse_conditions([condition], changes=True), [("x", difference.values())])
    return one, found


def test_a_loss_behind_an_exact_image_fails_the_gate(tokbench_cli, pictures, tmp_path):
    tokbench_cli(
        "run",
        "-t",
        "anchor/jpeg-640",
        "-t",
        "anchor/jpeg-320",
        "--data",
        pictures,
        "--size",
        64,
        "--metrics",
        "psnr",
        "--out",
        tmp_path / "r",
    )
    good, worse = (next((tmp_path / "r").glob(f"anchor-jpeg-{size}*.json")) for size in (640, 320))
    for path in (good, worse):
        metric = read_record(path).metrics["psnr"]
        finite = [value for value in read_rows(path)["psnr"].values() if math.isfinite(value)]
        assert (len(finite), metric.exact) == (5, 1)
        assert metric.value == pytest.approx(sum(finite) / 5)
        assert metric.interval.low < metric.value < metric.interval.high
    status, out, err = tokbench_cli("diff", good, worse, "--fail-if", "psnr.change<-0.2", "-f", "json")
    assert status == 1
    assert "failed psnr.change<-0.2" in err
    (row,) = [row for table in json.loads(out) for row in table["rows"] if row.get("figure") == "psnr"]
    assert (row["first_exact"], row["second_exact"]) == (1, 1)
    assert row["change_low"] < row["change"] < row["change_high"] < -0.2
    assert tokbench_cli("diff", good, good, "--fail-if", "psnr.change<-0.2")[0] == 0


def test_the_mean_is_that_of_the_others():
    reference = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    other = (reference.int() + 3).clamp(0, 255).to(torch.uint8)
    for exact in range(5):
        metric = PSNR()
        listing, keys = Listing(tuple("abcd"), tuple("abcd")), (b"a", b"b", b"c", b"d")
        metric.update(
            Observation(listing, (0, 1, 2, 3), keys, reference, torch.cat([reference[:exact], other[exact:]]), None, lambda: None)
        )
        figure = metric.report()["psnr"]
        values = [value for value in metric.rows()["psnr"].values() if math.isfinite(value)]
        assert figure.exact == exact == 4 - len(values)
        assert figure.value == (pytest.approx(sum(values) / len(values)) if values else math.inf)
        assert (figure.interval is None) == (len(values) < 2)


@pytest.mark.parametrize("form", ["md", "csv", "latex", "json"])
def test_tables_say_how_many_and_call_a_whole_set_exact(make_record, form):
    record = make_record("a/b").record
    some, none, whole = (
        of(record, dict(zip("abc", values, strict=True)))[0] for values in ((math.inf, 30, 32), (29, 30, 31), (math.inf,) * 3)
    )
    text = render(make_tables([some, none, replace(whole, tokenizer=replace(whole.tokenizer, name="a/whole"))]), form)
    assert "inf" not in text.replace("information", "")
    if form in ("md", "latex"):
        assert "31.00 (1 exact)" in text
        assert " exact " in text
    else:
        assert "psnr_exact" in text


def test_records_keep_counts_and_old_ones_their_infinity(make_record):
    record = make_record("a/b").record
    for values in ((math.inf, 30.0), (math.inf, math.inf), (29.0, 30.0)):
        own = of(record, dict(zip("ab", values, strict=True)))[0]
        assert record_from_dict(json.loads(own.to_json()), origin="x") == own
    old = json.loads(own.to_json()) | {"schema": 3}
    old["metrics"]["psnr"]["value"] = "inf"
    assert record_from_dict(old, origin="x").metrics["psnr"] == MetricResult(math.inf, "dB", True)


CASES = {
    "every image loses": ((math.inf, 30, 31, 32), (math.inf, 29, 30, 31), True),
    "every image gains": ((math.inf, 30, 31, 32), (math.inf, 31, 32, 33), False),
    "one is exact no longer": ((math.inf, 30, 31, 32), (90, 30, 31, 32), True),
    "one becomes exact, the others lose": ((30, 30, 31, 32), (math.inf, 29, 30, 31), True),
    "one becomes exact, the others stay": ((30, 30, 31, 32), (math.inf, 30, 31, 32), False),
    "one each way": ((math.inf, 30, 31, 32), (30, math.inf, 31, 32), True),
    "all become exact": ((30, 30, 31, 32), (math.inf,) * 4, False),
    "none is exact any longer": ((math.inf,) * 4, (30, 30, 31, 32), True),
    "all are exact in both": ((math.inf,) * 4, (math.inf,) * 4, False),
    "not a number": ((30, 30, 31, 32), (math.nan,) * 4, True),
}


@pytest.mark.parametrize("name", CASES)
def test_no_exact_image_hides_a_loss(make_record, name):
    before, after, fails = CASES[name]
    assert changed(make_record, before, after)[1].failed is fails


def test_without_rows_a_change_beside_exact_images_is_unknown_and_fails(make_record):
    for before, after in itertools.product(((math.inf, 30.0, 31.0), (29.0, 30.0, 31.0), (math.inf,) * 3), repeat=2):
        _, found = changed(make_record, before, after, rows=False)
        known = (math.inf in before, math.inf in after) == (False, False) or before == after == (math.inf,) * 3
        assert found.failed is not known
        assert known or "which images came back exactly" in found.message


@pytest.mark.parametrize("values", [(math.inf, math.inf), (30.0, math.inf), (math.inf, 30.0)])
def test_an_infinite_mean_of_an_older_record_without_rows_tells_no_change(make_record, values):
    """It counts no exact images: one of them is enough for it, and the others may have lost."""
    sides = [make_record("a/b").record for _ in values]
    for record, value in zip(sides, values, strict=True):
        record.metrics["psnr"] = MetricResult(value, "dB", True)
    (found,) = check(parse_conditions(["psnr.change<-0.2"], changes=True), [("a", diff_records(*sides, {}, {}).values())])
    assert found.failed
    assert "which images came back exactly" in found.message


def test_every_loss_of_more_than_the_bound_fails_whatever_is_exact(make_record):
    rng = np.random.default_rng(0)
    for _ in range(200):
        before = rng.normal(30, 2, 8)
        after = before - rng.uniform(0.3, 3, 8)
        gained = rng.random(8) < 0.3
        both = rng.random(8) < 0.3
        gained[0] = both[0] = False
        after[gained] = math.inf
        before[both] = after[both] = math.inf
        assert changed(make_record, before, after)[1].failed


@pytest.mark.parametrize("what", ["protocol", "images", "machine", "missing", "reason"])
def test_an_unknown_change_never_passes(make_record, what):
    before = make_record("a/b").record
    after = {
        "protocol": replace(before, protocol=replace(before.protocol, version=99)),
        "images": replace(before, data=replace(before.data, pixels_digest="f" * 64)),
        "machine": replace(before, environment=replace(before.environment, processor="another")),
        "missing": replace(before, metrics={}),
        "reason": replace(before, metrics={"psnr": MetricResult(reason="no weights")}),
    }[what]
    name = "decode" if what == "machine" else "psnr"
    for condition in (f"{name}.change<-1000", f"{name}.change>1000"):
        (found,) = check(parse_conditions([condition], changes=True), [("x", diff_records(before, after, {}, {}).values())])
        assert found.failed
        assert found.message.startswith(f"no {name}.change: ")


def test_a_wholly_exact_set_meets_every_bound(make_record):
    record, _ = of(make_record("a/b").record, {"a": math.inf, "b": math.inf})
    values = record_values(record)
    assert [one.failed for one in check(parse_conditions(["psnr<99", "psnr>99"]), [("x", values)])] == [False, True]


def test_best_and_paired_differences_take_infinities_as_signs():
    groups = {f"{i}": f"{i}" for i in range(8)}
    low = {name: 30.0 for name in groups}
    high = {name: 31.0 for name in groups}
    exact = high | {"0": math.inf}
    one = paired_difference(exact, low, groups)
    assert (one.mean, one.above, one.below, one.sign, one.interval) == (1.0, 1, 0, 1, None)
    assert one.significant
    assert paired_best([low, exact], groups, higher_is_better=True) == [False, True]
    worse_but_once = {name: 29.0 for name in groups} | {"0": math.inf}
    assert paired_best([low, worse_but_once], groups, higher_is_better=True) == [False, False]
