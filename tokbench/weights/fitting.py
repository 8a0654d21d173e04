"""From what a checkpoint holds to the tensors of one model: found by the model's own names and shapes, not by a list of wrappers.

    {"epoch", "optimizer", "state_dict": {"net.module.encoder.w", "net.module.decoder.w", "loss.v", ...}}
         every beginning of names is tried: after "state_dict.net.module." all names and shapes are the model's, so it is taken off

Where several sets of weights fit, names tell averages from raw weights; averages are taken unless the user asks for raw ones, and sets
that are told apart by nothing are refused. What is left over must be known to be no part of a tokenizer, or dropped by the user.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.weights.choice import DEFAULT, Choice
from tokbench.weights.entries import MAX_DEPTH, module_state
from tokbench.weights.torchfile.words import Inert, kind_of, printable

State = dict[str, Tensor]
Values = Callable[[Mapping[str, Tensor]], State]

MARKERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "module")
"""Parts of names that torch and Lightning put in for compiled, sharded, recomputed and parallel modules, at any depth."""

BUNDLES = ("first_stage_model", "vae")
"""Parts of names that an autoencoder has in a file of several networks."""

NEIGHBOURS = ("model.diffusion_model.", "cond_stage_model.", "conditioner.", "text_encoders.")
"""What tells a file of several networks."""

LEFTOVERS = (
    *("loss.", "criterion.", "discriminator.", "disc.", "optimizer", "lr_scheduler", "lpips", "perceptual_loss.", "model_ema."),
    *("quantize.codebook_used", "quantize.ema_vocab_hit_SV", "quantize.used"),
)
"""Beginnings of names that training leaves in a file and no tokenizer needs.

``quantize.used`` is taming's list of the codes a transformer was trained on, which renumbers the ids it is given. Quantizing and decoding
do not look at it; codes here are those of the whole codebook.
"""

NO_WEIGHTS = re.compile(r"(?:.*_)?(?:optim\w*|opt|(?:lr_?)?schedul\w*|(?:grad_?)?scaler|rng)(?:_.*|\d*)", re.IGNORECASE)
"""Names of entries that hold the state of training, whose tensors may have the names and shapes of weights."""

_AVERAGES = re.compile(r"EMA|Ema|(?<![a-z])ema(?![a-z])|averag|(?<![a-z])(?:swa|avg)(?![a-z])|shadow")
_RAW = re.compile(r"(?<![a-z])(?:non|raw|current|online)(?![a-z])")
_MAX_NAMES, _MAX_PREFIXES, _MAX_PARTS = 250_000, 256, 16


@dataclass(frozen=True, eq=False)
class Leaf:
    """A value in a checkpoint.

    Args:
        entry: The mappings it lies in, ``state_dict`` or ``model.ema``; empty for the outermost.
        name: There.
        value: A tensor, or anything else.
        clean: Its whole name, entry included, without ``MARKERS``.
    """

    entry: str
    name: str
    value: Any
    clean: str

    @property
    def full(self) -> str:
        """Entry and name."""
        return f"{self.entry}.{self.name}" if self.entry else self.name


@dataclass(frozen=True, eq=False)
class WeightSet:
    """Tensors in a checkpoint that are all of a model.

    Args:
        label: Where they are: entry and prefix without markers, or the name of a list of averages.
        leaves: By the names the file has for them, without prefix.
        averages: Whether they are averages.
        needed: Names among ``leaves`` that the model needs.
        renamed: Whether the names are the model's own already.
    """

    label: str
    leaves: Mapping[str, Leaf]
    averages: bool
    needed: frozenset[str]
    renamed: bool = False


@dataclass(frozen=True)
class Wanted:
    """What a model needs.

    Args:
        what: What to call it in errors.
        shapes: Of its tensors, by name.
        parameters: Those of the names that training changes by gradients, and so may have averages.
        rename: From names of a file to the model's.
        bundles: Parts of names under which a larger network holds this one; what lies outside is left out.
    """

    what: str
    shapes: Mapping[str, torch.Size]
    parameters: frozenset[str]
    rename: Callable[[State], State] = dict
    bundles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unwrapped:
    """Tensors of one model, and how they were found.

    Args:
        tensors: By name.
        entry: Where they were, ``state_dict`` or ``model.ema``; empty if they were all of the file.
        prefixes: Taken off the names, as the file has them.
        dropped: What was left out, and how many tensors or other values each.
        chosen: Which set was taken where there are averages.
        fits: Whether all of the model is there.
        unknown: Tensors and objects, by names as the file has them without prefix, that the model does not have and nobody dropped.
        needed: Names, as the file has them without prefix, of the tensors that were taken.
        names: The same with entry and prefix.
    """

    tensors: State
    entry: str = ""
    prefixes: tuple[str, ...] = ()
    dropped: tuple[tuple[str, int], ...] = ()
    chosen: str = ""
    fits: bool = True
    unknown: Mapping[str, Any] = field(default_factory=dict)
    needed: tuple[str, ...] = field(default=(), repr=False)
    names: tuple[str, ...] = field(default=(), repr=False)

    @property
    def how(self) -> str:
        """In words, for a record or a log."""
        parts = [f"entry {self.entry}" if self.entry else "the whole file", f"{len(self.tensors)} tensors"]
        parts += [self.chosen] if self.chosen else []
        parts += [f"without the prefix {' '.join(self.prefixes)}"] if self.prefixes else []
        parts += ["left out: " + ", ".join(f"{count} {name}" for name, count in self.dropped)] if self.dropped else []
        return "; ".join(parts)


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
    leaves = _leaves(content, wanted, origin)
    tensors = [leaf for leaf in leaves if isinstance(leaf.value, Tensor)]
    if not tensors:
        raise _no_tensors(content, leaves, origin)
    _check_drop_matches(leaves, choice.drop, origin)
    sets = _named_sets(tensors, wanted)
    sets += _undotted_sets(tensors, sets, wanted, origin)
    sets += _listed_sets(content, sets, wanted)
    if not sets:
        return _likeliest(leaves, wanted, origin, choice)
    free = [found for found in sets if not any(_is_dropped(found.leaves[name], name, choice.drop) for name in found.needed)]
    if not free:
        _refuse_drop(sets[0], choice.drop, wanted, origin)
    chosen = _chosen(free, sets, values, wanted, origin, choice)
    return _taken(chosen, sets, leaves, wanted, values, origin, choice)


def _leaves(content: object, wanted: Wanted, origin: str) -> list[Leaf]:
    own = {part for name in wanted.shapes for part in name.split(".")}
    parts = [re.escape(marker) for marker in MARKERS if marker not in own]
    markers = re.compile(rf"(?:(?<=\.)|^)(?:{'|'.join(parts)})\.")
    found: list[Leaf] = []
    modules: dict[int, Mapping[Any, Any]] = {}

    def mapping(part: object) -> Mapping[Any, Any]:
        if isinstance(part, Inert) and id(part) not in modules:
            modules[id(part)] = module_state(part) or {}
        return part if isinstance(part, Mapping) else modules.get(id(part), {})

    waiting: list[tuple[str, Mapping[Any, Any], int]] = [("", mapping(content), 0)]
    while waiting:
        entry, part, depth = waiting.pop()
        inner = []
        for key, value in part.items():
            if not isinstance(key, str):
                continue
            if depth < MAX_DEPTH and (nested := mapping(value)):
                if not NO_WEIGHTS.fullmatch(key):
                    inner.append((f"{entry}.{key}" if entry else key, nested, depth + 1))
                continue
            full = f"{entry}.{key}" if entry else key
            found.append(Leaf(entry, key, value, markers.sub("", full)))
        waiting += reversed(inner)
        if len(found) > _MAX_NAMES or len(waiting) > _MAX_NAMES:
            raise TokbenchError(f"{origin} holds more than {_MAX_NAMES} names, or contains itself; save the model's state_dict alone")
    return found


def _no_tensors(content: object, leaves: Sequence[Leaf], origin: str) -> TokbenchError:
    if isinstance(content, Mapping) and isinstance(content.get("shadow_params"), list | tuple):
        return TokbenchError(
            f"{origin} holds averages as a list without names (shadow_params); give the file that holds them with the model, "
            "or copy them into the model and save its state_dict"
        )
    odd = [leaf.full for leaf in leaves][:5] or [type(key).__name__ for key in (content if isinstance(content, Mapping) else ())][:5]
    names = ", ".join(map(printable, odd))
    return TokbenchError(f"{origin} holds no plain mapping of names to tensors" + (f"; no tensors: {names}" if names else ""))


# ---- sets that fit


def _named_sets(tensors: Sequence[Leaf], wanted: Wanted) -> list[WeightSet]:
    """Every beginning of names after which all of the model is there."""
    names: dict[str, list[Leaf]] = {}
    for leaf in tensors:
        names.setdefault(leaf.clean, []).append(leaf)
    sets: list[WeightSet] = []
    seen: set[frozenset[int]] = set()  # a key map may take names with and without a prefix of its own
    for prefix in _beginnings(names, len(wanted.shapes)):
        leaves = _under(names, prefix, wanted)
        needed = _needed({name: leaf.value for name, leaf in leaves.items()}, wanted)
        if needed is not None and (taken := frozenset(id(leaves[name]) for name in needed)) not in seen:
            seen.add(taken)
            sets.append(WeightSet(prefix, leaves, _are_averages(prefix, names), needed))
    return sets


def _beginnings(names: Iterable[str], count: int) -> list[str]:
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


def _under(names: Mapping[str, list[Leaf]], prefix: str, wanted: Wanted) -> dict[str, Leaf]:
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
        if _AVERAGES.search(part):
            return True
    return False


def _undotted_sets(tensors: Sequence[Leaf], sets: Sequence[WeightSet], wanted: Wanted, origin: str) -> list[WeightSet]:
    """Latent diffusion's averages, whose names have lost their dots; only where every parameter has one."""
    groups: dict[str, dict[str, Leaf]] = {}
    for leaf in tensors:
        head, dot, rest = leaf.clean.rpartition(".")
        if dot and _AVERAGES.search(head.rpartition(".")[2]):
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


def _listed_sets(content: object, sets: Sequence[WeightSet], wanted: Wanted) -> list[WeightSet]:
    """Averages in a list without names, as of torch-ema and diffusers, in the order of the raw weights' parameters."""
    lists = [("shadow_params", content)] + [(f"{key}.shadow_params", part) for key, part in _items(content)]
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


def _items(content: object) -> list[tuple[str, object]]:
    return [(key, value) for key, value in content.items() if isinstance(key, str)] if isinstance(content, Mapping) else []


# ---- which set


def _chosen(free: Sequence[WeightSet], sets: Sequence[WeightSet], values: Values, wanted: Wanted, origin: str, choice: Choice) -> WeightSet:
    averages = [found for found in free if found.averages]
    raw = [found for found in free if not found.averages]
    if choice.averages is True and not averages:
        raise TokbenchError(f"{origin} holds no complete averages of {wanted.what}; leave out --averages yes (averages=True)")
    if choice.averages is False and not raw:
        where = _named(averages[0])
        raise TokbenchError(f"{origin} holds only averages, in {where}, no raw weights; leave out --averages no (averages=False)")
    kept = averages if averages and choice.averages is not False else raw
    first = kept[0]
    for other in kept[1:]:
        if not _equal(first, other, values):
            listed = ", ".join(map(_named, kept))
            kind = "averages" if first.averages else "weights"
            raise TokbenchError(
                f"{origin} holds several sets of {kind} that fit {wanted.what}: {listed}; leave all but one out, as with --drop {_spelt(other)}"
            )
    return first


def _named(found: WeightSet) -> str:
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
        one, two = (next(iter(_read([found.leaves[name]], values).values())) for found in (a, b))
        if one.dtype != two.dtype or not torch.equal(one, two):
            return False
    return True


def _read(leaves: Iterable[Leaf], values: Values) -> State:
    return values({leaf.full: leaf.value for leaf in leaves})


# ---- what is taken and what is left


def _taken(
    chosen: WeightSet, sets: Sequence[WeightSet], leaves: Sequence[Leaf], wanted: Wanted, values: Values, origin: str, choice: Choice
) -> Unwrapped:
    used = {name: leaf for name, leaf in chosen.leaves.items() if name in chosen.needed}
    _check_once(used, leaves, origin)
    read = _read(used.values(), values)
    state = {name: read[leaf.full] for name, leaf in used.items()}
    tensors = state if chosen.renamed else wanted.rename(state)
    tensors = {name: value for name, value in tensors.items() if name in wanted.shapes}
    dropped, unknown = _rest(chosen, used, sets, leaves, wanted, choice)
    by_name = {leaf.full: name for name, leaf in used.items()}
    prefixes = dict.fromkeys(_prefix_of(leaf, by_name[leaf.full]) for leaf in used.values())
    return Unwrapped(
        tensors=tensors,
        entry=_entry(used.values()),
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
    return f"{mine} of {_named(chosen)}, not the {theirs} of {_named(others[0])}"


def _entry(used: Iterable[Leaf]) -> str:
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


def _rest(
    chosen: WeightSet, used: Mapping[str, Leaf], sets: Sequence[WeightSet], leaves: Sequence[Leaf], wanted: Wanted, choice: Choice
) -> tuple[Counter[str], dict[str, Any]]:
    """What was left out, by reason, and what should not be there. Other entries of the file are not looked at."""
    entries = {leaf.entry for leaf in used.values()}
    above = _entry(used.values())
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
        by_user = next((drop for drop in choice.drop if _is_dropped(leaf, rest, (drop,))), None)
        by_rule = next((name for name in LEFTOVERS if rest.startswith(name) or local.startswith(name)), None)
        if by_user is not None:
            dropped[by_user] += 1
        elif id(leaf) in others:
            if others[id(leaf)].averages == chosen.averages:  # the other kind is named anyhow
                dropped[f"the same of {_named(others[id(leaf)])}"] += 1
        elif by_rule is not None:
            dropped["quantize.used (codes are those of the whole codebook)" if by_rule == "quantize.used" else by_rule] += 1
        elif _AVERAGES.search(leaf.clean.rpartition(".")[0].rpartition(".")[2]) or rest == "n_averaged" or local == "n_averaged":
            dropped["of averages"] += 1
        elif _is_remark(leaf.value):
            dropped["that are no tensors"] += 1
        elif outside and not leaf.clean.startswith(prefix):
            dropped[f"outside {prefix.removeprefix(f'{above}.')}"] += 1
        else:
            unknown[rest if leaf.clean.startswith(prefix) else local] = leaf.value
    return dropped, unknown


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


# ---- what the user drops


def _is_dropped(leaf: Leaf, name: str, drop: Sequence[str]) -> bool:
    return bool(drop) and any(text.startswith(tuple(drop)) for text in (leaf.full, leaf.name, leaf.clean, name))


def _check_drop_matches(leaves: Sequence[Leaf], drop: Sequence[str], origin: str) -> None:
    for one in drop:
        texts = (text for leaf in leaves for text in (leaf.full, leaf.name, leaf.clean))
        if not one or not any(one in text and (text.startswith(one) or f".{one}" in text) for text in texts):
            heads = list(dict.fromkeys(leaf.name.partition(".")[0] for leaf in leaves))
            more = ", ..." if len(heads) > 8 else ""
            names = ", ".join(map(printable, heads[:8])) + more
            raise TokbenchError(f"--drop {one or repr(one)} is the beginning of no name in {origin}; names there begin with {names}")


def _refuse_drop(found: WeightSet, drop: Sequence[str], wanted: Wanted, origin: str) -> None:
    for one in drop:
        names = [name for name in sorted(found.needed) if _is_dropped(found.leaves[name], name, (one,))]
        if names:
            listed = ", ".join(map(printable, names[:3])) + (", ..." if len(names) > 3 else "")
            raise TokbenchError(f"--drop {one} would leave out {len(names)} tensors of {origin} that {wanted.what} needs: {listed}")
    raise TokbenchError(f"--drop leaves out what {wanted.what} needs of {origin}, each set of weights in part; drop less")


# ---- nothing fits


def _likeliest(leaves: Sequence[Leaf], wanted: Wanted, origin: str, choice: Choice) -> Unwrapped:
    """The tensors that most names of the model are among; else the largest entry without what all its names begin with."""
    names: dict[str, list[Leaf]] = {}
    for leaf in leaves:
        names.setdefault(leaf.clean, []).append(leaf)
    tensors = {name: found for name, found in names.items() if isinstance(found[-1].value, Tensor)}
    best: tuple[tuple[int, int, int], str, dict[str, Leaf]] | None = None
    for prefix in _beginnings(tensors, 1):
        under = _under(tensors, prefix, wanted)
        renamed = wanted.rename({name: leaf.value for name, leaf in under.items()})
        same = sum(name in renamed and renamed[name].shape == shape for name, shape in wanted.shapes.items())
        score = (same, sum(name in renamed for name in wanted.shapes), -len(under))
        if best is None or score > best[0]:
            best = score, prefix, under
    assert best is not None  # there are tensors
    (_, found, _), prefix, under = best
    if not found:
        prefix = _common(tensors)
        under = _under(tensors, prefix, wanted)
    _refuse_kinds(leaves, prefix, wanted, origin)
    under = {name: leaf for name, leaf in under.items() if not _is_dropped(leaf, name, choice.drop)}
    state = {name: leaf.value for name, leaf in under.items()}
    return Unwrapped(state, _entry(under.values()), fits=False, names=tuple(leaf.full for leaf in under.values()))


def _common(names: Mapping[str, list[Leaf]]) -> str:
    """The entry that most tensors lie in, and the parts that all their names begin with."""
    entry = Counter(found[-1].entry for found in names.values()).most_common(1)[0][0]
    inside = [name for name, found in names.items() if found[-1].entry == entry]
    heads = inside[0].split(".")[:-1]
    while heads and not all(name.startswith(".".join(heads) + ".") for name in inside):
        heads.pop()
    return ".".join([*heads, ""]) if heads else ""


def _refuse_kinds(leaves: Sequence[Leaf], prefix: str, wanted: Wanted, origin: str) -> None:
    """Name tensors of kinds that are not read, where they stand for the model's."""
    odd = [leaf for leaf in leaves if isinstance(leaf.value, Inert) and leaf.clean.startswith(prefix)]
    odd = [leaf for leaf in odd if re.search(r"torch|numpy|[Tt]ensor|bitsandbytes|jax", kind_of(leaf.value))]
    if odd:
        kinds = ", ".join(dict.fromkeys(printable(kind_of(leaf.value)) for leaf in odd[:20]))
        raise TokbenchError(
            f"{origin} holds {len(odd)} values that are no plain tensors ({kinds}), such as {printable(odd[0].full)}; save plain ones: "
            "full_tensor() of distributed, dequantize() of quantized, to_dense() of sparse, torch.from_numpy() of NumPy's"
        )
    if adapters := [leaf for leaf in leaves if re.search(r"\blora_|\.(?:hada|lokr)_", leaf.clean)]:
        raise TokbenchError(
            f"{origin} is an adapter (LoRA: {printable(adapters[0].name)}), which changes a model and is none; merge it into its model first"
        )
