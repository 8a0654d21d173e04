"""Columns have names of their own, whatever data sets and figures are called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import tokbench
from tokbench.records.distinct import distinct
from tokbench.records.frame import WHAT
from tokbench.records.intervals import Interval
from tokbench.records.record import MetricResult

VQGAN = Path(__file__).parents[2] / "results" / "photos-64" / "vqgan-tiny_photos-64.json"


def test_what_would_come_twice_is_numbered() -> None:
    assert distinct([("a", ()), ("a", ()), ("a_2", ())], ()) == ["a", "a_2", "a_2_2"]
    assert distinct([("data", ())], ("data", "data_2")) == ["data_3"]
    assert distinct([("a", ("_low",)), ("a_low", ())], ()) == ["a", "a_low_2"]
    assert distinct([("a_low", ()), ("a", ("_low", "_high"))], ()) == ["a_low", "a_2"]
    assert distinct([], ("a",)) == []


def test_figures_of_others_leave_the_columns_of_a_frame_as_they_are() -> None:
    record = tokbench.read_record(VQGAN)
    figures = {"data": MetricResult(0.5, "1", True), "psnr": record.metrics["psnr"], "psnr_low": MetricResult(7.0, "1", True)}
    figures["n"] = MetricResult(3.0, "1", True, interval=Interval(2.0, 4.0, "jackknife"))
    found = tokbench.frame([replace(record, metrics=figures)])
    assert list(found.columns[: len(WHAT)]) == list(WHAT)
    assert found.columns.is_unique
    row = found.iloc[0]
    assert (row["data"], row["n"]) == (record.data.name, record.data.count)
    assert (row["data_2"], row["n_2"], row["n_2_low"], row["n_2_high"], row["psnr_low_2"]) == (0.5, 3.0, 2.0, 4.0, 7.0)
    assert row["psnr_low"] == record.interval("psnr").low
