"""A run with its journal: measured by one process or several, gone on with after a kill, and merged by the first of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from tokbench.bench.chunks import Part
from tokbench.bench.journal import Journal, JournalIndex, open_journal, read_index
from tokbench.bench.merging import Evaluation, Merging
from tokbench.bench.prepared import PreparedRun
from tokbench.bench.resuming import kept_chunks
from tokbench.bench.team import Team
from tokbench.conduct import Misbehaved
from tokbench.configs import differences
from tokbench.errors import TokbenchError
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
    """

    folder: Path
    measured: int
    kept: int
    evaluation: Evaluation | None = None
    path: Path | None = None


def measure(
    prepared: PreparedRun,
    out: Path,
    write: Callable[[Evaluation], Path],
    *,
    part: Part = WHOLE,
    resume: bool = False,
    team: Team = ALONE,
) -> Shared:
    """Measure a run, or a part of it, with a journal in a folder.

    The chunks of the part are dealt to the processes in turn. When all are there, the first process merges them in their order and
    writes the record. The journal then goes, unless the run may be gone on with or is a part.

    Args:
        prepared: The run.
        out: Folder of the journal, which all processes share.
        write: Writes the record.
        part: Which part of the run.
        resume: Go on with the chunks that are there, and leave the journal where it is.
        team: Who measures.

    Raises:
        Busy: If others measure the same into this folder.
        Ended: If a signal ends it; the note says how to go on.
        Misbehaved: If the tokenizer fails, here or in another process.
        TokbenchError: If the journal or the first process is of another run, or something cannot be read or written.
    """
    index = JournalIndex(prepared.facts, prepared.data, part)
    if team.first:
        prepared.open_saver()
    with open_journal(out, index, resume=resume) if team.first else nullcontext() as opened:
        folder = Path(team.told(str(opened.folder) if opened is not None else ""))
        if not folder.name.startswith(index.name):
            raise TokbenchError("the processes of this run are at different tokenizers; start it again with --resume")
        if opened is None:
            _check_same_run(folder, index)
        journal = Journal(folder, index) if opened is None else opened
        if not team.first:
            prepared.open_saver()
        work = _Work(prepared, journal, part, team, resume=resume)
        merging = Merging(prepared.facts, prepared.data, prepared.panel) if part.whole and team.first else None
        with _saying_how_to_go_on(journal, len(part.chunks(len(prepared.spans))), first=team.first):
            work.do(merging if team.alone else None)
            if merging is None:
                prepared.panel.leave()
                return work.done()
            if not team.alone:
                for number in range(len(prepared.spans)):
                    merging.add(journal.read(number), own=number in work.own)
            evaluation = _finished(merging, journal)
            prepared.close_saver(merging.saved)
            path = write(evaluation)
        if not resume:
            journal.clear()
        return work.done(evaluation, path)


def _check_same_run(folder: Path, index: JournalIndex) -> None:
    """See that the first process measures what this one does: weights, images or packages of another machine may be others.

    Raises:
        TokbenchError: If it does not, or its folder is not seen here.
    """
    try:
        there = read_index(folder)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TokbenchError(f"{folder} of the first process is not seen by this one; give an --out that all processes share") from error
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
        self.prepared, self.journal, self.team = prepared, journal, team
        self.mine = list(part.chunks(len(prepared.spans)))[team.ranks.rank :: team.ranks.world_size]
        self.kept = kept_chunks(journal, prepared, self.mine, first=team.first) if resume else set[int]()
        self.own: set[int] = set()

    def do(self, merging: Merging | None) -> None:
        """Measure what is not there yet, and wait for the others.

        Args:
            merging: Takes in all chunks as they come, where this process measures all; None otherwise.
        """
        problem: Misbehaved | None = None
        try:
            self._measure(merging)
            self._check_unchanged()
        except Misbehaved as error:
            problem = error
        failed = self.team.failed(problem is not None)
        if problem is not None:
            raise problem
        if failed:
            name = self.prepared.facts.tokenizer.name
            raise Misbehaved(f"{name} could not be measured by process {failed[0]} of this run, counted from 0; what it said tells why")

    def _measure(self, merging: Merging | None) -> None:
        prepared = self.prepared
        todo = [number for number in self.mine if number not in self.kept]
        sizes = {number: len(prepared.spans[number]) for number in self.mine}
        done = sum(sizes[number] for number in self.kept)
        with closing(prepared.measure(todo, done=done, total=sum(sizes.values()))) as fresh:
            for number in self.mine if merging is not None else todo:
                if number in self.kept:
                    chunk = self.journal.read(number)
                else:
                    chunk = next(fresh)
                    self.journal.write(chunk)
                    self.own.add(number)
                if merging is not None:
                    merging.add(chunk, own=number in self.own)

    def _check_unchanged(self) -> None:
        """Refuse a tokenizer that changed its weights on the way, and forget what it gave."""
        try:
            self.prepared.under_test.info()
        except Misbehaved:
            for number in self.own:
                self.journal.remove(number)
            raise

    def done(self, evaluation: Evaluation | None = None, path: Path | None = None) -> Shared:
        """What this process did."""
        return Shared(self.journal.folder, len(self.own), len(self.kept), evaluation, path)


@contextmanager
def _saying_how_to_go_on(journal: Journal, count: int, *, first: bool) -> Iterator[None]:
    try:
        yield
    except (Ended, Exception) as error:
        there = len(journal.numbers())
        note = f"{there} of {count} chunks are in {journal.folder}; go on with the same command and --resume"
        if not there:
            raise
        if isinstance(error, Ended):
            raise Ended(error.number, note, silent=error.silent) from error
        if first:
            logger.warning("%s", note)
        raise
