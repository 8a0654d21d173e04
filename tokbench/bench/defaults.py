"""Under which protocol images are measured unless one is named: what comes ready at 64 px, all else at the tokenizer's own size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokbench.conduct import name_of
from tokbench.data.open import FACES_SPEC, comes_with_the_package
from tokbench.records.protocol import CLEAN, DEFAULT, PRESETS, Protocol, get_protocol
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.zoo import names, resolve

CLEAN_SIZES = {PRESETS[name].size: name for name in (CLEAN, "tokbench-512")}
"""The clean presets by their sizes."""


def comes_ready(place: str) -> bool:
    """Whether images of a place come cut and scaled."""
    return comes_with_the_package(place) or place.startswith(f"{FACES_SPEC}:")


def image_size_of(subject: object) -> int | None:
    """Side of the images a tokenizer of the zoo was made for, in pixels; None of others."""
    name = name_of(subject) if isinstance(subject, Tokenizer) else ""
    return resolve(name)[1].image_size if name in names() else None


def default_protocol(place: str, image_size: int | None, changes: Mapping[str, Any] | None = None) -> Protocol:
    """Choose a protocol for images and a tokenizer.

    Args:
        place: Where the images are, as a user names it.
        image_size: Side of the images that the tokenizer was made for, see ``image_size_of``; None is not known.
        changes: Settings of the protocol that the user gave; the size goes before the tokenizer's own.

    Returns:
        ``photos-64`` for what comes ready with the package. For all else ``tokbench-256`` or ``tokbench-512``, at the size given, else
        that of the tokenizer, else 256 px.

    Raises:
        TokbenchError: If a change is refused.
    """
    changes = {key: value for key, value in (changes or {}).items() if value is not None}
    if comes_ready(place):
        return get_protocol(DEFAULT, changes)
    size = changes.get("size", image_size or PRESETS[CLEAN].size)
    return get_protocol(CLEAN_SIZES.get(size, CLEAN), changes | {"size": size})
