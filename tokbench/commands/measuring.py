"""How a command measures: under which protocols each tokenizer is, on which data, in how many passes, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from tokbench.commands.console import progress, say
from tokbench.counting import counted
from tokbench.errors import TokbenchError, out_of_memory
from tokbench.records.protocol import get_protocol

if TYPE_CHECKING:
    from tokbench.bench.anchors import Anchor
    from tokbench.bench.chunks import Part
    from tokbench.bench.given import GivenImages
    from tokbench.bench.merging import Evaluation
    from tokbench.bench.prepared import PreparedRun, RunOptions
    from tokbench.bench.sharing import Shared
    from tokbench.bench.team import Team
    from tokbench.data.source import ImageSource
    from tokbench.image_size import Size
    from tokbench.records.protocol import Protocol
    from tokbench.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class Wanted:
    """Under which protocols to measure: those that were named, or that of the images and the tokenizer's own size.

    Args:
        names: Names of protocols; empty if none was named.
        changes: Settings that were given, None where not.
    """

    names: tuple[str, ...]
    changes: Mapping[str, object]

    def __post_init__(self) -> None:
        twice = next((name for name in self.names if self.names.count(name) > 1), None)
        if twice is not None:
            raise TokbenchError(f"--protocol names {twice} twice; name every protocol once")
        for name in self.names:
            get_protocol(name, self.changes)

    def of(self, subject: Tokenizer | Anchor | GivenImages | None, place: str, *, beside: int | None = None) -> list[Protocol]:
        """Protocols of a tokenizer on images of a place.

        Args:
            subject: A codec has no size of its own; None is a tokenizer of none.
            place: Where the images are.
            beside: Size of the tokenizers that a codec is measured beside; None is not known.
        """
        from tokbench.bench.defaults import default_protocol, image_size_of

        if self.names:
            return [_plain(get_protocol(name, self.changes)) for name in self.names]
        return [_plain(default_protocol(place, image_size_of(subject) if hasattr(subject, "layout") else beside, self.changes))]

    def sizes(self, places: Sequence[str]) -> list[Size]:
        """Sizes that every tokenizer is measured at, as far as they are known without it."""
        from tokbench.bench.defaults import comes_ready

        known = [place for place in places if self.names or self.changes.get("size") is not None or comes_ready(place)]
        return list(dict.fromkeys(protocol.size for place in known for protocol in self.of(None, place)))


@dataclass(frozen=True)
class Setup:
    """What all tokenizers and data sets of a command are measured with.

    Args:
        wanted: Under which protocols.
        metrics: Names separated by commas; None are those measured by default.
        options: What changes no figure.
        out: Folder for the records.
        part: Which part of the runs.
        resume: Go on with what is there.
        team: Who measures.
        auto: Whether how many images a tokenizer sees at once is tried out.
        several: How many tokenizers there are, on all data sets together.
        choices: How many images each tokenizer sees at once, by size, precision and micro-batch, as far as it was tried out.
    """

    wanted: Wanted
    metrics: str | None
    options: RunOptions
    out: Path
    part: Part
    resume: bool
    team: Team
    auto: bool = False
    several: int = 1
    choices: WeakKeyDictionary[Tokenizer, dict[tuple[Size, str, int], int]] = field(default_factory=WeakKeyDictionary, compare=False)


class Bench:
    """What all tokenizers of a command are measured by, on one data set.

    Args:
        setup: How.
        place: Where the images are.
        alone: Whether there is no other data set.

    Attributes:
        failed: Whether something failed that does not end the command.
    """

    def __init__(self, setup: Setup, place: str, *, alone: bool) -> None:
        self.setup, self.place, self.alone = setup, place, alone
        self.failed = False
        self._sources: dict[tuple[Size, bool] | None, ImageSource] = {}

    def source(self, protocol: Protocol) -> ImageSource:
        """The images, opened once; what comes ready is another source at another size."""
        from tokbench.bench.defaults import comes_ready
        from tokbench.data.open import open_source

        key = (protocol.size, protocol.scales_all) if comes_ready(self.place) else None
        if key not in self._sources:
            self._sources[key] = open_source(self.place, size=protocol.size, scaled=not protocol.scales_all)
        return self._sources[key]

    def measure(self, subject: Tokenizer | Anchor | GivenImages, noise: int, *, beside: int | None = None) -> list[Evaluation]:
        """Measure one tokenizer under all its protocols and write the records.

        Args:
            subject: The tokenizer, a codec, or images that other code made.
            noise: Which pass over the images it is.
            beside: Size of the tokenizers that a codec is measured beside, see ``size_of``.

        Returns:
            What came of it; nothing where it fails, or where that is not for this process to do.
        """
        from tokbench.bench.together import same_pixels
        from tokbench.conduct import Misbehaved

        protocols = self.setup.wanted.of(subject, self.place, beside=beside)
        try:
            protocols = [self._tried(subject, protocol) for protocol in protocols]
        except TokbenchError as error:
            if not isinstance(error, Misbehaved) and (self.setup.several < 2 or not self.setup.team.alone):
                raise
            say(f"tokbench: {error}")
            self.failed = True
            return []
        groups = same_pixels(replace(protocol, noise=noise) for protocol in protocols)
        if self.setup.team.first and sum(map(len, groups)) > 1:
            say(f"{subject.name}: {in_passes(groups)}")
        return [evaluation for group in groups for evaluation in self._measure(subject, group)]

    def _tried(self, subject: Tokenizer | Anchor | GivenImages, protocol: Protocol) -> Protocol:
        """A protocol with as many images at once as the first process finds to be fastest, where that is asked for."""
        from tokbench.tokenizers.base import Tokenizer

        if not self.setup.auto or not isinstance(subject, Tokenizer):
            return protocol
        known = self.setup.choices.setdefault(subject, {})
        key = (protocol.size, protocol.precision, protocol.micro_batch)
        if key not in known:
            known[key] = self._chosen(subject, protocol)
        return _plain(replace(protocol, tokenizer_batch=known[key]))

    def _chosen(self, subject: Tokenizer, protocol: Protocol) -> int:
        """Images at once, as the first process tries them out and tells the others.

        Raises:
            TokbenchError: If it fails in that; the others raise ``Misbehaved``, so that all go on with the next tokenizer.
        """
        from tokbench.bench.batch_choice import choose_batch
        from tokbench.conduct import Misbehaved

        problem, images = None, ""
        if self.setup.team.first:
            try:
                choice = choose_batch(subject, protocol)
            except TokbenchError as error:
                problem = error
            else:
                say(f"{subject.name}: {choice}")
                images = str(choice.images)
        images = self.setup.team.told(images)
        if problem is not None:
            raise problem
        if not images:
            raise Misbehaved(f"{subject.name} could not be tried out by the first process of this run; what it said tells why")
        return int(images)

    def _measure(self, subject: Tokenizer | Anchor | GivenImages, protocols: list[Protocol]) -> list[Evaluation]:
        """One pass over the images."""
        from tokbench.bench.prepared import prepare_all
        from tokbench.bench.runner import metric_names
        from tokbench.bench.sharing import measure_all
        from tokbench.conduct import Misbehaved

        setup, source, standing = self.setup, self.source(protocols[0]), set[Path]()
        try:
            with progress(subject.name, len(source)) if setup.team.first else nullcontext(_silent) as advance:
                options = replace(setup.options, progress=advance)
                runs = prepare_all(subject, source, protocols, metrics=metric_names(setup.metrics), options=options, place=self.place)
                shared = measure_all(
                    runs,
                    setup.out,
                    partial(write_once, folder=setup.out, standing=standing if setup.resume else None),
                    part=setup.part,
                    resume=setup.resume,
                    team=setup.team,
                )
        except TokbenchError as error:
            if not isinstance(error, Misbehaved) and (self.alone or not setup.team.alone):  # other processes would wait for this one
                raise
            say(f"tokbench: {error}" if self.alone else f"tokbench: {subject.name} on {source.name}: {error}")
            self.failed = True
            return []
        except Exception as error:
            if self.setup.several < 2 or not setup.team.alone or not out_of_memory(error):
                raise
            say(f"tokbench: {subject.name} ran out of memory; lower --micro-batch or --size, or take --tile-size; the others go on")
            self.failed = True
            return []
        self._say_parts(subject, runs, shared)
        made = [(one.evaluation, one.path) for one in shared if one.evaluation is not None]
        return [self._said(subject, evaluation, path, new=path not in standing) for evaluation, path in made]

    def _say_parts(self, subject: Tokenizer | Anchor | GivenImages, runs: Sequence[PreparedRun], shared: Sequence[Shared]) -> None:
        if self.setup.part.whole or not self.setup.team.first:
            return
        whole = len(self.setup.part.chunks(len(runs[0].spans)))
        for one in shared:
            say(f"{subject.name}: part {self.setup.part}, {whole} of {counted(len(runs[0].spans), 'chunk')}, in {one.folder}")
            for failure in one.failures:
                say(f"tokbench: {subject.name}: {failure}")
            self.failed = self.failed or bool(one.failures)
        say(f"when all parts are there: tokbench merge {self.setup.out}")

    def _said(self, subject: Tokenizer | Anchor | GivenImages, evaluation: Evaluation, path: Path | None, *, new: bool) -> Evaluation:
        """Say what came of a run."""
        from tokbench.records.record import read_record

        record = evaluation.record
        on = "" if self.alone else f" on {record.data.name}"
        if new or path is None:
            say(f"{subject.name}{on}: {record.timing.total_seconds:.1f} s, record {path}")
        else:
            record = read_record(path)
            say(f"{subject.name}{on}: nothing is new, record {path} is there and complete; leave --resume out to measure again")
        if record.trained_on:
            say(f"{subject.name} was trained on images of {record.data.name}, which it is measured on; its figures are marked")
        for failure in evaluation.failures:
            say(f"tokbench: {subject.name}: {failure}")
        self.failed = self.failed or bool(evaluation.failures)
        return replace(evaluation, record=record)


def open_benches(setup: Setup, places: Sequence[str]) -> list[Bench]:
    """Open all data sets, so that mistakes show before anything is measured.

    Raises:
        TokbenchError: If there are no such images, they do not come in a size asked for, or two data sets are called the same.
    """
    benches = [Bench(setup, place, alone=len(places) == 1) for place in places]
    called: dict[str, str] = {}
    for bench in benches:
        for protocol in setup.wanted.of(None, bench.place):
            source = bench.source(protocol)
        if source.name in called:
            raise TokbenchError(
                f"--data {called[source.name]} and --data {bench.place} are both called {source.name}, which is how records and tables "
                "tell data sets apart; give each once, or a folder of another name"
            )
        called[source.name] = bench.place
    return benches


def write_once(evaluation: Evaluation, folder: Path, standing: set[Path] | None) -> Path:
    """Write a record of chunks, unless it is there and says the same.

    Args:
        evaluation: The record and its rows.
        folder: Made if missing.
        standing: Takes the file of a record that is there; None writes in any case, as after measuring anew.

    Returns:
        Its file.
    """
    from tokbench.file_units import remove_abandoned_units
    from tokbench.records.standing import standing_record
    from tokbench.records.store import write_record

    if standing is not None and (path := standing_record(evaluation.record, folder, rows=bool(evaluation.rows))):
        standing.add(path)
        remove_abandoned_units(path.parent)  # of whoever was killed as soon as it had named the record
        return path
    return write_record(evaluation.record, evaluation.rows, folder)


def check_whole(part: Part, options: Mapping[str, object]) -> None:
    """Refuse options that need the whole run where a part of it is measured.

    Args:
        part: What is measured.
        options: Such options by name, with what was given.

    Raises:
        TokbenchError: If one of them was given with a part.
    """
    no = [name for name, value in options.items() if value]
    if no and not part.whole:
        raise TokbenchError(
            f"{no[0]} needs the whole run, and --part {part} measures a part of it; give it to tokbench merge, or leave --part out"
        )


def size_of(subjects: Sequence[Tokenizer | Anchor]) -> int | None:
    """The size that all tokenizers were made for, in pixels; None if there are several, or none is known."""
    from tokbench.bench.defaults import image_size_of

    sizes = {image_size_of(subject) for subject in subjects if hasattr(subject, "layout")}
    return sizes.pop() if len(sizes) == 1 else None


def in_passes(groups: Sequence[Sequence[Protocol]]) -> str:
    """Which protocols share a pass over the images, in words."""
    together = "; ".join(", ".join(protocol.name for protocol in group) for group in groups)
    if len(groups) == 1:
        return f"one pass over the images for {together}, which give it the same pixels"
    return f"{counted(len(groups), 'pass', 'passes')} over the images, as size, filter, crop or number format differ: {together}"


def _plain(protocol: Protocol) -> Protocol:
    """A protocol that does not name how many images the tokenizer sees at once where that is as many as all networks do."""
    return replace(protocol, tokenizer_batch=None) if protocol.tokenizer_batch == protocol.micro_batch else protocol


def _silent(done: int, total: int) -> None:
    pass
