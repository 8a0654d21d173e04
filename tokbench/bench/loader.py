"""From an image source to micro-batches of bytes: choose, read, crop, digest; broken images are skipped and named."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from tokbench.bench.protocol import Protocol
from tokbench.bench.record import SkippedImage
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.images import UnreadableImage

FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
}


@dataclass(frozen=True)
class Batch:
    """Images of one micro-batch, ready to measure, with the digest of each one's pixels."""

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    keys: tuple[bytes, ...]
    images: UInt8[Tensor, "b 3 h w"]


@dataclass
class LoadReport:
    """What a pass over the data came to; complete once the pass is."""

    requested: int = 0
    enlarged: int = 0
    raw: dict[str, bytes] = field(default_factory=dict)
    pixels: dict[str, bytes] = field(default_factory=dict)
    groups: set[str] = field(default_factory=set)
    skipped: list[SkippedImage] = field(default_factory=list)

    def digest(self) -> str:
        """SHA-256 over the ids and source digests of all images measured."""
        return _combined(self.raw)

    def pixels_digest(self) -> str:
        """SHA-256 over the ids and pixel digests of all images measured."""
        return _combined(self.pixels)


@dataclass(frozen=True)
class _Loaded:
    id: str
    group: str
    pixels: np.ndarray
    raw: bytes
    enlarged: bool


def choose(source: ImageSource, protocol: Protocol) -> list[int]:
    """Choose which images are measured: all, or the first ``samples`` of a seeded permutation; in the order of their ids.

    Raises:
        TokbenchError: If there are none.
    """
    by_id = sorted(range(len(source)), key=source.ids.__getitem__)
    if not by_id:
        raise TokbenchError(f"{source.name} holds no image at {protocol.size} px; choose other data or another --size")
    if protocol.samples is not None and protocol.samples < len(by_id):
        permutation = np.random.Generator(np.random.PCG64(protocol.seed)).permutation(len(by_id))
        by_id = [by_id[i] for i in sorted(permutation[: protocol.samples])]
    return by_id


def load_batches(
    source: ImageSource, indices: list[int], protocol: Protocol, report: LoadReport, *, read_ahead: int, strict: bool
) -> Iterator[Batch]:
    """Read images in the background and hand them out in micro-batches.

    Args:
        source: Where they come from.
        indices: Which, in order.
        protocol: Size, filter and micro-batch.
        report: Filled as images come in.
        read_ahead: Images read before they are asked for.
        strict: Stop at the first image that cannot be read.

    Yields:
        Micro-batches of ``protocol.micro_batch`` images, the last one smaller.

    Raises:
        TokbenchError: If ``strict`` and an image cannot be read, or if none can.
    """
    report.requested = len(indices)
    ready: list[_Loaded] = []
    for item in _in_order(source, indices, protocol, max(read_ahead, protocol.micro_batch)):
        if isinstance(item, SkippedImage):
            if strict:
                raise TokbenchError(f"{item.id} cannot be read ({item.reason}); leave --strict out to skip and count such images")
            report.skipped.append(item)
            continue
        ready.append(item)
        if len(ready) == protocol.micro_batch:
            yield _batch(ready, report)
            ready = []
    if ready:
        yield _batch(ready, report)
    if not report.pixels:
        reason = f"the first: {report.skipped[0].id}: {report.skipped[0].reason}" if report.skipped else "there are none"
        raise TokbenchError(f"none of the {len(indices)} images of {source.name} can be read ({reason})")


def fit(image: Image.Image, protocol: Protocol) -> np.ndarray:
    """Scale an image's shortest side to the protocol's size and keep the centre square.

    Returns:
        Bytes ``[size, size, 3]``.
    """
    size = protocol.size
    if image.size != (size, size):
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        # Scaling the centre square alone equals scaling everything and cutting, without the rounding of the other side.
        image = image.resize((size, size), FILTERS[protocol.resize], box=(left, top, left + side, top + side))
    return np.asarray(image)


def _in_order(source: ImageSource, indices: list[int], protocol: Protocol, ahead: int) -> Iterator[_Loaded | SkippedImage]:
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="tokbench-read") as pool:
        waiting: deque[Future[_Loaded | SkippedImage]] = deque()
        try:
            for index in indices:
                waiting.append(pool.submit(_load, source, index, protocol))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _load(source: ImageSource, index: int, protocol: Protocol) -> _Loaded | SkippedImage:
    try:
        image, raw = source.open(index)
    except UnreadableImage as error:
        return SkippedImage(source.ids[index], str(error))
    enlarged = source.ready_size is None and min(image.size) < protocol.size
    return _Loaded(source.ids[index], source.group(index), fit(image, protocol), raw, enlarged)


def _batch(items: list[_Loaded], report: LoadReport) -> Batch:
    keys = tuple(hashlib.sha256(str(item.pixels.shape).encode() + item.pixels.tobytes()).digest() for item in items)
    for item, key in zip(items, keys, strict=True):
        report.raw[item.id], report.pixels[item.id] = item.raw, key
        report.groups.add(item.group)
        report.enlarged += item.enlarged
    images = torch.from_numpy(np.stack([item.pixels for item in items])).permute(0, 3, 1, 2).contiguous()
    return Batch(tuple(item.id for item in items), tuple(item.group for item in items), keys, images)


def _combined(digests: dict[str, bytes]) -> str:
    total = hashlib.sha256()
    for name in sorted(digests):
        total.update(name.encode() + b"\0" + digests[name])
    return total.hexdigest()
