"""Records of every kind, found in files and folders at once; no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tokbench.records.lm_record import LanguageModelRecord
from tokbench.records.prediction_record import PredictionRecord
from tokbench.records.probe_record import ProbeRecord
from tokbench.records.read import KINDS, from_values
from tokbench.records.record import Record
from tokbench.records.speed_record import SpeedRecord
from tokbench.records.store import no_records, read_places


@dataclass(frozen=True)
class Everything:
    """Records by kind, with their files."""

    runs: list[tuple[Path, Record]] = field(default_factory=list)
    probes: list[tuple[Path, ProbeRecord]] = field(default_factory=list)
    models: list[tuple[Path, LanguageModelRecord]] = field(default_factory=list)
    speeds: list[tuple[Path, SpeedRecord]] = field(default_factory=list)
    predictions: list[tuple[Path, PredictionRecord]] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.runs) + len(self.probes) + len(self.models) + len(self.speeds) + len(self.predictions)

    @property
    def holders(self) -> list[Record | ProbeRecord | PredictionRecord]:
        """Records of what is known of tokenizers without a model that was trained on them: runs, probes and predictions."""
        return [record for found in (self.runs, self.probes, self.predictions) for _, record in found]


def find_everything(places: Iterable[Path]) -> Everything:
    """Read the records of all kinds from files and folders.

    Args:
        places: Record files of any kind, or folders that are searched for them, recursively.

    Raises:
        TokbenchError: If a place is missing, a file is no record, or there is none of any kind.
    """
    places, found = list(places), Everything()
    for one in read_places(places):
        if not one.named and one.kind not in KINDS:
            continue
        record = from_values(one.values, origin=str(one.path))
        if isinstance(record, Record):
            found.runs.append((one.path, record))
        elif isinstance(record, ProbeRecord):
            found.probes.append((one.path, record))
        elif isinstance(record, LanguageModelRecord):
            found.models.append((one.path, record))
        elif isinstance(record, PredictionRecord):
            found.predictions.append((one.path, record))
        else:
            found.speeds.append((one.path, record))
    if not found.count:
        raise no_records(places)
    return found
