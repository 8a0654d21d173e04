"""A stage from what a user names to a model: its data, the model it begins from, what is kept, and pairs."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from tokbench.errors import TokbenchError
from tokbench.feed.dataset import TokenDataset
from tokbench.feed.label_rules import LabelRule
from tokbench.feed.text_file import FileText
from tokbench.files import made_folder, make_folder, write_text
from tokbench.image_size import Size, size_text
from tokbench.json_files import read_json
from tokbench.lm.beginning import begin, digest_of, encoder, open_learned, open_text_model, sha256_of, tokenizer_of
from tokbench.lm.checkpoint import CHECKPOINT
from tokbench.lm.filtering import judge, keep_rows, read_rows, write_rows
from tokbench.lm.material import APART, SCENES, Material, check_captions, gather, is_encoded, open_training_images
from tokbench.lm.mixture import Mixture, words_of
from tokbench.lm.model import LanguageModel
from tokbench.lm.order import Order
from tokbench.lm.originals import originals_of
from tokbench.lm.preferences import PAIRS, Pairs, prepare
from tokbench.lm.ranking import merge, rank, ranked_by
from tokbench.lm.recipes import StageRecipe
from tokbench.lm.reward import Reward, get_reward, judge_of, scene_reward
from tokbench.lm.scene_source import StageScenes, are_scenes
from tokbench.lm.stages import Progress, StageOptions, StageResult, check, train_stage
from tokbench.lm.templates import words_in
from tokbench.lm.trainers import Row
from tokbench.lm.words import WORDS, learn_words
from tokbench.ranks import own_device, ranks_from_environment
from tokbench.tokenizers.base import Tokenizer

logger = logging.getLogger(__name__)

KEPT = "kept.npy"
"""Rows that a filter kept, in the folder of a run."""

LEARNED = "words.json"
"""The text tokenizer that was learned, in the folder of a run."""

MEASURED = "measured.json"
"""What was measured before training, in the folder of a run."""

RANKED = ".ranked.json"
"""What pairs in the folder of a run were ranked by."""

FIRST_PROMPT = 500_000_000
"""Number of the first scene whose words are drawn and ranked, far from those that are learned from."""

Counter = Callable[[str, int, int], None]
"""What is being made before training begins, how many are done, and how many there are."""


@dataclass(frozen=True)
class Inputs:
    """What a stage is made from.

    Args:
        data: An export, ``scenes``, or images; None where pairs are given.
        model: Folder of a language model; for ``pretrain`` also that of any causal model, or ``hf:OWNER/REPO``; None starts from scratch.
        tokenizer: Encodes images and decodes what is judged; None takes that of the export or the model, from the zoo.
        text: A ``tokenizer.json`` for words, where a model starts from scratch; ``words`` learns one from the words of the data, and None
            writes them byte by byte.
        edits: File of edits.
        halves: Export of images whose lower half was hidden.
        pairs: File of chosen and rejected images.
        reward: Judges images by their words; None judges scenes by their reader, and nothing else.
        labels: Where labels of images come from.
        captions: Templates of captions that have the name of a class in them.
        size: Side of images in pixels, or height and width; None takes that of the model, or 64.

    Raises:
        ValueError: If ``captions`` is one text.
    """

    data: str | None = None
    model: str | None = None
    tokenizer: Tokenizer | None = None
    text: str | None = None
    edits: Path | None = None
    halves: Path | None = None
    pairs: Path | None = None
    reward: str | None = None
    labels: LabelRule = "source"
    captions: tuple[str, ...] = ()
    size: Size | None = None

    def __post_init__(self) -> None:
        if isinstance(self.captions, str):
            raise ValueError(f"captions are a tuple of texts, got one; write ({self.captions!r},)")
        for name in ("data", "model", "text"):  # which may be given as paths
            if isinstance(value := getattr(self, name), PathLike):
                object.__setattr__(self, name, fspath(value))
        for name in ("edits", "halves", "pairs"):
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, Path(value))


def run_stage(
    recipe: StageRecipe,
    inputs: Inputs,
    options: StageOptions,
    *,
    preparing: Counter = lambda what, done, total: None,
    progress: Progress = lambda done, total, figures: None,
) -> StageResult:
    """Train a stage.

    Args:
        recipe: What to do.
        inputs: What it is made from.
        options: Where and how.
        preparing: Called while images are encoded, judged or drawn.
        progress: See ``train_stage``.

    Returns:
        How it ended.

    Raises:
        TokbenchError: If something is missing or does not fit together, or as ``train_stage``.
    """
    run = _Run(recipe, inputs, options, preparing, progress)
    if options.resume and not (options.out / CHECKPOINT).is_file():
        raise TokbenchError(f"nothing to resume: no {CHECKPOINT} in {options.out}; leave --resume out to start there")
    check(recipe, options)
    _refuse_unused(recipe, inputs)
    if inputs.reward is not None:
        get_reward(inputs.reward)  # one that there is not shows before anything is encoded
    with made_folder(options.out, alone=ranks_from_environment().world_size == 1):
        if not options.resume and ranks_from_environment().rank == 0:
            (options.out / MEASURED).unlink(missing_ok=True)  # of a run that ended before its first checkpoint
        return run.prefer() if recipe.stage == "dpo" else run.learn()


def _refuse_unused(recipe: StageRecipe, inputs: Inputs) -> None:
    """Refuse what a stage has no use for, which a user would believe to be heeded.

    Raises:
        TokbenchError: If some is given.
    """
    given: dict[str, bool] = {}
    if recipe.stage == "dpo":
        given = {f"--{name}": getattr(inputs, name) is not None for name in ("text", "edits", "halves", "size")}
        why = f"{recipe.name} learns from pairs of images that its model draws or is given"
        if inputs.pairs is not None and inputs.data is None:
            given |= {"--reward": inputs.reward is not None, "--labels": inputs.labels != "source", "--captions": bool(inputs.captions)}
            why = "a file of preferences says itself which images are better, and for which words"
    elif recipe.keep is None:
        given, why = {"--reward": inputs.reward is not None}, f"{recipe.name} keeps all images (keep=none), so that nothing is judged"
    if unused := [name for name, there in given.items() if there]:
        raise TokbenchError(f"{why}; leave {unused[0]} out")


@dataclass(frozen=True)
class _Run:
    recipe: StageRecipe
    inputs: Inputs
    options: StageOptions
    preparing: Counter
    progress: Progress

    def learn(self) -> StageResult:
        """Learn from sequences of mixed tasks."""
        recipe, inputs, options = self.recipe, self.inputs, self.options
        if inputs.pairs is not None:
            raise TokbenchError(f"pairs are learned from by dpo, not by {recipe.name}; leave --preferences out")
        if inputs.data is None:
            raise TokbenchError(f"{recipe.name} learns from images; give --data EXPORT, a folder of images, or scenes")
        if recipe.stage != "pretrain" and inputs.model is None:
            raise TokbenchError(f"{recipe.name} goes on from a model; give --model FOLDER of one that pretrain made")
        if inputs.text is not None and inputs.model is not None:
            raise TokbenchError(f"{inputs.model} has its own text tokenizer; leave --text out")
        if inputs.text not in (None, WORDS):
            FileText.open(Path(str(inputs.text)))  # one that cannot be read shows before images are encoded
        learned = open_learned(inputs.model)
        base = open_text_model(recipe, inputs.model) if inputs.model is not None and learned is None else None
        tokenizer, size = (inputs.tokenizer, inputs.size) if learned is None or is_encoded(inputs.data) else self.encoding(learned)
        material = gather(
            inputs.data,
            recipe,
            options.out,
            tokenizer=tokenizer,
            edits=inputs.edits,
            halves=inputs.halves,
            labels=inputs.labels,
            captions=inputs.captions,
            size=size,
            wait=self.wait,
            progress=lambda done, total: self.preparing("encoding", done, total),
        )
        if inputs.tokenizer is not None and is_encoded(inputs.data):  # which needs none, so that another one would go unnoticed
            tokenizer_of(material.data.job.tokenizer, inputs.tokenizer, self.device)
        text = self.text(material)
        start = begin(
            recipe,
            material.data,
            learned=learned,
            base=base,
            model=inputs.model,
            text=text,
            tokenizer=inputs.tokenizer,
            device=self.device,
        )
        if recipe.keep is not None:
            self.mixture(material, start, kept=None, longest=None)  # what does not belong together shows before images are judged
        mixture = self.mixture(material, start, kept=self.keep(material), longest=start.longest)
        mixture.example(0)  # what no sequence can be made of shows now

        def rows(place: int) -> Row:
            return asdict(mixture.example(mixture.arranged(place, recipe.batch_size)))

        about = {"data": material.about, "start": digest_of(inputs.model)}
        about |= {} if material.edits is None else {"edits": sha256_of(material.edits.path)}
        about |= {} if inputs.model is not None else {"text": _text_digest(start)}
        return train_stage(recipe, start, rows, options, about=about, measured=self.measured(), progress=self.progress)

    def mixture(self, material: Material, start: LanguageModel, *, kept: Any, longest: int | None) -> Mixture:
        """The sequences of the stage."""
        recipe = self.recipe
        return Mixture(
            material.data,
            start.vocabulary,
            tasks=recipe.tasks,
            words=recipe.words,
            edits=material.edits,
            halves=material.halves,
            kept=kept,
            loss=recipe.loss,
            longest=longest,
            seed=recipe.seed,
        )

    @property
    def device(self) -> str:
        """Where this process works."""
        return own_device(self.options.device)

    def encoding(self, learned: LanguageModel) -> tuple[Tokenizer, Size]:
        """The tokenizer and the size of images that a model reads; another one that is given is refused before anything is encoded."""
        given, size = self.inputs, learned.size
        if given.size is not None and given.size != size:
            raise TokbenchError(
                f"{given.model} reads images of {size_text(size)} px, and --size {size_text(given.size)} was given; leave --size out"
            )
        return tokenizer_of(learned.identity, given.tokenizer, self.device), size

    def text(self, material: Material) -> Path | None:
        """The file of the text tokenizer of a model from scratch; None for bytes."""
        if self.inputs.text != WORDS:
            return None if self.inputs.text is None else Path(self.inputs.text)
        path = self.options.out / LEARNED
        if not (self.options.resume and path.is_file()):
            if ranks_from_environment().rank == 0:
                make_folder(self.options.out)
                learn_words(material.data, material.edits, path)
            self.wait()
        return path

    def keep(self, material: Material) -> Any:
        """The rows that the recipe's filter keeps; None if it has none."""
        path = self.options.out / KEPT
        if self.recipe.keep is None:
            return None
        if not (self.options.resume and path.is_file()):
            ranks = ranks_from_environment()
            tokenizer = tokenizer_of(material.data.job.tokenizer, self.inputs.tokenizer, self.device)
            make_folder(self.options.out)
            originals = material.originals or _originals(material.data)
            if originals is None and self.recipe.keep.psnr > 0 and ranks.rank == 0:
                logger.warning(
                    "keep.psnr is not asked of the images of %s, as the originals are not at hand; run where they lie", material.data.folder
                )
            judge(
                material.data,
                tokenizer,
                self.options.out,
                reward=self.reward(material.data.job.data.name, str(material.data[0]["id"])),
                originals=originals,
                ranks=ranks,
                progress=lambda done, total: self.preparing("judging", done, total),
            )
            self.wait()
            if ranks.rank == 0:
                kept = keep_rows(self.options.out, material.data, self.recipe.keep, ranks)
                write_rows(path, kept.rows)
                self.measure(kept=len(kept.rows), of=len(material.data), mean_score=kept.score, mean_psnr=kept.psnr)
            self.wait()
        return read_rows(path, len(material.data))

    def prefer(self) -> StageResult:
        """Learn from pairs, given or made of the model's own images."""
        recipe, inputs, options = self.recipe, self.inputs, self.options
        if inputs.model is None:
            raise TokbenchError(f"{recipe.name} goes on from a model; give --model FOLDER of one that pretrain or quality made")
        if (inputs.data is None) == (inputs.pairs is None):
            given = "both were given" if inputs.data is not None else "neither was given"
            raise TokbenchError(f"{recipe.name} takes --data, whose words are drawn and ranked, or --preferences FILE of pairs; {given}")
        start, pairs = LanguageModel.load(inputs.model, device=self.device), options.out / PAIRS
        make_folder(options.out)
        if not (options.resume and pairs.is_file()):
            self.make_pairs(start, pairs)
            self.wait()
        rows = Pairs(pairs, start, longest=start.longest, seed=recipe.seed)
        rows.row(0)
        reference = None if options.lora is not None else LanguageModel.load(inputs.model, device=self.device).network
        about = {"pairs": sha256_of(pairs), "start": digest_of(inputs.model)}
        return train_stage(
            recipe, start, rows.row, options, about=about, measured=self.measured(), reference=reference, progress=self.progress
        )

    def make_pairs(self, start: LanguageModel, pairs: Path) -> None:
        """Write the file of pairs with codes alone."""
        ranks, tokenizer = ranks_from_environment(), self.inputs.tokenizer
        if tokenizer is not None:
            tokenizer_of(start.identity, tokenizer, self.device)  # another one shows before anything is drawn
        if self.inputs.pairs is not None:
            if ranks.rank == 0:
                count = prepare(self.inputs.pairs, pairs, start, encoder(start, tokenizer, self.device))
                self.measure(pairs=count)
            return
        (reward, words), how, seed = self.prompts(), self.recipe.preferences, self.recipe.seed
        judge = judge_of(self.inputs.reward or SCENES)
        key = ranked_by(start, words, how, judge=judge, seed=seed)
        if (figures := self.ranked(key, pairs)) is None:
            rank(
                start,
                tokenizer_of(start.identity, tokenizer, self.device),
                words,
                how,
                reward,
                self.options.out,
                judge=judge,
                seed=seed,
                ranks=ranks,
                progress=lambda done, total: self.preparing("drawing and ranking", done, total),
            )
            self.wait()
            if ranks.rank == 0:
                count, mean = merge(self.options.out, ranks)
                figures = {"prompts": len(words), "pairs": count, "mean_reward": mean}
                told = {"key": key, "sha256": sha256_of(pairs), "figures": figures}
                write_text(self.options.out / RANKED, json.dumps(told) + "\n")
        if ranks.rank == 0 and figures is not None:
            self.measure(**figures)

    def ranked(self, key: str, pairs: Path) -> dict[str, Any] | None:
        """What was measured of the same pairs by a run that was killed before its first checkpoint; None if there was none."""
        try:
            told = read_json(self.options.out / RANKED)
            same = told["key"] == key and told["sha256"] == sha256_of(pairs)
            return dict(told["figures"]) if same else None
        except (OSError, ValueError, LookupError, TypeError):  # none, or none of this package
            return None

    def prompts(self) -> tuple[Reward, list[str]]:
        """What judges, and the words that are drawn."""
        place, wanted = str(self.inputs.data), self.recipe.preferences.prompts
        folder = Path(place).expanduser()
        check_captions(place, self.inputs.captions)
        if place == SCENES:
            scenes = StageScenes(wanted, size=64, first=FIRST_PROMPT + self.recipe.seed * APART)
            name, first, words = SCENES, scenes.ids[0], [scenes.caption(number) for number in range(wanted)]
        elif is_encoded(place):
            data = TokenDataset(folder)
            order = Order(data.blocks, seed=self.recipe.seed)
            found = (words_of(data[order.row(number)], data.label_names) for number in range(len(order)))
            name, first, words = data.job.data.name, str(data[0]["id"]), list(islice(filter(None, found), wanted))
        else:
            source = open_training_images(place, self.inputs.labels, self.inputs.captions)
            told, order = words_in(source, self.inputs.labels), Order([range(len(source))], seed=self.recipe.seed)
            found = (told(order.row(number)) for number in range(len(order)))
            name, first, words = source.name, source.ids[0], list(islice(filter(None, found), wanted))
        reward = self.reward(name, first)
        if reward is None:
            raise TokbenchError(f"there is no reward for {place}; give --reward module:function, or --preferences FILE of pairs")
        if not words:
            raise TokbenchError(f"{place} has no words to draw; give data with captions or labels, or --preferences FILE of pairs")
        return reward, words

    def reward(self, name: str, first: str) -> Reward | None:
        """What judges images of data of that name, of which one has that id."""
        if self.inputs.reward is not None:
            return get_reward(self.inputs.reward)
        return scene_reward if are_scenes(name, first) else None

    def wait(self) -> None:
        """Return once all processes are here."""
        if ranks_from_environment().world_size > 1:
            from accelerate import PartialState

            PartialState(cpu=self.options.device == "cpu").wait_for_everyone()

    def measure(self, **figures: Any) -> None:
        """Note what was measured before training."""
        write_text(self.options.out / MEASURED, json.dumps(figures, indent=1, sort_keys=True) + "\n")

    def measured(self) -> dict[str, Any]:
        """What was noted, by this run or the one it goes on with."""
        path = self.options.out / MEASURED
        try:
            values = read_json(path)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise TokbenchError(f"{path} is damaged ({error}); start again in another --out") from error
        return values if isinstance(values, dict) else {}


def _text_digest(model: LanguageModel) -> str:
    """What writes the words of a model from scratch: the digest of its file, or bytes."""
    text = model.vocabulary.text
    return text.sha256 if isinstance(text, FileText) else "bytes"


def _originals(data: TokenDataset) -> Any:
    """The images of an export, if they are at hand."""
    try:
        return originals_of(data)
    except TokbenchError:
        return None
