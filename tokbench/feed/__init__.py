"""From images to what autoregressive models read: exported token sets, vocabularies, sequences, constrained decoding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokbench.lazy import lazy_exports

if TYPE_CHECKING:
    from tokbench.feed.constrain import ConstrainedDecoding
    from tokbench.feed.dataset import TokenDataset
    from tokbench.feed.encoding import identify
    from tokbench.feed.export import ExportOptions
    from tokbench.feed.fitting import fit
    from tokbench.feed.formats.options import FormatOptions
    from tokbench.feed.formats.record import FormatRecord, read_format, read_vocabulary
    from tokbench.feed.formats.write import write_format
    from tokbench.feed.grammar import ImageGrammar
    from tokbench.feed.loss import labels, loss_mask
    from tokbench.feed.memmap import write_memmap
    from tokbench.feed.parsing import MalformedSequence, annotate, parse
    from tokbench.feed.probe.saved import load_probe
    from tokbench.feed.sampler import TokenSampler
    from tokbench.feed.sequence import TokenSequence, build, prompt
    from tokbench.feed.text import ByteText
    from tokbench.feed.text_file import FileText
    from tokbench.feed.vocabulary import Vocabulary
    from tokbench.feed.vocabulary_json import vocabulary_from_json, vocabulary_to_json

__all__ = [
    "ByteText",
    "ConstrainedDecoding",
    "ExportOptions",
    "FileText",
    "FormatOptions",
    "FormatRecord",
    "ImageGrammar",
    "MalformedSequence",
    "TokenDataset",
    "TokenSampler",
    "TokenSequence",
    "Vocabulary",
    "annotate",
    "build",
    "fit",
    "identify",
    "labels",
    "load_probe",
    "loss_mask",
    "parse",
    "prompt",
    "read_format",
    "read_vocabulary",
    "vocabulary_from_json",
    "vocabulary_to_json",
    "write_format",
    "write_memmap",
]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "ByteText": "tokbench.feed.text",
        "ConstrainedDecoding": "tokbench.feed.constrain",
        "ExportOptions": "tokbench.feed.export",
        "FileText": "tokbench.feed.text_file",
        "FormatOptions": "tokbench.feed.formats.options",
        "FormatRecord": "tokbench.feed.formats.record",
        "ImageGrammar": "tokbench.feed.grammar",
        "MalformedSequence": "tokbench.feed.parsing",
        "TokenDataset": "tokbench.feed.dataset",
        "TokenSampler": "tokbench.feed.sampler",
        "TokenSequence": "tokbench.feed.sequence",
        "Vocabulary": "tokbench.feed.vocabulary",
        "annotate": "tokbench.feed.parsing",
        "build": "tokbench.feed.sequence",
        "fit": "tokbench.feed.fitting",
        "identify": "tokbench.feed.encoding",
        "labels": "tokbench.feed.loss",
        "load_probe": "tokbench.feed.probe.saved",
        "loss_mask": "tokbench.feed.loss",
        "parse": "tokbench.feed.parsing",
        "prompt": "tokbench.feed.sequence",
        "read_format": "tokbench.feed.formats.record",
        "read_vocabulary": "tokbench.feed.formats.record",
        "vocabulary_from_json": "tokbench.feed.vocabulary_json",
        "vocabulary_to_json": "tokbench.feed.vocabulary_json",
        "write_format": "tokbench.feed.formats.write",
        "write_memmap": "tokbench.feed.memmap",
    },
)
