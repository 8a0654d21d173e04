"""A model's evaluation on images that are not scenes: what it takes for real ones, and how far its samples of their words are from others.

::

    real images with words --+-- asked for: words --> samples ---- distance ----+
                             |              images --- distance (floor) --------+
                             +-- as many others, of other groups <--------------+
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tokbench.bench.identity import trained_on, training_of_tokenizer
from tokbench.bench.networks import efficientnet_lite0
from tokbench.data.open import PHOTO_SPECS
from tokbench.errors import TokbenchError, unknown_name
from tokbench.feed.label_rules import LabelRule
from tokbench.lm.evaluation import Evaluated, Stage, distance_figure, mean_figure, record_of, sampling_of, silent
from tokbench.lm.examples import LONGER, SHOWN, real_examples
from tokbench.lm.held_out import HeldOut, hold_out, training_set
from tokbench.lm.image_bits import completion_bits, description_bits, image_bits
from tokbench.lm.image_model import ImageModel, Pixels
from tokbench.lm.material import TOKENS
from tokbench.lm.model import LanguageModel
from tokbench.lm.options import SamplingOptions
from tokbench.lm.prompts import times_before
from tokbench.lm.real_images import open_real
from tokbench.lm.reward import Reward, get_reward
from tokbench.lm.scene_tasks import Values
from tokbench.lm.set_distances import features_of, frechet, kernel, nearest
from tokbench.records.lm_record import GROUP, EvaluationProtocol
from tokbench.records.record import MetricResult

TASKS = ("generate", "describe", "complete")
"""What can be evaluated on images that are not scenes: nothing says what an edit of them should be."""


@dataclass(frozen=True)
class ImageEvaluationOptions:
    """What is evaluated, and how.

    Args:
        data: Images as ``tokbench run --data`` takes them, or an export whose images are at hand.
        labels: Where classes come from, whose names are words.
        captions: Templates of captions.
        resize: Whether images of other sizes are scaled and cut.
        prompts: Images whose words are asked for; None takes half of all, 500 at most.
        seed: Seed of the choice and of samples.
        tasks: What is evaluated; None takes all that the model does not say it has not learned.
        sampling: How images are drawn.
        reward: ``module:function`` that judges images by their words; None leaves that out.
        training: Images, or an export, that the model learned from; None takes those encoded in its folder, if they are at hand.
        training_images: Images of these among which the nearest is looked for.
        stage: Called with the name of a stage and its total; gives what shows its progress.

    Raises:
        TokbenchError: If there is no such task, or a number is out of range.
    """

    data: str
    labels: LabelRule = "source"
    captions: tuple[str, ...] = ()
    resize: bool = False
    prompts: int | None = None
    seed: int = 0
    tasks: tuple[str, ...] | None = None
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    reward: str | None = None
    training: str | None = None
    training_images: int = 2000
    stage: Stage = silent

    def __post_init__(self) -> None:
        for task in self.tasks or ():
            if task == "edit":
                raise TokbenchError("edits are evaluated on scenes alone; leave --data out, or choose other tasks")
            if task not in TASKS:
                raise unknown_name("task", task, TASKS)
        if self.tasks is not None and (not self.tasks or len(set(self.tasks)) < len(self.tasks)):
            raise TokbenchError(f"tasks are some of {', '.join(TASKS)}, each once; got {', '.join(self.tasks) or 'none'}")
        if (self.prompts is not None and self.prompts < 2) or self.training_images < 1 or not 0 <= self.seed < 2**31:
            raise TokbenchError(
                f"prompts are at least 2, training images at least 1, and the seed 0 to 2^31 - 1; "
                f"got {self.prompts}, {self.training_images} and {self.seed}"
            )


def evaluate_images(artist: ImageModel, folder: Path, options: ImageEvaluationOptions) -> Evaluated:
    """Evaluate a model on real images.

    Args:
        artist: The model with its tokenizer.
        folder: The folder of the model, after which records are called, and where its training images may lie encoded.
        options: What, and how.

    Returns:
        The record, and what it was made of.

    Raises:
        TokbenchError: If there are no such images, they have no words, are too few, or of another size or tokenizer. If the model has not
            learned a task, its text tokenizer cannot hold the words, or the reward fails. If a reward or training images are given and
            nothing is drawn.
    """
    started, folder = time.perf_counter(), Path(folder)
    tasks = tasks_of(artist.model, options.tasks)
    if "generate" not in tasks and (options.reward or options.training):
        name = "--reward" if options.reward else "--training"
        raise TokbenchError(f"{name} is for images that are drawn; ask for --task generate too, or leave it out")
    reward = None if options.reward is None else get_reward(options.reward)
    real = open_real(options.data, artist.model, labels=options.labels, captions=options.captions, resize=options.resize)
    held = hold_out(real, options.prompts, seed=options.seed)
    trained = _training(artist.model, folder, options) if "generate" in tasks else None
    count, codes = len(held.words), artist.encode(held.images)
    values: Values = {}
    figures: dict[str, MetricResult] = {}
    images, completed, texts, seconds = None, None, [], None
    if "generate" in tasks:
        if reward is not None:  # before all that takes long, as it may fail
            values["original_reward"] = _rewards(reward, held.words, held.images)
            values["ceiling_reward"] = _rewards(reward, held.words, artist.decode(codes, range(count)))
        with options.stage("reading", count):
            values["image_bits"] = image_bits(artist, codes, held.words)
            values["wordless_image_bits"] = image_bits(artist, codes, [""] * count)
        with options.stage("drawing", count) as advance:
            before = time.perf_counter()
            times = times_before(held.words)
            images = artist.generate(held.words, times=times, seed=options.seed, options=options.sampling, progress=advance)
            seconds = (time.perf_counter() - before) / count
        with options.stage("comparing", count):
            figures, near = _compared(artist, held, images, trained)
            values |= near
            if reward is not None:
                values["reward"] = _rewards(reward, held.words, images)
    if "complete" in tasks:
        with options.stage("completing", count):
            values["completion_bits"] = completion_bits(artist, held.images, codes)
            completed = artist.complete(held.images[:LONGER], seed=options.seed, options=options.sampling)
    if "describe" in tasks:
        with options.stage("describing", count):
            values["description_bits"] = description_bits(artist, codes, held.words)
            values["other_description_bits"] = description_bits(artist, codes, [held.words[-1], *held.words[:-1]])
            texts = artist.describe(held.images[:SHOWN], seed=options.seed)
    groups = dict(zip(held.ids, held.groups, strict=True))
    rows = {key: dict(zip(held.ids, column, strict=True)) for key, column in values.items()}
    figures |= {key: mean_figure(key, column, groups) for key, column in rows.items()}
    if held.groups != held.ids:
        names = sorted(set(held.groups))
        rows[GROUP] = {name: float(names.index(group)) for name, group in groups.items()}
    data, split = _called(real.source.name)
    protocol = EvaluationProtocol(
        data=data,
        split=split,
        prompts=count,
        size=artist.model.size,
        seed=options.seed,
        tasks=tasks,
        sampling=sampling_of(options.sampling, artist.model, tasks),
        reference=count,
        training_scenes=0 if trained is None else len(trained),
        precision=artist.precision,
        data_sha256=held.sha256,
        captions=real.templates,
        reward=options.reward,
    )
    name = folder.resolve().name
    among = trained_on(training_of_tokenizer(artist.tokenizer), real.source, held.digests)
    record = record_of(artist, name, protocol, figures, seconds=seconds, started=started, trained_on=among)
    examples = real_examples(held, drawn=images, completed=completed, texts=texts)
    return Evaluated(record, rows, images, None, tuple(examples))


def tasks_of(model: LanguageModel, asked: Sequence[str] | None) -> tuple[str, ...]:
    """Choose the tasks that are evaluated.

    Args:
        model: Says what it has learned, if its stages are those of this package.
        asked: What a user names; None takes all that it may have learned.

    Raises:
        TokbenchError: If the model says that it has not learned one that is named, or none at all.
    """
    learned = _learned(model.recipe.get("stages"))
    if asked is None:
        asked = [task for task in TASKS if learned is None or task in learned]
    if lacking := [task for task in asked if learned is not None and task not in learned]:
        raise TokbenchError(
            f"the model has not learned to {lacking[0]}, no stage of it has a share of that task; give other tasks with --task, "
            f"or train it with --set tasks.{lacking[0]}=SHARE"
        )
    if not asked:
        raise TokbenchError(f"the model has learned none of {', '.join(TASKS)}; train it with a share of one")
    return tuple(asked)


def _learned(stages: Any) -> set[str] | None:
    """Tasks that have a share in a stage; None where a model does not say. Preferences are of images drawn by a stage before."""
    found: set[str] = set()
    for stage in stages if isinstance(stages, list) and stages else [None]:
        told: Mapping[str, Any] = stage if isinstance(stage, Mapping) else {}
        recipe = told.get("recipe")
        shares = recipe.get("tasks") if isinstance(recipe, Mapping) else None
        if not isinstance(shares, Mapping):
            return None
        if told.get("stage") != "dpo":
            found |= {str(task) for task, share in shares.items() if share}
    return found


NOT_AT_HAND = MetricResult(reason="the images the model learned from are not at hand; name them with --training")


def _training(model: LanguageModel, folder: Path, options: ImageEvaluationOptions) -> Pixels | None:
    """Images the model learned from; None if they are not at hand and were not named."""
    place = options.training
    try:
        real = open_real(place or str(folder / TOKENS), model)
    except TokbenchError:
        if place is not None:
            raise
        return None
    found = training_set(replace(real, fitted=True), options.training_images, seed=options.seed)
    return found if len(found) else None


def _compared(artist: ImageModel, held: HeldOut, images: Pixels, trained: Pixels | None) -> tuple[dict[str, MetricResult], Values]:
    """Samples beside real images of other groups and beside training images; floors have the images whose words were asked for."""
    network = efficientnet_lite0(artist.tokenizer.device)
    samples, floor, reference = (features_of(some, network) for some in (images, held.images, held.reference))
    found = {
        "kd_efflite0": kernel(samples, reference, held.groups),
        "kd_efflite0_floor": kernel(floor, reference, held.groups),
        "fd_efflite0": frechet(samples, reference, held.groups),
        "fd_efflite0_floor": frechet(floor, reference, held.groups),
    }
    figures = {key: distance_figure(distance) for key, distance in found.items()}
    if trained is None:
        return figures | {"nearest_training": NOT_AT_HAND}, {}
    others = features_of(trained, network)
    return figures, {"nearest_training": nearest(samples, others), "nearest_training_floor": nearest(floor, others)}


def _rewards(reward: Reward, words: Iterable[str], images: Pixels) -> list[float]:
    return [reward(text, image.permute(1, 2, 0).contiguous().numpy()) for text, image in zip(words, images, strict=True)]


def _called(name: str) -> tuple[str, str]:
    """What a record calls images and their split, where they have one."""
    data, _, split = name.rpartition("/")
    return (data, split) if name in PHOTO_SPECS and split else (name, "given")
