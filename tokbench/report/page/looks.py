"""Colours and shapes of tokenizers that tables of runs may lack: each its own, whatever it is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokbench.configs import flat, plain
from tokbench.records.record import TokenizerInfo
from tokbench.report.page.model import COLOURS, SHAPES, Entry, Group


@dataclass(frozen=True)
class Look:
    """How a tokenizer is drawn: the numbers of its colour and shape, as those of an entry."""

    colour: int
    shape: int
    codec: None = None


def looks_of(infos: Sequence[TokenizerInfo], groups: Sequence[Group]) -> list[tuple[Look, int | None]]:
    """Choose how tokenizers are drawn.

    Args:
        infos: What records say of them; those of one tokenizer are drawn alike.
        groups: Groups of the page, whose tokenizers keep their looks.

    Returns:
        For each its look, and its number on the page; None if the page's tables lack it. Others than those of the page have the colours that
        are free, and where there is none a look that none of the page has.
    """
    known = {entry.subject: entry for group in groups for entry in group.entries}
    free = _free([entry for entry in known.values() if entry.codec is None])
    found: list[tuple[Look, int | None]] = []
    others: list[TokenizerInfo] = []
    for info in infos:
        entry = next((entry for entry in known.values() if is_one(entry.record.tokenizer, info)), None)
        if entry is not None:
            found.append((Look(entry.colour, entry.shape), entry.subject))
            continue
        place = next((place for place, other in enumerate(others) if is_one(other, info)), len(others))
        others += [info] * (place == len(others))
        found.append((free[place % len(free)], None))
    return found


def _free(entries: Sequence[Entry]) -> list[Look]:
    """Looks that nobody has, those of colours that nobody has first; all where none is left."""
    colours, used = {entry.colour for entry in entries}, {(entry.colour, entry.shape) for entry in entries}
    every = [Look(place % COLOURS, (place + place // COLOURS) % SHAPES) for place in range(COLOURS * SHAPES)]
    left = [look for look in every if (look.colour, look.shape) not in used] or every
    return sorted(left, key=lambda look: look.colour in colours)


def is_one(one: TokenizerInfo, other: TokenizerInfo) -> bool:
    """Whether two records are of one tokenizer: by name, source and a digest that both know, and by all settings that both know."""
    if (one.name, one.source_sha256) != (other.name, other.source_sha256):
        return False
    first, second = flat(plain(one.config)), flat(plain(other.config))
    for digest, another in ((one.state_sha256, other.state_sha256), (one.weights_sha256, other.weights_sha256)):
        if digest is not None and another is not None:
            return digest == another and all(first[key] == second[key] for key in first.keys() & second.keys())
    return first == second
