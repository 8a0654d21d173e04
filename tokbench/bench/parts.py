"""Parts of runs that were measured without knowing of each other, put together where none is missing and none is there twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from tokbench.bench.chunks import Part
from tokbench.bench.context import MetricContext
from tokbench.bench.facts import digest_of_images, versions
from tokbench.bench.journal import ENDING, INDEX, Journal, JournalIndex, read_index
from tokbench.bench.merging import Evaluation, Merging
from tokbench.bench.metrics import select
from tokbench.bench.observation import Listing, Subject
from tokbench.bench.panel import Panel
from tokbench.bench.reference_opening import open_reference
from tokbench.configs import differences
from tokbench.data.open import comes_with_the_package, open_source
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.escapes import visible
from tokbench.names import Gathered
from tokbench.records.protocol import Protocol

SHOWN = 5
"""Missing parts or chunks that an error names."""


@dataclass(frozen=True)
class PartedRun:
    """All parts of one run.

    Args:
        journals: The journals of part 1, 2 and so on.
    """

    journals: tuple[Journal, ...]

    @property
    def index(self) -> JournalIndex:
        """What the run is of."""
        return self.journals[0].index

    @property
    def count(self) -> int:
        """How many chunks there are."""
        return -(-self.index.data.images // self.index.facts.chunk)

    def journal(self, number: int) -> Journal:
        """The journal that holds a chunk."""
        return self.journals[number % len(self.journals)]

    def listing(self) -> Listing:
        """All images of the run, which metrics must know before the first chunk.

        Raises:
            TokbenchError: If a chunk is damaged.
        """
        ids, groups = Gathered(), None
        for number in range(self.count):
            for row in self.journal(number).rows(number)[1]:
                if groups is None and row.group != row.id:
                    groups = ids.copy()
                ids.add(row.id)
                if groups is not None:
                    groups.add(row.group)
        names = ids.names()
        return Listing(names, names if groups is None else groups.names())


def find_parts(places: Iterable[Path]) -> list[PartedRun]:
    """Look for parts, and see that those of each run are all there.

    Args:
        places: Folders that are searched, recursively.

    Returns:
        Runs by name.

    Raises:
        TokbenchError: If there are none; or a part is missing, there twice, damaged, unfinished or of another run, naming it.
    """
    places = list(places)
    by_name: dict[str, list[Journal]] = {}
    seen = set[Path]()
    for place in places:
        if not place.is_dir():
            raise TokbenchError(f"{place} is no folder; give the folder that tokbench run --part wrote into, its --out")
        for path in sorted(place.rglob(f"*{ENDING}/{INDEX}")) + ([place / INDEX] if (place / INDEX).is_file() else []):
            journal = Journal(path.parent, read_index(path.parent))
            if not journal.index.part.whole and (real := path.parent.resolve()) not in seen:
                seen.add(real)  # one folder may be given by two names
                by_name.setdefault(journal.index.name, []).append(journal)
    if not by_name:
        raise TokbenchError(f"no parts of runs in {', '.join(map(str, places))}; tokbench run --part K/N makes them")
    return [_checked(name, journals, by_name) for name, journals in sorted(by_name.items())]


def merge_parts(
    run: PartedRun, *, trusted: Sequence[str] = (), feature_weights: Path | None = None, reference: str | Path | None = None
) -> Evaluation:
    """Merge the chunks of all parts in their order.

    Args:
        run: Whose parts are all there.
        trusted: Metrics of others whose code may be run, as ``package.module:Class``: a file alone runs none.
        feature_weights: The Inception file for ``rfid``, if not the fetched one.
        reference: The reference, if the parts had one.

    Raises:
        TokbenchError: If the metrics or the versions of packages here are not those it was measured with, its reference is not given, or a
            chunk is damaged.
    """
    facts, data = run.index.facts, run.index.data
    if different := differences({"versions": facts.versions}, {"versions": versions()}):
        raise TokbenchError(f"{run.index.name} was measured by other packages: {different}; merge it where it was measured")
    if foreign := [name for name in facts.asked_for if ":" in name and name not in trusted]:
        raise TokbenchError(
            f"{run.index.name} was measured with {foreign[0]}, code that is run only if you ask for it; add --metrics {','.join(foreign)}"
        )
    if digest_of_images((listing := run.listing()).ids, listing.groups) != data.ids_sha256:
        raise TokbenchError(f"the parts of {run.index.name} hold other images than they say; measure them again")
    if reference is None and (named := _reference_of(facts.metrics)) is not None:
        raise TokbenchError(f"{run.index.name} was measured against the reference {named}; give it again by --reference")
    classes = select(facts.asked_for)
    protocol, source = facts.protocol, _source(data.place, facts.protocol)
    opened = None if reference is None else open_reference(reference, protocol, images=data.images)
    context = MetricContext(torch.device("cpu"), protocol.micro_batch, None, feature_weights, source, facts.layout, protocol, opened)
    panel = Panel(classes, Subject(facts.layout, data.images, protocol.seen_at), context, listing)
    if different := differences({"metrics": facts.metrics}, {"metrics": panel.identity}):
        raise TokbenchError(f"{run.index.name} was measured by other metrics: {different}; merge it where these are")
    merging = Merging(facts, data, panel)
    for number in range(run.count):
        merging.add(run.journal(number).read(number), own=False)
    return merging.finish()


def _reference_of(metrics: Mapping[str, Any]) -> str | None:
    """Name of the reference that metrics of a run compare with; None if none does."""
    settings = (identity.get("settings") for identity in metrics.values())
    given = (one.get("reference") for one in settings if isinstance(one, Mapping))
    return next((visible(str(one.get("name"))) for one in given if isinstance(one, Mapping)), None)


def _source(place: str, protocol: Protocol) -> ImageSource | None:
    """The images, where metrics ask them for more than pixels and they are at hand anywhere."""
    if comes_with_the_package(place):
        with suppress(TokbenchError):
            return open_source(place, size=protocol.size, scaled=not protocol.scales_all)
    return None


def _checked(name: str, journals: Sequence[Journal], by_name: Mapping[str, Sequence[Journal]]) -> PartedRun:
    first = journals[0]
    for other in journals[1:]:
        if other.index.part.of != first.index.part.of:
            raise TokbenchError(
                f"{first.folder} is part {first.index.part} of {name}, {other.folder} part {other.index.part}: these do not fit together; "
                "keep the parts of one division"
            )
        images = ({"images": journal.index.data.images, "ids": journal.index.data.ids_sha256} for journal in (first, other))
        if different := differences(first.index.facts, other.index.facts) or differences(*images):
            raise TokbenchError(f"{first.folder} and {other.folder} are of two runs: {different}; measure one of them again")
    by_number: dict[int, Journal] = {}
    for journal in journals:
        twin = by_number.setdefault(journal.index.part.number, journal)
        if twin is not journal:
            raise TokbenchError(
                f"part {journal.index.part} of {name} is there twice, in {twin.folder} and {journal.folder}; keep one of them"
            )
    of = first.index.part.of or 1
    missing = [str(Part(number, of)) for number in range(1, of + 1) if number not in by_number]
    if missing:
        meant = _instead(first, missing, by_name.values())
        raise TokbenchError(f"{name} lacks part {_some(missing)}{meant}; run it with --part, then merge again")
    run = PartedRun(tuple(by_number[number] for number in range(1, of + 1)))
    for journal in run.journals:
        _check_chunks(journal, run.count)
    return run


def _instead(journal: Journal, missing: Sequence[str], runs: Iterable[Sequence[Journal]]) -> str:
    """What differs of a part that may have been meant for a missing one: of the same tokenizer, in a run that lacks parts too; or empty."""
    own = journal.index.facts
    for journals in runs:
        parts = {str(other.index.part): other for other in journals}
        meant = next((parts[part] for part in missing if part in parts), None)
        if meant is None or len(parts) == meant.index.part.of or meant.index.facts.tokenizer.name != own.tokenizer.name:
            continue
        return f"; {meant.folder} is of another run: {differences(meant.index.facts, own)}"
    return ""


def _check_chunks(journal: Journal, count: int) -> None:
    """See that a part has its chunks, and no other."""
    wanted, there = journal.index.part.chunks(count), journal.numbers()
    held = set(there)
    lacking = len(wanted) - sum(number in wanted for number in held)
    if lacking:
        first = islice((str(number) for number in wanted if number not in held), min(lacking, SHOWN))
        more = f" and {lacking - SHOWN} more" if lacking > SHOWN else ""
        raise TokbenchError(
            f"{journal.folder} lacks {lacking} of its {len(wanted)} chunks ({', '.join(first)}{more}); "
            "run that part again with --resume, then merge again"
        )
    foreign = [str(number) for number in there if number not in wanted]
    if foreign:
        raise TokbenchError(f"{journal.folder} holds chunk {_some(foreign)}, of other parts; run that part again without --resume")


def _some(items: Sequence[str]) -> str:
    return ", ".join(items[:SHOWN]) + (f" and {len(items) - SHOWN} more" if len(items) > SHOWN else "")
