"""The tokens a probe is trained and measured on: exported once, kept in a folder named by what they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from tokbench.conduct import layout_of
from tokbench.configs import canonical_json, plain
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed.dataset import TokenDataset
from tokbench.feed.encoding import identify
from tokbench.feed.export import ExportOptions, export, preparation
from tokbench.feed.job import digest_of_ids
from tokbench.feed.label_rules import LabelRule
from tokbench.feed.shards import DIGEST, read_columns
from tokbench.launch import by_the_first
from tokbench.ranks import Ranks
from tokbench.records.probe_record import TokenSetInfo
from tokbench.records.protocol import Protocol
from tokbench.tokenizers.base import Tokenizer

COUNTED = 1 << 24
"""Most codes that are counted for bounds: those of all training images, or of as many of them, evenly chosen."""


@dataclass(frozen=True)
class TokenSet:
    """An export and the source it was made from.

    Args:
        dataset: The tokens.
        source: Source of the images.
        folder: Folder of the shards.
    """

    dataset: TokenDataset
    source: ImageSource
    folder: Path

    def groups(self) -> dict[str, str]:
        """What every image is a sample of, by id."""
        return {name: self.source.group(index) for index, name in enumerate(self.source.ids)}

    def digests(self) -> set[bytes]:
        """What the images were made from."""
        job = self.dataset.job
        paths = [self.folder / job.shard_name(number) for number in range(job.shards)]
        return {digest for path in paths for table in read_columns(path, [DIGEST]) for digest in table.column(DIGEST).to_pylist()}


def check_codes(tokenizer: Tokenizer, protocol: Protocol) -> None:
    """Refuse a tokenizer without codes.

    Raises:
        TokbenchError: If there are none.
    """
    if not layout_of(tokenizer, *protocol.shape).discrete:
        raise TokbenchError(f"{tokenizer.name} makes continuous latents; a probe predicts codes, so choose a tokenizer with a codebook")


def export_tokens(
    tokenizer: Tokenizer,
    source: ImageSource,
    folder: Path,
    *,
    protocol: Protocol,
    labels: LabelRule = "source",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> TokenSet:
    """Export a source, or find that it has been. Of processes that train together the first exports, and the others wait.

    Args:
        tokenizer: What makes the tokens.
        source: Images.
        folder: Folder of exports; this one gets a folder within.
        protocol: Size, crop, choice and seed.
        labels: As in ``ExportOptions``.
        progress: Called with images done and in all.

    Raises:
        TokbenchError: If the tokenizer makes no codes, or as ``export``.
    """
    check_codes(tokenizer, protocol)
    key = [plain(identify(tokenizer)), plain(preparation(tokenizer, protocol)), source.name, digest_of_ids(source.ids), labels]
    out = folder / hashlib.sha256(canonical_json(key).encode()).hexdigest()[:16]
    options = ExportOptions(labels=labels, ranks=Ranks(), progress=progress)
    by_the_first(lambda: export(tokenizer, source, out, protocol=protocol, options=options))
    return TokenSet(TokenDataset(out), source, out)


def read_codes(dataset: TokenDataset, *, most: int = COUNTED) -> Int64[ndarray, "n l k"]:
    """Read the codes of all images, or evenly chosen ones, in the order of the export.

    Args:
        dataset: An export.
        most: Codes at most; at least one image is read.
    """
    per_image = dataset.job.values
    count = max(1, min(len(dataset), most // per_image))
    rows = [number * len(dataset) // count for number in range(count)]
    return np.stack([dataset[row]["codes"].numpy() for row in rows])


def describe(tokens: TokenSet) -> TokenSetInfo:
    """Name a set of tokens and digest it, reading all of it."""
    dataset, groups, total = tokens.dataset, tokens.groups(), hashlib.sha256()
    found = set()
    for row in range(len(dataset)):
        item = dataset[row]
        total.update(item["id"].encode() + b"\0" + item["codes"].numpy().astype("<i8").tobytes())
        found.add(groups[item["id"]])
    summary = dataset.summary
    name = summary.job.data.name
    return TokenSetInfo(name, summary.data_digest, total.hexdigest(), len(dataset), len(found), len(summary.skipped))
