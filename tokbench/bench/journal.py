"""The journal of a run: a folder of chunks, and what they are of; kept from kill to kill, and by one process at a time.

    OUT/NAME.journal/                journal.json, 000000.safetensors, 000000.parquet, ...
    OUT/NAME.part-3-of-16.journal/   the same of one part

A folder that is of another run is never written into: the next one is called ``NAME_2.journal``.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from tokbench.bench.chunk_files import chunk_paths, read_chunk, read_rows, write_chunk
from tokbench.bench.chunks import WHOLE, Chunk, ChunkFacts, ImageRow, Part, parse_part
from tokbench.bench.facts import DataFacts, RunFacts
from tokbench.configs import build, differences, plain
from tokbench.counting import counted
from tokbench.errors import TokbenchError
from tokbench.files import folder_lock, is_locked, make_folder, remove_abandoned, write_text
from tokbench.json_files import read_json
from tokbench.records.naming import file_stem, subject_label

logger = logging.getLogger(__name__)

INDEX, ENDING = "journal.json", ".journal"
ONLY_PART = f".part-1-of-1{ENDING}"
LOCK = "run"
VERSION = 1
"""Of what a journal holds; one of another number is refused."""

CHUNK = re.compile(r"\d{6,}\.(safetensors|parquet)")


@dataclass(frozen=True)
class JournalIndex:
    """What a journal says of itself.

    Args:
        facts: What its chunks are of.
        data: Which images were asked for.
        part: Which part of them is in it.
    """

    facts: RunFacts
    data: DataFacts
    part: Part

    @property
    def name(self) -> str:
        """What the run is called, without its part."""
        return run_name(self.facts)


class Journal:
    """The chunks of a run on disk.

    Args:
        folder: Where they lie.
        index: What they are of.
    """

    def __init__(self, folder: Path, index: JournalIndex) -> None:
        self.folder, self.index = folder, index

    def numbers(self) -> list[int]:
        """Numbers of the chunks that are there, as far as names tell, in order."""
        return sorted(int(path.stem) for path in self.folder.glob("*.parquet") if CHUNK.fullmatch(path.name))

    def rows(self, number: int) -> tuple[ChunkFacts, tuple[ImageRow, ...], str]:
        """What is known of a chunk, see ``tokbench.bench.chunk_files.read_rows``."""
        return read_rows(self.folder, number)

    def written(self, number: int) -> float:
        """When a chunk was written, in seconds since 1970.

        Raises:
            FileNotFoundError: If it is not there.
        """
        return chunk_paths(self.folder, number)[1].stat().st_mtime

    def read(self, number: int) -> Chunk:
        """Read a chunk.

        Raises:
            TokbenchError: If it is missing or damaged.
        """
        try:
            return read_chunk(self.folder, number)
        except FileNotFoundError as error:
            where = f"{self.folder} lacks chunk {number}"
            raise TokbenchError(f"{where}; run the same command again with --resume, in a folder that all processes share") from error

    def write_index(self) -> None:
        """Say what the chunks are of.

        Raises:
            TokbenchError: If that cannot be written.
        """
        write_text(self.folder / INDEX, json.dumps({"journal": VERSION, **_values(self.index)}, indent=1, allow_nan=False) + "\n")

    def write(self, chunk: Chunk) -> None:
        """Keep a chunk.

        Raises:
            TokbenchError: If it cannot be written; those before it stay.
        """
        write_chunk(self.folder, chunk)

    def remove(self, number: int) -> None:
        """Forget a chunk."""
        for path in reversed(chunk_paths(self.folder, number)):
            path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove whatever this package wrote here, the index last."""
        names = [path for path in self.folder.iterdir() if CHUNK.fullmatch(path.name)]
        for path in [*sorted(names), self.folder / INDEX]:
            path.unlink(missing_ok=True)
        remove_abandoned(self.folder, set())


def run_name(facts: RunFacts) -> str:
    """What the journals and records of a run are called."""
    return file_stem(f"{subject_label(facts.tokenizer)}_{facts.protocol.label}")


@contextmanager
def open_journal(out: Path, index: JournalIndex, *, resume: bool) -> Iterator[Journal]:
    """Open the journal of a run, and keep others out of it. One without a chunk goes at the end, unless it is a whole part.

    One that is gone on with keeps its index until ``write_index``, as the run may be refused when its chunks are looked at.

    Args:
        out: Folder of the records; made if missing.
        index: What the run is of.
        resume: Keep the chunks that are there, of the same run; otherwise they are removed.

    Raises:
        Busy: If another process measures the same.
        TokbenchError: If ``resume`` is set and there is a journal of that name, but of another run. Or if nothing can be written.
    """
    made = not out.exists()
    folder = _place(out, index, resume=resume)
    make_folder(folder)
    try:
        with _alone_in(folder, index):
            journal = Journal(folder, index)
            if not resume and (before := len(journal.numbers())):
                held = f"{counted(before, 'chunk')} of an earlier run, measured again now"
                logger.warning("%s held %s; --resume goes on with what is there", folder, held)
            if not resume or not (folder / INDEX).is_file():
                journal.clear()
                journal.write_index()
            remove_abandoned(folder, set())
            ended = False
            try:
                yield journal
                ended = True
            finally:
                if not journal.numbers() and not (ended and not index.part.whole):  # a part may be of no chunk
                    with suppress(OSError):
                        journal.clear()
    finally:
        with suppress(OSError):  # not empty
            folder.rmdir()
            if made:
                out.rmdir()


def read_index(folder: Path) -> JournalIndex:
    """Read what a journal is of.

    Raises:
        FileNotFoundError: If there is none.
        NotADirectoryError: If there is a file of the folder's name.
        TokbenchError: If it is damaged, or of another version.
    """
    path = folder / INDEX
    try:
        values: Any = read_json(path)
        if not isinstance(values, dict) or "journal" not in values:
            raise ValueError("it was not written by tokbench run")
        if values["journal"] != VERSION:
            raise ValueError(f"it is of version {str(values['journal'])[:20]}, this tokbench reads version {VERSION}")
        said = str(values.get("part"))
        whole = said == WHOLE or (said == "1/1" and not folder.name.endswith(ONLY_PART))  # as it once was called
        part = Part() if whole else parse_part(said)
        return JournalIndex(build(RunFacts, values.get("facts"), "facts"), build(DataFacts, values.get("data"), "data"), part)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, ValueError, TokbenchError) as error:
        raise TokbenchError(f"{path} is no journal that can be read ({error}); choose another --out, or delete its folder") from error


def _values(index: JournalIndex) -> dict[str, Any]:
    return {"part": str(index.part), "facts": plain(index.facts), "data": plain(index.data)}


def _place(out: Path, index: JournalIndex, *, resume: bool) -> Path:
    """The folder of a run: that of the same run if there is one, or else the first that is free.

    Raises:
        TokbenchError: If ``resume`` is set and there is nothing to go on with but what another run of that tokenizer left.
    """
    part = "" if index.part.whole else f".part-{index.part.number}-of-{index.part.of}"
    name = re.compile(rf"{re.escape(index.name)}(?:_([2-9]|[1-9]\d+))?{re.escape(part + ENDING)}", re.ASCII)
    taken = {int(match[1] or 1): path for path in out.glob(f"*{ENDING}") if (match := name.fullmatch(path.name))}  # with gaps, as they go
    begun: Path | None = None
    for _, folder in sorted(taken.items()):
        try:
            there = read_index(folder)
        except FileNotFoundError:
            if folder.is_dir() and all(CHUNK.fullmatch(path.name) or path.name.startswith(".") for path in folder.iterdir()):
                begun = begun or folder  # a process was killed while it began or ended
            continue
        except NotADirectoryError:
            continue
        if not differences(there.facts, index.facts):
            return folder
    number = next(number for number in count(1) if number not in taken)
    free = begun or out / f"{index.name}{'' if number == 1 else f'_{number}'}{part}{ENDING}"
    if resume and (other := _nearest(out, index)):
        raise TokbenchError(f"{other}; choose another --out, or leave --resume out to begin anew")
    return free


def _nearest(out: Path, index: JournalIndex) -> str:
    """What keeps a run from going on with what another run of the tokenizer left unfinished; empty if there is none."""
    for folder in sorted(out.glob(f"*{ENDING}")):
        try:
            there = read_index(folder)
        except (FileNotFoundError, NotADirectoryError, TokbenchError):
            continue
        facts, different = there.facts, differences(there.facts, index.facts)
        wanted = len(there.part.chunks(-(-there.data.images // facts.chunk)))
        unfinished = len(Journal(folder, there).numbers()) < wanted or run_name(facts) == run_name(index.facts)
        alike = there.part == index.part and facts.tokenizer.name == index.facts.tokenizer.name
        if alike and different and unfinished and not is_locked(folder, LOCK):
            return f"{folder} is of another run: {different}"
    return ""


def _alone_in(folder: Path, index: JournalIndex) -> AbstractContextManager[None]:
    who = f"{index.facts.tokenizer.name} on {index.facts.data}" + ("" if index.part.whole else f", part {index.part},")
    return folder_lock(folder, LOCK, other=f"measures {who} into {folder}")
