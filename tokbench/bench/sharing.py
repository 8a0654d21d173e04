"""A run with its journal: measured by one process or several, gone on with after a kill, and merged by the first of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tokbench.bench.chunks import Failure, Part
from tokbench.bench.journal import Journal, JournalIndex, open_journal, read_index
from tokbench.bench.merging import Evaluation, Merging
from tokbench.bench.prepared import PreparedRun
from tokbench.bench.resuming import kept_chunks
from tokbench.bench.team import Team
from tokbench.bench.together import measure_chunks
from tokbench.conduct import Misbehaved
from tokbench.configs import differences
from tokbench.counting import counted
from tokbench.errors import TokbenchError, out_of_memory
from tokbench.signals import Ended

logger = logging.getLogger(__name__)

ALONE = Team()
WHOLE = Part()


@dataclass(frozen=True)
class Shared:
    """What one process did of a run.

    Args:
        folder: The journal.
        measured: Chunks that this process measured.
        kept: Chunks that it found measured.
        evaluation: The record and its rows, where this process made it; None of parts, and of all processes but the first.
        path: The record's file.
        failures: One line for every metric that failed in a part, in the first process; those of a whole run are in the evaluation.
    """

    folder: Path
    measured: int
    kept: int
    evaluation: Evaluation | None = None
    path: Path | None = None
    failures: tuple[str, ...] = ()


def measure(
    prepared: PreparedRun,
    out: Path,
    write: Callable[[Evaluation], Path],
    *,
    part: Part = WHOLE,
    resume: bool = False,
    team: Team = ALONE,
) -> Shared:
    """Measure one run, as ``measure_all`` measures several."""
    return measure_all([prepared], out, write, part=part, resume=resume, team=team)[0]


def measure_all(
    runs: Sequence[PreparedRun],
    out: Path,
    write: Callable[[Evaluation], Path],
    *,
    part: Part = WHOLE,
    resume: bool = False,
    team: Team = ALONE,
) -> list[Shared]:
    """Measure runs in one pass over the images, or a part of them, with a journal each in a folder.

    The chunks of the part are dealt to the processes in turn. When all are there, the first process merges them in their order and
    writes the records. The journals then go, unless the runs may be gone on with or are a part.

    Args:
        runs: Runs of one tokenizer on the same pixels; all but the first were prepared beside it.
        out: Folder of the journals, which all processes share.
        write: Writes a record.
        part: Which part of the runs.
        resume: Go on with the chunks that are there, and leave the journals where they are.
        team: Who measures.

    Raises:
        Busy: If others measure the same into this folder.
        Ended: If a signal ends it; the note says how to go on.
        Misbehaved: If the tokenizer fails, here or in another process.
        TokbenchError: If a journal or the first process is of another run, or something cannot be read or written.
    """
    if team.first:
        runs[0].open_saver()
    with ExitStack() as stack:
        works = [_begun(stack, run, out, part, resume, team, saves=run is runs[0]) for run in runs]
        journals = [work.journal for work in works]
        mergings = [Merging(run.facts, run.data, run.panel) for run in runs] if part.whole and team.first else []
        with _saying_how_to_go_on(journals, len(part.chunks(len(runs[0].spans))), first=team.first):
            _do(works, team, mergings if team.alone else [])
            if not mergings:
                broken = [run.panel.leave() for run in runs]
                said = [work.failures(own) if team.first else () for work, own in zip(works, broken, strict=True)]
                return [replace(work.done(), failures=lines) for work, lines in zip(works, said, strict=True)]
            done = []
            for work, merging in zip(works, mergings, strict=True):
                if not team.alone:
                    for number in range(len(work.prepared.spans)):
                        merging.add(work.journal.read(number), own=number in work.own)
                evaluation = _finished(merging, work.journal)
                work.prepared.close_saver(merging.saved)
                done.append(work.done(evaluation, write(evaluation)))
        if not resume:
            for journal in journals:
                journal.clear()
        return done


def _begun(stack: ExitStack, run: PreparedRun, out: Path, part: Part, resume: bool, team: Team, *, saves: bool) -> _Work:
    """This process's chunks of a run, in a journal that the first process opens and the others are told of."""
    index = JournalIndex(run.facts, run.data, part)
    first: _Work | None = None
    if team.first:
        first = _Work(run, stack.enter_context(open_journal(out, index, resume=resume)), part, team, resume=resume)
        if resume and read_index(first.journal.folder) != index:
            first.journal.write_index()  # not before its chunks were looked at: what is refused stays as it is
    folder = Path(team.told(str(first.journal.folder) if first is not None else ""))
    if not folder.name.startswith(index.name):
        raise TokbenchError("the processes of this run are at different tokenizers; start it again with --resume")
    if first is None:
        _check_same_run(folder, index)
        if saves:
            run.open_saver()
    return first or _Work(run, Journal(folder, index), part, team, resume=resume)


def _check_same_run(folder: Path, index: JournalIndex) -> None:
    """See that the first process measures what this one does: weights, images or packages of another machine may be others.

    Raises:
        TokbenchError: If it does not, or its folder is not seen here.
    """
    try:
        there = read_index(folder)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TokbenchError(f"{folder} of the first process is not seen by this one; give an --out that all processes share") from error
    if there.part != index.part:
        raise TokbenchError(
            f"the processes share one part, and this one is asked for {index.part}, the first for {there.part}; give all the same --part, "
            "or unset RANK and WORLD_SIZE"
        )
    different = differences(there.facts, index.facts) or differences({"images": there.data.ids_sha256}, {"images": index.data.ids_sha256})
    if different:
        raise TokbenchError(f"this process measures another run than the first: {different}; give all the same data, weights and packages")


def _finished(merging: Merging, journal: Journal) -> Evaluation:
    """The record and its rows; where no image could be read there is nothing to go on with either."""
    try:
        return merging.finish()
    except TokbenchError:
        journal.clear()
        raise


class _Work:
    """This process's chunks."""

    def __init__(self, prepared: PreparedRun, journal: Journal, part: Part, team: Team, *, resume: bool) -> None:
        self.prepared, self.journal, self.part, self.team = prepared, journal, part, team
        self.mine = list(part.chunks(len(prepared.spans)))[team.ranks.rank :: team.ranks.world_size]
        self.kept = kept_chunks(journal, prepared, self.mine, first=team.first) if resume else set[int]()
        self.own: set[int] = set()

    def failures(self, own: Mapping[str, Failure]) -> tuple[str, ...]:
        """One line for every metric that failed in the part, whoever measured the chunk, or in this process after the last."""
        found: dict[str, Failure] = {}
        for number in self.part.chunks(len(self.prepared.spans)):
            with suppress(FileNotFoundError):  # a folder of another machine may not show it yet
                found = self.journal.rows(number)[0].failures | found
        return (*self.prepared.panel.failures, *(failure.line(name) for name, failure in {**own, **found}.items()))

    def forget(self) -> None:
        """Remove what this process measured."""
        for number in self.own:
            self.journal.remove(number)

    def done(self, evaluation: Evaluation | None = None, path: Path | None = None) -> Shared:
        """What this process did."""
        return Shared(self.journal.folder, len(self.own), len(self.kept), evaluation, path)


def _do(works: Sequence[_Work], team: Team, mergings: Sequence[Merging]) -> None:
    """Measure what is not there yet, and wait for the others.

    Args:
        works: This process's chunks of each run.
        team: Who measures.
        mergings: Take in all chunks as they come, where this process measures all; empty otherwise.
    """
    problem: Misbehaved | None = None
    try:
        _measure(works, mergings)
        _check_unchanged(works)
    except Misbehaved as error:
        problem = error
    except Exception as error:
        if team.alone or not out_of_memory(error):
            raise
        name = works[0].prepared.facts.tokenizer.name  # the others would wait, and it may be that another tokenizer fits
        problem = Misbehaved(f"{name} ran out of memory in process {team.ranks.rank}, counted from 0; lower --micro-batch or --size")
    failed = team.failed(problem is not None)
    if problem is not None:
        raise problem
    if failed:
        name = works[0].prepared.facts.tokenizer.name
        raise Misbehaved(f"{name} could not be measured by process {failed[0]} of this run, counted from 0; what it said tells why")


def _check_unchanged(works: Sequence[_Work]) -> None:
    """Refuse a tokenizer that changed its weights on the way, and forget what it gave."""
    try:
        works[0].prepared.under_test.info()
    except Misbehaved:
        for work in works:
            work.forget()
        raise


def _measure(works: Sequence[_Work], mergings: Sequence[Merging]) -> None:
    runs, mine = [work.prepared for work in works], works[0].mine
    todo = [number for number in mine if any(number not in work.kept for work in works)]
    sizes = {number: len(runs[0].spans[number]) for number in mine}
    done = sum(sizes.values()) - sum(sizes[number] for number in todo)
    lacking = set(todo)

    def wanted(number: int, place: int) -> bool:
        return number not in works[place].kept

    with closing(measure_chunks(runs, todo, wanted=wanted, done=done, total=sum(sizes.values()))) as fresh:
        for number in mine if mergings else todo:
            found = next(fresh) if number in lacking else [None] * len(works)
            for work, chunk in zip(works, found, strict=True):
                if chunk is not None:
                    work.journal.write(chunk)
                    work.own.add(number)
            for work, chunk, merging in zip(works, found, mergings, strict=False):  # there may be none
                merging.add(work.journal.read(number) if chunk is None else chunk, own=chunk is not None)


@contextmanager
def _saying_how_to_go_on(journals: Sequence[Journal], count: int, *, first: bool) -> Iterator[None]:
    try:
        yield
    except (Ended, Exception) as error:
        there = min(len(journal.numbers()) for journal in journals)
        more = f" and {len(journals) - 1} more beside it" if len(journals) > 1 else ""
        note = f"{there} of {counted(count, 'chunk')} are in {journals[0].folder}{more}; go on with the same command and --resume"
        if not there:
            raise
        if isinstance(error, Ended):
            raise Ended(error.number, note, silent=error.silent) from error
        if first:
            logger.warning("%s", note)
        raise
