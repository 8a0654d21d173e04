"""``tokbench run --data A --data B``: one load of a tokenizer, a record for each data set, and what fails keeps nothing from the rest."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

SHY = """
import torch
from tokbench import DiscreteTokens, TokenLayout, Tokenizer

LOADED = []


class Shy(Tokenizer):
    trained_with = ()
    stride = 32

    def __init__(self):
        super().__init__()
        LOADED.append(self)

    def layout(self, height, width):
        return TokenLayout.strided(height, width, 32, codebook_sizes=(256,))

    def _encode(self, images, seeds):
        assert images[0].mean() > -0.5, "it is too dark here"
        return DiscreteTokens(((images.mean(dim=(1, 2, 3)) + 1) * 127).long()[:, None, None], (1, 1), (256,))

    def _decode(self, tokens, seeds):
        return (tokens.codes / 127 - 1).reshape(-1, 1, 1, 1).expand(-1, 3, 32, 32).contiguous().float()
"""


@pytest.fixture
def sets(tmp_path):
    """Folders of bright, dark and middling images; the command runs where they lie."""
    rng = np.random.default_rng(0)
    for name, low, high in (("bright", 150, 256), ("dark", 0, 40), ("middling", 90, 200)):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.fromarray(rng.integers(low, high, (32, 32, 3), dtype=np.uint8)).save(tmp_path / name / f"{i}.png")
    (tmp_path / "shy.py").write_text(SHY)
    return ("--data", "bright", "--data", "dark", "--data", "middling", "--size", 32, "--metrics", "psnr,usage", "--out", "out")


def test_each_data_set_gives_the_record_it_gives_alone(tokbench_cli, sets, tmp_path):
    status, out, err = tokbench_cli("run", "-t", "pixel", "-t", "anchor/webp-320", *sets, "--json")
    assert status == 0, err
    records = json.loads(out)
    assert [(record["tokenizer"]["name"], record["data"]["name"]) for record in records] == [
        (name, data) for name in ("pixel/palette-512", "anchor/webp-320") for data in ("bright", "dark", "middling")
    ]
    assert len(list((tmp_path / "out").glob("*.json"))) == 6
    assert "pixel/palette-512 on dark: " in err
    alone = json.loads(tokbench_cli("run", "-t", "pixel", "--data", "dark", *sets[6:-1], "alone", "--json")[1])[0]
    together = records[1]
    assert {key: alone[key] for key in ("data", "protocol", "metrics")} == {key: together[key] for key in ("data", "protocol", "metrics")}


def test_a_tokenizer_is_loaded_once_and_what_fails_on_one_is_measured_on_the_others(tokbench_cli, sets):
    status, out, err = tokbench_cli("run", "-t", "shy:Shy", *sets, "--json")
    assert status == 1
    assert [record["data"]["name"] for record in json.loads(out)] == ["bright", "middling"], err
    assert "shy:Shy on dark: " in err
    assert "it is too dark here" in err
    assert len(sys.modules["shy"].LOADED) == 1


def test_data_that_cannot_be_read_keep_nothing_from_the_others(tokbench_cli, sets, tmp_path):
    for path in (tmp_path / "dark").iterdir():
        path.write_bytes(b"no image")
    status, out, err = tokbench_cli("run", "-t", "pixel", *sets, "--json")
    assert status == 1
    assert [record["data"]["name"] for record in json.loads(out)] == ["bright", "middling"]
    assert "tokbench: pixel/palette-512 on dark: none of the 3 images" in err


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (("bright", "missing"), "--data missing does not exist"),
        (("bright", "./bright"), "--data bright and --data ./bright are both called bright"),
        (("photos", "photos/test"), "are both called photos/test"),
    ],
)
def test_mistakes_show_before_anything_is_measured(tokbench_cli, sets, tmp_path, places, message):
    words = [word for place in places for word in ("--data", place)]
    status, out, err = tokbench_cli("run", "-t", "pixel/rgb", *words, "--metrics", "psnr", "--out", "out")
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_images_are_saved_of_one_data_set(tokbench_cli, sets):
    status, _, err = tokbench_cli("run", "-t", "pixel", *sets, "--save-images", "shown")
    assert status == 2
    assert "--save-images keeps the images of one data set, 3 are given; run them one by one" in err


def test_parts_of_several_data_sets_merge_into_a_record_each(tokbench_cli, sets, tmp_path):
    for number in (1, 2):
        assert tokbench_cli("run", "-t", "pixel", *sets, "--part", f"{number}/2")[0] == 0
    status, out, _ = tokbench_cli("merge", "out", "--json")
    assert status == 0
    assert sorted(record["data"]["name"] for record in json.loads(out)) == ["bright", "dark", "middling"]
