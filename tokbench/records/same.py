"""Which tokenizers of records are one, whatever they are called: by the digests of their weights, configuration and source; no torch."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence

from tokbench.configs import canonical_json
from tokbench.records.record import TokenizerInfo


def digests(infos: Iterable[TokenizerInfo]) -> list[str | None]:
    """The digest of each tokenizer's weights, all of one kind, to be compared with each other.

    Args:
        infos: What records say of tokenizers.

    Returns:
        Digests of the tensors as they were measured, where all records that have weights know it. Else it is those of the files that
        weights were loaded from, of records that earlier versions wrote. None has no weights.
    """
    infos = list(infos)
    with_weights = [info for info in infos if info.state_sha256 or info.weights_sha256]
    if all(info.state_sha256 for info in with_weights):
        return [info.state_sha256 for info in infos]
    return [info.weights_sha256 or info.state_sha256 for info in infos]


def same_weights(one: TokenizerInfo, other: TokenizerInfo) -> bool:
    """Whether two tokenizers have the very same weights; False where there are none, or no common digest is known."""
    first, second = digests([one, other])
    return first is not None and first == second


def identity(info: TokenizerInfo, digest: str | None) -> Hashable:
    """What a tokenizer is but for its name: weights, configuration and source."""
    return digest, canonical_json(info.config), info.source_sha256


def shared_by(infos: Sequence[TokenizerInfo]) -> Mapping[str, tuple[str, ...]]:
    """Find the weights that go by several names.

    Returns:
        Digest to the names, in the order of the records.
    """
    names: dict[str, dict[str, None]] = {}
    for info, digest in zip(infos, digests(infos), strict=True):
        if digest is not None:
            names.setdefault(digest, {})[info.name] = None
    return {digest: tuple(found) for digest, found in names.items() if len(found) > 1}
