"""Several passes of tokenizers that draw noise: what is put together, and what tables say of it."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from tokbench.errors import TokbenchError
from tokbench.records.protocol import Protocol, get_protocol
from tokbench.records.record import MetricResult, record_from_dict
from tokbench.records.store import write_record
from tokbench.report.page.commands import run_command
from tokbench.report.passes import later_passes, pass_tables, passes_of
from tokbench.report.render import render

VALUES = (25.0, 25.5, 24.8)


@pytest.fixture
def passes(make_record):
    """Three passes of one tokenizer, the last first, and one pass of another."""

    def record(name, noise, psnr):
        made = make_record(name).record
        protocol = get_protocol(changes={"noise": noise})
        usage = MetricResult(0.5 + noise / 100, "share of codes", True)
        return replace(
            made, protocol=protocol, protocol_label=protocol.label, metrics={"psnr": MetricResult(psnr, "dB", True), "usage": usage}
        )

    return [*(record("flowmo/a", noise, VALUES[noise]) for noise in (2, 0, 1)), record("vq/b", 0, 27.0)]


def test_passes_are_put_together_by_their_number(passes):
    assert passes_of(passes) == [[1, 2, 0]]
    assert later_passes(passes) == [True, False, True, False]
    elsewhere = replace(passes[1], data=replace(passes[1].data, pixels_digest="f" * 64))
    other = replace(passes[1], tokenizer=replace(passes[1].tokenizer, weights_sha256="cd" * 32))
    assert passes_of([passes[0], elsewhere, other]) == []
    newer = replace(passes[0], created="2027-01-01T00:00:00+00:00")
    assert passes_of([newer, *passes]) == [[2, 3, 0]]


def test_the_table_has_mean_and_variance(passes):
    (table,) = pass_tables(passes)
    assert [name for name, _ in table.rows] == ["flowmo/a"]
    assert table.title.startswith("Over passes: photos-64 v")
    (row,) = csv.DictReader(io.StringIO(render([table], "csv")))
    assert float(row["passes"]) == 3
    assert float(row["psnr_mean"]) == pytest.approx(np.mean(VALUES))
    assert float(row["psnr_variance"]) == pytest.approx(np.var(VALUES, ddof=1))
    assert (float(row["psnr_least"]), float(row["psnr_most"])) == (24.8, 25.5)
    shown = {column.title: cell.text for column, cell in zip(table.columns, table.rows[0][1], strict=True)}
    assert shown["PSNR dB variance"] == f"{np.var(VALUES, ddof=1):.3g}"
    assert shown["usage % variance"] == f"{np.var([50.0, 51.0, 52.0], ddof=1):.3g}"  # in the units of the other cells
    assert pass_tables(passes[1:2]) == []


def test_a_figure_that_one_pass_lacks_is_of_the_others(passes):
    passes[0] = replace(passes[0], metrics={"usage": passes[0].metrics["usage"]})
    (table,) = pass_tables(passes)
    (row,) = csv.DictReader(io.StringIO(render([table], "csv")))
    assert float(row["psnr_variance"]) == pytest.approx(np.var(VALUES[:2], ddof=1))
    assert any(note == "1 tokenizer has passes without some figures, which others have" for note in table.notes)


def test_compare_shows_the_first_pass_and_the_table_of_all(passes, tmp_path, tokbench_cli):
    for record in passes:
        write_record(record, {}, tmp_path / "runs")
    status, out, _ = tokbench_cli("compare", tmp_path / "runs", "--format", "md")
    assert status == 0
    first, second = out.split("**Over passes: ")
    assert "| 25.00 |" in first
    assert "25.50" not in first
    assert "| 25.10 | 0.13 | 24.80 | 25.50 |" in second


def test_the_page_and_plots_take_passes_for_no_other_data_sets(passes, tmp_path, tokbench_cli):
    for record in passes:
        write_record(record, {}, tmp_path / "runs")
    status, _, err = tokbench_cli("report", tmp_path / "runs", "--images", 0)
    assert status == 0, err
    page = (tmp_path / "report.html").read_text()
    assert "Passes of stochastic tokenizers" in page
    assert "25.10" in page
    assert "over 3 data sets" not in page
    assert page.count('<section id="protocol-') == 1
    assert "--repeats 3" in page
    status, out, err = tokbench_cli("plot", tmp_path / "runs", "--format", "svg", "--kind", "rate")
    assert status == 0, err
    assert "leaves out 2 records of later ones" in err
    assert "/1-" not in out


def test_records_of_one_pass_are_as_they_were(make_record):
    values = make_record("vq/b").record.to_dict()
    assert "noise" not in values["protocol"]
    assert record_from_dict(values, origin="it").protocol.noise == 0
    protocol = get_protocol(changes={"noise": 3})
    assert protocol.label == "photos-64+noise=3"
    record = replace(make_record("vq/b").record, protocol=protocol, protocol_label=protocol.label)
    assert record_from_dict(record.to_dict(), origin="it") == record
    assert "--repeats 4" in run_command(record)
    with pytest.raises(TokbenchError, match="noise must be 0 to 999, got 1000"):
        get_protocol(changes={"noise": 1000})
    with pytest.raises(ValueError, match="noise must be 0 to 999, got -1"):
        Protocol("photos-64", 2, "photos/test", 64, noise=-1)
