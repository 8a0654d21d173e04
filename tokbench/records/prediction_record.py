"""The record of a prediction: what a tokenizer's codes or latents may tell of models that generate them; JSON and back; no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from tokbench.configs import plain, with_overrides
from tokbench.errors import TokbenchError
from tokbench.records.intervals import Interval
from tokbench.records.protocol import Protocol
from tokbench.records.record import DataInfo, Environment, MetricResult, TokenizerInfo, TokensInfo, built_record, slim

SCHEMA = 2
"""Version 2 says whether the tokenizer was trained on the images; records of version 1 do not know."""

KIND = "prediction"
"""What tells these records from those of a run."""


@dataclass(frozen=True)
class PredictionProtocol:
    """What the figures depend on but tokenizer, images and how these are read.

    Args:
        version: Version of this way to measure; raised whenever a figure under it may change.
        nearest: A code is replaced by one of so many nearest others of its codebook.
        probabilities: Shares of the tokens that are replaced, ascending; latents get noise of so many standard deviations instead.
        probability: The one that figures are of; the others are points of a curve.
        folds: Parts of labelled data, each classified by what a linear map learned of the others.
        edits: Pairs of drawn scenes whose codes are compared.

    Raises:
        ValueError: If a value is out of range.
    """

    version: int = 1
    nearest: int = 100
    probabilities: tuple[float, ...] = (0.03, 0.1, 0.3)
    probability: float = 0.1
    folds: int = 5
    edits: int = 300

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) and 0 < value <= 1 for value in self.probabilities):
            raise ValueError(f"probabilities must be above 0 and at most 1, got {self.probabilities}")
        if self.probability not in self.probabilities or list(self.probabilities) != sorted(set(self.probabilities)):
            raise ValueError(f"probabilities must rise, and {self.probability} be among them; got {self.probabilities}")
        for name, low, high in (("version", 1, 1 << 31), ("nearest", 1, 1 << 18), ("folds", 2, 100), ("edits", 1, 100_000)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be {low} to {high}, got {getattr(self, name)}")

    @property
    def label(self) -> str:
        """``prediction``, with every setting that differs from the default: ``prediction+edits=50``."""
        base = PredictionProtocol()
        changed = [field.name for field in fields(self) if getattr(self, field.name) != getattr(base, field.name)]
        return "+".join([KIND, *(f"{name}={_written(getattr(self, name))}" for name in changed)])


def _written(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def get_prediction_protocol(changes: Mapping[str, object] | None = None) -> PredictionProtocol:
    """Take the default and change settings.

    Args:
        changes: Settings by name, as values or text; None leaves one as it is.

    Raises:
        TokbenchError: If a setting is unknown, or a value is refused.
    """
    changes = {key: value for key, value in (changes or {}).items() if value is not None}
    if "version" in changes:
        raise TokbenchError("version belongs to the way of measuring; change its settings")
    found: PredictionProtocol = with_overrides(PredictionProtocol(), changes)
    return found


@dataclass(frozen=True)
class Channel:
    """What the values of one channel are like, over all positions of all images.

    Args:
        mean: Mean.
        rms: Root of the mean square.
        std: Root of the mean squared deviation from the mean.
        skew: Mean cubed deviation over the cube of ``std``; 0 of a channel that never changes.
        low: Smallest value.
        high: Largest value.
    """

    mean: float
    rms: float
    std: float
    skew: float
    low: float
    high: float


@dataclass(frozen=True)
class SensitivityPoint:
    """What is decoded when some tokens are replaced.

    Args:
        probability: Share of the tokens that are replaced, or the standard deviations of noise on latents.
        psnr: Mean PSNR against the images, none of which counts more than ``tokbench.feed.predict.pixels.CEILING`` decibels.
        psnr_interval: Its interval over groups of images.
        fd: Fréchet distance to the images; None of fewer images than it needs.
        fd_interval: Its interval.
    """

    probability: float
    psnr: float
    psnr_interval: Interval | None = None
    fd: float | None = None
    fd_interval: Interval | None = None


@dataclass(frozen=True)
class Band:
    """Power at one frequency.

    Args:
        frequency: Half cycles of the discrete cosine transform per image, rounded.
        latents: Mean power of a coefficient of the latents, channels brought to unit variance.
        images: That of the images.
    """

    frequency: int
    latents: float
    images: float


@dataclass(frozen=True)
class PredictionRecord:
    """One tokenizer's codes or latents on one data set.

    Args:
        tokenizer: What made them.
        tokens: How many, on what grid.
        data: Images.
        protocol: How images were read and encoded.
        prediction: Settings of the studies.
        figures: By key; the rows are in ``tokbench.records.prediction_figures``. What cannot be measured has a reason.
        channels: Statistics of every channel of latents, or of the vectors of codes.
        correlation: Correlations between channels, a row a channel; empty where there are many.
        sensitivity: The curve over probabilities, from 0: what is decoded of the tokens as they are.
        spectrum: Power by frequency.
        seconds: What each study took, ``encoding`` and what several share apart.
        device: Where it ran.
        threads: CPU threads.
        environment: Versions.
        created: When.
        trained_on: Whether the tokenizer was trained on images that are among these, as in a record of a run; None is not known.
        kind: Kind of the record.
        schema: Schema of the record.
    """

    tokenizer: TokenizerInfo
    tokens: TokensInfo
    data: DataInfo
    protocol: Protocol
    prediction: PredictionProtocol
    figures: dict[str, MetricResult]
    channels: tuple[Channel, ...]
    correlation: tuple[tuple[float, ...], ...]
    sensitivity: tuple[SensitivityPoint, ...]
    spectrum: tuple[Band, ...]
    seconds: dict[str, float]
    device: str
    threads: int
    environment: Environment
    created: str
    trained_on: bool | None = None
    kind: str = KIND
    schema: int = SCHEMA

    @property
    def protocol_label(self) -> str:
        """What a file of this record is called by, behind the tokenizer's name."""
        return f"{self.prediction.label}_{self.protocol.label}"

    def to_json(self) -> str:
        """Indented JSON, the rows of the correlations on one line each."""
        values = {"kind": self.kind, "schema": self.schema} | plain(self)
        values["figures"] = {key: slim(value) for key, value in values["figures"].items()}
        rows = ",\n    ".join(json.dumps([round(value, 6) for value in row]) for row in self.correlation)
        values["correlation"] = []
        text = json.dumps(values, indent=2, allow_nan=False) + "\n"
        if rows:  # no text in JSON holds a line break, so that this is found nowhere else
            text = text.replace('\n  "correlation": [],\n', f'\n  "correlation": [\n    {rows}\n  ],\n')
        return text


def prediction_record_from_dict(values: Any, *, origin: str) -> PredictionRecord:
    """Build a record from plain JSON values.

    Args:
        values: What ``PredictionRecord.to_json`` wrote.
        origin: What to call them in errors.

    Raises:
        TokbenchError: If they are no record of a prediction, or of a newer schema.
    """
    if not isinstance(values, dict) or values.get("kind") != KIND:
        raise TokbenchError(f"{origin} is not the record of a prediction; tokbench predict writes them")
    record = built_record(PredictionRecord, values, SCHEMA, origin=origin, what="the record of a prediction")
    assert isinstance(record, PredictionRecord)
    return record
