"""Sequences of one length; images stay whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tokbench.errors import TokbenchError
from tokbench.feed.fitting import fit
from tokbench.feed.job import TokenizerIdentity
from tokbench.feed.parsing import parse
from tokbench.feed.sequence import Part, build, prompt
from tokbench.feed.text import ByteText
from tokbench.feed.vocabulary import Vocabulary
from tokbench.layout import TokenLayout
from tokbench.tokens import DiscreteTokens

IMAGE = DiscreteTokens(torch.tensor([[[0], [1]]]), (1, 2), (4,))
"""Of 10 ids: BOI 1*2 IMG, 2 codes, EOL EOF EOI."""


def vocabulary_of(arrangement: Any = "flat") -> Vocabulary:
    layout = TokenLayout(image_size=(8, 16), grid=(1, 2), codebook_sizes=(4,))
    return Vocabulary.over(ByteText(), layout, TokenizerIdentity("vqgan/tiny", {}, None), arrangement=arrangement)


def shape(parts: list[Part]) -> list[str]:
    return [part if isinstance(part, str) else "<image>" for part in parts]


@pytest.mark.parametrize("arrangement", ["flat", "parallel"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_padding(arrangement: Any, side: Any) -> None:
    vocabulary = vocabulary_of(arrangement)
    whole = build(["ab", IMAGE], vocabulary)
    padded = fit(whole, vocabulary, 20, side=side)
    here = slice(0, 14) if side == "right" else slice(6, 20)
    assert len(padded) == 20
    assert torch.equal(padded.ids[here], whole.ids)
    assert torch.equal(padded.owners[here], whole.owners)
    assert (padded.ids == vocabulary.special.pad).sum() == 6
    assert (padded.owners == -1).sum() == 7
    again = fit(padded, vocabulary, 14)
    assert torch.equal(again.ids, whole.ids)
    assert torch.equal(again.owners, whole.owners)


def test_a_longer_sequence_is_refused_unless_a_rule_is_given() -> None:
    vocabulary = vocabulary_of()
    with pytest.raises(TokbenchError, match=r"has 14 steps, allowed are 13; allow more, or choose too_long=cut_texts or drop_parts"):
        fit(build(["ab", IMAGE], vocabulary), vocabulary, 13)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (30, ["abc", "<image>", "déf", "<image>"]),
        (29, ["abc", "<image>", "déf", "<image>"]),
        (28, ["abc", "<image>", "dé", "<image>"]),
        (27, ["abc", "<image>", "d", "<image>"]),  # é is two bytes, which stay together
        (26, ["abc", "<image>", "d", "<image>"]),
        (25, ["abc", "<image>", "<image>"]),
        (24, ["ab", "<image>", "<image>"]),
        (22, ["<image>", "<image>"]),
    ],
)
def test_texts_can_be_cut_from_the_last_one_on(length: int, expected: list[str]) -> None:
    vocabulary = vocabulary_of()
    sequence = build(["abc", IMAGE, "déf", IMAGE], vocabulary)
    assert len(sequence) == 29
    kept = fit(sequence, vocabulary, length, too_long="cut_texts")
    assert len(kept) == length
    assert shape(parse(kept.ids, vocabulary)) == expected


def test_what_is_too_long_without_text_is_refused() -> None:
    vocabulary = vocabulary_of()
    sequence = build(["abc", IMAGE, IMAGE], vocabulary)
    assert shape(parse(fit(sequence, vocabulary, 22, too_long="cut_texts").ids, vocabulary)) == ["<image>", "<image>"]
    with pytest.raises(
        TokbenchError, match="has 25 steps, allowed are 21; it is too long without any text; allow more, or make its images"
    ):
        fit(sequence, vocabulary, 21, too_long="cut_texts")


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (25, ["ab", "<image>", "<image>"]),
        (24, ["ab", "<image>", "<image>"]),
        (23, ["ab", "<image>"]),
        (13, ["ab", "<image>"]),
        (12, ["ab"]),
        (3, ["ab"]),
    ],
)
def test_parts_can_be_dropped_from_the_end(length: int, expected: list[str]) -> None:
    vocabulary = vocabulary_of()
    sequence = build(["ab", IMAGE, IMAGE], vocabulary)
    assert len(sequence) == 24
    kept = fit(sequence, vocabulary, length, too_long="drop_parts")
    assert shape(parse(kept.ids, vocabulary, eos=length >= 24)) == expected
    assert (kept.ids == vocabulary.special.eos).any() == (length >= 24)


def test_where_nothing_is_left_it_is_refused() -> None:
    vocabulary = vocabulary_of()
    with pytest.raises(TokbenchError, match="has 24 steps, allowed are 2; its first part alone is too long; allow more"):
        fit(build(["ab", IMAGE, IMAGE], vocabulary), vocabulary, 2, too_long="drop_parts")


@given(
    st.lists(st.text(max_size=9) | st.just(IMAGE), max_size=5),
    st.integers(1, 60),
    st.sampled_from(["raise", "cut_texts", "drop_parts"]),
    st.sampled_from(["flat", "parallel"]),
)
def test_no_rule_ever_cuts_an_image_or_a_letter(parts: list[Part], length: int, rule: Any, arrangement: Any) -> None:
    vocabulary = vocabulary_of(arrangement)
    sequence = build(parts, vocabulary)
    try:
        kept = fit(sequence, vocabulary, length, too_long=rule)
    except TokbenchError:
        assert len(sequence) > length
        return
    assert len(kept) == length
    read = parse(kept.ids, vocabulary, eos=rule != "drop_parts")
    images = shape(parse(sequence.ids, vocabulary)).count("<image>")
    assert shape(read).count("<image>") == images or rule == "drop_parts"
    assert "\ufffd" not in "".join(shape(read)).replace("\ufffd", "", "".join(shape(parts)).count("\ufffd"))


def test_an_open_image_is_kept() -> None:
    vocabulary = vocabulary_of()
    start = prompt(["abcdef"], vocabulary, grid=(1, 2))
    kept = fit(start, vocabulary, 8, too_long="cut_texts", side="left")
    assert kept.ids.tolist() == prompt(["ab"], vocabulary, grid=(1, 2)).ids.tolist()


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("arguments", [{"length": 0}, {"length": 9, "too_long": "cut"}, {"length": 9, "side": "both"}])
def test_other_arguments_are_refused(arguments: dict[str, Any]) -> None:
    vocabulary = vocabulary_of()
    with pytest.raises(ValueError, match="length, too_long and side are not allowed to be"):
        fit(build(["a"], vocabulary), vocabulary, **arguments)
