"""Language models on the page: every figure beside what it is compared with, splits side by side, answers to one prompt together."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tokbench.records.examples import Example, write_examples
from tokbench.records.lm_store import write_lm_record
from tokbench.records.probe_store import write_probe_record
from tokbench.records.record import MetricResult
from tokbench.records.store import write_record
from tokbench.report.evaluated import model_groups
from tokbench.report.page.asked import examples_of
from tokbench.report.page.dots import dot_chart
from tokbench.report.page.evaluate_command import evaluate_command
from tokbench.report.page.models import Evaluated
from tokbench.report.page.render import models_section, render_page
from tokbench.report.plots.dots import stage_plots

HOSTILE = "<script>window.pwned=1</script>\x1b[31m\u202e"
RANDOM = np.random.default_rng(0)


def picture(side: int = 16) -> np.ndarray:
    return RANDOM.integers(0, 256, (side, side, 3), dtype=np.uint8)


def examples(split: str = "test", words: str = "a red circle", text: str = "a blue square") -> list[Example]:
    scene = picture()
    return [
        Example("generate", f"{split}-0", words, right=scene, answer=picture()),
        Example("edit", f"{split}-0", "make it red", (picture(), picture()), picture(), picture()),
        Example("complete", f"{split}-0", right=scene, answer=picture()),
        Example("describe", f"{split}-0", shown=(scene,), text=text),
    ]


def evaluated(made: tuple, more: list[Example] | None = None, **changes: object) -> Evaluated:
    record, rows = made
    return Evaluated(f"{record.model.name}.json", replace(record, **changes), rows, examples() if more is None else more)


def cells(page: str) -> list[list[str]]:
    table = page[page.index('<table class="models">') :].partition("</table>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", table.partition("<tbody>")[2], re.DOTALL)
    return [[re.sub(r"<small>", " ", cell).replace("</small>", "") for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in rows]


def test_one_row_a_model_in_the_order_of_stages_with_splits_side_by_side(make_model: Callable) -> None:
    asked = [("dpo", 3, "test"), ("first", 1, "held-out"), ("first", 1, "test"), ("best", 2, "test")]
    made = [make_model(name, stages=stages, split=split, better=0.05 * stages) for name, stages, split in asked]
    page = render_page([], [], extra=[models_section([evaluated(one) for one in made])])
    rows = cells(page)
    assert re.findall(r'<th scope="row" class="name"><span class="who">(.*?)</span>', page) == ["first", "best", "dpo"]
    assert [len(row) for row in rows] == [20, 20, 20]
    figures = made[2][0].figures
    shown = figures["prompt_attributes"]
    beside = f"ceiling {100 * figures['ceiling_attributes'].value:.1f} chance {100 * figures['chance_attributes'].value:.1f}"
    assert rows[0][0] == f"{100 * shown.value:.1f} [{100 * shown.interval.low:.1f}, {100 * shown.interval.high:.1f}] {beside}"
    assert rows[1][1] == '<span aria-hidden="true">-</span><span class="vh">none: not evaluated</span>'
    assert rows[0][14] == "0.01200 [0.01000, 0.01400] floor 0.00100"
    assert "none: a Fréchet distance needs at least 128 images" in rows[0][16]
    assert page.count('<th scope="col" class="first">test</th>') == 10
    assert "differences, paired over prompts: test" in page
    assert "differences, paired over prompts: held-out" not in page  # one model alone
    assert "best less first" in page
    assert "dpo less best" in page
    assert "Made by tokbench from 4 records" in page


def test_one_split_needs_no_second_line_of_headings(make_model: Callable) -> None:
    page = render_page([], [], extra=[models_section([evaluated(make_model())])])
    assert 'class="splits"' not in page
    assert "differences, paired" not in page
    assert len(cells(page)[0]) == 10


def test_plots_are_those_of_paper_in_pixels(make_model: Callable) -> None:
    records = [make_model("a", stages=1)[0], make_model("b", stages=2, better=0.1)[0]]
    (group,) = model_groups(records)
    data = stage_plots(records, group)[0]
    chart = dot_chart(data)
    assert [row.name for row in chart.rows] == ["a", "b"]
    (low,), (high,) = (row.marks for row in chart.rows)
    assert low.bar[0] < low.x < low.bar[1] < high.x < dict(high.beside)["ceiling"]
    assert dict(low.beside)["chance"] < low.x
    dot = data.rows[0].dots[0]
    assert low.tip.split("\n") == [
        "a, test",
        f"parts right % {dot.value:.1f}  [{dot.interval[0]:.1f}, {dot.interval[1]:.1f}]",
        f"ceiling {dot.beside[0]:.1f}",
        f"chance {dot.beside[1]:.1f}",
    ]
    assert chart.rows[-1].marks[-1].y < chart.base
    assert [name for _, name in chart.key] == ["test"]
    assert dot_chart(replace(data, rows=())) is None


def test_answers_to_one_prompt_stand_together(make_model: Callable) -> None:
    rows = {"prompt_attributes": {"test-0": 0.75}, "edit_change": {"test-0": 0.0}, "description_attributes": {"test-0": math.nan}}
    found, spent = examples_of("test", [("a", examples(), rows), ("b", examples(), {})], most=5, budget=10**6)
    assert [one.title for one in found] == [
        "Drawn from words: test",
        "Edited: test",
        "Completed from the upper half: test",
        "Described: test",
    ]
    told = [[(shown.who, shown.note) for shown in one.asked[0].pictures] for one in found]
    assert told[0] == [("asked for", ""), ("a", "75 % right"), ("b", "")]
    assert told[1] == [("shown first", ""), ("before", ""), ("asked for", ""), ("a", "change not right"), ("b", "")]
    assert told[2] == [("original", ""), ("a", ""), ("b", "")]
    assert told[3] == [("shown", "")]
    assert found[3].asked[0].texts == (("a", "a blue square", ""), ("b", "a blue square", ""))
    assert 0 < spent < 10**6


def test_pictures_stay_within_their_budget(make_model: Callable) -> None:
    many = [Example("generate", f"test-{n}", f"{n}", right=picture(), answer=picture()) for n in range(30)]
    found, spent = examples_of("test", [("a", many, {})], most=20, budget=40_000)
    (drawn,) = found
    assert 0 < len(drawn.asked) < 20
    assert len(drawn.asked) + drawn.dropped == 20
    assert spent <= 40_000
    (none,), nothing = examples_of("test", [("a", many, {})], most=20, budget=10)
    assert (none.asked, none.dropped, nothing) == ((), 20, 0)


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -1e300])
def test_figures_that_are_no_numbers_break_nothing(make_model: Callable, value: float | None) -> None:
    record, rows = make_model()
    figures = {key: MetricResult(value, "share", True) for key in record.figures}
    page = render_page([], [], extra=[models_section([evaluated((record, rows), figures=figures)])])
    assert "Parts of prompts that are right" not in page
    assert len(cells(page)[0]) == 10


def test_strangers_cannot_write_into_the_page(make_model: Callable) -> None:
    record, rows = make_model(HOSTILE, tokenizer=HOSTILE)
    protocol = replace(record.protocol, split=HOSTILE, data=HOSTILE, tasks=(HOSTILE,), sampling={"temperature": HOSTILE, "top_k": {}})
    hostile = examples(words=HOSTILE, text=HOSTILE)
    bad = replace(evaluated((replace(record, protocol=protocol), rows), hostile), file=HOSTILE, problems=(HOSTILE,))
    for page in (render_page([], [], extra=[models_section([bad, bad])]), render_page([], [], extra=[models_section([bad], 0)])):
        assert "<script>window" not in page
        assert not set(page) & {"\x1b", "\u202e"}


def test_what_was_not_asked_for_or_does_not_lie_there_is_said(make_model: Callable) -> None:
    bare = evaluated(make_model(), [])
    assert "No examples lie beside these records" in render_page([], [], extra=[models_section([bare])])
    assert "They were not asked for" in render_page([], [], extra=[models_section([bare], 0)])


def test_other_prompts_have_parts_of_their_own(make_model: Callable) -> None:
    made = [evaluated(make_model()), evaluated(make_model(prompts=20))]
    page = render_page([], [], extra=[models_section(made)])
    assert "Figures: 40 prompts of scenes at 64 px, seed 0" in page
    assert "Figures: 20 prompts of scenes at 64 px, seed 0" in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_the_command_says_what_is_not_usual(make_model: Callable) -> None:
    record, _ = make_model("my model", split="held-out")
    every = replace(record.protocol, tasks=("generate", "edit", "describe", "complete"), seed=3, sampling={"temperature": 0.5, "top_k": 0})
    command = evaluate_command(replace(record, protocol=every))
    assert command == (
        "tokbench lm evaluate 'my model' --prompts 40 --split held-out --seed 3 --temperature 0.5 --top-k 0 --out results"
        "  # my model is the folder of the model whose weights are 11111111"
    )
    assert "--task generate --task edit --out" in evaluate_command(record)
    for sampling, said in (({"guidance": 3.0}, True), ({"guidance": 3.0, "edit_guidance": 1.0}, False)):
        command = evaluate_command(replace(record, protocol=replace(record.protocol, sampling=sampling)))
        assert ("--guidance 3.0" in command) is said


def test_images_that_are_no_scenes_have_what_is_measured_of_them(make_model: Callable) -> None:
    record, rows = make_model("photographer")
    protocol = replace(
        record.protocol, data="photos", data_sha256="ab", tasks=("generate",), captions=("a photo of a {class}",), reward="a:b"
    )
    bits = {key: MetricResult(value, "bits", False) for key, value in (("image_bits", 200.0), ("wordless_image_bits", 220.0))}
    bits["reward"] = MetricResult(0.5, "reward", True)
    photos = replace(record, protocol=protocol, figures=bits | {"ceiling_reward": MetricResult(0.75, "reward", True)})
    page = render_page([], [], extra=[models_section([evaluated((record, rows)), evaluated((photos, {}))])])
    of_photos = page[page.index("Figures: 40 prompts of photos") :]
    assert cells(of_photos) == [["0.500 ceiling 0.750", "200.0 without words 220.0"]]
    assert "read off" not in of_photos.partition("<table")[0]
    assert "no training scene" not in of_photos.partition("<table")[0]
    command = evaluate_command(photos)
    assert command.startswith(
        "tokbench lm evaluate photographer --prompts 40 --data photos/test --captions 'a photo of a {class}' --reward a:b"
    )
    assert "--split" not in command
    assert "--data birds --" in evaluate_command(replace(photos, protocol=replace(protocol, data="birds", split="given")))


def test_pages_of_models_of_runs_of_both_and_of_nothing(
    report_cli: Callable, make_record: Callable, make_probe: Callable, make_model: Callable, tmp_path: Path
) -> None:
    assert "no records in runs" in report_cli("runs") or "runs" in report_cli("runs")
    for split in ("test", "held-out"):
        record, rows = make_model(split=split)
        write_lm_record(record, rows, tmp_path / "lm", pictures=lambda place, split=split: write_examples(examples(split), place))
    assert "wrote report.html: 2 records" in report_cli("lm")
    page = (tmp_path / "report.html").read_text()
    assert page.count("a red circle") >= 2
    assert "tokbench run" not in page
    item = make_record("family/a")
    write_record(item.record, item.rows, tmp_path / "runs")
    write_probe_record(make_probe(), {}, tmp_path / "runs")
    assert "wrote report.html: 4 records" in report_cli("lm", "runs", "--images", 0)
    page = (tmp_path / "report.html").read_text()
    assert page.index('id="part-0"') < page.index('id="learnability"') < page.index('id="models"')
    assert "data:image" not in page
    assert "wrote report.html: 2 records" in report_cli("runs", "--images", 0)
    assert 'id="models"' not in (tmp_path / "report.html").read_text()


def test_damaged_files_beside_a_record_are_left_out_and_said(report_cli: Callable, make_model: Callable, tmp_path: Path) -> None:
    record, rows = make_model()
    path = write_lm_record(record, rows, tmp_path / "lm", pictures=lambda place: write_examples(examples(), place))
    (path.with_suffix("") / "drawn.png").write_bytes(b"no png")
    path.with_suffix(".parquet").write_bytes(b"no parquet")
    said = report_cli("lm")
    assert "cannot read the examples in pretrain_scenes-test_N=40_seed=0 (drawn.png: " in said
    assert "cannot read the per-image values in pretrain_scenes-test_N=40_seed=0.parquet" in said
    page = (tmp_path / "report.html").read_text()
    assert page.count("cannot read the") == 2
    assert str(tmp_path) not in page
