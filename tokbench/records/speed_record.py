"""The record of a speed test: how long a tokenizer takes, and how much memory, by size, batch and stage; JSON and back; no torch."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from tokbench.configs import plain
from tokbench.errors import TokbenchError
from tokbench.image_size import Size, check_size, size_text
from tokbench.records.intervals import Interval
from tokbench.records.record import Environment, TokenizerInfo, built_record

SCHEMA = 1

KIND = "speed test"
"""What tells these records from those of a run."""

Mode = Literal["warm", "compiled"]
Stage = Literal["encode", "decode"]
Outcome = Literal["measured", "does not fit", "out of memory", "not compiled", "failed"]

MODES: tuple[Mode, ...] = ("warm", "compiled")
"""As it is, after some calls that do not count; and likewise after ``torch.compile``."""

STAGES: tuple[Stage, ...] = ("encode", "decode")

LARGEST_BATCH, MOST_ROUNDS = 65536, 10_000


@dataclass(frozen=True)
class SpeedProtocol:
    """How speed is measured.

    Args:
        sizes: Sides of square images in pixels, or height and width of others.
        batches: Images at once.
        modes: Some of ``MODES``.
        precision: Number format the tokenizers run in.
        rounds: How often every tokenizer has its turn; a figure is the median over rounds.
        warmup: Calls after the first one, and before the rounds, that do not count.
        turn_seconds: What the timed calls of one turn last at least, about.
        seed: Seed of the images, of stochastic tokenizers, and of the order of turns.
        compiler: Backend of ``torch.compile``.
        version: Version of this way to measure; raised whenever a figure may change.

    Raises:
        ValueError: If a number is out of range, or there is no size, batch or mode.
    """

    sizes: tuple[Size, ...] = (256,)
    batches: tuple[int, ...] = (1, 8, 32)
    modes: tuple[Mode, ...] = MODES
    precision: Literal["fp32", "bf16"] = "fp32"
    rounds: int = 10
    warmup: int = 3
    turn_seconds: float = 0.1
    seed: int = 0
    compiler: str = "inductor"
    version: int = 1

    def __post_init__(self) -> None:
        if not self.sizes:
            raise ValueError("sizes must be some, got none")
        for size in self.sizes:
            check_size(size, "each of sizes")
        if not self.batches or not all(1 <= batch <= LARGEST_BATCH for batch in self.batches):
            raise ValueError(f"batches must be some of 1 to {LARGEST_BATCH} images, got {self.batches}")
        if not self.modes or len(set(self.modes)) < len(self.modes):
            raise ValueError(f"modes must be some of {' and '.join(MODES)}, each once, got {self.modes}")
        if not 1 <= self.rounds <= MOST_ROUNDS or not 1 <= self.warmup <= MOST_ROUNDS:
            raise ValueError(f"rounds and warmup must be 1 to {MOST_ROUNDS}, got {self.rounds} and {self.warmup}")
        if not 0 <= self.turn_seconds <= 3600:
            raise ValueError(f"turn_seconds must be 0 to 3600, got {self.turn_seconds}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be 0 or more and fit in 63 bits, got {self.seed}")

    @property
    def label(self) -> str:
        """What a file of a record is called by, behind the tokenizer's name."""
        sizes, batches = "-".join(map(size_text, self.sizes)), "-".join(map(str, self.batches))
        return f"{sizes}px_batch={batches}_{self.precision}"


@dataclass(frozen=True)
class PeakMemory:
    """The most memory that was held while a stage ran once.

    Args:
        process: Resident bytes of the whole process, libraries and other tokenizers included; None where the system does not say.
        process_added: Those beyond what was resident before.
        cuda: Bytes of CUDA's allocator: those of the tokenizer's weights, and what was added; None on other devices.
        cuda_added: Those beyond what was held before.

    Raises:
        ValueError: If a number is negative, or does not fit in 63 bits.
    """

    process: int | None = None
    process_added: int | None = None
    cuda: int | None = None
    cuda_added: int | None = None

    def __post_init__(self) -> None:
        for value in (self.process, self.process_added, self.cuda, self.cuda_added):
            if value is not None and not 0 <= value < 2**63:
                raise ValueError(f"memory must be 0 or more bytes that fit in 63 bits, got {value}")


@dataclass(frozen=True)
class SpeedRow:
    """One stage at one size and batch in one mode.

    Args:
        size: Side of the images in pixels, or height and width.
        batch: Images at once.
        mode: Whether it was compiled.
        stage: Encoding or decoding.
        outcome: Whether it was measured, or why not, in two words.
        seconds: Latency: seconds that a call takes for the whole batch, the median over rounds.
        images_per_second: The batch over these seconds.
        interval: 95 % confidence interval of the seconds; None of fewer than six rounds.
        rounds: Rounds that were measured.
        calls: Timed calls of each round.
        first_seconds: The first call, which allocates, chooses algorithms and compiles.
        memory: Peak memory of one warm call.
        reason: Why it was not measured, as a sentence.

    Raises:
        ValueError: If a number is out of range, or there are seconds of what was not measured.
    """

    size: Size
    batch: int
    mode: Mode
    stage: Stage
    outcome: Outcome = "measured"
    seconds: float | None = None
    images_per_second: float | None = None
    interval: Interval | None = None
    rounds: int = 0
    calls: int = 0
    first_seconds: float | None = None
    memory: PeakMemory | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        check_size(self.size, "size of a row")
        if not 1 <= self.batch <= LARGEST_BATCH:
            raise ValueError(f"a row is of 1 to {LARGEST_BATCH} images at once, got {self.batch}")
        numbers = (self.seconds, self.images_per_second, self.first_seconds)
        if not all(value is None or (math.isfinite(value) and value >= 0) for value in numbers):
            raise ValueError(f"seconds and images per second must be finite and 0 or more, got {numbers}")
        if self.outcome != "measured" and self.seconds is not None:
            raise ValueError(f"a row that was not measured ({self.outcome}) has no seconds, got {self.seconds}")


@dataclass(frozen=True)
class SpeedMachine:
    """Where it ran.

    Args:
        device: Device of the networks, such as ``cuda:0``.
        device_name: What an accelerator is called; None of a CPU, which the environment names.
        threads: Threads of torch.
        clock: How time was taken.
        settings: How torch was set to compute: TF32, and whether algorithms were chosen by trying them.
    """

    device: str
    device_name: str | None
    threads: int
    clock: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SpeedRecord:
    """One tokenizer's speed.

    Args:
        tokenizer: What was measured.
        protocol: How it was measured.
        machine: Where.
        beside: Names of the tokenizers that took turns with this one.
        weights_bytes: Bytes of its weights and buffers.
        rows: Every size, batch, mode and stage, measured or not.
        total_seconds: How long it took with all others.
        environment: Versions.
        created: When.
        kind: Kind of the record.
        schema: Schema of the record.
    """

    tokenizer: TokenizerInfo
    protocol: SpeedProtocol
    machine: SpeedMachine
    beside: tuple[str, ...]
    weights_bytes: int
    rows: tuple[SpeedRow, ...]
    total_seconds: float
    environment: Environment
    created: str
    kind: str = KIND
    schema: int = SCHEMA

    def to_json(self) -> str:
        """Indented JSON."""
        return json.dumps({"kind": self.kind, "schema": self.schema} | plain(self), indent=2, allow_nan=False) + "\n"


def speed_record_from_dict(values: Any, *, origin: str) -> SpeedRecord:
    """Build a record from plain JSON values.

    Args:
        values: What ``SpeedRecord.to_json`` wrote.
        origin: What to call them in errors.

    Raises:
        TokbenchError: If they are no record of a speed test, or of a newer schema.
    """
    if not isinstance(values, dict) or values.get("kind") != KIND:
        raise TokbenchError(f"{origin} is not the record of a speed test; tokbench speed writes them")
    record = built_record(SpeedRecord, values, SCHEMA, origin=origin, what="the record of a speed test")
    assert isinstance(record, SpeedRecord)
    return record
