"""The record of one probe: what a small language model makes of a tokenizer's tokens; JSON and back; no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tokbench.configs import UNLESS_DEFAULT, plain
from tokbench.errors import TokbenchError
from tokbench.records.probe_protocol import ProbeProtocol
from tokbench.records.protocol import Protocol
from tokbench.records.record import Environment, MetricResult, TokenizerInfo, TokensInfo, built_record, slim

SCHEMA = 1

KIND = "probe"
"""What tells these records from those of a run."""


@dataclass(frozen=True)
class TokenSetInfo:
    """Tokens that the probe was trained or measured on.

    Args:
        name: Name of the data set.
        digest: SHA-256 over ids and digests of the source bytes, as in the record of a run.
        tokens_digest: SHA-256 over ids and tokens.
        count: Images.
        groups: What the images are samples of (photos, for crops).
        skipped: Images that could not be read.
    """

    name: str
    digest: str
    tokens_digest: str
    count: int
    groups: int
    skipped: int = 0


@dataclass(frozen=True)
class Parameters:
    """How large the probe is; only the embedding depends on the tokenizer."""

    non_embedding: int
    embedding: int


@dataclass(frozen=True)
class CurvePoint:
    """A moment of training.

    Args:
        images_seen: So far.
        train: Bits per token over the training images since the last point; None before the first step.
        held_out: Bits per token over ``probe.curve_images`` of the held-out images, evenly chosen.
    """

    images_seen: int
    train: float | None
    held_out: float


@dataclass(frozen=True)
class Coding:
    """The check that the probe's bits are those of a code: images written by an arithmetic coder under the probe and read back.

    Args:
        images: How many, the first in an order given by a hash of their ids.
        reported_bits_per_image: What the probe's losses say of the same images.
        coded_bits_per_image: Mean size of their files, each of whole bytes.
        decoded: Whether the tokens read back from the files are the same.
    """

    images: int
    reported_bits_per_image: float
    coded_bits_per_image: float
    decoded: bool


@dataclass(frozen=True)
class ProbeTiming:
    """Where it ran and how long it took."""

    device: str
    threads: int
    train_seconds: float
    total_seconds: float


@dataclass(frozen=True)
class ProbeRecord:
    """One tokenizer's tokens under one probe.

    Args:
        tokenizer: What made the tokens.
        tokens: How many, on what grid.
        protocol: How images were read and encoded; ``protocol.data`` names the held-out ones.
        probe: Network and budget.
        probe_label: Label of the protocol.
        condition: What stood before the images: ``caption``, ``label`` or ``none``.
        train: Tokens trained on.
        held_out: Tokens measured on.
        parameters: Size of the network.
        figures: Bits on held-out images under the probe, bounds, other codes, and the quality that these bits pay for.
        by_position: Mean bits at every position of the grid, raster order, all codebooks together.
        curve: Bits while training.
        coding: The check by a coder.
        timing: How long it took.
        environment: Versions.
        created: When.
        train_by_position: Such bits of images that were trained on, as many as are held out; empty in earlier records.
        trained_on: Whether the tokenizer was trained on images that are held out here, as in a record of a run; None, which is not
            written, is not known.
        kind: Kind of the record.
        schema: Schema of the record.
    """

    tokenizer: TokenizerInfo
    tokens: TokensInfo
    protocol: Protocol
    probe: ProbeProtocol
    probe_label: str
    condition: str
    train: TokenSetInfo
    held_out: TokenSetInfo
    parameters: Parameters
    figures: dict[str, MetricResult]
    by_position: tuple[float, ...]
    curve: tuple[CurvePoint, ...]
    coding: Coding
    timing: ProbeTiming
    environment: Environment
    created: str
    train_by_position: tuple[float, ...] = ()
    trained_on: bool | None = field(default=None, metadata=UNLESS_DEFAULT)
    kind: str = KIND
    schema: int = SCHEMA

    @property
    def protocol_label(self) -> str:
        """What a file of this record is called by, behind the tokenizer's name."""
        return f"{KIND}-{self.probe_label}_{self.protocol.label}"

    def to_json(self) -> str:
        """Indented JSON, long rows of numbers on one line each."""
        values = {"kind": self.kind, "schema": self.schema} | plain(self)
        values["figures"] = {key: slim(value) for key, value in values["figures"].items()}
        rows = {"by_position": self.by_position, "train_by_position": self.train_by_position}
        values |= {name: name.upper() for name in rows}
        if not self.train_by_position:
            del values["train_by_position"]
        text = json.dumps(values, indent=2, allow_nan=False)
        for name, bits in rows.items():
            text = text.replace(f'"{name.upper()}"', json.dumps([round(value, 4) for value in bits]))
        return text + "\n"


def probe_record_from_dict(values: Any, *, origin: str) -> ProbeRecord:
    """Build a record from plain JSON values.

    Args:
        values: What ``ProbeRecord.to_json`` wrote.
        origin: What to call them in errors.

    Raises:
        TokbenchError: If they are no record of a probe, or of a newer schema.
    """
    if not isinstance(values, dict) or values.get("kind") != KIND:
        raise TokbenchError(f"{origin} is not the record of a probe; tokbench probe writes them")
    record = built_record(ProbeRecord, values, SCHEMA, origin=origin, what="the record of a probe")
    assert isinstance(record, ProbeRecord)
    return record
