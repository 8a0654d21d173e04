"""Records at a glance: their figures as a mapping, one line, a small table, and a frame of pandas."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import tokbench
from tokbench.records.record import MetricResult

RESULTS = Path(__file__).parents[2] / "results"
VQGAN = RESULTS / "photos-64" / "vqgan-tiny_photos-64.json"


def test_figures_are_flat_and_begin_with_rates() -> None:
    record = tokbench.read_record(str(VQGAN))
    figures = record.figures()
    assert list(figures)[:4] == ["tokens_per_image", "bits_per_image", "bpp", "fd_efflite0"]
    assert figures["fd_efflite0"] == pytest.approx(202.68, abs=0.005)
    assert figures["parameters"] == record.tokenizer.parameters
    assert "rfid" not in figures  # it has a reason
    assert {type(value) for value in figures.values()} == {float}
    exact = replace(record, metrics={"psnr": MetricResult(exact=736, unit="dB", higher_is_better=True)})
    assert exact.figures()["psnr"] == math.inf


def test_one_line_and_a_small_table() -> None:
    record = tokbench.read_record(VQGAN)
    assert repr(record) == "Record(vqgan/tiny on 736 images of photos/test, photos-64: FD-EffLite0 202.68, LPIPS 0.0454, PSNR 26.90 dB)"
    assert repr(replace(record, metrics={})) == "Record(vqgan/tiny on 736 images of photos/test, photos-64)"
    hostile = replace(record, tokenizer=replace(record.tokenizer, name="<b>\x1b"), metrics={"<i>": MetricResult(0.5, "1", True)})
    assert repr(hostile) == "Record(<b>\\x1b on 736 images of photos/test, photos-64: <i> 0.5000)"
    table = hostile._repr_html_()
    assert "<td>&lt;i&gt;</td><td>0.5000</td>" in table
    assert "<i>" not in table
    assert "\x1b" not in table
    interval = record.interval("psnr")
    assert interval is not None
    assert f"<td>PSNR</td><td>26.90 dB</td><td>{interval.low:.2f} to {interval.high:.2f}</td>" in record._repr_html_()


def test_a_frame_has_a_row_a_record_and_every_figure_with_its_interval() -> None:
    table = tokbench.frame(RESULTS / "photos-64").set_index("tokenizer")
    assert list(table.columns[:5]) == ["data", "size", "n", "seed", "protocol"]
    assert table.loc["vqgan/tiny", ["data", "size", "n", "seed", "protocol"]].tolist() == ["photos/test", 64, 736, 0, "photos-64"]
    psnr = tokbench.read_record(VQGAN).metrics["psnr"]
    assert psnr.interval is not None
    assert table.loc["vqgan/tiny", ["psnr", "psnr_low", "psnr_high"]].tolist() == [psnr.value, psnr.interval.low, psnr.interval.high]
    assert pd.isna(table.loc["vae/tiny", "bits_per_image"])
    assert table.loc["pixel/rgb", "psnr"] == math.inf
    assert not {"parameters_low", "tokens_per_image_low"} & set(table.columns)
    assert table.index.is_unique


def test_frames_take_records_files_and_folders_alike() -> None:
    record = tokbench.read_record(VQGAN)
    pd.testing.assert_frame_equal(tokbench.frame(record), tokbench.frame(str(VQGAN)))
    assert tokbench.frame([record, VQGAN, str(RESULTS / "faces-64")])["data"].tolist()[:3] == ["photos/test", "photos/test", "faces"]
    assert list(tokbench.frame([]).columns) == ["tokenizer", "data", "size", "n", "seed", "protocol"]
    with pytest.raises(tokbench.TokbenchError, match="no records in"):
        tokbench.frame(RESULTS / "probe-photos-64")


def test_settings_tell_rows_of_one_tokenizer_apart() -> None:
    record = tokbench.read_record(VQGAN)
    other = replace(record, tokenizer=replace(record.tokenizer, settings={"steps": 3}))
    assert tokbench.frame([record, other])["tokenizer"].tolist() == ["vqgan/tiny", "vqgan/tiny+steps=3"]
