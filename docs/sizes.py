"""Writes how large the tokenizers of the zoo are, from networks built without memory: ``make sizes``."""

from __future__ import annotations

from pathlib import Path

import torch

from tokbench.plugins import import_class
from tokbench.tokenizers import zoo
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.sizes import FILE, Size, written

PLACE = Path(zoo.__file__).with_name(FILE)


def measured(tokenizer: Tokenizer) -> Size:
    """Size of a tokenizer by the shapes of its tensors."""
    tensors = tokenizer.state_dict().values()
    return Size(sum(value.numel() for value in tokenizer.parameters()), sum(value.numel() * value.element_size() for value in tensors))


def without_memory(name: str) -> Tokenizer:
    """A tokenizer on the meta device."""
    family, variant = zoo.resolve(name)
    with torch.device("meta"):
        tokenizer: Tokenizer = import_class(family.model)(variant.config)
    return tokenizer


def main() -> None:
    """Write the size of every tokenizer of this package."""
    PLACE.write_text(written({name: measured(without_memory(name)) for name in zoo.names()}), encoding="utf-8")


if __name__ == "__main__":
    main()
