"""Plots of language models: the figures of the records, beside ceiling and chance, split by split and part by part."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tokbench.commands import compare as cli_compare
from tokbench.errors import TokbenchError
from tokbench.records.lm_record import LanguageModelRecord
from tokbench.records.lm_store import write_lm_record
from tokbench.records.record import MetricResult
from tokbench.records.store import write_record
from tokbench.report.evaluated import model_groups
from tokbench.report.plots.dot_panels import BESIDE, dots_height
from tokbench.report.plots.dots import part_plots, stage_plots
from tokbench.report.plots.kinds import LM_KINDS, RUN_KINDS, SPEED_KINDS
from tokbench.report.plots.lm_sheets import draw_lm_plots, write_lm_plots


@pytest.fixture
def records(make_model: Callable) -> list[LanguageModelRecord]:
    """Two stages on the splits test and held-out, the later one first, and on held-out the first stage alone."""
    asked = [("b", 2, "test"), ("a", 1, "held-out"), ("a", 1, "test")]
    return [make_model(name, stages=stages, split=split)[0] for name, stages, split in asked]


def with_figure(record: LanguageModelRecord, key: str, value: float | None) -> LanguageModelRecord:
    return replace(record, figures=record.figures | {key: MetricResult(value, "share", True)})


def test_one_row_a_model_with_its_splits_side_by_side(records: list[LanguageModelRecord]) -> None:
    (group,) = model_groups(records)
    assert group.title == "40 prompts of scenes at 64 px, seed 0"
    assert group.splits == ("test", "held-out")
    assert [(row.name, row.places) for row in group.rows] == [("a", {"held-out": 1, "test": 2}), ("b", {"test": 0})]
    assert group.places("held-out") == [1]


def test_what_does_not_compare_is_apart_and_what_is_alike_has_rows_of_its_own(records: list[LanguageModelRecord]) -> None:
    first = records[2]
    fewer = replace(first, protocol=replace(first.protocol, prompts=20))
    cooler = replace(first, protocol=replace(first.protocol, sampling={"temperature": 0.5, "batch_size": 4}))
    batched = replace(records[1], protocol=replace(records[1].protocol, sampling={"temperature": 1.0, "batch_size": 4}))
    other = replace(first, model=replace(first.model, state_sha256="f" * 64))
    group, apart = model_groups([first, first, cooler, batched, other, fewer])
    assert [row.name for row in group.rows] == [
        "a 11111111 temperature 1",
        "a 11111111 temperature 1 #2",
        "a 11111111 temperature 0.5",
        "a ffffffff",
    ]
    assert group.rows[0].places == {"test": 0, "held-out": 3}
    assert [row.places for row in apart.rows] == [{"test": 5}]
    assert model_groups([]) == []


def test_stages_are_drawn_as_recorded(records: list[LanguageModelRecord]) -> None:
    (group,) = model_groups(records)
    plots = {plot.name: plot for plot in stage_plots(records, group)}
    assert list(plots) == ["stages-prompt_attributes", "stages-prompt_all_right", "stages-edit_change", "stages-description_attributes"]
    plot = plots["stages-prompt_attributes"]
    assert (plot.series, plot.beside) == (("test", "held-out"), ("ceiling", "chance"))
    assert [[dot.series for dot in row.dots] for row in plot.rows] == [[0, 1], [0]]
    figures, dot = records[2].figures, plot.rows[0].dots[0]
    assert dot.value == 100 * figures["prompt_attributes"].value
    assert dot.interval == figures["prompt_attributes"].interval.ends(100)
    assert dot.beside == (100 * figures["ceiling_attributes"].value, 100 * figures["chance_attributes"].value)
    assert plots["stages-edit_change"].beside == ("ceiling", "unedited")
    assert plots["stages-description_attributes"].rows[0].dots[0].beside == ()


def test_parts_are_drawn_split_by_split(records: list[LanguageModelRecord]) -> None:
    (group,) = model_groups(records)
    test, held_out = part_plots(records, group)
    assert [row.name for row in test.rows] == ["shape", "colour", "number"]  # the others were not measured
    assert test.series == held_out.series == ("a", "b")
    assert (test.shown, held_out.shown) == ([0, 1], [0])
    assert [dot.value for dot in test.rows[1].dots] == [100 * records[place].figures["prompt_colour"].value for place in (2, 0)]
    assert held_out.name == "parts-held-out"


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, 1e300])
def test_figures_without_a_place_are_left_out(records: list[LanguageModelRecord], value: float | None) -> None:
    first = with_figure(with_figure(records[2], "prompt_attributes", value), "ceiling_all_right", value)
    (group,) = model_groups([first])
    plots = {plot.name: plot for plot in stage_plots([first], group)}
    assert "stages-prompt_attributes" not in plots
    assert plots["stages-prompt_all_right"].rows[0].dots[0].beside[0] is None


def test_paper_shows_every_dot(records: list[LanguageModelRecord]) -> None:
    (group,) = model_groups(records)
    plots = {plot.name: plot.figure for plot in draw_lm_plots(records, group)}
    figure = plots["stages-prompt_attributes"]
    (axes,) = figure.axes
    drawn = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) and line.get_marker() not in ("|", "x")]
    assert drawn == [dot.value for row in stage_plots(records, group)[0].rows for dot in row.dots]
    places = [line.get_ydata()[0] for line in axes.lines if len(line.get_xdata()) and line.get_marker() == BESIDE["ceiling"]["marker"]]
    assert places == sorted(places)
    assert len(set(places)) == 3
    assert [text.get_text() for text in figure.legends[0].texts] == ["test", "held-out", "ceiling", "chance"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert figure.get_figheight() > dots_height(stage_plots(records, group)[0])


def test_files_of_groups_lie_apart_and_are_the_same_again(records: list[LanguageModelRecord], tmp_path: Path) -> None:
    written = write_lm_plots(records, tmp_path / "a", formats=("svg",), width="page")
    again = write_lm_plots(records, tmp_path / "b", formats=("svg",), width="page")
    assert [path.name for path in written.paths] == ["stages.svg", "parts.svg"]
    assert [path.read_bytes() for path in written.paths] == [path.read_bytes() for path in again.paths]
    fewer = replace(records[0], protocol=replace(records[0].protocol, prompts=20))
    apart = write_lm_plots([records[0], fewer], tmp_path / "c", kinds=("parts",), formats=("svg",))
    assert [str(path.relative_to(tmp_path / "c")) for path in apart.paths] == ["models-1/parts-test.svg", "models-2/parts-test.svg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ("rate",)}, "unknown kind of plot 'rate'"),
        ({"formats": ("gif",)}, "unknown format 'gif'"),
        ({"width": "wide"}, "unknown width 'wide'"),
    ],
)
def test_what_is_not_known_is_refused(records: list[LanguageModelRecord], tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(TokbenchError, match=message):
        write_lm_plots(records, tmp_path, **options)


def test_records_without_such_figures_are_refused(records: list[LanguageModelRecord], tmp_path: Path) -> None:
    bare = replace(records[0], figures={"image_bits": records[0].figures["image_bits"]})
    with pytest.raises(TokbenchError, match="hold nothing to draw for stages, parts; evaluate with --task generate"):
        write_lm_plots([bare], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_command_draws_each_kind_of_what_has_it(make_record: Callable, make_model: Callable, tmp_path: Path, capsys) -> None:
    assert (*RUN_KINDS, *LM_KINDS, *SPEED_KINDS) == cli_compare.KINDS
    write_lm_record(*make_model(), tmp_path / "lm")
    item = make_record("a/b")
    write_record(item.record, item.rows, tmp_path / "runs")
    cli_compare.plot([tmp_path / "lm"], kind=None, form="svg", width="page", out_dir=tmp_path / "one")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["parts.svg", "stages.svg"]
    both = [tmp_path / "lm", tmp_path / "runs"]
    cli_compare.plot(both, kind=["rate", "parts"], form="svg", width="page", out_dir=tmp_path / "two")
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["parts.svg", "rate.svg"]
    assert "two/parts.svg" in capsys.readouterr().out
    for place, asked, message in (
        ("lm", "rate", "--kind rate draws nothing of records of language models; choose stages, parts"),
        ("runs", "parts", "--kind parts draws nothing of records of tokbench run; choose rate, encode, decode, codebook, images"),
    ):
        with pytest.raises(TokbenchError, match=message):
            cli_compare.plot([tmp_path / place], kind=[asked], form="svg", width="page", out_dir=tmp_path / "three")
