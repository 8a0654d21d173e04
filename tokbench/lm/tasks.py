"""Each task of a model as one sequence of ids, in the form of Emu3, and which of them carry loss.

::

    generate   BOS {words}           BOI {H*W} IMG code ... EOL ... EOF EOI EOS
    edit       BOS {instruction} {image} [{image}] BOI {H*W} IMG code ... EOL ... EOF EOI EOS
    complete   BOS {words, or none}  BOI {H*W} IMG upper rows | lower rows EOF EOI EOS
    describe   BOS "describe" {image} | words EOS
    text       BOS | words EOS

What is asked stands first, images that are shown follow, the answer comes last and ends in EOS. A bar shows where the answer begins; an image
that is drawn is an answer behind its BOI, so that its size is learned as well. Without words, a model draws any image. That is what
classifier-free guidance steers away from, and what an image is completed from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from tokbench.feed.loss import IGNORED
from tokbench.feed.sequence import Part, TokenSequence, build, image_opening, prompt
from tokbench.feed.vocabulary import Vocabulary
from tokbench.tokens import DiscreteTokens

Task = Literal["generate", "edit", "describe", "complete", "text"]
"""What a model is asked for."""

TASKS: tuple[Task, ...] = get_args(Task)
"""All tasks."""

DESCRIBE = "describe"
"""What stands before an image whose description is asked for. It tells that sequence from one that ends behind its image."""

DRAWN: tuple[Task, ...] = ("generate", "edit")
"""Tasks whose answer is a whole image."""

SHOWN: dict[Task, tuple[int, ...]] = {"generate": (0,), "edit": (1, 2), "describe": (1,), "complete": (1,), "text": (0,)}
"""How many images each task shows before its answer. The second of an edit is the one that is changed, the first then says how."""


@dataclass(frozen=True)
class Example:
    """One sequence to learn from.

    Args:
        input_ids: T ids.
        labels: T ids, -100 where there is no loss; not shifted, as ``transformers`` takes them.

    Raises:
        ValueError: If their lengths differ.
    """

    input_ids: list[int]
    labels: list[int]

    def __post_init__(self) -> None:
        if len(self.input_ids) != len(self.labels):
            raise ValueError(f"there is one label for each id, got {len(self.labels)} for {len(self.input_ids)}")

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def prompt_length(self) -> int:
        """Ids before the first one with loss; all, if none has loss."""
        return next((index for index, label in enumerate(self.labels) if label != IGNORED), len(self.labels))


def prompt_of(
    task: Task, vocabulary: Vocabulary, *, text: str = "", images: Sequence[DiscreteTokens] = (), grid: tuple[int, ...] | None = None
) -> list[int]:
    """Write what a model is asked: all ids up to where its answer begins.

    Args:
        task: What is asked for.
        vocabulary: Meaning of the ids, of the ``flat`` arrangement.
        text: The words to draw, the instruction of an edit, or how a text begins. What is left out is left to the model.
        images: Those that are shown, one image each: one or two for an edit; one to complete, of which the upper rows are kept; one to
            describe. A 1D grid is completed from its first positions.
        grid: Size of the image to draw, in positions. The prompt then ends in IMG; without it in BOI, and the model chooses the size.

    Returns:
        The ids.

    Raises:
        ValueError: If there is no such task, it takes no such images, text or grid, or a part does not fit the vocabulary.
        TokbenchError: If the text tokenizer cannot write the text.
    """
    _check(task, vocabulary, images, with_answer=False)
    if grid is not None and task not in DRAWN:
        raise ValueError(f"a grid is chosen for what generate and edit draw, not for {task}")
    if task == "describe" and text:
        raise ValueError("the words of describe are its answer; leave text out of its prompt")
    if task == "text":
        return build([text], vocabulary, eos=False).ids.tolist()
    if task == "describe":
        return build([DESCRIBE, *images], vocabulary, eos=False).ids.tolist()
    if task == "complete":
        (image,) = images
        whole = build([text, image], vocabulary, eos=False).ids
        return whole[: len(build([text], vocabulary, eos=False)) + _kept(image, vocabulary)].tolist()
    return prompt([text, *images], vocabulary, grid=grid).ids.tolist()


def example_of(
    task: Task, vocabulary: Vocabulary, *, text: str = "", images: Sequence[DiscreteTokens] = (), loss: str = "answer"
) -> Example:
    """Write a task and its answer.

    Args:
        task: What is asked for.
        vocabulary: Meaning of the ids, of the ``flat`` arrangement.
        text: The words of the image, the instruction of an edit, or the text itself.
        images: One image each. The last is the answer of ``generate`` (its only one) and of ``edit`` (after the one or two that are
            shown); ``complete`` and ``describe`` have one.
        loss: ``answer``: all that the model is to write, which is what follows ``prompt_of``; or ``all`` ids.

    Returns:
        The ids, and the labels.

    Raises:
        ValueError: As ``prompt_of``, or if there is no such loss.
        TokbenchError: As ``prompt_of``.
    """
    _check(task, vocabulary, images, with_answer=True)
    if loss not in ("answer", "all"):
        raise ValueError(f"loss falls on the answer or on all, got {loss!r}")
    parts: list[Part] = [DESCRIBE, *images, text] if task == "describe" else [text, *images]
    sequence = build(parts, vocabulary)
    ids = sequence.ids.tolist()
    first = 0 if loss == "all" else _answer(task, sequence, images, vocabulary)
    return Example(ids, [IGNORED] * first + ids[first:])


def _answer(task: Task, sequence: TokenSequence, images: Sequence[DiscreteTokens], vocabulary: Vocabulary) -> int:
    """Where the answer begins, which is where ``prompt_of`` ends."""
    begins = int((sequence.owners == sequence.owners[-1]).int().argmax())  # the last part, which may have no id but EOS
    if task in DRAWN:
        return begins + 1  # behind BOI
    return begins + _kept(images[0], vocabulary) if task == "complete" else begins


def _check(task: Task, vocabulary: Vocabulary, images: Sequence[DiscreteTokens], *, with_answer: bool) -> None:
    """Refuse what is no task, before anything is written."""
    if task not in TASKS:
        raise ValueError(f"tasks are {', '.join(TASKS)}, got {task!r}")
    if vocabulary.parallel:
        raise ValueError("a language model reads one id a step; make the vocabulary with arrangement='flat'")
    allowed = [count + (with_answer and task in DRAWN) for count in SHOWN[task]]
    if len(images) not in allowed:
        taken = " or ".join(map(str, allowed)) + (" image" if allowed == [1] else " images")
        answer = ", its answer among them" if with_answer and task in DRAWN else ""
        raise ValueError(f"{task} takes {taken}{answer}, got {len(images)}")


def _kept(image: DiscreteTokens, vocabulary: Vocabulary) -> int:
    """Ids of the opening and the upper rows (the first positions of a 1D grid) of an image that is completed, the smaller half."""
    rows = image.grid[0] // 2
    if rows < 1:
        raise ValueError(f"an image of grid {image.grid} has no upper half to complete it from")
    a_row = vocabulary.codebooks if vocabulary.grid_axes == 1 else image.grid[-1] * vocabulary.codebooks + 1
    return len(image_opening(image.grid, vocabulary)) + rows * a_row
