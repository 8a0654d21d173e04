"""Captions by templates: the same for an image at any time, of classes, folders and groups of photos, and one line where there are none."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tokbench.data.open import open_source, open_training_source
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed import TokenDataset
from tokbench.feed.label_rules import Annotations
from tokbench.feed.origin import source_of
from tokbench.lm.material import gather
from tokbench.lm.prompts import times_before
from tokbench.lm.recipes import get_recipe
from tokbench.lm.templates import PHOTO_TEMPLATES, Captioned, captioned, words_in
from tokbench.tokenizers.base import Tokenizer


@pytest.fixture
def sorted_images(tmp_path: Path) -> ImageSource:
    for number in range(12):
        folder = tmp_path / "pets" / ("tabby_cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (20 * number, 0, 0)).save(folder / f"{number}.png")
    return open_source(str(tmp_path / "pets"), size=16)


def test_every_image_has_one_of_the_wordings(sorted_images: ImageSource) -> None:
    wordings = ("a photo of a {class}", "{class}!")
    one, again = (Captioned(sorted_images, wordings, "folder") for _ in range(2))
    captions = [one.caption(index) for index in range(len(one))]
    assert captions == [again.caption(index) for index in range(len(again))]
    expected = {"tabby_cat": {"a photo of a tabby cat", "tabby cat!"}, "dog": {"a photo of a dog", "dog!"}}
    for index, caption in enumerate(captions):
        assert caption in expected[one.ids[index].split("/")[0]]
    assert set(captions) == {caption for some in expected.values() for caption in some}
    assert one.has_captions
    assert one.read(0).getpixel((0, 0)) == sorted_images.read(0).getpixel((0, 0))
    assert one.raw_digest(3) == sorted_images.raw_digest(3)


class Numbered(ImageSource):
    """Labels without names, and a caption that templates take the place of; the last image has no class."""

    name, ids = "numbered", ("a", "b", "c")

    def read(self, index: int) -> Image.Image:
        return Image.new("RGB", (8, 8))

    def raw_digest(self, index: int) -> bytes:
        return bytes(32)

    def label(self, index: int) -> int | None:
        return None if index == 2 else index + 5

    def caption(self, index: int) -> str | None:
        return "its own"


def test_classes_without_names_are_called_by_number() -> None:
    made = Captioned(Numbered(), ["a {class}"])
    assert [made.caption(index) for index in range(3)] == ["a class 5", "a class 6", None]
    assert [words_in(made, "source")(index) for index in range(3)] == ["a class 5", "a class 6", ""]
    assert words_in(Numbered(), "source")(2) == "its own"
    assert captioned("numbered", source := Numbered(), (), "source") is source


def test_photos_are_captioned_by_their_group_and_have_no_labels() -> None:
    photos = captioned("photos", open_training_source("photos"), (), "source")
    found = Counter(photos.caption(index) for index in range(len(photos)))
    assert len(photos) == sum(found.values()) == 113
    assert {template.replace("{class}", "fishes") for template in PHOTO_TEMPLATES} <= set(found)
    assert found["a photo of explore world animals"] > 0
    crops = open_source("photos/test", size=64)
    assert captioned("photos/test", crops, ["a {class}"], "source").caption(0) == f"a {crops.subject(0)}"
    for plain in (crops, open_training_source("photos")):  # exports of photos stay what they were
        assert not plain.has_captions
        assert not Annotations(plain, "source").has_labels
    assert captioned("photos", crops, (), "none") is crops


@pytest.mark.parametrize("template", ["a photo", "", "a {class} in {place}", "{class", "{{class}}", "a photo of {Class}"])
def test_templates_that_are_none(sorted_images: ImageSource, template: str) -> None:
    with pytest.raises(TokbenchError, match=re.escape("--captions has {class} where the name of a class goes, and no other braces")):
        Captioned(sorted_images, [template], "folder")


def test_images_without_classes_have_no_templates(sorted_images: ImageSource) -> None:
    with pytest.raises(TokbenchError, match=r"pets has no classes whose names could stand in captions; leave --captions out, or sort"):
        Captioned(sorted_images, ["a {class}"])
    with pytest.raises(TokbenchError, match="is no valid Unicode"):
        Captioned(sorted_images, ["a {class} \ud800"], "folder")


def test_photos_are_encoded_with_captions_and_found_again(patch_tokenizer: Tokenizer, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"tokenizer": patch_tokenizer, "edits": None, "labels": "source", "size": 16, "wait": lambda: None}
    data = gather("photos", get_recipe("dpo"), tmp_path, **settings).data
    assert {data[row]["caption"] for row in range(20)} & {template.replace("{class}", "tools") for template in PHOTO_TEMPLATES}
    assert source_of(TokenDataset(tmp_path / "tokens").job).ids == open_training_source("photos").ids
    for place in ("scenes", str(tmp_path / "tokens")):
        with pytest.raises(TokbenchError, match=r"leave --captions out|leave out --size, --labels and --captions"):
            gather(place, get_recipe("dpo"), tmp_path / "other", captions=["a {class}"], **settings)


def test_prompts_that_come_again_are_counted() -> None:
    assert times_before(["a", "b", "a", "a", "b"]) == [0, 0, 1, 2, 1]
