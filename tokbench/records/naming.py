"""What files of records and folders of images are called: after what distinguishes them; no torch."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from tokbench.configs import canonical_json
from tokbench.records.record import Record, TokenizerInfo

LONGEST, SETTINGS = 120, 60
"""Characters of a name, and of the settings in it; what is longer ends in a digest, or is one."""


def file_stem(text: str) -> str:
    """Text as part of a file's name: what names cannot have is replaced, and what is too long ends in a digest of all of it."""
    stem = re.sub(r"[^A-Za-z0-9.+=_-]+", "-", text).strip("-.") or "record"
    return stem if len(stem) <= LONGEST else f"{stem[: LONGEST - 9]}-{_digest(text)}"


def subject_label(info: TokenizerInfo) -> str:
    """A tokenizer's name, with what is set otherwise than it stands for: ``flowmo/tiny+steps=3``."""
    settings = dict(info.settings)
    weights = settings.pop("weights", None)
    changed = "".join(f"+{key}={value}" for key, value in settings.items())
    if len(changed) > SETTINGS:
        changed = f"+settings={_digest(changed)}"
    return info.name + changed + (f"+weights={weights}" if weights else "")


def record_name(record: Record) -> str:
    """Tokenizer and protocol."""
    return f"{subject_label(record.tokenizer)}_{record.protocol_label}"


def distinction(record: Record, other: Record) -> str:
    """What tells a record from another one of the same name: weights, source, configuration, images, device, metrics,
    images at once.

    Returns:
        Such as ``+weights=1a2b3c4d``; empty if it is a repeat.
    """
    parts = {
        "weights": (record.tokenizer.state_sha256, other.tokenizer.state_sha256),
        "source": (record.tokenizer.source_sha256, other.tokenizer.source_sha256),
        "config": (record.tokenizer.config, other.tokenizer.config),
        "images": (record.data.pixels_digest, other.data.pixels_digest),
        "device": (record.timing.device, other.timing.device),
        "at-once": (record.protocol.at_once, other.protocol.at_once),
        "compiled": (record.protocol.compiled, other.protocol.compiled),
        "metrics": (sorted(record.metrics), sorted(other.metrics)),
    }
    return "".join(f"+{key}={_short(key, own)}" for key, (own, there) in parts.items() if own != there)


def _short(key: str, value: Any) -> str:
    if key in ("device", "at-once", "compiled"):
        return str(value)
    if key == "metrics" and len("-".join(value)) <= SETTINGS:
        return "-".join(value)
    return value[:8] if isinstance(value, str) else "none" if value is None else _digest(canonical_json(value))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()[:8]
