"""What told beforehand: models trained alike, joined with figures of the same tokenizers, and no others."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tokbench.configs import build, plain
from tokbench.records.correlation import rank_correlation
from tokbench.records.lm_training import Trained
from tokbench.records.record import MetricResult
from tokbench.report.beforehand import BEFOREHAND, FIGURE, known_beforehand, subject_of
from tokbench.report.page.leading import leading
from tokbench.report.telling import OUTCOMES, Study, Telling, own_studies, studies_of, telling_of, written
from tokbench.report.told_tables import found_words, told_tables

ROOT = Path(__file__).parents[2]
NAMES = [f"family/{letter}" for letter in "abcdef"]


@pytest.fixture
def models(make_model: Callable[..., Any]) -> Callable[..., list[Any]]:
    """Models of several tokenizers, each better than the one before."""

    def models(names: Sequence[str] = NAMES, budget: str = "images", steps: Sequence[int] | int = 10, **recipe: object) -> list[Any]:
        found = []
        for place, name in enumerate(names):
            record, rows = make_model(f"{name[-1]}_{budget}", better=0.04 * place, tokenizer=name)
            own = steps if isinstance(steps, int) else steps[place]
            stage = {"name": "pretrain", "stage": "pretrain", "steps": own, "data": {"name": "scenes", "tokenizer": name}}
            stage["recipe"] = {"steps": own, "batch_size": 16, **recipe}
            found.append((replace(record, model=replace(record.model, recipe={"stages": [stage]})), rows))
        return found

    return models


def test_a_figure_is_held_against_every_outcome_over_the_same_tokenizers(models: Callable, make_probe: Callable) -> None:
    made = models()
    probes = [make_probe(name, 1900.0 - 100 * place) for place, name in enumerate(NAMES)]
    (study,) = studies_of(made, [*reversed(probes), make_probe("family/untrained", 1.0)])
    assert (study.tried, study.asked, study.lacking) == (3, "40 prompts of scenes/test at 64 px", ())
    assert study.trained == "equal sequences (160 sequences each)"
    assert [(pair.figure, pair.outcome) for pair in study.determined] == [
        ("probe_bits", outcome) for outcome in OUTCOMES if outcome in made[0][1]
    ]
    for pair in study.pairs:
        values = [list(rows[pair.outcome].values()) for _, rows in made]
        assert pair.ranks == rank_correlation([1900.0 - 100 * place for place in range(6)], values)
        assert pair.ranks.value == -1
    telling = Telling((study,), own=False)
    assert (telling.leading, telling.by_chance) == (("probe_bits",), 0)
    assert found_words(telling) == "3 of 3 pairs of figure and outcome are determined, and chance alone would find about 0 among as many"


def test_too_few_tokenizers_are_no_study(models: Callable, make_probe: Callable) -> None:
    probes = [make_probe(name, 1900.0 - 100 * place) for place, name in enumerate(NAMES)]
    assert studies_of(models(["family/a"] * 6), probes) == [], "six models of one tokenizer"
    assert studies_of(models(NAMES[:2]), probes) == []
    assert studies_of(models(), []) == []
    assert studies_of([], probes) == []
    assert telling_of(models(NAMES[:2]), probes) == Telling(own_studies(), own=True)
    (study,) = studies_of(models(NAMES[:4]), probes)
    assert (study.tried, study.determined) == (3, ()), "four tokenizers have too few orders"


def test_models_of_other_recipes_and_budgets_are_studies_of_their_own(models: Callable, make_probe: Callable) -> None:
    probes = [make_probe(name, 1900.0 - 100 * place) for place, name in enumerate(NAMES)]
    slow, fast = models(NAMES[:3], learning_rate=1e-3), models(NAMES[3:], learning_rate=2e-3)
    assert [len(study.models) for study in studies_of([*slow, *fast], probes)] == [3, 3]
    assert studies_of([*slow[:2], *fast[:2]], probes) == []
    more = models(steps=[10, 10, 10, 20, 20, 30])
    assert [(len(study.models), study.sequences) for study in studies_of(more, probes)] == [(3, (160, 160))]
    timed = models(budget="time", steps=[10, 20, 30, 40, 50, 60])
    both = studies_of([*models(), *timed], probes)
    assert [study.trained for study in both] == [
        "equal sequences (160 sequences each)",
        "equal time (160 to 960 sequences each)",
    ]
    other = [(replace(record, protocol=replace(record.protocol, seed=1)), rows) for record, rows in models(NAMES[3:])]
    assert [len(study.models) for study in studies_of([*models(NAMES[:3]), *other], probes)] == [3, 3]
    batch = [
        (replace(record, protocol=replace(record.protocol, sampling={**record.protocol.sampling, "batch_size": 8})), rows)
        for record, rows in models(NAMES[3:])
    ]
    assert [len(study.models) for study in studies_of([*models(NAMES[:3]), *batch], probes)] == [6]


@pytest.mark.parametrize("stages", [None, [], "text", [1, 2], [{"recipe": 3, "data": None, "steps": "many"}]])
def test_recipes_that_say_nothing_break_nothing(models: Callable, make_probe: Callable, stages: object) -> None:
    probes = [make_probe(name, 1900.0 - 100 * place) for place, name in enumerate(NAMES)]
    made = [(replace(record, model=replace(record.model, recipe={"stages": stages})), rows) for record, rows in models()]
    assert all(study.sequences is None and study.trained == "equal sequences" for study in studies_of(made, probes))


def test_minutes_are_said_where_records_say_them(models: Callable, make_probe: Callable) -> None:
    probes = [make_probe(name, 1900.0 - 100 * place) for place, name in enumerate(NAMES[:3])]
    timed = models(NAMES[:3], steps=[100, 90, 80])
    for place, (record, _) in enumerate(timed):
        taken = Trained(1600, 1800.0 + 30 * place, 1800.0, 1, "cpu", "a processor")
        record.model.recipe["stages"][0]["trained"] = plain(taken)
    (study,) = studies_of(timed, probes)
    assert study.trained == "equal time (1,280 to 1,600 sequences each, 30 to 31 minutes)"
    assert build(Study, json.loads(written([study]))[0]).minutes == study.minutes


def test_rungs_of_one_name_are_joined_by_their_weights(models: Callable, make_probe: Callable) -> None:
    def rung(record: Any, place: int) -> Any:
        return replace(record, tokenizer=replace(record.tokenizer, name="vqvae/tiny", state_sha256=f"{place}" * 64))

    made = [(rung(record, place), rows) for place, (record, rows) in enumerate(models())]
    probes = [rung(make_probe("vqvae/tiny", 1900.0 - 100 * place), place) for place in range(6)]
    (study,) = studies_of(made, [*probes[3:], *probes[:3]])
    assert [pair.ranks.value for pair in study.pairs] == [-1, -1, -1]
    others = [rung(make_probe("vqvae/tiny", 1900.0 - 100 * place), place) for place in range(4, 10)]
    assert studies_of(made, others) == [], "weights of which no model is"


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_figures_that_a_tokenizer_lacks_are_left_out_and_said(models: Callable, make_probe: Callable, value: float | None) -> None:
    probes = [make_probe(name, 1900.0 - 100 * place) for place, name in enumerate(NAMES)]
    gaps = [MetricResult(10.0 + place, "bits", False) for place in range(5)] + [MetricResult(value, "bits", False)]
    probes = [replace(one, figures={**one.figures, "gap_bits_per_image": gap}) for one, gap in zip(probes, gaps, strict=True)]
    (study,) = studies_of(models(), probes)
    assert {pair.figure for pair in study.pairs} == {"probe_bits"}
    assert study.lacking == (("gap of the probe", 5),)
    (table,) = told_tables(Telling((study,), own=False))
    assert "left out, as only some of the 6 tokenizers have them: gap of the probe (5)" in table.notes


def test_equal_figures_have_no_order(models: Callable, make_probe: Callable) -> None:
    assert studies_of(models(), [make_probe(name, 1900.0) for name in NAMES]) == []
    tied = [make_probe(name, 1900.0 - 100 * (place // 3)) for place, name in enumerate(NAMES)]
    (study,) = studies_of(models(), tied)
    assert all(-1 < pair.ranks.value < 0 for pair in study.pairs)


def test_outcomes_that_a_model_was_not_asked_for_are_left_out(models: Callable, make_probe: Callable) -> None:
    probes = [make_probe(name, 1900.0 - 100 * place) for place, name in enumerate(NAMES)]
    made = models()
    made[2] = (made[2][0], {key: values for key, values in made[2][1].items() if key != "edit_change"})
    made[3] = (made[3][0], {**made[3][1], "description_attributes": {"test-0": math.nan}})
    (study,) = studies_of(made, probes)
    assert [pair.outcome for pair in study.pairs] == ["prompt_attributes"]
    (table,) = told_tables(Telling((study,), own=False))
    assert [column.title for column in table.columns] == ["from", "drawings", "one left out"]
    assert studies_of([(record, {}) for record, _ in made], probes) == []


def test_of_the_distance_of_drawings_less_is_better(models: Callable, make_probe: Callable) -> None:
    probes = [make_probe(name, 1900.0 - 100 * place) for place, name in enumerate(NAMES)]
    made = models()
    near = [replace(one.figures["kd_efflite0"], value=600.0 - place) for place, (one, _) in enumerate(made)]
    made = [(replace(one, figures={**one.figures, "fd_efflite0": fd}), rows) for (one, rows), fd in zip(made, near, strict=True)]
    (study,) = studies_of(made, probes)
    assert {pair.outcome: (round(pair.ranks.value), pair.more_is_better) for pair in study.pairs} == {
        "prompt_attributes": (-1, False),
        "edit_change": (-1, False),
        "description_attributes": (-1, False),
        "fd_efflite0": (1, False),
    }
    ranks = study.pairs[-1].ranks
    assert ranks == rank_correlation([1900.0 - 100 * place for place in range(6)], [600.0 - place for place in range(6)])
    (table,) = told_tables(Telling((study,), own=False))
    assert [column.title for column in table.columns][-2:] == ["distance of drawings", "one left out"]
    assert any(note.startswith("distance of drawings: ") for note in table.notes)
    block = leading(Telling((study,), own=True), probes)
    assert block is not None
    assert block.title.endswith("what told how well models draw, edit and describe")
    assert block.meaning.endswith("the lower, the better")
    made[2] = (replace(made[2][0], figures={**made[2][0].figures, "fd_efflite0": MetricResult(reason="too few images")}), made[2][1])
    (study,) = studies_of(made, probes)
    assert "fd_efflite0" not in {pair.outcome for pair in study.pairs}


def test_a_figure_that_most_tokenizers_have_in_common_leads_nowhere(models: Callable, make_probe: Callable) -> None:
    made = models()
    for shared, expected in ((3, ("probe_bits",)), (4, ())):
        bits = [1900.0 - 100 * max(0, place - shared + 1) for place in range(6)]
        (study,) = studies_of(made, [make_probe(name, value) for name, value in zip(NAMES, bits, strict=True)])
        assert {pair.alike for pair in study.pairs} == {shared}
        sure = tuple(replace(pair, ranks=replace(pair.ranks, low=-1, high=-0.5, chance=0.01)) for pair in study.pairs)
        telling = Telling((replace(study, pairs=sure),), own=False)
        assert (telling.found, telling.leading) == (("probe_bits",), expected)


def test_figures_of_other_data_are_figures_of_their_own(models: Callable, make_probe: Callable) -> None:
    probes = [make_probe(name, 1900.0 - 100 * place) for place, name in enumerate(NAMES)]
    others = [replace(one, held_out=replace(one.held_out, digest="9" * 64)) for one in reversed(probes)]
    known = known_beforehand([*probes[:3], *others[:3]])
    assert [len(one.values) for one in known] == [3, 3]
    assert studies_of(models(), [*probes[:3], *others[:3]]) == [], "no data set has all tokenizers"
    (study,) = studies_of(models(), [*probes, *others])
    (table,) = told_tables(Telling((study,), own=False))
    assert [name.rpartition(", data ")[2] for name, _ in table.rows] == ["33333333", "99999999"]


def test_the_table_has_determined_figures_first(models: Callable, make_probe: Callable, make_record: Callable) -> None:
    probes = [make_probe(name, 1900.0 - 100 * place) for place, name in enumerate(NAMES)]
    runs = [make_record(name, better=better).record for name, better in zip(NAMES, (0, 2, 1, 0.5, 3, 1.5), strict=True)]
    runs = [replace(run, tokenizer=replace(run.tokenizer, config={}, weights_sha256=None)) for run in runs]
    assert {subject_of(run) for run in runs} == {subject_of(probe) for probe in probes}
    (study,) = studies_of(models(), [*runs, *probes])
    (table,) = told_tables(Telling((study,), own=False))
    assert table.rows[0][0] == "bits under the probe"
    assert [cell.bold for cell in table.rows[0][1]] == [False, True, False, True, False, True, False]
    ranks = study.determined[0].ranks
    assert table.rows[0][1][1].text == f"{ranks.value:.2f} [{ranks.low:.2f}, {ranks.high:.2f}]"
    assert table.rows[0][1][2].text == "-1.00 to -1.00"
    assert not any(cell.bold for _, cells in table.rows[1:] for cell in cells)
    assert "FD-EffLite0" in [name for name, _ in table.rows[1:]]
    assert study.tried == len(study.pairs) == 3 * len(table.rows)


def test_what_is_kept_of_a_study_is_what_is_determined(models: Callable, make_probe: Callable) -> None:
    probes = [make_probe(name, 1900.0 - 100 * place) for place, name in enumerate(NAMES)]
    found = studies_of([*models(), *models(NAMES[:4], learning_rate=1)], probes)
    kept = json.loads(written(found))
    assert [(one["tried"], len(one["pairs"])) for one in kept] == [(3, 3), (3, 0)]


def test_the_study_in_the_package_is_that_of_the_committed_records(script: Callable[[str], ModuleType]) -> None:
    tables = script("docs/tables.py")
    for place, make in tables.FILES.items():
        assert (ROOT / place).read_text() == make(), f"{place}: run make tables"
    studies = own_studies()
    assert written(studies) == (ROOT / "tokbench" / "records" / "telling.json").read_text()
    assert all(pair.ranks.determined and pair.figure in FIGURE and pair.outcome in OUTCOMES for one in studies for pair in one.pairs)


def test_no_key_stands_for_two_figures() -> None:
    assert len(FIGURE) == len(BEFOREHAND)
