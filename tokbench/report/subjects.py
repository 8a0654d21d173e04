"""What tokenizers of a table are called, by what they are and not by their names alone; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokbench.configs import flat
from tokbench.escapes import visible
from tokbench.records.record import TokenizerInfo
from tokbench.records.same import digests, identity, shared_by


def names_of(infos: Sequence[TokenizerInfo]) -> list[str]:
    """Name tokenizers.

    Args:
        infos: What records say of the tokenizers of one table.

    Returns:
        The names. Those of one name are followed by the settings, or the start of the digest of weights or source, that differ.
    """
    settings = [
        flat(info.config) | {"weights": (digest or "none")[:8], "source": (info.source_sha256 or "none")[:8]}
        for info, digest in zip(infos, digests(infos), strict=True)
    ]
    groups: dict[str, list[dict[str, Any]]] = {}
    for info, own in zip(infos, settings, strict=True):
        groups.setdefault(info.name, []).append(own)
    names = []
    for info, own in zip(infos, settings, strict=True):
        group = groups[info.name]
        keys = dict.fromkeys(key for other in group for key in other)
        differing = [key for key in keys if any(other.get(key) != own.get(key) for other in group)]
        names.append(visible(" ".join([info.name, *(f"{key}={own[key]}" for key in differing if key in own)])))
    return names


def one_by_names(infos: Sequence[TokenizerInfo]) -> list[str]:
    """Say which tokenizers are one under several names, or have the same weights, a line each."""
    lines = []
    for digest, names in shared_by(infos).items():
        members = [info for info, own in zip(infos, digests(infos), strict=True) if own == digest]
        whole = len({identity(info, digest) for info in members}) == 1
        what = "are one tokenizer: the same weights" if whole else "have the same weights, under other settings or code:"
        lines.append(visible(f"{' and '.join(names)} {what} {digest[:8]}"))
    return lines
