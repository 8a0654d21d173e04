"""The record of one run: nested frozen dataclasses that become JSON and come back from it; no torch."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from tokbench.bench.intervals import Interval
from tokbench.bench.protocol import Protocol
from tokbench.configs import plain
from tokbench.errors import TokbenchError

SCHEMA = 3
"""2 added ``tokenizer.weights_how`` and ``codebooks``, 3 the intervals of ``timing`` and ``tokens``; older records are read without them."""


@dataclass(frozen=True)
class TokenizerInfo:
    """What was measured.

    Args:
        name: Of the tokenizer.
        config: Its whole configuration.
        weights_sha256: Digest of the file its weights came from.
        parameters: How many it has.
        trained_with: Networks and data its training used.
        weights_how: Which entry of that file was taken, under which prefix, and what was left out.
    """

    name: str
    config: dict[str, Any]
    weights_sha256: str | None
    parameters: int
    trained_with: tuple[str, ...] = ()
    weights_how: str | None = None


@dataclass(frozen=True)
class SkippedImage:
    """An image that could not be read, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class DataInfo:
    """What it was measured on.

    Args:
        name: Of the data set.
        digest: SHA-256 over ids and digests of the source bytes and crop rule of the images measured.
        pixels_digest: SHA-256 over ids and pixels of the images measured.
        requested: Images asked for.
        count: Images measured.
        groups: What the images are samples of (photos, for crops).
        enlarged: Images whose source was smaller than the protocol's size.
        skipped: Images left out.
    """

    name: str
    digest: str
    pixels_digest: str
    requested: int
    count: int
    groups: int
    enlarged: int = 0
    skipped: tuple[SkippedImage, ...] = ()


@dataclass(frozen=True)
class MetricResult:
    """A figure, or the reason why there is none.

    Args:
        value: The figure.
        unit: Of it.
        higher_is_better: Its direction; None where neither is better.
        settings: What it depends on.
        interval: 95 % confidence interval, where one was estimated.
        by_codebook: The figure for every codebook, where there are several.
        judged_by_training_network: Whether the tokenizer was trained with the network that judges here.
        reason: Why there is no figure.
    """

    value: float | None = None
    unit: str | None = None
    higher_is_better: bool | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    interval: Interval | None = None
    by_codebook: tuple[float, ...] | None = None
    judged_by_training_network: bool = False
    reason: str | None = None


@dataclass(frozen=True)
class TokensInfo:
    """Derived from the layout: how many tokens and bits an image takes; for codecs, the bytes measured, whose mean has an interval."""

    positions: int | None
    tokens_per_image: int | None
    bits_per_image: float | None
    bpp: float | None
    grid: tuple[int, ...]
    codebook_sizes: tuple[int, ...]
    channels: int = 0
    storage_bits_per_image: int | None = None
    bits_are: str = "ceiling of a uniform code"
    bits_interval: Interval | None = None


@dataclass(frozen=True)
class CodebookUse:
    """How often the codes of one codebook occur, as a curve over their ranks.

    Args:
        size: Codes it has.
        tokens: Tokens counted.
        used: Codes that occur.
        ranks: Some ranks, 1 the most used code, evenly spaced in their logarithm; first and last used code are always there.
        shares: The share of all tokens that the code of each of these ranks has.
    """

    size: int
    tokens: int
    used: int
    ranks: tuple[int, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Timing:
    """How fast it was, micro-batch by micro-batch, the first one left out.

    Args:
        encode_images_per_second: Median over micro-batches; None if there was one only.
        decode_images_per_second: The same.
        micro_batch: Images at once.
        device: Where it ran.
        threads: CPU threads.
        total_seconds: The whole pass, metrics included.
        encode_interval: 95 % confidence interval of that median; None of fewer than six micro-batches. It holds how unsteady this
            pass was, and nothing of what another pass on a busier or hotter machine would give.
        decode_interval: The same.
    """

    encode_images_per_second: float | None
    decode_images_per_second: float | None
    micro_batch: int
    device: str
    threads: int
    total_seconds: float
    encode_interval: Interval | None = None
    decode_interval: Interval | None = None


@dataclass(frozen=True)
class Environment:
    """Versions of what computed the figures; no host names or paths."""

    tokbench: str
    python: str
    platform: str
    processor: str
    packages: dict[str, str]


@dataclass(frozen=True)
class Record:
    """One tokenizer under one protocol on one data set."""

    tokenizer: TokenizerInfo
    data: DataInfo
    protocol: Protocol
    protocol_label: str
    metrics: dict[str, MetricResult]
    tokens: TokensInfo
    timing: Timing
    environment: Environment
    created: str
    codebooks: tuple[CodebookUse, ...] = ()
    schema: int = SCHEMA

    def interval(self, key: str) -> Interval | None:
        """The 95 % interval of ``encode``, ``decode``, ``bits_per_image`` or ``bpp``, where there is one; None for anything else."""
        bits = self.tokens.bits_interval
        if key == "bpp" and bits is not None:
            pixels = self.protocol.size**2
            return Interval(bits.low / pixels, bits.high / pixels, bits.method)
        return {"encode": self.timing.encode_interval, "decode": self.timing.decode_interval, "bits_per_image": bits}.get(key)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; metrics without a figure keep only their reason."""
        values = plain(self)
        values["metrics"] = {key: slim(value) for key, value in values["metrics"].items()}
        return values

    def to_json(self) -> str:
        """Indented JSON."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"


def slim(metric: dict[str, Any]) -> dict[str, Any]:
    """Leave out of a metric's JSON what it does not say."""
    if metric["reason"] is not None:
        return {"reason": metric["reason"]}
    optional = ("interval", "by_codebook", "reason")
    slim = {key: value for key, value in metric.items() if key not in optional or value is not None}
    if not slim["judged_by_training_network"]:
        del slim["judged_by_training_network"]
    return slim


def read_record(path: Path) -> Record:
    """Read a record file.

    Raises:
        TokbenchError: If it is missing, no record, or of a newer schema.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TokbenchError(f"no record at {path}; tokbench run writes them to runs/ unless told otherwise") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise TokbenchError(f"{path} is not a readable record ({error})") from error
    return record_from_dict(values, origin=str(path))


def record_from_dict(values: Any, *, origin: str) -> Record:
    """Build a record from plain JSON values.

    Args:
        values: What ``Record.to_dict`` returned.
        origin: What to call them in errors.

    Raises:
        TokbenchError: If they are no record, or of a newer schema.
    """
    if not isinstance(values, dict) or not isinstance(values.get("schema"), int):
        raise TokbenchError(f"{origin} is not a tokbench record: it names no schema")
    if values.get("kind", "run") != "run":
        raise TokbenchError(f"{origin} is the record of a {values['kind']}, not of a run; tokbench compare and tokbench report show it")
    if values["schema"] > SCHEMA:
        raise TokbenchError(f"{origin} has schema {values['schema']}, this tokbench reads up to {SCHEMA}; install a newer one")
    try:
        record = build(Record, values)
    except (TypeError, ValueError, KeyError) as error:
        raise TokbenchError(f"{origin} is not a tokbench record: {error}") from error
    assert isinstance(record, Record)
    return record


def build(kind: Any, value: Any) -> Any:
    """Make a value of some annotated type from plain JSON; dataclasses ignore what they do not know.

    Raises:
        TypeError: If something is missing or of another kind.
        ValueError: If a dataclass refuses its values.
    """
    origin, args = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        return None if value is None else build(next(arg for arg in args if arg is not type(None)), value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, Mapping):
            raise TypeError(f"{kind.__name__} is no mapping")
        hints = get_type_hints(kind)
        known = {item.name for item in dataclasses.fields(kind)}
        return kind(**{key: build(hints[key], item) for key, item in value.items() if key in known})
    if origin is tuple:
        return tuple(build(args[0], item) for item in value)
    if origin is dict and args[1] is MetricResult:
        return {key: build(MetricResult, item) for key, item in value.items()}
    return float(value) if kind is float else value
