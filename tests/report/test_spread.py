"""How figures spread over images: percentiles against NumPy's, exact images, and tables of records."""

import csv
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from tokbench.errors import TokbenchError
from tokbench.records.record import MetricResult
from tokbench.records.store import write_record
from tokbench.report.render import render
from tokbench.report.spread import quantile, spread_of, spread_tables

INF = math.inf


@pytest.mark.parametrize("count", [1, 2, 7, 20, 101])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95, 1.0])
def test_quantiles_are_those_of_numpy(count, share):
    values = np.sort(np.random.default_rng(count).normal(size=count))
    assert quantile(values.tolist(), share) == pytest.approx(np.quantile(values, share), rel=1e-12)


@pytest.mark.parametrize(
    ("values", "share", "wanted"),
    [
        ([1.0, INF], 0.25, 1.0),
        ([1.0, INF], 0.5, 1.0),
        ([1.0, INF], 0.75, INF),
        ([-INF, 1.0], 0.5, 1.0),
        ([INF, INF, INF], 0.3, INF),
        ([1.0, 2.0, INF], 0.5, 2.0),
    ],
)
def test_between_a_number_and_infinity_nothing_lies(values, share, wanted):
    assert quantile(values, share) == wanted


def test_the_worst_is_at_the_end_that_is_worse():
    values = {"c": 3.0, "a": 1.0, "b": 1.0, "d": math.nan}
    assert (spread_of(values, higher_is_better=True).worst, spread_of(values, higher_is_better=True).image) == (1.0, "a")
    assert (spread_of(values, higher_is_better=False).worst, spread_of(values, higher_is_better=False).image) == (3.0, "c")
    unjudged = spread_of(values, higher_is_better=None)
    assert (unjudged.median, unjudged.worst, unjudged.image) == (1.0, None, None)
    assert spread_of({"d": math.nan}, higher_is_better=True) is None
    assert spread_of({}, higher_is_better=True) is None


def test_tables_say_the_same_in_every_format(make_record):
    one, other = make_record("a/b", seed=1), make_record("c/d", seed=2)
    (table,) = spread_tables([one.record, other.record], [one.rows, other.rows], keys=["psnr", "bits_per_image", "psnr"])
    assert [column.key for column in table.columns] == ["psnr_p5", "psnr_median", "psnr_p95", "psnr_worst"]
    assert [column.title for column in table.columns] == ["PSNR dB P5", "PSNR dB median", "PSNR dB P95", "PSNR dB worst"]
    row = next(csv.DictReader(io.StringIO(render([table], "csv"))))
    values = list(one.rows["psnr"].values())
    assert float(row["psnr_median"]) == pytest.approx(np.quantile(values, 0.5))
    assert float(row["psnr_worst"]) == min(values)
    assert json.loads(render([table], "json"))[0]["rows"][1]["psnr_p95"] == pytest.approx(
        np.quantile(list(other.rows["psnr"].values()), 0.95)
    )
    assert f"| {min(values):.2f} |" in render([table], "md")
    everything = spread_tables([one.record, other.record], [one.rows, other.rows])[0]
    assert {column.key.rpartition("_")[0] for column in everything.columns} == set(one.rows)


def test_exact_images_are_at_the_end_of_the_scale(make_record):
    item = make_record("a/b", seed=1)
    rows = {"psnr": dict.fromkeys(item.rows["psnr"], INF)}
    (table,) = spread_tables([item.record], [rows])
    assert [cell.number for cell in table.rows[0][1]] == ["exact"] * 4


def test_marks_and_records_without_values(make_record):
    one, other = make_record("a/b", seed=1), make_record("c/d", seed=2)
    judged = replace(one.record.metrics["lpips"], judged_by_training_network=True)
    record = replace(one.record, metrics=one.record.metrics | {"lpips": judged})
    (table,) = spread_tables([record, other.record], [one.rows, {}], keys=["lpips"])
    assert table.rows[0][1][0].mark == "†"
    assert [cell.number for cell in table.rows[1][1]] == ["-"] * 4
    assert any(note.startswith("† the tokenizer was trained") for note in table.notes)


def test_what_has_no_spread_is_refused(make_record):
    item = make_record("a/b", seed=1)
    with pytest.raises(
        TokbenchError, match=r"the spread of a figure is that of its per-image values, and these have them of .*psnr.*; choose"
    ):
        spread_tables([item.record], [item.rows], keys=["usage"])
    with pytest.raises(TokbenchError, match="and these have none beside them; choose such a figure, or measure again"):
        spread_tables([item.record], [{}])
    with pytest.raises(ValueError, match="1 records with 0 sets of rows"):
        spread_tables([item.record], [])


def test_compare_shows_it(make_record, tmp_path, tokbench_cli):
    item = make_record("a/b", seed=1)
    record = replace(item.record, metrics={"psnr": item.record.metrics["psnr"], "usage": MetricResult(0.5, "share of codes", True)})
    write_record(record, {"psnr": item.rows["psnr"]}, tmp_path / "runs")
    status, out, _ = tokbench_cli("compare", tmp_path / "runs", "--spread", "--format", "csv", "--columns", "usage,psnr")
    assert status == 0
    assert out.splitlines()[0] == "protocol and data,tokenizer,usage,psnr,psnr_p5,psnr_median,psnr_p95,psnr_worst"
    assert out.splitlines()[2].startswith("Spread over images: ") or out.splitlines()[2].startswith('"Spread over images: ')
    status, _, err = tokbench_cli("compare", tmp_path / "runs", "--spread", "--columns", "usage")
    assert status == 2
    assert "these have them of psnr; choose such a figure" in err
