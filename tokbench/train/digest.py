"""The digest of what is trained on, for the header of the weights that come of it."""

from __future__ import annotations

import hashlib

from tokbench.data.source import ImageSource
from tokbench.images import UnreadableImage
from tokbench.weights.training import DIGITS, SAMPLE, TrainingSet


def digest_of(source: ImageSource) -> TrainingSet:
    """Digest a source: all of it, or as many images as a header keeps, chosen by their ids alone.

    Args:
        source: Images; only those chosen are read, and none is decoded.
    """
    by_hash = sorted(range(len(source)), key=lambda index: hashlib.sha256(source.ids[index].encode(errors="surrogateescape")).digest())
    found: dict[str, bytes] = {}
    for index in by_hash[:SAMPLE]:
        try:
            found[source.ids[index]] = source.raw_digest(index)
        except UnreadableImage:
            continue  # nor can it be trained on
    total = hashlib.sha256()
    for name in sorted(found):
        total.update(name.encode(errors="surrogateescape") + b"\0" + found[name])
    sample = tuple(sorted(digest.hex()[:DIGITS] for digest in found.values()))
    return TrainingSet(source.name, len(source), total.hexdigest(), sample)
