"""Bits that a model takes for real images, whole or their lower half, and for the words that belong to them."""

from __future__ import annotations

from collections.abc import Sequence

from tokbench.lm.asking import check_text, request_of
from tokbench.lm.halves import hide_lower, joined
from tokbench.lm.image_model import ImageModel, Pixels
from tokbench.lm.likelihood import Known, answer_bits, text_bits
from tokbench.lm.tasks import Task, example_of
from tokbench.tokens import DiscreteTokens


def image_bits(artist: ImageModel, codes: DiscreteTokens, words: Sequence[str]) -> list[float]:
    """Bits of images given words.

    Args:
        artist: The model.
        codes: The images.
        words: Those of each; an empty text gives none.

    Returns:
        One number an image.

    Raises:
        TokbenchError: If the text tokenizer cannot hold words, or they are too long.
    """
    return answer_bits(artist.model, [_known(artist, "generate", codes[place], text) for place, text in enumerate(words)])


def completion_bits(artist: ImageModel, images: Pixels, codes: DiscreteTokens) -> list[float]:
    """Bits of the lower halves of images given the upper ones, which are encoded without what is below.

    Args:
        artist: The model.
        images: The images.
        codes: What they are to the model.

    Returns:
        One number an image.
    """
    halved = joined(artist.encode(hide_lower(images, artist.model.grid)), codes)
    return answer_bits(artist.model, [_known(artist, "complete", halved[place], "") for place in range(len(codes))])


def description_bits(artist: ImageModel, codes: DiscreteTokens, words: Sequence[str]) -> list[float]:
    """Bits of words given images.

    Args:
        artist: The model.
        codes: The images.
        words: One text an image.

    Returns:
        One number an image.

    Raises:
        TokbenchError: As ``image_bits``.
    """
    return text_bits(artist.model, [_known(artist, "describe", codes[place], text) for place, text in enumerate(words)])


def _known(artist: ImageModel, task: Task, image: DiscreteTokens, text: str) -> Known:
    check_text(text, artist.model.vocabulary)
    shown = [] if task == "generate" else [image]
    ids = request_of(artist.model, task, text="" if task == "describe" else text, images=shown).ids
    whole = example_of(task, artist.model.vocabulary, text=text, images=[image]).input_ids
    return Known(ids, whole[len(ids) :])
