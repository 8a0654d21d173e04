"""One prediction from images to record: encode once, and then study by study, each with its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from tokbench.bench.about import tokenizer_info
from tokbench.bench.encode import reproducible
from tokbench.bench.environment import environment
from tokbench.bench.metrics.frechet import MIN_IMAGES
from tokbench.conduct import Misbehaved
from tokbench.counting import counted
from tokbench.data.open import open_source, spec_of
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError, unknown_name
from tokbench.feed.label_rules import LabelRule
from tokbench.feed.predict.encoded import MOST, read_and_encode_all
from tokbench.feed.predict.equivariance import check_map, measure_equivariance
from tokbench.feed.predict.interpolation import measure_interpolation, products_of
from tokbench.feed.predict.judge import Judge
from tokbench.feed.predict.linear import check_labels, measure_linear
from tokbench.feed.predict.locality import measure_locality
from tokbench.feed.predict.results import NotApplicable, Results
from tokbench.feed.predict.sensitivity import measure_sensitivity
from tokbench.feed.predict.spectrum import measure_spectrum
from tokbench.feed.predict.statistics import measure_statistics
from tokbench.feed.predict.vectors import CodeVectors, code_vectors, vectors_of
from tokbench.feed.probe.run import Stage, quiet
from tokbench.image_size import size_text
from tokbench.records.prediction_figures import BY_KEY, STUDIES
from tokbench.records.prediction_record import Band, Channel, PredictionProtocol, PredictionRecord, SensitivityPoint
from tokbench.records.protocol import CHANGEABLE, Protocol, get_protocol
from tokbench.records.record import TokensInfo
from tokbench.tokenizers.base import Tokenizer


@dataclass(frozen=True)
class Prediction:
    """What was found.

    Args:
        record: Its figures.
        rows: Values per image behind them, by key and id.
        failures: What the tokenizer did wrong, of which figures have reasons.
    """

    record: PredictionRecord
    rows: dict[str, dict[str, float]]
    failures: tuple[str, ...] = ()


def select_studies(names: Sequence[str] | None) -> tuple[str, ...]:
    """Choose studies, in their own order.

    Args:
        names: Studies, or keys of figures; None takes all.

    Raises:
        TokbenchError: If a name is neither, or there is none.
    """
    if names is None:
        return STUDIES
    for name in names:
        if name not in STUDIES and name not in BY_KEY:
            raise unknown_name("figure", name, [*STUDIES, *BY_KEY], hint="See: tokbench predict --help")
    wanted = {BY_KEY[name].metric if name in BY_KEY else name for name in names}
    if not wanted:
        raise TokbenchError(f"--figures needs some of {', '.join(STUDIES)}")
    return tuple(study for study in STUDIES if study in wanted)


def predict(
    tokenizer: Tokenizer,
    data: str | Path | ImageSource = "photos",
    *,
    figures: Sequence[str] | None = None,
    protocol: Protocol | None = None,
    settings: PredictionProtocol | None = None,
    labels: LabelRule = "source",
    stage: Stage = quiet,
) -> Prediction:
    """Measure what a tokenizer's codes or latents may tell of models that generate them.

    Figures depend on tokenizer, images, protocol and settings alone. Images and tokens are held in memory, so that of more than ``MOST``
    images so many are chosen, unless the protocol says how many.

    Args:
        tokenizer: On its device.
        data: Images, as for ``tokbench.evaluate``.
        figures: Studies, or keys of figures; None takes all. What cannot be measured has a reason in the record.
        protocol: How images are read and encoded; None takes ``photos-64``.
        settings: What else figures depend on.
        labels: Where classes come from, as for ``export``.
        stage: Shows progress.

    Raises:
        Misbehaved: If the tokenizer fails, or breaks its contract, as it encodes the images. Later that is a reason in the record.
        TokbenchError: If data, figures and tokenizer do not fit together.
    """
    studies = select_studies(figures)
    protocol, settings = protocol or get_protocol(), settings or PredictionProtocol()
    source = data if isinstance(data, ImageSource) else open_source(spec_of(data), size=protocol.size, scaled=not protocol.scales_all)
    if source.ready_size is not None and source.ready_size != protocol.size:
        raise TokbenchError(f"{source.name} yields {size_text(source.ready_size)} px images, the protocol asks for {protocol.size_text}")
    kept = {name: getattr(protocol, name) for name in CHANGEABLE}
    protocol = get_protocol(protocol.name, kept, data=source.name)
    if protocol.samples is None and len(source) > MOST:
        protocol = replace(protocol, samples=MOST)
    with reproducible():
        work = _Work(tokenizer, source, protocol, settings, labels, stage)
        for study in studies:
            work.study(study)
        return work.result()


class _Work:
    """The stages of one prediction."""

    def __init__(
        self, tokenizer: Tokenizer, source: ImageSource, protocol: Protocol, settings: PredictionProtocol, labels: LabelRule, stage: Stage
    ) -> None:
        self.tokenizer, self.protocol, self.settings, self.stage = tokenizer, protocol, settings, stage
        self.seconds: dict[str, float] = {}
        self.info = tokenizer_info(tokenizer)
        self.results = Results(self.info.trained_with)
        self.channels: tuple[Channel, ...] = ()
        self.correlation: tuple[tuple[float, ...], ...] = ()
        self.curve: tuple[SensitivityPoint, ...] = ()
        self.bands: tuple[Band, ...] = ()
        with self._timed("encoding"), stage("encoding", min(len(source), protocol.samples or len(source))) as advance:
            self.encoded = read_and_encode_all(tokenizer, source, protocol, labels=labels, progress=advance)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        """Count the seconds of a part, without those that parts within it count for themselves."""
        started, within = time.perf_counter(), sum(self.seconds.values())
        yield
        others = sum(self.seconds.values()) - within
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started - others

    @cached_property
    def _codes(self) -> CodeVectors | NotApplicable | None:
        """Vectors of codes; why there are none; None for latents."""
        if not self.encoded.layout.discrete:
            return None
        with self._timed("vectors of codes"):
            try:
                return code_vectors(self.encoded)
            except NotApplicable as reason:
                if isinstance(reason.__cause__, Misbehaved):
                    self.results.fail(reason.__cause__)
                return reason

    def codes(self) -> CodeVectors | None:
        """Vectors of codes; None for latents.

        Raises:
            NotApplicable: If there are none.
        """
        if isinstance(self._codes, NotApplicable):
            raise self._codes
        return self._codes

    @cached_property
    def vectors(self) -> torch.Tensor:
        """Latents, or vectors of codes."""
        return vectors_of(self.encoded, self.codes())

    @cached_property
    def products(self) -> np.ndarray:
        """Scalar products of the vectors of every two images."""
        vectors = self.vectors
        with self._timed("products of images"):
            return products_of(vectors)

    @cached_property
    def judge(self) -> Judge:
        """Has seen the images."""
        with self._timed("features of images"):
            encoded = self.encoded
            return Judge.on(self.tokenizer.device, encoded.pixels, encoded.groups, micro_batch=self.protocol.micro_batch)

    def study(self, name: str) -> None:
        """Measure the figures of one study, or say why there are none."""
        studies: dict[str, Callable[[], None]] = {
            "interpolation": self._interpolation,
            "sensitivity": self._sensitivity,
            "equivariance": self._equivariance,
            "statistics": self._statistics,
            "spectrum": self._spectrum,
            "linear": self._linear,
            "locality": self._locality,
        }
        reason: str | None = None
        with self.stage(name, 0), self._timed(name):
            try:
                studies[name]()
            except Misbehaved as error:
                reason = self.results.fail(error)
            except NotApplicable as error:
                reason = str(error)
        self.results.lacking(name, self._too_few if reason is None else lambda key: reason)

    def _too_few(self, key: str) -> str:
        """Why there is no distance between so few images."""
        if key.endswith("_kd"):
            return "one image; a kernel distance needs at least 2"
        return f"{counted(len(self.encoded), 'image')}; a Fréchet distance needs at least {MIN_IMAGES}"

    def _interpolation(self) -> None:
        measure_interpolation(self.encoded, self.codes(), self.judge, self.products, self.results)

    def _sensitivity(self) -> None:
        self.curve = measure_sensitivity(self.encoded, self.codes(), self.judge, self.settings, self.results)

    def _equivariance(self) -> None:
        check_map(self.encoded)
        known = self._codes
        codes, why_not = (None, str(known)) if isinstance(known, NotApplicable) else (known, None)
        measure_equivariance(self.encoded, codes, why_not, self.results)

    def _statistics(self) -> None:
        self.channels, self.correlation = measure_statistics(self.vectors, self.encoded.groups, self.results)

    def _spectrum(self) -> None:
        self.bands = measure_spectrum(self.encoded, self.vectors, self.results)

    def _linear(self) -> None:
        encoded = self.encoded
        check_labels(encoded.labels)  # before products are computed for nothing
        measure_linear(self.products, encoded.labels, encoded.ids, encoded.groups, folds=self.settings.folds, results=self.results)

    def _locality(self) -> None:
        measure_locality(self.tokenizer, self.encoded.layout, self.protocol, self.settings.edits, self.results)

    def result(self) -> Prediction:
        """Put it all together."""
        layout = self.encoded.layout
        tokens = TokensInfo(
            layout.positions,
            layout.tokens_per_image,
            layout.bits_per_image,
            layout.bpp,
            layout.grid,
            layout.codebook_sizes,
            layout.channels,
            layout.storage_bits_per_image,
        )
        record = PredictionRecord(
            tokenizer=self.info,
            tokens=tokens,
            data=self.encoded.data,
            protocol=self.protocol,
            prediction=self.settings,
            figures=self.results.figures,
            channels=self.channels,
            correlation=self.correlation,
            sensitivity=self.curve,
            spectrum=self.bands,
            seconds={name: round(value, 3) for name, value in self.seconds.items()},
            device=str(self.tokenizer.device),
            threads=torch.get_num_threads(),
            environment=environment(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            trained_on=self.encoded.trained_on,
        )
        return Prediction(record, self.results.rows, tuple(self.results.failures))
