"""The model that comes with the package."""

from __future__ import annotations

from pathlib import Path

from tokbench.errors import TokbenchError

FOLDER = Path(__file__).parent / "embedded"
"""Where it lies."""


def shipped_model() -> Path:
    """Find the folder of the model.

    Raises:
        TokbenchError: If this version has none.
    """
    if not FOLDER.is_dir():
        raise TokbenchError("this tokbench comes without a model; give the folder of one with --model, or make one with: tokbench lm train")
    return FOLDER
