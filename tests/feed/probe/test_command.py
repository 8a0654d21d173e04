"""``tokbench probe`` on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tokbench.feed.probe.saved import ProbeForm, load_probe, read_probe_form
from tokbench.records.probe_store import find_probe_records

ROOT = Path(__file__).parents[3]

SMOKE = ("probe", "-t", "vqvae/tiny", "--budget", "smoke", "--images-seen", "16", "--limit", "12", "--size", "32")


def test_a_probe_leaves_record_model_and_pictures(tokbench_cli, tmp_path: Path) -> None:
    out = tmp_path / "probes"
    status, text, log = tokbench_cli(*SMOKE, "--samples", "3", "--top-k", "5", "--coded-images", "2", "--out", out)
    assert status == 0, log
    assert "probe smoke+images_seen=16 v1 on photos-64+size=32+samples=12: bits per image of 12 held-out images of photos/test" in text
    assert "read back without a difference" in text
    [(path, record)] = find_probe_records([out])
    assert record.coding.decoded
    assert record.coding.images == 2
    assert f"wrote {path} and the model {path.with_suffix('')}" in log
    model, vocabulary = load_probe(path.with_suffix(""))
    assert read_probe_form(path.with_suffix("")) == ProbeForm(record.tokens.grid, (32, 32), "none")
    assert model.config.hidden_size == 32
    assert vocabulary.image_tokenizer.weights_sha256 == record.tokenizer.weights_sha256
    with Image.open(path.with_suffix("") / "samples.png") as picture:
        assert picture.size == (4 + 3 * 68, 4 + 68)
    assert not list(out.glob(".*"))

    status, text, _ = tokbench_cli(*SMOKE, "--coded-images", "2", "--out", out, "--json")
    assert status == 0
    [again] = json.loads(text)
    assert again["figures"] == json.loads(path.read_text())["figures"]
    assert len(find_probe_records([out])) == 2
    assert len(list((out / "tokens").iterdir())) == 2


def test_folders_of_classes_condition_the_probe(tokbench_cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for kind in ("bright", "dark"):
        (tmp_path / "images" / kind).mkdir(parents=True)
        for i in range(8):
            pixels = rng.integers(0, 100, size=(32, 32, 3), dtype=np.uint8) + (150 if kind == "bright" else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "images" / kind / f"{i}.png")
    status, text, log = tokbench_cli(
        *SMOKE, "--data", tmp_path / "images", "--labels", "folder", "--held-out", "0.4", "--json", "--out", tmp_path / "out"
    )
    assert status == 0, log
    [record] = json.loads(text)
    assert record["condition"] == "label"
    assert record["train"]["count"] + record["held_out"]["count"] == 16
    assert record["probe"]["held_out"] == 0.4


def test_several_tokenizers_are_probed_in_turn_on_data_with_repeats(tokbench_cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(16):
        path = tmp_path / "images" / f"{i:02d}.png"
        Image.fromarray(rng.integers(0, 256, size=(32, 32, 3), dtype=np.uint8)).save(path)
        for copy in range(i % 3):
            (tmp_path / "images" / f"{i:02d} copy {copy}.png").write_bytes(path.read_bytes())
    arguments = ("-t", "vqgan/tiny", "--data", tmp_path / "images", "--held-out", "0.4", "--coded-images", "1", "--out", tmp_path / "out")
    status, text, log = tokbench_cli(*[word for word in SMOKE if word not in ("--limit", "12")], *arguments, "--json")
    assert status == 0, log
    records = json.loads(text)
    assert [record["tokenizer"]["name"] for record in records] == ["vqvae/tiny", "vqgan/tiny"]
    for record in records:
        assert record["train"]["count"] + record["held_out"]["count"] == 31
        assert record["train"]["groups"] + record["held_out"]["groups"] == 16
    assert log.count("wrote ") == 2
    assert len(find_probe_records([tmp_path / "out"])) == 2
    assert len(list((tmp_path / "out").glob("*/probe.json"))) == 2


def test_mistakes_show_without_torch(tmp_path: Path) -> None:
    code = """
import sys
from tokbench import cli
sys.argv = ["tokbench", "probe", "-t", "vqvae", *sys.argv[1:]]
try:
    cli.main()
finally:
    assert "torch" not in sys.modules
"""
    for arguments in (["--labels", "guess"], ["--samples", "2", "--temperature", "0"], ["-t", "vqgan", "--weights", "a"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("-t", "vqvae/tiny", "--budget", "huge"), "unknown --budget 'huge'"),
        (("-t", "vqvae/tiny", "--images-seen", "0"), "images_seen must be at least 1"),
        (("-t", "vqvae/tiny", "--precision", "fp8"), "unknown --precision 'fp8'"),
        (("-t", "vqvae/tiny", "--labels", "guess"), "unknown --labels 'guess'; allowed: folder, none, source. See: tokbench probe --help"),
        (("-t", "vqvae/tiny", "--samples", "2", "--temperature", "0"), "--temperature 0.0: temperature must be positive"),
        (("-t", "vqvae/tiny", "--data", "photos/train"), "names one part of the photos"),
        (("-t", "vqvae/tiny", "--condition", "caption", "--limit", "4"), "has no captions; choose another --condition"),
        (("-t", "vae/tiny", "--limit", "4"), "vae/tiny makes continuous latents; a probe predicts codes"),
        (("-t", "vqvae/tiny", "-t", "vae/tiny", "--limit", "4"), "vae/tiny makes continuous latents; a probe predicts codes"),
        (("-t", "vqvae/tiny", "--condition", "label", "--limit", "4"), "photos/train has no labels; choose another --condition"),
        (("-t", "vqvae", "-t", "vqgan", "--weights", "a"), "--weights, --drop and --averages belong to one tokenizer, 2 are given"),
    ],
)
def test_mistakes_are_one_line(tokbench_cli, tmp_path: Path, arguments: tuple[str, ...], problem: str) -> None:
    status, _, log = tokbench_cli("probe", *arguments, "--out", tmp_path / "out")
    assert status == 2
    assert problem in log
    assert log.count("\n") == 1
