"""Image tokenizers behind one interface, and the bench that measures them under one recorded protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokbench.lazy import lazy_exports

if TYPE_CHECKING:
    from tokbench.bench.runner import Evaluation, RunOptions, evaluate, run
    from tokbench.errors import TokbenchError
    from tokbench.images import to_float, to_uint8
    from tokbench.layout import TokenLayout
    from tokbench.records.frame import frame
    from tokbench.records.protocol import Protocol, get_protocol
    from tokbench.records.record import Record, read_record
    from tokbench.records.store import read_rows, write_record
    from tokbench.tokenizers.base import Tokenizer
    from tokbench.tokenizers.zoo import load
    from tokbench.tokens import ContinuousTokens, DiscreteTokens

__version__ = "0.2.0"

__all__ = [
    "ContinuousTokens",
    "DiscreteTokens",
    "Evaluation",
    "Protocol",
    "Record",
    "RunOptions",
    "TokbenchError",
    "TokenLayout",
    "Tokenizer",
    "evaluate",
    "frame",
    "get_protocol",
    "load",
    "read_record",
    "read_rows",
    "run",
    "to_float",
    "to_uint8",
    "write_record",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "ContinuousTokens": "tokbench.tokens",
        "DiscreteTokens": "tokbench.tokens",
        "Evaluation": "tokbench.bench.runner",
        "Protocol": "tokbench.records.protocol",
        "Record": "tokbench.records.record",
        "RunOptions": "tokbench.bench.runner",
        "TokbenchError": "tokbench.errors",
        "TokenLayout": "tokbench.layout",
        "Tokenizer": "tokbench.tokenizers.base",
        "evaluate": "tokbench.bench.runner",
        "frame": "tokbench.records.frame",
        "get_protocol": "tokbench.records.protocol",
        "load": "tokbench.tokenizers.zoo",
        "read_record": "tokbench.records.record",
        "read_rows": "tokbench.records.store",
        "run": "tokbench.bench.runner",
        "to_float": "tokbench.images",
        "to_uint8": "tokbench.images",
        "write_record": "tokbench.records.store",
    },
)
