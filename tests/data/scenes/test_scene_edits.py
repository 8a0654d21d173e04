"""Edits change what they say and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tokbench.data.photos import photo_rows
from tokbench.data.scenes.asked import SYNONYMS
from tokbench.data.scenes.drawing import draw
from tokbench.data.scenes.edits import EDIT_KINDS, Edit, edit_of, untouched
from tokbench.data.scenes.scene import PLACES, SHAPES, Scene, Thing
from tokbench.data.scenes.split import SPLITS, photo_split, split_of
from tokbench.errors import TokbenchError


def split_of_scene(scene: Scene) -> str:
    return split_of(thing.look for thing in scene.things)


def by_place(scene: Scene) -> list[Thing]:
    return sorted(scene.things, key=lambda thing: PLACES.index(thing.place))


@pytest.mark.parametrize("kind", EDIT_KINDS)
@pytest.mark.parametrize("split", SPLITS)
def test_each_kind_changes_what_it_says(kind: str, split: str) -> None:
    photos = {photo.id for photo in photo_rows(photo_split(split))} | {""}  # type: ignore[arg-type]
    for seed in range(8):
        edit = edit_of(seed, split, kinds=(kind,))  # type: ignore[arg-type]
        assert edit == edit_of(seed, split, kinds=(kind,))  # type: ignore[arg-type]
        assert edit.after != edit.before
        assert split_of_scene(edit.after) == split
        assert {split_of_scene(scene) for scene in edit.shown} <= {"train", split}
        assert {scene.ground.photo for scene in (*edit.shown, edit.after)} <= photos
        assert len(edit.shown) == (2 if kind == "like" else 1)
        assert len(set(edit.instructions)) == len(edit.instructions) >= 3
        assert (edit.before.ground == edit.after.ground) == (kind != "ground")
        check(edit)


def check(edit: Edit) -> None:
    before, after, words = edit.before.things, edit.after.things, edit.instructions[0]
    differing = [(one, other) for one, other in zip(before, after, strict=False) if one != other]
    named = [thing for thing in before if f"the {thing.colour} {thing.shape}" in words]
    if edit.kind == "ground":
        assert before == after
        assert all(colour in words for colour in edit.after.ground.colours)
    elif edit.kind == "add":
        assert after[:-1] == before
        assert all(word in words for word in (after[-1].colour, after[-1].shape, after[-1].size, after[-1].place))
    elif edit.kind == "remove":
        assert set(before) - set(after) == set(named)
        assert len(named) == 1
        assert set(after) < set(before)
    elif edit.kind == "swap":
        assert [(one.x, one.y) for one, _ in differing] == [(other.x, other.y) for _, other in reversed(differing)]
        assert set(named) == {one for one, _ in differing}
        assert [thing.look for thing in before] == [thing.look for thing in after]
    elif edit.kind == "like":
        assert [thing.colour for thing in by_place(edit.after)] == [thing.colour for thing in by_place(edit.shown[0])]
        assert [replace(thing, colour="red") for thing in before] == [replace(thing, colour="red") for thing in after]
    else:
        ((one, other),) = differing
        assert named == [one]
        if edit.kind == "recolour":
            assert other == replace(one, colour=other.colour)
            assert words.endswith(other.colour)
        elif edit.kind == "resize":
            assert other == replace(one, size=other.size)
            assert words.endswith(other.size)
            assert {"small": "smaller", "large": "larger"}[other.size] in edit.instructions[1]
        else:
            assert other == replace(one, x=other.x, y=other.y)
            assert words.endswith(f"the {other.place}")
            assert one.place != other.place


def test_all_kinds_occur_and_names_are_not_synonyms() -> None:
    edits = [edit_of(seed) for seed in range(200)]
    assert {edit.kind for edit in edits} == set(EDIT_KINDS)
    assert not {word for edit in edits for text in edit.instructions for word in text.split()} & (set(SYNONYMS) - {"plain"})


@pytest.mark.parametrize("kind", ["recolour", "resize", "move", "remove", "swap"])
def test_a_thing_is_named_by_less_only_where_nothing_else_answers_to_it(kind: str) -> None:
    """Whoever reads an instruction finds the one thing that the edit is about."""
    shorter = set()
    for seed in range(120):
        edit = edit_of(seed, kinds=(kind,))  # type: ignore[arg-type]
        things = edit.before.things
        about = [thing for thing in things if thing not in edit.after.things]
        for text in edit.instructions[3:]:
            words = text.split()
            shapes = [word for word in words if word in SHAPES]
            colours = [words[place - 1] for place, word in enumerate(words) if word == "one"]
            shorter |= {"shape"} if shapes else set()
            shorter |= {"colour"} if colours else set()
            assert not (shapes and colours)
            if not shapes and not colours:
                shorter.add("it")
                assert len(things) == 1
                assert "it" in words or words[0] == "now"
                continue
            found = [thing for thing in things if thing.shape in shapes or thing.colour in colours]
            assert set(found) == set(about)
            assert len(found) == len(about) == (2 if kind == "swap" else 1)
    assert shorter == ({"shape", "colour"} if kind in ("swap", "remove") else {"shape", "colour", "it"})


def test_what_an_edit_leaves_alone_is_the_same_before_and_after() -> None:
    for seed in range(30):
        edit = edit_of(seed)
        same = untouched(edit, 64)
        before, after = draw(edit.before, 64), draw(edit.after, 64)
        assert same.shape == (64, 64)
        assert (before == after)[same].all()
        assert not same[(before != after).any(axis=2)].any()
        assert same.any()
    assert isinstance(untouched(edit_of(0), 32), np.ndarray)


def test_bad_seeds_splits_and_kinds_are_refused() -> None:
    with pytest.raises(TokbenchError, match="the seed of an edit is a whole number from 0, got -3"):
        edit_of(-3)
    with pytest.raises(TokbenchError, match="unknown edit 'recolor'; did you mean recolour"):
        edit_of(0, kinds=("recolor",))  # type: ignore[arg-type]
    with pytest.raises(TokbenchError, match="no kind of edit is given; allowed: recolour, resize"):
        edit_of(0, kinds=())
    with pytest.raises(TokbenchError, match="unknown split of scenes 'val'"):
        edit_of(0, "val")  # type: ignore[arg-type]
    with pytest.raises(TokbenchError, match="scenes come in sizes 32, 64, 128, 256 px, got 65"):
        untouched(edit_of(0), 65)
