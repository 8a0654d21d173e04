"""Options that take a number or one of a few words: what they do not take is refused here, whatever version of typer there is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import typer

from tokbench.errors import TokbenchError, unknown_name
from tokbench.image_size import LARGEST, Size, parse_size


class Refused(typer.BadParameter):
    """A value that an option does not take; its message is whole."""


def completing(words: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """What shells offer for a word that is begun: those of some words that begin with it."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words() if word.startswith(incomplete)]

    return complete


def choice(name: str, *short: str, among: Sequence[str], help: str = "") -> Any:
    """Declare an option that takes one of a few words; shells complete them.

    Args:
        name: As it is written, ``--format``.
        short: Its short form, ``-f``.
        among: The words.
        help: One line.
    """

    def parse(word: str) -> str:
        if word not in among:
            raise Refused(str(unknown_name(name, word, among)))
        return word

    return typer.Option(name, *short, parser=parse, autocompletion=completing(lambda: among), metavar="|".join(among), help=help)


def whole(name: str, *short: str, low: int | None = None, high: int | None = None, help: str = "") -> Any:
    """Declare an option that takes a whole number.

    Args:
        name: As it is written, ``--size``.
        short: Its short form, ``-n``.
        low: The lowest it takes; None for any.
        high: The highest it takes; None for any.
        help: One line.
    """
    lowest, highest = -math.inf if low is None else low, math.inf if high is None else high
    limits = "" if low is None and high is None else f" [{'' if low is None else low}..{'' if high is None else high}]"
    within = f" of at least {low}" if high is None else f" of at most {high}" if low is None else f" from {low} to {high}"
    parse = _number(name, int, f"a whole number{within if limits else ''}", lambda value: lowest <= value <= highest)
    return typer.Option(name, *short, parser=parse, metavar=f"INTEGER{limits}", help=help)


def pixels(name: str, *, low: int = 1, help: str = "") -> Any:
    """Declare an option that takes the size of images: a side, or height and width, ``HxW``.

    It comes as a ``Size``. Its annotation is ``Any``, as typer knows no unions.

    Args:
        name: As it is written, ``--size``.
        low: The smallest side.
        help: One line.
    """

    def parse(word: Any) -> Size:  # a word, or the default, which comes here too
        try:
            return parse_size(str(word), name=name, low=low)
        except TokbenchError as error:
            raise Refused(f"{error}.") from error

    return typer.Option(name, parser=parse, metavar="PIXELS|HxW", help=help)


def several_pixels(option: str, given: str) -> tuple[Size, ...]:
    """Sizes of images separated by commas, each once, in the order given.

    Raises:
        TokbenchError: If there is none, or a word is neither a side nor height and width.
    """
    words = [word.strip() for word in given.split(",") if word.strip()]
    try:
        return tuple(dict.fromkeys([parse_size(word, name=option) for word in words or [""]]))
    except TokbenchError as error:
        raise TokbenchError(
            f"{option} takes sides of 1 to {LARGEST} px, or heights and widths, separated by commas, such as {option} 256,576x1024; got {given!r}"
        ) from error


def whole_or_auto(name: str, *, low: int, high: int, help: str = "") -> Any:
    """Declare an option that takes a whole number, or ``auto``; it comes as text.

    Args:
        name: As it is written, ``--micro-batch``.
        low: The lowest it takes.
        high: The highest it takes.
        help: One line.
    """

    def parse(word: Any) -> str:
        text = str(word).strip()
        if text != "auto" and not (text.isascii() and text.isdigit() and len(text) <= 9 and low <= int(text) <= high):
            raise Refused(f"{name} takes a whole number from {low} to {high}, or auto, got {word!r}.")
        return text

    return typer.Option(name, parser=parse, metavar=f"INTEGER [{low}..{high}]|auto", help=help)


def number(name: str, *, help: str = "") -> Any:
    """Declare an option that takes a finite number.

    Args:
        name: As it is written, ``--temperature``.
        help: One line.
    """
    return typer.Option(name, parser=_number(name, float, "a number", math.isfinite), metavar="NUMBER", help=help)


def whole_numbers(option: str, given: str, largest: int) -> tuple[int, ...]:
    """Whole numbers separated by commas, each once, in the order given.

    Raises:
        TokbenchError: If there is none, or a word is no number from 1 to the largest.
    """
    words = [word.strip() for word in given.split(",") if word.strip()]
    if not words or not all(word.isascii() and word.isdigit() and len(word) <= 6 and 1 <= int(word) <= largest for word in words):
        raise TokbenchError(f"{option} takes whole numbers from 1 to {largest} separated by commas, such as {option} 8,32; got {given!r}")
    return tuple(dict.fromkeys(map(int, words)))


def _number(name: str, kind: type, what: str, fits: Callable[[Any], bool]) -> Callable[[Any], Any]:
    def parse(word: Any) -> Any:  # a word, or the default, which comes here too
        try:
            value = kind(word)
        except ValueError:
            value = None
        if value is None or not fits(value):
            raise Refused(f"{name} takes {what}, got {word!r}.")
        return value

    return parse
