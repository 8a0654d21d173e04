"""What is left of a checkpoint beside the tensors that were taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tokbench.weights.choice import Choice
from tokbench.weights.fitting.choosing import is_dropped, label_of
from tokbench.weights.fitting.sets import AVERAGES, LEFTOVERS
from tokbench.weights.fitting.wanted import Leaf, Wanted, WeightSet

BUNDLES = ("first_stage_model", "vae")
"""Parts of names that an autoencoder has in a file of several networks."""

NEIGHBOURS = ("model.diffusion_model.", "cond_stage_model.", "conditioner.", "text_encoders.")
"""What tells a file of several networks."""


def rest_of(
    chosen: WeightSet, used: Mapping[str, Leaf], sets: Sequence[WeightSet], leaves: Sequence[Leaf], wanted: Wanted, choice: Choice
) -> tuple[Counter[str], dict[str, Any]]:
    """What was left out, by reason, and what should not be there. Other entries of the file are not looked at."""
    entries = {leaf.entry for leaf in used.values()}
    above = entry_of(used.values())
    several = len(entries) > 1
    mine = {id(leaf) for leaf in used.values()}
    others = {id(leaf): found for found in sets for name, leaf in found.leaves.items() if name in found.needed and id(leaf) not in mine}
    prefix = "" if chosen.renamed else next(iter(used.values())).clean.removesuffix(next(iter(used)))
    outside = _is_bundle(prefix, leaves, wanted)
    dropped: Counter[str] = Counter()
    unknown: dict[str, Any] = {}
    for leaf in leaves:
        inside = leaf.entry in entries or (several and f"{leaf.entry}.".startswith(f"{above}." if above else ""))
        if id(leaf) in mine or not inside:
            continue
        rest = leaf.clean.removeprefix(prefix)
        local = leaf.clean.removeprefix(f"{leaf.entry}." if leaf.entry else "")
        by_user = next((drop for drop in choice.drop if is_dropped(leaf, rest, (drop,))), None)
        by_rule = next((name for name in LEFTOVERS if rest.startswith(name) or local.startswith(name)), None)
        if by_user is not None:
            dropped[by_user] += 1
        elif id(leaf) in others:
            if others[id(leaf)].averages == chosen.averages:  # the other kind is named anyhow
                dropped[f"the same of {label_of(others[id(leaf)])}"] += 1
        elif by_rule is not None:
            dropped["quantize.used (codes are those of the whole codebook)" if by_rule == "quantize.used" else by_rule] += 1
        elif AVERAGES.search(leaf.clean.rpartition(".")[0].rpartition(".")[2]) or rest == "n_averaged" or local == "n_averaged":
            dropped["of averages"] += 1
        elif _is_remark(leaf.value):
            dropped["that are no tensors"] += 1
        elif outside and not leaf.clean.startswith(prefix):
            dropped[f"outside {prefix.removeprefix(f'{above}.')}"] += 1
        else:
            unknown[rest if leaf.clean.startswith(prefix) else local] = leaf.value
    return dropped, unknown


def entry_of(used: Iterable[Leaf]) -> str:
    """The mapping that all tensors lie in."""
    entries = {leaf.entry for leaf in used}
    if len(entries) == 1:
        return entries.pop()
    common: list[str] = []
    for parts in zip(*(entry.split(".") for entry in sorted(entries)), strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return ".".join(common)


def _is_remark(value: object) -> bool:
    """Whether a value beside weights is but a number or a short text, such as the epoch."""
    return (
        value is None
        or type(value) in (bool, float)
        or (type(value) is int and abs(value) < 2**63)
        or (type(value) is str and len(value) < 1000)
    )


def _is_bundle(prefix: str, leaves: Sequence[Leaf], wanted: Wanted) -> bool:
    """Whether the prefix is that of one network among several, so that whatever has another is of the others."""
    ending = prefix.rstrip(".")
    if any(ending == part or ending.endswith(f".{part}") for part in wanted.bundles):
        return True
    if ending.rpartition(".")[2] not in BUNDLES:
        return False
    return any(leaf.clean.removeprefix(f"{leaf.entry}.").startswith(NEIGHBOURS) for leaf in leaves)
