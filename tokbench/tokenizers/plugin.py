"""Tokenizers that live outside this package, named as ``package.module:Class``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tokbench.configs import with_overrides
from tokbench.errors import TokbenchError
from tokbench.plugins import import_class

if TYPE_CHECKING:
    from tokbench.tokenizers.base import Tokenizer


def load_plugin(reference: str, weights: str | Path | None, overrides: dict[str, object]) -> Tokenizer:
    """Build a tokenizer from ``package.module:Class``.

    The class takes its configuration, a frozen dataclass it names as ``Config``, or nothing if it has none.

    Args:
        reference: ``package.module:Class``.
        weights: A file with its state, or None.
        overrides: Fields of ``Config`` to change.

    Raises:
        TokbenchError: If it is no ``Tokenizer``, or overrides or weights do not fit.
    """
    from tokbench.tokenizers.base import Tokenizer
    from tokbench.tokenizers.checkpoints import load_strictly

    cls = import_class(reference)
    if not (isinstance(cls, type) and issubclass(cls, Tokenizer)):
        raise TokbenchError(f"{reference!r} is not a subclass of tokbench.tokenizers.Tokenizer")
    config_class = getattr(cls, "Config", None)
    if config_class is None:
        if overrides:
            raise TokbenchError(f"{reference!r} has no Config, so nothing can be set; given: {', '.join(overrides)}")
        model = cls()
    else:
        model = cls(with_overrides(config_class(), overrides))
    if weights is not None:
        checkpoint = model.read_weights(Path(weights))
        load_strictly(model, checkpoint.tensors, origin=str(weights))
        model.weights_sha256, model.weights_how = checkpoint.sha256, checkpoint.how
    model.name = model.name or reference
    return model
