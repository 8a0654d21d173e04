"""What stands behind the figures: protocol, data, environment, warnings, and figures others published."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from tokbench.configs import plain
from tokbench.records.protocol import Protocol, value_text
from tokbench.report.guards import guard_notes
from tokbench.report.page.headings import headings
from tokbench.report.page.model import TEXT_LIMIT, Entry, Group, clipped
from tokbench.report.published import published_tables
from tokbench.report.significance import too_few
from tokbench.report.table import Table
from tokbench.report.words import counted

SHOWN_SKIPPED = 200
"""Skipped images the page names; the record names them all."""

ADDED = {
    2: "codebook curves",
    3: "intervals of speeds, codebook statistics and codecs' bits",
    4: "digests of the tensors measured and counts of exact images",
}
"""What the page shows that records of schemas below do not hold."""

FEW_IMAGES = 10_000
"""Below so many images a Fréchet distance is clearly biased."""


@dataclass(frozen=True)
class Skipped:
    """Images left out: those named on the page, and how many more there are."""

    named: tuple[tuple[str, str], ...]
    more: int


@dataclass(frozen=True)
class Sources:
    """A group's protocol and data.

    Args:
        protocol: Settings with their values.
        data: What is said of the data.
        skipped: Images left out in at least one record.
    """

    protocol: tuple[tuple[str, str], ...]
    data: tuple[tuple[str, str], ...]
    skipped: Skipped


@dataclass(frozen=True)
class Warned:
    """A warning, and the names of the records it is about; none if it is about all of them."""

    text: str
    names: tuple[str, ...]


def sources(group: Group) -> Sources:
    """Protocol and data of a group; they are the same for all its records but for what was asked of a run."""
    first = group.entries[0].record
    protocols = [entry.record.protocol for entry in group.entries]
    protocol = [(item.name, " or ".join(_each(_text(one, item.name) for one in protocols))) for item in fields(first.protocol)]
    data = [
        ("name", clipped(first.data.name)),
        ("images", f"{first.data.count:,} measured of {first.data.requested:,} asked for"),
        ("groups", f"{first.data.groups:,} (what the images are samples of; intervals are taken over them)"),
        ("enlarged", f"{counted(first.data.enlarged, 'image')} whose source was smaller than the protocol's size"),
        ("digest of source bytes and crops", " ".join(_each(entry.record.data.digest for entry in group.entries))),
        ("digest of pixels", " ".join(_each(entry.record.data.pixels_digest for entry in group.entries))),
    ]
    left_out = dict.fromkeys((item.id, item.reason) for entry in group.entries for item in entry.record.data.skipped)
    named = tuple((clipped(name), clipped(reason, 300)) for name, reason in list(left_out)[:SHOWN_SKIPPED])
    return Sources((("label", clipped(first.protocol_label)), *protocol), tuple(data), Skipped(named, len(left_out) - len(named)))


def environments(groups: Sequence[Group]) -> list[tuple[tuple[tuple[str, str], ...], tuple[str, ...]]]:
    """Each environment once: its values, and the names of the records made in it."""
    found: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for entry in _entries(groups):
        record = entry.record
        values = {key: value for key, value in plain(record.environment).items() if key != "packages"} | record.environment.packages
        run = {"device": record.timing.device, "threads": record.timing.threads, "micro-batch": record.timing.micro_batch}
        key = tuple((clipped(name), clipped(value)) for name, value in (values | run).items())
        found.setdefault(key, []).append(entry.label)
    return [(values, tuple(names)) for values, names in found.items()]


def published(groups: Sequence[Group]) -> list[Table]:
    """What others published for the tokenizers on the page, beside what was measured where the protocols match."""
    entries = _entries(groups)
    return published_tables([entry.record for entry in entries], [entry.rows for entry in entries])


def warnings(groups: Sequence[Group]) -> list[Warned]:
    """What a reader must know before comparing, each text once, the whole page's first."""
    found: dict[str, list[str]] = {}
    if len(groups) > 1:
        found[f"{len(groups)} protocols or data sets are on this page; figures of different parts do not compare."] = []
    for group, heading in zip(groups, headings(groups), strict=True):
        where = f" [{heading}]" if len(groups) > 1 else ""
        for text in _group_warnings(group):
            found.setdefault(clipped(text + where, TEXT_LIMIT), [])
    for entry in _entries(groups):
        for text in _record_warnings(entry):
            found.setdefault(text, []).append(entry.label)
    everyone = {entry.label for entry in _entries(groups)}
    return [Warned(text, () if set(names) == everyone else tuple(dict.fromkeys(names))) for text, names in found.items()]


def _group_warnings(group: Group) -> list[str]:
    records = [entry.record for entry in group.entries]
    found = []
    frechet = [c.title for c in group.metric_columns if c.info is not None and c.info.of_whole_sets]
    count = records[0].data.count
    few = too_few(count, records[0].data.groups)
    if few is not None:
        found.append(f"{few[0].upper()}{few[1:]}.")
    if frechet and count < FEW_IMAGES:
        found.append(f"{' and '.join(frechet)} at N={count:,}: biased upwards at so few images; compare at equal N only.")
    skipped = max(len(record.data.skipped) for record in records)
    if skipped:
        found.append(f"{counted(skipped, 'image')} could not be read and {'was' if skipped == 1 else 'were'} left out.")
    enlarged = max(record.data.enlarged for record in records)
    if enlarged:
        found.append(f"{counted(enlarged, 'image was', 'images were')} enlarged to the protocol's size.")
    versions = sorted({f"{name} {version}" for record in records for name, version in record.environment.packages.items()})
    several = sorted({name.split(" ")[0] for name in versions if sum(other.split(" ")[0] == name.split(" ")[0] for other in versions) > 1})
    if several:
        found.append(f"Records were made with different versions of {', '.join(clipped(name) for name in several)}.")
    if len({record.environment.tokbench for record in records}) > 1:
        found.append("Records were made with different versions of tokbench.")
    return found


def _record_warnings(entry: Entry) -> list[str]:
    record = entry.record
    found = []
    lacking = [what for schema, what in ADDED.items() if record.schema < schema]
    if lacking:
        found.append(f"Records of schema {record.schema} lack {' and '.join(lacking)}; measure again to have them.")
    if entry.problem:
        found.append(f"Per-image values could not be read ({clipped(entry.problem, 300)}).")
    elif not entry.rows:
        found.append("No per-image values lie beside the record: no distributions, and little can be called best beyond chance.")
    bad = [key for key, metric in record.metrics.items() if metric.value is not None and math.isnan(metric.value)]
    if bad:
        found.append(f"Not a number: {', '.join(clipped(key) for key in bad)}.")
    found += [f"{clipped(text, 300)}." for text in guard_notes([record], None)]
    if record.trained_on or f"data:{record.data.name}" in record.tokenizer.trained_with:
        found.append(f"Trained on {clipped(record.data.name)}, the data it is measured on.")
    return found


def _entries(groups: Sequence[Group]) -> list[Entry]:
    return [entry for group in groups for entry in group.entries]


def _each(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(clipped(value) for value in values))


def _text(protocol: Protocol, name: str) -> str:
    """A setting of a protocol in words."""
    value = value_text(protocol, name)
    unset = {"samples": "all", "tokenizer_batch": protocol.micro_batch, "judged_size": protocol.size_text}
    return clipped(unset.get(name, "none") if value is None else value)
