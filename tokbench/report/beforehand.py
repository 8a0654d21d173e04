"""What is known of tokenizers before a model is trained on them: figures of runs, of the probe and of predictions, side by side; no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from tokbench.configs import canonical_json, plain
from tokbench.records.figure_info import FigureInfo
from tokbench.records.figures import BY_KEY
from tokbench.records.lm_record import LanguageModelRecord
from tokbench.records.prediction_figures import PREDICTION_FIGURES
from tokbench.records.prediction_record import PredictionRecord
from tokbench.records.probe_record import ProbeRecord
from tokbench.records.protocol import without_rounding
from tokbench.records.record import MetricResult, Record
from tokbench.report.comparable import settings_of, unlike_most
from tokbench.report.prediction import prediction_sections
from tokbench.report.probe import probe_sections
from tokbench.report.sections import make_sections

Kind = Literal["run", "probe", "prediction"]
Holder = Record | ProbeRecord | PredictionRecord


class Subject(NamedTuple):
    """Which tokenizer a record is of. Rungs of a ladder share their name in the zoo, and their weights tell them apart.

    Where there are no weights, the configuration does.
    """

    name: str
    state: str


@dataclass(frozen=True)
class Beforehand:
    """A figure that is known of a tokenizer before a model is trained on it.

    Args:
        key: Its name in the tables of the study.
        kind: Kind of the records that hold it.
        info: How it is called, written and explained; its key is that in the records.
    """

    key: str
    kind: Kind
    info: FigureInfo

    def of(self, record: Any) -> MetricResult | None:
        """What a record of its kind says; None where it says nothing, or no finite number."""
        if self.info.kind == "rate":
            value = record.figures().get(self.info.key)
            found = None if value is None else MetricResult(value, self.info.unit)
        else:
            found = (record.metrics if self.kind == "run" else record.figures).get(self.info.key)
        return found if found is not None and found.value is not None and math.isfinite(found.value) else None


@dataclass(frozen=True)
class Source:
    """What figures of several tokenizers were measured under and on; only those that share it compare.

    Args:
        kind: Kind of the records.
        label: Protocol, and budget or settings, with their version.
        data: Digest of the images.
    """

    kind: str
    label: str
    data: str


@dataclass(frozen=True)
class Known:
    """A figure of several tokenizers, of one source."""

    figure: Beforehand
    source: Source
    values: Mapping[Subject, float]


def _of_run(key: str, name: str | None = None) -> Beforehand:
    return Beforehand(name or key, "run", BY_KEY[key])


BEFOREHAND = (
    *map(_of_run, ("fd_efflite0", "lpips", "psnr", "scene_accuracy", "usage", "entropy_bits")),
    _of_run("tokens_per_image", "tokens"),
    _of_run("bits_per_image", "bits"),
    Beforehand(
        "probe_bits",
        "probe",
        FigureInfo(
            "bits_per_image",
            "bits under the probe",
            "bits",
            False,
            "bits that the probe, a small model trained on the tokens of other images, takes for those of an image",
            "codes",
            digits=0,
            axis="log",
        ),
    ),
    Beforehand(
        "probe_gap",
        "probe",
        FigureInfo(
            "gap_bits_per_image",
            "gap of the probe",
            "bits",
            False,
            "bits that the probe takes beyond those of images that it was trained on",
            "codes",
            digits=1,
        ),
    ),
    *(Beforehand(info.key, "prediction", info) for info in PREDICTION_FIGURES if info.leading),
)
"""Figures that are held against what models do, in the order of tables."""

FIGURE = {figure.key: figure for figure in BEFOREHAND}


def subject_of(record: Holder | LanguageModelRecord) -> Subject:
    """The tokenizer that a record is of."""
    info = record.tokenizer
    return Subject(info.name, info.state_sha256 or info.weights_sha256 or canonical_json(plain(info.config)))


def source_of(record: Holder) -> Source:
    """What a record's figures were measured under and on."""
    if isinstance(record, ProbeRecord):
        given = "" if record.condition == "none" else f", {record.condition} given"
        return Source(
            "probe", f"probe {record.probe_label} v{record.probe.version} on {record.protocol.label}{given}", record.held_out.digest
        )
    if isinstance(record, PredictionRecord):
        label = f"{record.prediction.label} v{record.prediction.version} on {record.protocol.label}"
        return Source("prediction", label, record.data.pixels_digest)
    return Source("run", f"{without_rounding(record.protocol_label)} v{record.protocol.version}", record.data.pixels_digest)


def sections_of(records: Sequence[Holder]) -> list[tuple[list[str], list[Holder]]]:
    """Put records together whose figures compare: those of one kind, protocol and data set, with names of their tokenizers.

    Args:
        records: Records of runs, probes and predictions.
    """
    runs = [record for record in records if isinstance(record, Record)]
    found: list[tuple[list[str], list[Holder]]] = [
        (list(section.names), [runs[place] for place in section.members]) for section in make_sections(runs)
    ]
    for names, probes in probe_sections([record for record in records if isinstance(record, ProbeRecord)]):
        found.append((names, [*probes]))
    for names, predictions in prediction_sections([record for record in records if isinstance(record, PredictionRecord)]):
        found.append((names, [*predictions]))
    return found


def measured_alike(figure: Beforehand, records: Sequence[Holder]) -> list[tuple[int, MetricResult]]:
    """Places and figures of the records that have one; those of runs measured with the settings that most of them share.

    Args:
        figure: What is looked for.
        records: One section, of the figure's kind. In it probes and predictions differ in no setting but those that follow from the tokenizer.
    """
    results = [figure.of(record) for record in records]
    unlike = unlike_most([settings_of(result) if figure.kind == "run" else None for result in results])
    return [(place, result) for place, result in enumerate(results) if result is not None and not unlike[place]]


def known_beforehand(records: Sequence[Holder]) -> list[Known]:
    """What is known of tokenizers before a model is trained on them, a figure of one source after the other.

    Args:
        records: Records of runs, probes and predictions. Of a tokenizer that was measured several times alike the first counts.
    """
    placed = [(source_of(members[0]), members) for _, members in sections_of(records)]
    found = []
    for figure in BEFOREHAND:
        for source, members in placed:
            values: dict[Subject, float] = {}
            for place, result in measured_alike(figure, members) if source.kind == figure.kind else []:
                if result.value is not None:
                    values.setdefault(subject_of(members[place]), result.value)
            if values:
                found.append(Known(figure, source, values))
    return found
