"""What a record says of the tokenizer's training: from the weights' own header, unknown for files of others, flagged on its own images."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import tokbench
from tokbench.bench.runner import RunOptions, run
from tokbench.records.protocol import get_protocol
from tokbench.records.record import record_from_dict
from tokbench.report.render import render
from tokbench.report.table import make_tables
from tokbench.tokenizers.zoo import save_tokenizer
from tokbench.weights.training import Training, TrainingSet, training_of


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))


def pictures(folder, numbers, names="{}.png"):
    folder.mkdir()
    for i in numbers:
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8)).save(folder / names.format(i))
    return folder


def measured(tokenizer, data, metrics=("psnr", "lpips"), **changes):
    return run(tokenizer, data, metrics=metrics, protocol=get_protocol(changes=changes), options=RunOptions(cache=False)).record


@pytest.fixture
def trained(tokbench_cli, tmp_path):
    """The weights of a palette fitted to 6 pictures."""
    pictures(tmp_path / "mine", range(6))
    status, _, err = tokbench_cli("train", "pixel-palette-512", "--data", "mine", "--steps", 1, "--out", "fit")
    assert status == 0, err
    return tmp_path / "fit" / "weights.safetensors"


def test_weights_of_our_own_say_what_they_were_trained_on(trained, tmp_path):
    training = training_of(trained)
    assert training.used == ("data:mine",)
    (images,) = training.sets
    assert (images.name, images.count, len(images.sample)) == ("mine", 6, 6)
    tokenizer = tokbench.load("pixel", weights=trained)
    record = measured(tokenizer, tmp_path / "mine")
    assert record.trained_on is True
    assert record.data.digest == images.digest == record.tokenizer.training_sets[0].digest
    assert record.tokenizer.trained_with == ("data:mine",)
    assert record.metrics["lpips"].judged_by_training_network is False
    assert measured(tokenizer, tmp_path / "mine", samples=2).trained_on is True
    others = pictures(tmp_path / "others", range(100, 104), "{}.png")
    assert measured(tokenizer, others).trained_on is False
    (tmp_path / "elsewhere").mkdir()
    same_name = pictures(tmp_path / "elsewhere" / "mine", range(100, 104))
    assert measured(tokenizer, same_name).trained_on is False
    renamed = pictures(tmp_path / "renamed", [3, *range(200, 204)], "x{}.png")
    assert measured(tokenizer, renamed).trained_on is True
    folder = save_tokenizer(tokenizer, tmp_path / "saved")
    assert measured(tokbench.load(str(folder)), renamed).trained_on is True


def test_the_run_says_so_and_every_format_of_its_table(trained, tokbench_cli, tmp_path):
    status, out, err = tokbench_cli("run", "-t", "pixel", "--weights", trained, "--data", "mine", "--metrics", "psnr", "--json")
    assert status == 0
    assert "pixel/palette-512 was trained on images of mine, which it is measured on" in err
    record = record_from_dict(json.loads(out)[0], origin="x")
    for form in ("md", "csv", "latex", "json"):
        text = render(make_tables([record]), form)
        assert "trained on" in text, form
    assert "§ measured on images that the tokenizer was trained on: pixel/palette-512" in render(make_tables([record]), "md")
    assert "\\S{} measured on" in render(make_tables([record]), "latex")


def test_a_name_lends_its_training_to_its_own_file_alone(tmp_path):
    own = tokbench.load("vqgan/tiny")
    data = pictures(tmp_path / "few", range(3))
    state = {key: value * 1 for key, value in own.state_dict().items()}
    torch.save(state, tmp_path / "others.pt")
    stranger = tokbench.load("vqgan/tiny", weights=tmp_path / "others.pt")
    assert own.trained_with == ("data:photos/train", "lpips-vgg")
    assert stranger.trained_with == ("unknown",)
    known, unknown = measured(own, data), measured(stranger, data)
    assert (known.trained_on, unknown.trained_on) == (False, None)
    assert known.metrics["lpips"].judged_by_training_network is False
    assert unknown.metrics["lpips"].judged_by_training_network is None
    assert unknown.metrics["psnr"].judged_by_training_network is False
    text = render(make_tables([known, unknown]), "md")
    assert "? what the tokenizer was trained with is not known" in text
    assert "not known whether trained on these images: vqgan/tiny" in text
    assert json.loads(json.dumps(unknown.to_dict()))["metrics"]["lpips"]["judged_by_training_network"] is None
    assert record_from_dict(unknown.to_dict(), origin="x") == unknown
    rows = json.loads(render(make_tables([unknown]), "json"))[0]["rows"]
    assert rows[0]["lpips_note"] == "not known whether trained with the network that judges"


def test_the_embedded_training_photos_are_known_by_name():
    record = measured(tokbench.load("pixel"), "photos/train", metrics=("psnr",), samples=4)
    assert record.trained_on is True
    assert measured(tokbench.load("pixel/rgb"), "photos/train", metrics=("psnr",), samples=4).trained_on is False
    assert measured(tokbench.load("pixel"), "photos", metrics=("psnr",), samples=4).trained_on is False


@pytest.mark.parametrize(
    ("used", "sets", "name", "digests", "by_name", "expected"),
    [
        ((), (), "a", [b"x" * 32], False, False),
        (("unknown",), (), "a", [b"x" * 32], False, None),
        (("data:a",), (), "a", [], False, True),
        (("data:a", "unknown"), (), "a", [], False, True),
        (("data:b",), (), "a", [], False, False),
        (("data:a",), (("a", b"y"),), "a", [b"x" * 32], False, False),
        (("data:a",), (("a", b"x"),), "b", [b"x" * 32], False, True),
        (("data:photos/train",), (("photos/train", b"y"),), "photos/train", [b"x" * 32], True, True),
        (("lpips-vgg", "unknown"), (("a", b"y"),), "a", [b"x" * 32], False, None),
    ],
)
def test_what_counts_as_trained_on(used, sets, name, digests, by_name, expected):
    training = Training(used, tuple(TrainingSet(item, 1, "", ((byte * 32).hex()[:16],)) for item, byte in sets))
    assert training.includes(name, digests, by_name=by_name) is expected


@pytest.mark.parametrize("content", [b"", b"no", b"\xff" * 64, (10**6).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"[]"])
def test_other_files_say_nothing(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    assert training_of(tmp_path / "a.safetensors") == Training()
    assert training_of(tmp_path) == training_of(tmp_path / "none") == Training()
