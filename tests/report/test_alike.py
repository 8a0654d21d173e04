"""Which models were trained alike: by what their records say of time and sequences, and by names where they do not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tokbench.configs import plain
from tokbench.records.lm_record import LanguageModelRecord, lm_record_from_dict
from tokbench.records.lm_training import Trained, trained_stages, training_words
from tokbench.report.alike import trained_alike
from tokbench.report.lm import lm_tables

LONG = plain(Trained(16, 1.0, 1.0, 1, "cpu", "a processor")) | {"seconds": 1e300}

Made = Callable[..., list[LanguageModelRecord]]
STEPS = [100, 90, 80, 70, 60, 50]


@pytest.fixture(scope="module")
def made(make_model: Callable[..., Any]) -> Made:
    """Records of one model a tokenizer, each of so many steps and seconds; without seconds they are of before."""
    record, _ = make_model(prompts=2)

    def made(steps: Sequence[int], seconds: Sequence[float] | None = None, *, end: str = "", **machine: Any) -> list[LanguageModelRecord]:
        found = []
        for place, own in enumerate(steps):
            stage: dict[str, Any] = {"name": "pretrain", "stage": "pretrain", "steps": own, "recipe": {"steps": own, "batch_size": 16}}
            if seconds is not None:
                taken = Trained(16 * own, seconds[place], 2 * seconds[place], 1, "cpu", "a processor")
                stage["trained"] = plain(replace(taken, **machine))
            name = "abcdef"[place]
            model = replace(record.model, name=name + end, recipe={"stages": [stage]})
            found.append(replace(record, model=model, tokenizer=replace(record.tokenizer, name=f"family/{name}")))
        return found

    return made


def found(records: Sequence[LanguageModelRecord]) -> list[tuple[str, str]]:
    return [(one.budget, "".join(records[place].tokenizer.name[-1] for place in one.places)) for one in trained_alike(records)]


def test_records_that_say_how_long_a_training_took_need_no_names(made: Made) -> None:
    timed = made(STEPS, [1800, 1790, 1820, 1850, 1800, 1810])
    assert found(timed) == [("time", "abcdef")]
    equal = made([10] * 6, [600, 700, 800, 900, 1000, 1100])
    assert found([*equal, *timed]) == [("images", "abcdef"), ("time", "abcdef")]
    assert found(made(STEPS, [600, 700, 800, 900, 1000, 1100])) == [], "neither equally much nor equally long"
    assert found(made(STEPS, [100, 1800, 1820, 1850, 1980, 2500])) == [("time", "bcde")], "a tenth more than the shortest at most"
    assert found(made(STEPS, [100, 100, 105, 900, 900, 950])) == [("time", "abc"), ("time", "def")]
    assert found(made([10] * 6, [1800] * 6)) == [("images", "abcdef")], "what is equal in both is one study"
    more = [*timed, *made([110], [1900])]
    assert trained_alike(more)[0].places == (0, 1, 2, 3, 4, 5), "of one tokenizer that of the most usual time"


def test_time_on_other_machines_and_records_of_before_go_by_names(made: Made) -> None:
    for change in ({"processor": "another"}, {"device": "cuda"}, {"processes": 2}):
        for end, expected in (("", []), ("_time", [("time", "abcdef")])):
            own = made(STEPS, [1800] * 6, end=end)
            assert found([*own[:3], *made(STEPS, [1800] * 6, end=end, **change)[3:]]) == expected
    mixed = [*made(STEPS, end="_time")[:3], *made(STEPS, [1800] * 6, end="_time")[3:]]
    (alike,) = trained_alike(mixed)
    assert (alike.budget, len(alike.places), alike.minutes) == ("time", 6, None)
    assert found(made(STEPS, [1800] * 6, device="cuda", processor_seconds=1.0)) == [("time", "abcdef")], "there the clock counts"


@pytest.mark.parametrize("trained", [None, 3, {}, {"seconds": "long"}, {"sequences": 1, "seconds": math.inf}, LONG])
def test_times_that_say_nothing_break_nothing(made: Made, trained: object) -> None:
    records = made([10] * 3)
    for record in records:
        record.model.recipe["stages"][0]["trained"] = trained
    assert found(records) == [("images", "abc")]
    assert (trained_stages(records[0]), training_words(records[0])) == ((None,), "")


def test_tables_say_how_long_a_model_was_trained(made: Made) -> None:
    (record,) = made([2000], [7500])
    assert training_words(record) == "trained on 32,000 sequences in 2 h 5 min on a processor"
    (named,) = made([2000], [45], processor="long " * 10_000, processes=2)
    assert len(training_words(named)) < 150
    again = lm_record_from_dict(json.loads(record.to_json()), origin="it")
    (table, *_) = lm_tables([again])
    assert any("trained on 32,000 sequences in 2 h 5 min on a processor; temperature 1" in note for note in table.notes)
    (before,) = made([2000])
    assert not any("trained on" in note for note in lm_tables([before])[0].notes)
