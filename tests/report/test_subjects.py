"""Tokenizers are told apart, and told to be one, by what they are; figures on data trained on are marked in every format."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from tokbench.configs import plain
from tokbench.records.frame import frame
from tokbench.records.record import MetricResult
from tokbench.records.same import digests, same_weights
from tokbench.records.store import write_record
from tokbench.report.explain.quoted import as_json, quoted
from tokbench.report.explain.quoted import tables as quoted_tables
from tokbench.report.explain.quoted import text as quoted_text
from tokbench.report.page.matrix import matrices
from tokbench.report.page.model import arrange
from tokbench.report.page.scatter import rate_plots
from tokbench.report.page.spread import spreads
from tokbench.report.plots.sheets import draw_plots
from tokbench.report.published import published_tables
from tokbench.report.render import render
from tokbench.report.subjects import names_of, one_by_names
from tokbench.report.table import make_tables
from tokbench.report.tidy import tidy_tables, wide_table
from tokbench.tokenizers.zoo import resolve

ONE, OTHER = "1a" * 32, "2b" * 32


@pytest.fixture
def of(make_record):
    """Makes a record of a tokenizer that is as given."""

    def make(name, *, seed=0, trained_on=None, **tokenizer):
        item = make_record(name, seed=seed)
        info = replace(item.record.tokenizer, **tokenizer)
        return replace(item, record=replace(item.record, tokenizer=info, trained_on=trained_on))

    return make


def test_two_digests_under_one_name_are_told_apart_though_their_file_is_one(of):
    """Weights that were changed after they were loaded come from the same file."""
    infos = [of("a/b", state_sha256=digest).record.tokenizer for digest in (ONE, OTHER)]
    assert infos[0].weights_sha256 == infos[1].weights_sha256
    assert names_of(infos) == ["a/b weights=1a1a1a1a", "a/b weights=2b2b2b2b"]
    assert one_by_names(infos) == []
    other_code = [replace(infos[0], source_sha256=digest) for digest in (ONE, OTHER)]
    assert names_of(other_code) == ["a/b source=1a1a1a1a", "a/b source=2b2b2b2b"]


def test_the_same_weights_under_two_names_are_said_to_be_one(of):
    infos = [of(name, state_sha256=ONE, weights_sha256=file).record.tokenizer for name, file in (("a/b", ONE), ("c/d", OTHER))]
    assert one_by_names(infos) == ["a/b and c/d are one tokenizer: the same weights 1a1a1a1a"]
    infos[1] = replace(infos[1], config={"steps": 3})
    assert one_by_names(infos) == ["a/b and c/d have the same weights, under other settings or code: 1a1a1a1a"]
    assert one_by_names([replace(info, state_sha256=None, weights_sha256=None) for info in infos]) == []


def test_records_of_earlier_versions_are_compared_by_their_files(of):
    old, new = of("a/b", weights_sha256=ONE).record.tokenizer, of("c/d", weights_sha256=ONE, state_sha256=OTHER).record.tokenizer
    assert digests([old, new]) == [ONE, ONE]
    assert digests([new, replace(new, weights_sha256=None)]) == [OTHER, OTHER]
    assert same_weights(old, new)
    assert not same_weights(replace(old, weights_sha256=None), replace(old, weights_sha256=None))


def test_the_page_paints_what_is_one_alike_and_two_digests_apart(of):
    same = [of("a/b", state_sha256=ONE), of("a/b", state_sha256=ONE, seed=1)]
    (group,) = arrange(same)
    assert len({entry.subject for entry in group.entries}) == 1
    (group,) = arrange([same[0], of("a/b", state_sha256=OTHER)])
    assert len({entry.subject for entry in group.entries}) == 2
    assert [entry.detail for entry in group.entries] == ["weights=1a1a1a1a", "weights=2b2b2b2b"]


@pytest.fixture
def written(of, tmp_path):
    """Records of one tokenizer under two names, the second trained on the images."""
    for item in (of("a/b", state_sha256=ONE), of("c/d", state_sha256=ONE, seed=1, trained_on=True)):
        write_record(item.record, item.rows, tmp_path / "runs")
    return "runs/a-b_photos-64.json", "runs/c-d_photos-64.json"


SAME = "a/b and c/d are one tokenizer: the same weights 1a1a1a1a"
NOTE = "trained on the images measured"


@pytest.mark.parametrize("command", ["compare", "diff", "explain"])
def test_every_format_marks_figures_on_data_trained_on_and_says_what_is_one(tokbench_cli, written, command):
    arguments = ["runs"] if command == "compare" else written
    for form in ("terminal", "md", "latex") + ("text",) * (command == "explain"):
        status, out, err = tokbench_cli(command, *arguments, "--format", form)
        assert status == 0, err
        assert ("\\S{}" if form == "latex" else "§") in out.replace(f"§ {NOTE}", "")
        assert SAME in out
    rows = list(csv.DictReader(io.StringIO(tokbench_cli(command, *arguments, "--format", "csv")[1])))
    assert any(NOTE in (value or "") for row in rows for name, value in row.items() if name.endswith("_note"))
    values = json.loads(tokbench_cli(command, *arguments, "--format", "json")[1])
    if command == "explain":
        assert values["trained_on"] is True
        assert SAME in values["notes"]
        assert [cause["cause"] for cause in values["differences"]] == []
    else:
        assert any(SAME in table["notes"] for table in values)
        assert any(NOTE in str(value) for table in values for row in table["rows"] for name, value in row.items() if "_note" in name)


def test_the_first_picture_of_the_page_marks_them_too(of):
    groups = arrange([of("a/b", state_sha256=ONE), of("c/d", state_sha256=OTHER, seed=1, trained_on=True)])
    column = next(column for column in groups[0].metric_columns if column.key == "psnr")
    (picture,) = matrices(groups, [column])
    marked = {row.entry.name: row.strips[0].text.endswith("§") for row in picture.rows}
    assert marked == {"a/b": False, "c/d": True}


def test_the_page_marks_figures_on_data_trained_on_and_says_what_is_one(tokbench_cli, written, tmp_path):
    status, _, err = tokbench_cli("report", "runs", "--images", "0", "-o", "page.html")
    assert status == 0, err
    page = (tmp_path / "page.html").read_text()
    assert "<sup>§</sup>" in page
    assert SAME in page
    assert "§ measured on images that the tokenizer was trained on: c/d" in page


def elsewhere(item, name):
    """A record on another data set, which the tokenizer was not trained on."""
    data = replace(item.record.data, name=name, digest="f" * 64, pixels_digest="f" * 64)
    return replace(item, record=replace(item.record, data=data, trained_on=False))


def test_what_is_made_of_such_figures_over_data_sets_is_marked_too(of):
    items = [of("a/b", state_sha256=ONE), of("c/d", state_sha256=OTHER, seed=1, trained_on=True)]
    items += [elsewhere(item, "birds") for item in items]
    records, rows = [item.record for item in items], [item.rows for item in items]
    _, over = tidy_tables(records, rows, columns=["psnr", "lpips"])
    wide = wide_table(records, rows, "psnr")
    note = "§ measured on images that the tokenizer was trained on: c/d"
    for table, cells in ((over, 4), (wide, 2)):
        marks = {name: [cell.mark for cell in own[-cells:]] for name, own in table.rows}
        assert marks == {"a/b": [""] * cells, "c/d": ["§"] * cells}
        assert note in table.notes
    clean = [replace(record, trained_on=False) for record in records]
    assert not [cell for table in tidy_tables(clean, rows) for _, own in table.rows for cell in own if cell.mark]


def test_plots_mark_them_beside_the_point_and_say_why(of):
    items = [of("a/b", state_sha256=ONE), of("c/d", state_sha256=OTHER, seed=1, trained_on=True)]
    records, rows, names = [item.record for item in items], [item.rows for item in items], ["a/b", "c/d"]
    plots = {plot.name: plot for plot in draw_plots(records, rows, names)}
    for name in ("rate-psnr", "images-psnr"):
        figure = plots[name].figure
        assert [text.get_text() for text in figure.axes[0].texts] == ["§"]
        assert "trained on these images" in [text.get_text() for legend in figure.legends for text in legend.texts]
    (group,) = arrange(items)
    for tips in (
        [mark.tip for plot in rate_plots(group) for mark in plot.marks],
        [row.tip for spread in spreads(group) for row in spread.rows],
    ):
        assert {tip.partition("\n")[0]: "trained on" in tip for tip in tips} == {"a/b": False, "c/d": True}
    unmarked = [replace(record, trained_on=None) for record in records]
    plot = next(plot for plot in draw_plots(unmarked, rows, names) if plot.name == "rate-psnr")
    assert not plot.figure.axes[0].texts


def test_figures_beside_published_ones_are_marked(of):
    name = "vqgan/imagenet-f16-16384"
    record = of(name, trained_on=True, config=plain(resolve(name)[1].config)).record
    metrics = record.metrics | {"rfid": replace(record.metrics["psnr"], value=5.25)}
    record = replace(record, metrics=metrics)
    note = f"§ measured on images that the tokenizer was trained on: {name}"
    found = quoted(record)
    assert note in quoted_text(record, found)
    assert "rfid: 5.250§ -> " in quoted_text(record, found)
    assert all(one["trained_on"] is True for one in json.loads(as_json(record, found))["figures"])
    for form in ("md", "csv"):
        assert ("§" if form == "md" else NOTE) in render(quoted_tables(record, found), form)
    whole = replace(record.data, name="imagenet-val", requested=50_000, count=50_000)
    protocol = replace(record.protocol, size=256)
    beside, _ = published_tables([replace(record, data=whole, protocol=protocol)])
    assert [cells[1].text for _, cells in beside.rows] == ["5.250§"]
    assert note in beside.notes


def test_a_record_and_a_frame_say_it_too(of):
    known, unknown = of("a/b", trained_on=True).record, of("c/d", seed=1).record
    assert "images of photos/test, trained on them, photos-64" in repr(known)
    assert "trained" not in repr(unknown)
    table = frame([known, unknown])
    assert table.columns[-1] == "trained_on"
    assert table["trained_on"].tolist() == [True, None]
    assert "trained_on" not in frame(unknown).columns
    own = replace(known, metrics={"trained_on": replace(known.metrics["psnr"], value=3.0, info=None)})
    assert frame(own).loc[0, ["trained_on_2", "trained_on"]].tolist() == [3.0, True]


GUARDS = ("its name says that it is of training images", "it has 500 images, 60 are measured")


@pytest.fixture
def guarded(of, tmp_path):
    """Records of two tokenizers with a figure against the same reference, of which something is to be known."""
    given = {"name": "train.npz", "kind": "statistics", "sha256": "7c" * 32, "images": 500, "guards": list(GUARDS)}
    for name, seed in (("a/b", 0), ("c/d", 1)):
        item = of(name, seed=seed)
        figure = MetricResult(90.0 + seed, "squared feature distance", False, {"reference": given})
        record = replace(item.record, metrics={**item.record.metrics, "fd_efflite0_reference": figure})
        write_record(record, item.rows, tmp_path / "runs")
    return "runs/a-b_photos-64.json", "runs/c-d_photos-64.json"


@pytest.mark.parametrize("command", ["compare", "diff", "explain"])
def test_what_guards_a_reference_is_said_wherever_the_figure_is_shown(tokbench_cli, guarded, command):
    note = f"FD-EffLite0 to reference: train.npz (500 images, 7c7c7c7c): {'; '.join(GUARDS)}"
    arguments = ["runs"] if command == "compare" else guarded
    for form in ("md", "json"):
        status, out, err = tokbench_cli(command, *arguments, "--format", form)
        assert status == 0, err
        assert out.count(note) == 1
    others = ("--columns", "psnr") if command == "compare" else ("--metrics", "psnr") if command == "explain" else None
    if others is not None:
        assert "train.npz" not in tokbench_cli(command, *arguments, *others, "--format", "md")[1]
    if command == "compare":
        assert note in tokbench_cli(command, "runs", "--wide", "fd_efflite0_reference", "--format", "md")[1]


def test_the_page_warns_of_what_guards_a_reference(tokbench_cli, guarded, tmp_path):
    assert tokbench_cli("report", "runs", "--images", "0", "-o", "page.html")[0] == 0
    assert f"train.npz (500 images, 7c7c7c7c): {'; '.join(GUARDS)}." in (tmp_path / "page.html").read_text()


def test_other_references_are_named_and_not_listed_setting_by_setting(of):
    records = []
    for place, name in enumerate(("train.npz", "val.npz")):
        given = {"name": name, "kind": "statistics", "sha256": str(place) * 64, "images": 500 + place, "guards": [f"guard {place}"]}
        item = of(f"a/{place}")
        figure = MetricResult(90.0, "squared feature distance", False, {"reference": given})
        records.append(replace(item.record, metrics={"fd_efflite0_reference": figure}))
    (table,) = make_tables(records)
    expected = "FD-EffLite0 to reference with other settings than most of this table: reference train.npz (500 images, 00000000) or val.npz (501 ima"
    assert any(note.removeprefix("≠ ").startswith(expected[:90]) for note in table.notes)
    assert not [note for note in table.notes if "reference.sha256" in note]
