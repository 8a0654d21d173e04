"""Public sets by name: what is whole is taken, whatever else is refused in one line."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tokbench.data.open import open_source
from tokbench.data.public import PUBLIC, check_public, names_digest, public_place
from tokbench.errors import TokbenchError

DOCUMENT = Path(__file__).parents[2] / "docs" / "commands.md"

IMAGENET = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 50_001)]
KODAK = [f"kodim{number:02d}.png" for number in range(1, 25)]
CLIC = ["alberto-montalesi-176097.png", "zugr-108.png", *(f"photo-{number}.png" for number in range(39))]
OMNIDOC = [f"{number:04d}.png" for number in range(1, 3043)]
WHOLE = {"imagenet-val": IMAGENET, "kodak": KODAK, "clic": CLIC, "omnidoc": OMNIDOC}


def refusal(name, ids):
    with pytest.raises(TokbenchError) as caught:
        check_public(name, ids, "PLACE")
    return str(caught.value)


@pytest.mark.parametrize("name", WHOLE)
def test_the_whole_set_is_taken_in_any_order_and_in_any_folders(name):
    check_public(name, WHOLE[name], "PLACE")
    check_public(name, [f"val/n{number % 1000:08d}/{file}" for number, file in enumerate(reversed(WHOLE[name]))], "PLACE")


@pytest.mark.parametrize("name", WHOLE)
def test_one_image_fewer_or_more_is_not_the_set(name):
    count = PUBLIC[name].count
    assert f"it holds {count - 1:,} images, the set {count:,}" in refusal(name, WHOLE[name][:-1])
    assert f"it holds {count + 1:,} images, the set {count:,}" in refusal(name, [*WHOLE[name], PUBLIC[name].example])


def test_names_that_follow_a_rule_have_the_digest_of_the_rule():
    assert PUBLIC["imagenet-val"].names_sha256 == names_digest(IMAGENET)
    assert PUBLIC["kodak"].names_sha256 == names_digest(KODAK)


def test_what_is_wrong_is_said_plainly():
    assert "50,000 images with names such as 'a.JPEG', where those of the set are like" in refusal("imagenet-val", ["a.JPEG"] * 50_000)
    assert "1 of its 25 images have other names, such as 'mine.png'" in refusal("kodak", [*KODAK, "mine.png"])
    assert "'kodim01.png' is there 2 times" in refusal("kodak", [*KODAK[:-1], "b/kodim01.png"])
    assert "the number of its files is right, but not all of their names are" in refusal("kodak", [*KODAK[:-1], "kodim25.png"])
    assert "not all of their names" in refusal("coco-val", [f"{number:012d}.jpg" for number in range(5000)])
    assert "'zugr-108.png' is missing" in refusal("clic", [*CLIC[:1], *CLIC[2:], "other.png"])
    assert refusal("kodak", KODAK[:3]).endswith(
        "give the folder of these 24 files alone, or the folder without the name, which checks nothing"
    )


def test_places_are_told_from_names():
    assert public_place("kodak:a/b") == ("kodak", "a/b")
    assert public_place("kodak:C:/pictures") == ("kodak", "C:/pictures")
    assert public_place("kodak") is None
    assert public_place("faces:kodak") is None
    assert public_place("a/kodak:b") is None


@pytest.fixture
def kodak(tmp_path):
    """Stand-ins under the right names, for the contents are not what is checked."""
    folder = tmp_path / "kodak"
    folder.mkdir()
    for number, name in enumerate(KODAK):
        Image.fromarray(np.full((8, 8, 3), number * 10, np.uint8)).save(folder / name)
    return folder


def test_only_a_checked_set_goes_by_its_name(kodak):
    assert open_source(f"kodak:{kodak}", size=64).name == "kodak"
    assert len(open_source(f"kodak:{kodak}", size=64)) == 24
    assert open_source(str(kodak), size=64).name == "kodak (unchecked)"
    renamed = kodak.rename(kodak.parent / "photographs")
    assert open_source(f"kodak:{renamed}", size=64).name == "kodak"
    assert open_source(str(renamed), size=64).name == "photographs"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("kodak:", "--data kodak: names no place; give the folder that holds the images, kodak:PLACE"),
        ("kodak", "--data kodak does not come with the package; give the place of its images: kodak:PLACE"),
        ("kodak:missing", "--data missing does not exist"),
        ("kodac:missing", "imagenet-val:PLACE"),
    ],
)
def test_mistakes_are_one_line(given, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TokbenchError, match=re.escape(message)):
        open_source(given, size=64)


def test_a_limit_chooses_from_the_whole_set(kodak, tmp_path, monkeypatch, tokbench_cli):
    run = ("run", "-t", "pixel/rgb", "--data", f"kodak:{kodak}", "--metrics", "psnr", "--size", 8, "--limit", 2, "--out", "out")
    status, _, err = tokbench_cli(*run)
    assert status == 0, err
    (record,) = Path("out").glob("*.json")
    assert record.name == "pixel-rgb_tokbench-256+data=kodak+size=8+samples=2.json"
    (kodak / KODAK[3]).unlink()
    status, _, err = tokbench_cli(*run)
    assert status == 2
    assert "it holds 23 images, the set 24" in err
    assert err.count("\n") == 1


def test_the_document_has_the_rows():
    rows = [f"| `{name}:PLACE` | {one.title} | {one.count:,} | {one.verified} |" for name, one in PUBLIC.items()]
    assert "\n".join(rows) in DOCUMENT.read_text()
