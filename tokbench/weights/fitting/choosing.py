"""Which of several sets of weights is taken, and what the user leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from tokbench.errors import TokbenchError
from tokbench.weights.choice import Choice
from tokbench.weights.fitting.wanted import Leaf, State, Values, Wanted, WeightSet
from tokbench.weights.torchfile.words import printable


def choose(free: Sequence[WeightSet], values: Values, wanted: Wanted, origin: str, choice: Choice) -> WeightSet:
    """Choose among the sets that fit.

    Args:
        free: Those that lose nothing by what the user leaves out.
        values: Reads the values of tensors.
        wanted: What the model needs.
        origin: What to call the file in errors.
        choice: Whether to take averages.

    Raises:
        TokbenchError: If the chosen kind is not there, or several sets of it differ.
    """
    averages = [found for found in free if found.averages]
    raw = [found for found in free if not found.averages]
    if choice.averages is True and not averages:
        raise TokbenchError(f"{origin} holds no complete averages of {wanted.what}; leave out --averages yes (averages=True)")
    if choice.averages is False and not raw:
        where = label_of(averages[0])
        raise TokbenchError(f"{origin} holds only averages, in {where}, no raw weights; leave out --averages no (averages=False)")
    kept = averages if averages and choice.averages is not False else raw
    first = kept[0]
    for other in kept[1:]:
        if not _equal(first, other, values):
            listed = ", ".join(map(label_of, kept))
            kind = "averages" if first.averages else "weights"
            raise TokbenchError(
                f"{origin} holds several sets of {kind} that fit {wanted.what}: {listed}; leave all but one out, as with --drop {_spelt(other)}"
            )
    return first


def label_of(found: WeightSet) -> str:
    """Where a set lies, in words."""
    return printable(found.label.rstrip(".")) or "the file itself"


def _spelt(found: WeightSet) -> str:
    leaf = next(found.leaves[name] for name in found.needed)
    return printable(found.label or leaf.full)


def _equal(a: WeightSet, b: WeightSet, values: Values) -> bool:
    own, others = ({id(found.leaves[name]) for name in found.needed} for found in (a, b))
    if own == others:  # the same tensors under two beginnings, of which a key map knows both
        return True
    if a.needed != b.needed:
        return False
    for name in a.needed:
        one, two = (next(iter(values_of([found.leaves[name]], values).values())) for found in (a, b))
        if one.dtype != two.dtype or not torch.equal(one, two):
            return False
    return True


def values_of(leaves: Iterable[Leaf], values: Values) -> State:
    """Read the values of leaves, by their whole names."""
    return values({leaf.full: leaf.value for leaf in leaves})


def is_dropped(leaf: Leaf, name: str, drop: Sequence[str]) -> bool:
    """Whether the user leaves out a value, by any of its names."""
    return bool(drop) and any(text.startswith(tuple(drop)) for text in (leaf.full, leaf.name, leaf.clean, name))


def check_drop_matches(leaves: Sequence[Leaf], drop: Sequence[str], origin: str) -> None:
    """See that every beginning the user leaves out is one of a name.

    Raises:
        TokbenchError: Naming the one that is not, and how names begin.
    """
    for one in drop:
        texts = (text for leaf in leaves for text in (leaf.full, leaf.name, leaf.clean))
        if not one or not any(one in text and (text.startswith(one) or f".{one}" in text) for text in texts):
            heads = list(dict.fromkeys(leaf.name.partition(".")[0] for leaf in leaves))
            more = ", ..." if len(heads) > 8 else ""
            names = ", ".join(map(printable, heads[:8])) + more
            raise TokbenchError(f"--drop {one or repr(one)} is the beginning of no name in {origin}; names there begin with {names}")


def refuse_drop(found: WeightSet, drop: Sequence[str], wanted: Wanted, origin: str) -> None:
    """Refuse to leave out what the model needs.

    Raises:
        TokbenchError: Always; it names what would be missing.
    """
    for one in drop:
        names = [name for name in sorted(found.needed) if is_dropped(found.leaves[name], name, (one,))]
        if names:
            listed = ", ".join(map(printable, names[:3])) + (", ..." if len(names) > 3 else "")
            raise TokbenchError(f"--drop {one} would leave out {len(names)} tensors of {origin} that {wanted.what} needs: {listed}")
    raise TokbenchError(f"--drop leaves out what {wanted.what} needs of {origin}, each set of weights in part; drop less")
