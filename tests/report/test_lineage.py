"""The order of language models: stages after those they go on from, whatever their files are called."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tokbench.errors import TokbenchError
from tokbench.records.lm_record import LanguageModelRecord, lm_record_from_dict
from tokbench.records.lm_store import write_lm_record
from tokbench.report.evaluated import model_groups
from tokbench.report.lineage import in_order, predecessors
from tokbench.report.lm import OF_ORIGINALS, lm_tables
from tokbench.report.page.models import Evaluated, models_body
from tokbench.report.plots.dots import stage_plots
from tokbench.report.render import render

ROOT = Path(__file__).parents[2]


def with_stages(record: LanguageModelRecord, stages: object) -> LanguageModelRecord:
    return replace(record, model=replace(record.model, recipe={"stages": stages}))


def test_stages_follow_what_they_go_on_from(make_model: Callable) -> None:
    dpo, pretrain, quality = (make_model(stages=count)[0] for count in (3, 1, 2))
    assert in_order([dpo, pretrain, quality]) == [1, 2, 0]
    assert predecessors([pretrain, quality, dpo]) == [None, 0, 1]
    assert predecessors([pretrain, dpo]) == [None, 0]


def test_models_of_other_lines_stay_where_they_are_and_apart(make_model: Callable) -> None:
    other = [make_model(stages=count, tokenizer="vqgan/tiny")[0] for count in (2, 1)]
    own = [make_model(stages=count)[0] for count in (2, 1)]
    mixed = [other[0], own[0], other[1], own[1]]
    order = in_order(mixed)
    assert order == [2, 0, 3, 1]
    assert predecessors([mixed[place] for place in order]) == [None, 0, 1, 2]


@pytest.mark.parametrize("stages", [None, [], "pretrain", 3, {"a": 1}, [[float("nan")], None]])
def test_recipes_that_tell_no_stages_keep_the_order_given(make_model: Callable, stages: object) -> None:
    records = [with_stages(make_model(name)[0], stages) for name in ("b", "a")]
    assert in_order(records) == [0, 1]
    assert predecessors(records) == [None, 0]
    assert (in_order([]), predecessors([])) == ([], [])


def test_tables_have_stages_in_order_and_compare_each_with_what_it_began_from(make_model: Callable) -> None:
    made = [make_model(name, stages=count) for name, count in (("a-last", 3), ("b-first", 1), ("c-branch", 2))]
    tables = lm_tables([record for record, _ in made], [rows for _, rows in made])
    assert [name for name, _ in tables[0].rows] == ["b-first", "c-branch", "a-last"]
    assert [name for name, _ in tables[-1].rows] == ["c-branch less b-first", "a-last less c-branch"]


def test_figures_of_images_that_the_tokenizer_was_trained_on_are_marked(make_model: Callable) -> None:
    (first, rows), (second, others) = (make_model(name, stages=count) for name, count in (("first", 1), ("second", 2)))
    second = replace(second, trained_on=True)
    assert lm_record_from_dict(json.loads(second.to_json()), origin="it").trained_on is True
    assert "trained_on" not in json.loads(first.to_json())
    note = "§ measured on images that the tokenizer was trained on: second"
    *tables, differences = lm_tables([first, second], [rows, others])
    for table in tables:
        marked = {
            column.key: cell.mark for column, cell in zip(table.columns, dict(table.rows)["second"], strict=True) if cell.value is not None
        }
        assert marked == {key: "" if key in OF_ORIGINALS else "§" for key in marked}
        assert {cell.mark for cell in dict(table.rows)["first"]} == {""}
        assert note in table.notes
    assert {cell.mark for _, cells in differences.rows for cell in cells if cell.value is not None} == {"§"}
    assert note in differences.notes
    assert "§" not in render(lm_tables([first], [rows]), "md")
    page = models_body([Evaluated("second.json", second, others), Evaluated("first.json", first, rows)], 0)
    assert re.search(r"\d§", page)
    assert note in page
    group = model_groups([second])[0]
    assert {row.name for plot in stage_plots([second], group) for row in plot.rows} == {"second§"}


def test_the_document_has_the_models_of_a_folder_and_nothing_without_it(script: Callable, make_model: Callable, tmp_path: Path) -> None:
    tables = script("docs/tables.py")
    assert not tables.models(tmp_path / "missing").strip()
    (tmp_path / "empty").mkdir()
    assert not tables.models(tmp_path / "empty").strip()
    for stages, name in ((2, "quality"), (1, "pretrain")):
        write_lm_record(*make_model(name, stages=stages), tmp_path / "lm")
    text = tables.models(tmp_path / "lm")
    assert text.index("| pretrain |") < text.index("| quality |")
    assert "| quality less pretrain |" in text
    page = tables.with_table("a\n<!-- models -->\n\n<!-- /models -->\nb\n", "models", text)
    assert tables.with_table(page, "models", text) == page
    assert tables.with_table(page, "models", "") == "a\n<!-- models -->\n\n<!-- /models -->\nb\n"
    next((tmp_path / "lm").glob("quality*.json")).write_text('{"schema": 1, "figures": ')
    with pytest.raises(TokbenchError, match="is not a readable record"):
        tables.models(tmp_path / "lm")
