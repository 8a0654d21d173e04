"""What evaluations of a language model share: figures out of values, and the record that says all of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch

from tokbench.bench.about import tokenizer_info
from tokbench.bench.environment import environment
from tokbench.bench.identity import weights_digest
from tokbench.configs import plain
from tokbench.lm.image_model import ImageModel, Pixels, Progress
from tokbench.lm.model import LanguageModel
from tokbench.lm.options import EDIT_TEMPERATURE, SamplingOptions
from tokbench.lm.set_distances import FEWEST, Distance
from tokbench.records.examples import Example
from tokbench.records.intervals import group_bootstrap
from tokbench.records.lm_record import EvaluationProtocol, EvaluationTiming, LanguageModelInfo, LanguageModelRecord
from tokbench.records.record import MetricResult, TokensInfo

UNITS = {"bits": "bits", "psnr": "dB", "nearest": "1 - cosine", "reward": "reward"}
"""Units of figures by a part of their names; all others are shares."""

PACKAGES = ("transformers", "trl", "peft", "accelerate")

Stage = Callable[[str, int], AbstractContextManager[Progress]]


@contextmanager
def silent(name: str, total: int) -> Iterator[Progress]:
    """Show nothing of a stage."""
    yield lambda done, total: None


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation gives.

    Args:
        record: The record.
        rows: Figure to prompt to value.
        images: Images drawn, one a prompt; None if none were asked for.
        edits: What each edit shows last, and what became of it; None if none were asked for.
        examples: The first prompts of each task with their answers, to be looked at.
    """

    record: LanguageModelRecord
    rows: dict[str, dict[str, float]]
    images: Pixels | None
    edits: tuple[Pixels, Pixels] | None
    examples: tuple[Example, ...] = ()


def mean_figure(key: str, column: Mapping[str, float], groups: Mapping[str, str] | None = None) -> MetricResult:
    """Make a figure of values by prompt.

    Args:
        key: Its name.
        column: Prompt to value, at least one.
        groups: Prompt to what it is a sample of; None takes each for itself.
    """
    unit = next((unit for part, unit in UNITS.items() if part in key), "share")
    better = None if "nearest" in key or key.startswith("other_") else not key.endswith("_bits")
    values, prompts = list(column.values()), list(column)
    apart = prompts if groups is None else [groups[prompt] for prompt in prompts]
    return MetricResult(math.fsum(values) / len(values), unit, better, interval=group_bootstrap(values, apart))


def distance_figure(distance: Distance) -> MetricResult:
    """Make a figure of a distance between two sets."""
    if distance.value is None:
        return MetricResult(reason=f"a Fréchet distance needs at least {FEWEST} images")
    return MetricResult(distance.value, "squared feature distance", False, interval=distance.interval)


def record_of(
    artist: ImageModel,
    name: str,
    protocol: EvaluationProtocol,
    figures: dict[str, MetricResult],
    *,
    seconds: float | None,
    started: float,
    trained_on: bool | None = None,
) -> LanguageModelRecord:
    """Write down an evaluation.

    Args:
        artist: What was evaluated.
        name: What records call it.
        protocol: How.
        figures: What was measured.
        seconds: Seconds of a drawn image, if any were drawn.
        started: When it began, by ``time.perf_counter``.
        trained_on: Whether the tokenizer was trained on the images; None is not known.
    """
    model = artist.model
    layout = artist.tokenizer.layout(*model.image_size)
    here = environment()
    found = {package: _version(package) for package in PACKAGES}
    return LanguageModelRecord(
        model=LanguageModelInfo(
            name,
            type(model.network).__name__,
            sum(weight.numel() for weight in model.network.parameters()),
            weights_digest(model.network),
            plain(dict(model.recipe)),
        ),
        tokenizer=tokenizer_info(artist.tokenizer),
        tokens=TokensInfo(layout.positions, layout.tokens_per_image, layout.bits_per_image, layout.bpp, layout.grid, layout.codebook_sizes),
        protocol=protocol,
        figures=figures,
        timing=EvaluationTiming(str(model.device), torch.get_num_threads(), seconds, round(time.perf_counter() - started, 3)),
        environment=replace(here, packages=here.packages | {key: value for key, value in found.items() if value is not None}),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        trained_on=trained_on,
    )


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def sampling_of(options: SamplingOptions, model: LanguageModel, tasks: Sequence[str]) -> dict[str, Any]:
    """How a model is sampled, for its record: as it draws, and as it edits where that is other and nobody chose one for both."""
    told = asdict(options.of(model.guidance))
    if "edit" not in tasks:
        return told
    if options.guidance is None and model.guidance != 1:
        told["edit_guidance"] = 1.0
    if options.temperature is None:
        told["edit_temperature"] = EDIT_TEMPERATURE
    return told
