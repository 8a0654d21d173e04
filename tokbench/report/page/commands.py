"""The commands that make a record again, read from the record alone."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tokbench.bench.protocol import PRESETS, Protocol
from tokbench.bench.record import Record
from tokbench.configs import flat, plain
from tokbench.errors import TokbenchError
from tokbench.report.page.model import Group, clipped

OPTIONS = {"samples": "--limit", "size": "--size", "seed": "--seed", "precision": "--precision"}
"""Settings of a protocol that ``tokbench run`` has options for."""


def commands(groups: Sequence[Group]) -> list[str]:
    """Every record's command once, then the one that makes the page."""
    runs = dict.fromkeys(run_command(entry.record) for group in groups for entry in group.entries)
    return [*runs, "tokbench report results -o report.html"]


def run_command(record: Record) -> str:
    """Write the command, with a comment where the record does not say all of it.

    Args:
        record: Of the run.
    """
    info, protocol = record.tokenizer, record.protocol
    words = ["tokbench", "run", "-t", clipped(info.name)]
    remarks = []
    if not info.name.startswith("anchor/"):
        for key, value in _changed_settings(record).items():
            words += ["--set", f"{clipped(key)}={clipped(value)}"]
        if info.weights_sha256 is not None and info.weights_sha256 != _own_weights(info.name):
            words += ["--weights", "WEIGHTS"]
            remarks.append(f"WEIGHTS has the SHA-256 {clipped(info.weights_sha256)}")
    words += ["--data", _data(record)]
    if not record.data.name.startswith("photos/"):
        remarks.append("give the place of the data if it is another one")
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
    words += ["--metrics", ",".join(clipped(key) for key in record.metrics), "--out", "results"]
    return shlex.join(words) + (f"  # {'; '.join(remarks)}" if remarks else "")


def _data(record: Record) -> str:
    return "photos" if record.data.name == "photos/test" else clipped(record.data.name)


def _changed_protocol(protocol: Protocol, base: Protocol | None) -> dict[str, object]:
    values = plain(protocol)
    known = plain(base) if base is not None else {}
    return {key: value for key, value in values.items() if key not in ("name", "version", "data") and value != known.get(key)}


def _changed_settings(record: Record) -> dict[str, object]:
    """The configuration's settings that are not the named variant's own; all of them if there is no such variant."""
    from tokbench.tokenizers.zoo import resolve

    own = flat(record.tokenizer.config)
    try:
        _, variant = resolve(record.tokenizer.name)
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
