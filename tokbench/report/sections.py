"""Records that compare, put together: one section for every protocol and data set; no torch."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields

from tokbench.escapes import visible
from tokbench.records.protocol import ROUNDING, Protocol, without_rounding
from tokbench.records.record import Record
from tokbench.report.subjects import names_of
from tokbench.report.words import counted


@dataclass(frozen=True)
class Section:
    """Records that compare: one protocol, one data set.

    Args:
        title: What they have in common.
        names: Names of the rows: the tokenizers, told apart where needed.
        members: Their places among all records.
    """

    title: str
    names: tuple[str, ...]
    members: tuple[int, ...]


def make_sections(records: Sequence[Record], *, mix: bool = False) -> list[Section]:
    """Put records together that compare.

    Args:
        records: In any order.
        mix: One section for all, with protocol and data in each name.
    """
    if mix:
        where = _places(records)
        names = told_apart(
            [f"{name} [{place}]" for name, place in zip(names_of([record.tokenizer for record in records]), where, strict=True)]
        )
        return [Section("different protocols and data, see the rows", tuple(names), tuple(range(len(records))))]
    groups: dict[Hashable, list[int]] = {}
    for i, record in enumerate(records):
        groups.setdefault(place_of(record), []).append(i)
    titles = _places([records[members[0]] for members in groups.values()])
    return [
        Section(title, tuple(told_apart(names_of([records[i].tokenizer for i in members]))), tuple(members))
        for title, members in zip(titles, groups.values(), strict=True)
    ]


def place_of(record: Record) -> tuple[Hashable, str]:
    """Records that share it compare: they are of the same images, and figures under their protocols differ by rounding at most."""
    return record.protocol.figures_from, record.data.pixels_digest


def told_apart(names: Sequence[str]) -> list[str]:
    """Number names that are there several times: the second is followed by ``#2``."""
    seen, told = set[str](), list[str]()
    for name in names:
        numbered = (f"{name} #{number}".strip() for number in itertools.count(2))
        told.append(name if name not in seen else next(one for one in numbered if one not in seen))
        seen.add(told[-1])
    return told


def _places(records: Sequence[Record]) -> list[str]:
    """Protocol and data of each; where one label stands for several protocols, the settings that differ follow it."""
    protocols: dict[str, dict[Protocol, None]] = {}
    for record in records:
        protocols.setdefault(without_rounding(record.protocol_label), {})[record.protocol] = None
    names = [field.name for field in fields(Protocol) if field.name not in ("version", *ROUNDING)]  # the version is always there
    places = []
    for record in records:
        data, protocol, label = record.data, record.protocol, without_rounding(record.protocol_label)
        differing = [name for name in names if len({getattr(other, name) for other in protocols[label]}) > 1]
        label = "+".join([label, *(f"{name}={getattr(protocol, name)}" for name in differing)])
        groups = counted(data.groups, "group")
        places.append(visible(f"{label} v{protocol.version}, N={data.count} of {data.name} ({groups}), data {data.digest[:8]}"))
    return places
