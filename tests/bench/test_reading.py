"""How many threads read, what they hand over, and how work in a device's queue is timed without waiting for it."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tokbench.bench.clocks import Lap
from tokbench.bench.loader import Loaded, LoadReport, as_batch, in_background, key_of, load, load_keyed, read_in_background
from tokbench.data.folder import FolderSource
from tokbench.data.source import ImageSource
from tokbench.images import UnreadableImage, load_rgb, to_float
from tokbench.readers import readers
from tokbench.records.protocol import PRESETS, get_protocol
from tokbench.records.record import SkippedImage


class Grey(ImageSource):
    """Plain pictures; the last cannot be read."""

    name, ready_size, ids = "grey", 8, ("a", "b", "c")

    def read(self, index: int) -> Image.Image:
        if index == 2:
            raise UnreadableImage("cut off")
        return Image.new("RGB", (8, 8), (index,) * 3)

    def raw_digest(self, index: int) -> bytes:
        return bytes([index])


@pytest.mark.parametrize(
    ("cores", "beside", "expected"), [(1, None, 1), (2, None, 2), (64, None, 16), (8, "4", 2), (4, "8", 1), (4, "x", 4)]
)
def test_as_many_threads_read_as_there_are_cores(monkeypatch: pytest.MonkeyPatch, cores: int, beside: str | None, expected: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if beside is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", beside)
    assert readers() == expected
    assert readers(5) == 5


def test_results_come_in_order_from_so_many_threads() -> None:
    together, names = threading.Barrier(3), set()

    def work(number: int) -> int:
        if number < 3:
            together.wait(timeout=20)  # returns only when three threads are here
        names.add(threading.current_thread().name)
        return number**2

    assert list(in_background(work, range(40), ahead=8, workers=3)) == [number**2 for number in range(40)]
    assert len(names) == 3


def test_where_memory_does_not_suffice_fewer_are_read_ahead(caplog: pytest.LogCaptureFixture) -> None:
    started: list[int] = []
    alone: list[tuple[int, int]] = []

    def work(number: int) -> int:
        started.append(number)
        if number in (5, 6):
            raise MemoryError("no room beside others")
        return number**2

    def again(number: int) -> int:
        alone.append((number, len(started)))
        return number**2

    results = in_background(work, range(60), ahead=16, workers=3, alone=again)
    most = 0
    for position, result in enumerate(results):
        assert result == position**2
        if position > 30:
            most = max(most, len(started) - position)
    assert [number for number, _ in alone] == [5, 6]
    assert most <= 16 // 2 // 2 + 1
    assert "from now on 8 images wait at most" in caplog.text
    assert "from now on 4 images wait at most" in caplog.text
    with pytest.raises(MemoryError):
        list(in_background(work, range(60), ahead=16))


def test_an_image_too_large_beside_others_is_read_alone() -> None:
    class Large(Grey):
        def read(self, index: int) -> Image.Image:
            raise UnreadableImage("decoding it takes more memory than there is") from MemoryError()

    protocol = get_protocol(changes={"size": 8})
    with pytest.raises(MemoryError):
        load(Large(), protocol, 0, alone=False)
    skipped = list(read_in_background(Large(), range(3), protocol, ahead=4, workers=2))
    assert skipped == [SkippedImage(name, "decoding it takes more memory than there is") for name in "abc"]


def test_digests_of_pixels_are_taken_by_who_reads() -> None:
    protocol = get_protocol(changes={"size": 8})
    read = [load_keyed(Grey(), protocol, index) for index in range(3)]
    bare = [load(Grey(), protocol, index) for index in range(2)]
    kept = [item for item in read if isinstance(item, Loaded)]
    assert [item.key for item in kept] == [key_of(item.pixels) for item in kept]
    assert len(kept) == 2
    keyed, plain = LoadReport(), LoadReport()
    assert as_batch(kept, keyed).keys == as_batch([item for item in bare if isinstance(item, Loaded)], plain).keys
    assert keyed.pixels == plain.pixels
    assert key_of(np.zeros((2, 8, 3), np.uint8)) != key_of(np.zeros((4, 4, 3), np.uint8))


def test_levels_of_bytes_are_made_once_and_are_those_of_numpy() -> None:
    every = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256)
    expected = (np.arange(256) / 127.5 - 1).astype(np.float32)
    with torch.inference_mode():
        first = to_float(every)
    assert np.array_equal(first[0, 0, 0].numpy(), expected)
    weight = torch.ones(3, requires_grad=True)
    (to_float(every) * weight[:, None, None]).sum().backward()  # what inference made would refuse
    assert weight.grad is not None


def test_a_lap_is_read_off_events_where_a_device_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    now, waited = [0.0], []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self, stream: Any) -> None:
            self.at = now[0]

        def synchronize(self) -> None:
            waited.append(self)

        def elapsed_time(self, other: Any) -> float:
            return 1000 * (other.at - self.at)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace())
    lap = Lap(torch.device("cuda"))
    now[0] = 0.25
    lap.stop()
    assert not waited
    now[0] = 9.0
    assert lap.seconds() == pytest.approx(0.25)
    assert len(waited) == 1


def test_a_lap_on_a_processor_takes_the_clock() -> None:
    lap = Lap(torch.device("cpu"))
    lap.stop()
    assert 0 <= lap.seconds() < 10


def test_jpegs_are_decoded_at_a_fraction_under_a_protocol_that_says_so_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (160, 240, 3), dtype=np.uint8))
    picture.save(tmp_path / "a.jpg")
    picture.save(tmp_path / "b.png")
    source = FolderSource(tmp_path)
    whole = get_protocol("tokbench-256", {"size": 16})
    assert all(protocol.jpeg_draft is None for protocol in PRESETS.values())
    found = [load(source, get_protocol("tokbench-256", {"size": 16, "jpeg_draft": n}), 0) for n in (None, 1, 2, 3, 8)]
    pixels = [item.pixels for item in found if isinstance(item, Loaded)]
    steps = [np.asarray(load_rgb(tmp_path / "a.jpg", shortest=n * 16)).shape[0] for n in (1, 2, 3, 8)]
    assert steps == [20, 40, 80, 160]
    assert [np.array_equal(pixels[0], one) for one in pixels[1:]] == [False, False, False, True]
    raw = [item.raw for item in found if isinstance(item, Loaded)]
    assert len(set(raw)) == 1  # the file is the same
    assert whole.pixels_in != get_protocol("tokbench-256", {"size": 16, "jpeg_draft": 2}).pixels_in
    other = [load(source, get_protocol("tokbench-256", {"size": 16, "jpeg_draft": n}), 1) for n in (None, 1)]
    assert np.array_equal(*(item.pixels for item in other if isinstance(item, Loaded)))
