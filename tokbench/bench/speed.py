"""How fast tokenizers encode and decode: they take turns, so that a machine that slows down slows all of them."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from tokbench.bench.about import tokenizer_info
from tokbench.bench.clocks import Clock, clock_of
from tokbench.bench.compiling import compiled, graphs_made, many_graphs
from tokbench.bench.encode import autocast, image_seed, number_format
from tokbench.bench.environment import environment
from tokbench.bench.memory import let_go, peak_memory
from tokbench.conduct import Misbehaved, blamed, check_images, check_tokens, check_unwritten, layout_of, name_of, values_of
from tokbench.errors import TokbenchError, out_of_memory
from tokbench.image_size import Size, sides, size_text
from tokbench.records.intervals import Interval, median_interval
from tokbench.records.speed_record import STAGES, Mode, Outcome, SpeedMachine, SpeedProtocol, SpeedRecord, SpeedRow, Stage
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import Tokens

MOST_CALLS = 1000
"""Timed calls of one turn at most."""

Progress = Callable[[int, int], None]


def measure_speed(
    tokenizers: Sequence[Tokenizer],
    protocol: SpeedProtocol | None = None,
    *,
    clock: Clock | None = None,
    progress: Progress = lambda done, total: None,
) -> list[SpeedRecord]:
    """Measure latency, rate and peak memory of encoding and decoding, at every size and batch, as they are and compiled.

    At one size and batch all tokenizers and modes take turns, round by round, in an order that the seed shuffles anew for each round.
    A turn is one call that is not timed and then some in a row that are. What cannot be measured is a row that says why.

    Args:
        tokenizers: On their devices.
        protocol: How to measure; None takes the default.
        clock: Times the work; None takes that of each tokenizer's device.
        progress: Called after every turn with turns done and turns in all.

    Returns:
        A record of each tokenizer.

    Raises:
        Misbehaved: If a tokenizer cannot be described. One that fails at work has rows that say so.
    """
    protocol = protocol or SpeedProtocol()
    infos = [tokenizer_info(tokenizer) for tokenizer in tokenizers]
    clocks = [clock or clock_of(tokenizer.device) for tokenizer in tokenizers]
    rows: list[list[SpeedRow]] = [[] for _ in tokenizers]
    done, total = 0, len(protocol.sizes) * len(protocol.batches) * len(tokenizers) * len(protocol.modes) * (protocol.rounds + 1)

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    started = time.perf_counter()
    for size in protocol.sizes:
        for batch in protocol.batches:
            with many_graphs() if "compiled" in protocol.modes else nullcontext():
                found = _take_turns(tokenizers, clocks, size, batch, protocol, step)
            for own, more in zip(rows, found, strict=True):
                own += more
    seconds = round(time.perf_counter() - started, 3)
    return [
        SpeedRecord(
            tokenizer=info,
            protocol=protocol,
            machine=_machine(tokenizer.device, own_clock),
            beside=tuple(name_of(other) for other in tokenizers if other is not tokenizer),
            weights_bytes=_weights_bytes(tokenizer),
            rows=tuple(own),
            total_seconds=seconds,
            environment=environment(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        for tokenizer, info, own_clock, own in zip(tokenizers, infos, clocks, rows, strict=True)
    ]


class _Lane:
    """One stage of one tokenizer in one mode: what to call, and what came of it."""

    def __init__(self, row: SpeedRow, work: Callable[[], Any], name: str, clock: Clock) -> None:
        self.row, self.work, self.name, self.clock = row, work, name, clock
        self.seconds: list[float] = []

    @property
    def runs(self) -> bool:
        return self.row.outcome == "measured"

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Turn what goes wrong within into the outcome of the row."""
        try:
            with blamed(self.name, f"{'compiled ' * (self.row.mode == 'compiled')}{self.row.stage}"):
                yield
        except Exception as error:
            self.refuse(*_refusal(error, self.row.mode))

    def refuse(self, outcome: Outcome, reason: str) -> None:
        self.row = replace(self.row, outcome=outcome, reason=reason)

    def finished(self) -> SpeedRow:
        """The row, with the median over rounds."""
        if not self.runs:
            return SpeedRow(self.row.size, self.row.batch, self.row.mode, self.row.stage, self.row.outcome, reason=self.row.reason)
        median, ends = statistics.median(self.seconds), median_interval(self.seconds)
        interval = Interval(*ends, f"order statistics of {len(self.seconds)} rounds") if ends else None
        rate = self.row.batch / median if median > 0 else None
        return replace(self.row, seconds=median, images_per_second=rate, interval=interval, rounds=len(self.seconds))


class _Given:
    """What a tokenizer is given at one size and batch: images of noise, their seeds, and the tokens that it makes of them."""

    def __init__(self, tokenizer: Tokenizer, size: Size, batch: int, protocol: SpeedProtocol) -> None:
        self.tokenizer, self.name, self.protocol = tokenizer, name_of(tokenizer), protocol
        self.layout = layout_of(tokenizer, *sides(size))
        generator = torch.Generator().manual_seed(protocol.seed)
        noise = torch.rand((batch, 3, *sides(size)), generator=generator) * 2 - 1
        self.images = noise.to(tokenizer.device, number_format(tokenizer))
        self.seeds = {stage: [image_seed(protocol.seed, str(number), stage) for number in range(batch)] for stage in STAGES}
        self.tokens: Tokens | None = None

    def work(self, stage: Stage, function: Callable[..., Any]) -> Callable[[], Any]:
        """A call of a stage, through a function that is the tokenizer's own or compiled."""

        def call() -> Any:
            with autocast(self.tokenizer, self.protocol.precision):
                return function(self.images if stage == "encode" else self.tokens, seeds=self.seeds[stage])

        return call

    def first(self, stage: Stage, work: Callable[[], Any], clock: Clock) -> float:
        """The seconds of a first call, whose result is held against the contract."""
        results: list[Any] = []
        given: Tensor = self.images if stage == "encode" else values_of(_there(self.tokens))
        before = given.clone()
        seconds = clock.once(lambda: results.append(work()))
        if stage == "encode":
            tokens = check_tokens(results[0], self.layout, self.images, before, self.name)
            self.tokens = self.tokens or tokens
        else:
            check_unwritten(_there(self.tokens), before, self.name)
            check_images(results[0], (len(self.images), 3, *self.layout.image_size), given.device, self.name)
        return seconds


def _take_turns(
    tokenizers: Sequence[Tokenizer], clocks: Sequence[Clock], size: Size, batch: int, protocol: SpeedProtocol, step: Callable[[], None]
) -> list[list[SpeedRow]]:
    """Rows of every tokenizer at one size and batch."""
    lanes = [
        _prepared(tokenizer, clock, size, batch, protocol, step) for tokenizer, clock in zip(tokenizers, clocks, strict=True)
    ]  # by tokenizer, mode and stage
    turns = [by_stage for by_mode in lanes for by_stage in by_mode]
    for number in range(protocol.rounds):
        order = random.Random(f"{protocol.seed} {size_text(size)} {batch} {number}").sample(turns, len(turns))
        readings: list[tuple[_Lane, Callable[[], float]]] = []
        for turn in order:
            for lane in turn:
                if lane.runs:
                    with lane.refusing():
                        readings.append((lane, lane.clock.repeated(lane.work, lane.row.calls)))
            step()
        for lane, seconds in readings:  # only now: asking waits for the device
            with lane.refusing():  # a device says late what went wrong on it
                lane.seconds.append(seconds())
    return [[lane.finished() for by_stage in by_mode for lane in by_stage] for by_mode in lanes]


def _prepared(
    tokenizer: Tokenizer, clock: Clock, size: Size, batch: int, protocol: SpeedProtocol, step: Callable[[], None]
) -> list[list[_Lane]]:
    """Lanes of one tokenizer, by mode and stage, warmed up; those that cannot run know why."""
    name = name_of(tokenizer)
    try:
        with blamed(name, "setup", may_refuse=True):  # a device that broke before says so here, too
            let_go(tokenizer.device)
            given: _Given | None = _Given(tokenizer, size, batch, protocol)
        problem: tuple[Outcome, str] | None = None
    except Exception as error:
        given, problem = None, _refusal(error, "warm")
    plain: dict[Stage, _Lane] = {}
    for stage in STAGES:
        row = SpeedRow(size, batch, "warm", stage)
        plain[stage] = _Lane(row, given.work(stage, getattr(tokenizer, stage)) if given else lambda: None, name, clock)
        if given is None or problem is not None:
            plain[stage].refuse(*(problem or ("failed", "")))
            continue
        _warm_up(plain[stage], given, tokenizer, warm="warm" in protocol.modes)
        if stage == "encode" and not plain[stage].runs:
            problem = plain[stage].row.outcome, plain[stage].row.reason or ""  # then there are no tokens to decode
    found = []
    for mode in protocol.modes:
        found.append([plain[stage] if mode == "warm" else _compiled(plain[stage], given, tokenizer) for stage in STAGES])
        step()
    return found


def _warm_up(lane: _Lane, given: _Given, tokenizer: Tokenizer, *, warm: bool = True) -> None:
    """Make the first call, those that do not count, and one that measures memory; then choose how many are timed in a turn."""
    stage, protocol = lane.row.stage, given.protocol
    with lane.refusing():
        first = given.first(stage, lane.work, lane.clock)
        lane.row = replace(lane.row, first_seconds=first)
        if not warm:
            return
        shortest = min(lane.clock.once(lane.work) for _ in range(protocol.warmup))
        memory = peak_memory(tokenizer.device, lane.work, weights=_weights_bytes(tokenizer))
        calls = MOST_CALLS if shortest <= 0 else max(1, min(MOST_CALLS, math.ceil(protocol.turn_seconds / shortest)))
        lane.row = replace(lane.row, calls=calls, memory=memory)


def _compiled(plain: _Lane, given: _Given | None, tokenizer: Tokenizer) -> _Lane:
    """The lane of a stage that is compiled; what does not run as it is, is not compiled."""
    stage = plain.row.stage
    row = SpeedRow(plain.row.size, plain.row.batch, "compiled", stage, plain.row.outcome, reason=plain.row.reason)
    lane = _Lane(row, plain.work, plain.name, plain.clock)
    if given is None or not plain.runs:
        return lane
    with lane.refusing():
        lane.work = given.work(stage, compiled(getattr(tokenizer, stage), given.protocol.compiler))
    if lane.runs:
        before = graphs_made()
        _warm_up(lane, given, tokenizer)
        if lane.runs and graphs_made() == before:
            lane.refuse("not compiled", f"torch.compile makes no graph of {stage} of {plain.name}, which would run as it is")
    return lane


def _refusal(error: Exception, mode: Mode) -> tuple[Outcome, str]:
    """What an error makes of a row; a mistake of this package is raised again."""
    if out_of_memory(error):
        return "out of memory", "memory did not suffice; lower the batch or the size"
    if isinstance(error, Misbehaved):
        return ("not compiled" if mode == "compiled" else "failed"), str(error)
    if isinstance(error, TokbenchError):
        return "does not fit", str(error)
    raise error


def _there(tokens: Tokens | None) -> Tokens:
    if tokens is None:
        raise ValueError("decode needs tokens, and encode has not made any")
    return tokens


def _weights_bytes(tokenizer: Tokenizer) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in (*tokenizer.parameters(), *tokenizer.buffers()))


def _machine(device: torch.device, clock: Clock) -> SpeedMachine:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    settings = {
        "float32_matmul_precision": _said(torch.get_float32_matmul_precision, {"cuda": "cuda.matmul", "mkldnn": "mkldnn.matmul"}),
        "cudnn_allow_tf32": _said(lambda: torch.backends.cudnn.allow_tf32, {"conv": "cudnn.conv", "rnn": "cudnn.rnn"}),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
    }
    return SpeedMachine(str(device), name, torch.get_num_threads(), clock.name, settings)


def _said(setting: Callable[[], Any], parts: Mapping[str, str]) -> Any:
    """A setting of torch, which refuses to give one word where its newer settings differ between backends or operators."""
    try:
        return setting()
    except RuntimeError:
        return ", ".join(f"{name} {attrgetter(place)(torch.backends).fp32_precision}" for name, place in parts.items())
