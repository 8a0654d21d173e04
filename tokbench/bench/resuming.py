"""Which chunks of a journal a run goes on with: those of the same images, metrics and bytes; whatever else differs is refused."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

from tokbench.bench.chunk_files import is_whole
from tokbench.bench.chunks import ChunkFacts, ImageRow
from tokbench.bench.journal import Journal
from tokbench.bench.loader import Loaded, load
from tokbench.bench.prepared import PreparedRun
from tokbench.data.source import touched_from
from tokbench.errors import TokbenchError
from tokbench.images import UnreadableImage

logger = logging.getLogger(__name__)


def kept_chunks(journal: Journal, prepared: PreparedRun, numbers: Collection[int], *, first: bool) -> set[int]:
    """Look through a journal.

    A chunk is kept where its images and groups are those of today, as they stay where a folder has grown behind them, and the same
    metrics apply. Of each, the first image that could be read is held against the source, and all whose files were touched since. One with
    an image that could not be read and now can be is measured again.

    Args:
        journal: A journal of the same run.
        prepared: The run.
        numbers: Chunks that this process measures.
        first: Whether this process speaks for all.

    Returns:
        Those of them that need not be measured.

    Raises:
        TokbenchError: If an image is gone or is another one, or cannot be read and ``strict`` is set.
    """
    found, again = set[int](), 0
    for number in journal.numbers():
        try:
            facts, rows, digest = journal.rows(number)
        except FileNotFoundError:
            continue
        except TokbenchError as error:
            logger.warning("%s; it is measured again", str(error).partition(";")[0])
            continue
        places = _places(number, rows, prepared)
        gone = next((row.id for row in rows if row.id not in places), None)
        if gone is not None:
            raise TokbenchError(
                f"{journal.folder} holds {gone!r}, which is not among the images of {prepared.source.name} asked for now; "
                "bring it back, or leave --resume out to begin anew"
            )
        if number not in numbers:
            continue
        if not _fits(facts, rows, prepared) or not is_whole(journal.folder, number, digest):
            again += 1
            continue
        moment = touched_from(journal.written(number), took=facts.total_seconds)
        touched = [row for row in rows if prepared.source.changed_since(prepared.indices[places[row.id]], moment)]
        if any(row.source is None and _can_be_read(prepared, places[row.id]) for row in touched):
            again += 1
            continue
        _check_images(journal, prepared, rows, touched, places)
        found.add(number)
    if first and again:
        logger.warning("%s: %d of its chunks are measured again, as their images or metrics are others now", journal.folder, again)
    return found


def _places(number: int, rows: tuple[ImageRow, ...], prepared: PreparedRun) -> Mapping[str, int]:
    """Places of the images of a chunk, by their ids; those of all images where the chunk would hold others now."""
    span = prepared.spans[number] if number < len(prepared.spans) else range(0)
    ids = prepared.listing.ids[span.start : span.stop]
    same = [row.id for row in rows] == list(ids)
    return dict(zip(ids, span, strict=True)) if same else prepared.listing.names.places


def _fits(facts: ChunkFacts, rows: tuple[ImageRow, ...], prepared: PreparedRun) -> bool:
    """Whether a chunk is what measuring it now would give."""
    if facts.number >= len(prepared.spans) or set(facts.metrics) != set(prepared.panel.names):
        return False
    span = prepared.spans[facts.number]
    listing = prepared.listing
    same = [(row.id, row.group) for row in rows] == list(
        zip(listing.ids[span.start : span.stop], listing.groups[span.start : span.stop], strict=True)
    )
    return same and all(map(prepared.has_saved, rows))


def _can_be_read(prepared: PreparedRun, place: int) -> bool:
    return isinstance(load(prepared.source, prepared.protocol, prepared.indices[place]), Loaded)


def _check_images(
    journal: Journal, prepared: PreparedRun, rows: Sequence[ImageRow], touched: Sequence[ImageRow], places: Mapping[str, int]
) -> None:
    broken = next((row for row in rows if row.source is None), None)
    if broken is not None and prepared.options.strict:
        raise TokbenchError(f"{broken.id} cannot be read ({broken.skipped}); leave --strict out to skip and count such images")
    first = next((row for row in rows if row.source is not None), None)
    for row in dict.fromkeys([first, *touched]):
        if row is None or row.source is None:
            continue
        try:
            same = prepared.source.raw_digest(prepared.indices[places[row.id]]) == row.source
        except UnreadableImage:
            same = False
        if same:
            continue
        raise TokbenchError(
            f"{row.id} of {prepared.source.name} is not the image it was when {journal.folder} was written; "
            "bring it back, or leave --resume out to begin anew"
        )
