"""What is drawn is read, also blurred, noisy or smaller; scores say how much of it is right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from tokbench.data.scenes.asked import Asked, AskedGround, AskedThing, asked_in
from tokbench.data.scenes.drawing import SCENE_SIZES, draw
from tokbench.data.scenes.random_scenes import scene_of
from tokbench.data.scenes.reader import ReadGround, Reading, read
from tokbench.data.scenes.scene import Ground, Scene, Thing
from tokbench.data.scenes.score import score
from tokbench.data.scenes.split import SPLITS
from tokbench.data.scenes.words import captions
from tokbench.errors import TokbenchError

RED = Thing("circle", "red", "small", "filled", 0.24, 0.24)
BLUE = Thing("square", "blue", "large", "striped", 0.76, 0.74)
SCENE = Scene((RED, BLUE), Ground("graded", ("sand", "slate"), "left to right"))


@pytest.mark.parametrize("size", SCENE_SIZES)
def test_every_original_is_read_wholly_right(size: int) -> None:
    for seed in range(60):
        scene = scene_of(seed, SPLITS[seed % 3])
        reading = read(draw(scene, size))
        assert score(scene, reading).all_right, (seed, scene, reading)
        for text in captions(scene)[:2]:
            assert score(asked_in(text), reading).all_right, (seed, text, reading)
        for thing in scene.things:
            found = next(other for other in reading.things if other.colour == thing.colour)
            assert np.hypot(thing.x - found.x, thing.y - found.y) < 0.02


def share_right(change: object, *, size: int = 64, **options: object) -> float:
    scenes = [scene_of(seed, "test", **options) for seed in range(40)]  # type: ignore[arg-type]
    return float(np.mean([score(scene, read(change(draw(scene, size)))).all_right for scene in scenes]))  # type: ignore[operator]


def blurred(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(1.0)))


def noisy(pixels: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(int(pixels.sum())).normal(0, 8, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def pale(pixels: np.ndarray) -> np.ndarray:
    grey = pixels.mean(axis=2, keepdims=True)
    return (grey + 0.6 * (pixels - grey)).astype(np.uint8)


def test_blur_noise_and_pale_colours_leave_most_of_it() -> None:
    assert share_right(blurred) >= 0.95
    assert share_right(pale, grounds=("plain",)) >= 0.95
    assert share_right(noisy) >= 0.95
    assert share_right(lambda pixels: np.asarray(Image.fromarray(pixels).resize((48, 48), Image.Resampling.BOX))) >= 0.95
    assert share_right(lambda pixels: np.zeros_like(pixels)) == 0


@pytest.mark.parametrize("level", [0, 128, 255])
def test_nothing_is_found_where_nothing_is(level: int) -> None:
    reading = read(np.full((64, 64, 3), level, dtype=np.uint8))
    assert reading.things == ()
    assert reading.ground.kind == "plain"


def test_noise_alone_is_read_without_an_error() -> None:
    for side in (16, 33, 64, 100):
        read(np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8))


def test_two_things_of_one_colour_are_two() -> None:
    pixels = draw(Scene((RED,), Ground("plain", ("grey",))), 64)
    pixels[32:] = pixels[:32]
    reading = read(pixels)
    assert [(thing.colour, thing.shape) for thing in reading.things] == [("red", "circle")] * 2


def test_a_reading_says_where_and_what() -> None:
    reading = read(draw(SCENE, 128))
    assert {thing.look for thing in reading.things} == {RED.look, BLUE.look}
    assert {thing.place for thing in reading.things} == {"top left", "bottom right"}
    assert reading.ground == ReadGround("graded", ("sand", "slate"), "left to right")


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((64, 64), dtype=np.uint8),
        np.zeros((64, 32, 3), dtype=np.uint8),
        np.zeros((3, 64, 64), dtype=np.uint8),
        np.zeros((64, 64, 4), dtype=np.uint8),
        np.zeros((8, 8, 3), dtype=np.uint8),
        np.zeros((1025, 1025, 3), dtype=np.uint8),
        np.zeros((64, 64, 3), dtype=np.float32),
        np.zeros((), dtype=np.uint8),
    ],
)
def test_other_arrays_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(TokbenchError, match=r"scenes are read from square pictures of bytes, uint8 \[side, side, 3\] of 16 to 1024 px"):
        read(pixels)


GRADED = ReadGround("graded", ("sand", "slate"))


def reading_of(*things: Thing, ground: ReadGround = GRADED) -> Reading:
    return Reading(things, ground)


def test_the_share_is_right_parts_over_all_parts() -> None:
    whole = score(SCENE, reading_of(BLUE, RED))
    assert whole.asked == {"shape": 2, "colour": 2, "size": 2, "fill": 2, "place": 2, "ground": 1, "number": 1}
    assert whole.share == 1
    assert whole.all_right
    wrong = score(SCENE, reading_of(replace(BLUE, shape="cross", size="small"), RED))
    assert wrong.share == pytest.approx(10 / 12)
    assert not wrong.all_right
    assert wrong.right == {"shape": 1, "colour": 2, "size": 1, "fill": 2, "place": 2, "ground": 1, "number": 1}
    missing = score(SCENE, reading_of(RED))
    assert missing.share == pytest.approx(6 / 12)
    more = score(SCENE, reading_of(RED, BLUE, replace(RED, colour="green", y=0.76)))
    assert more.share == pytest.approx(11 / 12)
    assert (whole.extra, more.extra, missing.extra) == (0, 1, 0)
    assert whole.reward == whole.share == 1
    assert missing.reward == missing.share
    assert more.reward == pytest.approx(more.share * 12 / 17)  # one thing too many has five parts
    assert score(SCENE, reading_of()).share == pytest.approx(1 / 12)
    assert score(SCENE, reading_of(RED, BLUE, ground=ReadGround("graded", ("slate", "sand")))).right["ground"] == 0


def test_only_what_is_asked_for_counts() -> None:
    asked = asked_in("a red circle left of a blue square")
    assert score(asked, reading_of(RED, replace(BLUE, y=0.3, fill="filled"))).all_right
    other = score(asked, reading_of(RED, replace(BLUE, x=0.25, fill="filled")))
    assert other.right["relation"] == 0
    assert other.share == pytest.approx(7 / 8)
    assert score(Asked((AskedThing(),)), reading_of(RED)).asked == {"number": 1}
    assert score(Asked((AskedThing(),), ground=AskedGround("photo")), reading_of(RED, ground=ReadGround("photo"))).all_right
    assert score(Asked((AskedThing(),), ground=AskedGround("graded")), reading_of(RED)).all_right


def test_things_are_matched_so_that_most_is_right() -> None:
    asked = Asked((AskedThing("circle", "red"), AskedThing("circle", "red", place="bottom right")))
    here, there = RED, replace(RED, x=0.76, y=0.76)
    assert score(asked, reading_of(there, here)).all_right
    assert score(asked, reading_of(here, there)).all_right
