"""The data set ``scenes``: as many pictures as are asked for, with captions and labels, at every size that is drawn."""

from __future__ import annotations

import hashlib
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tokbench.data.open import comes_with_the_package, open_source, open_training_source
from tokbench.data.scenes.drawing import SCENE_SIZES, draw
from tokbench.data.scenes.images import CLASSES, MEASURED, MOST, TRAINED, SceneImages, is_scenes
from tokbench.data.scenes.random_scenes import scene_of
from tokbench.data.scenes.words import captions
from tokbench.errors import TokbenchError


@pytest.mark.parametrize("size", SCENE_SIZES)
@pytest.mark.parametrize(
    ("spec", "name", "split", "count"),
    [
        ("scenes", "scenes/test", "test", MEASURED),
        ("scenes/test", "scenes/test", "test", MEASURED),
        ("scenes/train", "scenes/train", "train", MEASURED),
        ("scenes/held-out:7", "scenes/held-out:7", "held-out", 7),
        ("scenes:50", "scenes/test:50", "test", 50),
        (f"scenes:{MEASURED}", "scenes/test", "test", MEASURED),
    ],
)
def test_ways_to_write_them(spec: str, name: str, split: str, count: int, size: int) -> None:
    source = open_source(spec, size=size)
    assert isinstance(source, SceneImages)
    assert (source.name, source.split, len(source), source.ready_size) == (name, split, count, size)
    assert source.metrics == ("scene_accuracy",)
    assert len(set(source.ids)) == count
    assert comes_with_the_package(source.name)
    assert open_source(source.name, size=size).ids == source.ids
    assert source.scene(3) == scene_of(3, split)  # type: ignore[arg-type]
    assert (np.asarray(source.read(3)) == draw(source.scene(3), size)).all()


def test_every_picture_has_a_caption_and_the_label_of_its_first_thing() -> None:
    source = open_source("scenes:200", size=32)
    assert source.has_captions
    assert source.has_labels
    assert source.label_names == CLASSES
    assert len(set(CLASSES)) == 32
    wordings = set()
    for index in range(200):
        scene = source.scene(index)  # type: ignore[attr-defined]
        caption = source.caption(index)
        wordings.add(captions(scene).index(caption))  # type: ignore[arg-type]
        assert CLASSES[source.label(index)] == f"{scene.things[0].colour} {scene.things[0].shape}"  # type: ignore[index]
    assert wordings == set(range(6))


def test_digests_tell_pictures_sizes_and_splits_apart_and_survive_copying() -> None:
    sources = [SceneImages(split, size, 20) for split in ("train", "test", "held-out") for size in (32, 64)]  # type: ignore[arg-type]
    assert len({source.raw_digest(index) for source in sources for index in range(20)}) == 120
    copy = pickle.loads(pickle.dumps(sources[0]))
    image, digest = copy.open(7)
    assert (image.tobytes(), digest) == (sources[0].read(7).tobytes(), sources[0].raw_digest(7))
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(copy.raw_digest, range(20))) == [sources[0].raw_digest(index) for index in range(20)]


def test_a_longer_source_begins_with_a_shorter_one() -> None:
    short, long = SceneImages("test", 32, 10), SceneImages("test", 32, 1000)
    assert long.ids[:10] == short.ids
    assert [long.raw_digest(index) for index in range(10)] == [short.raw_digest(index) for index in range(10)]


def test_photos_behind_scenes_are_credited_and_in_the_digest() -> None:
    source = SceneImages("test", 32, 60)
    for index in range(60):
        ground = source.scene(index).ground
        assert bool(source.credit(index)) == (ground.kind == "photo")
        assert source.group(index) == source.ids[index]
    plain = next(index for index in range(60) if source.scene(index).ground.kind == "plain")
    expected = hashlib.sha256(f"scenes-1:32:test:{source.ids[plain]}\0".encode()).digest()
    assert source.raw_digest(plain) == expected


def test_training_takes_whole_pictures_of_the_train_split_alone() -> None:
    source = open_training_source("scenes")
    assert isinstance(source, SceneImages)
    assert (source.split, len(source), source.ready_size, source.read(0).size) == ("train", TRAINED, None, (256, 256))
    assert len(open_training_source("scenes/train:12")) == 12
    for split in ("test", "held-out"):
        with pytest.raises(TokbenchError, match=f"scenes/{split} is what tokenizers and models are measured on and never trained on"):
            open_training_source(f"scenes/{split}")


@pytest.mark.parametrize(
    ("spec", "size", "expected"),
    [
        ("scenes", 48, "scenes come in sizes 32, 64, 128, 256 px, got 48; choose one with --size"),
        ("scenes/tset", 64, r"unknown split of scenes 'tset'; did you mean test\?"),
        ("scenes/", 64, "unknown split of scenes ''"),
        ("scenes:0", 64, f"the number of scenes is from 1 to {MOST}, got 0"),
        ("scenes:-5", 64, "the number of scenes is from 1 to .*, got '-5'; write it as in scenes/test:5000"),
        ("scenes/train:many", 64, "got 'many'; write it as in scenes/train:5000"),
        ("scenes:", 64, "got ''; write it as in scenes/test:5000"),
        ("scenes:99999999", 64, f"from 1 to {MOST}, got 99999999"),
        ("scenes:9999999999999999", 64, "got '9999999999999999'"),
        ("scenes:٣", 64, "got '٣'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(spec: str, size: int, expected: str) -> None:
    with pytest.raises(TokbenchError, match=expected):
        open_source(spec, size=size)


@pytest.mark.parametrize("spec", ["scene", "./scenes", "scenesx", "my/scenes", "faces", ""])
def test_folders_of_like_names_are_not_scenes(spec: str) -> None:
    assert not is_scenes(spec)


def test_sources_do_not_share_scenes() -> None:
    train, test = SceneImages("train", 64, 300), SceneImages("test", 64, 300)
    assert not {train.scene(index).things for index in range(300)} & {test.scene(index).things for index in range(300)}
