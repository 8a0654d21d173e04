"""A run is cut into chunks of images, fixed by data and protocol alone: where they begin, and what measuring one yields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.records.protocol import Protocol

MICRO_BATCHES = 16
"""Micro-batches of a chunk: as few as make a kill cheap, and as many as keep the files of a journal from being tiny."""

MOST_PARTS = 100_000
"""Parts at most that a run is divided into."""

WHOLE = "whole"
"""What a journal calls a run that nobody divides."""


def chunk_size(protocol: Protocol) -> int:
    """Images asked for in every chunk but the last: whole micro-batches of the metrics and of the tokenizer."""
    return -(-MICRO_BATCHES * protocol.micro_batch // protocol.at_once) * protocol.at_once


def spans(images: int, size: int) -> list[range]:
    """Where the chunks of so many images lie, which are taken in the order in which they are read.

    Args:
        images: Images asked for.
        size: Images of a chunk.
    """
    return [range(start, min(start + size, images)) for start in range(0, images, size)]


@dataclass(frozen=True)
class Part:
    """One of the parts of a run that do not know each other: chunks ``number - 1``, ``number - 1 + of`` and so on.

    Args:
        number: From 1.
        of: How many parts there are, which may be one; None is a run that nobody divides.

    Raises:
        ValueError: If there is no such part.
    """

    number: int = 1
    of: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.number <= (1 if self.of is None else self.of) <= MOST_PARTS:
            raise ValueError(f"a part is K/N with K from 1 to N, and N up to {MOST_PARTS:,}")

    def __str__(self) -> str:
        return WHOLE if self.of is None else f"{self.number}/{self.of}"

    @property
    def whole(self) -> bool:
        """Whether it is a run that nobody divides; the only part of one is a part, which ``merge`` makes a record of."""
        return self.of is None

    def chunks(self, count: int) -> range:
        """Numbers of its chunks, of so many that there are."""
        return range(self.number - 1, count, self.of or 1)


def parse_part(text: str) -> Part:
    """Read ``K/N``.

    Raises:
        TokbenchError: If it is no such part.
    """
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip())
    try:
        if match is None:
            raise ValueError("a part is K/N")
        return Part(int(match[1]), int(match[2]))
    except ValueError as error:
        raise TokbenchError(f"--part takes K/N with K from 1 to N, such as 3/16, got {text[:40]!r}") from error


@dataclass(frozen=True)
class ImageRow:
    """One image asked for.

    Args:
        id: Its id.
        group: What it is a sample of.
        source: SHA-256 of what it was made from; None of one that cannot be read.
        pixels: SHA-256 of its pixels as measured.
        skipped: Why it cannot be read.
        coded: Bytes that a codec made of it.
        saved: SHA-256 of the pixels of original and reconstruction, where they were written as files.
    """

    id: str
    group: str
    source: bytes | None
    pixels: bytes | None = None
    skipped: str | None = None
    coded: int | None = None
    saved: tuple[str, str] | None = None


@dataclass(frozen=True)
class Failure:
    """What a metric failed in, and how."""

    what: str
    why: str

    def line(self, name: str) -> str:
        """Say so of a metric of this name, whose run goes on."""
        return f"metric {name} fails in {self.what} ({self.why}); the others go on"


@dataclass(frozen=True)
class ChunkFacts:
    """What is known of one chunk beside images and states.

    Args:
        number: From 0.
        metrics: Names of the metrics that apply to the run; ``failures`` says which of them failed.
        enlarged: Images whose source was smaller than the size asked for.
        encode_seconds: Seconds that an image took in each micro-batch, without the one that warms up.
        decode_seconds: The same of decoding.
        total_seconds: What the chunk took, metrics included.
        device: Where it ran.
        threads: CPU threads.
        trained_on: Whether the tokenizer was trained on some of its images; None if that is not known.
        failures: Metrics that failed by then in the process that measured it, by name; they see no image after that.
    """

    number: int
    metrics: tuple[str, ...]
    enlarged: int
    encode_seconds: tuple[float, ...]
    decode_seconds: tuple[float, ...]
    total_seconds: float
    device: str
    threads: int
    trained_on: bool | None
    failures: dict[str, Failure] = field(default_factory=dict)


@dataclass(frozen=True)
class Chunk:
    """What measuring one chunk yields.

    Args:
        facts: What is known of it.
        rows: The images asked for, in order.
        states: What the metrics keep of them, see ``tokbench.bench.states``, by name of the metric and of the state.
    """

    facts: ChunkFacts
    rows: tuple[ImageRow, ...]
    states: Mapping[str, Tensor] = field(repr=False)
