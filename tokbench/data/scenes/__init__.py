"""A drawn world with answers: scenes by rule from seeds, their words, edits of them, and what reads them back."""

from tokbench.data.scenes.asked import Asked, asked_in, asked_of
from tokbench.data.scenes.drawing import draw
from tokbench.data.scenes.edits import Edit, edit_of, untouched
from tokbench.data.scenes.random_scenes import scene_of
from tokbench.data.scenes.reader import Reading, read
from tokbench.data.scenes.scene import Ground, Scene, Thing
from tokbench.data.scenes.score import Score, score
from tokbench.data.scenes.words import captions

__all__ = [
    "Asked",
    "Edit",
    "Ground",
    "Reading",
    "Scene",
    "Score",
    "Thing",
    "asked_in",
    "asked_of",
    "captions",
    "draw",
    "edit_of",
    "read",
    "scene_of",
    "score",
    "untouched",
]
