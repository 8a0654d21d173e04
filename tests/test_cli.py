"""The command line as a user meets it: what it prints, what it writes, and one line for every mistake."""

import json
import subprocess
import sys

import numpy as np
import pytest
import typer
from PIL import Image

import tokbench
from tokbench.report.plots.kinds import LM_KINDS, RUN_KINDS, SPEED_KINDS


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(4):
        smooth = np.kron(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
        Image.fromarray(smooth).save(folder / f"{i}.png")
    return folder


LIGHT = (
    *("--help", "list", "list --json", "show vqgan", "metrics", "metrics --json"),
    *("compare --help", "train", "weights list"),
)
LISTENING = """
import sys
from tokbench import cli

for words in sys.argv[1:]:
    sys.argv = ["tokbench", *words.split()]
    try:
        cli.main()
    except SystemExit as stop:
        assert not stop.code, (words, stop.code)
    assert "torch" not in sys.modules, words
"""


def test_light_commands_do_not_import_torch(tmp_path):
    done = subprocess.run([sys.executable, "-c", LISTENING, *LIGHT], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr


def test_compare_does_not_import_torch(tokbench_cli, pictures, tmp_path):
    assert tokbench_cli("run", "-t", "pixel/rgb", "--data", pictures, "--metrics", "psnr", "--out", "out")[0] == 0
    code = "import sys; from tokbench import cli; sys.argv = ['tokbench', 'compare', 'out']\ncli.app(standalone_mode=False)\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert "pixel/rgb" in done.stdout


def test_python_m_and_version(tmp_path):
    done = subprocess.run([sys.executable, "-m", "tokbench", "--version"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.strip() == f"tokbench {tokbench.__version__}"


def test_list_names_every_variant(tokbench_cli):
    from tokbench.tokenizers.zoo import names

    status, out, _ = tokbench_cli("list")
    assert status == 0
    assert all(name in out for name in names())
    rows = json.loads(tokbench_cli("list", "--json")[1])
    assert [row["name"] for row in rows] == names()
    vqgan = next(row for row in rows if row["name"] == "vqgan/tiny")
    assert vqgan["bits_per_image"] == 2560
    assert vqgan["bpp"] == 0.625
    assert vqgan["trained_with"] == ["data:photos/train", "lpips-vgg"]


def test_metrics_lists_every_figure_with_what_it_needs(tokbench_cli, monkeypatch, tmp_path):
    from tokbench.bench.metrics import metric_classes
    from tokbench.weights.assets import asset_path

    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path))
    rows = {row["key"]: row for row in json.loads(tokbench_cli("metrics", "--json")[1])}
    assert set(rows) == {key for cls in metric_classes().values() for key in cls.figure_names()}
    assert rows["psnr"]["needs"] == rows["lpips"]["needs"] == ""
    assert rows["rfid"]["needs"] == "extra fid, weights inception"
    assert (rows["face_match"]["metric"], rows["face_match"]["needs"]) == ("face_similarity", "weights faces, data faces")
    asset_path("faces").parent.mkdir()
    asset_path("faces").touch()
    status, out, _ = tokbench_cli("metrics")
    assert status == 0
    assert all(key in out for key in rows)
    assert "(here)" in out
    assert "(here)" in json.loads(tokbench_cli("metrics", "--json")[1])[-1]["needs"]


def test_show_lists_what_can_be_set(tokbench_cli):
    out = tokbench_cli("show", "vae")[1]
    assert "posterior = mean" in out
    assert "autoencoder.channel_multipliers = 1,1,4" in out
    assert json.loads(tokbench_cli("show", "vae", "--json")[1])["config"]["embed_dim"] == 4
    assert "\n    latent_channels: 4\n" in tokbench_cli("show", "diffusers/kl")[1]


def test_repeats_are_passes_of_what_draws_noise(tokbench_cli, pictures):
    run = ("run", "--data", pictures, "--metrics", "psnr", "--json", "--out", "out")
    status, out, _ = tokbench_cli(*run, "-t", "vae", "--set", "posterior=sample", "--repeats", 3)
    assert status == 0
    records = json.loads(out)
    assert [record["protocol"].get("noise", 0) for record in records] == [0, 1, 2]
    assert len({record["metrics"]["psnr"]["value"] for record in records}) == 3
    assert len({record["data"]["pixels_digest"] for record in records}) == 1
    shown = [word for word in run if word != "--json"]
    status, out, _ = tokbench_cli(*shown, "-t", "vae", "--set", "posterior=sample", "--repeats", 2)
    assert status == 0
    assert "noise=1" not in out  # the first pass alone, and what both have in common
    assert "PSNR dB variance" in out
    status, out, err = tokbench_cli(*run, "-t", "pixel", "--repeats", 3)
    assert (status, len(json.loads(out))) == (0, 1)
    assert "pixel/palette-512 draws no noise: every pass gives the same figures, so it is measured once" in err
    status, _, err = tokbench_cli("run", "-t", "vae", "--repeats", 2, "--save-images", "shown")
    assert status == 2
    assert "--save-images keeps the images of one pass, and --repeats makes several; leave one of them out" in err
    assert tokbench_cli("run", "-t", "vae", "--repeats", 0)[0] == 2


def test_run_prints_json_for_machines(tokbench_cli, pictures):
    status, out, err = tokbench_cli(
        "run", "-t", "pixel/rgb", "-t", "pixel", "--data", pictures, "--metrics", "psnr,usage,rfid", "--json", "--out", "out"
    )
    assert status == 0
    records = json.loads(out)
    assert [record["tokenizer"]["name"] for record in records] == ["pixel/rgb", "pixel/palette-512"]
    assert records[0]["metrics"]["psnr"]["exact"] == records[0]["data"]["count"]
    codes = {"usage", "perplexity", "entropy_bits", "dead_codes", "entropy_bits_per_image"}
    assert set(records[0]["metrics"]) == {"psnr", *codes, "rfid"}
    assert records[1]["tokenizer"]["weights_sha256"]
    assert records[1]["tokens"]["codebook_sizes"] == [512]
    assert records[0]["protocol"]["name"] == "tokbench-256"
    assert "record out/pixel-rgb" in err


def test_run_takes_weights_settings_size_limit_and_seed(tokbench_cli, pictures, tmp_path):
    palette = np.linspace(-1, 1, 30, dtype=np.float32).reshape(10, 3)
    np.save(tmp_path / "clusters.npy", palette)
    status, out, err = tokbench_cli(
        "run", "-t", "pixel", "--weights", "clusters.npy", "--set", "colours=10", "--data", pictures,
        "--size", 32, "--limit", 3, "--seed", 5, "--metrics", "psnr,codebook", "--json",
    )  # fmt: skip
    assert status == 0, err
    (record,) = json.loads(out)
    assert record["tokens"]["codebook_sizes"] == [10]
    assert record["tokens"]["grid"] == [32, 32]
    assert record["data"]["count"] == 3
    assert record["protocol_label"] == "tokbench-256+data=pictures+size=32+samples=3+seed=5"
    assert list((tmp_path / "runs").glob("*.json"))


def test_compare_formats(tokbench_cli, pictures, tmp_path):
    tokbench_cli("run", "-t", "pixel/rgb", "-t", "pixel", "--data", pictures, "--metrics", "psnr", "--out", "out")
    for form, sign in (
        ("terminal", "PSNR"),
        ("md", "| pixel/rgb |"),
        ("csv", "pixel/rgb,"),
        ("latex", "\\toprule"),
        ("json", '"tokenizer": "pixel/rgb"'),
    ):
        status, out, _ = tokbench_cli("compare", "out", "--format", form)
        assert status == 0
        assert sign in out
    out = tokbench_cli("compare", "out", "--format", "csv", "--sort", "psnr")[1].splitlines()
    assert "pixel/rgb" in out[1]


def test_reconstruct_writes_a_picture_with_attribution(tokbench_cli, pictures, tmp_path):
    status, _, err = tokbench_cli(
        "reconstruct", pictures / "0.png", "photos/test/88431cd965/00", "-t", "pixel", "-t", "vqvae", "-o", "docs/grid.png"
    )
    assert status == 0, err
    picture = Image.open(tmp_path / "docs" / "grid.png")
    assert picture.width == 10 + 3 * 202
    assert picture.height > 2 * 400


def test_training_from_the_command_line(tokbench_cli, tmp_path):
    status, _, err = tokbench_cli("train", "pixel-palette-512", "--steps", 2, "--out", "fit")
    assert status == 0, err
    assert "tokbench run --tokenizer fit" in err
    assert (tmp_path / "fit" / "weights.safetensors").is_file()


MISTAKES = [
    (["run", "-t", "vqgam"], "unknown tokenizer 'vqgam'; did you mean vqgan"),
    (["run", "-t", "vqvae/big"], "unknown tokenizer 'vqvae/big'"),
    (["show", "nothing-like-it"], "unknown tokenizer"),
    (["run", "-t", "pixel/rgb", "--data", "missing"], "missing"),
    (["run", "-t", "pixel/rgb", "--data", "empty"], "empty"),
    (["run", "-t", "pixel/rgb", "--data", "note.txt"], "note.txt"),
    (["run", "-t", "pixel/rgb", "--data", "broken.zip"], "broken.zip"),
    (["run", "-t", "pixel/rgb", "--data", "onlybroken"], "the only image of onlybroken cannot be read"),
    (["run", "-t", "flowmo", "--size", "66"], "--size 64"),
    (["run", "-t", "vqvae", "--size", "0"], "size"),
    (["run", "-t", "vqvae", "--size", "300"], "sizes 32 to 256"),
    (["run", "-t", "pixel/rgb", "--limit", "0"], "--limit takes a whole number of at least 1, got '0'"),
    (["run", "-t", "vqvae", "--weights", "note.txt"], "note.txt holds no weights: it is text"),
    (["run", "-t", "vqvae", "--weights", "none.safetensors"], "no weights file at none.safetensors"),
    (["run", "-t", "vqvae", "--weights", "nan.safetensors"], "NaN or infinity in 1 tensors: decoder.conv_out.bias"),
    (["run", "-t", "vqvae", "--weights", "short.safetensors"], "1 missing: quantize.embedding.weight"),
    (["run", "-t", "vqvae", "-t", "vqgan", "--weights", "x"], "--weights, --drop and --averages belong to one tokenizer"),
    (["run", "-t", "vqvae", "--set", "quantizer.din=3"], "unknown setting 'quantizer.din'; did you mean quantizer.dim"),
    (["run", "-t", "vqvae", "--set", "embed_dim"], "--set takes KEY=VALUE"),
    (["run", "-t", "vqvae", "--set", "quantizer.dim=many"], "quantizer.dim takes a value of type int"),
    (["run", "-t", "pixel/rgb", "--metrics", "psnr", "--fail-if", "lpisp>0.1"], "unknown metric 'lpisp'; did you mean lpips"),
    (["score", "photos", "photos", "--fail-if", "lpisp>0.1"], "unknown metric 'lpisp'; did you mean lpips"),
    (["merge", "runs", "--fail-if", "lpisp>0.1"], "unknown metric 'lpisp'; did you mean lpips"),
    (["run", "-t", "pixel/rgb", "--metrics", "psnrr"], "unknown metric 'psnrr'"),
    (["run", "-t", "pixel/rgb", "--device", "warp"], "device 'warp' cannot be used here"),
    (["run", "-t", "no.such.module:Thing"], "cannot import 'no.such.module'"),
    (["run", "-t", "json:JSONDecoder"], "is not a subclass of"),
    (["run", "-t", "anchor/webp"], "unknown anchor"),
    (["compare", "empty"], "no records in empty"),
    (["compare", "note.txt"], "note.txt is not a readable record"),
    (["reconstruct", "note.txt", "-t", "pixel"], "note.txt is not a readable image"),
    (["reconstruct", "photos/test/zzz", "-t", "pixel"], "there is no embedded crop"),
    (
        ["reconstruct", *["photos/test/88431cd965/00"] * 40, "-t", "pixel", "-o", "grid.webp"],
        "WEBP takes 16,383 a side; choose fewer images",
    ),
    (["train", "vqvae-tinny"], "unknown recipe 'vqvae-tinny'; did you mean vqvae-tiny"),
    (["train", "vqvae-tiny", "--resume", "--out", "empty"], "nothing to resume"),
    (["train", "vqvae-tiny", "--steps", "0"], "--steps must be at least 1"),
    (["train", "vqvae-tiny", "--data", "photos/test"], "photos/test"),
    (["weights", "get", "inceptoin"], "unknown weights 'inceptoin'; did you mean inception"),
]


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES, ids=[" ".join(arguments) for arguments, _ in MISTAKES])
def test_every_mistake_gives_one_line_and_status_2(tokbench_cli, tmp_path, arguments, expected):
    import torch
    from safetensors.torch import save_file

    from tokbench.tokenizers.zoo import resolve
    from tokbench.weights.checkpoints import read_state
    from tokbench.weights.obtain import weights_path

    (tmp_path / "empty").mkdir()
    (tmp_path / "onlybroken").mkdir()
    (tmp_path / "onlybroken" / "a.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "note.txt").write_text("hello")
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04nothing")
    if any("safetensors" in argument for argument in arguments):
        state, _ = read_state(weights_path(resolve("vqvae")[1]))
        save_file(state | {"decoder.conv_out.bias": torch.full((3,), float("nan"))}, tmp_path / "nan.safetensors")
        save_file({key: value for key, value in state.items() if not key.startswith("quantize")}, tmp_path / "short.safetensors")
    status, out, err = tokbench_cli(*arguments)
    assert status == 2, err
    assert expected in err
    assert err.startswith("tokbench: ")
    assert err.count("\n") == 1, err
    assert out == ""
    assert not list(tmp_path.rglob("*.partial"))


MISUSES = [
    (["run", "--tokeniser", "vqgan"], "unknown option '--tokeniser'; did you mean --tokenizer"),
    (["plot", "--formt", "png"], "unknown option '--formt'; did you mean --format"),
    (["weights", "get", "--quiet"], "unknown option '--quiet'; allowed: --help, --renew. See: tokbench weights get --help"),
    (["report", "--images", "501"], "--images takes a whole number from 0 to 500, got '501'. See: tokbench report --help"),
    (["report", "--images", "few"], "--images takes a whole number from 0 to 500, got 'few'"),
    (["export", "--rows", "0"], "--rows takes a whole number of at least 1, got '0'. See: tokbench export --help"),
    (
        ["run", "-t", "vqvae", "--size", "1.5"],
        "--size takes a side of 1 to 8192 px, or height and width such as 576x1024; got '1.5'. See: tokbench run --help",
    ),
    (["compare", "--format", "markdown"], "unknown --format 'markdown'; allowed: csv, json, latex, md, terminal."),
    (["diff", "runs", "--format", "lates"], "unknown --format 'lates'; did you mean latex"),
    (["compare", "--sort"], "--sort needs a value, got none. See: tokbench compare --help"),
    (["compare", "--bold=yes"], "--bold takes no value, got one. See: tokbench compare --help"),
    (["diff", "runs"], "diff needs B (What to compare with it), got none. See: tokbench diff --help"),
    (
        ["run"],
        "run needs --tokenizer (Name, module:Class, anchor/webp-BYTES, or a set, @discrete-f16 or @FILE.txt; may be repeated), got none.",
    ),
    (["probe", "-t", "vqvae", "--temperature", "nan"], "--temperature takes a number, got 'nan'. See: tokbench probe --help"),
    (
        ["plot", "--kind", "speed"],
        f"unknown --kind 'speed'; allowed: {', '.join(sorted((*RUN_KINDS, *LM_KINDS, *SPEED_KINDS)))}. See: tokbench plot --help",
    ),
    (["plot", "--width", "wide"], "unknown --width 'wide'; allowed: column, page. See: tokbench plot --help"),
    (["run", "-t", "vqvae", "--averages", "maybe"], "unknown --averages 'maybe'; did you mean yes? See: tokbench run --help"),
    (["weights", "path"], "weights path needs NAME (A tokenizer, or a network file of: tokbench weights list), got none."),
    (["show", "vqvae", "vqgan (old)"], "tokbench show: Got unexpected extra argument"),
    (["cmpare"], "unknown command 'cmpare'; did you mean compare"),
    (["weights", "gett"], "unknown command 'gett'; did you mean get or forget? See: tokbench weights --help"),
]


@pytest.mark.parametrize(("arguments", "expected"), MISUSES, ids=[" ".join(arguments) for arguments, _ in MISUSES])
def test_misuse_of_a_command_is_one_line_like_every_other_mistake(tokbench_cli, arguments, expected):
    status, out, err = tokbench_cli(*arguments)
    assert status == 2, err
    assert err.startswith(f"tokbench: {expected}")
    assert err.count("\n") == 1, err
    assert out == ""


@pytest.mark.parametrize("stop", [KeyboardInterrupt, typer.Abort])
def test_an_interrupt_says_so(tokbench_cli, monkeypatch, stop):
    def interrupted():
        raise stop

    monkeypatch.setattr("tokbench.tokenizers.listed.families", interrupted)
    assert tokbench_cli("list") == (130, "", "tokbench: interrupted\n")


@pytest.mark.parametrize("group", [[], ["weights"]])
def test_a_group_of_commands_alone_shows_its_help(tokbench_cli, group):
    status, out, err = tokbench_cli(*group)
    assert status == 2, err
    assert "Commands:" in out + err
    assert not err.startswith("tokbench: ")


@pytest.mark.parametrize(
    "command",
    [
        *("list", "report x", "compare x", "show vqgan", "merge runs", "lm describe x.png", "export --from x --as bin"),
        *("--version", "train --help", "lm train", "lm train --help"),
    ],
)
def test_what_processes_do_not_share_the_first_does_alone_and_the_others_leave(tokbench_cli, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert tokbench_cli(*command.split()) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.delenv("RANK")
    alone = tokbench_cli(*command.split())
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert tokbench_cli(*command.split()) == alone
