"""What weights say of their own training: networks and data, from the header of their file; no torch.

Nothing is taken on trust that the file does not say. A row of the zoo speaks for its own published file alone. For the files of others
the answer is ``unknown``, which is not the same as nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokbench.configs import plain

UNKNOWN = "unknown"
"""Stands among the networks and data of a training where not all of them are known."""

SAMPLE, DIGITS = 1024, 16
"""Images at most whose digests a header keeps, and hex digits of each."""


@dataclass(frozen=True)
class TrainingSet:
    """Images that weights were trained on.

    Args:
        name: Name of the data set.
        count: Images it had.
        digest: SHA-256 over ids and source digests of those sampled, as in a record where all are.
        sample: First ``DIGITS`` hex digits of the source digests of up to ``SAMPLE`` images, those whose ids have the smallest SHA-256:
            what overlaps is found whatever either set is called.
    """

    name: str
    count: int
    digest: str
    sample: tuple[str, ...] = ()


@dataclass(frozen=True)
class Training:
    """What is known of a training.

    Args:
        used: Networks such as ``lpips-vgg`` and data such as ``data:photos/train``; with ``UNKNOWN`` there may be others.
        sets: The data as far as it was digested.
    """

    used: tuple[str, ...] = (UNKNOWN,)
    sets: tuple[TrainingSet, ...] = ()

    def __add__(self, other: Training) -> Training:
        """Both trainings, one after the other."""
        return Training(tuple(dict.fromkeys((*self.used, *other.used))), tuple(dict.fromkeys((*self.sets, *other.sets))))

    def header(self) -> dict[str, Any]:
        """Plain values, to be kept in the header of a file of weights."""
        return {"trained_with": list(self.used), "trained_on": plain(self.sets)}

    def includes(self, name: str, digests: Iterable[bytes], *, by_name: bool) -> bool | None:
        """Whether images are among those trained on.

        Args:
            name: Name of their data set.
            digests: SHA-256 of what each was made from.
            by_name: Whether equal names of digested sets settle it too, as those of the embedded photos do, which are cut for measuring.

        Returns:
            Yes, no, or None if that is not known.
        """
        digested = set() if by_name else {item.name for item in self.sets}
        if f"data:{name}" in self.used and name not in digested:
            return True
        seen = {part for item in self.sets for part in item.sample}
        if seen and any(digest.hex()[:DIGITS] in seen for digest in digests):
            return True
        return None if UNKNOWN in self.used else False


def training_of(path: Path) -> Training:
    """Read what a file of weights says of its training.

    Args:
        path: Any file or folder; only safetensors have such a header.

    Returns:
        What it says; ``unknown`` where it says nothing. Files of older versions name the losses of their recipe, and no data.
    """
    about = read_header(path)
    if isinstance(about.get("trained_with"), list):
        used = tuple(str(item) for item in about["trained_with"])
        try:
            sets = tuple(TrainingSet(**{**item, "sample": tuple(item["sample"])}) for item in about.get("trained_on", ()))
        except (TypeError, KeyError):
            sets = ()
        return Training(used, sets)
    recipe = about.get("recipe")
    losses = recipe.get("losses") if isinstance(recipe, Mapping) else None
    if isinstance(losses, Mapping) and losses.get("perceptual_weight") and isinstance(losses.get("perceptual_network"), str):
        return Training((losses["perceptual_network"], UNKNOWN))
    return Training()


def read_header(path: Path) -> dict[str, Any]:
    """The values that ``save_weights`` put into a file's header; empty if it is another file."""
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > min(path.stat().st_size, 1 << 27):
                return {}
            values = json.loads(file.read(size)).get("__metadata__", {})
        about = json.loads(values.get("tokbench", "{}"))
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return {}  # not of this package; whoever loads it says what it is
    return about if isinstance(about, dict) else {}
