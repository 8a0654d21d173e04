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


@pytest.fixture
def two_files(monkeypatch):
    """A server with one file of weights, and two rows that fetch theirs from it, of which one is not there."""
    from argparse import Namespace
    from dataclasses import replace
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    from tokbench.tokenizers import zoo

    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path != "/one.pt":
                self.send_error(404, "no such file")
                return
            self.send_response(200)
            self.send_header("Content-Length", "4000")
            self.end_headers()
            self.wfile.write(bytes(4000))

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    url, known = f"http://127.0.0.1:{server.server_port}", dict(zoo.families())
    rows = {"ldm-f4": "two.pt", "ldm-f8": "one.pt", "ldm-f16": "one.pt"}
    variants = [replace(row, file=f"{url}/{rows[row.name]}") if row.name in rows else row for row in known["vqgan"].variants]
    known["vqgan"] = replace(known["vqgan"], variants=tuple(variants))
    for room in ("zoo", "listed", "fetching", "sets"):
        monkeypatch.setattr(f"tokbench.tokenizers.{room}.families", lambda: known)
    yield Namespace(url=url, asked=asked)
    server.shutdown()
    server.server_close()


def test_many_are_fetched_whatever_becomes_of_one(tokbench_cli, tmp_path, two_files):
    (tmp_path / "mine.txt").write_text("vqgan/ldm-f4\nvqgan/ldm-f8\nvqgan/tiny\nanchor/webp-320\nmy:Class\n")
    words = ("weights", "get", "@mine.txt", "vqgan/ldm-f16", "lpips-alex")
    status, out, err = tokbench_cli(*words)
    first, *rest = err.splitlines()
    cache = tmp_path / "cache" / "weights" / "vqgan"
    assert first == (
        "2 files to fetch, ≈ 492.2 MB by the shapes of their tensors; 2 here or in these; 3 with nothing to fetch; files that hold more are larger"
    )
    assert status == 1
    assert out.splitlines()[:2] == [str(cache / row / "one.pt") for row in ("ldm-f8", "ldm-f16")]
    assert two_files.asked == ["/two.pt", "/one.pt"]  # the second row of a file takes that of the first
    assert (cache / "ldm-f8" / "one.pt").samefile(cache / "ldm-f16" / "one.pt")
    assert "lpips-alex" in out.splitlines()[2]
    assert len(rest) == 2
    assert rest[0].startswith(f"tokbench: vqgan/ldm-f4: cannot fetch {two_files.url}/two.pt (HTTP Error 404")
    assert rest[1] == "tokbench: 1 of 4 could not be fetched: vqgan/ldm-f4; the same command goes on with them"
    status, out, err = tokbench_cli(*words)
    assert (status, len(out.splitlines())) == (1, 3)
    assert err.startswith("1 file to fetch, ≈ 221.3 MB by the shapes of their tensors; 3 here or in these")
    assert tokbench_cli("weights", "get", "vqgan/ldm-f8", "vqgan/ldm-f16")[::2] == (0, "0 files to fetch; 2 here or in these\n")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("vqgan/ldm-f8", "vqgan/ldm-f9"), "unknown weights 'vqgan/ldm-f9'; did you mean vqgan/ldm-f"),
        (("@titok", "@titoc"), "unknown word in @titoc: 'titoc'; did you mean titok"),
        (("vqgan/ldm-f8", "hf:nowhere"), "'hf:nowhere' names no place on the hub"),
        (("@none.txt",), "@none.txt cannot be read (No such file or directory)"),
    ],
)
def test_a_name_that_is_none_is_said_before_anything_is_fetched(tokbench_cli, tmp_path, two_files, names, message):
    status, out, err = tokbench_cli("weights", "get", *names)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert not (tmp_path / "cache").exists()


def test_what_needs_no_fetching_fails_by_its_name_and_not_in_a_set(tokbench_cli):
    status, out, err = tokbench_cli("weights", "get", "vqgan/tiny", "pixel/rgb")
    assert (status, out) == (1, "")
    assert "tokbench: vqgan/tiny: vqgan/tiny needs no fetching" in err
    assert tokbench_cli("weights", "get", "@vqgan-local", "@pixel-local") == (0, "", "0 files to fetch; 3 with nothing to fetch\n")
