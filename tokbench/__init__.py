"""Image tokenizers behind one interface, and the bench that measures them under one recorded protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokbench.lazy import lazy_exports

if TYPE_CHECKING:
    from tokbench.bench.runner import RunOptions, evaluate
    from tokbench.errors import TokbenchError
    from tokbench.images import to_float, to_uint8
    from tokbench.layout import TokenLayout
    from tokbench.records.protocol import Protocol, get_protocol
    from tokbench.records.record import Record, read_record
    from tokbench.tokenizers.base import Tokenizer
    from tokbench.tokenizers.zoo import load
    from tokbench.tokens import ContinuousTokens, DiscreteTokens

__version__ = "0.1.0"

__all__ = [
    "ContinuousTokens",
    "DiscreteTokens",
    "Protocol",
    "Record",
    "RunOptions",
    "TokbenchError",
    "TokenLayout",
    "Tokenizer",
    "evaluate",
    "get_protocol",
    "load",
    "read_record",
    "to_float",
    "to_uint8",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "ContinuousTokens": "tokbench.tokens",
        "DiscreteTokens": "tokbench.tokens",
        "Protocol": "tokbench.records.protocol",
        "Record": "tokbench.records.record",
        "RunOptions": "tokbench.bench.runner",
        "TokbenchError": "tokbench.errors",
        "TokenLayout": "tokbench.layout",
        "Tokenizer": "tokbench.tokenizers.base",
        "evaluate": "tokbench.bench.runner",
        "get_protocol": "tokbench.records.protocol",
        "load": "tokbench.tokenizers.zoo",
        "read_record": "tokbench.records.record",
        "to_float": "tokbench.images",
        "to_uint8": "tokbench.images",
    },
)
