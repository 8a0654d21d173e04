"""One reader for records of every kind; no torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokbench.errors import TokbenchError
from tokbench.records.lm_record import KIND as LANGUAGE_MODEL
from tokbench.records.lm_record import LanguageModelRecord, lm_record_from_dict
from tokbench.records.prediction_record import KIND as PREDICTION
from tokbench.records.prediction_record import PredictionRecord, prediction_record_from_dict
from tokbench.records.probe_record import KIND as PROBE
from tokbench.records.probe_record import ProbeRecord, probe_record_from_dict
from tokbench.records.record import RUN, Record, read_values, record_from_dict
from tokbench.records.speed_record import KIND as SPEED
from tokbench.records.speed_record import SpeedRecord, speed_record_from_dict

AnyRecord = Record | ProbeRecord | LanguageModelRecord | SpeedRecord | PredictionRecord

KINDS: dict[str, Callable[..., AnyRecord]] = {
    RUN: record_from_dict,
    PROBE: probe_record_from_dict,
    LANGUAGE_MODEL: lm_record_from_dict,
    SPEED: speed_record_from_dict,
    PREDICTION: prediction_record_from_dict,
}
"""Builders by the kind that a record names."""


def read(path: str | Path) -> AnyRecord:
    """Read a record file of whatever kind.

    Args:
        path: Path of its JSON.

    Raises:
        TokbenchError: If it is missing, no record, or of a kind or schema that this version does not know.
    """
    return from_values(read_values(Path(path)), origin=str(path))


def from_values(values: Any, *, origin: str) -> AnyRecord:
    """Build a record from plain JSON values, by the kind they name; what names none is the record of a run.

    Args:
        values: What ``to_json`` wrote.
        origin: What to call them in errors.

    Raises:
        TokbenchError: If they are no record, or of a kind or schema that this version does not know.
    """
    kind = values.get("kind", RUN) if isinstance(values, dict) else RUN
    if not isinstance(kind, str) or kind not in KINDS:
        known = " or a ".join(KINDS)
        raise TokbenchError(f"{origin} is the record of a {str(kind)[:40]}, this tokbench reads those of a {known}; install a newer one")
    return KINDS[kind](values, origin=origin)
