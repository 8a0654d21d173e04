"""Which reconstruction is of which original, where other code made them: by their names, without endings and a folder that all lie in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tokbench.counting import counted
from tokbench.data.folder import IMAGE_EXTENSIONS
from tokbench.errors import TokbenchError
from tokbench.escapes import visible

SHOWN = 3
"""Names that an error gives."""


def paired(originals: Sequence[str], reconstructions: Sequence[str], *, of: tuple[str, str]) -> dict[str, int]:
    """Find the reconstruction of every original.

    ``val/a.JPEG`` goes with ``a.png``, if all originals lie in ``val``. Where all names are whole numbers, as those of the images of an
    .npz are, ``0007`` goes with ``7``.

    Args:
        originals: Their ids.
        reconstructions: Theirs.
        of: What to call the two sets in errors.

    Returns:
        The place of its reconstruction for the id of every original.

    Raises:
        TokbenchError: If a name is there twice in one set, or in one set alone.
    """
    sides = [short_names(originals), short_names(reconstructions)]
    if set(sides[0]) != set(sides[1]) and all(name.isascii() and name.isdecimal() for side in sides for name in side):
        sides = [[str(int(name)) for name in side] for side in sides]
    before, after = (_places(names, ids, who) for names, ids, who in zip(sides, (originals, reconstructions), of, strict=True))
    for here, there, lacks, has in ((before, after, of[1], of[0]), (after, before, of[0], of[1])):
        if missing := [name for name in here if name not in there]:
            raise TokbenchError(
                f"{lacks} lacks {len(missing)} of the {counted(len(here), 'image')} of {has}: {_some(missing)}; give pairs of one name, or --unpaired for sets"
            )
    return {originals[place]: after[name] for name, place in before.items()}


def short_names(ids: Sequence[str]) -> list[str]:
    """Ids without the ending of an image, and without the folders that all of them lie in."""
    parts = [name.split("/") for name in ids]
    common = 0
    while all(len(path) > common + 1 for path in parts) and len({path[common] for path in parts}) == 1:
        common += 1
    return [_without_ending("/".join(path[common:])) for path in parts]


def _without_ending(name: str) -> str:
    stem, dot, ending = name.rpartition(".")
    return stem if dot and stem and ending.lower() in IMAGE_EXTENSIONS else name


def _places(names: Sequence[str], ids: Sequence[str], who: str) -> Mapping[str, int]:
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        if name in places:
            twins = f"{visible(ids[places[name]])} and {visible(ids[place])}"
            raise TokbenchError(f"{who} holds two images of the name {visible(name)}, {twins}; keep one of them")
        places[name] = place
    return places


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(visible, names[:SHOWN])) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
