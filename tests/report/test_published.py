"""Published figures stand beside measured ones only where everything known of their protocols agrees."""

import html
import subprocess
import sys
from dataclasses import replace

import pytest

from tokbench.configs import plain
from tokbench.records.protocol import get_protocol
from tokbench.records.record import MetricResult
from tokbench.records.store import write_record
from tokbench.report.page.model import Measured, arrange
from tokbench.report.page.render import render_page
from tokbench.report.published import APART, BESIDE, keeps_apart, published_tables
from tokbench.report.render import FORMATS, render
from tokbench.tokenizers.published import DATA_SETS, FIGURES, PublishedProtocol
from tokbench.tokenizers.zoo import families, resolve

NAME = "vqgan/imagenet-f16-16384"


@pytest.fixture
def record(make_record):
    """Weights of others on the whole of ImageNet val at 256 px."""
    made = make_record(NAME).record
    return replace(
        made,
        tokenizer=replace(made.tokenizer, config=plain(resolve(NAME)[1].config)),
        data=replace(made.data, name="imagenet-val", requested=50_000, count=50_000, groups=50_000),
        protocol=get_protocol(changes={"size": 256}, data="imagenet-val"),
        metrics=made.metrics | {"rfid": MetricResult(5.25, "squared feature distance", False)},
    )


def figure(value):
    (found,) = [one for one in FIGURES if one.tokenizer == NAME and one.value == value]
    return found


def test_matching_figures_stand_beside_and_others_apart(record):
    beside, apart = published_tables([record])
    assert (beside.title, apart.title) == (BESIDE, APART)
    ((name, cells),) = beside.rows
    assert name.startswith(NAME)
    assert [cell.text for cell in cells[:4]] == ["rFID", "5.250", "4.98", "+0.270"]
    assert cells[3].value == pytest.approx(5.25 - 4.98)
    assert "ImageNet val" in cells[4].text
    assert "taming" in cells[5].text
    ((_, cells),) = apart.rows
    assert [cell.text for cell in cells[:2]] == ["rFID", "7.41"]
    assert "measured" not in [column.key for column in apart.columns]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda r: replace(r, protocol=replace(r.protocol, size=128)), "the record is at 128 px"),
        (lambda r: replace(r, protocol=replace(r.protocol, uint8="truncate")), "the record is with uint8=truncate, precision=fp32"),
        (lambda r: replace(r, protocol=replace(r.protocol, precision="bf16")), "the record is with uint8=round, precision=bf16"),
        (lambda r: replace(r, protocol=replace(r.protocol, fid_pixels="floats")), "the record is with fid_pixels=floats"),
        (lambda r: replace(r, protocol=replace(r.protocol, judged_size=64)), "the record is with judged_size=64"),
        (lambda r: replace(r, tokenizer=replace(r.tokenizer, config={})), "the record is of another configuration"),
        (lambda r: replace(r, data=replace(r.data, name="imagenet-train")), "the record is of imagenet-train, N=50000"),
        (lambda r: replace(r, data=replace(r.data, name="val")), "the record is of val, N=50000"),
        (lambda r: replace(r, data=replace(r.data, count=49_999)), "the record is of imagenet-val, N=49999"),
        (lambda r: replace(r, data=replace(r.data, requested=50_001)), "the record is of imagenet-val, N=50000"),
        (lambda r: replace(r, metrics={}), "not measured"),
        (lambda r: replace(r, metrics={"rfid": MetricResult(reason="no weights")}), "not measured: no weights"),
    ],
)
def test_anything_else_keeps_them_apart(record, change, why):
    assert keeps_apart(record, resolve(NAME)[1], figure(4.98)) is None
    assert keeps_apart(change(record), resolve(NAME)[1], figure(4.98)) == why


def test_ids_tell_the_data_set_where_its_folder_is_called_val(record):
    named_val = replace(record, data=replace(record.data, name="val"))
    ids = [f"n01440764/ILSVRC2012_val_{i:08d}.JPEG" for i in range(50_000)]
    assert keeps_apart(named_val, resolve(NAME)[1], figure(4.98), ids) is None
    assert keeps_apart(record, resolve(NAME)[1], figure(4.98), [*ids[1:], "mine.png"]) is not None
    rows = {"psnr": dict.fromkeys(ids, 20.0)}
    assert [table.title for table in published_tables([named_val], [rows])] == [BESIDE, APART]
    assert [table.title for table in published_tables([named_val])] == [APART]


def test_known_deviations_and_unknown_data_never_match():
    for one in FIGURES:
        family, variant = next((f, v) for f in families().values() for v in f.variants if v.published == one.tokenizer)
        assert f"{family.name}/{variant.name}"
        if one.differs is None and one.data is not None:
            assert one.size is None or f"{one.size} px" in one.protocol
        if "train" in one.protocol or "resized" in one.protocol:
            assert one.data is None or one.size is None
        if "batches" in one.protocol and one.metric == "psnr":
            assert one.differs
    assert set(DATA_SETS) == {one.data for one in FIGURES} - {None}
    with pytest.raises(ValueError, match="data is one of imagenet-val, coco-val2017, got 'imagenet'"):
        PublishedProtocol("x", "imagenet")


def test_own_and_unknown_tokenizers_have_none(make_record):
    records = [make_record("vqgan/tiny").record, make_record("mine:Tokenizer").record, make_record("anchor/webp-320").record]
    assert published_tables(records) == []
    assert published_tables([]) == []
    with pytest.raises(ValueError, match="3 records with 0"):
        published_tables(records, [])


def test_every_format_writes_them(record):
    tables = published_tables([record])
    for form in FORMATS[1:]:
        text = render(tables, form)
        assert "4.98" in text
        assert "7.41" in text
        assert "taming" in text


def test_tables_need_no_torch():
    script = "import sys, tokbench.report.published; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "False\n"


def test_compare_shows_what_matches_without_being_asked(record, tokbench_cli, tmp_path):
    write_record(record, {}, tmp_path / "runs")
    status, out, _ = tokbench_cli("compare")
    assert status == 0
    assert BESIDE in out
    assert "+0.270" in out
    assert APART not in out
    assert APART in tokbench_cli("compare", "--published")[1]


def test_the_page_shows_the_whole_name_of_a_row(record):
    trained = replace(record, data=replace(record.data, name=f"imagenet-{'very-' * 20}val"))
    names = [name for table in published_tables([trained]) for name, _ in table.rows if "very-" in name]
    assert names
    assert all(len(name) > 120 for name in names)  # more than a cell shows
    page = html.unescape(render_page(arrange([Measured("record.json", trained, {})]), [None]))
    assert all(name in page for name in names)
