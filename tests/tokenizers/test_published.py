"""Figures of others: every key has its figures, every figure its protocol and source."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tokbench.tokenizers import zoo
from tokbench.tokenizers.published import FIGURES, FLOWMO, PublishedFigure, published_figures

RANGES = {"rfid": (0, 40), "psnr": (15, 40), "ssim": (0.3, 1), "lpips": (0, 0.5), "psim": (0.3, 2), "ifid": (5, 90)}


def keys() -> set[str]:
    variants = [variant for family in zoo.families().values() for variant in family.variants]
    return {variant.published for variant in variants if variant.published is not None}


def test_keys_of_the_zoo_and_of_the_figures_are_the_same() -> None:
    assert {figure.tokenizer for figure in FIGURES} == keys()
    assert keys() <= set(zoo.names())


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: f"{figure.tokenizer}-{figure.metric}-{figure.value}")
def test_a_figure_is_plausible_and_names_protocol_and_source(figure: PublishedFigure) -> None:
    low, high = RANGES[figure.metric]
    assert low < figure.value < high
    assert figure.protocol
    assert figure.source


def test_one_figure_a_tokenizer_metric_protocol_and_source() -> None:
    rows = [(figure.tokenizer, figure.metric, figure.protocol, figure.source) for figure in FIGURES]
    assert len(set(rows)) == len(rows)


def test_figures_by_key() -> None:
    found = published_figures("vqgan/imagenet-f16-1024")
    assert {(figure.value, figure.source) for figure in found if figure.metric == "rfid"} == {
        (7.94, "CompVis/taming-transformers, README"),
        (10.54, "CompVis/taming-transformers, README"),
        (7.96, "markweberdev/maskbit, README"),
    }
    assert published_figures(None) == published_figures("vae/tiny") == ()


def test_figures_need_no_torch() -> None:
    script = "import sys, tokbench.tokenizers.published; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "False\n"


def test_figures_that_were_not_read_in_their_source_say_so() -> None:
    second_hand = {figure.source for figure in FIGURES if not figure.verified}
    assert second_hand == {FLOWMO}
    assert all(figure.verified == (figure.source != FLOWMO) for figure in FIGURES)


def test_a_configuration_that_nobody_published_is_marked() -> None:
    assert "unverified" in zoo.resolve("vqgan/ldm-f16")[1].summary
