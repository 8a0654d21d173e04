"""The first block of the page: the figure that told, where records have it, and nothing where nothing told."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tokbench.records.correlation import RankCorrelation
from tokbench.records.lm_store import write_lm_record
from tokbench.records.prediction_store import find_prediction_records
from tokbench.records.probe_store import write_probe_record
from tokbench.records.protocol import get_protocol
from tokbench.records.record import MetricResult
from tokbench.report import telling as studies
from tokbench.report.beforehand import FIGURE, Source, source_of
from tokbench.report.page.leading import MOST_SHOWN, leading
from tokbench.report.page.model import Measured, arrange
from tokbench.report.page.render import Extra, prediction_section, probe_section, render_page
from tokbench.report.telling import Pair, Study, Telling

ROOT = Path(__file__).parents[2]
HOSTILE = "<script>window.pwned=1</script>\x1b[31m\u202e"
ELSEWHERE = Source("probe", "another", "0" * 64)


def told(*figures: str, value: float = -0.95, source: Source = ELSEWHERE, outcome: str = "prompt_attributes", tried: int = 60) -> Telling:
    """A study in which figures told."""
    ranks = RankCorrelation(value, value - 0.04, value + 0.3, value, value, 6, 0.01)
    pairs = tuple(Pair(figure, source, outcome, ranks) for figure in figures)
    study = Study("scenes", "test", 500, 64, "time", (9_920, 41_344), tuple("abcdef"), tried, pairs)
    return Telling((study,), own=True)


def block(page: str) -> str:
    return page[page.index('<section id="leading"') :].partition("</section>")[0]


def names(page: str) -> list[str]:
    return [re.sub("<wbr>", "", name) for name in re.findall(r'<span class="who">(.*?)</span>', block(page))]


def test_the_figure_that_told_comes_first_with_what_it_told(make_record: Callable, make_probe: Callable) -> None:
    groups = arrange([make_record("family/b"), make_record("family/a", better=1)])
    probes = [make_probe("family/a", 2000.0), make_probe("family/b", 1500.0), make_probe("family/c", 1700.0)]
    found = leading(told("probe_bits", "probe_gap"), probes, groups)
    page = render_page(groups, [None], extra=[probe_section(probes, groups)], leading=found)
    assert page.index('<section id="leading"') < page.index('<section id="answers"') < page.index('<section id="part-0"')
    assert names(page) == ["family/b", "family/c", "family/a"]
    text = html.unescape(block(page))
    assert "Bits under the probe: what told how well models draw</h2>" in text
    assert "the lower, the better." in text
    assert '<span class="number">1500</span><span class="faint">[1470, 1530]</span>' in text
    assert "Models of equal time (9,920 to 41,344 sequences each): rank correlation -0.95 [-0.99, -0.65] with drawings" in text
    assert "over 6 tokenizers" in text
    assert "this project's own study (docs/which-tokenizer.md), over no more than 6 tokenizers and 500 prompts of scenes/test" in text
    assert "2 of 60 pairs of figure and outcome are determined, and chance alone would find about 3" in text
    assert "so what is found here may be chance." in text
    assert "Determined too: gap of the probe (-0.95 with drawings)." in text
    assert "These tokenizers were measured on other images, or under another protocol, than those of which it told." in text
    assert 'href="#learnability"' in text
    assert 'href="#told"' not in text


def test_figures_of_images_that_a_tokenizer_was_trained_on_are_marked(make_probe: Callable) -> None:
    probes = [replace(make_probe("family/a", 2000.0), trained_on=True), make_probe("family/b", 1500.0)]
    found = leading(told("probe_bits"), probes)
    page = html.unescape(block(render_page([], [], extra=[probe_section(probes)], leading=found)))
    assert '<span class="number">2000§</span>' in page
    assert '<span class="number">1500</span>' in page
    assert "<li>§ measured on images that the tokenizer was trained on</li>" in page
    assert not [text for text in leading(told("probe_bits"), probes[1:]).caveats if "§" in text]


def test_more_found_than_by_chance_is_not_called_chance(make_probe: Callable) -> None:
    found = leading(told("probe_bits", tried=19), [make_probe()])
    assert "so what is found here may be chance" not in " ".join(found.caveats)
    assert "1 of 19 pairs" in " ".join(found.caveats)


def test_tokenizers_keep_their_looks(make_record: Callable, make_probe: Callable) -> None:
    items = [make_record(name) for name in ("family/a", "family/b")]
    rungs = [replace(one.record.tokenizer, name="vqvae/tiny", state_sha256=f"{place}" * 64) for place, one in enumerate(items)]
    items = [replace(one, record=replace(one.record, tokenizer=rung)) for one, rung in zip(items, rungs, strict=True)]
    groups = arrange(items)
    probes = [replace(make_probe(bits=1500.0 + place), tokenizer=rung) for place, rung in enumerate(reversed(rungs))]
    probes.append(replace(make_probe(bits=1600.0), tokenizer=replace(rungs[0], state_sha256="2" * 64)))
    found = leading(told("probe_bits"), probes, groups)
    looks = {entry.record.tokenizer.state_sha256[0]: (entry.colour, entry.shape, entry.subject) for entry in groups[0].entries}
    own = [(line.look.colour, line.look.shape, line.subject) for line in found.first.shown]
    assert own[:2] == [looks["1"], looks["0"]]
    assert own[2][2] is None
    assert own[2][0] not in {colour for colour, *_ in looks.values()}


def test_lists_of_other_protocols_are_not_mixed_and_fold(make_probe: Callable) -> None:
    small = [make_probe(f"family/{letter}", 1500.0 + place) for place, letter in enumerate("abc")]
    large = [replace(one, protocol=get_protocol(changes={"size": 128})) for one in small[:2]]
    found = leading(told("probe_bits"), [*large, *small])
    assert [line.name for line in found.first.shown] == ["family/a", "family/b", "family/c"], "the longest first"
    assert [len(one.shown) for one in found.others] == [2]
    found = leading(told("probe_bits", source=source_of(large[0])), [*large, *small])
    assert found.first.studied, "that of the study first"
    assert [one.studied for one in found.others] == [False]
    page = render_page([], [], extra=[probe_section([*large, *small])], leading=found)
    assert "These tokenizers were measured on other images" not in block(page)
    assert "<summary>1 other protocol or data set</summary>" in block(page)
    assert names(page) == ["family/a", "family/b", "family/a", "family/b", "family/c"]


def test_one_screen_holds_eight_and_the_rest_folds(make_probe: Callable) -> None:
    probes = [make_probe(f"family/{number}", 1500.0 + number) for number in range(40)]
    found = leading(told("probe_bits"), probes)
    assert (len(found.first.shown), len(found.first.folded)) == (MOST_SHOWN, 40 - MOST_SHOWN)
    page = render_page([], [], extra=[probe_section(probes)], leading=found)
    assert "<summary>32 more tokenizers</summary>" in block(page)
    assert len(block(page)) < 60_000


def test_figures_of_runs_lead_where_they_told(make_record: Callable) -> None:
    items = [make_record("family/a"), make_record("family/b", better=1), make_record("anchor/webp-80"), make_record("family/c", better=2)]
    groups = arrange([*items, replace(items[0], record=replace(items[0].record, protocol=get_protocol(changes={"size": 128})))])
    found = leading(told("psnr", value=0.9), [], groups)
    page = render_page(groups, [None, None], leading=found)
    assert names(page)[:3] == ["family/c", "family/b", "family/a"]
    assert "anchor" not in block(page), "codecs stand aside"
    assert "the higher, the better" in block(page)
    assert 'href="#figures-0"' in block(page)
    assert 'href="#figures-1"' in block(page)
    xs = [line.strip.x for line in found.first.shown]
    assert xs == sorted(xs, reverse=True), "farther right is what told of better models"
    bits = leading(told("bits"), [], groups)
    assert {line.strip.text for line in bits.first.shown} == {"160"}


def test_figures_of_predictions_lead_and_their_section_comes_first(make_probe: Callable) -> None:
    records = [record for _, record in find_prediction_records([ROOT / "results" / "which-tokenizer" / "64" / "predictions"])]
    found = leading(told("spectrum_slope", value=0.9), records)
    assert found.first.without == 1, "FlowMo's sequence has no spectrum"
    sections = [probe_section([make_probe()]), prediction_section(records)]
    page = render_page([], [], extra=sections, leading=found)
    assert "1 tokenizer here without this figure." in block(page)
    assert page.index('<section id="generation"') < page.index('<section id="learnability"')
    plain = render_page([], [], extra=sections)
    assert plain.index('<section id="generation"') > plain.index('<section id="learnability"')


def test_outcomes_that_disagree_are_said(make_probe: Callable) -> None:
    (down,), (up,) = told("probe_bits").studies, told("probe_bits", value=0.8, outcome="edit_change").studies
    found = leading(Telling((down, up), own=False), [make_probe("family/a", 1500.0), make_probe("family/b", 1400.0)])
    assert "what goes with better models differs by outcome" in found.meaning
    assert [line.name for line in found.first.shown] == ["family/b", "family/a"], "as the strongest says"
    assert found.own


def test_where_nothing_told_or_is_there_nothing_leads(make_record: Callable, make_probe: Callable) -> None:
    groups = arrange([make_record("family/a")])
    assert leading(told(), [make_probe()], groups) is None
    assert leading(Telling((), own=True), [make_probe()], groups) is None
    assert leading(told("probe_bits", "locality"), [], groups) is None
    assert leading(told("unknown"), [make_probe()], groups) is None
    bare = replace(make_probe(), figures={"bits_per_image": MetricResult(reason="none")})
    assert leading(told("probe_bits"), [bare], groups) is None
    assert leading(told("probe_gap", "probe_bits"), [make_probe()]).column.key == "bits_per_image", "the next that is there"
    page = render_page(groups, [None], extra=[Extra("others", "Others", probe_section([make_probe()]).body)])
    assert 'id="leading"' not in page


def test_hostile_names_cannot_break_the_block(make_probe: Callable) -> None:
    probes = [make_probe(HOSTILE, 1500.0), make_probe("x" * 5000, 1600.0), make_probe("", 1700.0)]
    probes[0] = replace(probes[0], held_out=replace(probes[0].held_out, name=HOSTILE), probe_label=HOSTILE)
    telling = told("probe_bits")
    (study,) = telling.studies
    telling = replace(telling, studies=(replace(study, data=HOSTILE, split="y" * 5000),))
    page = render_page([], [], extra=[probe_section(probes)], leading=leading(telling, probes))
    assert "<script>window" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert len(block(page)) < 12_000
    assert "(no name)" in names(page)


@pytest.mark.parametrize("determined", [True, False])
def test_the_command_takes_the_models_among_its_records(
    report_cli: Callable[..., str], make_model: Callable, make_probe: Callable, tmp_path: Path, determined: bool
) -> None:
    for place, name in enumerate(["family/a", "family/b", "family/c", "family/d", "family/e"]):
        record, rows = make_model(f"model-{place}", better=0.05 * place, tokenizer=name)
        write_lm_record(record, rows, tmp_path / "runs")
        write_probe_record(make_probe(name, 1500.0 + 10 * (place if determined else (3 * place) % 5)), {}, tmp_path / "runs")
    report_cli("--images", 0)
    page = html.unescape((tmp_path / "report.html").read_text())
    assert '<section id="told"' in page
    assert "5 models of equal sequences, 40 prompts of scenes/test at 64 px" in page
    assert ('<section id="leading"' in page) == determined
    if determined:
        assert "This is from the models among these records, over no more than 5 tokenizers" in page
        assert "the higher, the better" in block(page)
        assert 'href="#told"' in block(page)
        assert page.index('<section id="learnability"') < page.index('<section id="told"') < page.index('<section id="models"')


def test_without_models_the_command_takes_the_projects_own_study(
    report_cli: Callable[..., str],
    make_record: Callable[..., Measured],
    make_probe: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(studies, "own_studies", lambda: told("probe_bits").studies)
    write_probe_record(make_probe("family/a"), {}, tmp_path / "runs")
    report_cli("--images", 0)
    page = (tmp_path / "report.html").read_text()
    assert "docs/which-tokenizer.md" in block(page)
    assert '<section id="told"' not in page
    monkeypatch.setattr(studies, "own_studies", lambda: told().studies)
    report_cli("--images", 0)
    page = (tmp_path / "report.html").read_text()
    assert 'id="leading"' not in page
    assert "which-tokenizer" not in page


def test_every_figure_can_lead(make_probe: Callable[..., Any]) -> None:
    for key, figure in FIGURE.items():
        found = leading(told(key), [make_probe()])
        assert (found is not None) == (key == "probe_bits")
        assert figure.info.title
