"""Nothing waits for a GPU but for what is asked once a micro-batch: images are sent ahead, and metrics fetch what they keep when a chunk ends."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import tokbench
from tests.bench.gpu_stand_in import CUDA, asked, log, put_on_cuda, without_values
from tokbench.bench.context import MetricContext
from tokbench.bench.loader import Batch
from tokbench.bench.metrics import select
from tokbench.bench.metrics.ms_ssim import ms_ssim
from tokbench.bench.metrics.ssim import ssim
from tokbench.bench.observation import Listing, Subject
from tokbench.bench.panel import Panel
from tokbench.bench.prepared import RunOptions
from tokbench.bench.runner import run
from tokbench.bench.seen import observed
from tokbench.bench.under_test import UnderTest
from tokbench.data.folder import FolderSource
from tokbench.errors import TokbenchError
from tokbench.layout import TokenLayout
from tokbench.nn import packed
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import ContinuousTokens

__all__ = ["asked", "log"]

SMALL = get_protocol(changes={"micro_batch": 2, "size": 64})
BATCH = ("a", "b"), ("group", "group"), (b"", b"")


def test_metrics_wait_for_nothing_within_a_chunk(asked, crops, tmp_path, monkeypatch):
    """Without values, whoever asked for one would fail; nothing is copied that is waited for. Stability has tokens made again, and asks once."""
    monkeypatch.setattr(packed, "available", lambda: False)  # as on a GPU, where weights are laid out by its own library
    listing = Listing(("a", "b"), ("group", "group"))
    under_test = UnderTest(tokbench.load("vqgan"), SMALL)
    context = MetricContext(torch.device("cpu"), 2, tmp_path, None, None, under_test.layout)
    panel = Panel(
        select(("psnr", "ssim", "lpips", "codebook", "stability", "kd_efflite0")), Subject(under_test.layout, 2, (64, 64)), context, listing
    )
    assert len(panel.names) >= 5
    under_test.device = CUDA
    with without_values() as (mode, waits):
        put_on_cuda(under_test.tokenizer, mode)
        for metric in panel._measuring:
            for part in (*getattr(metric, "module", ()), *getattr(getattr(getattr(metric, "network", None), "features", None), "args", ())):
                if isinstance(part, nn.Module):
                    put_on_cuda(part, mode)
        for _ in range(2):
            waits.found.clear()
            asked.clear()
            panel.update(observed(under_test.restore(Batch(*BATCH, crops[:2])), SMALL, listing))
        assert not panel._broken
        assert waits.found == []
    assert asked == [CUDA, CUDA]


class Calls(TorchDispatchMode):
    """Counts what a device is given to do."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += not function.is_view
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("measure", "most"), [(ssim, 120), (ms_ssim, 800)])
def test_a_device_is_given_few_pieces_of_work_for_a_micro_batch(measure, most):
    """Sixteen images of 256 px; a product for each block of lines of each of them would be thousands."""
    with without_values() as (_, waits):
        images = torch.zeros((16, 3, 256, 256), dtype=torch.uint8, device=CUDA)
        with Calls() as calls:
            assert measure(images, images).shape == (16,)
        assert waits.found == []
    assert calls.count <= most


def test_what_is_encoded_again_is_asked_for_a_micro_batch_later(asked, log, crops, tmp_path):
    """Three micro-batches, and the end of a chunk."""
    listing = Listing(("a", "b"), ("group", "group"))
    under_test = UnderTest(tokbench.load("pixel/palette-512"), SMALL)
    context = MetricContext(torch.device("cpu"), 2, tmp_path, None, None, under_test.layout)
    panel = Panel(select(("stability",)), Subject(under_test.layout, 2, (64, 64)), context, listing)
    under_test.device = CUDA
    waited = []
    with without_values() as (mode, _):
        put_on_cuda(under_test.tokenizer, mode)
        for _ in range(3):
            seen = observed(under_test.restore(Batch(*BATCH, crops[:2])), SMALL, listing)
            log.clear()
            panel.update(seen)
            waited.append(log.count(("processor", "waits for", "ordinary")))
        log.clear()
        panel._measuring[0].settle()
        waited.append(log.count(("processor", "waits for", "ordinary")))
        assert not panel._broken
    assert waited == [0, 1, 1, 1]


@pytest.mark.parametrize("name", ["pixel/palette-512", "pixel/rgb"])
def test_a_micro_batch_is_asked_for_when_the_next_has_begun(name, asked, log, crops, monkeypatch):
    under_test = UnderTest(tokbench.load(name), SMALL)
    under_test.device = CUDA
    both = under_test._both
    monkeypatch.setattr(under_test, "_both", lambda *args: (log.append(("tokenizer", "is given", args[1][0])), both(*args))[1])
    batches = [replace(Batch(*BATCH, crops[:2]), ids=(first, "other")) for first in "abc"]
    with without_values() as (mode, waits):
        put_on_cuda(under_test.tokenizer, mode)
        assert list(under_test.restored([])) == []
        for made in under_test.restored([(batch, under_test.send(batch)) for batch in batches]):
            log.append(("metrics", "see", made.ids[0]))
            assert made.originals.device == made.images.device == CUDA
        assert set(waits.found) <= {"_to_copy to cuda"}
    begun = [[("ordinary", "waits for", "sending"), ("memory", "is kept for", "ordinary"), ("tokenizer", "is given", one)] for one in "abc"]
    ended = [[("processor", "waits for", "ordinary"), ("metrics", "see", one)] for one in "abc"]
    assert log == [*begun[0], *begun[1], *ended[0], *begun[2], *ended[1], *ended[2]]
    assert asked == 3 * [CUDA]


class Reused(Tokenizer):
    """Keeps the mean of an image, and writes tokens and images into memory that it uses again."""

    trained_with = ()

    def __init__(self):
        super().__init__()
        self.tokens, self.images = torch.empty(2, 1, 1), torch.empty(2, 3, 64, 64)

    def layout(self, height, width):
        return TokenLayout((height, width), (1, 1), (), channels=1)

    def _image_size(self, grid):
        return 64, 64

    def _encode(self, images, seeds):
        return ContinuousTokens(self.tokens.copy_(images.mean(dim=(1, 2, 3)).reshape(-1, 1, 1)), (1, 1))

    def _decode(self, tokens, seeds):
        return self.images.copy_(tokens.latents[:, :, :, None].expand(-1, 3, 64, 64))


@pytest.mark.parametrize("tokenizer", ["pixel/palette-512", Reused()])
def test_how_many_are_ahead_changes_no_figure(tokenizer, folder, monkeypatch):
    """Six micro-batches, three a chunk, put together by another thread."""
    threads, found = set(), []
    send = UnderTest.send
    monkeypatch.setattr(UnderTest, "send", lambda self, batch: (threads.add(threading.current_thread()), send(self, batch))[1])
    monkeypatch.setattr("tokbench.bench.chunks.MICRO_BATCHES", 3)
    for ahead in (0, 1, 4):
        monkeypatch.setattr(UnderTest, "ahead", ahead)
        seen = []
        options = RunOptions(cache=False, progress=lambda done, total, seen=seen: seen.append(done))
        evaluation = run(tokenizer, folder, metrics=("psnr", "codebook", "stability"), protocol=SMALL, options=options)
        found.append((evaluation.rows, evaluation.record.metrics, evaluation.record.data, evaluation.record.codebooks))
        assert seen == list(range(2, 13, 2))
        assert (threads == {threading.main_thread()}) is (ahead == 0)
    assert found[0] == found[1] == found[2]


def test_threads_end_where_an_image_cannot_be_read(folder, monkeypatch):
    monkeypatch.setattr(UnderTest, "ahead", 1)
    (folder / "07.png").write_bytes(b"no image")
    before = threading.active_count()
    with pytest.raises(TokbenchError, match=r"07\.png"):
        run("pixel/palette-512", FolderSource(folder), metrics=("psnr",), protocol=SMALL, options=RunOptions(cache=False, strict=True))
    assert threading.active_count() == before
