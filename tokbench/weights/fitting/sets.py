"""Sets of tensors in a checkpoint that are all of a model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.weights.fitting.leaves import items_of
from tokbench.weights.fitting.wanted import Leaf, State, Wanted, WeightSet
from tokbench.weights.torchfile.words import printable

LEFTOVERS = (
    *("loss.", "criterion.", "discriminator.", "disc.", "optimizer", "lr_scheduler", "lpips", "perceptual_loss.", "model_ema."),
    *("quantize.codebook_used", "quantize.ema_vocab_hit_SV", "quantize.embed_prob", "quantize.used"),
)
"""Beginnings of names that training leaves in a file and no tokenizer needs.

``quantize.used`` is taming's list of the codes a transformer was trained on, which renumbers the ids it is given. Quantizing and decoding
do not look at it; codes here are those of the whole codebook.
"""

AVERAGES = re.compile(r"EMA|Ema|(?<![a-z])ema(?![a-z])|averag|(?<![a-z])(?:swa|avg)(?![a-z])|shadow")
_RAW = re.compile(r"(?<![a-z])(?:non|raw|current|online)(?![a-z])")
_MAX_PREFIXES, _MAX_PARTS = 256, 16


def named_sets(tensors: Sequence[Leaf], wanted: Wanted) -> list[WeightSet]:
    """Every beginning of names after which all of the model is there."""
    names: dict[str, list[Leaf]] = {}
    for leaf in tensors:
        names.setdefault(leaf.clean, []).append(leaf)
    sets: list[WeightSet] = []
    seen: set[frozenset[int]] = set()  # a key map may take names with and without a prefix of its own
    for prefix in beginnings(names, len(wanted.shapes)):
        leaves = tensors_under(names, prefix, wanted)
        needed = _needed({name: leaf.value for name, leaf in leaves.items()}, wanted)
        if needed is not None and (taken := frozenset(id(leaves[name]) for name in needed)) not in seen:
            seen.add(taken)
            sets.append(WeightSet(prefix, leaves, _are_averages(prefix, names), needed))
    return sets


def beginnings(names: Iterable[str], count: int) -> list[str]:
    """Beginnings of names, ending in a dot, that enough names have; the empty one first."""
    counts: Counter[str] = Counter()
    for name in names:
        position, parts = name.find("."), 0
        counts[""] += 1
        while position >= 0 and parts < _MAX_PARTS:
            counts[name[: position + 1]] += 1
            position, parts = name.find(".", position + 1), parts + 1
    enough = [prefix for prefix, found in counts.items() if found * 4 >= count]  # a key map may make several tensors of one
    return sorted(enough, key=lambda prefix: (-counts[prefix], len(prefix), prefix))[:_MAX_PREFIXES]


def tensors_under(names: Mapping[str, list[Leaf]], prefix: str, wanted: Wanted) -> dict[str, Leaf]:
    """Tensors by their names behind a prefix, without what training leaves. A name that stands twice has its last tensor."""
    found = {}
    for name, leaves in names.items():
        if name.startswith(prefix):
            rest = name.removeprefix(prefix)
            if rest in wanted.shapes or not rest.startswith(LEFTOVERS):
                found[rest] = leaves[-1]
    return found


def _needed(state: State, wanted: Wanted) -> frozenset[str] | None:
    """Names of a state that the model needs; None if anything is missing or of another shape."""
    renamed = wanted.rename(dict(state))
    if not all(name in renamed and renamed[name].shape == shape for name, shape in wanted.shapes.items()):
        return None
    if len(renamed) != len(state):  # a key map that makes several of one, or leaves some out
        return frozenset(state)
    return frozenset(name for name, own in zip(state, renamed, strict=True) if own in wanted.shapes)


def _are_averages(prefix: str, names: Mapping[str, object]) -> bool:
    """Tell averages by the last part of the prefix that says which they are, or by what stands beside them."""
    parts = prefix.split(".")[:-1]
    above = prefix[: -len(parts[-1]) - 1] if parts else ""
    if f"{above}n_averaged" in names or f"{prefix}n_averaged" in names:  # of torch.optim.swa_utils
        return True
    if parts and parts[0] == "state_dict" and any(name.startswith("current_model_state.") for name in names):
        return True  # Lightning's WeightAveraging puts the averages where the weights were
    for part in reversed(parts):
        if _RAW.search(part):
            return False
        if AVERAGES.search(part):
            return True
    return False


def undotted_sets(tensors: Sequence[Leaf], sets: Sequence[WeightSet], wanted: Wanted, origin: str) -> list[WeightSet]:
    """Latent diffusion's averages, whose names have lost their dots; only where every parameter has one."""
    groups: dict[str, dict[str, Leaf]] = {}
    for leaf in tensors:
        head, dot, rest = leaf.clean.rpartition(".")
        if dot and AVERAGES.search(head.rpartition(".")[2]):
            groups.setdefault(head + dot, {})[rest.replace("_orig_mod", "")] = leaf
    found = []
    for group, averages in groups.items():
        above = group[: -len(group.split(".")[-2]) - 1]
        for raw in [one for one in sets if not one.averages and one.label.startswith(above) and not one.renamed]:
            between = raw.label.removeprefix(above)
            undotted = Counter((between + name).replace(".", "") for name in raw.leaves)
            changing = _parameters_of(raw, wanted)
            taken = dict(raw.leaves)
            missing = 0
            for name, leaf in raw.leaves.items():
                short = (between + name).replace(".", "")
                if name in raw.needed and short in averages and undotted[short] > 1:
                    raise TokbenchError(f"{origin} has an average, {printable(group + short)}, of two tensors; save the averages alone")
                average = averages.get(short)
                if average is not None and average.value.shape == leaf.value.shape:
                    taken[name] = average
                elif name in changing:
                    missing += 1
            if not missing and any(taken[name] is not raw.leaves[name] for name in raw.needed):
                found.append(WeightSet(group, taken, True, raw.needed))
        if not any(one.label == group for one in found):
            own_names = {name: averages[short] for name in wanted.shapes if (short := name.replace(".", "")) in averages}
            if own_names and all(name in own_names and own_names[name].value.shape == shape for name, shape in wanted.shapes.items()):
                found.append(WeightSet(group, own_names, True, frozenset(own_names), renamed=True))
    return found


def listed_sets(content: object, sets: Sequence[WeightSet], wanted: Wanted) -> list[WeightSet]:
    """Averages in a list without names, as of torch-ema and diffusers, in the order of the raw weights' parameters."""
    lists = [("shadow_params", content)] + [(f"{key}.shadow_params", part) for key, part in items_of(content)]
    found = []
    for label, part in lists:
        listed = part.get("shadow_params") if isinstance(part, Mapping) else None
        if not isinstance(listed, list | tuple) or not all(isinstance(value, Tensor) for value in listed):
            continue
        for raw in sets:
            names = _parameters_of(raw, wanted)
            shapes = [raw.leaves[name].value.shape for name in names]
            if not raw.averages and shapes == [value.shape for value in listed]:
                averages = {name: replace(raw.leaves[name], value=value) for name, value in zip(names, listed, strict=True)}
                found.append(WeightSet(label, dict(raw.leaves) | averages, True, raw.needed))
    return found


def _parameters_of(found: WeightSet, wanted: Wanted) -> list[str]:
    """Names of a set, in the order of the file, that stand for parameters and not for buffers."""
    own = list(wanted.rename({name: leaf.value for name, leaf in found.leaves.items()}))
    if len(own) != len(found.leaves):  # which is which cannot be told
        return [name for name in found.leaves if name in found.needed]
    return [name for name, mine in zip(found.leaves, own, strict=True) if mine in wanted.parameters]
