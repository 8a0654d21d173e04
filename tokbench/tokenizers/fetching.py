"""What is to be fetched for many names at once, and about how much that is; no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tokbench.errors import unknown_name
from tokbench.tokenizers.listed import Listed
from tokbench.tokenizers.sets import expand, is_outside, is_place, is_set
from tokbench.tokenizers.zoo import families, names, resolve
from tokbench.weights.assets import ASSETS, asset_path, get_asset, is_asset
from tokbench.weights.obtain import lacks_beside, twin_path
from tokbench.weights.places import parse_place


@dataclass(frozen=True)
class Plan:
    """What a command fetches.

    Args:
        names: All that is asked for, each once, without those of sets that have nothing to fetch.
        coming: Those of them that are not here yet, or fetched again; of several in one file the first.
        bytes: What those take whose size is known, by the shapes of their tensors.
        unknown: How many have no known size.
        needless: How many of sets have nothing to fetch.
    """

    names: tuple[str, ...]
    coming: tuple[str, ...]
    bytes: int
    unknown: int
    needless: int


def check_name(name: str) -> None:
    """See that weights are known by a name.

    Raises:
        TokbenchError: If neither a tokenizer nor a network file is called so, or it is a place that cannot be.
    """
    if is_place(name):
        parse_place(name)
        return
    if is_asset(name):
        get_asset(name)
        return
    known = [*(asset.name for asset in ASSETS), *names(), *families()]
    if name not in known:
        raise unknown_name("weights", name, known, hint="See: tokbench weights list")


def plan(asked: Iterable[str], *, renew: bool = False) -> Plan:
    """Look through names before the first is fetched.

    Args:
        asked: Tokenizers, sets of them, network files and places.
        renew: Whether what is here is fetched again.

    Raises:
        TokbenchError: If a name is unknown, or a set is none.
    """
    asked = list(asked)
    explicit = {name for name in asked if not is_set(name)}
    found, needless = list[str](), 0
    for name in dict.fromkeys(expand(asked)):
        if name not in explicit and _has_nothing(name):
            needless += 1
        else:
            check_name(name)
            found.append(name)
    coming, size, unknown, files = list[str](), 0, 0, set[tuple[str, str]]()
    for name in found:
        row = _row(name)
        lacking = row is not None and lacks_beside(row.family, row.variant)
        if row is None:
            here = is_asset(name) and asset_path(name).is_file()
        else:
            file = (row.family.name, row.variant.file or "")
            here = row.local or row.variant.file is None or file in files or twin_path(row.family, row.variant) is not None
            files.add(file)
        again = renew and (row is None or row.weights == "here")
        if here and not again and not lacking:
            continue
        coming.append(name)
        known = None if row is None or (here and not again) else row.size  # what lies beside weights is small, and nobody says how much
        size, unknown = size + (0 if known is None else known.bytes), unknown + (known is None)
    return Plan(tuple(found), tuple(coming), size, unknown, needless)


def _row(name: str) -> Listed | None:
    """The row of a tokenizer; None for network files and places."""
    return None if is_place(name) or is_asset(name) else Listed(*resolve(name))


def _has_nothing(name: str) -> bool:
    """Whether a name of a set is none of the zoo and no place either, or that of a tokenizer that comes along or needs no weights."""
    if is_outside(name):
        return not is_place(name)
    return (name in names() or name in families()) and Listed(*resolve(name)).weights in ("embedded", "none needed")
