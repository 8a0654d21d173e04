"""What is said in turns is of the thing that was last spoken of, and one clear line says where that is none or several."""

from __future__ import annotations

import pytest

from tokbench.data.scenes.edits import EDIT_KINDS, edit_of
from tokbench.data.scenes.random_scenes import scene_of
from tokbench.data.scenes.turns import Spoken, Turn, spoken_in, take_turn
from tokbench.data.scenes.words import captions
from tokbench.errors import TokbenchError

RED, GREEN, BLUE = Spoken("red", "circle"), Spoken("green", "circle"), Spoken("blue", "square")


def talk(drawn: str, *instructions: str) -> list[str]:
    """What a model is told, turn by turn."""
    spoken, told = spoken_in(drawn), []
    for instruction in instructions:
        turn = take_turn(instruction, spoken)
        told.append(turn.instruction)
        spoken = turn.spoken
    return told


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (("a red circle left of a blue square", "make the circle green", "now larger"), ["make the circle green", "make the green circle larger"]),
        (("a red circle", "now larger", "and blue"), ["make the red circle larger", "make the red circle blue"]),
        (("a red circle", "make it blue", "to the top left", "remove it"), ["make the red circle blue", "put the blue circle at the top left", "remove the blue circle"]),
        (("a red circle", "paint the red one violet", "Now bigger!"), ["paint the red one violet", "make the purple one larger"]),
        (("a red circle", "add a large blue square at the top", "even smaller please"), ["add a large blue square at the top", "make the blue square smaller"]),
        (("a red circle", "now a small blue square at the top", "in the centre"), ["add a small blue square at the top", "put the blue square in the middle"]),
        (("a red disc", "now the circle larger", "it should be green"), ["make the circle larger", "make the circle green"]),
        (("a red circle", "on a plain sand ground", "now green"), ["put it on a plain sand ground", "make the red circle green"]),
        (("a red circle", "make the background slate", "larger"), ["put it on a plain slate ground", "make the red circle larger"]),
        (("a red circle", "from grey to moss ground"), ["put it on a ground that goes from grey to moss"]),
        (("a red circle and a blue square", "swap them", "make the circle green"), ["swap the red circle and the blue square", "make the circle green"]),
        (("a red circle", "swap it and the blue square"), ["swap the red circle and the blue square"]),
        (("a red circle", "move the circle left of the square", "now green"), ["move the circle left of the square", "make the circle green"]),
        (("a red circle", "like the first image", "now green"), ["like the first image", "make the circle green"]),
        (("anything", "Make the Red circle GREEN", "then smaller"), ["Make the Red circle GREEN", "make the green circle smaller"]),
    ],
)  # fmt: skip
def test_what_names_no_thing_is_of_the_one_before(said: tuple[str, ...], told: list[str]) -> None:
    assert talk(*said) == told


@pytest.mark.parametrize(
    ("instruction", "spoken", "message"),
    [
        ("now larger", (RED, BLUE), "'now larger' does not say which thing: the red circle or the blue square; name the thing, as in"),
        ("now larger", (), "'now larger' names no thing, and none is found in the picture; name the thing, as in 'make the circle green'"),
        ("now pink", (RED,), "'now pink' names no thing, and 'pink' cannot be understood; say a colour (red, orange, "),
        ("make the hexagon green", (RED,), "'make the hexagon green' names no thing, and 'hexagon' cannot be understood; say"),
        ("make it", (RED,), "'make it' names no thing, and it asks for no change; say a colour (red, "),
        ("", (RED,), "'' names no thing, and it asks for no change"),
        ("now larger and green", (RED,), "'now larger and green' asks for 2 changes; ask for one at a time"),
        ("swap them", (RED,), "'swap them' does not say which two things; name them, as in 'swap the red circle and the blue square'"),
        ("swap it and the cross", (RED, BLUE), "does not say which thing: the red circle or the blue square"),
        ("on another ground", (RED,), "'on another ground' does not say which ground; say one or two of grey, sand, slate, moss, as in"),
        ("make it a square", (RED,), "'make it a square' asks for another shape, and things keep theirs; remove the thing and add another"),
        ("now " * 600, (RED,), "an instruction has at most 2000 characters, got 2399; shorten it"),
    ],
)  # fmt: skip
def test_what_is_not_clear_is_said_in_one_line(instruction: str, spoken: tuple[Spoken, ...], message: str) -> None:
    with pytest.raises(TokbenchError) as caught:
        take_turn(instruction, spoken)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_without_words_before_it_is_of_the_only_thing_in_the_picture() -> None:
    assert take_turn("now larger", seen=lambda: [BLUE]) == Turn("make the blue square larger", (BLUE,))
    assert take_turn("now green", (RED,), seen=lambda: [BLUE]) == Turn("make the red circle green", (GREEN,))
    after = take_turn("remove the red circle", (RED,))
    assert after.spoken == ()
    assert take_turn("now larger", after.spoken, seen=lambda: [BLUE]).instruction == "make the blue square larger"
    with pytest.raises(TokbenchError, match="which thing: the red circle or the blue square"):
        take_turn("now larger", seen=lambda: [RED, BLUE])


@pytest.mark.parametrize("kind", EDIT_KINDS)
def test_instructions_of_this_world_stay_as_they_are(kind: str) -> None:
    """Wordings that models learn; those that name no thing are put into one that does."""
    for seed in range(60):
        edit = edit_of(seed, "train", kinds=(kind,))  # type: ignore[arg-type]
        things = [Spoken(thing.colour, thing.shape) for thing in edit.before.things]
        for text in edit.instructions:
            turn = take_turn(text, seen=lambda things=things: things)  # type: ignore[misc]
            assert turn.instruction in edit.instructions
            if kind != "ground" and not {"it", "now"} & set(text.split()):
                assert turn.instruction == text
            elif kind != "ground":
                assert things[0].name in turn.instruction
            assert take_turn(turn.instruction, turn.spoken).instruction == turn.instruction  # what is told is told again as it is


def test_captions_speak_of_their_things() -> None:
    for seed in range(60):
        scene = scene_of(seed, "train")
        for text in captions(scene):
            assert set(spoken_in(text)) == {Spoken(thing.colour, thing.shape) for thing in scene.things}, text
