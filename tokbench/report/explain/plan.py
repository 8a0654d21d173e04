"""What is to be measured so that causes are told apart: records between two others, each with what it takes from which; no torch."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tokbench.errors import TokbenchError
from tokbench.records.figure_info import FigureInfo
from tokbench.records.figures import known_figure
from tokbench.records.protocol import Protocol
from tokbench.records.record import Environment, Record, TokenizerInfo
from tokbench.records.references import REFERENCE, reference_of
from tokbench.report.explain.causes import Between, software_of
from tokbench.report.explain.split import MOST_AVERAGED

UNMEASURED = {
    "code": "the source of a plug-in is one at a time",
    "version": "this tokbench measures one version of a protocol",
    "config": "settings that many cannot be changed one by one",
}
"""Causes that no record between can be made for, and why."""


@dataclass(frozen=True)
class Wanted:
    """A record that is missing between two others.

    Args:
        changed: The causes that are in it as in the second record.
        tokenizer: What it is of.
        data: The record whose images it is on.
        protocol: How it is to be measured.
        reference: The record whose reference it is to be compared with; None if that has none.
    """

    changed: frozenset[str]
    tokenizer: TokenizerInfo
    data: Record
    protocol: Protocol
    reference: Record | None = None


def here(record: Record, environment: Environment, device: str, threads: int) -> Record:
    """A record as if its software and machine were those of this process."""
    return replace(record, environment=environment, timing=replace(record.timing, device=device, threads=threads))


def wanted(between: Between, others: Sequence[Record], like: Record, *, every: bool, keys: Sequence[str] | None = None) -> list[Wanted]:
    """List the records to be measured, one cause changed after another, or all combinations.

    Where versions or machine of this process are not those of a side, that side is measured again too. What they change could
    not be told from the rest without that.

    Args:
        between: The two records.
        others: Records that are there.
        like: A record with the versions and the machine of this process.
        every: Whether all combinations of causes are wanted, not those of one order.
        keys: Figures to be explained: causes that move none of them are left out. None keeps all causes.

    Returns:
        What is missing, in the order of the causes; empty where nothing would be told apart.

    Raises:
        TokbenchError: If a cause cannot be changed by itself, or all combinations are too many.
    """
    order = _moving(between, keys)
    if every and len(order) > MOST_AVERAGED:
        raise TokbenchError(
            f"--every-order needs 2 to the power of {len(order)} records, and takes {MOST_AVERAGED} causes at most; leave it out"
        )
    if not order:
        return []
    software = software_of(like)
    there = [place for other in others if software_of(other) == software and (place := between.place(other)) is not None]
    known = {place.intersection(order) for place in there}
    known |= {frozenset()} if software_of(between.first) == software else set()
    known |= {frozenset(order)} if software_of(between.second) == software else set()
    corners = list(_corners(order, every))
    missing = [changed for changed in corners if changed not in known]
    if len(order) == 1 and software_of(between.first) == software_of(between.second):
        return []
    stuck = [key for key in order if key in UNMEASURED]
    if stuck and missing:
        raise TokbenchError(f"{stuck[0]} cannot be changed by itself: {UNMEASURED[stuck[0]]}; leave --measure out")
    return [found for changed in missing if (found := _mixed(between, changed)) is not None]


def _moving(between: Between, keys: Sequence[str] | None) -> tuple[str, ...]:
    """Keys of the causes that may move one of some figures, in the order in which they are changed."""
    infos = {key: _info(between, key) for key in keys or ()}
    causes = {axis.cause.key: axis.cause for axis in between.axes}
    return tuple(name for name in between.order if keys is None or any(causes[name].matters_to(key, info) for key, info in infos.items()))


def _info(between: Between, key: str) -> FigureInfo | None:
    sides = (between.first.metrics.get(key), between.second.metrics.get(key))
    return known_figure(key, (metric.info for metric in sides if metric is not None and metric.measured))


def _corners(order: Sequence[str], every: bool) -> Iterator[frozenset[str]]:
    if not every:
        yield from (frozenset(order[:count]) for count in range(len(order) + 1))
        return
    for count in range(len(order) + 1):
        yield from map(frozenset, itertools.combinations(order, count))


def _mixed(between: Between, changed: frozenset[str]) -> Wanted | None:
    """What a record with some causes changed is of; None where settings of the protocol do not go together."""
    first, second = between.first, between.second
    areas = {axis.cause.key: axis.cause.area for axis in between.axes}
    settings = {key: getattr(second.protocol, key) for key in changed if areas[key] == "protocol"}
    try:
        protocol = replace(first.protocol, **settings)
    except ValueError:
        return None
    compared = second if REFERENCE in changed or reference_of(first) is None else first
    data, reference = second if "images" in changed else first, compared if reference_of(compared) is not None else None
    return Wanted(changed, _tokenizer(between, changed), data, protocol, reference)


def _tokenizer(between: Between, changed: frozenset[str]) -> TokenizerInfo:
    one, other = between.first.tokenizer, between.second.tokenizer
    if "tokenizer" in between.order:
        return other if "tokenizer" in changed else one
    weights = other if "weights" in changed else one
    config = copy.deepcopy(one.config)
    for key in (key.removeprefix("config.") for key in changed if key.startswith("config.")):
        _set(config, other.config, key.split("."))
    return replace(one, name=weights.name, config=config, weights_sha256=weights.weights_sha256, state_sha256=weights.state_sha256)


def _set(config: dict[str, Any], other: dict[str, Any], path: Sequence[str]) -> None:
    """Take one setting over from another configuration; one that is not there is taken out."""
    for name in path[:-1]:
        config, other = config.setdefault(name, {}), other.get(name, {})
    if path[-1] in other:
        config[path[-1]] = other[path[-1]]
    else:
        config.pop(path[-1], None)
