"""Random crops: a function of seed and step, never enlarged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.image_size import Size
from tokbench.images import UnreadableImage
from tokbench.ranks import Ranks
from tokbench.train.crops import RandomCrops

MakeSource = Callable[[list], ImageSource]
SIZES = [(40, 30), (30, 50), (16, 16), (17, 90), (64, 64)]


def crops(source: ImageSource, *, size: Size = 16, scale: tuple[float, float] = (0.3, 0.9), seed: int = 0) -> RandomCrops:
    return RandomCrops(source, size=size, scale=scale, seed=seed)


def test_a_batch_is_bytes_of_the_size_asked_for(noise: MakeSource) -> None:
    batch = crops(noise(SIZES)).batch(0, 5)
    assert batch.shape == (5, 3, 16, 16)
    assert batch.dtype == torch.uint8
    assert batch.is_contiguous()


def test_the_same_step_gives_the_same_batch_whatever_came_before(noise: MakeSource) -> None:
    one, other = crops(noise(SIZES)), crops(noise(SIZES))
    for step in (0, 1, 5, 2**31):
        one.batch(step, 3)
    for step in (5, 2**31, 0):
        assert torch.equal(one.batch(step, 4), other.batch(step, 4))


def test_what_was_found_unusable_does_not_change_later_batches(noise: MakeSource) -> None:
    mixed = [None, (40, 30), (8, 90), (30, 50), None]
    warm, cold = crops(noise(mixed)), crops(noise(mixed))
    for step in range(10):
        warm.batch(step, 4)
    assert torch.equal(warm.batch(20, 6), cold.batch(20, 6))


class Slow(ImageSource):
    """Pictures of which the first to be asked for come last, and some are too small or broken; counts how many are read at once."""

    name = "slow"

    def __init__(self) -> None:
        self.ids = tuple(f"{number:03d}" for number in range(40))
        self.now, self.most, self.lock = 0, 0, threading.Lock()

    def read(self, index: int) -> Image.Image:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.002 * (index % 5))
        with self.lock:
            self.now -= 1
        if index % 4 == 1:
            raise UnreadableImage("broken")
        side = 8 if index % 4 == 2 else 20 + index
        return Image.fromarray(np.random.Generator(np.random.PCG64(index)).integers(0, 255, (side, side + 3, 3), np.uint8))

    def raw_digest(self, index: int) -> bytes:
        return bytes([index]) * 32


def alone(source: ImageSource, step: int, count: int) -> np.ndarray:
    """The batch as one thread draws it, picture by picture: what stands in the class, in the simplest way."""
    rng, made = np.random.Generator(np.random.PCG64([0, step])), []
    while len(made) < count:
        index = int(rng.integers(len(source)))
        if index % 4 in (1, 2):
            continue
        image, (along, across, down, mirror) = source.read(index), rng.random(4)
        side = max(16.0, (0.3 + 0.6 * along) * min(image.size))
        left, top = across * (image.width - side), down * (image.height - side)
        crop = np.asarray(image.resize((16, 16), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side)))
        made.append(crop[:, ::-1] if mirror < 0.5 else crop)
    return np.stack(made).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("workers", [1, 4])
def test_threads_draw_what_one_draws(workers: int) -> None:
    source = Slow()
    made = RandomCrops(source, size=16, scale=(0.3, 0.9), seed=0, workers=workers)
    for step in (0, 1, 7):
        assert np.array_equal(made.batch(step, 24).numpy(), alone(Slow(), step, 24))
        shares = [
            RandomCrops(Slow(), size=16, scale=(0.3, 0.9), seed=0, workers=workers).batch(step, 24, Ranks(rank, 3)) for rank in range(3)
        ]
        assert torch.equal(torch.cat(shares), made.batch(step, 24))
    assert (source.most > 1) is (workers > 1)


def test_steps_and_seeds_differ(noise: MakeSource) -> None:
    source = noise(SIZES)
    batches = [crops(source, seed=seed).batch(step, 2) for seed in (0, 1) for step in (0, 1)]
    assert all(not torch.equal(a, b) for i, a in enumerate(batches) for b in batches[:i])


@pytest.mark.parametrize("scale", [(0.01, 0.02), (0.3, 0.9), (1.0, 1.0)])
def test_crops_are_square_inside_and_never_enlarged(noise: MakeSource, scale: tuple[float, float], monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = []
    resize = Image.Image.resize

    def spy(image: Image.Image, size: tuple[int, int], resample: Image.Resampling, box: tuple[float, ...]) -> Image.Image:
        boxes.append((image.size, box))
        return resize(image, size, resample, box=box)

    drawn = crops(noise(SIZES), scale=scale)
    for index in range(len(SIZES)):
        drawn._read(index)  # before the spy watches
    monkeypatch.setattr(Image.Image, "resize", spy)
    for step in range(20):
        drawn.batch(step, 4)
    assert len(boxes) == 80
    for (width, height), (left, top, right, bottom) in boxes:
        side = right - left
        assert side == pytest.approx(bottom - top)
        assert side >= 16 - 1e-9
        assert side <= max(16, scale[1] * min(width, height)) + 1e-9
        assert left >= 0
        assert top >= 0
        assert right <= width
        assert bottom <= height


@pytest.mark.parametrize("size", [(16, 24), (24, 10)])
@pytest.mark.parametrize("scale", [(0.01, 0.02), (0.3, 0.9), (1.0, 1.0)])
def test_crops_of_another_shape_keep_it(
    noise: MakeSource, size: tuple[int, int], scale: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes, resize, (tall, wide) = [], Image.Image.resize, size

    def spy(image: Image.Image, size: tuple[int, int], resample: Image.Resampling, box: tuple[float, ...]) -> Image.Image:
        boxes.append((image.size, box))
        return resize(image, size, resample, box=box)

    drawn = crops(noise([*SIZES, (30, 24)]), size=size, scale=scale)
    for index in range(len(SIZES) + 1):
        drawn._read(index)  # before the spy watches
    monkeypatch.setattr(Image.Image, "resize", spy)
    for step in range(20):
        assert drawn.batch(step, 4).shape == (4, 3, *size)
    for (width, height), (left, top, right, bottom) in boxes:
        assert (bottom - top) / (right - left) == pytest.approx(tall / wide)
        assert bottom - top == pytest.approx(max(tall, min(bottom - top, scale[1] * min(height, width * tall / wide))))
        assert min(left, top) >= 0
        assert right <= width + 1e-9
        assert bottom <= height + 1e-9


def test_squares_are_cut_as_they_always_were(noise: MakeSource) -> None:
    """A run of before goes on with the crops it would have had."""
    source = noise(SIZES)
    drawn, rng = crops(source).batch(3, 6), np.random.Generator(np.random.PCG64([0, 3]))
    for crop in drawn:
        image = source.read(int(rng.integers(len(SIZES))))
        along, across, down, mirror = rng.random(4)
        side = max(16.0, (0.3 + (0.9 - 0.3) * along) * min(image.size))
        left, top = across * (image.width - side), down * (image.height - side)
        pixels = np.asarray(image.resize((16, 16), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side)))
        assert np.array_equal(crop.permute(1, 2, 0).numpy(), pixels[:, ::-1] if mirror < 0.5 else pixels)


def test_about_half_are_mirrored(noise: MakeSource) -> None:
    """Of a picture that fills the crop, only two versions are left."""
    batch = crops(noise([(16, 16)])).batch(0, 64)
    versions, counts = batch.unique(dim=0, return_counts=True)
    assert len(versions) == 2
    assert torch.equal(versions[0].flip(2), versions[1])
    assert 16 < int(counts[0]) < 48


def test_all_pictures_take_part(noise: MakeSource) -> None:
    drawn = crops(noise(SIZES))
    drawn.batch(0, 100)
    assert sorted(drawn._cache) == [0, 1, 2, 3, 4]


def test_nothing_to_draw_from(noise: MakeSource) -> None:
    with pytest.raises(TokbenchError, match="no image of noise can be used for training at 16 px: all are unreadable or smaller"):
        crops(noise([None, (15, 40)])).batch(0, 1)
    with pytest.raises(TokbenchError, match="no image of noise can be used for training at 16x24 px: all are unreadable or smaller"):
        crops(noise([None, (16, 24)]), size=(16, 24)).batch(0, 1)


@pytest.mark.parametrize("processes", [2, 3])
def test_shares_of_a_batch_make_the_whole(noise: MakeSource, processes: int) -> None:
    mixed = [None, (40, 30), (8, 90), (30, 50), None, (16, 16)]
    whole = crops(noise(mixed))
    apart = [crops(noise(mixed)) for _ in range(processes)]
    for step in range(4):
        shares = [drawn.batch(step, 6, Ranks(rank, processes)) for rank, drawn in enumerate(apart)]
        assert [len(share) for share in shares] == [6 // processes] * processes
        assert torch.equal(torch.cat(shares), whole.batch(step, 6))


def test_a_share_reads_what_others_draw_once_at_most(noise: MakeSource) -> None:
    source, read = noise(SIZES), list[int]()
    drawn = crops(source)
    drawn._cached_bytes = 1 << 40  # nothing more is kept
    picture = source.read
    source.read = lambda index: read.append(index) or picture(index)  # type: ignore[method-assign,func-returns-value]
    for step in range(8):
        drawn.batch(step, 8, Ranks(0, 4))
    assert len(read) <= 2 * 8 + len(SIZES)
