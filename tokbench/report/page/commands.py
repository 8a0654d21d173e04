"""The commands that make a record again, read from the record alone."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tokbench.bench.probe_protocol import PRESETS as PROBES
from tokbench.bench.probe_record import ProbeRecord
from tokbench.bench.protocol import PRESETS, Protocol
from tokbench.bench.record import Record, TokenizerInfo
from tokbench.configs import flat, plain
from tokbench.errors import TokbenchError
from tokbench.report.page.model import Group, clipped

OPTIONS = {"samples": "--limit", "size": "--size", "seed": "--seed", "precision": "--precision"}
"""Settings of a protocol that ``tokbench run`` has options for."""

PROBE_OPTIONS = {
    "images_seen": "--images-seen",
    "augment": "--augment",
    "condition": "--condition",
    "held_out": "--held-out",
    "seed": "--seed",
    "precision": "--precision",
}
"""Settings of a budget that ``tokbench probe`` has options for."""

PLACELESS = ("photos/test", "photos/train", "text", "faces")
"""Data that ``--data`` finds by their names."""

NETWORKS = {"lpips_vgg": "lpips-vgg", "face_distance": "faces", "face_match": "faces"}
"""Network files to fetch first, by the metrics that need them."""


def commands(groups: Sequence[Group], others: Sequence[str] = ()) -> list[str]:
    """What fetches networks, every record's command once, those of other sections, then the one that makes the page."""
    records = [entry.record for group in groups for entry in group.entries]
    networks = dict.fromkeys(name for record in records for name in _networks(record))
    runs = dict.fromkeys(run_command(record) for record in records)
    return [*(f"tokbench weights get {name}" for name in networks), *runs, *others, "tokbench report results -o report.html"]


def run_command(record: Record) -> str:
    """Write the command, with a comment where the record does not say all of it.

    Args:
        record: Of the run.
    """
    remarks: list[str] = []
    words = ["tokbench", "run", *_subject(record.tokenizer, remarks)]
    words += ["--data", "photos" if record.data.name == "photos/test" else clipped(record.data.name)]
    if record.data.name not in PLACELESS:
        remarks.append("give the place of the data if it is another one")
    words += _protocol(record.protocol, remarks)
    words += ["--metrics", ",".join(clipped(key) for key in record.metrics), "--out", "results"]
    return _line(words, remarks)


def _networks(record: Record) -> list[str]:
    """Network files that its figures, or its images, need."""
    figures = [NETWORKS[key] for key, metric in record.metrics.items() if key in NETWORKS and metric.value is not None]
    return figures + ["faces"] * (record.data.name.partition(":")[0] == "faces")


def probe_command(record: ProbeRecord) -> str:
    """Write the command of a probe, likewise.

    Args:
        record: Of the probe.
    """
    remarks: list[str] = []
    words = ["tokbench", "probe", *_subject(record.tokenizer, remarks)]
    if (record.train.name, record.held_out.name) != ("photos/train and mirror images", "photos/test"):
        words += ["--data", clipped(record.train.name)]
        remarks.append(f"held out: {clipped(record.held_out.name)}; give the places of the data if they are others")
    words += _protocol(record.protocol, remarks)
    base = PROBES.get(record.probe.name)
    if record.probe.name != "small":
        words += ["--budget", clipped(record.probe.name)]
    known = plain(base) if base is not None else {}
    changed = {key: value for key, value in plain(record.probe).items() if key not in ("name", "version") and value != known.get(key)}
    for key, value in changed.items():
        if PROBE_OPTIONS.get(key) in words:  # the seed is the protocol's too
            continue
        if key in PROBE_OPTIONS:
            words += [PROBE_OPTIONS[key], clipped(value)]
        else:
            remarks.append(f"budget with {key}={clipped(value)}, in Python: tokbench.feed.probe")
    if base is None or base.version != record.probe.version:
        remarks.append(f"budget {clipped(record.probe.name)} of version {clipped(record.probe.version)} is not known here")
    return _line([*words, "--out", "results"], remarks)


def _line(words: Sequence[str], remarks: Sequence[str]) -> str:
    return shlex.join(words) + (f"  # {'; '.join(remarks)}" if remarks else "")


def _subject(info: TokenizerInfo, remarks: list[str]) -> list[str]:
    """Words that choose the tokenizer, with its settings and weights."""
    words = ["-t", clipped(info.name)]
    if not info.name.startswith("anchor/"):
        for key, value in _changed_settings(info).items():
            words += ["--set", f"{clipped(key)}={clipped(value)}"]
        if info.weights_sha256 is not None and info.weights_sha256 != _own_weights(info.name):
            words += ["--weights", "WEIGHTS"]
            remarks.append(f"WEIGHTS has the SHA-256 {clipped(info.weights_sha256)}")
    return words


def _protocol(protocol: Protocol, remarks: list[str]) -> list[str]:
    """Words for what differs from the preset."""
    words = []
    base = PRESETS.get(protocol.name)
    for key, value in _changed_protocol(protocol, base).items():
        if key in OPTIONS and value is not None:
            words += [OPTIONS[key], str(value)]
        else:
            remarks.append(f"protocol with {key}={value}, in Python: tokbench.evaluate")
    if base is None:
        remarks.append(f"protocol {clipped(protocol.name)} is not known here")
    elif base.version != protocol.version:
        remarks.append(f"measured under version {protocol.version} of the protocol, this is version {base.version}")
    return words


def _changed_protocol(protocol: Protocol, base: Protocol | None) -> dict[str, object]:
    values = plain(protocol)
    known = plain(base) if base is not None else {}
    return {key: value for key, value in values.items() if key not in ("name", "version", "data") and value != known.get(key)}


def _changed_settings(info: TokenizerInfo) -> dict[str, object]:
    """The configuration's settings that are not the named variant's own; all of them if there is no such variant."""
    from tokbench.tokenizers.zoo import resolve

    own = flat(info.config)
    try:
        _, variant = resolve(info.name)
    except TokbenchError:
        return own
    usual = flat(plain(variant.config))
    return {key: value for key, value in own.items() if value != usual.get(key)}


@cache
def _own_weights(name: str) -> str | None:
    """SHA-256 of the weights that a tokenizer loads by itself here; None if it has none."""
    from tokbench.tokenizers.obtain import own_weights
    from tokbench.tokenizers.zoo import resolve

    try:
        path = own_weights(*resolve(name))
    except TokbenchError:
        return None
    return _sha256(path) if path is not None and path.is_file() else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
