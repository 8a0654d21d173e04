"""Each task as a sequence: its form id by id, prompts as beginnings of examples, where loss falls, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from tokbench.feed.job import TokenizerIdentity
from tokbench.feed.parsing import parse
from tokbench.feed.text import ByteText
from tokbench.feed.vocabulary import Vocabulary
from tokbench.layout import TokenLayout
from tokbench.lm.tasks import DESCRIBE, TASKS, Example, example_of, prompt_of
from tokbench.tokens import DiscreteTokens


def vocabulary_of(sizes: tuple[int, ...] = (16,), axes: int = 2, arrangement: Any = "flat") -> Vocabulary:
    layout = TokenLayout(image_size=(8, 8), grid=(1,) * axes, codebook_sizes=sizes)
    return Vocabulary.over(ByteText(), layout, TokenizerIdentity("vqgan/tiny", {}, None), arrangement=arrangement)


def image_of(number: int, grid: tuple[int, ...] = (3, 2), sizes: tuple[int, ...] = (16,)) -> DiscreteTokens:
    positions = int(torch.tensor(grid).prod())
    codes = torch.stack([(torch.arange(positions) + number) % size for size in sizes], dim=-1)
    return DiscreteTokens(codes[None], grid, sizes)


FLAT = vocabulary_of()
BEFORE, STYLE, AFTER = image_of(0), image_of(3), image_of(5)

FORMS: list[tuple[Any, str, list[DiscreteTokens]]] = [
    ("generate", "a red circle", [AFTER]),
    ("generate", "", [AFTER]),
    ("edit", "make it green", [BEFORE, AFTER]),
    ("edit", "like the first", [STYLE, BEFORE, AFTER]),
    ("describe", "a red circle", [BEFORE]),
    ("complete", "", [BEFORE]),
    ("complete", "a red circle", [BEFORE]),
    ("text", "no image at all", []),
]


def asked(task: Any, text: str, images: list[DiscreteTokens]) -> dict[str, Any]:
    """Arguments of the prompt that an example begins with."""
    return {
        "text": "" if task in ("describe", "text") else text,
        "images": images[:-1] if task in ("generate", "edit") else images,
    }


@pytest.mark.parametrize(("task", "text", "images"), FORMS)
def test_loss_falls_on_what_follows_the_prompt(task: Any, text: str, images: list[DiscreteTokens]) -> None:
    prompt = prompt_of(task, FLAT, **asked(task, text, images))
    example = example_of(task, FLAT, text=text, images=images)
    assert example.input_ids[: len(prompt)] == prompt
    assert example.labels == [-100] * len(prompt) + example.input_ids[len(prompt) :]
    assert example.prompt_length == len(prompt) < len(example)
    assert example.input_ids[-1] == FLAT.special.eos
    everything = example_of(task, FLAT, text=text, images=images, loss="all")
    assert everything.input_ids == everything.labels == example.input_ids


@pytest.mark.parametrize(("task", "text", "images"), FORMS)
def test_sequences_parse_as_texts_and_images(task: Any, text: str, images: list[DiscreteTokens]) -> None:
    parts = parse(torch.tensor(example_of(task, FLAT, text=text, images=images).input_ids), FLAT)
    words = [part for part in parts if isinstance(part, str)]
    assert words == ([DESCRIBE, text] if task == "describe" else [text] if text else [])
    drawn = [part for part in parts if isinstance(part, DiscreteTokens)]
    assert [image.codes.tolist() for image in drawn] == [image.codes.tolist() for image in images]


def test_ids_one_by_one() -> None:
    special, text, code = FLAT.special, FLAT.text.encode, FLAT.id_of
    opening = [special.boi, *text("3*2"), special.img]
    rows = [[code(0, n), code(0, n + 1), special.eol] for n in (0, 2, 4)]
    image = [*opening, *rows[0], *rows[1], *rows[2], special.eof, special.eoi]
    assert example_of("generate", FLAT, text="red", images=[BEFORE]).input_ids == [special.bos, *text("red"), *image, special.eos]
    assert prompt_of("generate", FLAT, text="red") == [special.bos, *text("red"), special.boi]
    assert prompt_of("generate", FLAT, text="red", grid=(3, 2)) == [special.bos, *text("red"), *opening]
    assert prompt_of("edit", FLAT, text="swap", images=[BEFORE]) == [special.bos, *text("swap"), *image, special.boi]
    assert prompt_of("edit", FLAT, text="swap", images=[BEFORE], grid=(3, 2)) == [special.bos, *text("swap"), *image, *opening]
    assert prompt_of("complete", FLAT, images=[BEFORE]) == [special.bos, *opening, *rows[0]]
    assert prompt_of("describe", FLAT, images=[BEFORE]) == [special.bos, *text(DESCRIBE), *image]
    assert prompt_of("text", FLAT, text="once") == [special.bos, *text("once")]
    assert prompt_of("text", FLAT) == [special.bos]


def test_what_is_completed_is_what_is_drawn_without_words() -> None:
    drawn, completed = (example_of(task, FLAT, images=[BEFORE]) for task in ("generate", "complete"))
    assert drawn.input_ids == completed.input_ids
    assert drawn.prompt_length < completed.prompt_length


@pytest.mark.parametrize(
    ("grid", "sizes", "kept"),
    [((4, 3), (16,), 2 * 3 + 2), ((5, 3), (16,), 2 * 3 + 2), ((2, 2), (8, 4), 2 * 2 + 1), ((6,), (16,), 3), ((7,), (8, 4), 3 * 2)],
)
def test_the_upper_half_is_kept_in_whole_rows(grid: tuple[int, ...], sizes: tuple[int, ...], kept: int) -> None:
    vocabulary = vocabulary_of(sizes, axes=len(grid))
    image = image_of(1, grid, sizes)
    size = vocabulary.text.encode("*".join(map(str, grid)))
    prompt = prompt_of("complete", vocabulary, images=[image])
    assert len(prompt) == 3 + len(size) + kept
    assert example_of("complete", vocabulary, images=[image]).input_ids[: len(prompt)] == prompt


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: prompt_of("paint", FLAT), "tasks are generate, edit, describe, complete, text, got 'paint'"),
        (lambda: prompt_of("generate", FLAT, images=[BEFORE]), "generate takes 0 images, got 1"),
        (lambda: example_of("generate", FLAT, text="red"), "generate takes 1 image, its answer among them, got 0"),
        (lambda: prompt_of("edit", FLAT, text="red"), "edit takes 1 or 2 images, got 0"),
        (lambda: example_of("edit", FLAT, images=[AFTER]), "edit takes 2 or 3 images, its answer among them, got 1"),
        (lambda: example_of("edit", FLAT, images=[AFTER] * 4), "edit takes 2 or 3 images, its answer among them, got 4"),
        (lambda: prompt_of("describe", FLAT), "describe takes 1 image, got 0"),
        (
            lambda: prompt_of("describe", FLAT, text="red", images=[BEFORE]),
            "the words of describe are its answer; leave text out of its prompt",
        ),
        (lambda: example_of("text", FLAT, text="red", images=[BEFORE]), "text takes 0 images, got 1"),
        (
            lambda: prompt_of("complete", FLAT, images=[BEFORE], grid=(3, 2)),
            "a grid is chosen for what generate and edit draw, not for complete",
        ),
        (
            lambda: prompt_of("complete", FLAT, images=[image_of(0, (1, 4))]),
            "an image of grid (1, 4) has no upper half to complete it from",
        ),
        (lambda: example_of("text", FLAT, text="red", loss="none"), "loss falls on the answer or on all, got 'none'"),
        (lambda: prompt_of("text", vocabulary_of(arrangement="parallel")), "a language model reads one id a step"),
        (lambda: Example([1, 2], [1]), "there is one label for each id, got 1 for 2"),
    ],
)
def test_what_is_no_task_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_all_tasks_are_tested() -> None:
    assert {task for task, *_ in FORMS} == set(TASKS)
