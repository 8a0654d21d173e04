"""Pairs of a better and a worse image for the same words, as a file of JSON lines.

::

    {"prompt": "a red circle", "chosen": [17, 4, 4, ...], "rejected": [17, 9, 2, ...]}      codes, position major
    {"prompt": "a red circle", "chosen": "better.png", "rejected": "worse.png"}             images, beside the file
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange

from tokbench.configs import build
from tokbench.counting import counted
from tokbench.errors import TokbenchError
from tokbench.files import atomic_file
from tokbench.json_files import parse_json
from tokbench.lm.lines import lines
from tokbench.lm.model import LanguageModel
from tokbench.lm.order import Order
from tokbench.lm.tasks import example_of, prompt_of
from tokbench.tokens import DiscreteTokens

logger = logging.getLogger(__name__)

PAIRS = "preferences.jsonl"
"""Name of the file where the package writes one itself."""

EXAMPLE = '{"prompt": "a red circle", "chosen": ..., "rejected": ...}'

Encode = Callable[[Path], DiscreteTokens]
"""Reads an image file and encodes it."""


@dataclass(frozen=True)
class Pair:
    """One line of the file.

    Args:
        prompt: The words.
        chosen: Codes of the better image, position major; or its file.
        rejected: Codes of the worse one; or its file.
        chosen_score: Its reward, where there was one.
        rejected_score: Reward of the worse one.

    Raises:
        ValueError: If both are the same, or are neither codes nor files.
    """

    prompt: str
    chosen: Any
    rejected: Any
    chosen_score: float | None = None
    rejected_score: float | None = None

    def __post_init__(self) -> None:
        for name in ("chosen", "rejected"):
            value = getattr(self, name)
            codes = isinstance(value, list) and all(type(code) is int for code in value)
            if not (codes or isinstance(value, str)) or not value:
                raise ValueError(f"its {name} is neither a list of codes nor the name of a file")
        if self.chosen == self.rejected:
            raise ValueError("its chosen and rejected image are the same, so there is nothing to prefer")


def prepare(path: Path, out: Path, model: LanguageModel, encode: Encode | None) -> int:
    """Write a file of pairs anew with codes alone: images are read and encoded once, and every line is checked.

    Args:
        path: The file.
        out: File to write.
        model: Says what codes there are.
        encode: Encodes image files; None refuses them.

    Returns:
        How many pairs there are.

    Raises:
        TokbenchError: If a line is no pair, an image cannot be read, codes are not the model's, words are too long, or there is no pair. The
            line is named.
    """
    count, equal = 0, 0
    with atomic_file(out) as file:
        for number, _, line in lines(path, what="pairs of images"):
            try:
                pair = _pair(line)
                sides = {name: _codes(getattr(pair, name), path.parent, model, encode) for name in ("chosen", "rejected")}
                _check_length(pair.prompt, sides["chosen"], model)
            except ValueError as error:
                raise TokbenchError(f"{path}, line {number}: {error}; a line is like {EXAMPLE}") from error
            except TokbenchError as error:
                raise TokbenchError(f"{path}, line {number}: {error}") from error
            if sides["chosen"] != sides["rejected"]:  # two images may be the same to the tokenizer
                file.write(line_of(pair.prompt, sides["chosen"], sides["rejected"]).encode())
                count += 1
            else:
                equal += 1
        if not count:
            raise TokbenchError(f"{path} holds no pair of different images; write a line for each, like {EXAMPLE}")
    if equal:
        logger.warning("%s of %s left out: both images are the same to the tokenizer", counted(equal, "pair"), path)
    return count


def line_of(prompt: str, chosen: list[int], rejected: list[int], **scores: float) -> str:
    """Write a pair as a line."""
    return json.dumps({"prompt": prompt, "chosen": chosen, "rejected": rejected, **scores}) + "\n"


class Pairs:
    """The rows that ``dpo`` learns from, by their number; where each line begins is kept, and lines are read when they are used.

    Args:
        path: A file with codes alone, as ``prepare`` writes it.
        model: Says what codes there are.
        longest: Ids a sequence may have.
        seed: Seed of their order.

    Raises:
        TokbenchError: If it cannot be read or holds no pairs.
    """

    def __init__(self, path: Path, model: LanguageModel, *, longest: int | None = None, seed: int) -> None:
        self._path, self._model, self._longest = path, model, longest
        self._places = np.array([place for _, place, _ in lines(path, what="pairs of images")], dtype=np.int64)
        if not len(self._places):
            raise TokbenchError(
                f"{path} holds no pairs; draw more images (--set preferences.samples=N), lower preferences.margin, or give others"
            )
        self._order = Order([range(len(self._places))], seed=seed)

    def __len__(self) -> int:
        return len(self._places)

    def row(self, number: int) -> dict[str, list[int]]:
        """Make one row.

        Args:
            number: From 0, without end.

        Raises:
            TokbenchError: If it is longer than the network takes, or the text tokenizer cannot write its words.
        """
        with self._path.open("rb") as file:
            file.seek(int(self._places[self._order.row(number)]))
            line = file.readline()
        try:
            pair = _pair(line)
            chosen, rejected = (_tokens(side, self._model) for side in (pair.chosen, pair.rejected))
        except ValueError as error:
            raise TokbenchError(f"{self._path} has changed while it was read ({error}); start again in another --out") from error
        vocabulary, grid = self._model.vocabulary, self._model.grid
        prompt = prompt_of("generate", vocabulary, text=pair.prompt, grid=grid)
        better, worse = (
            example_of("generate", vocabulary, text=pair.prompt, images=[image]).input_ids[len(prompt) :] for image in (chosen, rejected)
        )
        length = len(prompt) + max(len(better), len(worse))
        if self._longest is not None and length > self._longest:
            raise _too_long(pair.prompt, length, self._longest)
        return {"prompt_ids": prompt, "chosen_ids": better, "rejected_ids": worse}


def read_pairs(path: Path) -> Iterator[Pair]:
    """Read all pairs of a file, with codes or names of files as they stand there.

    Raises:
        TokbenchError: If a line is none.
    """
    for number, _, line in lines(path, what="pairs of images"):
        try:
            yield _pair(line)
        except ValueError as error:
            raise TokbenchError(f"{path}, line {number}: {error}; a line is like {EXAMPLE}") from error


def _pair(line: bytes) -> Pair:
    values = parse_json(line)
    for name in ("chosen", "rejected"):
        if isinstance(values, dict) and "prompt" in values and values.get(name) is None:
            raise ValueError(f"it has no {name} image, and one side alone says nothing of what is better")
    pair = build(Pair, values)
    assert isinstance(pair, Pair)
    return pair


def _codes(side: Any, folder: Path, model: LanguageModel, encode: Encode | None) -> list[int]:
    if isinstance(side, str):
        if encode is None:
            raise TokbenchError(f"{side!r} is an image file, and there is no tokenizer to encode it; give -t")
        tokens = encode(folder / side)
        if tokens.grid != model.grid or tokens.codebook_sizes != model.vocabulary.codebook_sizes:
            raise TokbenchError(f"{side!r} becomes a grid {tokens.grid}, the model draws {model.grid}")
        return [int(code) for code in tokens.codes.flatten()]
    _tokens(side, model)
    return list(side)


def _check_length(words: str, codes: list[int], model: LanguageModel) -> None:
    """Write one side of a pair: the text tokenizer must hold the words, and the network the whole sequence.

    Raises:
        TokbenchError: If it does not.
    """
    length = len(example_of("generate", model.vocabulary, text=words, images=[_tokens(codes, model)]))
    if model.longest is not None and length > model.longest:
        raise _too_long(words, length, model.longest)


def _too_long(words: str, length: int, longest: int) -> TokbenchError:
    return TokbenchError(f"{words[:80]!r} makes a sequence of {length} ids, the network takes {longest}; shorten its words")


def _tokens(codes: list[int], model: LanguageModel) -> DiscreteTokens:
    sizes = model.vocabulary.codebook_sizes
    needed = int(np.prod(model.grid)) * len(sizes)
    if len(codes) != needed:
        raise ValueError(f"it has an image of {len(codes)} codes, those of the model have {needed}")
    if not all(0 <= code < 2**31 for code in codes):
        raise ValueError("it has a code that no codebook has")
    values = rearrange(torch.tensor(codes, dtype=torch.int64), "(b l k) -> b l k", b=1, k=len(sizes))
    return DiscreteTokens(values, model.grid, sizes)
