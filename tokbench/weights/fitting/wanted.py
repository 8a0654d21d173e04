"""What is looked for in a checkpoint, and what was found there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

State = dict[str, Tensor]
Values = Callable[[Mapping[str, Tensor]], State]


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
        shapes: Shapes of its tensors, by name.
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
        names: Their names with entry and prefix.
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
