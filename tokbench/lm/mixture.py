"""Sequences of mixed tasks out of an export: any of them at any time, as a function of seed and number alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tokbench.errors import TokbenchError
from tokbench.feed.dataset import TokenDataset
from tokbench.feed.origin import same_codes
from tokbench.feed.vocabulary import Vocabulary
from tokbench.lm.edits import Edits
from tokbench.lm.halves import Halves, check_grid
from tokbench.lm.order import Order, generator
from tokbench.lm.recipes import Shares, Words
from tokbench.lm.row_ids import captions_of, ids_of
from tokbench.lm.tasks import Example, Task, example_of
from tokbench.tokens import DiscreteTokens

NO_EDITS = "edits have a share of the tasks and no data; give --edits FILE, or leave them out: --set tasks.edit=0"
"""What is said where a stage has nothing to learn edits from."""


class Mixture:
    """The sequences a stage learns from, numbered from 0 without end.

    Every number has its task, drawn by the shares, and its row. An image without words is drawn without words, whatever its task. Nothing
    is read before it is asked for.

    Args:
        data: An export of codes, of the vocabulary's tokenizer.
        vocabulary: Meaning of the ids.
        tasks: Shares of the tasks.
        words: What is done to words.
        edits: Pairs for editing; needed if edits have a share.
        halves: Export of images of ``data`` whose lower half was hidden, for completions; None completes whole images, whose upper codes
            know of what is below.
        kept: Rows to use, ascending; None uses all. An edit is kept if all its images are.
        loss: See ``example_of``.
        longest: Ids a sequence may have.
        seed: Seed of everything.

    Raises:
        TokbenchError: If the export is of another tokenizer than the vocabulary, a task has a share and no data, or nothing is kept. If
            words make a sequence that is longer than the network takes.
    """

    def __init__(
        self,
        data: TokenDataset,
        vocabulary: Vocabulary,
        *,
        tasks: Shares,
        words: Words,
        edits: Edits | None = None,
        halves: TokenDataset | None = None,
        kept: np.ndarray | None = None,
        loss: str = "answer",
        longest: int | None = None,
        seed: int,
    ) -> None:
        check_data(data, vocabulary)
        self.data, self.vocabulary, self.edits = data, vocabulary, edits
        self._words, self._loss, self._longest, self._seed = words, loss, longest, seed
        shares: Mapping[Any, float] = asdict(tasks)
        self._tasks: list[Task] = tasks.chosen
        weights = np.array([shares[task] for task in self._tasks], dtype=np.float64)
        self._shares = weights / weights.sum()
        self._step = lru_cache(maxsize=4)(self._arranged)
        _check_tasks(self._tasks, data, edits)
        if halves is not None:
            check_data(halves, vocabulary)
        try:
            self._images = Order(data.blocks, kept=kept, seed=seed, at_once=data.cached_blocks)
            completed = halves if "complete" in self._tasks else None
            self._halves = None if completed is None else Halves(completed, data, kept=kept, seed=seed)
            edited = edits if "edit" in self._tasks else None
            self._edits = Order([range(len(edited))], kept=_kept_edits(edited, kept), seed=seed) if edited is not None else None
        except ValueError as error:
            raise TokbenchError(f"no images or edits of {data.folder} are left to learn from; lower keep.score and keep.psnr") from error

        self._check_lengths(kept)

    def _check_lengths(self, kept: np.ndarray | None) -> None:
        """Refuse words that are too long before anything is learned, and not at the step that comes to them.

        A caption of no more bytes than there is room for ids is not written at all: text tokenizers make no more ids than bytes.
        """
        if self._longest is None:
            return
        rooms = {task: self._longest - self._least(task) for task in self._tasks}
        captioned = [task for task in self._tasks if task in ("generate", "describe", "text")]
        if captioned:
            tightest = min(captioned, key=rooms.__getitem__)
            rows = None if kept is None else set(kept.tolist())
            for row, text in enumerate(captions_of(self.data)):
                if text and (rows is None or row in rows) and (over := self._over(text, rooms[tightest])):
                    name = next(name for place, name in enumerate(ids_of(self.data)) if place == row)
                    raise self._too_long(repr(name), tightest, self._longest + over)
        if self._edits is not None and self.edits is not None:
            more = len(example_of("edit", self.vocabulary, images=[self._blank] * 3)) - self._least("edit")
            for index in range(len(self.edits)):
                room = rooms["edit"] - more * (len(self.edits.rows(index)) - 2)
                if self.edits.bytes(index) > room and (over := self._over(self.edits.instruction(index), room)):
                    raise self._too_long(f"the edit {self.edits.instruction(index)!r}", "edit", self._longest + over)

    def _over(self, text: str, room: int) -> int:
        """Ids of a text beyond those there is room for."""
        return max(len(self.vocabulary.text.encode(text)) - room, 0) if len(text.encode()) > room else 0

    def _least(self, task: Task) -> int:
        """Ids of a sequence of that task without words; of an edit that shows one image."""
        return len(example_of(task, self.vocabulary, images=[self._blank] * {"text": 0, "edit": 2}.get(task, 1)))

    @property
    def _blank(self) -> DiscreteTokens:
        shape = (1, self.data.job.layout.positions, len(self.data.codebook_sizes))
        return DiscreteTokens(torch.zeros(shape, dtype=torch.int64), self.data.grid, self.data.codebook_sizes)

    def _too_long(self, name: str, task: Task, length: int) -> TokbenchError:
        return TokbenchError(
            f"{name} makes a sequence of {length} ids for {task}, the network takes {self._longest}; "
            "start from a network with more positions (--set network.positions=N), or shorten its words"
        )

    def arranged(self, place: int, batch_size: int) -> int:
        """Say which sequence comes at a place, where those of a step are arranged by how many images they have.

        Sequences of like lengths then meet in the parts of a step, and less is padded. A step has the same sequences in any arrangement.

        Args:
            place: Counted from 0 over all steps.
            batch_size: Sequences a step.
        """
        step, slot = divmod(place, batch_size)
        return self._step(step, batch_size)[slot]

    def example(self, number: int) -> Example:
        """Make one sequence.

        Args:
            number: From 0, without end.

        Raises:
            TokbenchError: If it is longer than the network takes, or the text tokenizer cannot write its words.
        """
        chance, task = self._drawn(number)
        if task == "edit":
            assert self.edits is not None
            assert self._edits is not None
            index = self._edits.row(number)
            text, images = self.edits.instruction(index), [self._image(self.data[row]) for row in self.edits.rows(index)]
            name = f"the edit {text!r}"
        elif task == "complete" and self._halves is not None:
            text, (name, image) = "", self._halves.image(number)
            images, name = [image], repr(name)
        else:
            item = self.data[self._images.row(number)]
            text, images, name = self._text(item, number, chance), [self._image(item)], f"{item['id']!r}"
            task = task if text or task == "complete" else "generate"
            text, images = ("" if task == "complete" else text), ([] if task == "text" else images)
        if task in ("generate", "edit") and chance.random() < self._words.drop:
            text = ""
        example = example_of(task, self.vocabulary, text=text, images=images, loss=self._loss)
        if self._longest is not None and len(example) > self._longest:
            raise self._too_long(name, task, len(example))
        return example

    def _drawn(self, number: int) -> tuple[np.random.Generator, Task]:
        """The generator of a sequence, and its task, which is the first thing drawn from it."""
        chance = generator(self._seed, f"sequence {number}")
        place = np.searchsorted(np.cumsum(self._shares), chance.random(), side="right")
        return chance, self._tasks[min(int(place), len(self._tasks) - 1)]

    def _arranged(self, step: int, batch_size: int) -> list[int]:
        numbers = range(step * batch_size, (step + 1) * batch_size)
        return sorted(numbers, key=lambda number: (self._count(number), number))

    def _count(self, number: int) -> int:
        """How many images a sequence has."""
        task = self._drawn(number)[1]
        if task == "edit" and self.edits is not None and self._edits is not None:
            return len(self.edits.rows(self._edits.row(number)))
        return 0 if task == "text" else 1

    def _image(self, item: Mapping[str, Any]) -> DiscreteTokens:
        return DiscreteTokens(item["codes"][None], self.data.grid, self.data.codebook_sizes)

    def _text(self, item: Mapping[str, Any], number: int, chance: np.random.Generator) -> str:
        """The words of a row, or what web data would have in their place."""
        if chance.random() < self._words.wrong:
            item = self.data[self._images.another(number, int(chance.integers(2**31)))]
        text = words_of(item, self.data.label_names)
        return _vague(text, chance) if chance.random() < self._words.vague else text


def check_data(data: TokenDataset, vocabulary: Vocabulary) -> None:
    """Refuse an export whose codes are not those that the ids stand for.

    Raises:
        TokbenchError: If they are not; both tokenizers are named.
    """
    there, here = data.job.tokenizer, vocabulary.image_tokenizer
    if not data.job.layout.discrete:
        raise TokbenchError(f"{data.folder} holds latents of {there.name}, and a language model reads codes; export with another tokenizer")
    if not same_codes(there, here) or data.codebook_sizes != vocabulary.codebook_sizes:
        same = f", both called {here.name} with other weights or settings" if there.name == here.name else ""
        raise TokbenchError(
            f"{data.folder} holds codes of {there.name}, the model reads those of {here.name}{same}; "
            "export with the model's tokenizer, or start another model"
        )


def words_of(item: Mapping[str, Any], label_names: tuple[str, ...]) -> str:
    """Say what is known of an image in words: its caption, or else its class; empty if nothing is.

    Args:
        item: As ``TokenDataset`` gives it.
        label_names: Names of the classes; without them they are called by number.
    """
    if caption := item.get("caption"):
        return str(caption)
    label = item.get("label", -1)
    if label < 0:
        return ""
    return label_names[label] if label < len(label_names) else f"class {label}"


def _check_tasks(tasks: list[Task], data: TokenDataset, edits: Edits | None) -> None:
    if "complete" in tasks:
        check_grid(data.grid)
    if not data.job.captions and data.job.labels == "none":
        check_words(tasks, data.folder)
    for task in tasks:
        if task == "edit" and edits is None:
            raise TokbenchError(NO_EDITS)


def check_words(tasks: Sequence[str], place: str | Path) -> None:
    """Refuse tasks whose answer is words, where none are known.

    Args:
        tasks: Those that have a share.
        place: What has neither captions nor labels.

    Raises:
        TokbenchError: If there is one.
    """
    for task in tasks:
        if task in ("describe", "text"):
            raise TokbenchError(
                f"{task} has a share of the tasks, and {place} has neither captions nor labels; give images with captions or "
                f"--labels folder, or leave the task out: --set tasks.{task}=0"
            )


def _kept_edits(edits: Edits, kept: np.ndarray | None) -> np.ndarray | None:
    if kept is None:
        return None
    return np.array([index for index in range(len(edits)) if np.isin(edits.rows(index), kept).all()], dtype=np.int64)


def _vague(text: str, chance: np.random.Generator) -> str:
    """Some neighbouring words of a text, at most half of them."""
    words = text.split()
    if len(words) < 2:
        return text
    count = int(chance.integers(1, len(words) // 2 + 1))
    start = int(chance.integers(0, len(words) - count + 1))
    return " ".join(words[start : start + count])
