"""Images that an export was made of: those of its name, or the scenes of a stage, drawn again by what its rows say of them."""

from __future__ import annotations

from itertools import islice

from tokbench.data.scenes.edits import EDIT_KINDS
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed.dataset import TokenDataset
from tokbench.feed.origin import identity_of, source_of
from tokbench.lm.recipes import RECIPES
from tokbench.lm.row_ids import captions_of, digests_of, ids_of
from tokbench.lm.scene_source import StageScenes, numbers_of, share_of_bad

COMPARED = 200
"""Captions of edits that are compared: scenes of other kinds of edit have others."""


def originals_of(data: TokenDataset) -> ImageSource:
    """Open the images of a whole export.

    Args:
        data: The export, or its memory map.

    Raises:
        TokbenchError: If they are not at hand: neither under their name, nor drawn by the rule of the scenes here.
    """
    try:
        return source_of(data.job)
    except TokbenchError:
        scenes = _drawn_again(data)
        if scenes is None:
            raise
        return scenes


def _drawn_again(data: TokenDataset) -> StageScenes | None:
    """The scenes that a stage encoded; None if the rows are no such scenes, or were drawn by another rule or of other kinds of edit."""
    job, size = data.job, data.job.preparation.size
    numbers = numbers_of(job.data.name, ids_of(data)) if job.views == 1 and isinstance(size, int) else None
    share = None if numbers is None else share_of_bad(zip(ids_of(data), digests_of(data), strict=True))
    if numbers is None or share is None or not isinstance(size, int):
        return None
    first, scenes, edits = numbers
    for kinds in dict.fromkeys([EDIT_KINDS, *(recipe.edit_kinds for recipe in RECIPES)]):
        source = StageScenes(scenes, size=size, edits=edits, low_quality=share, first=first, kinds=kinds)
        if identity_of(source, job) == job.data and _has_words(source, data):
            return source
    return None


def _has_words(source: StageScenes, data: TokenDataset) -> bool:
    """Whether images of edits have the captions of the export."""
    places = {name: index for index, name in enumerate(source.ids) if name.startswith("edit-")}
    told = ((name, caption) for name, caption in zip(ids_of(data), captions_of(data), strict=False) if name in places)
    return all(source.caption(places[name]) == caption for name, caption in islice(told, COMPARED))
