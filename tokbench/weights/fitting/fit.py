"""From what a checkpoint holds to the tensors of one model: found by the model's own names and shapes, not by a list of wrappers.

    {"epoch", "optimizer", "state_dict": {"net.module.encoder.w", "net.module.decoder.w", "loss.v", ...}}
         every beginning of names is tried: after "state_dict.net.module." all names and shapes are the model's, so it is taken off

Where several sets of weights fit, names tell averages from raw weights. Averages are taken unless the user asks for raw ones. Sets that
are told apart by nothing are refused. What is left over must be known to be no part of a tokenizer, or dropped by the user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.weights.choice import DEFAULT, Choice
from tokbench.weights.fitting.choosing import check_drop_matches, choose, is_dropped, label_of, refuse_drop, values_of
from tokbench.weights.fitting.leaves import MARKERS, leaves_of, no_tensors
from tokbench.weights.fitting.likeliest import likeliest
from tokbench.weights.fitting.rest import entry_of, rest_of
from tokbench.weights.fitting.sets import listed_sets, named_sets, undotted_sets
from tokbench.weights.fitting.wanted import Leaf, Unwrapped, Values, Wanted, WeightSet
from tokbench.weights.torchfile.words import printable


def fit(content: object, wanted: Wanted, values: Values, *, origin: str, choice: Choice = DEFAULT) -> Unwrapped:
    """Find the tensors of a model in what a checkpoint holds.

    Args:
        content: A mapping, possibly of mappings; or a pickled module, as ``read_torch_file`` returns it.
        wanted: What the model needs.
        values: Reads the values of tensors by their names in the file, of those that are on the meta device.
        origin: What to call the file in errors.
        choice: What to leave out, and whether to take averages.

    Returns:
        The tensors by the model's names, and how they were found. If no set fits, the likeliest as it is, so that strict loading
        names what is missing; ``unknown`` names what is left over.

    Raises:
        TokbenchError: If there are no tensors, what the user chose is not there, or several sets fit and nothing tells them apart.
    """
    if not wanted.shapes:
        raise TokbenchError(f"{wanted.what} has no weights, so it takes none; leave --weights out")
    leaves = leaves_of(content, wanted, origin)
    tensors = [leaf for leaf in leaves if isinstance(leaf.value, Tensor)]
    if not tensors:
        raise no_tensors(content, leaves, origin)
    check_drop_matches(leaves, choice.drop, origin)
    sets = named_sets(tensors, wanted)
    sets += undotted_sets(tensors, sets, wanted, origin)
    sets += listed_sets(content, sets, wanted)
    if not sets:
        return likeliest(leaves, wanted, origin, choice)
    free = [found for found in sets if not any(is_dropped(found.leaves[name], name, choice.drop) for name in found.needed)]
    if not free:
        refuse_drop(sets[0], choice.drop, wanted, origin)
    chosen = choose(free, values, wanted, origin, choice)
    return _taken(chosen, sets, leaves, wanted, values, origin, choice)


def _taken(
    chosen: WeightSet, sets: Sequence[WeightSet], leaves: Sequence[Leaf], wanted: Wanted, values: Values, origin: str, choice: Choice
) -> Unwrapped:
    used = {name: leaf for name, leaf in chosen.leaves.items() if name in chosen.needed}
    _check_once(used, leaves, origin)
    read = values_of(used.values(), values)
    state = {name: read[leaf.full] for name, leaf in used.items()}
    tensors = state if chosen.renamed else wanted.rename(state)
    tensors = {name: value for name, value in tensors.items() if name in wanted.shapes}
    dropped, unknown = rest_of(chosen, used, sets, leaves, wanted, choice)
    by_name = {leaf.full: name for name, leaf in used.items()}
    prefixes = dict.fromkeys(_prefix_of(leaf, by_name[leaf.full]) for leaf in used.values())
    return Unwrapped(
        tensors=tensors,
        entry=entry_of(used.values()),
        prefixes=tuple(prefix for prefix in prefixes if prefix)[:4],
        dropped=tuple(dropped.items()),
        chosen=_words(chosen, sets),
        unknown=unknown,
        needed=tuple(used),
        names=tuple(leaf.full for leaf in used.values()),
    )


def _words(chosen: WeightSet, sets: Sequence[WeightSet]) -> str:
    others = [found for found in sets if found.averages != chosen.averages]
    if not others:
        return "averages" if chosen.averages else ""
    mine, theirs = ("averages", "raw weights") if chosen.averages else ("raw weights", "averages")
    return f"{mine} of {label_of(chosen)}, not the {theirs} of {label_of(others[0])}"


def _prefix_of(leaf: Leaf, name: str) -> str:
    """What a name has before it in its entry."""
    if leaf.name.endswith(name):
        return leaf.name.removesuffix(name)
    marker = next((marker for marker in MARKERS if f"{marker}." in leaf.name), "")
    return f"{marker}." if marker and not name.endswith(leaf.name) else ""


def _check_once(used: Mapping[str, Leaf], leaves: Sequence[Leaf], origin: str) -> None:
    taken = {leaf.clean: leaf for leaf in used.values()}
    for leaf in leaves:
        if leaf.clean in taken and leaf.full != taken[leaf.clean].full and isinstance(leaf.value, Tensor):
            raise TokbenchError(f"{origin} has {printable(leaf.clean)} twice, with and without a prefix")
