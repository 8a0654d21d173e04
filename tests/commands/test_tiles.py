"""``--tile-size`` and ``--tile-overlap``: what records, exports and pictures say of them, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import tokbench
from tokbench.bench.pictures import _tokenizer
from tokbench.feed.audit import read_job
from tokbench.records.store import find_records
from tokbench.report.page.commands import run_command
from tokbench.tokenizers.tiling import Tiling

CUT = ("--tile-size", "32", "--tile-overlap", "8")


def test_a_record_says_how_images_were_cut(tokbench_cli: Callable) -> None:
    for more in ((), CUT):
        status, _, err = tokbench_cli("run", "-t", "pixel/palette-512", "--limit", "4", "--metrics", "psnr", *more)
        assert status == 0, err
    whole, cut = sorted((record for _, record in find_records([Path("runs")])), key=lambda record: len(record.tokenizer.settings))
    assert (whole.tokenizer.settings, cut.tokenizer.settings) == ({}, {"tiling.size": "32", "tiling.overlap": "8"})
    assert cut.tokenizer.config["tiling"] == {"size": 32, "overlap": 8}
    assert cut.metrics["psnr"].value == pytest.approx(whole.metrics["psnr"].value, abs=1e-6)
    assert cut.tokens == whole.tokens
    assert "--tile-size 32 --tile-overlap 8" in run_command(cut)
    assert len(list(Path("runs").glob("*tiling.size=32*.json"))) == 1
    made = _tokenizer(cut, "cpu")
    assert isinstance(made, tokbench.Tokenizer)
    assert made.tiling == Tiling(32, 8)


def test_an_export_says_how_images_were_cut_and_is_verified_so(tokbench_cli: Callable) -> None:
    words = ("export", "-t", "vqvae/tiny", "--limit", "4", "--out", "tokens")
    status, _, err = tokbench_cli(*words, *CUT)
    assert status == 0, err
    job = read_job(Path("tokens"))
    assert job.preparation.tiling == Tiling(32, 8, windows=4, halfway=True)
    assert "tiling" not in job.tokenizer.config
    status, out, err = tokbench_cli("verify", "tokens")
    assert status == 0, out + err
    assert "4 of 4 images encode to the same tokens" in out
    status, _, err = tokbench_cli(*words)
    assert status == 2
    assert "tokens holds tokens of another export: preparation.tiling" in err


def test_speed_is_measured_in_tiles(tokbench_cli: Callable) -> None:
    quick = ("--sizes", "64", "--batches", "1", "--modes", "warm", "--rounds", "1", "--warmup", "1", "--json")
    status, out, err = tokbench_cli("speed", "-t", "patch", *CUT, *quick)
    assert status == 0, err
    (record,) = json.loads(out)
    assert record["tokenizer"]["settings"] == {"tiling.size": "32", "tiling.overlap": "8"}
    assert {row["outcome"] for row in record["rows"]} == {"measured"}


ALONE = "--tile-overlap 8 is of tiles, and there are none; give --tile-size too, or leave it out"
MULTIPLE = "tiles of vqvae/tiny have sides of 4, 8, ... px, got 30; take a multiple of 4"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("run", "-t", "vqvae/tiny", "--tile-overlap", "8"), ALONE),
        (("speed", "-t", "vqvae/tiny", "--tile-overlap", "8"), ALONE),
        (("export", "-t", "vqvae/tiny", "--out", "tokens", "--tile-overlap", "8"), ALONE),
        (("reconstruct", "photo.png", "-t", "vqvae/tiny", "--tile-overlap", "8"), ALONE),
        (("run", "-t", "vqvae/tiny", "--tile-size", "30"), MULTIPLE),
        (("export", "-t", "vqvae/tiny", "--out", "tokens", "--tile-size", "30"), MULTIPLE),
        (("reconstruct", "photo.png", "-t", "vqvae/tiny", "--tile-size", "30"), MULTIPLE),
        (
            ("speed", "-t", "vqvae/tiny", "--tile-size", "32", "--tile-overlap", "20"),
            "tiles of vqvae/tiny of 32 px overlap by 0 to 16 px, in steps of 4, got 20",
        ),
        (("run", "-t", "vqvae/tiny", "--tile-size", "no"), "--tile-size takes a whole number of at least 1, got 'no'"),
        (("run", "-t", "flowmo/tiny", *CUT), "flowmo/tiny does not work in tiles: its tokens stand for a whole image, or depend on where"),
        (
            ("run", "-t", "anchor/webp-320", *CUT),
            "anchor/webp-320 is a codec, which takes images whole; run it by itself, without --tile-size",
        ),
    ],
)
def test_tiles_that_do_not_fit_are_refused(tokbench_cli: Callable, words: tuple[str, ...], problem: str) -> None:
    status, _, err = tokbench_cli(*words)
    assert status == 2
    assert problem in " ".join(err.split())
    assert not any(Path(name).exists() for name in ("runs", "tokens", "grid.png"))
