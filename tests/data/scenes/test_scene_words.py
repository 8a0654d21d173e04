"""Captions say what is there, and sentences are heard as they are meant."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tokbench.data.scenes.asked import Asked, AskedGround, AskedThing, asked_in, asked_of
from tokbench.data.scenes.random_scenes import scene_of
from tokbench.data.scenes.scene import relation_of
from tokbench.data.scenes.split import SPLITS
from tokbench.data.scenes.words import captions
from tokbench.errors import TokbenchError


@pytest.mark.parametrize("split", SPLITS)
def test_every_wording_is_heard_as_what_is_there(split: str) -> None:
    related = 0
    for seed in range(300):
        scene = scene_of(seed, split)  # type: ignore[arg-type]
        whole, wordings = asked_of(scene), captions(scene)
        assert len(set(wordings)) == len(wordings) >= 4
        assert sum(asked_in(text).ground == whole.ground for text in wordings) * 2 >= len(wordings)
        for text in wordings:
            heard = asked_in(text)
            assert [replace(thing, place=None) for thing in heard.things] == [replace(thing, place=None) for thing in whole.things], text
            assert heard.ground in (None, whole.ground)
            assert all(relation_of(scene.things[one], scene.things[other]) == relation for one, relation, other in heard.relations)
            if heard.relations:
                related += 1
                assert {number for one, _, other in heard.relations for number in (one, other)} == set(range(len(scene.things)))
            else:
                assert [thing.place for thing in heard.things] == [thing.place for thing in whole.things], text
    assert related > 300


CIRCLE, SQUARE = AskedThing("circle", "red", None, "filled"), AskedThing("square", "blue", None, "filled")


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("a red circle left of a blue square", Asked((CIRCLE, SQUARE), ((0, "left of", 1),))),
        ("A RED disc to the right of the blue box!", Asked((CIRCLE, SQUARE), ((0, "right of", 1),))),
        ("the red circle is over a blue square on a gray background", Asked((CIRCLE, SQUARE), ((0, "above", 1),), AskedGround("plain", ("grey",)))),
        ("red circle at the left of a blue square", Asked((CIRCLE, SQUARE), ((0, "left of", 1),))),
        ("a red circle in the centre, a blue square at the top left", Asked((replace(CIRCLE, place="middle"), replace(SQUARE, place="top left")))),
        ("one big stripy violet cross", Asked((AskedThing("cross", "purple", "large", "striped"),))),
        ("a circle on a photo", Asked((AskedThing("circle", fill="filled"),), (), AskedGround("photo"))),
        ("red circle on a graded ground", Asked((CIRCLE,), (), AskedGround("graded"))),
        ("a red circle on a plain ground", Asked((CIRCLE,), (), AskedGround("plain"))),
        ("left of nothing, a red circle", Asked((CIRCLE,))),
        ("a red circle above the red circle", Asked((CIRCLE,))),
        ("a red circle below", Asked((CIRCLE,))),
        ("a red circle and a red circle", Asked((CIRCLE, CIRCLE))),
    ],
)  # fmt: skip
def test_other_sentences(text: str, asked: Asked) -> None:
    assert asked_in(text) == asked


def test_three_things_are_related_by_the_words_before() -> None:
    heard = asked_in("a red circle left of a blue square and above a green cross")
    assert heard.relations == ((0, "left of", 1), (0, "above", 2))
    heard = asked_in("a red circle left of a blue square and a green cross below the blue square")
    assert heard.relations == ((0, "left of", 1), (2, "below", 1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no thing is named in ''; name shapes"),
        ("a red house", r"no thing is named in 'a red house'; name shapes \(circle, square, triangle, cross\)"),
        ("circle square cross triangle", "4 things are named in .*; a scene has at most 3"),
        ("circle " * 1000, "a sentence about a scene has at most 2000 characters, got 7000; shorten it"),
    ],
)
def test_sentences_that_cannot_be_drawn(text: str, expected: str) -> None:
    with pytest.raises(TokbenchError, match=expected):
        asked_in(text)
