"""Texts and images to ids and back: any mixture, any codebooks, both arrangements; and what malformed sequences say."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tokbench.feed.job import TokenizerIdentity
from tokbench.feed.parsing import MalformedSequence, annotate, parse
from tokbench.feed.sequence import Part, TokenSequence, build, prompt
from tokbench.feed.text import ByteText
from tokbench.feed.vocabulary import Vocabulary
from tokbench.layout import TokenLayout
from tokbench.tokens import DiscreteTokens

SPELLED = "<|image start|>2*3<|image token|><|visual token 000001|><|extra_204|>\x00BOS"


def vocabulary_of(sizes: tuple[int, ...], axes: int = 2, arrangement: Any = "flat") -> Vocabulary:
    layout = TokenLayout(image_size=(8, 8), grid=(1,) * axes, codebook_sizes=sizes)
    return Vocabulary.over(ByteText(), layout, TokenizerIdentity("vqgan/tiny", {}, None), arrangement=arrangement)


def image_of(sizes: tuple[int, ...], grid: tuple[int, ...], seed: int = 0) -> DiscreteTokens:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.stack([torch.randint(size, (1, math.prod(grid)), generator=generator) for size in sizes], dim=-1)
    return DiscreteTokens(codes, grid, sizes)


Recipe = tuple[tuple[int, ...], int, str, list[Any]]


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Codebooks, axes, arrangement, and parts: texts, or grid and seed of an image."""
    axes = draw(st.integers(1, 2))
    images = st.tuples(st.lists(st.integers(1, 12), min_size=axes, max_size=axes).map(tuple), st.integers(0, 99))
    return (
        draw(st.lists(st.integers(2, 30), min_size=1, max_size=3).map(tuple)),
        axes,
        draw(st.sampled_from(["flat", "parallel"])),
        draw(st.lists(st.text() | st.just(SPELLED) | images, max_size=5)),
    )


def made(recipe: Recipe) -> tuple[Vocabulary, list[Part]]:
    sizes, axes, arrangement, parts = recipe
    return vocabulary_of(sizes, axes, arrangement), [part if isinstance(part, str) else image_of(sizes, *part) for part in parts]


def plain(parts: list[Part]) -> list[Any]:
    """Parts as ``parse`` returns them, comparable with ``==``: neighbouring texts joined, empty ones left out."""
    found: list[Any] = []
    for part in parts:
        if isinstance(part, DiscreteTokens):
            found.append((part.codes.tolist(), part.grid, part.codebook_sizes))
        elif part and found and isinstance(found[-1], str):
            found[-1] += part
        elif part:
            found.append(part)
    return found


def slow_ids(parts: list[Part], vocabulary: Vocabulary) -> list[Any]:
    """The sequence id by id; lists of K for parallel streams."""
    special, ids = vocabulary.special, []

    def alone(*numbers: int) -> None:
        for number in numbers:
            ids.append([number] + [special.pad] * (vocabulary.codebooks - 1) if vocabulary.parallel else number)

    alone(special.bos)
    for part in parts:
        if isinstance(part, str):
            alone(*part.encode())
            continue
        alone(special.boi, *"*".join(str(n) for n in part.grid).encode(), special.img)
        columns = part.grid[-1]
        for position, codes in enumerate(part.codes[0].tolist()):
            numbers = [offset + code for offset, code in zip(vocabulary.offsets, codes, strict=True)]
            ids.extend([numbers] if vocabulary.parallel else numbers)
            if len(part.grid) == 2 and position % columns == columns - 1:
                alone(special.eol)
        alone(special.eof, special.eoi)
    alone(special.eos)
    return ids


@given(recipes(), st.integers(0, 3), st.integers(0, 3))
def test_parts_to_ids_and_back(recipe: Recipe, left: int, right: int) -> None:
    vocabulary, parts = made(recipe)
    sequence = build(parts, vocabulary)
    assert sequence.ids.dtype == torch.int64
    assert sequence.ids.tolist() == slow_ids(parts, vocabulary)
    assert plain(parse(sequence.ids, vocabulary)) == plain(parts)
    padding = [vocabulary.in_stream_0([vocabulary.special.pad] * count) for count in (left, right)]
    assert plain(parse(torch.cat([padding[0], sequence.ids, padding[1]]), vocabulary)) == plain(parts)


@given(recipes(), st.data())
def test_what_is_read_is_what_would_be_written(recipe: Recipe, data: st.DataObject) -> None:
    vocabulary, parts = made(recipe)
    ids = build(parts, vocabulary).ids
    kinds = st.integers(0, vocabulary.size - 1) | st.sampled_from(vocabulary.special.all) | st.integers(48, 57) | st.integers(-5, 10**6)
    for _ in range(data.draw(st.integers(1, 3))):  # damage it
        place = data.draw(st.integers(0, len(ids) - 1))
        change = data.draw(st.sampled_from(["replace", "remove", "insert"]))
        new = vocabulary.in_stream_0([data.draw(kinds)])
        keep = [ids[:place], ids[place:]] if change == "insert" else [ids[:place], ids[place + 1 :]]
        ids = torch.cat([keep[0], keep[1]] if change == "remove" and len(ids) > 1 else [keep[0], new, keep[1]])
    try:
        read = parse(ids, vocabulary)
    except MalformedSequence as error:
        assert 0 <= error.position <= len(ids)  # noqa: PT017
        return
    if "\ufffd" not in "".join(part for part in read if isinstance(part, str)):
        lead = ids[:, 0] if vocabulary.parallel else ids
        filled = (lead != vocabulary.special.pad).nonzero()
        assert build(read, vocabulary).ids.tolist() == ids[int(filled[0]) : int(filled[-1]) + 1].tolist()


@given(recipes())
def test_owners(recipe: Recipe) -> None:
    vocabulary, parts = made(recipe)
    sequence = build(parts, vocabulary)
    expected = [-1]
    for index, part in enumerate(parts):
        expected += [index] * (len(build([part], vocabulary)) - 2)
    assert sequence.owners.tolist() == [*expected, len(parts) - 1]
    canonical = parse(sequence.ids, vocabulary)
    padding = vocabulary.in_stream_0([vocabulary.special.pad] * 2)
    found = annotate(torch.cat([padding, sequence.ids, padding]), vocabulary)
    assert found.owners.tolist() == [-1, -1, *build(canonical, vocabulary).owners.tolist(), -1, -1]


@given(recipes(), st.integers(1, 40))
def test_a_prompt_is_the_begin_of_what_comes(recipe: Recipe, length: int) -> None:
    vocabulary, parts = made(recipe)
    grid = (length, 3)[: vocabulary.grid_axes]
    whole = build([*parts, image_of(vocabulary.codebook_sizes, grid)], vocabulary)
    for start in (prompt(parts, vocabulary), prompt(parts, vocabulary, grid=grid)):
        assert torch.equal(start.ids, whole.ids[: len(start)])
        assert torch.equal(start.owners, whole.owners[: len(start)])
    assert start.ids.flatten()[-1 if not vocabulary.parallel else -vocabulary.codebooks] == vocabulary.special.img


def test_begin_and_end_can_be_left_out() -> None:
    vocabulary = vocabulary_of((4,))
    ids = build(["ab"], vocabulary, bos=False, eos=False).ids
    assert ids.tolist() == [97, 98]
    assert parse(ids, vocabulary, bos=False, eos=False) == ["ab"]
    whole = build(["ab"], vocabulary).ids
    assert parse(whole, vocabulary, bos=False, eos=False) == ["ab"]
    assert parse(build([], vocabulary, bos=False, eos=False).ids, vocabulary, bos=False, eos=False) == []
    with pytest.raises(MalformedSequence, match="position 0: expected BOS, found text id 97"):
        parse(whole[1:], vocabulary)
    with pytest.raises(MalformedSequence, match="position 3: expected text, BOI or EOS, found the end of the sequence"):
        parse(whole[:-1], vocabulary)


def test_text_cannot_forge_special_tokens() -> None:
    for vocabulary in (vocabulary_of((4,)), Vocabulary.emu3()):
        ids = build([SPELLED], vocabulary).ids
        assert vocabulary.is_text(ids[1:-1]).all()
        assert parse(ids, vocabulary) == [SPELLED]


def test_bytes_a_model_invents_are_read_as_replacement_characters() -> None:
    vocabulary = vocabulary_of((4,))
    special = vocabulary.special
    assert parse(torch.tensor([special.bos, 0xC3, special.eos]), vocabulary) == ["\ufffd"]


class TestMalformed:
    """Every way in which a 2*3 image of two codebooks can be wrong is named."""

    vocabulary = vocabulary_of((8, 5))
    special = vocabulary.special
    whole = build(["hi", image_of((8, 5), (2, 3))], vocabulary).ids

    def ids(self, at: int, *new: int, cut: int = 1) -> Tensor:
        return torch.cat([self.whole[:at], torch.tensor(new, dtype=torch.int64), self.whole[at + cut :]])

    @pytest.mark.parametrize(
        ("at", "new", "cut", "position", "reason"),
        [
            (0, [], 1, 0, "expected BOS, found text id 104"),
            (1, [264], 1, 1, "expected text, BOI or EOS, found code 0 of codebook 0"),
            (2, [256], 1, 2, "expected text, BOI or EOS, found BOS"),
            (2, [258], 1, 2, "expected text, BOI or EOS, found PAD"),
            (2, [99999], 1, 2, "expected text, BOI or EOS, found id 99999, which has no meaning"),
            (2, [-3], 1, 2, "expected text, BOI or EOS, found id -3, which has no meaning"),
            (4, [], 3, 4, r"expected a size such as 16\*16, found IMG"),
            (4, [*b"02*3"], 3, 4, r"expected a size such as 16\*16, found the text '02\*3'"),
            (4, [*b"6"], 3, 4, r"expected a size such as 16\*16, found the text '6'"),
            (4, [*b"2*0"], 3, 4, r"found the text '2\*0'"),
            (4, [*"²*3".encode()], 3, 4, r"found the text '²\*3'"),
            (4, [*b"\t2*3"], 3, 4, r"found the text '\\t2\*3'"),
            (4, [*b"2* 3"], 3, 4, r"found the text '2\* 3'"),
            (4, [*b"2*3*1"], 3, 4, r"found the text '2\*3\*1'"),
            (7, [], 1, 7, "expected IMG behind the size, found code . of codebook 0"),
            (9, [265], 1, 9, r"expected a code of codebook 1 at row 0, column 0 of a 2\*3 image, found code 1 of codebook 0"),
            (8, [272], 1, 8, r"expected a code of codebook 0 at row 0, column 0 of a 2\*3 image, found code 0 of codebook 1"),
            (9, [277], 1, 9, r"expected a code of codebook 1 at row 0, column 0 of a 2\*3 image, found id 277, which has no meaning"),
            (12, [262], 1, 12, r"expected a code of codebook 0 at row 0, column 2 of a 2\*3 image, found EOL"),
            (14, [], 1, 14, r"expected EOL after row 0 of a 2\*3 image, found code . of codebook 0"),
            (21, [65], 1, 21, r"expected EOL after row 1 of a 2\*3 image, found text id 65"),
            (22, [], 1, 22, r"expected EOF behind the codes of a 2\*3 image, found EOI"),
            (23, [], 1, 23, r"expected EOI behind the codes of a 2\*3 image and EOF, found EOS"),
            (24, [], 1, 24, "expected text, BOI or EOS, found the end of the sequence"),
            (25, [65], 0, 25, "expected nothing but PAD behind EOS, found text id 65"),
            (25, [258, 65], 0, 25, "expected nothing but PAD behind EOS, found PAD"),
            (16, [], 99, 16, r"expected a code of codebook 1 at row 1, column 0 of a 2\*3 image, found the end of the sequence"),
            (21, [], 99, 21, r"expected EOL after row 1 of a 2\*3 image, found the end of the sequence"),
            (5, [], 99, 4, r"expected a size such as 16\*16, found the text '2'"),
            (4, [], 99, 4, r"expected a size such as 16\*16, found the end of the sequence"),
            (0, [], 99, 0, "expected BOS, found the end of the sequence"),
            (4, [*b"999999999*999999999"], 3, 30, "expected a code of codebook 0 at row 0, column 3 of a 9+.9+ image, found EOL"),
        ],
    )
    def test_place_and_reason(self, at: int, new: list[int], cut: int, position: int, reason: str) -> None:
        with pytest.raises(MalformedSequence, match=rf"^position \d+: .*{reason}") as caught:
            parse(self.ids(at, *new, cut=cut), self.vocabulary)
        assert caught.value.position == position
        assert str(caught.value) == f"position {caught.value.position}: expected {caught.value.expected}, found {caught.value.found}"

    def test_rows_without_axes(self) -> None:
        vocabulary = vocabulary_of((8,), axes=1)
        ids = build([image_of((8,), (5,))], vocabulary).ids
        with pytest.raises(MalformedSequence, match=r"position 8: expected a code of codebook 0 at position 4 of a 5 image, found EOF"):
            parse(torch.cat([ids[:7], ids[8:]]), vocabulary)
        ids[2] = ord("*")
        with pytest.raises(MalformedSequence, match=r"position 2: expected a size such as 256, found the text '\*'"):
            parse(ids, vocabulary)

    def test_streams(self) -> None:
        vocabulary = vocabulary_of((8, 5), arrangement="parallel")
        special = vocabulary.special
        whole = build(["hi", image_of((8, 5), (2, 3))], vocabulary).ids

        def changed(place: tuple[int, int], number: int) -> Tensor:
            ids = whole.clone()
            ids[place] = number
            return ids

        for place, number, reason in [
            ((0, 1), 65, r"position 0: expected BOS, found ids \[256, 65\], one a stream"),
            ((2, 1), 65, r"position 2: expected text, BOI or EOS, found ids \[105, 65\], one a stream"),
            ((9, 1), 270, "position 9: expected a code of codebook 1 at row 0, column 1 .* found id 270, which has no meaning in stream 1"),
            ((9, 1), special.pad, "position 9: expected a code of codebook 1 .* found PAD in stream 1"),
            ((11, 1), 265, "position 11: expected EOL after row 0 .*, found code 1 of codebook 1 in stream 1"),
            ((11, 0), 265, "position 11: expected EOL after row 0 .*, found code 1 of codebook 0 in stream 0"),
        ]:
            with pytest.raises(MalformedSequence, match=reason):
                parse(changed(place, number), vocabulary)

    def test_shapes(self) -> None:
        with pytest.raises(ValueError, match=r"sequences have shape \('T',\), got \(25, 1\)"):
            parse(self.whole[:, None], self.vocabulary)
        with pytest.raises(ValueError, match=r"sequences have shape \('T', 2\), got \(25,\)"):
            parse(self.whole, vocabulary_of((8, 5), arrangement="parallel"))


def test_images_that_do_not_fit_are_refused() -> None:
    vocabulary = vocabulary_of((8,))
    two = DiscreteTokens(torch.zeros(2, 4, 1, dtype=torch.int64), (2, 2), (8,))
    for part, reason in [
        (two, "part 1 must be one image, got a batch of 2"),
        (image_of((9,), (2, 2)), r"part 1 has codebooks \(9,\), the vocabulary has \(8,\)"),
        (image_of((8,), (4,)), r"grid \(4,\) has not the 2 positive numbers"),
        (image_of((8,), (2, 2, 1)), r"grid \(2, 2, 1\) has not the 2 positive numbers"),
    ]:
        with pytest.raises(ValueError, match=reason):
            build(["", part], vocabulary)
    with pytest.raises(ValueError, match=r"grid \(0, 4\) has not the 2 positive numbers"):
        prompt([], vocabulary, grid=(0, 4))


@pytest.mark.usefixtures("unchecked_types")
def test_other_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="part 0 must be a text or DiscreteTokens, got Tensor"):
        build([torch.zeros(3)], vocabulary_of((8,)))  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"owners \[T\], got \(3,\) and \(2,\)"):
        TokenSequence(torch.zeros(3, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))


def test_ids_may_be_a_tensor_an_array_or_a_list() -> None:
    for arrangement in ("flat", "parallel"):
        vocabulary = vocabulary_of((5, 9), arrangement=arrangement)
        image = DiscreteTokens(torch.tensor([[[1, 8], [4, 0]]]), (1, 2), (5, 9))
        sequence = build(["ab", image], vocabulary)
        ids = sequence.ids
        for form in (ids, ids.int(), ids.numpy(), ids.numpy().astype("uint16"), ids.tolist(), tuple(ids.tolist())):
            text, again = parse(form, vocabulary)
            assert text == "ab"
            assert torch.equal(again.codes, image.codes)
            found = annotate(form, vocabulary)
            assert torch.equal(found.ids, ids)
            assert torch.equal(found.owners, sequence.owners)
    with pytest.raises(MalformedSequence, match="position 0: expected BOS, found the end of the sequence"):
        parse([], vocabulary_of((5,)))


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("ids", "given"),
    [
        ([0.5], "got torch.float32"),
        (torch.zeros(3), "got torch.float32"),
        ([True], "got torch.bool"),
        ("abc", "got a text"),
        (["a"], "got list"),
        ([[1], [1, 2]], "got list"),
        (None, "got NoneType"),
    ],
)
def test_what_is_no_ids_is_a_type_error(ids: Any, given: str) -> None:
    with pytest.raises(TypeError, match=f"ids are whole numbers.*{given}"):
        parse(ids, vocabulary_of((5,)))
