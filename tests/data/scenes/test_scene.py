"""Scenes, their pixels and their split: by rule, the same everywhere."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tokbench.data.photos import photo_rows
from tokbench.data.scenes.drawing import ARM, SCENE_SIZES, coverage, draw, stripes
from tokbench.data.scenes.grounds import MIN_TEXTURE, paint_ground, texture
from tokbench.data.scenes.random_scenes import scene_of
from tokbench.data.scenes.scene import (
    BANDS,
    COLOURS,
    GAP,
    GROUND_KINDS,
    GROUNDS,
    JITTER,
    PLACES,
    SHAPES,
    STRIPE,
    Ground,
    Scene,
    Thing,
    place_of,
    relation_of,
    stops_of,
)
from tokbench.data.scenes.split import HELD_OUT, SPLITS, photo_split, split_of
from tokbench.errors import TokbenchError

GREY = Ground("plain", ("grey",))
CIRCLE = Thing("circle", "red", "small", "filled", 0.22, 0.22)


def many(split: str = "train", count: int = 400, **options: object) -> list[Scene]:
    return [scene_of(seed, split, **options) for seed in range(count)]  # type: ignore[arg-type]


def test_scenes_and_pixels_are_the_same_everywhere() -> None:
    """Photos hang on the WebP decoder, see test_photos, and are left out."""
    total = hashlib.sha256()
    for split in SPLITS:
        for scene in many(split, 40, grounds=("plain", "graded")):
            total.update(repr([thing.look for thing in scene.things]).encode() + draw(scene, 32).tobytes() + draw(scene, 64).tobytes())
    assert total.hexdigest()[:16] == "e3e0140e212e96e6"


def test_all_that_there_is_occurs() -> None:
    scenes = many(count=1500)
    things = [thing for scene in scenes for thing in scene.things]
    assert {len(scene.things) for scene in scenes} == {1, 2, 3}
    assert {thing.look for thing in things} == {
        (size, fill, colour, shape)
        for size, fill, colour, shape in product(("small", "large"), ("filled", "striped"), COLOURS, SHAPES)
        if (colour, shape) not in HELD_OUT
    }
    assert {thing.place for thing in things} == set(PLACES)
    assert {scene.ground.kind for scene in scenes} == set(GROUND_KINDS)
    assert {scene.ground.colours for scene in scenes if scene.ground.kind == "plain"} == {(name,) for name in GROUNDS}
    assert len({scene.ground.photo for scene in scenes}) > 70


@pytest.mark.parametrize("split", SPLITS)
def test_things_are_inside_apart_and_near_their_places(split: str) -> None:
    for scene in many(split):
        for thing in scene.things:
            assert thing.extent / 2 <= min(thing.x, thing.y) <= max(thing.x, thing.y) <= 1 - thing.extent / 2
            assert all(abs(at - stop) <= JITTER for at, stop in zip((thing.x, thing.y), stops_of(thing.place), strict=True))
        for a, b in combinations(scene.things, 2):
            assert max(abs(a.x - b.x), abs(a.y - b.y)) - (a.extent + b.extent) / 2 >= GAP


def test_splits_share_no_pair_held_out_no_set_of_things_and_no_photo() -> None:
    seen = {split: many(split, 1000) for split in SPLITS}
    pairs = {split: {(thing.colour, thing.shape) for scene in scenes for thing in scene.things} for split, scenes in seen.items()}
    assert not pairs["train"] & HELD_OUT
    assert not pairs["test"] & HELD_OUT
    assert all(any((thing.colour, thing.shape) in HELD_OUT for thing in scene.things) for scene in seen["held-out"])
    assert pairs["held-out"] == set(product(COLOURS, SHAPES))
    sets = {split: {tuple(sorted(thing.look for thing in scene.things)) for scene in scenes} for split, scenes in seen.items()}
    assert not sets["train"] & sets["test"]
    assert all(split_of(things) == split for split, found in sets.items() for things in found)
    photos = {split: {scene.ground.photo for scene in scenes} - {""} for split, scenes in seen.items()}
    for split, found in photos.items():
        assert found <= {photo.id for photo in photo_rows(photo_split(split))}  # type: ignore[arg-type]
    assert not photos["train"] & (photos["test"] | photos["held-out"])


def test_each_colour_and_each_shape_is_held_out_at_most_once() -> None:
    assert len(HELD_OUT) * 8 == len(COLOURS) * len(SHAPES)
    assert len({colour for colour, _ in HELD_OUT}) == len({shape for _, shape in HELD_OUT}) == len(HELD_OUT)


def test_what_is_asked_for_is_drawn() -> None:
    assert all(len(scene.things) == 2 and scene.ground.kind == "plain" for scene in many(count=50, things=2, grounds=("plain",)))
    assert scene_of(7, things=3).things != scene_of(8, things=3).things
    assert scene_of(7).things != scene_of(7, "test").things


@pytest.mark.parametrize("size", SCENE_SIZES)
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_what_a_drawing_library_fills(shape: str, size: int) -> None:
    """Held against polygons and ellipses of Pillow, drawn 16 times larger and averaged."""
    thing = Thing(shape, "white", "large", "filled", 0.47, 0.53)  # type: ignore[arg-type]
    large = 16 * size
    picture = Image.new("L", (large, large))
    x, y, half = thing.x * large, thing.y * large, thing.extent / 2 * large
    pen, box = ImageDraw.Draw(picture), (x - half, y - half, x + half, y + half)
    if shape == "circle":
        pen.ellipse(box, fill=255)
    elif shape == "square":
        pen.rectangle(box, fill=255)
    elif shape == "triangle":
        pen.polygon([(x, y - half), (x + half, y + half), (x - half, y + half)], fill=255)
    else:
        pen.rectangle((x - half, y - ARM * half, x + half, y + ARM * half), fill=255)
        pen.rectangle((x - ARM * half, y - half, x + ARM * half, y + half), fill=255)
    wanted = np.asarray(picture.resize((size, size), Image.Resampling.BOX), dtype=float) / 255
    at = np.arange(size, dtype=np.float32) + np.float32(0.5)
    drawn = coverage(thing.shape, (at - thing.x * size)[None], (at - thing.y * size)[:, None], thing.extent / 2 * size)
    assert np.abs(drawn - wanted).max() < 0.3  # at corners and tips
    assert np.abs(drawn - wanted).mean() < 0.004


def test_stripes_fill_every_second_band() -> None:
    y = (np.arange(6000, dtype=np.float32) + np.float32(0.5)) / 100 - 30
    for bands, half in ((3, 30.0), (5, 30.0)):
        inside = stripes(y, half, bands) > 0.5
        expected = np.floor((y + half) / (2 * half / bands)) % 2 == 1
        assert (inside == expected).mean() > 0.99
    assert stripes(np.float32([0.0]), 1.5, 3) == pytest.approx([1.0])


@pytest.mark.parametrize("size", SCENE_SIZES)
def test_colours_are_where_the_scene_says(size: int) -> None:
    for scene in many("test", 60):
        pixels = draw(scene, size)
        assert pixels.shape == (size, size, 3)
        assert pixels.dtype == np.uint8
        clean = paint_ground(scene.ground, size)
        outside = np.ones((size, size), dtype=bool)
        for thing in scene.things:
            top, left = (int(at * size) for at in (thing.y - thing.extent / 2, thing.x - thing.extent / 2))
            side = int(thing.extent * size) + 3
            outside[max(0, top - 1) : top + side, max(0, left - 1) : left + side] = False
            odd = thing.fill == "striped" and BANDS[thing.size] == 3
            middle = pixels[int(thing.y * size), int(thing.x * size)].tolist()
            assert middle == list(STRIPE if odd else COLOURS[thing.colour])
        assert (pixels == clean)[outside].all()


def test_grounds_are_muted_and_photos_are_not_flat() -> None:
    for scene in many(count=200):
        pixels = paint_ground(scene.ground, 64).astype(float)
        for colour in (*COLOURS.values(), STRIPE):
            assert np.linalg.norm(pixels - colour, axis=2).min() > 75
        if scene.ground.kind == "photo":
            assert texture(scene.ground.photo, scene.ground.window, scene.things) >= MIN_TEXTURE


def test_a_graded_ground_goes_from_one_colour_to_the_other() -> None:
    for direction, axis in (("left to right", 1), ("top to bottom", 0)):
        pixels = paint_ground(Ground("graded", ("sand", "slate"), direction), 256)  # type: ignore[arg-type]
        ends = np.take(pixels, [0, 255], axis=axis).swapaxes(0, 0 if axis == 0 else 1).astype(int)
        assert np.abs(ends[0] - GROUNDS["sand"]).max() <= 1
        assert np.abs(ends[1] - GROUNDS["slate"]).max() <= 1


def test_painting_does_not_touch_what_is_kept() -> None:
    ground = next(scene.ground for scene in many(grounds=("photo",)))
    before = paint_ground(ground, 32)
    before.copy()[:] = 0
    draw(Scene((CIRCLE,), ground), 32)[:] = 0
    assert (paint_ground(ground, 32) == before).all()


def test_places_and_relations() -> None:
    assert [place_of(*stops_of(place)) for place in PLACES] == list(PLACES)
    assert place_of(0.3, 0.7) == "bottom left"
    right = replace(CIRCLE, colour="blue", x=0.78, y=0.25)
    below = replace(CIRCLE, colour="blue", x=0.25, y=0.78)
    assert relation_of(CIRCLE, right) == "left of"
    assert relation_of(right, CIRCLE) == "right of"
    assert relation_of(CIRCLE, below) == "above"
    assert relation_of(below, CIRCLE) == "below"
    assert relation_of(right, below) is None  # as far across as down
    assert relation_of(right, below, margin=0.1) is None
    assert relation_of(CIRCLE, replace(right, y=0.7), margin=0.07) == "left of"
    assert relation_of(CIRCLE, replace(right, y=0.7), margin=0.09) is None


def test_impossible_scenes_are_refused() -> None:
    with pytest.raises(ValueError, match="a scene has 1 to 3 things, got 0"):
        Scene((), GREY)
    with pytest.raises(ValueError, match="touch each other or the border"):
        Scene((CIRCLE, replace(CIRCLE, colour="blue", x=0.4)), GREY)
    with pytest.raises(ValueError, match="touch each other or the border"):
        Scene((replace(CIRCLE, x=0.05),), GREY)
    with pytest.raises(ValueError, match=r"differ in colour, got \['red', 'red'\]"):
        Scene((CIRCLE, replace(CIRCLE, x=0.78)), GREY)
    with pytest.raises(TokbenchError, match=r"unknown colour 'rde'; did you mean red or green\?"):
        replace(CIRCLE, colour="rde")
    with pytest.raises(ValueError, match="from 0 to 1 on both axes"):
        replace(CIRCLE, x=float("nan"))
    with pytest.raises(ValueError, match="a graded ground has 2 different colours"):
        Ground("graded", ("sand", "sand"), "left to right")
    with pytest.raises(ValueError, match="has a direction and a photo ground a photo"):
        Ground("plain", ("sand",), "left to right")
    with pytest.raises(TokbenchError, match="there is no embedded photo nowhere"):
        draw(Scene((CIRCLE,), Ground("photo", photo="nowhere")), 32)
    with pytest.raises(TokbenchError, match="scenes come in sizes 32, 64, 128, 256 px, got 48; choose one with --size"):
        draw(Scene((CIRCLE,), GREY), 48)


def test_bad_seeds_splits_counts_and_grounds_are_refused() -> None:
    with pytest.raises(TokbenchError, match="whole number from 0, got -1"):
        scene_of(-1)
    with pytest.raises(TokbenchError, match=r"unknown split of scenes 'tset'; did you mean test\?"):
        scene_of(0, "tset")  # type: ignore[arg-type]
    with pytest.raises(TokbenchError, match="1 to 3 things, got 4"):
        scene_of(0, things=4)
    with pytest.raises(TokbenchError, match="no kind of ground is given"):
        scene_of(0, grounds=())
    with pytest.raises(TokbenchError, match="unknown ground 'lawn'"):
        scene_of(0, grounds=("lawn",))  # type: ignore[arg-type]
