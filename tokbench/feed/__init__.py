"""From images to what autoregressive models read: exported token sets, vocabularies, sequences, constrained decoding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokbench.lazy import lazy_exports

if TYPE_CHECKING:
    from tokbench.feed.constrain import ConstrainedDecoding
    from tokbench.feed.dataset import TokenDataset
    from tokbench.feed.export import ExportOptions
    from tokbench.feed.grammar import ImageGrammar
    from tokbench.feed.sampler import TokenSampler
    from tokbench.feed.sequence import build
    from tokbench.feed.vocabulary import Vocabulary

__all__ = [
    "ConstrainedDecoding",
    "ExportOptions",
    "ImageGrammar",
    "TokenDataset",
    "TokenSampler",
    "Vocabulary",
    "build",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "ConstrainedDecoding": "tokbench.feed.constrain",
        "ExportOptions": "tokbench.feed.export",
        "ImageGrammar": "tokbench.feed.grammar",
        "TokenDataset": "tokbench.feed.dataset",
        "TokenSampler": "tokbench.feed.sampler",
        "Vocabulary": "tokbench.feed.vocabulary",
        "build": "tokbench.feed.sequence",
    },
)
