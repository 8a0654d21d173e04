"""Rows of each stage out of one export of painted images, for one process and for several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tokbench.feed import TokenDataset
from tokbench.feed.vocabulary import Vocabulary
from tokbench.lm.mixture import Mixture
from tokbench.lm.recipes import Shares, Words

Rows = Callable[[int], Mapping[str, list[int]]]


def rows_of(painted: Path, vocabulary: Vocabulary) -> dict[str, Rows]:
    """What each stage learns from; a pair of dpo are two images for the words of the first."""
    mixture = Mixture(TokenDataset(painted), vocabulary, tasks=Shares(), words=Words(), seed=0)

    def labelled(number: int) -> Mapping[str, list[int]]:
        example = mixture.example(number)
        return {"input_ids": example.input_ids, "labels": example.labels}

    def preferred(number: int) -> Mapping[str, list[int]]:
        better, worse = mixture.example(number), mixture.example(number + 1000)
        start = better.prompt_length
        answer = worse.input_ids[worse.prompt_length :]
        return {"prompt_ids": better.input_ids[:start], "chosen_ids": better.input_ids[start:], "rejected_ids": answer}

    return {"pretrain": labelled, "quality": labelled, "dpo": preferred}
