"""Named sets of tokenizers, which stand where a name stands: ``@discrete-f16`` by what they are, ``@mine.txt`` from a file; no torch.

A set holds what works by its name alone: rows of the zoo whose weights ship, can be fetched, or are not needed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokbench.counting import counted
from tokbench.errors import TokbenchError, unknown_name
from tokbench.image_size import Size, sides
from tokbench.json_files import read_regular
from tokbench.tokenizers.listed import Listed, listed
from tokbench.tokenizers.zoo import families

SIGN = "@"
"""What names of sets begin with."""

LONGEST_FILE = 1 << 20
"""Bytes of a file of names."""

MOST_NAMED = 5
"""Tokenizers that an error names."""

MEANINGS = {
    "all": "every tokenizer that works by its name",
    "discrete": "tokens are codes",
    "continuous": "tokens are latents",
    "sequence": "tokens have no place in the image",
    "scales": "tokens are maps, coarse to fine",
    "local": "works without any download",
    "quoted": "others published figures of it",
}
"""Words that sets are named by, and what they say of a tokenizer; besides there are families, ``f16`` and ``256px``."""


def is_set(name: str) -> bool:
    """Whether a name is that of a set."""
    return name.startswith(SIGN)


def is_place(name: str) -> bool:
    """Whether a name is a place of the web."""
    return name.startswith("hf:") or name.lower().startswith(("http://", "https://"))


def is_outside(name: str) -> bool:
    """Whether a name is none of the zoo: that of a codec, of a class of one's own, or of what is saved here or on the web."""
    if name.startswith("anchor/") or ":" in name:
        return True
    return name.partition("/")[0] not in families() and Path(name).exists()


def words_of(row: Listed) -> frozenset[str]:
    """The words of sets that hold for a tokenizer."""
    layout = row.layout
    found = {"all", "discrete" if layout.discrete else "continuous", row.family.name, f"{row.variant.image_size}px"}
    if layout.downsampling is not None:
        found.add(f"f{layout.downsampling}")
    elif len(layout.grid) == 1:
        found.add("sequence")
    if layout.scales:
        found.add("scales")
    if row.local:
        found.add("local")
    if row.variant.published is not None:
        found.add("quoted")
    return frozenset(found)


def counts() -> Counter[str]:
    """The words of sets, each with the number of tokenizers that it holds for."""
    return Counter(word for row in _members() for word in words_of(row))


def members(name: str) -> list[str]:
    """Names of the tokenizers of a set, or of a file.

    Args:
        name: ``@`` and words that shall all hold, joined by ``-``; or ``@`` and a path of a text file that has a name a line.

    Raises:
        TokbenchError: If a word is unknown, no tokenizer is so, or the file cannot be read.
    """
    path = name.removeprefix(SIGN)
    if _unknown_words(name) and (path.endswith(".txt") or os.path.dirname(path) or os.path.isfile(path)):
        return _of_file(Path(path))
    return _by_words(name)


def expand(names: Iterable[str], *, needs_weights: bool = False) -> list[str]:
    """Put the tokenizers of sets in the place of their names; those that are named already are left out of them.

    Args:
        names: Names of tokenizers and sets.
        needs_weights: Whether all weights of a set must be here.

    Raises:
        TokbenchError: If a set is none, or weights are missing that must be here; says how to have them, or do without.
    """
    names = list(names)
    taken = {_whole(name) for name in names if not is_set(name)}
    found: list[str] = []
    for name in names:
        if not is_set(name):
            found.append(name)
            continue
        inside = members(name)
        if needs_weights:
            _check_weights(name, inside)
        for one in inside:
            if _whole(one) not in taken:
                taken.add(_whole(one))
                found.append(one)
    return found


def each_once(names: Iterable[str]) -> list[str]:
    """Leave out tokenizers that were named before, whether by their family alone, by their whole name, or by another form of a path.

    Args:
        names: Names of tokenizers and sets, in any order.

    Returns:
        The first name of each.
    """
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(os.path.normpath(_whole(name)), name)
    return list(found.values())


def check_sizes(names: Iterable[str], size: Size) -> None:
    """See that tokenizers of the zoo take images of a size, before the first of them is loaded.

    Args:
        names: Names as ``expand`` returns them; what is no name of the zoo is passed over.
        size: Side of square images in pixels, or height and width.

    Raises:
        TokbenchError: If one does not; it is named.
    """
    rows = {row.name: row for row in listed()}
    for name in map(_whole, names):
        if name in rows:
            try:
                rows[name].variant.config.layout(*sides(size))
            except TokbenchError as error:
                raise TokbenchError(f"{name}: {error}; take another --size, or a set without it") from error


def _members() -> list[Listed]:
    return [row for row in listed() if row.weights != "to be given"]


def _whole(name: str) -> str:
    """A name with its variant, where it is that of a family alone."""
    family = families().get(name)
    return name if family is None else f"{name}/{family.default}"


def _words(name: str) -> set[str]:
    return set(name.removeprefix(SIGN).split("-"))


def _unknown_words(name: str) -> list[str]:
    return sorted(_words(name) - counts().keys() - MEANINGS.keys())


def _by_words(name: str) -> list[str]:
    if unknown := _unknown_words(name):
        raise unknown_name(f"word in {name}:", unknown[0], {*counts(), *MEANINGS}, hint="See: tokbench list --sets")
    found = [row.name for row in _members() if _words(name) <= words_of(row)]
    if not found:
        raise TokbenchError(f"no tokenizer is all that {name} says; leave out a word, or see: tokbench list --sets")
    return found


def _of_file(path: Path) -> list[str]:
    try:
        text = read_regular(path, most=LONGEST_FILE).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or ("it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error)
        raise TokbenchError(f"{SIGN}{path} cannot be read ({reason}); write a text file with one tokenizer a line") from error
    found: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        name = line.partition("#")[0].strip()
        if name.startswith(SIGN) and name.endswith(".txt"):
            raise TokbenchError(f"{SIGN}{path}, line {number}: a file of tokenizers names no other file, got {name!r}; copy its lines")
        if is_set(name):
            found += _by_words(name)
        elif name:
            found.append(name)
    if not found:
        raise TokbenchError(f"{SIGN}{path} names no tokenizer; write one name a line")
    return found


def _check_weights(name: str, inside: Sequence[str]) -> None:
    away = {row.name for row in listed() if not row.local}
    missing = [one for one in dict.fromkeys(map(_whole, inside)) if one in away]
    if not missing:
        return
    few = ", ".join(missing[:MOST_NAMED]) + (", ..." if len(missing) > MOST_NAMED else "")
    some = len(missing) < len(inside) and not _unknown_words(name)
    raise TokbenchError(
        f"{len(missing)} of the {counted(len(inside), 'tokenizer')} of {name} have no weights here: {few}; "
        f"run: tokbench weights get {name}" + (f", or take those that have: {name}-local" if some else "")
    )
