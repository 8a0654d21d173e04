"""Tables of probes: which records share one, and what stands in them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tokbench.records.intervals import Interval
from tokbench.records.probe_protocol import get_probe_protocol
from tokbench.records.probe_record import Coding, CurvePoint, Parameters, ProbeRecord, ProbeTiming, TokenSetInfo, probe_record_from_dict
from tokbench.records.protocol import get_protocol
from tokbench.records.record import Environment, MetricResult, TokenizerInfo, TokensInfo
from tokbench.report.page.learned import learned_plots
from tokbench.report.probe import probe_tables
from tokbench.report.render import render


def record_of(name: str = "vqvae/tiny", bits: float = 1877.4, **config: object) -> ProbeRecord:
    figures = {
        "uniform_bits_per_image": MetricResult(2560.0, "bits", False),
        "unigram_bits_per_image": MetricResult(2460.6, "bits", False),
        "ngram_bits_per_image": MetricResult(2111.1, "bits", False),
        "bits_per_image": MetricResult(bits, "bits", False, interval=Interval(bits - 30, bits + 30, "bootstrap")),
        "bits_per_token": MetricResult(bits / 256, "bits", False),
        "bits_per_pixel": MetricResult(bits / 4096, "bits", False),
        "png_bits_per_image": MetricResult(61440.0, "bits", False),
        "webp_bits_per_image": MetricResult(40960.0, "bits", False),
        "psnr": MetricResult(25.25, "dB", True),
    }
    data = TokenSetInfo("photos/train", "1" * 64, "2" * 64, 3910, 111)
    return ProbeRecord(
        tokenizer=TokenizerInfo(name, dict(config), "ab" * 32, 1),
        tokens=TokensInfo(256, 256, 2560.0, 0.625, (16, 16), (1024,)),
        protocol=get_protocol(),
        probe=get_probe_protocol(),
        probe_label="small",
        condition="none",
        train=data,
        held_out=replace(data, name="photos/test", digest="3" * 64, count=736, groups=42),
        parameters=Parameters(754_816, 164_864),
        figures=figures,
        by_position=(8.0,) * 64 + (7.0,) * 128 + (6.5,) * 64,
        curve=(CurvePoint(0, None, 10.1), CurvePoint(1955, 8.5, 8.0), CurvePoint(3910, 7.5, 7.333)),
        coding=Coding(736, 1877.4, 1881.2, True),
        timing=ProbeTiming("cpu", 1, 60.0, 200.0),
        environment=Environment("0.1.0", "3.11", "Linux x86_64", "some", {}),
        created="2027-01-01T00:00:00+00:00",
    )


def test_figures_stand_in_four_tables() -> None:
    bits, codes, parts, curve = probe_tables([record_of(), record_of("vqgan/tiny", 1900.0)])
    assert "probe small v1 on photos-64: bits per image of 736 held-out images of photos/test (42 groups, data 33333333)" in bits.title
    cells = dict(zip((column.key for column in bits.columns), bits.rows[0][1], strict=True))
    assert [name for name, _ in bits.rows] == ["vqvae/tiny", "vqgan/tiny"]
    assert cells["bits_per_image"].text == "1877 [1847, 1907]"
    assert cells["bits_per_pixel"].text == "0.4583"
    assert cells["psnr"].text == "25.25"
    assert any("754,816 parameters beside the embedding" in note for note in bits.notes)
    assert any("PNG 61440 bits per image (15.00 per pixel)" in note for note in bits.notes)
    assert codes.rows[0][1][-1].text == "100.20"
    assert codes.rows[0][1][0].text == "-"
    assert [cell.text for cell in parts.rows[0][1]] == ["8.000", "7.000", "7.000", "6.500"]
    assert [(name, [cell.text for cell in cells]) for name, cells in curve.rows[:2]] == [
        ("vqvae/tiny", ["10.100", "8.000", "7.333"]),
        ("vqvae/tiny, training", ["-", "8.500", "7.500"]),
    ]
    assert render([bits, codes, parts, curve], "md").count("| vqvae/tiny |") == 4


@pytest.mark.parametrize(
    "change",
    [
        {"probe": get_probe_protocol(changes={"seed": 1}), "probe_label": "small+seed=1"},
        {"condition": "label"},
        {"held_out": replace(record_of().held_out, digest="4" * 64)},
        {"train": replace(record_of().train, digest="4" * 64)},
    ],
)
def test_figures_that_do_not_compare_stand_apart(change) -> None:
    assert len(probe_tables([record_of(), replace(record_of("vqgan/tiny"), **change)])) == 8


def test_rows_of_one_tokenizer_are_told_apart() -> None:
    names = [name for name, _ in probe_tables([record_of(levels=5), record_of(levels=8)])[0].rows]
    assert names == ["vqvae/tiny levels=5", "vqvae/tiny levels=8"]


def test_the_same_weights_under_two_names_are_said_to_be_one() -> None:
    note = "vqgan/tiny and vqvae/tiny are one tokenizer: the same weights abababab"
    assert note in probe_tables([record_of("vqgan/tiny"), record_of()])[0].notes
    assert not [text for text in probe_tables([record_of()])[0].notes if "one tokenizer" in text]


def test_a_failed_check_cannot_be_missed() -> None:
    failed = replace(record_of(), coding=Coding(3, 100.0, 101.0, False))
    assert any("NOT read back alike" in note for note in probe_tables([failed])[1].notes)


def test_the_gap_to_images_trained_on_stands_below_their_bits_by_quarter() -> None:
    known = replace(record_of(), train_by_position=(7.5,) * 64 + (6.0,) * 192)
    parts = probe_tables([known, record_of("vqgan/tiny")])[2]
    assert [(name, [cell.text for cell in cells]) for name, cells in parts.rows] == [
        ("vqvae/tiny", ["8.000", "7.000", "7.000", "6.500"]),
        ("vqvae/tiny, gap", ["0.500", "1.000", "1.000", "0.500"]),
        ("vqgan/tiny", ["8.000", "7.000", "7.000", "6.500"]),
    ]
    assert parts.notes[1].startswith("gap: what these bits are more than those of images that were trained on")
    assert len(probe_tables([record_of()])[2].notes) == 1


def test_what_is_one_is_counted_as_one() -> None:
    record = record_of()
    alone = replace(
        record,
        held_out=replace(record.held_out, count=1, groups=1),
        probe=replace(record.probe, images_seen=1),
        coding=replace(record.coding, images=1),
    )
    bits, codes, *_ = probe_tables([alone])
    assert "bits per image of 1 held-out image of photos/test (1 group, data 33333333)" in bits.title
    assert any(note.endswith("1 image seen of photos/train (3910)") for note in bits.notes)
    assert any("1 image written by an arithmetic coder" in note for note in codes.notes)


def test_figures_of_held_out_images_that_the_tokenizer_was_trained_on_are_marked_in_every_format() -> None:
    known = replace(record_of(), trained_on=True, train_by_position=(7.5,) * 64 + (6.0,) * 192)
    tables = probe_tables([known, record_of("vqgan/tiny")])
    note = "§ measured on images that the tokenizer was trained on: vqvae/tiny"
    for table in tables:
        assert note in table.notes
        unmarked = {"tokens_per_image", "uniform_bits_per_image"}
        for name, cells in table.rows:
            trained = name in ("vqvae/tiny", "vqvae/tiny, gap")  # bits of images that the probe was trained on are no held-out ones
            for column, cell in zip(table.columns, cells, strict=True):
                expected = "§" if trained and cell.value is not None and column.key not in unmarked else ""
                assert cell.mark == expected, (table.title, name, column.key)
    for form in ("md", "csv", "latex", "json"):
        text = render(tables, form)
        assert (
            "trained on the images measured" if form in ("csv", "json") else "\\S{}" if form == "latex" else "1877 [1847, 1907]§"
        ) in text
    assert "§" not in render(probe_tables([record_of()]), "md")


def test_plots_of_probes_mark_them_too() -> None:
    names = {
        curve.name for plot in learned_plots([replace(record_of(), trained_on=True), record_of("vqgan/tiny")]) for curve in plot.curves
    }
    assert names == {"vqvae/tiny§", "vqgan/tiny"}


def test_earlier_records_do_not_know_whether_the_tokenizer_was_trained_on_the_images() -> None:
    values = json.loads(replace(record_of(), trained_on=True).to_json())
    assert probe_record_from_dict(values, origin="it").trained_on is True
    del values["trained_on"]
    assert probe_record_from_dict(values, origin="it").trained_on is None
    assert values.keys() == json.loads(record_of().to_json()).keys()
