"""A whole image set as tokens in Parquet shards, for training on them: by any number of processes, stopped and gone on with at will.

The images asked for are cut into shards of ``rows_per_shard``, in the order in which they are read. Shard s is made by rank s modulo the number of
ranks. So a shard's bytes depend neither on how many processes there are nor on how far ahead they read. An export may go on with another
number of processes. Images that cannot be read shorten their own shard and move no other row.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Literal, get_args

import tokbench
from tokbench.bench.encode import reproducible
from tokbench.bench.loader import Loaded, LoadReport, choose, load, none_readable, readable
from tokbench.conduct import layout_of
from tokbench.configs import differences
from tokbench.counting import counted
from tokbench.data.open import open_source, spec_of
from tokbench.data.source import ImageSource, touched_from
from tokbench.errors import TokbenchError
from tokbench.feed.encoding import Encoded, identify, read_and_encode
from tokbench.feed.formats.options import FormatOptions
from tokbench.feed.formats.record import holds_format
from tokbench.feed.formats.write import check_format, check_places, write_format
from tokbench.feed.job import (
    LATENT_TYPES,
    SCHEMA,
    VIEWS,
    DataIdentity,
    ExportJob,
    Preparation,
    code_type,
    default_rows,
    digest_of_ids,
)
from tokbench.feed.label_rules import Annotations, LabelRule
from tokbench.feed.memmap import INDEX, ROWS, check_memmap, holds_memmap, write_memmap
from tokbench.feed.shards import DIGEST, ShardFacts, ShardRows, check_rows, read_columns, read_facts, shard_schema
from tokbench.feed.stored import stored
from tokbench.feed.summary import SUMMARY, read_summary, summarise, write_summary
from tokbench.feed.views import Viewed, ViewRule
from tokbench.feed.writing import ShardWriter
from tokbench.file_units import scratch_folder
from tokbench.files import Busy, folder_lock, made_folder, make_folder, remove_abandoned
from tokbench.image_size import size_text
from tokbench.images import UnreadableImage
from tokbench.layout import TokenLayout
from tokbench.ranks import Ranks, ranks_from_environment
from tokbench.records.protocol import Protocol, get_protocol
from tokbench.records.record import SkippedImage
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.normalisation import Normalisation
from tokbench.tokenizers.zoo import names, resolve
from tokbench.weights.obtain import lacks_beside

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

LatentScale = Literal["raw", "normalised"]


@dataclass(frozen=True)
class ExportOptions:
    """How tokens are exported.

    Args:
        rows_per_shard: Images asked for in a shard; None takes 4096, or as many as fill 64 MiB if those are fewer.
        latents: Type in which continuous latents are stored.
        latent_scale: Whether latents are stored as the tokenizer makes them (``raw``), or as diffusion models read them (``normalised``).
        views: Which views of an image are rows: itself (``none``), also its mirror image (``flip``), or ten crops (``ten-crop``), see
            ``tokbench.feed.views``. An id is then that of the image with ``#`` and the number of the view behind it.
        labels: Where labels come from: ``source``, if it has any; the ``folder`` an image lies in; or ``none``.
        classes: Names of all classes by number, see ``read_classes``; None numbers those of the source.
        batch_size: Images read ahead, where one thread encodes; changes no byte. The network always sees ``protocol.micro_batch``.
        workers: Threads that read, where one thread encodes; None takes as many as there are cores.
        strict: Stop at the first image that cannot be read, instead of skipping it.
        memmap: Folder in which the rank that finishes the export also writes it as one array; None writes none.
        formats: Formats of trainers, each with the folder that the rank that finishes writes it into; None is as for ``write_format``.
        format_options: How they are written.
        ranks: Which process of how many this is; None reads ``RANK`` and ``WORLD_SIZE``.
        progress: Called after every micro-batch with this rank's images done and in all.

    Raises:
        ValueError: If a number is not positive, or ``latents``, ``latent_scale``, ``views`` or ``labels`` is none of those named.
    """

    rows_per_shard: int | None = None
    latents: Literal["float32", "float16"] = "float32"
    latent_scale: LatentScale = "raw"
    views: ViewRule = "none"
    labels: LabelRule = "source"
    classes: tuple[str, ...] | None = None
    batch_size: int = 64
    workers: int | None = None
    strict: bool = False
    memmap: str | Path | None = None
    formats: Mapping[str, str | Path | None] = field(default_factory=dict)
    format_options: FormatOptions = field(default_factory=FormatOptions)
    ranks: Ranks | None = None
    progress: Progress = field(default=lambda done, total: None)

    def __post_init__(self) -> None:
        if self.rows_per_shard is not None and self.rows_per_shard < 1:
            raise ValueError(f"rows_per_shard must be at least 1, got {self.rows_per_shard}")
        if self.batch_size < 1 or (self.workers is not None and self.workers < 1):
            raise ValueError(f"batch_size and workers must be at least 1, got {self.batch_size} and {self.workers}")
        if self.latents not in LATENT_TYPES:
            raise ValueError(f"latents must be {' or '.join(LATENT_TYPES)}, got {self.latents!r}")
        if self.latent_scale not in get_args(LatentScale):
            raise ValueError(f"latent_scale must be {' or '.join(get_args(LatentScale))}, got {self.latent_scale!r}")
        if self.views not in VIEWS:
            raise ValueError(f"views must be one of {', '.join(VIEWS)}, got {self.views!r}")
        if self.labels not in get_args(LabelRule):
            raise ValueError(f"labels must be one of {', '.join(get_args(LabelRule))}, got {self.labels!r}")


@dataclass(frozen=True)
class ExportResult:
    """What one process did.

    Args:
        folder: Where the shards lie.
        rows: Images in this rank's shards.
        skipped: Images of this rank that could not be read.
        made: Shards written now.
        kept: Shards of this rank that were there already.
        complete: Whether all shards of all ranks are there, and so the summary.
        memmap: The array, if it was asked for and this process found or wrote it whole; otherwise another rank writes it.
        formats: Folders in the formats of trainers, likewise.
    """

    folder: Path
    rows: int
    skipped: tuple[SkippedImage, ...]
    made: int
    kept: int
    complete: bool
    memmap: Path | None = None
    formats: Mapping[str, Path] = field(default_factory=dict)


def export(
    tokenizer: Tokenizer,
    data: str | Path | ImageSource,
    out: str | Path,
    *,
    protocol: Protocol | None = None,
    options: ExportOptions | None = None,
) -> ExportResult:
    """Encode images into Parquet shards; goes on where an earlier run of the same export stopped.

    A row is an image: ``id``, ``codes`` and ``source_sha256``, and ``label`` and ``caption`` if there are any. ``codes`` is a list of
    L * K integers, position major; ``latents`` are L * C floats. The metadata of every shard hold the whole job under ``tokbench``;
    ``.export.json`` appears once all shards are there.

    Args:
        tokenizer: What makes the tokens.
        data: ``photos``, a folder, a zip, tar shards, a parquet file, ``hf:NAME``, or an ``ImageSource``.
        out: Folder of the shards; made if missing.
        protocol: Size, crop, choice and seed; None takes ``photos-64``.
        options: How it is done.

    Raises:
        TokbenchError: If tokenizer and data do not fit together, or the data have changed since a shard was made. If ``out`` or the
            folder of the memory map holds other tokens or cannot be written. If ``strict`` is set and an image cannot be read.
        Busy: If another process is making the same shards.
    """
    options, protocol, out = options or ExportOptions(), protocol or get_protocol(), Path(out)
    source = data if isinstance(data, ImageSource) else open_source(spec_of(data), size=protocol.size, scaled=not protocol.scales_all)
    if source.ready_size is not None and source.ready_size != protocol.size:
        raise TokbenchError(f"{source.name} yields {size_text(source.ready_size)} px images, the protocol asks for {protocol.size_text}")
    indices: Sequence[int] = choose(source, protocol)
    _refuse_twins(source, indices)
    if options.views != "none":
        source = Viewed(source, indices, options.views, protocol)
        indices = range(len(source))
        if source.has_captions:
            logger.warning("mirrored views have the captions of their images; left and right are the other way round in them")
    work = _Work(tokenizer, source, indices, protocol, options, out, _schema_of(out))
    memmap = None if options.memmap is None else Path(options.memmap)
    if memmap is not None:
        check_memmap(out, memmap, work.job)
    how = options.format_options
    places = {name: check_format(out, name, place, job=work.job, options=how) for name, place in options.formats.items()}
    check_places(places, memmap)
    with made_folder(out, alone=work.ranks.world_size == 1), _alone_in(out, work.ranks):
        there = survey(out, work.job)
        if memmap is not None:
            make_folder(memmap)  # now, so that what is in the way does not show after hours
        for place in places.values():
            with suppress(Busy), scratch_folder(place.parent, place.name):
                pass  # now, for the same reason
        if work.ranks.rank == 0:
            remove_abandoned(out, {SUMMARY, *(work.job.shard_name(number) for number in range(work.job.shards) if number not in there)})
        mine = range(work.ranks.rank, work.job.shards, work.ranks.world_size)
        if not mine:
            only = f"{'is' if work.job.shards == 1 else 'are'} only {counted(work.job.shards, 'shard')}"
            logger.warning("rank %d has nothing to do: there %s; lower rows_per_shard", work.ranks.rank, only)
        kept = {number: there[number] for number in mine if number in there}
        work.check_unchanged(kept)
        work.total, work.done = sum(len(work.job.span(number)) for number in mine), sum(len(work.job.span(number)) for number in kept)
        with reproducible():
            made = work.make([number for number in mine if number not in kept])
    facts = [*kept.values(), *made.values()]
    skipped = tuple(image for item in sorted(facts, key=lambda item: item.number) for image in item.skipped)
    complete = _finish(out, work.job)
    array = _map(out, memmap) if complete and memmap is not None else None
    formats = _write_formats(out, places, how) if complete else {}
    return ExportResult(out, sum(item.rows for item in facts), skipped, len(made), len(kept), complete, array, formats)


def _alone_in(folder: Path, ranks: Ranks) -> AbstractContextManager[None]:
    """Keep out another process that would make the same shards."""
    share = "" if ranks.world_size == 1 else f" as rank {ranks.rank} of {ranks.world_size}"
    return folder_lock(folder, f"export-{ranks.rank}-of-{ranks.world_size}", other=f"exports into {folder}{share}")


def _refuse_twins(source: ImageSource, indices: Sequence[int]) -> None:
    twice = next((source.ids[a] for a, b in pairwise(indices) if source.ids[a] == source.ids[b]), None)
    if twice is not None:
        raise TokbenchError(f"{source.name} has two images with the id {twice}; give every image its own name")


def survey(folder: Path, job: ExportJob) -> dict[int, ShardFacts]:
    """Look at the shards a folder holds.

    Args:
        folder: That exists.
        job: Which they must be of.

    Returns:
        What they say of themselves, by number.

    Raises:
        TokbenchError: If there are other Parquet files, a memory map, or shards or a summary of another job, naming what differs.
    """
    if holds_memmap(folder):
        raise TokbenchError(f"{folder} holds {INDEX} or {ROWS} of a memory map, which TokenDataset would read; choose another --out")
    if holds_format(folder):
        raise TokbenchError(f"{folder} holds an export as trainers read it, and no shards may lie there; choose another --out")
    found = {}
    for path in sorted(folder.glob("*.parquet")):
        other, facts = read_facts(path)
        _refuse_other(other, job, path)
        if path.name != job.shard_name(facts.number):
            raise TokbenchError(f"{path} is shard {facts.number}, which is called {job.shard_name(facts.number)}; rename or delete it")
        found[facts.number] = facts
    if (folder / SUMMARY).is_file():
        _refuse_other(read_summary(folder).job, job, folder / SUMMARY)
    return found


def _schema_of(folder: Path) -> int:
    """The schema of an export that is to be gone on with; that of new ones if there is none that can be read, which shows later."""
    for path in sorted(folder.glob("*.parquet")):
        with suppress(TokbenchError):
            return read_facts(path)[0].schema
    return SCHEMA


def _refuse_other(there: ExportJob, here: ExportJob, path: Path) -> None:
    different = differences(there, here)
    if different:
        raise TokbenchError(f"{path.parent} holds tokens of another export: {different}; choose another --out, or the same settings")


def _finish(folder: Path, job: ExportJob) -> bool:
    """Write the summary if all shards are there, whoever made them; the last rank to get here finds them all."""
    if not all((folder / job.shard_name(number)).is_file() for number in range(job.shards)):
        return False
    if not (folder / SUMMARY).is_file():
        shards = survey(folder, job)
        if not any(item.rows for item in shards.values()):
            first = next(image for number in range(job.shards) for image in shards[number].skipped)
            reason = f"(the first: {first.id}: {first.reason})"
            if job.data.count == 1:
                raise TokbenchError(f"the only image of {job.data.name} cannot be read {reason}")
            raise TokbenchError(f"none of the {job.data.count} images of {job.data.name} can be read {reason}")
        try:
            write_summary(summarise(folder, job, shards), folder)
        except Busy:
            logger.info("another rank is writing the summary")
    return True


def _map(folder: Path, out: Path) -> Path | None:
    """Write the memory map, unless another rank does, as the one that writes the summary will."""
    try:
        if (folder / SUMMARY).is_file():
            return write_memmap(folder, out)
    except Busy:
        pass
    logger.info("another rank writes the memory map")
    return None


def _write_formats(folder: Path, places: Mapping[str, Path], options: FormatOptions) -> dict[str, Path]:
    """Write the formats of trainers, but for those that another rank is writing."""
    written = {}
    for name, place in places.items():
        try:
            if (folder / SUMMARY).is_file():
                written[name] = write_format(folder, name, place, options=options)
                continue
        except Busy:
            pass
        logger.info("another rank writes %s", place)
    return written


class _Work:
    """One process's part of an export."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        source: ImageSource,
        indices: Sequence[int],
        protocol: Protocol,
        options: ExportOptions,
        out: Path,
        schema: int,
    ) -> None:
        self.tokenizer, self.source, self.indices, self.protocol, self.options = tokenizer, source, indices, protocol, options
        self.out = out
        self.ranks = options.ranks or ranks_from_environment()
        self.annotations = Annotations(source, options.labels, options.classes)
        self.job = self._job(schema)
        self.done = self.total = 0

    def _job(self, schema: int) -> ExportJob:
        protocol = self.protocol
        views = VIEWS[self.options.views]
        layout = layout_of(self.tokenizer, *protocol.shape)
        dtype = code_type(layout.codebook_sizes) if layout.discrete else self.options.latents
        values = layout.positions * (len(layout.codebook_sizes) or layout.channels)
        images = self.options.rows_per_shard or max(1, default_rows(values, dtype) // views)
        return ExportJob(
            tokenizer=identify(self.tokenizer, schema=schema),
            layout=layout,
            dtype=dtype,
            preparation=replace(preparation(self.tokenizer, protocol), views=self.options.views),
            data=DataIdentity(self.source.name, len(self.indices), digest_of_ids(self.source.ids[index] for index in self.indices)),
            labels=self.options.labels if self.annotations.has_labels else "none",
            label_names=self.annotations.names,
            captions=self.annotations.has_captions,
            rows_per_shard=images * views,  # a shard has all views of an image, or none
            tokbench=tokbench.__version__,
            schema=schema,
            normalisation=None if self.options.latent_scale == "raw" else _normalisation(self.tokenizer, layout),
        )

    def check_unchanged(self, kept: dict[int, ShardFacts]) -> None:
        """Compare the first image of every shard that is kept, those whose files were touched since, and all labels and captions, with the source."""
        columns = [name for name in shard_schema(self.job).names if name != self.job.column]
        for number in kept:
            path = self.out / self.job.shard_name(number)
            moment = touched_from(path.stat().st_mtime)
            places = {self.source.ids[self.indices[row]]: self.indices[row] for row in self.job.span(number)}
            rows = (row for table in read_columns(path, columns) for row in check_rows(table, self.job, columns, path).to_pylist())
            for count, row in enumerate(rows):
                name = row["id"]
                if name not in places:
                    raise TokbenchError(f"{path} holds {name!r}, which is none of its images; delete it and run the export again")
                index = places[name]
                looked_at = count == 0 or self.source.changed_since(index, moment)
                if looked_at and not self._is_same_image(index, row[DIGEST]):
                    raise TokbenchError(f"{name} of {self.source.name} is not the image it was when {path} was made; choose another --out")
                here = {"label": self.annotations.label(index), "caption": self.annotations.caption(index)}
                if changed := [what for what in ("label", "caption") if what in row and row[what] != here[what]]:
                    parts = " and ".join(changed)
                    raise TokbenchError(f"{name} of {self.source.name} has another {parts} than when {path} was made; choose another --out")

    def _is_same_image(self, index: int, digest: bytes) -> bool:
        try:
            return self.source.raw_digest(index) == digest
        except UnreadableImage:
            return False

    def make(self, numbers: list[int]) -> dict[int, ShardFacts]:
        """Encode and write shards: a shard is written while the next one is encoded."""
        batches = (batch for number in numbers for batch in self._batches(number))
        encoded = read_and_encode(
            self.tokenizer,
            self._read,
            batches,
            self.protocol,
            ahead=self.options.batch_size,
            workers=self.options.workers,
            strict=self.options.strict,
        )
        with closing(encoded), ShardWriter(self.out) as writer:
            for number in numbers:
                rows, report = ShardRows(self.job, number), LoadReport(requested=len(self.job.span(number)))
                self._fill(rows, islice(encoded, len(self._batches(number))), report, writer)
                writer.put(rows, enlarged=report.enlarged, skipped=report.skipped)
                self.done += report.requested
            return writer.finish()

    def _batches(self, number: int) -> list[range]:
        """The micro-batches of one shard, as places among the images asked for."""
        span = self.job.span(number)
        return [span[start : start + self.protocol.micro_batch] for start in range(0, len(span), self.protocol.micro_batch)]

    def _read(self, row: int) -> Loaded | SkippedImage:
        index = self.indices[row]
        image = load(self.source, self.protocol, index)
        if isinstance(image, Loaded) and isinstance(self.source, Viewed):
            image = replace(image, enlarged=self.source.enlarged(index))
        if isinstance(image, SkippedImage) or not (self.annotations.has_labels or self.annotations.has_captions):
            return image
        return replace(image, label=self.annotations.label(index), caption=self.annotations.caption(index))

    def _fill(self, rows: ShardRows, batches: Iterable[Encoded], report: LoadReport, writer: ShardWriter) -> None:
        """Gather the micro-batches of one shard."""
        for items, tokens in batches:
            images = readable(items, report, strict=self.options.strict)
            if tokens is not None:
                rows.append([image.id for image in images], stored(tokens, self.job), [image.raw for image in images])
                rows.labels += [image.label for image in images]
                rows.captions += [image.caption for image in images]
            writer.check()
            self.options.progress(self.done + len(rows.ids) + len(report.skipped), self.total)
        if not report.raw and self.job.shards == 1:
            raise none_readable(self.source.name, report)  # of several shards, others may have images that can be read
        if report.skipped:
            first, count = report.skipped[0], len(report.skipped)
            what = "images" if self.job.views == 1 else "views"
            logger.warning("%d of %d %s cannot be read (the first: %s: %s)", count, report.requested, what, first.id, first.reason)


def _normalisation(tokenizer: Tokenizer, layout: TokenLayout) -> Normalisation:
    name, found = tokenizer.name or type(tokenizer).__name__, tokenizer.normalisation
    if layout.discrete:
        raise TokbenchError(f"{name} makes codes, which are not scaled; leave --latent-scale normalised out")
    if found is None:
        beside = _to_fetch(tokenizer)
        if beside:
            raise TokbenchError(f"{beside}, which says how to normalise latents of {name}, is not here; run: tokbench weights get {name}")
        raise TokbenchError(
            f"nothing is known of how to normalise latents of {name}, or its configuration does so; use --latent-scale raw, "
            "or give the weights as a folder of diffusers, whose config.json says it"
        )
    if not found.fits(layout.channels):
        raise TokbenchError(f"the normalisation of {name} is not for {layout.channels} channels; use --latent-scale raw")
    if not (tokenizer.own_weights or tokenizer.normalisation_told):
        logger.warning("the normalisation is that of %s; see that it is also that of the weights given", name)
    return found


def _to_fetch(tokenizer: Tokenizer) -> str | None:
    """The file beside a tokenizer's own weights that says how latents are normalised, if it is not here."""
    if not tokenizer.own_weights or tokenizer.name not in names():
        return None
    family, variant = resolve(tokenizer.name)
    return variant.beside if lacks_beside(family, variant) else None


def preparation(tokenizer: Tokenizer, protocol: Protocol) -> Preparation:
    """The part of a protocol that tokens depend on."""
    return Preparation(
        size=protocol.size,
        resize=protocol.resize,
        crop=protocol.crop,
        samples=protocol.samples,
        seed=protocol.seed,
        precision=protocol.precision,
        micro_batch=protocol.micro_batch,
        device=tokenizer.device.type,
        tiling=tokenizer.tiling,
        antialias=protocol.antialias,
    )
