"""The model behind the tokens: one causal language model that draws, edits, completes and describes images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokbench.lazy import lazy_exports

if TYPE_CHECKING:
    from tokbench.lm.image_model import ImageModel
    from tokbench.lm.model import LanguageModel
    from tokbench.lm.options import SamplingOptions
    from tokbench.lm.sampling import Request, sample

__all__ = ["ImageModel", "LanguageModel", "Request", "SamplingOptions", "sample"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "ImageModel": "tokbench.lm.image_model",
        "LanguageModel": "tokbench.lm.model",
        "Request": "tokbench.lm.sampling",
        "SamplingOptions": "tokbench.lm.options",
        "sample": "tokbench.lm.sampling",
    },
)
