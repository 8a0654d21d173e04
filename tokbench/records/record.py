"""The record of one run: nested frozen dataclasses that become JSON and come back from it; no torch."""

from __future__ import annotations

import html
import json
import math
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tokbench.configs import UNLESS_DEFAULT, build, plain
from tokbench.counting import counted
from tokbench.errors import TokbenchError
from tokbench.escapes import visible
from tokbench.json_files import read_json
from tokbench.records.earlier import upgraded
from tokbench.records.figure_info import FigureInfo
from tokbench.records.figures import BY_KEY, known_figure
from tokbench.records.intervals import Interval
from tokbench.records.protocol import Protocol

SCHEMA = 5
"""2 added ``tokenizer.weights_how`` and ``codebooks``, 3 the intervals of ``timing`` and ``tokens``, 4 the tokenizer as it was measured
(``state_sha256``, ``source_sha256``, ``package``, ``number_format``, ``settings``, ``training_sets``) and ``trained_on``, and
``metrics.*.exact``, 5 the settings of ``protocol`` in which presets differ; older records are read without them. ``metrics.*.info`` needs
no number: readers that do not know it pass over it."""


GIVEN = "reconstructions"
"""Key of a configuration that stands for reconstructions which other code made: their name and digest."""

RUN = "run"
"""Kind of a record that names none."""


@dataclass(frozen=True)
class TrainingSetInfo:
    """Data that a tokenizer was trained on: name, images, and SHA-256 over ids and source digests."""

    name: str
    count: int
    digest: str


@dataclass(frozen=True)
class TokenizerInfo:
    """What was measured.

    Args:
        name: Name of the tokenizer.
        config: Its whole configuration; under ``changed`` what its modules were where they were not as configured.
        weights_sha256: Digest of the file its weights were loaded from.
        parameters: How many it has; None where that is not known.
        trained_with: Networks and data its training used; with ``unknown`` there may be others.
        weights_how: Which entry of that file was taken, under which prefix, and what was left out.
        state_sha256: Digest of its tensors when it was measured, see ``tokbench.bench.identity.weights_digest``.
        source_sha256: Digest of the source of a plug-in.
        package: Name and version of the installed package a plug-in is of.
        number_format: Types of its floating-point tensors.
        settings: What is set otherwise than its name stands for, ``weights`` among it.
        training_sets: The data its training used, as far as they were digested.
        codec: ``webp`` or ``jpeg`` if it is a codec that stands for an anchor; None of a tokenizer.
    """

    name: str
    config: dict[str, Any]
    weights_sha256: str | None
    parameters: int | None
    trained_with: tuple[str, ...] = ()
    weights_how: str | None = None
    state_sha256: str | None = None
    source_sha256: str | None = None
    package: str | None = None
    number_format: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    training_sets: tuple[TrainingSetInfo, ...] = ()
    codec: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "config", upgraded(self.name, self.config))

    @property
    def is_given(self) -> bool:
        """Whether it stands for reconstructions that other code made, as ``tokbench score`` measures them."""
        return GIVEN in self.config and self.codec is None and self.weights_sha256 is None and self.state_sha256 is None


@dataclass(frozen=True)
class SkippedImage:
    """An image that could not be read, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class DataInfo:
    """What it was measured on.

    Args:
        name: Name of the data set.
        digest: SHA-256 over ids and digests of the source bytes and crop rule of the images measured.
        pixels_digest: SHA-256 over ids and pixels of the images measured.
        requested: Images asked for.
        count: Images measured.
        groups: What the images are samples of (photos, for crops).
        enlarged: Images whose source was smaller than the protocol's size.
        skipped: Images left out.
        passed_over: Images that lie there too, but are of kinds that are not read.
        passed_over_names: The first of them.
    """

    name: str
    digest: str
    pixels_digest: str
    requested: int
    count: int
    groups: int
    enlarged: int = 0
    skipped: tuple[SkippedImage, ...] = ()
    passed_over: int = 0
    passed_over_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class MetricResult:
    """A figure, or the reason why there is none.

    Args:
        value: The figure.
        unit: Unit of the value.
        higher_is_better: Its direction; None where neither is better.
        settings: What it depends on.
        interval: 95 % confidence interval, where one was estimated.
        by_codebook: The figure for every codebook, where there are several.
        judged_by_training_network: Whether the tokenizer was trained with the network that judges here; None if that is not known.
        reason: Why there is no figure.
        exact: Images that came back exactly, where a figure such as PSNR has no number for these: ``value`` is the mean of the others,
            None if there are none.
        info: How the figure is shown, of one that this package does not know.
    """

    value: float | None = None
    unit: str | None = None
    higher_is_better: bool | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    interval: Interval | None = None
    by_codebook: tuple[float, ...] | None = None
    judged_by_training_network: bool | None = False
    reason: str | None = None
    exact: int = 0
    info: FigureInfo | None = None

    @property
    def wholly_exact(self) -> bool:
        """Whether every image came back exactly: measured, and no number."""
        return self.value is None and self.exact > 0

    @property
    def measured(self) -> bool:
        """Whether there is a figure, or exactness."""
        return self.value is not None or self.exact > 0

    @property
    def reached(self) -> float | None:
        """The figure as a place on its scale, of a wholly exact set the end of it; None if nothing was measured."""
        return math.inf if self.wholly_exact and self.higher_is_better is not False else -math.inf if self.wholly_exact else self.value


@dataclass(frozen=True)
class TokensInfo:
    """Derived from the layout: how many tokens and bits an image takes; for codecs, the bytes measured, whose mean has an interval.

    Images were padded by ``padding``: copies of their last row below and of their last column right, cut off after decoding.
    """

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
    padding: tuple[int, int] = field(default=(0, 0), metadata=UNLESS_DEFAULT)


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

    @property
    def is_sound(self) -> bool:
        """Whether it is a curve: from rank to rank a positive share, that of the next one no larger."""
        return (
            0 < len(self.ranks) == len(self.shares)
            and self.size >= self.ranks[-1] >= self.ranks[0] >= 1
            and self.size >= self.used >= self.ranks[-1]
            and all(math.isfinite(share) and share > 0 for share in self.shares)
            and all(a < b for a, b in pairwise(self.ranks))
            and all(a >= b for a, b in pairwise(self.shares))
        )


@dataclass(frozen=True)
class Timing:
    """How fast it was, micro-batch by micro-batch, the first one left out.

    Args:
        encode_images_per_second: Median over micro-batches; None if there was one only.
        decode_images_per_second: That median for decoding.
        micro_batch: Images at once.
        device: Where it ran.
        threads: CPU threads.
        total_seconds: The whole pass, metrics included.
        encode_interval: 95 % confidence interval of that median; None of fewer than six micro-batches. It holds how unsteady this
            pass was, and nothing of what another pass on a busier or hotter machine would give.
        decode_interval: That interval for decoding.
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


@dataclass(frozen=True, repr=False)
class Record:
    """One tokenizer under one protocol on one data set.

    ``trained_on`` says whether the tokenizer was trained on images it was measured on: those of a data set of that name, or some of the
    very same bytes. None is not known.
    """

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
    trained_on: bool | None = None
    schema: int = SCHEMA

    def figures(self) -> dict[str, float]:
        """Every number that was measured, by key: rates, metrics and speeds, as ``tokbench metrics`` names them.

        A figure of images that all came back exactly is infinite (PSNR), or minus infinity where less is better.
        """
        measured = {key: metric.reached for key, metric in self.metrics.items()}
        timing, tokens = self.timing, self.tokens
        values = {
            "tokens_per_image": tokens.tokens_per_image,
            "bits_per_image": tokens.bits_per_image,
            "bpp": tokens.bpp,
            **{key: measured[key] for key in BY_KEY if key in measured},
            **measured,
            "encode": timing.encode_images_per_second,
            "decode": timing.decode_images_per_second,
            "parameters": self.tokenizer.parameters,
        }
        return {key: float(value) for key, value in values.items() if value is not None}

    def interval(self, key: str) -> Interval | None:
        """The 95 % interval of a figure, where there is one."""
        if key in self.metrics:
            return self.metrics[key].interval
        bits = self.tokens.bits_interval
        if key == "bpp" and bits is not None:
            pixels = self.protocol.pixels_per_image
            return Interval(bits.low / pixels, bits.high / pixels, bits.method)
        return {"encode": self.timing.encode_interval, "decode": self.timing.decode_interval, "bits_per_image": bits}.get(key)

    def __repr__(self) -> str:
        leading = [key for key in self.figures() if (info := self._info(key)) is not None and info.leading]
        figures = ", ".join(f"{title} {value}" for title, value, _ in map(self._written, leading or self.metrics) if value)
        return f"Record({self._title()}{': ' * bool(figures)}{figures})"

    def _repr_html_(self) -> str:
        """A small table, as notebooks show it."""
        rows = "".join(f"<tr>{''.join(f'<td>{html.escape(text)}</td>' for text in self._written(key))}</tr>" for key in self.figures())
        return f"<table><caption>{html.escape(self._title())}</caption><tr><th>figure</th><th>value</th><th>95 %</th></tr>{rows}</table>"

    def _title(self) -> str:
        trained = ", trained on them" * bool(self.trained_on)
        return visible(f"{self.tokenizer.name} on {counted(self.data.count, 'image')} of {self.data.name}{trained}, {self.protocol_label}")

    def _info(self, key: str) -> FigureInfo | None:
        return known_figure(key, [self.metrics[key].info] if key in self.metrics else [])

    def _written(self, key: str) -> tuple[str, str, str]:
        """A figure's title, its number and the ends of its interval, as text; what there is none of is empty."""
        info, value, interval = self._info(key), self.figures().get(key), self.interval(key)
        title, digits, scale, symbol = (info.title, info.digits, info.scale, info.symbol) if info else (key, 4, 1.0, "")
        number = "" if value is None else f"{value * scale:.{digits}f} {symbol}".strip()
        return (
            visible(title),
            visible(number),
            f"{interval.low * scale:.{digits}f} to {interval.high * scale:.{digits}f}" if interval else "",
        )

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
    if metric["reason"] is not None and not metric["exact"]:
        return {"reason": metric["reason"]}
    optional = ("interval", "by_codebook", "reason", "value", "info")
    slim = {key: value for key, value in metric.items() if key not in optional or value is not None}
    if not slim["exact"]:
        del slim["exact"]
    if slim["judged_by_training_network"] is False:
        del slim["judged_by_training_network"]
    return slim


def read_record(path: str | Path) -> Record:
    """Read a record file.

    Args:
        path: Path of its JSON.

    Raises:
        TokbenchError: If it is missing, no record, or of a newer schema.
    """
    return record_from_dict(read_values(Path(path)), origin=str(path))


def read_values(path: Path) -> Any:
    """Read the plain values of a record of whatever kind.

    Raises:
        TokbenchError: If the file is missing, cannot be read, or is not JSON within the bounds of ``read_json``.
    """
    try:
        return read_json(path)
    except FileNotFoundError as error:
        raise TokbenchError(
            f"no record at {path}; tokbench run writes them to runs/, tokbench probe to runs/probe, unless told otherwise"
        ) from error
    except OSError as error:
        raise TokbenchError(f"{path} cannot be read ({error.strerror}); give a file that this user may read") from error
    except ValueError as error:
        raise TokbenchError(f"{path} is not a readable record ({error}); measure again, or give another file") from error


def record_from_dict(values: Any, *, origin: str) -> Record:
    """Build a record from plain JSON values.

    Args:
        values: What ``Record.to_dict`` returned.
        origin: What to call them in errors.

    Raises:
        TokbenchError: If they are no record, or of a newer schema.
    """
    if isinstance(values, dict) and values.get("kind", RUN) != RUN:
        raise TokbenchError(
            f"{origin} is the record of a {str(values['kind'])[:40]}, not of a run; tokbench compare and tokbench report show it"
        )
    record = built_record(Record, _with_codec(values), SCHEMA, origin=origin, what="a tokbench record")
    assert isinstance(record, Record)
    return record


def _with_codec(values: Any) -> Any:
    """Say of a record that does not which codec it is of: before there was a field for it, names began with ``anchor/``."""
    info = values.get("tokenizer") if isinstance(values, dict) else None
    if not isinstance(info, dict) or "codec" in info or not str(info.get("name")).startswith(_ANCHOR):
        return values
    codec = info["name"].removeprefix(_ANCHOR).partition("-")[0]
    return values | {"tokenizer": info | {"codec": codec or None}}


_ANCHOR = "anchor/"


def built_record(kind: type, values: Any, newest: int, *, origin: str, what: str) -> Any:
    """Build a record of some kind, after a look at its schema.

    Args:
        kind: Dataclass of it.
        values: Plain JSON values.
        newest: Schema that this version reads up to.
        origin: What to call them in errors.
        what: What they should be.

    Raises:
        TokbenchError: If they are none, or of a newer schema.
    """
    schema = values.get("schema") if isinstance(values, dict) else None
    if type(schema) is not int or schema < 1:
        raise TokbenchError(f"{origin} is not {what}: it names no schema")
    if schema > newest:
        raise TokbenchError(f"{origin} has schema {schema}, this tokbench reads up to {newest}; install a newer one")
    try:
        return build(kind, values)
    except ValueError as error:
        raise TokbenchError(f"{origin} is not {what}: {error}") from error
