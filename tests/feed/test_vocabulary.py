"""What every id means: numbering held against loops, JSON, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tokbench.errors import TokbenchError
from tokbench.feed.job import TokenizerIdentity
from tokbench.feed.special import SpecialIds
from tokbench.feed.text import ByteText
from tokbench.feed.text_file import FileText
from tokbench.feed.vocabulary import Vocabulary
from tokbench.feed.vocabulary_json import vocabulary_from_json, vocabulary_to_json
from tokbench.layout import TokenLayout

IDENTITY = TokenizerIdentity("vqgan/tiny", {"codes": 4, "nested": {"rate": 0.5}}, "ab" * 32)
SPECIAL = SpecialIds(*range(256, 264))

sizes_of_books = st.lists(st.integers(2, 40), min_size=1, max_size=4).map(tuple)
grids = st.lists(st.integers(1, 5), min_size=1, max_size=2).map(tuple)
arrangements = st.sampled_from(["flat", "parallel"])


def layout_of(sizes: tuple[int, ...], grid: tuple[int, ...] = (2, 3)) -> TokenLayout:
    return TokenLayout(image_size=(16, 16), grid=grid, codebook_sizes=sizes)


def codes_of(sizes: tuple[int, ...], *shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(size, shape, generator=generator) for size in sizes], dim=-1)


@given(sizes_of_books, grids, st.integers(0, 99))
def test_flat_numbering(sizes: tuple[int, ...], grid: tuple[int, ...], seed: int) -> None:
    vocabulary = Vocabulary.over(ByteText(), layout_of(sizes, grid), IDENTITY)
    codes = codes_of(sizes, 2, math.prod(grid), seed=seed)
    ids = vocabulary.to_ids(codes)
    expected = [
        [256 + 8 + sum(sizes[:k]) + int(codes[image, position, k]) for position in range(math.prod(grid)) for k in range(len(sizes))]
        for image in range(2)
    ]
    assert ids.tolist() == expected
    assert vocabulary.size == 256 + 8 + sum(sizes)
    assert torch.equal(vocabulary.to_codes(ids), codes)
    books, found = vocabulary.locate(ids)
    assert torch.equal(found.reshape(codes.shape), codes)
    assert books[0].tolist() == list(range(len(sizes))) * math.prod(grid)


@given(sizes_of_books, grids, st.integers(0, 99))
def test_parallel_numbering(sizes: tuple[int, ...], grid: tuple[int, ...], seed: int) -> None:
    vocabulary = Vocabulary.over(ByteText(), layout_of(sizes, grid), IDENTITY, arrangement="parallel")
    codes = codes_of(sizes, 2, math.prod(grid), seed=seed)
    ids = vocabulary.to_ids(codes)
    assert torch.equal(ids, codes + 256 + 8)
    assert vocabulary.size == 256 + 8 + max(sizes)
    assert torch.equal(vocabulary.to_codes(ids), codes)
    books, found = vocabulary.locate(ids)
    assert torch.equal(found, codes)
    assert torch.equal(books, torch.arange(len(sizes)).expand_as(codes))


@given(sizes_of_books)
def test_every_id_has_one_meaning(sizes: tuple[int, ...]) -> None:
    vocabulary = Vocabulary.over(ByteText(), layout_of(sizes), IDENTITY)
    ids = torch.arange(vocabulary.size)
    books, codes = vocabulary.locate(ids)
    names = [vocabulary.name(number) for number in ids.tolist()]
    assert names[:256] == [f"text id {number}" for number in range(256)]
    assert names[256:264] == ["BOS", "EOS", "PAD", "BOI", "IMG", "EOI", "EOL", "EOF"]
    assert names[264:] == [f"code {code} of codebook {k}" for k, size in enumerate(sizes) for code in range(size)]
    assert vocabulary.is_text(ids).tolist() == [True] * 256 + [False] * (vocabulary.size - 256)
    for number, book, code in zip(ids.tolist(), books.tolist(), codes.tolist(), strict=True):
        assert (book, code) == (-1, -1) if number < 264 else vocabulary.id_of(book, code) == number
    assert vocabulary.name(vocabulary.size) == f"id {vocabulary.size}, which has no meaning"


def test_ids_beyond_the_vocabulary_are_neither_text_nor_code() -> None:
    for arrangement in ("flat", "parallel"):
        vocabulary = Vocabulary.over(ByteText(), layout_of((4, 6)), IDENTITY, arrangement=arrangement)  # type: ignore[arg-type]
        beyond = torch.tensor([[-1, -5], [vocabulary.size, 10**9]])
        assert not vocabulary.is_text(beyond).any()
        assert (vocabulary.locate(beyond)[0] == -1).all()


def test_a_reserved_id_of_the_text_may_be_special() -> None:
    text = FileText("ab" * 32, 300, (1, 2))
    vocabulary = Vocabulary(
        replace(SPECIAL, bos=1, eos=310, pad=305, boi=301, img=302, eoi=303, eol=304, eof=306), text, IDENTITY, (8,), (400,)
    )
    assert vocabulary.name(1) == "BOS"
    assert vocabulary.name(2) == "reserved id 2"
    assert vocabulary.is_text(torch.tensor([0, 1, 2, 3, 299, 300])).tolist() == [True, False, False, True, True, False]
    assert vocabulary.size == 408


def test_codes_out_of_range_are_refused() -> None:
    vocabulary = Vocabulary.over(ByteText(), layout_of((4, 6)), IDENTITY)
    with pytest.raises(ValueError, match=r"there is no code 4 of codebook 0; the sizes are \(4, 6\)"):
        vocabulary.to_ids(torch.tensor([[3, 5], [4, 0]]))
    with pytest.raises(ValueError, match="there is no code -1 of codebook 1"):
        vocabulary.to_ids(torch.tensor([[3, -1]]))
    with pytest.raises(ValueError, match="codes have 1 codebooks, the vocabulary has 2"):
        vocabulary.to_ids(torch.tensor([[3]]))
    for book, code in ((0, 4), (2, 0), (-1, 0), (1, -1)):
        with pytest.raises(ValueError, match=f"there is no code {code} of codebook {book}"):
            vocabulary.id_of(book, code)


def test_ids_that_are_no_codes_are_refused() -> None:
    vocabulary = Vocabulary.over(ByteText(), layout_of((4, 6)), IDENTITY)
    first, second = vocabulary.offsets
    with pytest.raises(ValueError, match="position 1 has code 2 of codebook 1 where a code of codebook 0 belongs"):
        vocabulary.to_codes(torch.tensor([first, second, second + 2, second]))
    with pytest.raises(ValueError, match="position 0 has EOL where a code of codebook 1 belongs"):
        vocabulary.to_codes(torch.tensor([first, vocabulary.special.eol]))
    with pytest.raises(ValueError, match="no whole positions of 2 codebooks"):
        vocabulary.to_codes(torch.tensor([first, second, first]))
    with pytest.raises(ValueError, match="no whole positions of 2 codebooks"):
        replace(vocabulary, offsets=(264, 264), arrangement="parallel").to_codes(torch.full((1, 4), 264))


@pytest.mark.parametrize(
    ("layout", "given"),
    [
        (TokenLayout(image_size=(8, 8), grid=(2, 2), channels=4), "continuous latents"),
        (TokenLayout(image_size=(8, 8), grid=(2, 2, 2), codebook_sizes=(4,)), "tokens on a grid of 3 axes"),
    ],
)
def test_what_has_no_ids(layout: TokenLayout, given: str) -> None:
    with pytest.raises(TokbenchError, match=f"vqgan/tiny makes {given}; ids need a tokenizer with codebooks"):
        Vocabulary.over(ByteText(), layout, IDENTITY)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"codebook_sizes": ()}, "one offset for each codebook"),
        ({"codebook_sizes": (4, 1)}, "one offset for each codebook of 2 codes or more"),
        ({"offsets": (300,)}, "one offset for each codebook"),
        ({"offsets": (300, 303)}, r"codebooks share ids: offsets \(300, 303\), sizes \(4, 6\)"),
        ({"offsets": (305, 300)}, "codebooks share ids"),
        ({"offsets": (300, 255)}, "codes begin at id 255, within text, which ends at id 255"),
        ({"offsets": (260, 300)}, "IMG has id 260, which is a code of codebook 0"),
        ({"special": SpecialIds(*range(250, 258))}, "BOS has id 250, which is text"),
        ({"grid_axes": 3}, "grids have 1 or 2 axes"),
        ({"arrangement": "delayed"}, "flat or parallel, got 2 and 'delayed'"),
    ],
)
def test_ids_with_two_meanings_are_refused(change: dict[str, Any], reason: str) -> None:
    vocabulary = Vocabulary.over(ByteText(), layout_of((4, 6)), IDENTITY)
    with pytest.raises(ValueError, match=reason):
        replace(vocabulary, **change)


def test_special_ids_are_different_and_not_negative() -> None:
    for ids in ([5, 5, 1, 2, 3, 4, 6, 7], [-1, *range(7)]):
        with pytest.raises(ValueError, match="special ids must be different and not negative"):
            SpecialIds(*ids)


@given(sizes_of_books, grids, arrangements, st.sampled_from([ByteText(), ByteText("gpt2"), FileText("cd" * 32, 999, (3, 7))]))
def test_json_and_back(sizes: tuple[int, ...], grid: tuple[int, ...], arrangement: Any, text: ByteText | FileText) -> None:
    vocabulary = Vocabulary.over(text, layout_of(sizes, grid), IDENTITY, arrangement=arrangement)
    again = vocabulary_from_json(vocabulary_to_json(vocabulary))
    assert again == vocabulary
    assert vocabulary_to_json(again) == vocabulary_to_json(vocabulary)


def test_json_holds_what_a_reader_needs() -> None:
    values = json.loads(vocabulary_to_json(Vocabulary.emu3()))
    assert values["image_tokenizer"]["name"] == "emu3/vision"
    assert values["image_tokenizer"]["config"]["codebook_size"] == 32768
    assert (values["codebook_sizes"], values["offsets"], values["grid_axes"]) == ([32768], [151854], 2)
    assert values["special"]["eol"] == 151846
    assert values["text"] == {"kind": "bytes", "alphabet": "gpt2"}


def damaged(**changes: object) -> str:
    return json.dumps(json.loads(vocabulary_to_json(Vocabulary.emu3())) | changes)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", r"v\.json is not JSON .*; write it again"),
        ("[]", r"v\.json is no vocabulary of tokbench"),
        ("{}", r"v\.json is no vocabulary of tokbench"),
        (damaged(schema=2), r"v\.json has schema 2, this tokbench reads up to 1; install a newer one"),
        (damaged(offsets=[12]), r"v\.json is damaged \(codes begin at id 12, within text"),
        (damaged(offsets=[151854.5]), r"damaged \(a number is 151854.5, not a whole number\)"),
        (damaged(special={"bos": 1}), "damaged .*missing 7 required"),
        (damaged(text={}), r"damaged \(no 'kind'\)"),
        (damaged(text={"kind": "words"}), "text of kind 'words', known are bytes and file"),
        (damaged(image_tokenizer=3), "damaged"),
        (damaged(arrangement="x"), "damaged"),
    ],
)
def test_damaged_json_is_refused(text: str, reason: str) -> None:
    with pytest.raises(TokbenchError, match=reason):
        vocabulary_from_json(text, origin="v.json")
