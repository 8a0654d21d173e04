"""One pass over the data: read, encode, decode, feed every metric, and put it all in a record."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tokbench.bench.about import tokenizer_info
from tokbench.bench.anchors import Anchor, parse_anchor
from tokbench.bench.context import MetricContext
from tokbench.bench.encode import Timed, decode, encode, reproducible, untimed
from tokbench.bench.environment import environment
from tokbench.bench.identity import training_of_tokenizer, weights_digest
from tokbench.bench.loader import Batch, LoadReport, choose, load_batches
from tokbench.bench.metrics import select
from tokbench.bench.microbatch import padded
from tokbench.bench.observation import Listing, Observation, Subject
from tokbench.bench.panel import Panel
from tokbench.bench.saved_images import ImageSaver
from tokbench.conduct import Misbehaved, blamed, layout_of, name_of
from tokbench.configs import plain, with_overrides
from tokbench.data.open import PHOTO_SPECS, open_source
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.images import to_float, to_uint8
from tokbench.layout import TokenLayout
from tokbench.records.intervals import Interval, group_bootstrap, median_interval
from tokbench.records.protocol import CHANGEABLE, Protocol, get_protocol
from tokbench.records.record import DataInfo, Record, Timing, TokenizerInfo, TokensInfo
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.zoo import load
from tokbench.tokens import Tokens
from tokbench.weights.assets import cache_dir
from tokbench.weights.training import Training

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class RunOptions:
    """What may differ between two runs of one protocol without changing a figure.

    Args:
        batch_size: Images read ahead; the networks always see ``protocol.micro_batch``.
        strict: Stop at the first image that cannot be read, instead of skipping it.
        feature_weights: The Inception file for ``rfid``, if not the fetched one.
        save_images: Folder for reconstructions and originals as PNG files, see ``tokbench.bench.saved_images``; None writes none.
        cache: Keep the features of reference images in the user's cache.
        progress: Called after every micro-batch with images done and images in all.
    """

    batch_size: int = 64
    strict: bool = False
    feature_weights: str | Path | None = None
    save_images: str | Path | None = None
    cache: bool = True
    progress: Progress = field(default=lambda done, total: None)


@dataclass(frozen=True)
class Evaluation:
    """A record and the per-image rows behind it.

    Args:
        record: The record.
        rows: Column to image id to value.
        failures: One line for every metric that failed; its reason in the record says the same.
    """

    record: Record
    rows: dict[str, dict[str, float]]
    failures: tuple[str, ...] = ()


def evaluate(
    tokenizer: str | Tokenizer | Anchor,
    data: str | Path | ImageSource = "photos",
    *,
    size: int | None = None,
    limit: int | None = None,
    seed: int | None = None,
    metrics: str | Sequence[str] | None = None,
    protocol: Protocol | None = None,
    options: RunOptions | None = None,
) -> Record:
    """Measure a tokenizer.

    Args:
        tokenizer: What ``tokbench.load`` returns, your own ``Tokenizer``, or a name as ``load`` takes it; ``anchor/webp-320`` is a codec.
        data: ``photos``, a folder, a zip, tar shards, a parquet file, ``hf:NAME``, or an ``ImageSource``.
        size: Side of the square images in pixels; None takes that of the protocol. So do the next two.
        limit: Images at most, chosen by ``seed``.
        seed: Seed of that choice and of stochastic tokenizers.
        metrics: One name, several separated by commas, or a sequence of them; None takes those measured by default.
        protocol: How to measure; None takes ``photos-64``, with the name of ``data``.
        options: What changes no figure.

    Returns:
        The record.

    Raises:
        Misbehaved: If the tokenizer fails, or breaks its contract.
        TokbenchError: If data, metrics or tokenizer do not fit together.
    """
    evaluation = run(tokenizer, data, size=size, limit=limit, seed=seed, metrics=metrics, protocol=protocol, options=options)
    for failure in evaluation.failures:
        logger.warning("%s", failure)
    return evaluation.record


def run(
    tokenizer: str | Tokenizer | Anchor,
    data: str | Path | ImageSource = "photos",
    *,
    size: int | None = None,
    limit: int | None = None,
    seed: int | None = None,
    metrics: str | Sequence[str] | None = None,
    protocol: Protocol | None = None,
    options: RunOptions | None = None,
) -> Evaluation:
    """Measure a tokenizer as ``evaluate`` does, and return the values of every image too.

    Returns:
        What ``tokbench.write_record`` writes: the record and its rows; and a line for every metric that failed.
    """
    options = options or RunOptions()
    changes = {"size": size, "samples": limit, "seed": seed}
    protocol = with_overrides(protocol or get_protocol(), {key: value for key, value in changes.items() if value is not None})
    classes = select(_names(metrics))
    if isinstance(tokenizer, str):
        tokenizer = parse_anchor(tokenizer) or load(tokenizer)
    source = data if isinstance(data, ImageSource) else open_source(str(data), size=protocol.size)
    if metrics is None:
        classes += select(source.metrics)
    if source.ready_size is not None and source.ready_size != protocol.size:
        raise TokbenchError(f"{source.name} yields {source.ready_size} px images, the protocol asks for {protocol.size}")
    if source.name != protocol.data:
        protocol = get_protocol(protocol.name, _changes(protocol), data=source.name)
    indices = choose(source, protocol)
    under_test = UnderTest(tokenizer, protocol)
    subject = Subject(under_test.layout, len(indices), (protocol.size, protocol.size))
    weights = None if options.feature_weights is None else Path(options.feature_weights)
    cache = cache_dir() / "features" if options.cache else None
    context = MetricContext(under_test.device, protocol.micro_batch, cache, weights, source, under_test.layout)
    listing = Listing(tuple(source.ids[index] for index in indices), tuple(source.group(index) for index in indices))
    panel = Panel(classes, subject, context)

    saver = None
    if options.save_images is not None:
        saver = ImageSaver(Path(options.save_images), under_test.info(), protocol, source.name, list(listing.ids))
    started = time.perf_counter()
    report = LoadReport()
    done = 0
    with reproducible():
        for batch in load_batches(source, indices, protocol, report, read_ahead=options.batch_size, strict=options.strict):
            observation = under_test.observe(batch, listing)
            panel.update(observation)
            if saver is not None:
                saver.add(observation)
            done += len(batch.ids)
            options.progress(done, len(indices))
    if saver is not None:
        saver.finish()
    measured = Subject(under_test.layout, done, subject.image_size)
    results, rows, codebooks = panel.finish(measured, under_test.training.used)
    record = Record(
        tokenizer=under_test.info(),
        data=_data_info(source, report),
        protocol=protocol,
        protocol_label=protocol.label,
        metrics=results,
        tokens=under_test.tokens_info(),
        timing=under_test.timing(time.perf_counter() - started),
        environment=environment(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        codebooks=codebooks,
        trained_on=under_test.training.includes(source.name, report.raw.values(), by_name=source.name in PHOTO_SPECS),
    )
    return Evaluation(record, rows, tuple(panel.failures))


class UnderTest:
    """A tokenizer or an anchor, run on micro-batches of one fixed size and timed."""

    def __init__(self, tokenizer: Tokenizer | Anchor, protocol: Protocol) -> None:
        self.tokenizer, self.protocol = tokenizer, protocol
        self.layout: TokenLayout | None = None
        self.device = torch.device("cpu")
        self.training = Training(())
        self._state: str | None = None
        if isinstance(tokenizer, Tokenizer):
            self.layout = layout_of(tokenizer, protocol.size, protocol.size)
            with blamed(name_of(tokenizer), "its device, weights and training"):
                self.training, self.device = training_of_tokenizer(tokenizer), tokenizer.device
                self._state = weights_digest(tokenizer)
        self._seconds: dict[str, list[float]] = {"encode": [], "decode": []}
        self._bytes: list[int] = []
        self._groups: list[str] = []

    def observe(self, batch: Batch, listing: Listing) -> Observation:
        """Encode and decode one micro-batch of the images listed; the padding is cut off again."""
        count = len(batch.ids)
        reference = padded(batch.images, self.protocol.micro_batch).to(self.device)
        tokens: Tokens | None = None
        if isinstance(self.tokenizer, Anchor):
            start = time.perf_counter()
            reconstruction, sizes = self.tokenizer.transcode(reference[:count])
            self._seconds["encode"].append((time.perf_counter() - start) / count)
            self._bytes += sizes
            self._groups += batch.groups
        else:
            everything = self._encode(to_float(reference), batch.ids, self._timer("encode"))
            images = decode(self.tokenizer, everything, batch.ids, self.protocol, timed=self._timer("decode"))
            reconstruction = to_uint8(images, rule=self.protocol.uint8)[:count]
            tokens = everything[:count]
        return Observation(
            listing=listing,
            places=listing.places(batch.ids),
            keys=batch.keys,
            reference=reference[:count],
            reconstruction=reconstruction,
            tokens=tokens,
            reencode=partial(self._reencode, reconstruction, batch.ids),
        )

    def _encode(self, images: Tensor, ids: tuple[str, ...], timed: Timed = untimed) -> Tokens:
        assert isinstance(self.tokenizer, Tokenizer)
        return encode(self.tokenizer, images, ids, self.protocol, layout=self.layout, timed=timed)

    def _reencode(self, reconstruction: Tensor, ids: tuple[str, ...]) -> Tokens:
        images = to_float(padded(reconstruction, self.protocol.micro_batch))
        return self._encode(images, ids)[: len(reconstruction)]

    def _timer(self, what: str) -> Timed:
        def timed(action: Callable[[], Any]) -> Any:
            self._wait()
            start = time.perf_counter()
            result = action()
            self._wait()
            self._seconds[what].append((time.perf_counter() - start) / self.protocol.micro_batch)
            return result

        return timed

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def info(self) -> TokenizerInfo:
        """What was measured, as it is now.

        Raises:
            Misbehaved: If its tensors are not those it had before the first image.
        """
        if isinstance(self.tokenizer, Anchor):
            codec = self.tokenizer.config
            return TokenizerInfo(self.tokenizer.name, plain(codec), None, 0, codec=codec.codec)
        info = tokenizer_info(self.tokenizer)
        if info.state_sha256 != self._state:
            raise Misbehaved(
                f"{info.name} changed its weights while it was measured; call .eval(), and let encode and decode write nothing"
            )
        return info

    def tokens_info(self) -> TokensInfo:
        """Derived from the layout, or measured for an anchor."""
        layout = self.layout
        if layout is None:
            sizes = [8.0 * size for size in self._bytes]
            bits = sum(sizes) / len(sizes)
            interval = group_bootstrap(sizes, self._groups)
            return TokensInfo(
                None, None, bits, bits / self.protocol.size**2, (), (), bits_are="mean file size measured", bits_interval=interval
            )
        kind = "ceiling of a uniform code" if layout.discrete else "none: continuous latents"
        return TokensInfo(
            positions=layout.positions,
            tokens_per_image=layout.tokens_per_image,
            bits_per_image=layout.bits_per_image,
            bpp=layout.bpp,
            grid=layout.grid,
            codebook_sizes=layout.codebook_sizes,
            channels=layout.channels,
            storage_bits_per_image=layout.storage_bits_per_image,
            bits_are=kind,
        )

    def timing(self, total: float) -> Timing:
        """Median rates; the first micro-batch, which warms up, is left out."""
        (encode, encode_interval), (decode, decode_interval) = (_rate(self._seconds[what][1:]) for what in ("encode", "decode"))
        return Timing(
            encode,
            decode,
            self.protocol.micro_batch,
            str(self.device),
            torch.get_num_threads(),
            round(total, 3),
            encode_interval,
            decode_interval,
        )


def _rate(seconds: list[float]) -> tuple[float | None, Interval | None]:
    """Images per second, from the seconds an image took in each micro-batch, and how sure that is."""
    if not seconds:
        return None, None
    ends = median_interval(seconds)
    how = f"order statistics of {len(seconds)} micro-batches of one pass"
    return 1.0 / statistics.median(seconds), Interval(1.0 / ends[1], 1.0 / ends[0], how) if ends else None


def _names(metrics: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if isinstance(metrics, str):
        return tuple(part.strip() for part in metrics.split(",") if part.strip())
    return None if metrics is None else tuple(metrics)


NAMED = 20
"""Images passed over that a record names."""


def _data_info(source: ImageSource, report: LoadReport) -> DataInfo:
    return DataInfo(
        name=source.name,
        digest=report.digest(),
        pixels_digest=report.pixels_digest(),
        requested=report.requested,
        count=len(report.pixels),
        groups=len(report.groups),
        enlarged=report.enlarged,
        skipped=tuple(report.skipped),
        passed_over=len(source.passed_over),
        passed_over_names=source.passed_over[:NAMED],
    )


def _changes(protocol: Protocol) -> dict[str, object]:
    return {name: getattr(protocol, name) for name in CHANGEABLE}
