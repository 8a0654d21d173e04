"""What two records differ in, cause by cause, and where another record stands between them; no torch."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from tokbench.configs import canonical_json, flat, plain
from tokbench.records.figure_info import FigureInfo
from tokbench.records.protocol import value_text
from tokbench.records.record import Record
from tokbench.records.references import REFERENCE, against_reference, identity_of, reference_of
from tokbench.records.same import digests, identity, same_weights
from tokbench.report.explain.fields import BY_NAME, STAGES, FieldWords, in_order, protocol_fields
from tokbench.report.guards import named_reference
from tokbench.report.words import counted, shortened

CHOOSERS = ("samples", "seed", "size")
"""Fields that choose which images of a data set are measured, or are crops of another size: other digests of its data follow from them."""

MOST_SETTINGS = 6
"""Settings of a configuration that are causes by themselves; more are one."""

SOFTWARE = "software"
"""What versions and the machine are called together: they change at once, whatever is measured again."""

LONGEST = 60
"""Characters of a value."""


@dataclass(frozen=True)
class Cause:
    """One thing in which two records differ.

    Args:
        key: The field of a protocol, ``images``, ``reference``, ``tokenizer``, ``weights``, ``code``, ``config.SETTING``, or what versions are of.
        area: ``protocol``, ``data``, ``weights``, ``configuration``, ``versions``, ``environment`` or ``metric``.
        row: What it is, and what it does to figures.
        before: In the first record, as text.
        after: In the second.
    """

    key: str
    area: str
    row: FieldWords
    before: str
    after: str

    @property
    def text(self) -> str:
        """What became what."""
        return f"{self.key}: {self.before} -> {self.after}"

    @property
    def step(self) -> str:
        """What it is called where a difference is split up: versions and machine are one."""
        return SOFTWARE if self.row.stage == "software" else self.key

    def matters_to(self, key: str, info: FigureInfo | None) -> bool:
        """Whether it may move a figure."""
        return self.row.matters_to(key, info)


@dataclass(frozen=True)
class Axis:
    """A cause, and what any record has of it."""

    cause: Cause
    value: Callable[[Record], Hashable]


class Between:
    """Two records, and all that may lie between them.

    Args:
        first: The first record.
        second: The second.

    Attributes:
        causes: What differs, in the order in which it is changed one after another.
        axes: What differs but for versions and the machine, with its value in any record.
    """

    def __init__(self, first: Record, second: Record) -> None:
        self.first, self.second = first, second
        found = [*_data(first, second), *_protocol(first, second), *_tokenizer(first, second), *_reference(first, second)]
        order = {row.name: place for place, row in enumerate(in_order(axis.cause.row for axis in found))}
        self.axes = tuple(sorted(found, key=lambda axis: (STAGES.index(axis.cause.row.stage), order[axis.cause.row.name])))
        self.causes = (*(axis.cause for axis in self.axes), *_software(first, second))

    @property
    def order(self) -> tuple[str, ...]:
        """Keys of the causes that can be changed one after another."""
        return tuple(axis.cause.key for axis in self.axes)

    def place(self, record: Record) -> frozenset[str] | None:
        """Which causes are in a record as they are in the second; None if it is not between the two.

        Versions and machine are left out of account, see ``software_of``.
        """
        if self._kept(record) != self._kept(self.first) or not self._of_the_same_data(record):
            return None
        changed = set()
        for axis in self.axes:
            value = axis.value(record)
            if value == axis.value(self.second):
                changed.add(axis.cause.key)
            elif value != axis.value(self.first):
                return None
        return frozenset(changed)

    def _kept(self, record: Record) -> Hashable:
        """What all records between must have as both sides do."""
        differing = {axis.cause.key for axis in self.axes}
        protocol = {row.name: getattr(record.protocol, row.name) for row in protocol_fields() if row.name not in differing}
        config = flat(record.tokenizer.config)
        parts: dict[str, Any] = {"protocol": plain(protocol)}
        if "tokenizer" not in differing:
            first, second, own = digests([self.first.tokenizer, self.second.tokenizer, record.tokenizer])
            parts["name"] = record.tokenizer.name in (self.first.tokenizer.name, self.second.tokenizer.name)
            parts["weights"] = None if "weights" in differing else own if first == second else (own in (first, second))
            parts["code"] = None if "code" in differing else record.tokenizer.source_sha256
            one, other = (flat(side.tokenizer.config) for side in (self.first, self.second))
            parts["config"] = {key: value for key, value in config.items() if one.get(key) == other.get(key)}
            unknown = config.keys() - one.keys() - other.keys()
            parts["settings"] = sorted(unknown)
        return canonical_json(parts)

    def _of_the_same_data(self, record: Record) -> bool:
        """Whether its images are those of a side, as far as the fields that choose them let that be said."""
        data, sides = record.data, (self.first, self.second)
        alike = [side for side in sides if side.data.name == data.name and not _choice_differs(side, record)]
        if not alike and _choice_differs(self.first, self.second):
            return data.name in [side.data.name for side in sides]
        return data.digest in [side.data.digest for side in alike or sides]


def software_of(record: Record) -> Hashable:
    """Versions and machine of a record: figures of two that share them are equal to the last digit where all else is."""
    return canonical_json([_versions(record), _machine(record)])


def _choice_differs(first: Record, second: Record) -> bool:
    return any(getattr(first.protocol, name) != getattr(second.protocol, name) for name in CHOOSERS)


def _data(first: Record, second: Record) -> Iterator[Axis]:
    one, other = first.data, second.data
    if one.digest == other.digest or (one.name == other.name and _choice_differs(first, second)):
        return
    by_name = one.name != other.name
    row = FieldWords("images", "the images that are measured", "images", "much")
    texts = (f"{counted(data.count, 'image')} of {data.name} ({data.digest[:8]})" for data in (one, other))
    yield Axis(Cause("images", "data", row, *texts), lambda record: record.data.name if by_name else record.data.digest)


def _reference(first: Record, second: Record) -> Iterator[Axis]:
    """Another reference; what has none stands for the first, as its other figures are the same with either."""
    one, other = reference_of(first), reference_of(second)
    if one is None or other is None or identity_of(one) == identity_of(other):
        return
    keys = dict.fromkeys([*against_reference(first), *against_reference(second)])
    row = replace(BY_NAME[REFERENCE], moves=tuple(keys))

    def value(record: Record) -> str:
        return identity_of(reference_of(record) or one)

    yield Axis(Cause(REFERENCE, "data", row, named_reference(one), named_reference(other)), value)


def _protocol(first: Record, second: Record) -> Iterator[Axis]:
    one, other = first.protocol, second.protocol
    differing = [row for row in protocol_fields() if getattr(one, row.name) != getattr(other, row.name)]
    for row in differing:
        texts = (_text(value_text(protocol, row.name)) for protocol in (one, other))
        yield Axis(Cause(row.name, "protocol", row, *texts), lambda record, name=row.name: getattr(record.protocol, name))  # type: ignore[misc]
    if not differing and one.name == other.name and one.version != other.version:
        row = FieldWords("version", "the version of the protocol, whose fields do not say what changed", "judges", "some")
        yield Axis(Cause("version", "protocol", row, str(one.version), str(other.version)), lambda record: record.protocol.version)


def _tokenizer(first: Record, second: Record) -> Iterator[Axis]:
    one, other = first.tokenizer, second.tokenizer
    before, after = digests([one, other])
    if one.name != other.name and not same_weights(one, other):
        if identity(one, before) != identity(other, after):
            row = FieldWords("tokenizer", "the tokenizer: its network, configuration and weights", "tokenizer", "much", _ALL)
            yield Axis(Cause("tokenizer", "weights", row, _named(first), _named(second)), _subject)
        return
    if before != after:
        row = FieldWords("weights", "the weights of the tokenizer", "tokenizer", "much")
        by_state = bool(one.state_sha256) and bool(other.state_sha256)
        cause = Cause("weights", "weights", row, *("none" if digest is None else digest[:8] for digest in (before, after)))
        yield Axis(cause, lambda record: record.tokenizer.state_sha256 if by_state else record.tokenizer.weights_sha256)
    if one.source_sha256 != other.source_sha256:
        row = FieldWords("code", "the source of the plug-in", "tokenizer", "much", _ALL)
        texts = ((info.source_sha256 or "none")[:8] for info in (one, other))
        yield Axis(Cause("code", "configuration", row, *texts), lambda record: record.tokenizer.source_sha256)
    yield from _config(first, second)


def _config(first: Record, second: Record) -> Iterator[Axis]:
    one, other = (flat(record.tokenizer.config) for record in (first, second))
    differing = [key for key in dict.fromkeys([*one, *other]) if one.get(key) != other.get(key)]
    if len(differing) > MOST_SETTINGS:
        row = FieldWords("config", "the configuration of the tokenizer", "tokenizer", "much", _ALL)
        text = f"{counted(len(differing), 'setting')}, {', '.join(differing[:3])} among them"
        yield Axis(
            Cause("config", "configuration", row, "its own", text),
            lambda record: canonical_json({key: flat(record.tokenizer.config).get(key) for key in differing}),
        )
        return
    for key in differing:
        row = FieldWords(f"config.{key}", "a setting of the tokenizer", "tokenizer", "much", _ALL)
        cause = Cause(f"config.{key}", "configuration", row, _text(one.get(key)), _text(other.get(key)))
        yield Axis(cause, lambda record, key=key: canonical_json(flat(record.tokenizer.config).get(key)))  # type: ignore[misc]


_ALL = ("quality", "codes", "rate", "speed")


def _subject(record: Record) -> Hashable:
    info = record.tokenizer
    return info.name, identity(info, info.state_sha256 or info.weights_sha256)


def _named(record: Record) -> str:
    digest = digests([record.tokenizer])[0]
    return record.tokenizer.name + (f" ({digest[:8]})" if digest else "")


def _software(first: Record, second: Record) -> Iterator[Cause]:
    for area, of, weight in (("versions", _versions, "little"), ("environment", _machine, "digits")):
        one, other = of(first), of(second)
        for key in dict.fromkeys([*one, *other]):
            if one.get(key) != other.get(key):
                moves = ("quality", "codes", "bound", "speed")
                row = FieldWords(key, _SOFTWARE_WORDS.get(key, f"the version of {key}"), "software", weight, moves)  # type: ignore[arg-type]
                yield Cause(key, area, row, _text(one.get(key)), _text(other.get(key)))


_SOFTWARE_WORDS = {
    "platform": "the operating system",
    "processor": "the processor, which rounds in its own way",
    "device": "the device, which rounds in its own way",
    "threads": "threads, among which sums are split",
}


def _versions(record: Record) -> dict[str, Any]:
    here = record.environment
    return {"tokbench": here.tokbench, "python": here.python, **here.packages} | (
        {"plug-in": record.tokenizer.package} if record.tokenizer.package else {}
    )


def _machine(record: Record) -> dict[str, Any]:
    where, timing = record.environment, record.timing
    return {"platform": where.platform, "processor": where.processor, "device": timing.device, "threads": timing.threads}


def _text(value: Any) -> str:
    text = "none" if value is None else ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return shortened(text or "none", LONGEST)
