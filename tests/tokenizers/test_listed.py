"""What lists say of the zoo, and which rows they take in what order; no weights are needed for any of it."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from tokbench.commands.zoo import LIST_FORMATS, SORT_KEYS
from tokbench.commands.zoo_table import fitting, lines
from tokbench.errors import TokbenchError
from tokbench.layout import TokenLayout
from tokbench.tokenizers import zoo
from tokbench.tokenizers.listed import QUOTED, SORTS, Filter, Listed, in_order, listed
from tokbench.tokenizers.published import FIGURES, headline

Cli = Callable[..., tuple[int, str, str]]


def row(name: str) -> Listed:
    return Listed(*zoo.resolve(name))


def asked(cli: Cli, *words: object) -> list[dict[str, object]]:
    status, out, err = cli("list", "--json", *words)
    assert (status, err) == (0, "")
    return json.loads(out)


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("vqgan/tiny", 4),
        ("vae/kl-f32", 32),
        ("flux/2", 16),
        ("var/ch160", 16),
        ("infinity/d32-1024", 16),
        ("titok/l-32", None),
        ("pixel/rgb", 1),
    ],
)
def test_pixels_a_position_covers(name: str, factor: int | None) -> None:
    assert row(name).layout.downsampling == factor


def test_an_uneven_grid_has_no_one_factor() -> None:
    assert TokenLayout((64, 64), (8, 16), (4,)).downsampling is None
    assert TokenLayout((65, 64), (8, 8), (4,)).downsampling is None
    assert TokenLayout((32, 64), (8, 16), (4,)).downsampling == 4


def test_every_option_takes_the_rows_that_are_so(tokbench_cli: Cli) -> None:
    every = listed()
    assert [one["name"] for one in asked(tokbench_cli)] == [one.name for one in every]
    for words, holds in (
        (("--family", "titok", "--family", "var"), lambda one: one.family.name in ("titok", "var")),
        (("--discrete",), lambda one: one.layout.discrete),
        (("--continuous",), lambda one: not one.layout.discrete),
        (("--max-tokens", 64), lambda one: one.layout.tokens_per_image <= 64),
        (("--licence", "APACHE"), lambda one: "Apache" in one.variant.licence),
        (("--licence", "non-commercial"), lambda one: one.non_commercial),
        (("--local",), lambda one: one.name in zoo.ready()),
        (("--f", 16, "--discrete"), lambda one: one.layout.downsampling == 16 and one.layout.discrete),
    ):
        found = [one["name"] for one in asked(tokbench_cli, *words)]
        assert found == [one.name for one in every if holds(one)]
        assert 0 < len(found) < len(every)


def test_none_that_is_so_is_said_and_no_mistake(tokbench_cli: Cli) -> None:
    assert tokbench_cli("list", "--f", 3) == (
        0,
        "",
        f"none of the {len(listed())} tokenizers is so; leave out an option of tokbench list\n",
    )
    assert asked(tokbench_cli, "--f", 3) == []
    status, out, _ = tokbench_cli("list", "--f", 3, "--format", "csv")
    assert (status, out.count("\n"), out.partition(",")[0]) == (0, 1, "name")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--family", "titoc"), "unknown family 'titoc'; did you mean titok? See: tokbench list"),
        (("--sort", "fid"), "unknown --sort 'fid'; did you mean rfid"),
        (("--max-tokens", 0), "--max-tokens takes a whole number of at least 1, got '0'"),
        (("--f", "x"), "--f takes a whole number of at least 1, got 'x'"),
        (("-f", "xml"), "unknown --format 'xml'; allowed: csv, json, terminal"),
        (("-t", "vqgam"), "unknown tokenizer 'vqgam'; did you mean vqgan"),
    ],
)
def test_what_a_user_can_fix_is_one_line(tokbench_cli: Cli, words: tuple[object, ...], message: str) -> None:
    status, out, err = tokbench_cli("list", *words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


@pytest.mark.parametrize("key", SORTS)
def test_the_smallest_or_best_comes_first_and_the_unknown_last(key: str) -> None:
    rows = in_order(listed(), key)
    values = [SORTS[key](one) for one in rows]
    known = [value for value in values if value is not None]
    assert values == known + [None] * (len(values) - len(known))
    assert len(set(map(str, known))) > 5
    quoted = [one.quoted(key) if key in QUOTED else None for one in rows[: len(known)]]
    elsewhere = [figure is not None and not figure.common for figure in quoted]
    assert elsewhere == sorted(elsewhere)  # figures of other protocols rank behind those of the common one
    for parts in (known[: elsewhere.count(False)], known[elsewhere.count(False) :]):
        assert parts == sorted(parts, reverse=key in ("psnr", "ssim"))


def test_words_of_options_are_those_of_the_code() -> None:
    assert set(SORT_KEYS) == set(SORTS)
    assert LIST_FORMATS[0] == "terminal"


def test_the_figure_of_a_list_is_of_imagenet_val_at_256_px_where_there_is_one() -> None:
    for metric, key in {(figure.metric, figure.tokenizer) for figure in FIGURES}:
        found = headline(key, metric)
        assert found is not None
        assert found.common == any(one.common for one in FIGURES if (one.tokenizer, one.metric) == (key, metric))
    assert [headline("llamagen/vq-16", "rfid").value, headline("vae/sd", "rfid").value] == [2.19, 0.73]  # type: ignore[union-attr]
    assert headline("dcae/f32c32-sana-1.1", "rfid").common is False  # type: ignore[union-attr]
    assert headline("vae/tiny", "rfid") is headline(None, "rfid") is None


def test_non_commercial_comes_first_in_the_terms_of_a_licence() -> None:
    (one, *_) = [found for found in listed() if found.non_commercial]
    assert one.terms.startswith("non-commercial: ")
    assert "(" not in one.terms
    for licence, terms in (
        ("Apple ML Research, non-commercial (model card)", "non-commercial: Apple ML Research"),
        ("Apple ML Research (Non-Commercial)", "non-commercial: Apple ML Research"),
        ("noncommercial", "non-commercial"),
        ("MIT (repository)", "MIT"),
        ("", ""),
    ):
        assert replace(one, variant=replace(one.variant, licence=licence)).terms == terms


def test_csv_and_json_hold_the_same(tokbench_cli: Cli) -> None:
    status, out, _ = tokbench_cli("list", "--format", "csv")
    assert status == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    plain = asked(tokbench_cli)
    assert [one["name"] for one in rows] == [one["name"] for one in plain]
    found = {one["name"]: one for one in rows}
    titok, sdxl, rgb = found["titok/l-32"], found["vae/sdxl"], found["pixel/rgb"]
    assert (titok["tokens_per_image"], titok["bits_per_image"], titok["grid"], titok["downsampling"]) == ("32", "384.0", "32", "")
    assert (titok["rfid"], titok["rfid_verified"], titok["psnr"], titok["psnr_source"]) == ("2.21", "true", "", "")
    assert (sdxl["grid"], sdxl["bits_per_image"], sdxl["channels"], sdxl["default"]) == ("32 32", "", "4", "false")
    assert (rgb["codebook_sizes"], rgb["rfid"]) == ("256 256 256", "")
    published = {one["name"]: one["published"] for one in plain}
    for name, one in found.items():
        values = [figure["value"] for figure in published[name] if figure["metric"] == "rfid"]
        assert one["rfid"] == "" if not values else float(one["rfid"]) in values
        assert bool(one["rfid_protocol"]) == bool(one["rfid_source"]) == bool(values)


@pytest.mark.parametrize("width", [80, 100, 140, 240])
def test_a_row_is_one_line_that_fits(width: int) -> None:
    rows = listed()
    heading, *rest = lines(rows, width)
    assert max(map(len, (heading, *rest))) <= width
    assert [line.split()[0].rstrip("*") for line in rest] == [one.name for one in rows]
    titles = [column.title for column in fitting(rows, width)]
    assert heading.split()[: len(titles) - 1] == titles[:-1] or titles[-1] == "what it is"
    assert {"tokenizer", "tokens", "bits", "codes", "licence"} <= set(titles)
    assert ("what it is" in titles) == (width >= 140)
    if width >= 100:
        assert {"px", "rFID", "MB", "weights"} <= set(titles)
        for line, one in zip(rest, rows, strict=True):
            figure = one.quoted("rfid")
            assert figure is None or f" {figure.value:g}" in line
            assert ("non-commercial" in line) == one.non_commercial
            assert f" ≈{one.size.bytes / 1e6:.0f} " in line  # type: ignore[union-attr]


def test_a_list_of_one_row_is_as_narrow_as_it_is() -> None:
    heading, line = lines([row("titok/l-32")], 100)
    assert heading.split() == ["tokenizer", "px", "f", "tokens", "bits", "bpp", "codes", "rFID", "PSNR", "MB", "weights", "licence"]
    assert line.split() == ["titok/l-32*", "256", "-", "32", "384", "0.006", "4096", "2.21", "-", "≈2564", "fetch", "Apache-2.0"]


def test_show_says_size_and_published_figures(tokbench_cli: Cli) -> None:
    status, out, _ = tokbench_cli("show", "llamagen/vq-8")
    assert status == 0
    assert "size              ≈ 280.4 MB" in out
    assert "downsampling      8" in out
    assert (
        "published         rfid 0.59: ImageNet val at 256 px, ADM evaluator against the cropped images (FoundationVision/LlamaGen, README)"
        in out
    )
    assert "second hand)" in out
    assert "published" not in tokbench_cli("show", "vqgan/tiny")[1]


def test_lists_do_not_import_torch(tmp_path: object) -> None:
    code = "import sys; from tokbench import cli; sys.argv = ['tokbench', 'list', *sys.argv[1:]]\ntry: cli.main()\nfinally: assert 'torch' not in sys.modules"
    for words in (["-t", "@discrete-f16", "--sort", "rfid", "--format", "csv"], ["--sets"]):
        subprocess.run(
            [sys.executable, "-c", code, *words], env=os.environ | {"TOKBENCH_CACHE": str(tmp_path)}, capture_output=True, check=True
        )


def test_an_unknown_family_is_refused_in_python_too() -> None:
    with pytest.raises(TokbenchError, match="unknown family 'vqgam'; did you mean vqgan"):
        Filter(families=("vqgam",))
