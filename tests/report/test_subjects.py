"""Tokenizers are told apart, and told to be one, by what they are; figures on data trained on are marked in every format."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest

from tokbench.records.same import digests, same_weights
from tokbench.records.store import write_record
from tokbench.report.page.matrix import matrices
from tokbench.report.page.model import arrange
from tokbench.report.subjects import names_of, one_by_names

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
