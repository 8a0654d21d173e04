"""What a model is asked, as requests to sample, and its answers as images and words."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from tokbench.errors import TokbenchError
from tokbench.feed.parsing import parse
from tokbench.feed.vocabulary import Vocabulary
from tokbench.lm.model import LanguageModel
from tokbench.lm.sampling import Request, seed_of
from tokbench.lm.tasks import DRAWN, Task, prompt_of
from tokbench.tokens import DiscreteTokens


def request_of(
    model: LanguageModel,
    task: Task,
    *,
    text: str = "",
    images: Sequence[DiscreteTokens] = (),
    seed: int = 0,
    number: int = 0,
) -> Request:
    """Ask for one answer.

    Args:
        model: The model.
        task: What is asked for.
        text: Its words, see ``prompt_of``.
        images: The images that are shown, one each.
        seed: Seed of all answers.
        number: Which of the answers to this prompt.

    Returns:
        The request, with the prompt that guidance leads away from: without words, and with the same images.

    Raises:
        TokbenchError: If the text tokenizer cannot hold the text, or an image is of another grid than those of the model.
    """
    check_text(text, model.vocabulary)
    for image in images:
        if image.grid != model.grid:
            shown, own = ("*".join(map(str, grid)) for grid in (image.grid, model.grid))
            raise TokbenchError(f"an image has a grid of {shown}, the model was trained on {own}; give images of its size")
    grid = model.grid if task in DRAWN else None
    ids = prompt_of(task, model.vocabulary, text=text, images=images, grid=grid)
    wordless = prompt_of(task, model.vocabulary, images=images, grid=grid) if text else ids
    return Request(ids, seed_of(seed, ids, number), wordless)


def image_of(model: LanguageModel, request: Request, answer: Sequence[int]) -> DiscreteTokens:
    """Read the image that an answer ends in.

    Args:
        model: The model.
        request: What was asked.
        answer: What ``sample`` gave for it.

    Returns:
        The codes of one image.

    Raises:
        ValueError: If the answer is text.
    """
    image = parse([*request.ids, *answer], model.vocabulary)[-1]
    if not isinstance(image, DiscreteTokens):
        raise ValueError("the answer is text, not an image")
    return image


def text_of(model: LanguageModel, answer: Sequence[int]) -> str:
    """Read an answer in words, without the spaces around them.

    Args:
        model: The model.
        answer: What ``sample`` gave for a request that ends outside of an image.
    """
    special = model.vocabulary.special
    return model.vocabulary.text.decode([number for number in answer if number != special.eos]).strip()


def check_text(text: str, vocabulary: Vocabulary) -> None:
    """Refuse a text that the text tokenizer writes as another one, as one of few words does with words it does not know.

    Raises:
        TokbenchError: If it does.
    """
    try:
        written = vocabulary.text.decode(vocabulary.text.encode(text))
    except UnicodeEncodeError as error:
        raise TokbenchError(f"{text!r} is no valid Unicode (lone surrogates); write it again") from error
    if _plain(written) != _plain(text):
        raise TokbenchError(f"the model's text tokenizer cannot hold {text!r}, it makes {written!r} of it; use words that it knows")


def _plain(text: str) -> str:
    """Letters without what tokenizers normalize: case, composition and spaces."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())
