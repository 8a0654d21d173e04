"""Records are called after what distinguishes them; a number follows only where everything is equal."""

import numpy as np
import pytest
import torch
from PIL import Image

import tokbench
from tokbench.bench.runner import RunOptions, run
from tokbench.records.naming import file_stem
from tokbench.records.protocol import get_protocol
from tokbench.records.store import write_record


@pytest.fixture
def folder(tmp_path):
    for name in ("data", "more"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.random.default_rng(len(name)).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / name / "a.png")
    return tmp_path


def written(tokenizer, folder, data="data", metrics=("psnr",), **changes):
    protocol = get_protocol(changes=changes)
    evaluation = run(tokenizer, folder / data, metrics=metrics, protocol=protocol, options=RunOptions(cache=False))
    return write_record(evaluation.record, evaluation.rows, folder / "out").stem


def test_records_are_called_after_what_distinguishes_them(folder):
    palette = tokbench.load("pixel")
    found = [written(palette, folder)]
    found.append(written(palette, folder, size=32))
    found.append(written(palette, folder, data="more"))
    found.append(written(palette, folder, metrics=("psnr", "ssim")))
    torch.save({"clusters": palette.clusters + 0.01}, folder / "mine.pt")
    others = tokbench.load("pixel", weights=folder / "mine.pt")
    found.append(written(others, folder))
    palette.clusters += 0.02
    found.append(written(palette, folder))
    Image.new("RGB", (64, 64)).save(folder / "data" / "a.png")
    found.append(written(tokbench.load("pixel"), folder))
    found.append(written(tokbench.load("pixel"), folder))
    base = "pixel-palette-512_photos-64+data=data"
    assert written(tokbench.load("pixel"), folder, data="more", tokenizer_batch=4) == f"{base.replace('=data', '=more')}+at-once=4"
    assert found[:4] == [base, f"{base}+size=32", base.replace("=data", "=more"), f"{base}+metrics=psnr-ssim"]
    assert found[4].startswith("pixel-palette-512+weights=")
    assert found[5].startswith(f"{base}+weights=")
    assert found[6].startswith(f"{base}+images=")
    assert found[7] == f"{found[6]}_2"
    assert len(set(found)) == len(found)


def test_settings_are_named(folder):
    assert written(tokbench.load("vae", config={"posterior": "sample"}), folder) == "vae-tiny+posterior=sample_photos-64+data=data"


def test_long_names_end_in_a_digest():
    long, other = file_stem("x" * 500), file_stem("x" * 501)
    assert len(long) == len(other) == 120
    assert long != other
    assert file_stem("a/b:c d") == "a-b-c-d"
