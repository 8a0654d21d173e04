"""While an export encodes, other threads read ahead and write: what that must not change, and how it ends when something fails."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import tokbench
from tokbench.bench.loader import Loaded, in_background
from tokbench.data.photos import PhotoCrops
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed import encoding
from tokbench.feed.encoding import read_and_encode
from tokbench.feed.export import ExportOptions, export
from tokbench.feed.shards import ShardRows
from tokbench.feed.summary import SUMMARY
from tokbench.feed.verify import VerifyOptions, verify
from tokbench.images import UnreadableImage
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers.pixel.model import PixelRGB

PROTOCOL = get_protocol(changes={"size": 8, "micro_batch": 4})  # on fewer than 4 threads one thread encodes
ROWS = ExportOptions(rows_per_shard=5, batch_size=4)
COUNT = 40


class Noise(ImageSource):
    """Pictures that remember in which thread they were read."""

    name, ready_size = "noise", 8

    def __init__(self, broken=()):
        self.ids = tuple(f"{number:04d}" for number in range(COUNT))
        self.broken, self.readers, self.read_so_far = broken, set(), []

    def read(self, index):
        self.readers.add(threading.current_thread().name)
        self.read_so_far.append(index)
        if index in self.broken:
            raise UnreadableImage("cut off")
        return Image.fromarray(np.random.default_rng(index).integers(0, 256, (8, 8, 3), np.uint8))

    def raw_digest(self, index):
        return bytes([index]) * 32

    def label(self, index):
        self.readers.add(threading.current_thread().name)
        return index


@pytest.fixture
def tokenizer():
    return tokbench.load("pixel/rgb")


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("tokbench-")] == []


def files(folder):
    """Those of an export; a folder in which nothing would lie is not left."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.exists() else {}


def names(*numbers):
    return [f"tokens-{number:05d}-of-00008.parquet" for number in numbers]


def test_a_shard_is_written_while_the_next_one_is_encoded(tokenizer, tmp_path, monkeypatch):
    begun, order = threading.Event(), []
    write, encode = ShardRows.write, tokenizer._encode

    def slow_write(rows, *arguments, **options):
        order.append(("write", rows.number))
        assert rows.number == 7 or begun.wait(60)  # until an image of the next shard is encoded
        begun.clear()
        return write(rows, *arguments, **options)

    def spy(images, seeds):
        order.append("encode")
        begun.set()
        return encode(images, seeds)

    monkeypatch.setattr(ShardRows, "write", slow_write)
    monkeypatch.setattr(tokenizer, "_encode", spy)
    assert export(tokenizer, Noise(), tmp_path, protocol=PROTOCOL, options=ROWS).complete
    assert [step[1] for step in order if step != "encode"] == list(range(8))
    monkeypatch.undo()
    export(tokenizer, Noise(), tmp_path / "plain", protocol=PROTOCOL, options=ROWS)
    assert files(tmp_path / "plain") == {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}


def test_images_and_labels_are_read_by_other_threads(tokenizer, tmp_path):
    source = Noise()
    export(tokenizer, source, tmp_path, protocol=PROTOCOL, options=ROWS)
    assert source.readers
    assert all(name.startswith("tokbench-read") for name in source.readers)


def together(tokenizer, monkeypatch, threads):
    """Whether two micro-batches are at some time encoded at once, in which threads, and with how many of torch's."""
    encode, meeting, seen = tokenizer._encode, threading.Barrier(2), []

    def spy(images, seeds):
        seen.append((threading.current_thread().name, torch.get_num_threads()))
        if not meeting.broken:
            with suppress(threading.BrokenBarrierError):
                meeting.wait(20 if threads == 2 else 0.2)
                meeting.abort()  # once is enough
        return encode(images, seeds)

    monkeypatch.setattr(tokenizer, "_encode", spy)
    return seen


@pytest.fixture
def four_threads():
    usual = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(usual)


@pytest.mark.usefixtures("four_threads")
def test_on_a_cpu_two_threads_encode_with_half_of_the_threads_each(tokenizer, tmp_path, monkeypatch):
    seen = together(tokenizer, monkeypatch, 2)
    export(tokenizer, Noise(broken=(6, 7)), tmp_path / "two", protocol=PROTOCOL, options=ROWS)
    assert {name.rpartition("_")[0] for name, _ in seen} == {"tokbench-read"}
    assert len({name for name, _ in seen}) == 2
    assert {count for _, count in seen} == {2}
    fresh = []
    thread = threading.Thread(target=lambda: fresh.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert [torch.get_num_threads(), *fresh] == [4, 4]
    monkeypatch.undo()
    monkeypatch.setattr(encoding, "shareable", lambda tokenizer: False)
    export(tokenizer, Noise(broken=(6, 7)), tmp_path / "one", protocol=PROTOCOL, options=ROWS)
    assert files(tmp_path / "two") == files(tmp_path / "one")


@pytest.mark.parametrize(("safe", "threads"), [(False, 4), (True, 1)])
@pytest.mark.usefixtures("four_threads")
def test_otherwise_the_caller_s_thread_encodes(safe, threads, tokenizer, tmp_path, monkeypatch):
    torch.set_num_threads(threads)
    monkeypatch.setattr(encoding, "shareable", lambda tokenizer: safe)
    seen = together(tokenizer, monkeypatch, 1)
    export(tokenizer, Noise(), tmp_path, protocol=PROTOCOL, options=ROWS)
    assert set(seen) == {(threading.current_thread().name, threads)}


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize(("threads", "micro_batch", "workers"), [(4, 4, 2), (3, 4, 1), (2, 15, 1), (2, 16, 2), (3, 16, 2), (1, 16, 1)])
def test_small_micro_batches_are_not_left_to_one_thread_each(threads, micro_batch, workers, tokenizer, tmp_path, monkeypatch):
    """PyTorch computes 1x1 convolutions of fewer than 16 images otherwise on one thread."""
    torch.set_num_threads(threads)
    seen = together(tokenizer, monkeypatch, workers)
    export(tokenizer, Noise(), tmp_path, protocol=replace(PROTOCOL, micro_batch=micro_batch), options=replace(ROWS, rows_per_shard=40))
    assert {count for _, count in seen} == {max(1, threads // workers)}
    assert len({name for name, _ in seen}) == workers


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("micro_batch", [4, 16])
def test_the_number_of_threads_changes_no_byte(threads, micro_batch, tmp_path):
    """Held against one micro-batch at a time on two threads, as the bench encodes."""
    vae, protocol = tokbench.load("vae/tiny"), get_protocol(changes={"size": 64, "micro_batch": micro_batch})
    source = PhotoCrops("test", 64)
    source.ids = source.ids[:20]
    torch.set_num_threads(threads)
    export(vae, source, tmp_path, protocol=protocol)
    assert verify(tmp_path, tokenizer=vae, data=source, options=VerifyOptions(sample=20)).ok


@pytest.mark.usefixtures("four_threads")
def test_threads_share_neither_a_class_of_others_nor_one_with_hooks(tmp_path, monkeypatch):
    class Keeps(PixelRGB):
        def _encode(self, images, seeds):
            self.last = images
            return super()._encode(self.last, seeds)

    ours = tokbench.load("pixel/rgb")
    hooked = PixelRGB(ours.config)
    hooked.register_forward_hook(lambda module, inputs, output: None)
    for number, (one, workers) in enumerate([(Keeps(ours.config), 1), (ours, 2), (hooked, 1)]):
        seen = together(one, monkeypatch, workers)
        export(one, Noise(), tmp_path / str(number), protocol=PROTOCOL, options=ROWS)
        assert len({name for name, _ in seen}) == workers


class Layer(torch.nn.Module):
    """Notes that it was entered; the first one takes a while."""

    def __init__(self, number, entered):
        super().__init__()
        self.number, self.entered, self.at = number, entered, threading.Event()

    def forward(self, images):
        self.entered.append(self.number)
        self.at.set()
        if self.number == 0:
            time.sleep(1)
        return images


@pytest.mark.usefixtures("four_threads")
def test_what_ends_an_export_ends_the_other_thread_at_its_next_layer(monkeypatch):
    vae, entered = tokbench.load("vae/tiny"), []
    layers = [Layer(0, entered), Layer(1, entered)]
    monkeypatch.setattr(vae, "encoder", torch.nn.Sequential(*layers, vae.encoder))

    def read(index):
        if index == 0:
            assert layers[0].at.wait(60)
            raise RuntimeError("the first one fails")
        return Loaded(str(index), "", np.zeros((64, 64, 3), np.uint8), b"", enlarged=False)

    protocol = get_protocol(changes={"size": 64, "micro_batch": 4})
    with pytest.raises(RuntimeError, match="the first one fails"):
        list(read_and_encode(vae, read, [range(i, i + 4) for i in range(0, 16, 4)], protocol, ahead=4))
    assert set(entered) == {0}
    assert not any(module._forward_pre_hooks for module in vae.modules())


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize("safe", [True, False])
def test_strict_encodes_nothing_of_a_micro_batch_that_cannot_be_read(safe, tokenizer, tmp_path, monkeypatch):
    def fail(images, seeds):
        raise RuntimeError("it also fails to encode")

    monkeypatch.setattr(encoding, "shareable", lambda tokenizer: safe)
    monkeypatch.setattr(tokenizer, "_encode", fail)
    with pytest.raises(TokbenchError, match=r"^0002 cannot be read \(cut off\)"):
        export(tokenizer, Noise(broken=(2,)), tmp_path, protocol=PROTOCOL, options=replace(ROWS, strict=True))


def test_a_second_interrupt_leaves_no_thread(monkeypatch):
    shut, calls = ThreadPoolExecutor.shutdown, []

    def interrupted(pool, *arguments, **options):
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        shut(pool, *arguments, **options)

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", interrupted)
    results = in_background(lambda index: index, range(100), ahead=4)
    next(results)
    results.close()
    assert len(calls) == 2


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.usefixtures("four_threads")
def test_it_reads_on_across_the_ends_of_shards(threads, tokenizer, tmp_path, monkeypatch):
    """When the first of five shards is whole, images of the next are read already."""
    torch.set_num_threads(threads)
    source, seen, write = Noise(), [], ShardRows.write

    def put(rows, *args, **options):
        until = time.monotonic() + 20  # on a busy machine the others' turn comes late
        while len(source.read_so_far) <= 8 and time.monotonic() < until:
            time.sleep(0.01)
        seen.append(len(source.read_so_far))
        return write(rows, *args, **options)

    monkeypatch.setattr(ShardRows, "write", put)
    export(tokenizer, source, tmp_path, protocol=PROTOCOL, options=replace(ROWS, rows_per_shard=8, batch_size=16))
    assert seen[0] > 8
    assert sorted(source.read_so_far) == list(range(COUNT))


@pytest.mark.parametrize("done", [3, 5, 9, 21, 39])
def test_an_interrupt_leaves_whole_shards_and_can_be_gone_on_from(done, tokenizer, tmp_path):
    export(tokenizer, Noise(broken=(6, 7)), tmp_path / "whole", protocol=PROTOCOL, options=ROWS)

    def interrupt(count, total):
        assert total == COUNT
        if count >= done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(tokenizer, Noise(broken=(6, 7)), tmp_path / "out", protocol=PROTOCOL, options=replace(ROWS, progress=interrupt))
    whole = files(tmp_path / "whole")
    left = files(tmp_path / "out")
    assert list(left) == names(*range(len(left)))
    assert len(left) == (done - 1) // 5
    assert all(data == whole[name] for name, data in left.items())
    assert export(tokenizer, Noise(broken=(6, 7)), tmp_path / "out", protocol=PROTOCOL, options=ROWS).kept == len(left)
    assert files(tmp_path / "out") == whole


def test_a_write_that_fails_stops_the_export_before_the_shard_after_the_next(tokenizer, tmp_path, monkeypatch):
    write, seen = ShardRows.write, []

    def fail(rows, *arguments, **options):
        if rows.number == 2:
            raise TokbenchError("cannot write")
        return write(rows, *arguments, **options)

    monkeypatch.setattr(ShardRows, "write", fail)
    options = replace(ROWS, progress=lambda count, total: seen.append(count))
    with pytest.raises(TokbenchError, match=r"^cannot write$"):
        export(tokenizer, Noise(), tmp_path, protocol=PROTOCOL, options=options)
    assert max(seen) <= 20
    assert list(files(tmp_path)) == names(0, 1)


def test_a_failure_to_encode_lets_the_shard_before_be_written(tokenizer, tmp_path, monkeypatch):
    encode, calls = tokenizer._encode, []

    def fail(images, seeds):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("out of memory")
        return encode(images, seeds)

    monkeypatch.setattr(tokenizer, "_encode", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        export(tokenizer, Noise(), tmp_path, protocol=PROTOCOL, options=ROWS)
    assert list(files(tmp_path)) == names(0)


def test_a_reader_s_error_comes_when_its_image_is_due(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(Noise, "label", lambda source, index: index if index < 17 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(tokenizer, Noise(), tmp_path, protocol=PROTOCOL, options=ROWS)
    assert list(files(tmp_path)) in (names(0, 1), names(0, 1, 2))
    assert SUMMARY not in files(tmp_path)


@pytest.mark.parametrize("ahead", [1, 2, 7, 64, 1000])
@pytest.mark.parametrize("count", [0, 1, 9, 100])
def test_what_is_read_in_the_background_comes_in_order_and_not_too_early(ahead, count):
    started = []
    results = in_background(lambda index: started.append(index) or index**2, range(count), ahead=ahead)
    for position, result in enumerate(results):
        assert result == position**2
        assert len(started) <= position + ahead + 1
    assert sorted(started) == list(range(count))


def test_closing_ends_the_reading():
    started = []
    results = in_background(lambda index: started.append(index) or index, range(10_000), ahead=16)
    assert next(results) == 0
    results.close()
    assert len(started) < 40
