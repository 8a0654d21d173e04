"""A model's evaluation on scenes: prompts that it has not seen, answers that can be right or wrong, and a record of all of it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from tokbench.bench.identity import training_of_tokenizer
from tokbench.bench.networks import efficientnet_lite0
from tokbench.data.scenes.drawing import SCENE_SIZES
from tokbench.data.scenes.random_scenes import scene_of
from tokbench.data.scenes.split import SPLITS, SceneSplit
from tokbench.errors import TokbenchError, unknown_name
from tokbench.image_size import size_text
from tokbench.lm.asking import check_text
from tokbench.lm.evaluation import Evaluated, Stage, distance_figure, mean_figure, record_of, sampling_of, silent
from tokbench.lm.examples import LONGER, complete_examples, describe_examples, draw_examples, edit_examples
from tokbench.lm.image_model import ImageModel
from tokbench.lm.options import SamplingOptions
from tokbench.lm.scene_tasks import (
    APART,
    Pixels,
    Prompts,
    Values,
    bits_of_images,
    draw_all,
    drawn,
    edit_all,
    prompts_of,
    score_descriptions,
    score_drawing,
    score_edits,
)
from tokbench.lm.set_distances import Distance, features_of, frechet, kernel, nearest
from tokbench.records.examples import Example
from tokbench.records.lm_record import EvaluationProtocol

TASKS = ("generate", "edit", "describe", "complete")
"""What can be evaluated."""


@dataclass(frozen=True)
class EvaluationOptions:
    """How much is evaluated, and how.

    Args:
        prompts: Scenes, and edits, that are asked for.
        split: Split of the scenes they are from.
        seed: Seed of scenes and samples.
        tasks: What is evaluated.
        sampling: How images are drawn; descriptions take the likeliest words.
        training_scenes: Training scenes among which the nearest is looked for.
        stage: Called with the name of a stage and its total; gives what shows its progress.

    Raises:
        TokbenchError: If there is no such split or task, or there are too few prompts.
    """

    prompts: int = 500
    split: SceneSplit = "test"
    seed: int = 0
    tasks: tuple[str, ...] = TASKS
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    training_scenes: int = 2000
    stage: Stage = silent

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise unknown_name("split of scenes", self.split, SPLITS)
        for task in self.tasks:
            if task not in TASKS:
                raise unknown_name("task", task, TASKS)
        if not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise TokbenchError(f"tasks are some of {', '.join(TASKS)}, each once; got {', '.join(self.tasks) or 'none'}")
        if self.prompts < 2 or self.training_scenes < 1 or not 0 <= self.seed < 2**31:
            raise TokbenchError(
                f"prompts are at least 2, training scenes at least 1, and the seed 0 to 2^31 - 1; "
                f"got {self.prompts}, {self.training_scenes} and {self.seed}"
            )


def evaluate(artist: ImageModel, name: str, options: EvaluationOptions | None = None) -> Evaluated:
    """Evaluate a model on scenes.

    Args:
        artist: The model with its tokenizer.
        name: What records call it.
        options: How much, and how.

    Returns:
        The record, and what it was made of.

    Raises:
        TokbenchError: If scenes are not drawn at the size of the model, or its text tokenizer cannot hold a prompt.
    """
    options, started = options or EvaluationOptions(), time.perf_counter()
    size = artist.model.size
    if not isinstance(size, int) or size not in SCENE_SIZES:
        sizes = ", ".join(map(str, SCENE_SIZES))
        raise TokbenchError(
            f"scenes come in sizes {sizes} px, and the model reads images of {size_text(size)} px; give it others with --data"
        )
    prompts = prompts_of(options.prompts, options.split, size=size, seed=options.seed)
    for text in (*prompts.words, *(prompts.instructions if "edit" in options.tasks else ())):
        check_text(text, artist.model.vocabulary)  # before anything is drawn
    values: Values = {}
    sets: dict[str, Distance] = {}
    examples: list[Example] = []
    images, edits, seconds = None, None, None
    ids = [f"{options.split}-{options.seed * APART + number}" for number in range(options.prompts)]
    if "generate" in options.tasks:
        with options.stage("drawing", options.prompts) as advance:
            before = time.perf_counter()
            images = draw_all(artist, prompts, options.sampling, seed=options.seed, progress=advance)
            seconds = (time.perf_counter() - before) / options.prompts
        examples += draw_examples(prompts, ids, images)
        with options.stage("reading", options.prompts):
            values |= score_drawing(prompts, images, artist)
        with options.stage("comparing", options.prompts):
            sets, near = _distances(artist, prompts, images, options)
            values |= near
    if "edit" in options.tasks:
        with options.stage("editing", options.prompts) as advance:
            edited = edit_all(artist, prompts, options.sampling, seed=options.seed, progress=advance)
        values |= score_edits(prompts, edited, artist)
        edits = drawn([edit.before for edit in prompts.edits], size), edited
        examples += edit_examples(prompts, ids, edited)
    if "describe" in options.tasks:
        with options.stage("describing", options.prompts) as advance:
            texts = artist.describe(drawn(prompts.scenes, size), seed=options.seed, progress=advance)
        values |= score_descriptions(prompts, texts)
        examples += describe_examples(prompts, ids, texts)
    if "complete" in options.tasks:
        with options.stage("completing", options.prompts):
            values |= bits_of_images(prompts, artist)
            completed = artist.complete(drawn(prompts.scenes[:LONGER], size), seed=options.seed, options=options.sampling)
        examples += complete_examples(prompts, ids, completed)
    rows = {key: {name: value for name, value in zip(ids, column, strict=True) if not math.isnan(value)} for key, column in values.items()}
    figures = {key: mean_figure(key, column) for key, column in rows.items() if column} | {
        key: distance_figure(one) for key, one in sets.items()
    }
    protocol = EvaluationProtocol(
        data="scenes",
        split=options.split,
        prompts=options.prompts,
        size=size,
        seed=options.seed,
        tasks=options.tasks,
        sampling=sampling_of(options.sampling, artist.model, options.tasks),
        reference=options.prompts,
        training_scenes=options.training_scenes,
        precision=artist.precision,
    )
    among = training_of_tokenizer(artist.tokenizer).includes(f"scenes/{options.split}", (), by_name=False)  # by name: they are drawn anew
    record = record_of(artist, name, protocol, figures, seconds=seconds, started=started, trained_on=among)
    return Evaluated(record, rows, images, edits, tuple(examples))


def _distances(artist: ImageModel, prompts: Prompts, images: Pixels, options: EvaluationOptions) -> tuple[dict[str, Distance], Values]:
    """Samples beside fresh scenes of the same split: kernel and Fréchet distance with their floors, and the nearest training scene."""
    network = efficientnet_lite0(artist.tokenizer.device)
    count, first = options.prompts, options.seed * APART
    fresh, floor = (
        features_of(drawn([scene_of(first + part + number, options.split) for number in range(count)], prompts.size), network)
        for part in (APART // 4, APART // 2)
    )
    trained = features_of(drawn([scene_of(number, "train") for number in range(options.training_scenes)], prompts.size), network)
    samples = features_of(images, network)
    sets = {
        "kd_efflite0": kernel(samples, fresh),
        "kd_efflite0_floor": kernel(floor, fresh),
        "fd_efflite0": frechet(samples, fresh),
        "fd_efflite0_floor": frechet(floor, fresh),
    }
    return sets, {"nearest_training": nearest(samples, trained), "nearest_training_floor": nearest(floor, trained)}
