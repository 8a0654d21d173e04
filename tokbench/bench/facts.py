"""What a run is of: everything its figures depend on, known before the first image, so that parts of two runs never mix."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tokbench.bench.environment import environment
from tokbench.layout import TokenLayout
from tokbench.records.protocol import Protocol
from tokbench.records.record import TokenizerInfo


@dataclass(frozen=True)
class RunFacts:
    """Tokenizer, protocol and judges of a run.

    Args:
        tokenizer: Whom it measures.
        layout: Layout of the tokens of one image; None of a codec.
        data: Name of the images.
        protocol: How it measures.
        metrics: What the figures of each metric that applies depend on, by name of the metric.
        left_out: The other metrics that were asked for, as ``--metrics`` takes them; they have a reason in the place of figures.
        device: Kind of the device, whose arithmetic rounds in its own way.
        chunk: Images of a chunk.
        versions: Versions of this package, and of those that figures depend on.

    Raises:
        ValueError: If a chunk has no image, or a metric no name.
    """

    tokenizer: TokenizerInfo
    layout: TokenLayout | None
    data: str
    protocol: Protocol
    metrics: dict[str, Any]
    left_out: tuple[str, ...]
    device: str
    chunk: int
    versions: dict[str, str]

    def __post_init__(self) -> None:
        if self.chunk < 1:
            raise ValueError(f"a chunk has at least 1 image, got {self.chunk}")
        if not all(isinstance(what, dict) and isinstance(what.get("name"), str) for what in self.metrics.values()):
            raise ValueError("each of its metrics has a name")

    @property
    def asked_for(self) -> tuple[str, ...]:
        """The metrics that were asked for, as ``--metrics`` takes them."""
        return (*(what["name"] for what in self.metrics.values()), *self.left_out)


@dataclass(frozen=True)
class DataFacts:
    """Which images a run asks for.

    Args:
        place: As the user named them.
        images: How many.
        ids_sha256: Digest of their ids and groups, in order.
        passed_over: Images that lie there too, but are of kinds that are not read.
        passed_over_names: The first of them.

    Raises:
        ValueError: If there are none, or more than can be.
    """

    place: str
    images: int
    ids_sha256: str
    passed_over: int = 0
    passed_over_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.images < 2**63:
            raise ValueError(f"a run has at least 1 image and fewer than 2**63, got {self.images}")


def versions() -> dict[str, str]:
    """Versions of this package, and of the packages that figures depend on, as records name them."""
    here = environment()
    return {"tokbench": here.tokbench, **here.packages}


def digest_of_images(ids: Iterable[str], groups: Iterable[str]) -> str:
    """SHA-256 over ids and groups of images, in order."""
    total = hashlib.sha256()
    for name, group in zip(ids, groups, strict=True):
        for text in (name, group):
            data = text.encode("utf-8", "surrogateescape")
            total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()
