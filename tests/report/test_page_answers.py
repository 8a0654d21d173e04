"""The first screen and the pictures of tokenizers by data sets: who is named, what is sure, and where dots lie."""

import math
import re
from dataclasses import replace

import pytest

from tokbench.records.intervals import Interval
from tokbench.records.protocol import get_protocol
from tokbench.records.record import MetricResult
from tokbench.report.page.answers import answers, leading_columns
from tokbench.report.page.matrix import LEFT, RIGHT, matrices
from tokbench.report.page.model import arrange
from tokbench.report.page.render import render_page


@pytest.fixture
def on(make_record):
    """Makes a record on a data set."""

    def make(name, data="photos/test", *, better=0.0, bits=160.0, images=60, **metrics):
        item = make_record(name, better=better, bits=bits, images=images)
        record, protocol = item.record, get_protocol(data=data)
        tokens = replace(record.tokens, bpp=None if bits is None else bits / 4096)
        info = replace(record.data, name=data, pixels_digest=data[0].encode().hex() * 32)
        record = replace(
            record, tokens=tokens, data=info, protocol=protocol, protocol_label=protocol.label, metrics=record.metrics | metrics
        )
        return replace(item, record=record)

    return make


def named(found):
    """Budget and title of each row, to the names in it; those that are sure are followed by a point."""
    return {
        (budget.label, answer.title): [winner and winner.entry.name + "." * winner.sure for winner in answer.winners]
        for budget in found.budgets
        for answer in budget.answers
    }


def test_who_is_best_within_a_budget_of_bits_on_each_data_set_and_over_all(on):
    items = [
        *(on("small/a", data, better=0.0) for data in ("photos/test", "text")),
        on("small/b", better=1.0), on("small/b", "text", better=-1.0),
        *(on("large/c", data, better=4.0, bits=2560.0) for data in ("photos/test", "text")),
        *(on("pixel/rgb", data, better=50.0, bits=98304.0) for data in ("photos/test", "text")),
        *(on("anchor/webp-320", data, better=60.0, bits=2560.0) for data in ("photos/test", "text")),
        on("smooth/d", better=9.0, bits=None),
    ]  # fmt: skip
    found = answers(arrange(items))
    few, more, latents = "at most 0.03906 bits per pixel", "at most 0.625 bits per pixel", "continuous latents"
    rows = named(found)
    assert rows[few, "PSNR dB"] == ["small/b.", "small/a.", "small/a"]  # a tie over both, which the first has
    assert rows[more, "PSNR dB"] == ["large/c.", "large/c.", "large/c."]
    assert rows[latents, "LPIPS"] == ["smooth/d", None, None]
    assert [(title, about) for _, title, about in found.sets] == [("Photos", "60 images, 64 px"), ("text", "60 images, 64 px")]
    assert [(budget.label, budget.note) for budget in found.budgets] == [
        (few, "2 tokenizers"),
        (more, "3 tokenizers"),
        (latents, "1 tokenizer"),
    ]
    texts = {winner.entry.name: winner.tip for budget in found.budgets for answer in budget.answers for winner in answer.winners if winner}
    assert "better than 2 other tokenizers by more than chance" in texts["large/c"]
    assert "no other to compare with" in texts["smooth/d"]


def test_what_chance_may_have_done_is_not_sure(on):
    found = answers(arrange([on("a/a", better=0.0, images=5), on("a/b", better=3.0, images=5)]))
    assert named(found)["at most 0.03906 bits per pixel", "PSNR dB"] == ["a/b"]
    (tip,) = {answer.winners[0].tip.split("\n")[-1] for answer in found.budgets[0].answers if answer.title == "PSNR dB"}
    assert tip == "among 1 other tokenizer: not beyond chance"
    assert not found.over


def test_many_rates_are_a_few_budgets(on):
    found = answers(arrange([on(f"a/{i}", better=i, bits=2.0**i) for i in range(3, 12)]))
    assert [budget.note for budget in found.budgets] == ["2 tokenizers", "6 tokenizers", "9 tokenizers"]
    assert found.budgets[-1].answers[0].winners[0].entry.name == "a/11"


def test_figures_of_one_data_set_share_a_row(on):
    text = MetricResult(0.9, "share of characters", True)
    found = answers(
        arrange([on("a/a"), on("a/b"), on("a/a", "text", text_accuracy=text), on("a/b", "text", text_accuracy=replace(text, value=0.8))])
    )
    row = next(answer for answer in found.budgets[0].answers if answer.title == "its own figure")
    assert row.winners[0] is row.winners[2] is None
    assert (row.winners[1].entry.name, row.winners[1].title, row.winners[1].text) == ("a/a", "text %", "90.0")


def test_dots_lie_farther_right_the_better_they_are(on):
    items = [on(f"a/{i}", data, better=float(i)) for data in ("photos/test", "text") for i in (1, 0, 2)]
    items += [on("anchor/jpeg-640", better=4.5), on("a/3")]
    groups = arrange(items)
    for picture in matrices(groups, leading_columns(groups)):
        rows = {row.entry.name: row for row in picture.rows}
        assert list(rows) == ["a/2", "a/1", "a/0", "a/3", "anchor/jpeg-640"]
        for place in (0, 1):
            dots = [rows[name].strips[place].x for name in ("a/0", "a/1", "a/2")]
            assert LEFT <= dots[0] < dots[1] < dots[2] <= RIGHT
            low, high = rows["a/1"].strips[place].bar
            assert min(low, high) < dots[1] < max(low, high)
        ranks = [rows[name].rank for name in ("a/0", "a/1", "a/2")]
        assert [rank.text for rank in ranks] == ["3.00", "2.00", "1.00"]
        assert ranks[0].x < ranks[1].x < ranks[2].x
        assert (rows["a/3"].rank, rows["a/3"].strips[1], rows["anchor/jpeg-640"].rank) == (None, None, None)
        assert rows["anchor/jpeg-640"].strips[0].x == RIGHT  # beyond the tokenizers' scale
        assert picture.over == 2


def test_the_best_of_a_column_is_so_by_more_than_chance_and_exact_ones_have_no_dot(on):
    exact = on("a/c")
    metrics = exact.record.metrics | {"psnr": MetricResult(None, "dB", True, exact=60)}
    exact = replace(
        exact, record=replace(exact.record, metrics=metrics), rows=exact.rows | {"psnr": dict.fromkeys(exact.rows["psnr"], math.inf)}
    )
    groups = arrange([on("a/a", better=3.0), on("a/b"), exact])
    picture = next(one for one in matrices(groups, leading_columns(groups)) if one.column.key == "psnr")
    found = {row.entry.name: row.strips[0] for row in picture.rows}
    written = f"{groups[0].entries[0].figure('psnr'):.2f}"
    assert [(found[name].text, found[name].best) for name in ("a/a", "a/c")] == [(written, False), ("exact", True)]
    assert found["a/c"].x is None
    assert not picture.ranked


def test_pictures_are_of_figures_that_several_data_sets_have(on):
    text = MetricResult(0.9, "share of characters", True, interval=Interval(0.8, 1.0, "bootstrap"))
    groups = arrange([on("a/a"), on("a/a", "text", text_accuracy=text)])
    assert {one.column.key for one in matrices(groups, leading_columns(groups))} == {"fd_efflite0", "lpips", "psnr"}
    groups = arrange([on("a/a", "text", text_accuracy=text)])
    assert "text_accuracy" in {one.column.key for one in matrices(groups, leading_columns(groups))}


def test_the_page_begins_with_the_answers_and_its_first_picture_is_by_data_set(on):
    items = [
        on(name, data, better=b) for data in ("photos/test", "text") for name, b in (("a/a", 0.0), ("a/b", 3.0), ("anchor/jpeg-640", 1.0))
    ]
    groups = arrange(items)
    page = render_page(groups, [None] * len(groups))
    body = page[page.index("<main") :]
    places = [body.index(part) for part in ('id="answers"', 'id="sets-fd_efflite0"', 'class="warnings"', 'id="part-0"', 'id="part-1"')]
    assert places == sorted(places)
    assert body.index('<svg class="strip') < body.index('class="chart')
    assert (
        len(re.findall(r'<details class="fold" open>', body)) == 6
    )  # the first picture, the first part, and in each part figures and rates
    assert body.count('<tr data-t="') == 3 * 3  # a row a tokenizer, for FD, LPIPS and PSNR
    assert 'id="codecs"' in page
    assert 'id="codecs"' not in render_page(arrange([on("a/a")]), [None])
    assert 'id="codecs"' not in render_page(arrange([on("anchor/jpeg-640")]), [None])
