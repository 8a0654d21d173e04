"""A run made ready: tokenizer, images, protocol and metrics held against each other, and measured chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from tokbench.bench.anchors import Anchor, parse_anchor
from tokbench.bench.cache_size import features_dir, limit
from tokbench.bench.chunks import Chunk, ImageRow, chunk_size, spans
from tokbench.bench.context import MetricContext
from tokbench.bench.facts import DataFacts, RunFacts, digest_of_images, versions
from tokbench.bench.given import GivenImages
from tokbench.bench.loader import Loaded, LoadReport, choose
from tokbench.bench.metrics import against_reference, measured_by, select
from tokbench.bench.observation import Listing, Observation, Subject
from tokbench.bench.panel import Panel
from tokbench.bench.readout import reference_to
from tokbench.bench.reference_opening import References
from tokbench.bench.references import Reference
from tokbench.bench.saved_images import ImageSaver
from tokbench.bench.together import measure_chunk, measure_chunks
from tokbench.bench.under_test import UnderTest
from tokbench.data.open import open_source, spec_of
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.image_size import size_text
from tokbench.names import Names
from tokbench.records.protocol import Protocol
from tokbench.records.record import SkippedImage
from tokbench.tokenizers import zoo
from tokbench.tokenizers.base import Tokenizer

Progress = Callable[[int, int], None]

NAMED = 20
"""Images passed over that a record names."""


@dataclass(frozen=True)
class RunOptions:
    """What may differ between two runs of one protocol without changing a figure.

    Args:
        batch_size: Images read ahead; the networks always see ``protocol.micro_batch``.
        workers: Threads that read; None takes as many as there are cores, see ``tokbench.readers``.
        strict: Stop at the first image that cannot be read, instead of skipping it.
        feature_weights: The Inception file for ``rfid``, if not the fetched one.
        save_images: Folder for reconstructions and originals as PNG files, see ``tokbench.bench.saved_images``; None writes none.
        cache: Keep the features of reference images in the user's cache.
        progress: Called after every micro-batch with images done and images in all.
        reference: What reconstructions are compared with beside their originals: statistics, a folder or images, as ``open_reference`` takes
            them; ``References`` are opened once for several runs.

    Raises:
        ValueError: If ``batch_size`` or ``workers`` is no whole number from 1 on.
    """

    batch_size: int = 64
    workers: int | None = None
    strict: bool = False
    feature_weights: str | Path | None = None
    save_images: str | Path | None = None
    cache: bool = True
    progress: Progress = field(default=lambda done, total: None)
    reference: str | Path | References | None = None

    def __post_init__(self) -> None:
        for name, given in {"batch_size": self.batch_size, "workers": 1 if self.workers is None else self.workers}.items():
            if type(given) is not int or given < 1:
                raise ValueError(f"{name} must be a whole number from 1 on, got {given!r}")


def _listing(source: ImageSource, indices: Sequence[int]) -> Listing:
    """The images asked for. Names are in one piece, as there may be millions; those of groups are there once, where each image is its own."""
    everything = isinstance(indices, range) and isinstance(source.ids, Names)
    ids = source.ids if everything else Names.of(source.ids[index] for index in indices)
    if all(source.group(index) == source.ids[index] for index in indices):
        return Listing(ids, ids)
    return Listing(ids, Names.of(source.group(index) for index in indices))


class PreparedRun:
    """One tokenizer about to be measured on one set of images.

    Args:
        tokenizer: A tokenizer, an anchor, or a name as ``tokbench.load`` takes it; or reconstructions that other code made.
        data: Images, or where they are.
        metrics: Names of metrics; None takes those measured by default, and those of the data.
        protocol: How to measure; the name of the data is set.
        options: What changes no figure.
        place: Where the images are, as the user named it, if ``data`` does not say.
        beside: A run of the same tokenizer on the same images under another protocol, which is given the same pixels: see
            ``tokbench.bench.together``.

    Attributes:
        protocol: With the name of the data.
        spans: Where the chunks lie among the images asked for.

    Raises:
        Misbehaved: If the tokenizer fails, or breaks its contract.
        TokbenchError: If data, metrics or tokenizer do not fit together, or the limit of the cache is no number of gigabytes.
    """

    def __init__(
        self,
        tokenizer: str | Tokenizer | Anchor | GivenImages,
        data: str | Path | ImageSource,
        *,
        metrics: tuple[str, ...] | None,
        protocol: Protocol,
        options: RunOptions,
        place: str = "",
        beside: PreparedRun | None = None,
    ) -> None:
        classes = select(metrics) if metrics is not None else measured_by(protocol)
        if options.cache:
            limit()  # a mistake in it would be a metric's reason later
        if isinstance(tokenizer, str):
            tokenizer = parse_anchor(tokenizer) or zoo.load(tokenizer)
        source = data if isinstance(data, ImageSource) else open_source(spec_of(data), size=protocol.size, scaled=not protocol.scales_all)
        if metrics is None:
            classes += select(source.metrics)
        if source.ready_size is not None and source.ready_size != protocol.size:
            raise TokbenchError(
                f"{source.name} yields {size_text(source.ready_size)} px images, the protocol asks for {protocol.size_text}"
            )
        if protocol.jpeg_draft is not None and not source.can_draft:
            raise TokbenchError(
                f"{source.name} holds no image files that jpeg_draft could decode at a fraction of their size; leave --jpeg-draft out"
            )
        if source.name != protocol.data:
            protocol = replace(protocol, data=source.name)
        self.source, self.protocol, self.options = source, protocol, options
        self.place = place or (source.name if isinstance(data, ImageSource) else spec_of(data))
        self.indices: Sequence[int] = choose(source, protocol) if beside is None else beside.indices
        self.spans = spans(len(self.indices), chunk_size(protocol))
        self.under_test: UnderTest = UnderTest(tokenizer, protocol) if beside is None else beside.under_test
        subject = Subject(self.under_test.layout, len(self.indices), protocol.seen_at)
        weights = None if options.feature_weights is None else Path(options.feature_weights)
        cache = features_dir() if options.cache else None
        reference = self._reference()
        if reference is not None:
            classes += against_reference(classes)
        device, layout = self.under_test.device, self.under_test.layout
        context = MetricContext(device, protocol.micro_batch, cache, weights, source, layout, protocol, reference)
        self.listing: Listing = _listing(source, self.indices) if beside is None else beside.listing
        self.panel = Panel(classes, subject, context, self.listing)
        self._left_out = tuple(sorted(reference_to(cls) for cls in classes if cls.name not in self.panel.names))
        self._saver: ImageSaver | None = None

    def _reference(self) -> Reference | None:
        given = self.options.reference
        if given is None:
            return None
        references = given if isinstance(given, References) else References(given)
        return references.of(self.protocol, images=len(self.indices))

    @cached_property
    def facts(self) -> RunFacts:
        """What the run is of."""
        return RunFacts(
            tokenizer=self.under_test.info(),
            layout=self.under_test.layout,
            data=self.source.name,
            protocol=self.protocol,
            metrics=self.panel.identity,
            left_out=self._left_out,
            device=self.under_test.device.type,
            chunk=chunk_size(self.protocol),
            versions=versions(),
        )

    @cached_property
    def data(self) -> DataFacts:
        """Which images it asks for."""
        digest = digest_of_images(self.listing.ids, self.listing.groups)
        passed_over = self.source.passed_over
        return DataFacts(self.place, len(self.indices), digest, len(passed_over), tuple(passed_over[:NAMED]))

    def open_saver(self) -> None:
        """Look at the folder that images are to be written into, and note in it what will lie there.

        Raises:
            TokbenchError: If it holds something else, or cannot be written.
        """
        if self.options.save_images is not None:
            folder = Path(self.options.save_images)
            self._saver = ImageSaver(folder, self.facts.tokenizer, self.protocol, self.source.name, list(self.listing.ids))

    def has_saved(self, row: ImageRow) -> bool:
        """Whether nothing of an image is to be written as a file, or that was done before and lies there still."""
        if self._saver is None or row.source is None:
            return True
        return row.saved is not None and self._saver.has(row.id)

    def close_saver(self, saved: dict[str, tuple[str, str]]) -> None:
        """Write the indexes of the images written.

        Args:
            saved: Digests of original and reconstruction by id, of whichever process wrote them.
        """
        if self._saver is not None:
            self._saver.finish(saved)

    def measure(self, numbers: Collection[int], *, done: int = 0, total: int | None = None) -> Generator[Chunk, None, None]:
        """Measure chunks of this run alone, see ``tokbench.bench.together.measure_chunks``."""
        with closing(measure_chunks([self], numbers, done=done, total=total)) as chunks:
            for (chunk,) in chunks:
                assert chunk is not None  # all are wanted
                yield chunk

    def _chunk(
        self, number: int, items: Iterator[Loaded | SkippedImage], done: int, total: int, runs: Sequence[PreparedRun | None]
    ) -> tuple[Chunk | None, ...]:
        """One chunk, for this run and those beside it."""
        return measure_chunk(runs, self, number, items, done, total)

    def keep(self, observation: Observation) -> dict[str, tuple[str, str]]:
        """Let the metrics see one micro-batch, and write its images where that is asked for.

        Returns:
            Digests of original and reconstruction by id, of the images written.
        """
        self.panel.update(observation)
        return self._saver.add(observation) if self._saver is not None else {}

    def rows_of(self, number: int, report: LoadReport, coded: Sequence[int], saved: dict[str, tuple[str, str]]) -> tuple[ImageRow, ...]:
        """The images of a chunk, and what is known of each."""
        reasons = {image.id: image.reason for image in report.skipped}
        sizes = dict(zip(report.raw, coded, strict=True)) if coded else {}
        places = self.spans[number]
        return tuple(
            ImageRow(name, group, report.raw.get(name), report.pixels.get(name), reasons.get(name), sizes.get(name), saved.get(name))
            for name, group in zip(
                self.listing.ids[places.start : places.stop], self.listing.groups[places.start : places.stop], strict=True
            )
        )


def prepare_all(
    tokenizer: str | Tokenizer | Anchor | GivenImages,
    data: str | Path | ImageSource,
    protocols: Sequence[Protocol],
    *,
    metrics: tuple[str, ...] | None,
    options: RunOptions,
    place: str = "",
) -> list[PreparedRun]:
    """Prepare the runs of protocols that share a pass, see ``tokbench.bench.together.same_pixels``; arguments are those of ``PreparedRun``."""
    first = PreparedRun(tokenizer, data, metrics=metrics, protocol=protocols[0], options=options, place=place)
    others = (
        PreparedRun(
            first.under_test.tokenizer, first.source, metrics=metrics, protocol=protocol, options=options, place=first.place, beside=first
        )
        for protocol in protocols[1:]
    )
    return [first, *others]
