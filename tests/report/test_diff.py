"""Differences: what differs is named, changes are judged where they can be, and records find their like."""

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from tokbench.errors import TokbenchError
from tokbench.records.intervals import Interval
from tokbench.records.record import MetricResult
from tokbench.report.diff import diff_records, differing, match_records
from tokbench.report.diff_tables import diff_tables
from tokbench.report.render import FORMATS, render


def changes(before, after):
    found = diff_records(before.record, after.record, before.rows, after.rows)
    return {one.key: one for one in found.changes}


def shifted(item, **by):
    rows = {key: {name: value + by.get(key, 0.0) for name, value in column.items()} for key, column in item.rows.items()}
    metrics = {key: replace(m, value=m.value + by[key]) if key in by else m for key, m in item.record.metrics.items()}
    return replace(item, record=replace(item.record, metrics=metrics), rows=rows)


def test_paired_changes_are_judged_by_direction(make_record):
    before = make_record("a/b")
    found = changes(before, shifted(before, psnr=-0.5, lpips=-0.01))
    assert (found["psnr"].verdict, found["lpips"].verdict, found["ssim"].verdict) == ("worse", "better", "same")
    assert found["psnr"].change == pytest.approx(-0.5)
    assert found["psnr"].interval.low == pytest.approx(-0.5)  # the same for every image
    assert found["psnr"].why == "60 pairs, 10 groups, p 0.002"
    assert found["ssim"].change == 0


def test_a_small_change_of_all_images_beats_a_wide_interval(make_record):
    """The records' intervals are 2 dB wide each; paired, a tenth of that stands out, unpaired it does not."""
    before = make_record("a/b")
    after = shifted(before, psnr=0.1)
    assert changes(before, after)["psnr"].verdict == "better"
    alone = changes(replace(before, rows={}), after)["psnr"]
    assert (alone.verdict, alone.why) == ("same", "both intervals, as if independent")


def test_sets_are_judged_by_intervals_and_nothing_without(make_record):
    before, after = make_record("a/b"), make_record("a/b", better=3)
    found = changes(before, after)
    assert found["fd_efflite0"].verdict == "better"
    assert found["fd_efflite0"].interval.low == pytest.approx(-30 - math.hypot(10, 10))
    assert (found["usage"].verdict, found["usage"].why) == ("same", "equal")
    after.record.metrics["usage"] = MetricResult(0.5, "share of codes", True)
    found = changes(before, after)
    assert (found["usage"].verdict, found["usage"].why) == ("unjudged", "there is no interval")
    assert found["usage"].change == pytest.approx(-0.47)
    assert found["decode"].verdict == "same"
    assert "rfid" not in found
    directionless = MetricResult(1.0, "bits", None, interval=Interval(0.9, 1.1, ""))
    before.record.metrics["entropy_bits"], after.record.metrics["entropy_bits"] = directionless, replace(directionless, value=1.0)
    assert changes(before, after)["entropy_bits"].verdict == "same"


def test_missing_figures_and_infinities(make_record):
    before, after = make_record("a/b"), make_record("a/b")
    before.record.metrics["rfid"] = MetricResult(3.0, "", False)
    del after.record.metrics["ssim"]
    found = changes(before, after)
    assert (found["rfid"].verdict, found["rfid"].change, found["rfid"].why) == ("unjudged", None, "second: the weights are not here")
    assert found["ssim"].why == "second: not measured"
    for item in (before, after):
        item.record.metrics["psnr"] = MetricResult(math.inf, "dB", True)
        item.rows["psnr"] = dict.fromkeys(item.rows["psnr"], math.inf)
    found = changes(before, after)
    assert (found["psnr"].change, found["psnr"].verdict) == (0.0, "same")


def test_figures_of_other_images_or_settings_are_not_judged(make_record):
    before, after = make_record("a/b"), make_record("a/b", better=3)
    elsewhere = replace(after, record=replace(after.record, data=replace(after.record.data, pixels_digest="f" * 64)))
    assert {one.verdict for key, one in changes(before, elsewhere).items() if key in ("psnr", "lpips", "fd_efflite0")} == {"unjudged"}
    assert changes(before, elsewhere)["psnr"].why == "measured on other images"
    after.record.metrics["lpips"] = replace(after.record.metrics["lpips"], settings={"network": "other"})
    assert changes(before, after)["lpips"].why == "the metric's settings differ"
    after.record.metrics["psnr"] = replace(after.record.metrics["psnr"], settings={"micro_batch": 64})
    assert changes(before, after)["psnr"].verdict == "better"


def test_settings_that_differ_are_named(make_record):
    before = make_record("a/b").record
    after = replace(
        before,
        tokenizer=replace(before.tokenizer, weights_sha256="cd" * 32, config={"codebook_size": 512, "extra": {"deep": [1, 2]}}),
        protocol=replace(before.protocol, precision="bf16"),
        data=replace(before.data, count=59),
        timing=replace(before.timing, threads=4, decode_images_per_second=1.0),
        environment=replace(before.environment, packages={"torch": "3.0"}),
    )
    assert [(one.area, one.name, one.before, one.after) for one in differing(before, after)] == [
        ("tokenizer", "weights_sha256", "abababab", "cdcdcdcd"),
        ("config", "codebook_size", "1024", "512"),
        ("config", "extra.deep", "none", "1,2"),
        ("protocol", "precision", "fp32", "bf16"),
        ("data", "count", "60", "59"),
        ("timing", "threads", "2", "4"),
        ("environment", "packages.torch", "2.9", "3.0"),
    ]
    assert differing(before, before) == []


def test_values_for_gates(make_record):
    before = make_record("a/b")
    after = shifted(before, psnr=-0.5)
    del after.record.metrics["ssim"]
    values = diff_records(before.record, after.record, before.rows, after.rows).values()
    assert values["psnr"] == after.record.metrics["psnr"].value
    assert values["psnr.change"] == pytest.approx(-0.5)
    assert values["bits_per_image"] == 160
    assert values["bits_per_image.change"] == 0
    assert values["ssim"] == "the second record has none"
    assert values["ssim.change"] == "second: not measured"


def test_no_figure_of_a_record_stands_for_a_change(make_record):
    before = make_record("a/b")
    after = shifted(before, psnr=-0.5)
    after.record.metrics["psnr.change"] = MetricResult(99.0, "dB", True)
    assert diff_records(before.record, after.record, before.rows, after.rows).values()["psnr.change"] == pytest.approx(-0.5)


def test_tables_of_a_difference(make_record):
    before = make_record("a/b")
    after = shifted(make_record("c/d"), psnr=-0.5)
    settings, figures = diff_tables(diff_records(before.record, after.record, before.rows, after.rows))
    assert settings.title == "a/b -> c/d: what differs"
    assert settings.rows[0][0] == "name"
    rows = dict(figures.rows)
    assert rows["psnr"][2].text.startswith("-0.50 [-0.50, ")
    assert rows["psnr"][2].bold
    assert rows["usage"][0].text == "0.970"
    assert rows["parameters"][0].text == "2500000"
    assert [cell.text for cell in rows["psnr"][3:]] == ["worse", "60 pairs, 10 groups, p 0.002"]
    assert len(diff_tables(diff_records(before.record, before.record, {}, {}))) == 1
    for form in FORMATS[1:]:
        assert "worse" in render([settings, figures], form)


def test_figures_of_a_training_network_and_few_images_are_marked(make_record):
    before, after = make_record("a/b", images=6), make_record("c/d", images=6)
    after.record.metrics["lpips"] = replace(after.record.metrics["lpips"], judged_by_training_network=True)
    tables = diff_tables(diff_records(before.record, after.record, before.rows, after.rows))
    rows = dict(tables[1].rows)
    assert [cell.mark for cell in rows["lpips"]] == ["", "†", "", "", ""]
    assert not any(cell.mark for name, cells in rows.items() if name != "lpips" for cell in cells)
    assert rows["psnr"][4].text == "6 pairs, 1 group, p 1"
    judged, few = tables[1].notes
    assert judged == "† the tokenizer was trained with the network that judges here"
    assert few.startswith("6 images of 1 group: intervals over fewer than 6 groups mean little")
    assert "†" in render(tables, "md")
    assert "$^\\dagger$" in render(tables, "latex")
    (row,) = [row for row in csv.DictReader(io.StringIO(render(tables, "csv"))) if row["figure"] == "lpips"]
    assert (row["second_note"], row.get("first_note")) == ("trained with the network that judges", None)
    (row,) = [row for row in json.loads(render(tables, "json"))[1]["rows"] if row["figure"] == "lpips"]
    assert row["second_note"] == "trained with the network that judges"
    plain = diff_tables(diff_records(make_record("a/b").record, make_record("c/d").record, {}, {}))
    assert plain[1].notes == ()
    assert "note" not in render(plain, "csv").splitlines()[0]


def test_speeds_and_their_intervals_are_no_settings(make_record):
    before, after = make_record("a/b"), make_record("a/b", seed=1)
    assert before.record.timing != after.record.timing
    assert differing(before.record, after.record) == []


def test_records_find_their_like(make_record):
    def at(path, name, created="2026-01-01", **config):
        record = make_record(name).record
        return Path(path), replace(record, created=created, tokenizer=replace(record.tokenizer, config=config))

    one, other = at("a.json", "vqgan/tiny"), at("b.json", "vqvae/tiny")
    assert match_records([one], [other]) == ([(one, other)], [])  # two files are compared, whatever they are
    new, newer = at("c.json", "vqgan/tiny", "2026-02-01", steps=2), at("d.json", "vqgan/tiny", "2026-03-01", steps=2)
    pairs, alone = match_records([one, other], [new, newer])
    assert pairs == [(one, newer)]
    assert alone == ["b.json: only in the first place"]
    four = at("e.json", "vqgan/tiny", steps=4)
    pairs, alone = match_records([one, four, new], [newer, at("f.json", "vqgan/tiny", steps=8)])
    assert pairs == [(new, newer)]
    assert alone == [
        "a.json: only in the first place", "e.json: only in the first place", "f.json: only in the second place"
    ]  # fmt: skip
    elsewhere = (Path("g.json"), replace(one[1], protocol_label="photos-64+size=128"))
    with pytest.raises(TokbenchError, match=r"no record of the first place has its like in the second \(vqgan/tiny, vqvae/tiny\)"):
        match_records([one, other], [elsewhere])
