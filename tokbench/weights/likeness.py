"""What tensors look like: the networks whose names and shapes agree with theirs, for errors that help."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tokbench.shapes import shapes_only

logger = logging.getLogger(__name__)

MOST_NAMED = 3
"""Networks of equal likeness that a sentence names; it counts the others."""


@dataclass(frozen=True)
class Candidate:
    """A network that tensors may be of.

    Args:
        name: What to call it.
        build: Makes it; called where tensors take no memory. It has ``own_names``, as tokenizers have.
    """

    name: str
    build: Callable[[], Any]


def nearest(state: Mapping[str, Tensor], candidates: Iterable[Candidate]) -> list[tuple[str, float]]:
    """Find the networks whose tensors are most like these, by name and shape.

    Args:
        state: Tensors by the names of a file, or of a model; each candidate's own renaming is tried on them.
        candidates: What they may be of. One that cannot be built without memory is passed over.

    Returns:
        Name and the share of all names, of the state and the candidate, that agree in name and shape; best first, those above one half.
    """
    found = []
    for candidate in candidates:
        try:
            with shapes_only():
                model = candidate.build()
            own = {key: value.shape for key, value in model.state_dict().items()}
            shapes = {key: value.shape for key, value in model.own_names(dict(state)).items()}
        except Exception as error:  # other packages' models may fail in any way; this is but help with an error
            logger.debug("%s is not compared: %s", candidate.name, error)
            continue
        agreeing = sum(own.get(key) == shape for key, shape in shapes.items())
        found.append((candidate.name, agreeing / max(1, len(own.keys() | shapes.keys()))))
    return sorted(((name, share) for name, share in found if share > 0.5), key=lambda row: (-row[1], row[0]))


def looks_like(state: Mapping[str, Tensor], candidates: Iterable[Candidate], *, wholly: bool = False) -> str:
    """Say which networks tensors look like.

    Args:
        state: Tensors by the names of a model.
        candidates: What they may be of.
        wholly: Say so only where all names and shapes agree.

    Returns:
        A sentence; empty if there is no likeness.
    """
    near = nearest(state, candidates)
    if not near or (wholly and near[0][1] < 1):
        return ""
    share = near[0][1]
    best = [name for name, one in near if one == share]
    best = [*best[:MOST_NAMED], *[f"{len(best) - MOST_NAMED} more"] * (len(best) > MOST_NAMED)]
    return f"It looks like {' or '.join(best)}" + ("." if share == 1 else f", where {share:.0%} of names and shapes agree.")
