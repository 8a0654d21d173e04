"""The record of a language model's evaluation: how well it draws, edits, completes and describes; JSON and back; no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tokbench.configs import UNLESS_DEFAULT, plain
from tokbench.errors import TokbenchError
from tokbench.image_size import Size, check_size
from tokbench.records.record import Environment, MetricResult, TokenizerInfo, TokensInfo, built_record, slim

SCHEMA = 1

KIND = "language model"
"""What tells these records from those of a run."""

GROUP = "group"
"""Column of the values by prompt that numbers what an image is a sample of, where that is not the image itself."""


@dataclass(frozen=True)
class LanguageModelInfo:
    """What was evaluated.

    Args:
        name: Name of its folder.
        architecture: Class of its network.
        parameters: Weights of the network, shared ones once.
        state_sha256: Digest of the network's tensors.
        recipe: What it was trained on, as the model says.
    """

    name: str
    architecture: str
    parameters: int
    state_sha256: str | None
    recipe: dict[str, Any]


@dataclass(frozen=True)
class EvaluationProtocol:
    """How a model is evaluated: whatever a figure depends on beside the model.

    Args:
        data: Name of the world, ``scenes``, or of other images.
        split: ``test``, unseen scenes of seen combinations, or ``held-out``, of combinations that no training scene has. Of the embedded
            photos ``test`` or ``train``, and ``given`` of other images.
        prompts: How many scenes and edits, or images, are asked for.
        size: Side of the images in pixels, or height and width.
        seed: Seed of scenes and samples.
        tasks: What is measured.
        sampling: Settings of sampling.
        reference: Fresh scenes, or other real images, that samples are compared with.
        training_scenes: Training scenes, or images, among which the nearest is looked for; 0 where those of images are not at hand.
        precision: Number format of the networks.
        data_sha256: Digest of the ids, words and pixels of images that are not scenes.
        captions: Templates that their captions were made of, if they were.
        reward: Name of what judged samples beside, if anything did.

    Raises:
        ValueError: If a number is out of range.
    """

    data: str
    split: str
    prompts: int
    size: Size
    seed: int
    tasks: tuple[str, ...]
    sampling: dict[str, Any]
    reference: int
    training_scenes: int
    precision: str = "fp32"
    data_sha256: str | None = field(default=None, metadata=UNLESS_DEFAULT)
    captions: tuple[str, ...] = field(default=(), metadata=UNLESS_DEFAULT)
    reward: str | None = field(default=None, metadata=UNLESS_DEFAULT)

    def __post_init__(self) -> None:
        check_size(self.size)
        if self.prompts < 2 or self.reference < 2 or self.training_scenes < 0 or self.seed < 0:
            raise ValueError(
                "prompts and reference are at least 2, training_scenes and seed at least 0, "
                f"got {self.prompts}, {self.reference}, {self.training_scenes} and {self.seed}"
            )

    @property
    def label(self) -> str:
        """What a file of a record is called by, behind the model's name."""
        return f"{self.data}-{self.split}_N={self.prompts}_seed={self.seed}"


@dataclass(frozen=True)
class EvaluationTiming:
    """Where it ran and how long it took.

    Args:
        device: Device of the networks.
        threads: Threads of torch.
        seconds_per_image: Sampling and decoding of one drawn image.
        total_seconds: The whole evaluation.
    """

    device: str
    threads: int
    seconds_per_image: float | None
    total_seconds: float


@dataclass(frozen=True)
class LanguageModelRecord:
    """One model under one protocol.

    Args:
        model: What was evaluated.
        tokenizer: The image tokenizer it stands on.
        tokens: Tokens of one image.
        protocol: How it was evaluated.
        figures: What was measured, with intervals over prompts.
        timing: How long it took.
        environment: Versions.
        created: When.
        trained_on: Whether the tokenizer was trained on images that are asked for or compared with, as in a record of a run; None,
            which is not written, is not known.
        kind: Kind of the record.
        schema: Schema of the record.
    """

    model: LanguageModelInfo
    tokenizer: TokenizerInfo
    tokens: TokensInfo
    protocol: EvaluationProtocol
    figures: dict[str, MetricResult]
    timing: EvaluationTiming
    environment: Environment
    created: str
    trained_on: bool | None = field(default=None, metadata=UNLESS_DEFAULT)
    kind: str = KIND
    schema: int = SCHEMA

    def to_json(self) -> str:
        """Indented JSON."""
        values = {"kind": self.kind, "schema": self.schema} | plain(self)
        values["figures"] = {key: slim(value) for key, value in values["figures"].items()}
        return json.dumps(values, indent=2, allow_nan=False) + "\n"


def lm_record_from_dict(values: Any, *, origin: str) -> LanguageModelRecord:
    """Build a record from plain JSON values.

    Args:
        values: What ``LanguageModelRecord.to_json`` wrote.
        origin: What to call them in errors.

    Raises:
        TokbenchError: If they are no record of a language model, or of a newer schema.
    """
    if not isinstance(values, dict) or values.get("kind") != KIND:
        raise TokbenchError(f"{origin} is not the record of a language model; tokbench lm evaluate writes them")
    record = built_record(LanguageModelRecord, values, SCHEMA, origin=origin, what="the record of a language model")
    assert isinstance(record, LanguageModelRecord)
    return record
