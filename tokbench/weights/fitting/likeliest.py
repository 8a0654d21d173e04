"""What a checkpoint may have been meant to be, where nothing in it fits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.weights.choice import Choice
from tokbench.weights.fitting.choosing import is_dropped
from tokbench.weights.fitting.rest import entry_of
from tokbench.weights.fitting.sets import beginnings, tensors_under
from tokbench.weights.fitting.wanted import Leaf, Unwrapped, Wanted
from tokbench.weights.torchfile.words import Inert, kind_of, printable


def likeliest(leaves: Sequence[Leaf], wanted: Wanted, origin: str, choice: Choice) -> Unwrapped:
    """The tensors that most names of the model are among; else the largest entry without what all its names begin with."""
    names: dict[str, list[Leaf]] = {}
    for leaf in leaves:
        names.setdefault(leaf.clean, []).append(leaf)
    tensors = {name: found for name, found in names.items() if isinstance(found[-1].value, Tensor)}
    best: tuple[tuple[int, int, int], str, dict[str, Leaf]] | None = None
    for prefix in beginnings(tensors, 1):
        under = tensors_under(tensors, prefix, wanted)
        renamed = wanted.rename({name: leaf.value for name, leaf in under.items()})
        same = sum(name in renamed and renamed[name].shape == shape for name, shape in wanted.shapes.items())
        score = (same, sum(name in renamed for name in wanted.shapes), -len(under))
        if best is None or score > best[0]:
            best = score, prefix, under
    assert best is not None  # there are tensors
    (_, found, _), prefix, under = best
    if not found:
        prefix = _common(tensors)
        under = tensors_under(tensors, prefix, wanted)
    _refuse_kinds(leaves, prefix, wanted, origin)
    under = {name: leaf for name, leaf in under.items() if not is_dropped(leaf, name, choice.drop)}
    state = {name: leaf.value for name, leaf in under.items()}
    return Unwrapped(state, entry_of(under.values()), fits=False, names=tuple(leaf.full for leaf in under.values()))


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
