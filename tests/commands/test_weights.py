"""Commands about weights: where they are, what to do when they are not, and files turned into this package's form."""

import json
from pathlib import Path

import pytest
import torch

import tokbench


def test_paths_and_states(tokbench_cli, tmp_path):
    status, out, _ = tokbench_cli("weights", "path", "vqgan")
    assert (status, out.strip().rpartition("/")[2]) == (0, "vqgan-tiny.safetensors")
    status, out, _ = tokbench_cli("weights", "path", "vqgan/ldm-f4")
    path = tmp_path / "cache" / "weights" / "vqgan" / "ldm-f4" / "model.ckpt"
    assert (status, out.strip()) == (1, str(path))
    assert "to fetch" in next(line for line in tokbench_cli("weights", "list")[1].splitlines() if line.startswith("vqgan/ldm-f4 "))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    assert tokbench_cli("weights", "path", "vqgan/ldm-f4")[0] == 0
    assert "here" in next(line for line in tokbench_cli("weights", "list")[1].splitlines() if line.startswith("vqgan/ldm-f4 "))
    rows = {row["name"]: row for row in json.loads(tokbench_cli("list", "--json")[1])}
    assert (rows["vqgan/ldm-f4"]["weights"], rows["vqgan/ldm-f8"]["weights"], rows["vqgan/tiny"]["weights"]) == (
        "here",
        "to fetch",
        "embedded",
    )
    assert (rows["vqgan/ldm-f4"]["licence"], rows["pixel/rgb"]["weights"]) == ("MIT (repository)", "none needed")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("weights", "get", "lpips-veg"), "unknown weights 'lpips-veg'; did you mean lpips-vgg"),
        (("weights", "get", "vqgan"), "vqgan/tiny needs no fetching: its weights are embedded"),
        (("weights", "path", "pixel/rgb"), "pixel/rgb has no weights of its own"),
        (("run", "-t", "vqgan/ldm-f4"), "the weights of vqgan/ldm-f4 are not here; run: tokbench weights get vqgan/ldm-f4"),
        (("run", "-t", "vqgan", "--weights", "hf:nowhere"), "'hf:nowhere' names no place on the hub"),
        (("run", "-t", "vqgan", "--weights", "none.ckpt"), "no weights file at none.ckpt"),
        (("convert", "-t", "vqgan", "--dtype", "int8", "--out", "x"), "unknown --dtype 'int8'; allowed: bfloat16, float16, float32, keep."),
        (("published", "pixel/rgb"), "no published figures of pixel/rgb are known here"),
        (("published", "vqgann"), "unknown tokenizer 'vqgann'; did you mean vqgan"),
    ],
)
def test_what_a_user_can_fix_is_one_line(tokbench_cli, arguments, message):
    status, out, err = tokbench_cli(*arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_pin_is_forgotten_or_renewed_by_name(tokbench_cli, tmp_path):
    status, out, _ = tokbench_cli("weights", "path", "vqgan/ldm-f4")
    path = Path(out.strip())
    path.parent.mkdir(parents=True)
    path.write_bytes(b"one")
    assert tokbench_cli("weights", "get", "vqgan/ldm-f4")[:2] == (0, out)
    path.write_bytes(b"two")
    status, _, err = tokbench_cli("weights", "get", "vqgan/ldm-f4")
    assert status == 2
    assert "tokbench weights get vqgan/ldm-f4 --renew, or to keep a file put there by hand: tokbench weights forget vqgan/ldm-f4" in err
    status, _, err = tokbench_cli("weights", "forget", "vqgan/ldm-f4")
    assert (status, "forgot the digest of vqgan/ldm-f4" in err) == (0, True)
    assert tokbench_cli("weights", "get", "vqgan/ldm-f4")[0] == 0
    for name, words in (
        ("vqgan/ldm-f8", "no digest of vqgan/ldm-f8 is noted"),
        ("inception", "inception has one digest, which is part of tokbench"),
        ("vae/flux", "vae/flux has one digest, which is part of tokbench; to fetch it again: tokbench weights get vae/flux --renew"),
        ("vqgann", "unknown weights 'vqgann'"),
        ("http://127.0.0.1:9/w.pt", "no digest of http://127.0.0.1:9/w.pt is noted"),
    ):
        status, _, err = tokbench_cli("weights", "forget", name)
        assert (status, err.count("\n"), words in err) == (2, 1, True)
    status, _, err = tokbench_cli("weights", "get", "http://127.0.0.1:9/w.pt", "--renew")
    assert (status, err.count("\n"), "cannot fetch http://127.0.0.1:9/w.pt (no connection" in err) == (2, 1, True)


def test_a_checkpoint_of_others_becomes_a_folder_that_runs(tokbench_cli, tmp_path):
    original = tokbench.load("vqvae/tiny")
    torch.save({"epoch": 1, "state_dict": original.state_dict(), "optimizer_states": []}, tmp_path / "last.ckpt")
    status, _, err = tokbench_cli("convert", "-t", "vqvae/tiny", "--weights", "last.ckpt", "--out", "mine")
    assert status == 0
    assert "wrote mine: vqvae/tiny" in err
    assert "zip, entry state_dict" in err
    assert "tokbench run --tokenizer ./mine" in err
    options = ("--limit", 4, "--metrics", "psnr", "--json")
    records = [json.loads(tokbench_cli("run", "-t", name, *options)[1])[0] for name in ("./mine", "vqvae/tiny")]
    assert records[0]["metrics"]["psnr"]["value"] == records[1]["metrics"]["psnr"]["value"]
    status, _, err = tokbench_cli("convert", "-t", "vqvae/tiny", "--out", "mine")
    assert status == 2
    assert "mine is not empty" in err


def test_published_figures_name_their_source(tokbench_cli):
    status, out, _ = tokbench_cli("published", "vqgan/imagenet-f16-1024")
    assert status == 0
    assert "CompVis/taming-transformers" in out
    assert "7.94" in out
    rows = json.loads(tokbench_cli("published", "--json")[1])
    assert {"tokenizer", "metric", "value", "protocol", "source"} <= rows[0].keys()
    assert {row["tokenizer"] for row in rows} >= {"vae/sdxl", "flowmo/lo", "llamagen/vq-16"}
