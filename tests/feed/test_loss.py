"""Which ids carry loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tokbench.feed.fitting import fit
from tokbench.feed.job import TokenizerIdentity
from tokbench.feed.loss import labels, loss_mask
from tokbench.feed.parsing import annotate
from tokbench.feed.sequence import TokenSequence, build
from tokbench.feed.text import ByteText
from tokbench.feed.vocabulary import Vocabulary
from tokbench.layout import TokenLayout
from tokbench.tokens import DiscreteTokens

IMAGE = DiscreteTokens(torch.tensor([[[0, 1], [2, 3]]]), (1, 2), (4, 6))


def edit(arrangement: Any = "flat") -> tuple[Vocabulary, TokenSequence]:
    """Text, image in, text, image out, padded; the first step of each, if flat: 0 BOS, 1, 3, 15, 16, 28 EOS, 29 and 30 PAD."""
    layout = TokenLayout(image_size=(8, 16), grid=(1, 2), codebook_sizes=(4, 6))
    vocabulary = Vocabulary.over(ByteText(), layout, TokenizerIdentity("vqgan/tiny", {}, None), arrangement=arrangement)
    sequence = build(["ab", IMAGE, "c", IMAGE], vocabulary)
    return vocabulary, fit(sequence, vocabulary, len(sequence) + 2)


def places(mask: torch.Tensor) -> list[int]:
    return mask.nonzero()[:, 0].tolist()


IN, OUT = [8, 9, 10, 11], [21, 22, 23, 24]


def test_all_is_all_but_padding() -> None:
    vocabulary, sequence = edit()
    assert len(sequence) == 31
    assert places(loss_mask(sequence, vocabulary)) == list(range(29))


def test_vision_is_codes() -> None:
    vocabulary, sequence = edit()
    assert places(loss_mask(sequence, vocabulary, only="vision")) == IN + OUT


@pytest.mark.parametrize(
    ("only", "parts", "expected"),
    [
        ("vision", [3], OUT),
        ("vision", (1,), IN),
        ("vision", {0, 2}, []),
        ("all", [3], list(range(16, 29))),
        ("all", [0, 2], [1, 2, 15]),
        ("all", [], []),
    ],
)
def test_parts(only: Any, parts: Any, expected: list[int]) -> None:
    vocabulary, sequence = edit()
    assert places(loss_mask(sequence, vocabulary, only=only, parts=parts)) == expected
    read = annotate(sequence.ids, vocabulary)
    assert places(loss_mask(read, vocabulary, only=only, parts=parts)) == expected


def test_streams() -> None:
    vocabulary, sequence = edit("parallel")
    everything = loss_mask(sequence, vocabulary)
    codes = (sequence.ids >= vocabulary.offsets[0]).all(dim=1)
    assert torch.equal(everything[:, 0], sequence.ids[:, 0] != vocabulary.special.pad)
    assert torch.equal(everything[:, 1], codes)
    assert torch.equal(loss_mask(sequence, vocabulary, only="vision"), codes[:, None].expand(-1, 2))
    assert torch.equal(loss_mask(sequence, vocabulary, only="vision", parts=[3]), (codes & (sequence.owners == 3))[:, None].expand(-1, 2))


def test_labels() -> None:
    ids = torch.tensor([5, 6, 7])
    assert labels(ids, torch.tensor([False, True, False])).tolist() == [-100, 6, -100]
    assert ids.tolist() == [5, 6, 7]


@pytest.mark.usefixtures("unchecked_types")
def test_other_rules_are_refused() -> None:
    vocabulary, sequence = edit()
    with pytest.raises(ValueError, match="loss falls on all or vision, got 'text'"):
        loss_mask(sequence, vocabulary, only="text")  # type: ignore[arg-type]
