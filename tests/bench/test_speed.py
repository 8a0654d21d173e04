"""Speed tests: tokenizers take turns, figures are medians over rounds, and what cannot be measured says why."""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tokbench.bench import speed as bench_speed
from tokbench.bench.clocks import EventClock, ProcessorClock, clock_of
from tokbench.bench.memory import peak_memory
from tokbench.bench.speed import MOST_CALLS, measure_speed
from tokbench.errors import TokbenchError
from tokbench.layout import TokenLayout
from tokbench.records.speed_record import PeakMemory, SpeedProtocol, SpeedRecord, SpeedRow, speed_record_from_dict
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import DiscreteTokens


class Halves(Tokenizer):
    """One code for every 2 x 2 pixels; ``log`` remembers who was called."""

    trained_with = ()
    stride = 2  # type: ignore[assignment]

    def __init__(self, name: str, log: list[str] | None = None) -> None:
        super().__init__()
        self.name, self.log = name, log
        self.scale = torch.nn.Parameter(torch.ones(4))

    def layout(self, height: int, width: int) -> TokenLayout:
        if height % 2:
            raise TokbenchError(f"image size {height}x{width} does not fit: height and width must be even")
        return TokenLayout.strided(height, width, 2, codebook_sizes=(2,))

    def _encode(self, images: Tensor, seeds: list[int]) -> DiscreteTokens:
        if self.log is not None:
            self.log.append(f"{self.name} encode {len(images)}x{images.shape[2]}")
        layout = self.layout(*images.shape[2:])
        codes = (torch.nn.functional.avg_pool2d(images.mean(dim=1, keepdim=True), 2) * self.scale[0] > 0).long()
        return DiscreteTokens(codes.flatten(1)[..., None].contiguous(), layout.grid, layout.codebook_sizes)

    def _decode(self, tokens: DiscreteTokens, seeds: list[int]) -> Tensor:
        if self.log is not None:
            self.log.append(f"{self.name} decode {len(tokens)}x{tokens.grid[0] * 2}")
        grey = (tokens.codes[..., 0].float() * 2 - 1).unflatten(1, tokens.grid)[:, None]
        return torch.nn.functional.interpolate(grey, scale_factor=2, mode="nearest").expand(-1, 3, -1, -1)


class Scripted:
    """A clock that does the work and answers from a list; without one a call always takes as long."""

    name = "a script"

    def __init__(self, seconds: list[float] | None = None, usual: float = 0.05) -> None:
        self.seconds, self.usual, self.asked, self.begun = list(seconds or []), usual, 0, 0

    def once(self, work: Callable[[], object]) -> float:
        work()
        return self.usual

    def repeated(self, work: Callable[[], object], calls: int) -> Callable[[], float]:
        for _ in range(1 + calls):
            work()
        self.begun += 1
        own = self.seconds.pop(0) if self.seconds else self.usual

        def seconds() -> float:
            self.asked += 1
            return own

        return seconds


QUICK = SpeedProtocol(sizes=(8,), batches=(2,), modes=("warm",), rounds=6, warmup=1, turn_seconds=0.0)


def row_of(record: SpeedRecord, stage: str, mode: str = "warm") -> SpeedRow:
    (row,) = [row for row in record.rows if (row.stage, row.mode) == (stage, mode)]
    return row


def test_figures_are_medians_over_rounds_with_order_statistics_as_ends() -> None:
    times = [0.5, 0.2, 0.4, 0.1, 0.3, 0.6]
    clock = Scripted([seconds for encode in times for seconds in (encode, 10 * encode)])
    (record,) = measure_speed([Halves("a")], QUICK, clock=clock)
    encode, decode = row_of(record, "encode"), row_of(record, "decode")
    assert encode.seconds == statistics.median(times)
    assert encode.images_per_second == 2 / statistics.median(times)
    assert encode.interval is not None
    assert (encode.interval.low, encode.interval.high) == (0.1, 0.6)  # six rounds: the whole range is 96.9 %
    assert encode.interval.method == "order statistics of 6 rounds"
    assert decode.seconds == 10 * statistics.median(times)
    assert (encode.rounds, encode.calls, encode.first_seconds) == (6, 1, 0.05)
    assert record.machine.clock == "a script"


def test_fewer_rounds_have_no_interval() -> None:
    (record,) = measure_speed([Halves("a")], SpeedProtocol((8,), (2,), ("warm",), rounds=5, turn_seconds=0.0), clock=Scripted())
    assert row_of(record, "encode").interval is None
    assert row_of(record, "encode").seconds == 0.05


def test_tokenizers_take_turns_in_another_order_each_round_that_the_seed_fixes() -> None:
    def orders(seed: int) -> list[str]:
        log: list[str] = []
        subjects = [Halves(name, log) for name in "abc"]
        measure_speed(subjects, SpeedProtocol((8,), (2,), ("warm",), rounds=6, warmup=1, turn_seconds=0.0, seed=seed), clock=Scripted())
        turns = [line[0] for line in log[-6 * 3 * 4 :: 4]]  # a turn calls encode twice and decode twice
        return ["".join(turns[start : start + 3]) for start in range(0, 18, 3)]

    found = orders(0)
    assert all(sorted(order) == ["a", "b", "c"] for order in found)
    assert len(set(found)) > 1
    assert found == orders(0) != orders(1)


def test_times_are_asked_for_only_after_a_round_has_been_put_on_its_way() -> None:
    class Watching(Scripted):
        def repeated(self, work: Callable[[], object], calls: int) -> Callable[[], float]:
            assert self.asked % 4 == 0  # two tokenizers, two stages
            return super().repeated(work, calls)

    measure_speed([Halves("a"), Halves("b")], QUICK, clock=Watching())


@pytest.mark.parametrize(("usual", "turn", "calls"), [(0.05, 0.1, 2), (0.04, 0.1, 3), (1.0, 0.1, 1), (0.0, 0.1, MOST_CALLS)])
def test_quick_calls_are_repeated_until_a_turn_has_lasted(usual: float, turn: float, calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = SpeedProtocol((2,), (1,), ("warm",), rounds=1, warmup=1, turn_seconds=turn)
    monkeypatch.setattr(bench_speed, "MOST_CALLS", calls if usual == 0 else MOST_CALLS)
    (record,) = measure_speed([Halves("a")], protocol, clock=Scripted(usual=usual))
    assert row_of(record, "encode").calls == calls
    assert row_of(record, "encode").images_per_second == (1 / usual if usual else None)


def test_a_size_that_does_not_fit_is_a_row_and_the_others_go_on() -> None:
    log: list[str] = []
    protocol = SpeedProtocol((7, 8), (1, 2), ("warm",), rounds=1, warmup=1, turn_seconds=0.0)
    (record,) = measure_speed([Halves("a", log)], protocol, clock=Scripted())
    rows = [row for row in record.rows if row.size == 7]
    assert [(row.batch, row.stage, row.outcome) for row in rows] == [
        *[(1, stage, "does not fit") for stage in ("encode", "decode")],
        *[(2, stage, "does not fit") for stage in ("encode", "decode")],
    ]
    assert {row.reason for row in rows} == {"image size 7x7 does not fit: height and width must be even"}
    assert {row.outcome for row in record.rows if row.size == 8} == {"measured"}
    assert not [line for line in log if line.endswith("x7")]


def broken(stage: str, error: Exception, *, calls: int = 0) -> Halves:
    """A tokenizer whose stage fails after so many calls."""
    subject = Halves("b")
    own, left = getattr(subject, f"_{stage}"), [calls]

    def failing(*arguments: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise error
        return own(*arguments)

    setattr(subject, f"_{stage}", failing)
    return subject


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "out of memory", "memory did not suffice; lower the batch"),
        (MemoryError(), "out of memory", "memory did not suffice; lower the batch"),
        (ZeroDivisionError("nothing there"), "failed", "b fails in encode (ZeroDivisionError: nothing there"),
    ],
)
@pytest.mark.parametrize("calls", [0, 4])  # at the first call, and in a round
def test_who_fails_is_named_and_the_others_are_measured(error: Exception, outcome: str, reason: str, calls: int) -> None:
    whole, failing = measure_speed([Halves("a"), broken("encode", error, calls=calls)], QUICK, clock=Scripted())
    assert {row.outcome for row in whole.rows} == {"measured"}
    encode, decode = row_of(failing, "encode"), row_of(failing, "decode")
    assert encode.outcome == outcome
    assert str(encode.reason).startswith(reason)
    assert (encode.seconds, encode.interval, encode.memory, encode.first_seconds, encode.rounds) == (None, None, None, None, 0)
    assert decode.outcome == (outcome if calls == 0 else "measured")  # there are tokens once it has encoded
    assert failing.beside == ("a",)


@pytest.mark.parametrize(
    ("error", "outcome"), [(RuntimeError("CUDA error: an illegal memory access"), "failed"), (torch.OutOfMemoryError(), "out of memory")]
)
def test_what_a_device_says_late_is_of_the_row(error: Exception, outcome: str) -> None:
    class Late(Scripted):
        def repeated(self, work: Callable[[], object], calls: int) -> Callable[[], float]:
            ready = super().repeated(work, calls)

            def seconds() -> float:
                if self.asked == 2:
                    self.asked += 1
                    raise error
                return ready()

            return seconds

    (record,) = measure_speed([Halves("a")], QUICK, clock=Late())
    assert (row_of(record, "encode").outcome, row_of(record, "decode").outcome) == (outcome, "measured")
    assert row_of(record, "encode").seconds is None


def test_a_device_that_broke_before_is_a_row_at_every_later_size(monkeypatch: pytest.MonkeyPatch) -> None:
    freed: list[torch.device] = []

    def free(device: torch.device) -> None:
        freed.append(device)
        if len(freed) > 1:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(bench_speed, "let_go", free)
    protocol = SpeedProtocol((8, 16), (1,), ("warm",), rounds=1, warmup=1, turn_seconds=0.0)
    (record,) = measure_speed([Halves("a")], protocol, clock=Scripted())
    assert [(row.size, row.outcome) for row in record.rows] == [(8, "measured")] * 2 + [(16, "failed")] * 2
    assert "a fails in setup (RuntimeError: CUDA error" in str(record.rows[-1].reason)


def test_decoding_may_fail_alone() -> None:
    (record,) = measure_speed([broken("decode", MemoryError())], QUICK, clock=Scripted())
    assert row_of(record, "encode").outcome == "measured"
    assert row_of(record, "decode").outcome == "out of memory"


def test_what_breaks_the_contract_is_no_measurement() -> None:
    subject = Halves("b")
    subject._decode = lambda tokens, seeds: torch.full((len(tokens), 3, 8, 8), float("nan"))  # type: ignore[method-assign]
    (record,) = measure_speed([subject], QUICK, clock=Scripted())
    assert row_of(record, "decode").outcome == "failed"
    assert "decoded NaN pixels" in str(row_of(record, "decode").reason)


def test_an_interrupt_ends_it() -> None:
    with pytest.raises(KeyboardInterrupt):
        measure_speed([broken("encode", KeyboardInterrupt(), calls=4)], QUICK, clock=Scripted())  # type: ignore[arg-type]


def test_compiled_takes_turns_with_what_is_not() -> None:
    protocol = SpeedProtocol((8,), (2,), rounds=2, warmup=1, turn_seconds=0.0, compiler="eager")
    (record,) = measure_speed([Halves("a")], protocol, clock=Scripted([0.1, 0.1, 0.2, 0.2, 0.1, 0.1, 0.2, 0.2]))
    assert [(row.mode, row.stage, row.outcome) for row in record.rows] == [
        (mode, stage, "measured") for mode in ("warm", "compiled") for stage in ("encode", "decode")
    ]
    assert torch._dynamo.config.recompile_limit < 1000  # as before


def test_what_does_not_compile_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(function: Callable[..., Any], backend: str) -> Callable[..., Any]:
        def compiled(*arguments: Any, **options: Any) -> Any:
            raise RuntimeError(f"{backend} cannot")

        return compiled

    monkeypatch.setattr(bench_speed, "compiled", refuse)
    protocol = SpeedProtocol((8,), (2,), rounds=1, warmup=1, turn_seconds=0.0)
    (record,) = measure_speed([Halves("a")], protocol, clock=Scripted())
    assert row_of(record, "encode").outcome == "measured"
    assert row_of(record, "encode", "compiled").outcome == "not compiled"
    assert "fails in compiled encode (RuntimeError: inductor cannot" in str(row_of(record, "encode", "compiled").reason)


def test_what_runs_as_it_is_does_not_count_as_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_speed, "compiled", lambda function, backend: function)
    (record,) = measure_speed([Halves("a")], SpeedProtocol((8,), (2,), ("compiled",), rounds=1, warmup=1), clock=Scripted())
    assert [row.mode for row in record.rows] == ["compiled", "compiled"]
    assert row_of(record, "decode", "compiled").reason == "torch.compile makes no graph of decode of a, which would run as it is"


def test_the_record_comes_back_from_its_json_and_progress_comes_to_its_end() -> None:
    steps: list[tuple[int, int]] = []
    subjects = [Halves("a"), broken("encode", MemoryError())]
    protocol = SpeedProtocol((7, 8), (1, 2), ("warm",), rounds=3, warmup=1, turn_seconds=0.0)
    records = measure_speed(subjects, protocol, clock=Scripted(), progress=lambda done, total: steps.append((done, total)))
    assert steps == [(done, 2 * 2 * 2 * 4) for done in range(1, 33)]
    for record in records:
        assert speed_record_from_dict(json.loads(record.to_json()), origin="it") == record
    assert records[0].weights_bytes == 16
    assert records[0].tokenizer.name == "a"


def test_real_clocks_see_time_pass() -> None:
    clock = clock_of(torch.device("cpu"))
    assert clock.name == "time.perf_counter"
    assert clock.once(lambda: time.sleep(0.02)) >= 0.02
    calls: list[int] = []
    seconds = clock.repeated(lambda: (calls.append(1), time.sleep(0.01)), 3)()
    assert len(calls) == 4  # one of them is not timed
    assert seconds >= 0.01
    waited: list[int] = []
    ProcessorClock(lambda: waited.append(len(calls))).repeated(lambda: calls.append(1), 2)()
    assert waited == [5, 7]  # before the first timed call and after the last


def test_events_stand_behind_the_call_that_is_not_timed_and_behind_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    class Event:
        def __init__(self, enable_timing: bool = False) -> None:
            assert enable_timing

        def record(self, stream: str) -> None:
            log.append(f"event on {stream}")

        def synchronize(self) -> None:
            log.append("wait")

        def elapsed_time(self, other: Event) -> float:
            return 6.0  # ms

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: log.append(f"wait for {device}"))
    assert isinstance(clock_of(torch.device("cuda:1")), EventClock)
    seconds = EventClock(torch.device("cuda:1")).repeated(lambda: log.append("call"), 3)
    event = "event on stream of cuda:1"
    assert log == ["wait for cuda:1", "call", event, "call", "call", "call", event]  # nothing waits between calls
    assert seconds() == pytest.approx(0.002)
    assert log[-1] == "wait"


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="this torch has one word for all")
def test_settings_of_which_torch_gives_no_one_word_are_recorded_one_by_one() -> None:
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = [one.fp32_precision for one in (products, convolutions)]
    products.fp32_precision, convolutions.fp32_precision = "tf32", "ieee"
    try:
        settings = bench_speed._machine(torch.device("cpu"), ProcessorClock()).settings
    finally:
        products.fp32_precision, convolutions.fp32_precision = before
    assert settings["float32_matmul_precision"].startswith("cuda tf32, mkldnn ")
    assert settings["cudnn_allow_tf32"].startswith("conv ieee, rnn ")


def test_peak_memory_counts_what_was_let_go_of() -> None:
    found = peak_memory(torch.device("cpu"), lambda: b"x" * (64 << 20))
    if found.process is None:
        pytest.skip("this system does not say how much a process holds")
    assert found.process_added is not None
    assert 60 << 20 < found.process_added < 90 << 20
    assert found.process > found.process_added
    assert found.cuda is None
    small = peak_memory(torch.device("cpu"), lambda: b"x" * (1 << 20))
    assert small.process_added is not None
    assert small.process_added < 32 << 20  # the peak of before is forgotten


def test_memory_of_a_device_is_that_of_the_weights_and_what_was_added(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("synchronize", None), ("reset_peak_memory_stats", None), ("memory_allocated", 100), ("max_memory_allocated", 350)):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    found = peak_memory(torch.device("cuda"), lambda: None, weights=40)
    assert (found.cuda, found.cuda_added) == (290, 250)


@pytest.mark.parametrize(
    "changes",
    [
        {"sizes": ()},
        {"sizes": (0,)},
        {"batches": (0,)},
        {"batches": ()},
        {"modes": ()},
        {"modes": ("warm", "warm")},
        {"rounds": 0},
        {"warmup": 0},
        {"turn_seconds": -1.0},
        {"seed": -1},
    ],
)
def test_protocols_are_checked_at_birth(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        SpeedProtocol(**changes)


def test_rows_are_checked_at_birth() -> None:
    with pytest.raises(ValueError, match="finite"):
        SpeedRow(8, 1, "warm", "encode", seconds=float("nan"))
    with pytest.raises(ValueError, match="not measured"):
        SpeedRow(8, 1, "warm", "encode", "failed", seconds=1.0)
    with pytest.raises(ValueError, match="63 bits"):
        PeakMemory(2**70)


def test_the_example_of_the_page_runs(capsys: pytest.CaptureFixture) -> None:
    page = (Path(__file__).parents[2] / "docs" / "speed.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(example.replace("rounds=6", "rounds=1, warmup=1, turn_seconds=0.0"), {})
    assert re.fullmatch(r"(en|de)code at [14]: \d+ images/s, [\d.]+ ms a call\n", capsys.readouterr().out)
