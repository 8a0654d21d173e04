"""Whether the figures of a column were measured alike, and what differs where they were not; no torch."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from tokbench.configs import canonical_json, flat, plain
from tokbench.records.protocol import ROUNDING
from tokbench.records.record import MetricResult, Record
from tokbench.records.references import REFERENCE, identity_of
from tokbench.report.guards import named_reference
from tokbench.report.words import shortened

SETTINGS_MARK, SPEED_MARK = "≠", "‡"
MICRO_BATCH = "micro_batch"
"""Setting of a metric that changes nothing but rounding."""

COUNTED = ("images", "tokens_per_codebook", MICRO_BATCH)
"""Settings of a metric that follow from the tokenizer and the data, or change nothing but rounding; they say nothing about how it was
measured."""


def settings_of(metric: MetricResult | None) -> str | None:
    """How a figure was measured, to be compared; None where there is no figure."""
    if metric is None or not metric.measured:
        return None
    return canonical_json(plain_settings(metric))


def plain_settings(metric: MetricResult) -> dict[str, Any]:
    """Settings that say how a figure was measured; of a reference its digest, whatever its file is called."""
    found = {key: value for key, value in metric.settings.items() if key not in COUNTED}
    given = found.get(REFERENCE)
    return found | {REFERENCE: given.get("sha256", identity_of(given))} if isinstance(given, Mapping) else found


def machine_of(record: Record) -> Hashable:
    """What speeds depend on besides the tokenizer: the machine, and how it was used."""
    timing, where = record.timing, record.environment
    return where.processor, where.platform, timing.device, timing.threads, timing.micro_batch


def on_one_machine(records: Sequence[Record]) -> bool:
    """Whether the speeds of all records that have one compare."""
    speeds = ((r.timing.encode_images_per_second, r.timing.decode_images_per_second) for r in records)
    return len({machine_of(record) for record, found in zip(records, speeds, strict=True) if found != (None, None)}) < 2


def rounding_notes(records: Sequence[Record]) -> list[str]:
    """Say what records of one table differ in that changes their figures by rounding alone: one sentence, or none."""
    differing = [name for name in ROUNDING if len({getattr(record.protocol, name) for record in records}) > 1]
    batches = list(dict.fromkeys(record.protocol.at_once for record in records))
    said = ["compiled or not"] * ("compiled" in differing)
    if len(batches) > 1:
        said.append(f"{', '.join(map(str, batches[:-1]))} or {batches[-1]} images at once")
    if "micro_batch" in differing and len(batches) < 2:
        said.append("images at once that judges see")
    return [f"rows differ in how they were computed ({'; '.join(said)}), which changes figures by rounding alone"] * bool(said)


def unlike_most(values: Sequence[Hashable | None]) -> list[bool]:
    """Which values are not the most frequent one; of several as frequent, the first counts as that. None is never unlike."""
    found = [value for value in values if value is not None]
    usual = max(found, key=found.count) if found else None
    return [value is not None and value != usual for value in values]


def with_other_settings(records: Sequence[Record], key: str) -> list[bool]:
    """Which records have a figure of a metric that was measured with other settings than most."""
    return unlike_most([settings_of(record.metrics.get(key)) for record in records])


def differing_settings(metrics: Sequence[MetricResult | None]) -> str:
    """The settings whose values are not the same in all figures, with the values."""
    values: dict[str, dict[str, None]] = {}
    for metric in metrics:
        if metric is not None and metric.measured:
            given = metric.settings.get(REFERENCE)
            named = {REFERENCE: named_reference(given)} if isinstance(given, Mapping) else {}
            for name, value in flat(plain(metric.settings | named)).items():
                if name not in COUNTED:
                    values.setdefault(name, {})[shortened(str(value), 40)] = None
    differing = [f"{shortened(name, 40)} {' or '.join(options)}" for name, options in values.items() if len(options) > 1]
    return "; ".join(differing) or "some are missing"
