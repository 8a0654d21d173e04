"""Records are grouped, named, numbered and cut to what a page can hold."""

import math
from dataclasses import replace

import pytest

from tokbench.records.protocol import get_protocol
from tokbench.records.record import MetricResult
from tokbench.report.page.model import COLOURS, SHAPES, Measured, arrange, clipped
from tokbench.report.table import make_tables


def named(item, name, codec=None):
    return replace(item, record=replace(item.record, tokenizer=replace(item.record.tokenizer, name=name, codec=codec)))


def test_groups_are_those_of_the_tables(make_record):
    a, b, c, d = (make_record(f"family/{letter}") for letter in "abcd")
    b = replace(b, record=replace(b.record, protocol=get_protocol(changes={"size": 128}), protocol_label="photos-64+size=128"))
    d = replace(d, record=replace(d.record, data=replace(d.record.data, pixels_digest="f" * 64)))
    groups = arrange([a, b, c, d])
    assert [[entry.name for entry in group.entries] for group in groups] == [["family/a", "family/c"], ["family/b"], ["family/d"]]
    assert [group.title for group in groups] == [table.title for table in make_tables([item.record for item in (a, b, c, d)])]
    assert [entry.number for group in groups for entry in group.entries] == [0, 1, 2, 3]


def test_groups_of_one_label_are_told_apart_by_their_protocols(make_record):
    a = make_record("family/a")
    mine = replace(a, record=replace(a.record, protocol=replace(a.record.protocol, name="mine"), protocol_label="mine"))
    other = replace(mine, record=replace(mine.record, protocol=replace(mine.record.protocol, uint8="truncate")))
    groups = arrange([mine, other])
    assert [group.title.split(" v2")[0] for group in groups] == ["mine+uint8=round", "mine+uint8=truncate"]
    assert [group.title for group in groups] == [table.title for table in make_tables([mine.record, other.record])]


def test_metrics_of_others_have_columns_and_directions(make_record):
    a = make_record("family/a")
    long = "z" * 200
    own = {"contrast": MetricResult(0.25, "1", False), long: MetricResult(0.5)}
    a = replace(
        a, record=replace(a.record, metrics=a.record.metrics | own), rows=a.rows | {"contrast": a.rows["ssim"], "z/rows": a.rows["psnr"]}
    )
    (group,) = arrange([a])
    assert [column.key for column in group.metric_columns] == ["fd_efflite0", "lpips", "psnr", "ssim", "usage", "contrast", long]
    assert group.metric_columns[-1].title == "z" * 120 + "… (200 characters)"
    columns = [(column.key, column.arrow) for column in group.row_columns]
    assert columns == [("lpips", "↓"), ("psnr", "↑"), ("ssim", "↑"), ("contrast", "↓"), ("z/rows", "")]


def test_one_configuration_has_one_colour_and_records_of_it_are_told_apart(make_record):
    a = make_record("family/a")
    other = replace(a, record=replace(a.record, tokenizer=replace(a.record.tokenizer, config={"codebook_size": 7})))
    elsewhere = replace(a, record=replace(a.record, data=replace(a.record.data, pixels_digest="f" * 64)))
    first, second = arrange([a, other, a, elsewhere])
    assert [entry.label for entry in first.entries] == [
        "family/a codebook_size=1024",
        "family/a codebook_size=7",
        "family/a codebook_size=1024 #2",
    ]
    assert [entry.subject for entry in first.entries] == [0, 1, 0]
    assert second.entries[0].subject == 0


def test_forty_tokenizers_look_different_and_codecs_take_no_colour(make_record):
    a = make_record("family/a")
    (group,) = arrange([named(a, "anchor/webp-320", "webp"), *(named(a, f"family/{i}") for i in range(COLOURS * SHAPES))])
    assert group.entries[-1].codec == "webp"  # codecs come last
    looks = {(entry.colour, entry.shape) for entry in group.entries[:-1]}
    assert len(looks) == COLOURS * SHAPES
    assert (group.entries[0].colour, group.entries[0].shape) == (0, 0)
    assert [entry.codec for entry in group.entries[:-1]] == [None] * 40


def test_values_that_are_no_numbers_are_no_figures(make_record):
    a = make_record("family/a")
    rows = {"psnr": {"x": math.nan, "y": 1.0, "z": math.inf}, "lpips": {"x": math.nan}, "ssim": {"x": None, "y": 0.5}}
    record = replace(a.record, metrics=a.record.metrics | {"psnr": MetricResult(math.nan, "dB", True)})
    (group,) = arrange([Measured("a.json", record, rows)])
    (entry,) = group.entries
    assert entry.rows == {"psnr": {"y": 1.0, "z": math.inf}, "ssim": {"y": 0.5}}
    assert entry.figure("psnr") is None
    assert entry.figure("rfid") is None
    assert entry.figure("nothing") is None
    assert [column.key for column in group.row_columns] == ["psnr", "ssim"]


@pytest.mark.parametrize(("text", "expected"), [("a  b\n c", "a b c"), ("x" * 121, "x" * 120 + "… (121 characters)"), (5, "5"), ("", "")])
def test_text_is_clipped(text, expected):
    assert clipped(text) == expected
