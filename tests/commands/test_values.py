"""Words and numbers that options take: those the code takes, completed by shells."""

import os
import subprocess
import sys
from typing import get_args, get_type_hints

import pytest

from tokbench.commands import compare, console
from tokbench.commands.values import Refused, choice, number, pixels, whole
from tokbench.feed.export import ExportOptions
from tokbench.feed.label_rules import LabelRule
from tokbench.records import probe_protocol
from tokbench.records.probe_protocol import ProbeProtocol
from tokbench.records.protocol import Protocol
from tokbench.report import render
from tokbench.report.plots import kinds, paper


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """What a shell is told of a line that is begun."""
    code = "import sys; sys.argv = ['tokbench']\nfrom tokbench import cli\ntry: cli.main()\nfinally: assert 'torch' not in sys.modules"

    def ask(line: str) -> list[str]:
        words = {"_TOKBENCH_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
        done = subprocess.run([sys.executable, "-c", code], env=os.environ | words, capture_output=True, text=True, check=True)
        return done.stdout.split()

    return ask


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("tokbench compare --format ", compare.FORMATS),
        ("tokbench plot --kind ", (*kinds.RUN_KINDS, *kinds.SPEED_KINDS, *kinds.LM_KINDS)),
        ("tokbench plot --width ", tuple(paper.WIDTHS)),
        ("tokbench probe --budget ", tuple(probe_protocol.PRESETS)),
        ("tokbench probe --augment ", get_args(get_type_hints(ProbeProtocol)["augment"])),
        ("tokbench probe --condition ", get_args(get_type_hints(ProbeProtocol)["condition"])),
        ("tokbench probe --precision ", get_args(get_type_hints(ProbeProtocol)["precision"])),
        ("tokbench run --precision ", get_args(get_type_hints(Protocol)["precision"])),
        ("tokbench export --labels ", get_args(LabelRule)),
        ("tokbench export --latents ", get_args(get_type_hints(ExportOptions)["latents"])),
        ("tokbench export --latent-scale ", get_args(get_type_hints(ExportOptions)["latent_scale"])),
        ("tokbench run -t vqgan/t", ("vqgan/tiny",)),
        ("tokbench ver", ("verify",)),
    ],
)
def test_shells_offer_what_the_code_takes(complete, line, words):
    assert sorted(complete(line)) == sorted(words)


def test_formats_of_tables_are_those_that_are_written():
    assert compare.FORMATS == render.FORMATS
    assert set(console.tokenizer_names("vqgan/t")) == {"vqgan/tiny"}


@pytest.mark.parametrize(
    ("option", "word", "value"),
    [
        (whole("--seed"), "64", 64),
        (pixels("--size"), "64", 64),
        (pixels("--size"), "576X1024", (576, 1024)),
        (pixels("--size"), " 64 x 64 ", 64),
        (pixels("--size", low=8), "8192x8", (8192, 8)),
        (whole("--rows", low=1), "1", 1),
        (whole("--tile", low=32, high=1024), "1024", 1024),
        (number("--temperature"), "0.5", 0.5),
        (choice("--width", among=("column", "page")), "page", "page"),
    ],
)
def test_values_are_parsed(option, word, value):
    assert option.parser(word) == value


@pytest.mark.parametrize(
    ("option", "word", "message"),
    [
        (whole("--seed"), "1.5", "--seed takes a whole number, got '1.5'."),
        (pixels("--size"), "0x9", "--size takes a side of 1 to 8192 px, or height and width such as 576x1024; got '0x9'."),
        (pixels("--size"), "8x9x3", "--size takes a side of 1 to 8192 px, or height and width such as 576x1024; got '8x9x3'."),
        (pixels("--size"), "x64", "--size takes a side of 1 to 8192 px, or height and width such as 576x1024; got 'x64'."),
        (pixels("--size"), "64,96", "--size takes a side of 1 to 8192 px, or height and width such as 576x1024; got '64,96'."),
        (pixels("--size", low=8), "7", "--size takes a side of 8 to 8192 px, or height and width such as 576x1024; got '7'."),
        (whole("--rows", low=1), "0", "--rows takes a whole number of at least 1, got '0'."),
        (whole("--top", high=9), "10", "--top takes a whole number of at most 9, got '10'."),
        (whole("--tile", low=32, high=1024), "", "--tile takes a whole number from 32 to 1024, got ''."),
        (number("--temperature"), "inf", "--temperature takes a number, got 'inf'."),
        (choice("--width", among=("column", "page")), "wide", "unknown --width 'wide'; allowed: column, page."),
    ],
)
def test_other_values_are_refused_in_whole_words(option, word, message):
    with pytest.raises(Refused) as refused:
        option.parser(word)
    assert refused.value.message.strip() == message


def test_the_last_value_of_a_setting_counts() -> None:
    from tokbench.commands.console import settings

    assert settings(["keep.psnr=22", "a=b=c", "keep.psnr = 0"]) == {"keep.psnr": "0", "a": "b=c"}
