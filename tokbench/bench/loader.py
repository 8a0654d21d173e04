"""From an image source to micro-batches of bytes: choose, read, crop, digest; broken images are skipped and named."""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from tokbench.bench.fitting import covers, fit
from tokbench.data.source import ImageSource, check_source
from tokbench.errors import TokbenchError
from tokbench.images import UnreadableImage
from tokbench.readers import readers
from tokbench.records.protocol import Protocol
from tokbench.records.record import SkippedImage

logger = logging.getLogger(__name__)

Given = TypeVar("Given")
Item = TypeVar("Item")


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
class Loaded:
    """One image, cut to size.

    Args:
        id: Id of the image.
        group: What it is a sample of.
        pixels: Bytes ``[height, width, 3]``.
        raw: SHA-256 of what it was made from.
        enlarged: Whether it was smaller than the size asked for.
        key: SHA-256 of the pixels and their shape; taken when it is asked for, if it was not before.
        label: Its class, where that is asked for and known.
        caption: Its text, likewise.
    """

    id: str
    group: str
    pixels: np.ndarray
    raw: bytes
    enlarged: bool
    key: bytes = b""
    label: int | None = None
    caption: str | None = None


def choose(source: ImageSource, protocol: Protocol) -> Sequence[int]:
    """Choose which images are measured: all, or the first ``samples`` of a seeded permutation; in the order in which they are read.

    Raises:
        TokbenchError: If there are none, or a source of the user's own does not say what they are called.
    """
    check_source(source)
    count = len(source)
    if not count:
        raise TokbenchError(f"{source.name} holds no image at {protocol.size_text} px; choose other data or another --size")
    if protocol.samples is None or protocol.samples >= count:
        return reading_order(source)
    permutation = np.random.Generator(np.random.PCG64(protocol.seed)).permutation(count)
    by_id = _by_id(source)
    chosen = [by_id[place] for place in sorted(permutation[: protocol.samples].tolist())]
    return sorted(chosen) if source.own_order else chosen


def reading_order(source: ImageSource) -> Sequence[int]:
    """All images in the order in which they are read: that of their ids, of tables that of the rows, which are stored in groups."""
    return range(len(source)) if source.own_order else _by_id(source)


def _by_id(source: ImageSource) -> Sequence[int]:
    everything = range(len(source))
    if all(one <= other for one, other in pairwise(source.ids)):
        return everything  # which takes no memory
    return sorted(everything, key=source.ids.__getitem__)


def load_batches(
    source: ImageSource, indices: Sequence[int], protocol: Protocol, report: LoadReport, *, read_ahead: int, strict: bool
) -> Iterator[Batch]:
    """Read images in the background and hand them out in micro-batches.

    Args:
        source: Where they come from.
        indices: Indices of the images, in order.
        protocol: Size, filter and micro-batch.
        report: Filled as images come in.
        read_ahead: Images read before they are asked for.
        strict: Stop at the first image that cannot be read.

    Yields:
        Micro-batches of as many images as the tokenizer sees at once, the last one smaller.

    Raises:
        TokbenchError: If ``strict`` and an image cannot be read, or if none can.
    """
    report.requested = len(indices)
    items = read_in_background(source, indices, protocol, ahead=read_ahead)
    for images in micro_batches(items, protocol, report, strict=strict):
        yield as_batch(images, report)
    if not report.raw:
        raise none_readable(source.name, report)


def read_in_background(
    source: ImageSource, indices: Iterable[int], protocol: Protocol, *, ahead: int, workers: int | None = None
) -> Generator[Loaded | SkippedImage, None, None]:
    """Read images in threads; where memory does not suffice, fewer ahead.

    Args:
        source: Where they come from.
        indices: Indices of the images, in order.
        protocol: Size and filter.
        ahead: Images read before they are asked for; as many as the tokenizer sees at once, at least.
        workers: Threads; None takes as many as there are cores.
    """
    work, alone = partial(load_keyed, source, protocol, alone=False), partial(load_keyed, source, protocol)
    return in_background(work, indices, ahead=max(ahead, protocol.at_once), workers=readers(workers), alone=alone)


def in_background(
    work: Callable[[Given], Item],
    items: Iterable[Given],
    *,
    ahead: int,
    workers: int = 2,
    start: Callable[[], object] = lambda: None,
    stop: Callable[[], object] = lambda: None,
    alone: Callable[[Given], Item] | None = None,
) -> Generator[Item, None, None]:
    """Do in other threads what is going to be asked for.

    Args:
        work: What to do with an item.
        items: In order; drawn from in this thread.
        ahead: Results at most that wait to be asked for.
        workers: How many threads.
        start: Called once in each of the threads.
        stop: Called when no result is asked for any more, before the threads are waited for.
        alone: What to do with an item where memory did not suffice for ``work``: nothing else is done beside it, and half as much ahead from
            then on. None raises what ``work`` raised.

    Yields:
        What ``work`` returns, in the order of the items; closing the generator ends the threads, which a second interrupt does not hinder.
    """
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="tokbench-read", initializer=start)
    waiting: deque[tuple[Given, Future[Item]]] = deque()

    def first() -> Item:
        nonlocal ahead
        item, future = waiting.popleft()
        try:
            return future.result()
        except MemoryError:
            if alone is None:
                raise
            ahead //= 2
            logger.warning("memory does not suffice to read so far ahead; from now on %d images wait at most", ahead)
            wait([other for _, other in waiting])
            return alone(item)

    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            while len(waiting) > ahead:
                yield first()
        while waiting:
            yield first()
    finally:
        stop()
        running = True
        while running:
            try:
                pool.shutdown(cancel_futures=True)
                running = False
            except KeyboardInterrupt:  # the first one is on its way; threads left behind would end the process by an abort
                continue


def load(source: ImageSource, protocol: Protocol | None, index: int, *, alone: bool = True) -> Loaded | SkippedImage:
    """Read one image and cut it to size, or say why it cannot be read.

    Args:
        source: Where it comes from.
        protocol: Size and filter; None keeps the picture whole.
        index: Index of the image.
        alone: Whether nothing is read beside it, so that lack of memory is a reason; otherwise it may be read again.

    Raises:
        MemoryError: If memory does not suffice, and others are read beside it.
    """
    try:
        image, raw = opened(source, protocol, index)
        pixels = np.asarray(image) if protocol is None else fit(image, protocol)
    except UnreadableImage as error:
        if not alone and isinstance(error.__cause__, MemoryError):
            raise MemoryError(str(error)) from error
        return SkippedImage(source.ids[index], str(error))
    enlarged = protocol is not None and source.ready_size is None and not covers(image, protocol)
    return Loaded(source.ids[index], source.group(index), pixels, raw, enlarged)


def opened(source: ImageSource, protocol: Protocol | None, index: int) -> tuple[Image.Image, bytes]:
    """Decode one image as far as a protocol asks for it, all of it without one, and digest what it is made from.

    Raises:
        UnreadableImage: If the image is broken.
        TokbenchError: If a source of the user's own gives something else than a picture and its digest.
    """
    draft = None if protocol is None else protocol.jpeg_draft
    found: Any = source.open(index) if protocol is None or draft is None else source.open_draft(index, draft * max(protocol.shape))
    image, raw = found
    if not isinstance(image, Image.Image) or image.mode != "RGB" or not isinstance(raw, bytes):
        what = f"a picture of mode {image.mode}" if isinstance(image, Image.Image) else f"a {type(image).__name__}"
        raise TokbenchError(
            f"{source.record(index)} comes as {what} with a digest of type {type(raw).__name__}; {type(source).__name__} must give "
            "8-bit RGB pictures and bytes"
        )
    if 0 in image.size:
        raise UnreadableImage(f"{image.width}x{image.height} pixels")
    return image, raw


def load_keyed(source: ImageSource, protocol: Protocol | None, index: int, *, alone: bool = True) -> Loaded | SkippedImage:
    """As ``load``, with the digest of the pixels: it is taken in the thread that reads."""
    found = load(source, protocol, index, alone=alone)
    return replace(found, key=key_of(found.pixels)) if isinstance(found, Loaded) else found


def key_of(pixels: np.ndarray) -> bytes:
    """SHA-256 of an image's pixels and their shape."""
    return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).digest()


def micro_batches(
    items: Iterable[Loaded | SkippedImage], protocol: Protocol, report: LoadReport, *, strict: bool
) -> Iterator[list[Loaded]]:
    """Gather images in micro-batches, and set aside what cannot be read.

    Args:
        items: Images, in order.
        protocol: Size of a micro-batch.
        report: Filled as images come in, but for the digests of their pixels.
        strict: Stop at the first image that cannot be read.

    Yields:
        As many images as the tokenizer sees at once, the last time fewer.

    Raises:
        TokbenchError: If ``strict`` and an image cannot be read.
    """
    ready: list[Loaded] = []
    for item in items:
        ready += readable([item], report, strict=strict)
        if len(ready) == protocol.at_once:
            yield ready
            ready = []
    if ready:
        yield ready


def readable(items: Iterable[Loaded | SkippedImage], report: LoadReport, *, strict: bool) -> list[Loaded]:
    """Keep the images that can be read, and report all.

    Args:
        items: Images, in order.
        report: Filled, but for the digests of their pixels.
        strict: Stop at the first image that cannot be read.

    Raises:
        TokbenchError: If ``strict`` and an image cannot be read.
    """
    kept = []
    for item in items:
        if isinstance(item, Loaded):
            report.raw[item.id] = item.raw
            report.groups.add(item.group)
            report.enlarged += item.enlarged
            kept.append(item)
        elif strict:
            raise TokbenchError(f"{item.id} cannot be read ({item.reason}); leave --strict out to skip and count such images")
        else:
            report.skipped.append(item)
    return kept


def none_readable(name: str, report: LoadReport) -> TokbenchError:
    """Build the error for images of which none can be read, to be raised by the caller."""
    reason = f"the first: {report.skipped[0].id}: {report.skipped[0].reason}" if report.skipped else "there are none"
    if report.requested == 1:
        return TokbenchError(f"the only image of {name} cannot be read ({reason})")
    return TokbenchError(f"none of the {report.requested} images of {name} can be read ({reason})")


def stacked(images: Sequence[Loaded]) -> UInt8[Tensor, "b 3 h w"]:
    """The pixels of a micro-batch."""
    height, width, channels = images[0].pixels.shape
    pixels = np.empty((len(images), channels, height, width), dtype=np.uint8)
    for place, image in zip(pixels, images, strict=True):
        place[...] = image.pixels.transpose(2, 0, 1)
    return torch.from_numpy(pixels)


def as_batch(images: Sequence[Loaded], report: LoadReport) -> Batch:
    """Put the images of a micro-batch together, and report the digests of their pixels."""
    keys = tuple(image.key or key_of(image.pixels) for image in images)
    report.pixels.update(zip((image.id for image in images), keys, strict=True))
    return Batch(tuple(image.id for image in images), tuple(image.group for image in images), keys, stacked(images))


def _combined(digests: dict[str, bytes]) -> str:
    total = hashlib.sha256()
    for name in sorted(digests):
        total.update(name.encode() + b"\0" + digests[name])
    return total.hexdigest()
