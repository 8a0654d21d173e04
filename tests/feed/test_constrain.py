"""Constrained decoding: whatever a model scores, what comes out is well formed; held against a slow machine that goes id by id."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.feed.constrain import ConstrainedDecoding
from tokbench.feed.grammar import ImageGrammar
from tokbench.feed.job import TokenizerIdentity
from tokbench.feed.parsing import parse
from tokbench.feed.sequence import build, prompt
from tokbench.feed.text import ByteText
from tokbench.feed.vocabulary import Vocabulary
from tokbench.layout import TokenLayout
from tokbench.tokens import DiscreteTokens

Grid = tuple[int, ...]


def vocabulary_of(sizes: tuple[int, ...] = (7,), axes: int = 2) -> Vocabulary:
    layout = TokenLayout(image_size=(8, 8), grid=(1,) * axes, codebook_sizes=sizes)
    return Vocabulary.over(ByteText(), layout, TokenizerIdentity("vqgan/tiny", {}, None))


def image_of(sizes: tuple[int, ...], grid: Grid) -> DiscreteTokens:
    return DiscreteTokens(torch.ones(1, int(torch.tensor(grid).prod()), len(sizes), dtype=torch.int64), grid, sizes)


def generate(processor: Callable[[Tensor, Tensor], Tensor], rows: Tensor, *, length: int, seed: int = 0) -> Tensor:
    """Sample from random logits until every row has ended, or is as long as may be."""
    generator = torch.Generator().manual_seed(seed)
    vocabulary = processor.grammar.vocabulary  # type: ignore[attr-defined]
    while rows.shape[1] < length and not (rows == vocabulary.special.eos).any(dim=1).all():
        logits = torch.randn(len(rows), vocabulary.size + 3, generator=generator)
        rows = torch.cat([rows, processor(rows, logits).argmax(dim=1, keepdim=True)], dim=1)
    return rows


def slow_allowed(row: list[int], vocabulary: Vocabulary, grids: list[Grid], after_image: str, max_length: int | None) -> set[int]:
    """What may follow one row, by going through it from its begin; nothing if an image in it cannot be done in time."""
    special, text = vocabulary.special, set(range(256))
    codes = [set(range(start, start + size)) for start, size in zip(vocabulary.offsets, vocabulary.codebook_sizes, strict=True)]

    def length(grid: Grid) -> int:
        columns = grid[-1] * len(codes)
        return 1 + len("*".join(map(str, grid))) + 1 + (grid[0] * (columns + 1) if len(grid) == 2 else columns) + 2

    def whole(grid: Grid) -> list[set[int]]:
        """The ids allowed at every place behind IMG."""
        line = codes * grid[-1]
        return [*(([*line, {special.eol}] * grid[0]) if len(grid) == 2 else line), {special.eof}, {special.eoi}]

    state: Any = "outside"
    for place, number in enumerate(row):
        if state == "ended":
            continue
        if number == special.eos:
            state = "ended"
        elif number == special.boi:
            state, begun = "", place
        elif state == "outside":
            continue
        elif isinstance(state, str):
            grid = tuple(map(int, state.split("*"))) if number == special.img else ()
            state = whole(grid) if grid else state + chr(number)
        else:
            assert number in state[0]
            state = state[1:] or "outside"

    def room(count: int) -> bool:
        return max_length is None or count <= max_length

    if state == "ended":
        return {special.pad}
    if state == "outside":
        if row[-1] == special.eoi and after_image == "eos":
            return {special.eos}
        images = {special.boi} if room(len(row) + min(map(length, grids)) + 1) else set()
        return {special.eos} | images | (text if room(len(row) + 2) else set())
    if isinstance(state, str):
        sizes = ["*".join(map(str, grid)) for grid in grids if room(begun + length(grid) + 1)]
        return {ord((size + "\0")[len(state)]) if size != state else special.img for size in sizes if size.startswith(state)}
    return state[0] if room(begun + length(grid) + 1) else set()


@settings(max_examples=40)
@given(
    st.lists(st.integers(2, 9), min_size=1, max_size=3).map(tuple),
    st.integers(1, 2),
    st.data(),
    st.sampled_from(["eos", "continue"]),
    st.none() | st.integers(20, 50),
)
def test_every_step_allows_what_the_slow_machine_allows(
    sizes: tuple[int, ...], axes: int, data: st.DataObject, after_image: Any, max_length: int | None
) -> None:
    vocabulary = vocabulary_of(sizes, axes)
    numbers = st.integers(1, 13) if axes == 1 else st.integers(1, 3) | st.just(11)
    kinds = st.lists(numbers, min_size=axes, max_size=axes).map(tuple).filter(lambda grid: torch.tensor(grid).prod() < 14)
    grids = data.draw(st.lists(kinds, min_size=1, max_size=5))
    grammar = ImageGrammar(vocabulary, grids, after_image=after_image, max_length=max_length)
    first = data.draw(st.integers(0, len(grids)))
    start = prompt(["a"], vocabulary, grid=None if first == len(grids) else grids[first])
    rows = start.ids.repeat(3, 1)
    rows[1:] = torch.tensor([256, 97, 97, 98, *[97] * 99])[: rows.shape[1]]  # others have no image yet
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    for _ in range(45):
        if max_length is not None and rows.shape[1] >= max_length:
            break
        try:
            allowed = grammar.allowed(rows)
        except TokbenchError:
            assert any(not slow_allowed(row.tolist(), vocabulary, grids, after_image, max_length) for row in rows)
            return
        for row, mask in zip(rows, allowed, strict=True):
            assert set(mask.nonzero()[:, 0].tolist()) == slow_allowed(row.tolist(), vocabulary, grids, after_image, max_length)
        favoured = torch.rand(allowed.shape, generator=generator) + 9 * (torch.arange(vocabulary.size) == vocabulary.special.boi)
        rows = torch.cat([rows, favoured.masked_fill(~allowed, -1).argmax(dim=1, keepdim=True)], dim=1)


@pytest.mark.parametrize(
    ("sizes", "grids"), [((30,), [(4, 5), (2, 2), (3, 12), (11, 1)]), ((6, 9, 4), [(2, 3), (1, 4)]), ((8, 5), [(7,), (12,)])]
)
def test_two_hundred_samples_are_well_formed(sizes: tuple[int, ...], grids: list[Grid]) -> None:
    vocabulary = vocabulary_of(sizes, len(grids[0]))
    processor = ConstrainedDecoding(ImageGrammar(vocabulary, grids))
    rows = generate(processor, prompt(["a cat"], vocabulary).ids.repeat(200, 1), length=200)
    seen = set()
    for row in rows:
        text, image = parse(row, vocabulary)
        assert text == "a cat"
        assert isinstance(image, DiscreteTokens)
        seen.add(image.grid)
    assert seen == set(grids)


def test_two_hundred_mixtures_are_well_formed_and_done_in_time() -> None:
    vocabulary = vocabulary_of((60,))
    processor = ConstrainedDecoding(ImageGrammar(vocabulary, [(2, 2), (3, 1)], after_image="continue", max_length=60))

    def eager(ids: Tensor, logits: Tensor) -> Tensor:
        logits[:, vocabulary.special.boi] += 3  # begins images often, also late
        return processor(ids, logits)

    eager.grammar = processor.grammar  # type: ignore[attr-defined]
    rows = generate(eager, build(["go"], vocabulary, eos=False).ids.repeat(200, 1), length=60)
    images = [sum(isinstance(part, DiscreteTokens) for part in parse(row, vocabulary)) for row in rows]
    assert max(images) >= 3
    assert min(images) == 0


def test_a_given_size_is_kept() -> None:
    vocabulary = vocabulary_of((5, 5))
    processor = ConstrainedDecoding(ImageGrammar(vocabulary, [(2, 2), (3, 2)]))
    start = prompt(["in: ", image_of((5, 5), (6, 6)), "out: "], vocabulary, grid=(3, 2))  # a finished image may have any size
    rows = generate(processor, start.ids.repeat(50, 1), length=200)
    for row in rows:
        assert parse(row, vocabulary)[3].grid == (3, 2)  # type: ignore[union-attr]


def test_prompts_of_different_lengths_are_padded_on_the_left() -> None:
    vocabulary = vocabulary_of()
    starts = [prompt([text], vocabulary, grid=grid).ids for text, grid in (("a", (1, 2)), ("a long text", (2, 2)), ("", (1, 1)))]
    width = max(map(len, starts))
    rows = torch.stack([torch.cat([torch.full((width - len(start),), vocabulary.special.pad), start]) for start in starts])
    rows = generate(ConstrainedDecoding(ImageGrammar(vocabulary, [(1, 1), (1, 2), (2, 2)])), rows, length=99)
    assert [parse(row, vocabulary)[-1].grid for row in rows] == [(1, 2), (2, 2), (1, 1)]  # type: ignore[union-attr]


def test_rows_may_be_reordered_between_steps() -> None:
    vocabulary = vocabulary_of()
    grammar = ImageGrammar(vocabulary, [(2, 2), (1, 3)])
    rows = torch.stack([build([image_of((7,), grid)], vocabulary).ids[:9] for grid in ((2, 2), (1, 3))])
    straight = [grammar.allowed(rows[:, : length + 1]) for length in range(1, 9)]
    for length in range(1, 9):
        assert torch.equal(grammar.allowed(rows[:, : length + 1].flip(0)).flip(0), straight[length - 1])


def test_emu3_forces_what_its_own_decoder_forces() -> None:
    vocabulary, height, width = Vocabulary.emu3(), 3, 4
    grammar = ImageGrammar(vocabulary, [(height, width)])
    row = prompt(["a"], vocabulary, grid=(height, width)).ids
    begin = len(row) - 1
    for _ in range(height * (width + 1) + 6):
        offset = len(row) - begin  # as counted from IMG
        if offset % (width + 1) == 0 and offset <= height * (width + 1):
            expected = [151846]
        elif offset > height * (width + 1):
            expected = [[151847], [151853], [151850], [151643]][min(offset - height * (width + 1) - 1, 3)]
        else:
            expected = list(range(151854, 184622))
        allowed = grammar.allowed(row[None])[0].nonzero()[:, 0].tolist()
        assert allowed == expected
        row = torch.cat([row, torch.tensor(allowed[-1:])])


def test_scores_of_allowed_ids_are_kept_and_all_others_forbidden() -> None:
    vocabulary = vocabulary_of()
    processor = ConstrainedDecoding(ImageGrammar(vocabulary, [(1, 2)]))
    ids = prompt([], vocabulary, grid=(1, 2)).ids[None]
    for dtype in (torch.float32, torch.bfloat16):
        scores = torch.randn(1, vocabulary.size + 40).to(dtype)
        before = scores.clone()
        masked = processor(ids, scores)
        assert masked.dtype == dtype
        assert torch.equal(scores, before)
        first = vocabulary.offsets[0]
        assert torch.equal(masked[:, first : first + 7], scores[:, first : first + 7])
        assert torch.isinf(masked).sum() == vocabulary.size + 40 - 7
    with pytest.raises(ValueError, match=rf"the model scores 100 ids, the vocabulary has {vocabulary.size}; resize its embeddings"):
        processor(ids, torch.zeros(1, 100))


def test_what_was_forbidden_before_is_named() -> None:
    vocabulary = vocabulary_of()
    special = vocabulary.special
    processor = ConstrainedDecoding(ImageGrammar(vocabulary, [(1, 2)]))
    ids = build([image_of((7,), (1, 2))], vocabulary).ids[None]
    at = ids[0].tolist().index(special.eol)
    scores = torch.zeros(1, vocabulary.size)
    scores[:, special.eol] = scores[:, special.pad] = -torch.inf
    with pytest.raises(TokbenchError, match="row 0 may go on with EOL, but all of that was forbidden before; leave out what forbids it"):
        processor(ids[:, :at], scores)
    assert (processor(ids, scores) == -torch.inf).all()  # it has ended: what follows does not matter
    scores = torch.full((1, vocabulary.size), -torch.inf)
    with pytest.raises(
        TokbenchError, match=r"go on with code 0 of codebook 0, code 1 of codebook 0, code 2 of codebook 0, \.\.\., but all"
    ):
        processor(ids[:, : at - 1], scores)


class TestRefusals:
    vocabulary = vocabulary_of()

    def test_sizes_that_are_not_allowed(self) -> None:
        grammar = ImageGrammar(self.vocabulary, [(2, 2), (1, 3)])
        special = self.vocabulary.special
        for ids, reason in [
            (prompt(["a"], self.vocabulary, grid=(4, 4)).ids, r"position 2 of size '4\*4'"),
            (torch.tensor([256, special.boi, 57]), "position 1 of size '9'"),
            (torch.tensor([256, special.boi, special.img]), "position 1 without size"),
        ]:
            reason = rf"row 1 has an image begun at {reason} that cannot become one of the sizes allowed \(2\*2, 1\*3\); allow its size"
            with pytest.raises(TokbenchError, match=reason):
                grammar.allowed(torch.stack([torch.full_like(ids, 97), ids]))

    def test_images_that_do_not_fit(self) -> None:
        start = prompt(["a"], self.vocabulary, grid=(2, 2)).ids[None]
        needed = 2 + (1 + 3 + 1 + 6 + 2) + 1
        assert ImageGrammar(self.vocabulary, [(2, 2)], max_length=needed).allowed(start).any()
        with pytest.raises(TokbenchError, match=rf"cannot become one of the sizes allowed \(2\*2\) within {needed - 1} ids"):
            ImageGrammar(self.vocabulary, [(2, 2)], max_length=needed - 1).allowed(start)
        with pytest.raises(TokbenchError, match="without size"):
            ImageGrammar(self.vocabulary, [(2, 2)], max_length=needed - 1).allowed(start[:, :3])

    def test_no_prompt(self) -> None:
        with pytest.raises(ValueError, match="at least one id to go on from"):
            ImageGrammar(self.vocabulary, [(2, 2)]).allowed(torch.zeros(2, 0, dtype=torch.int64))

    def test_grids(self) -> None:
        with pytest.raises(ValueError, match="at least one grid"):
            ImageGrammar(self.vocabulary, [])
        with pytest.raises(ValueError, match=r"grid \(4,\) has not the 2 positive numbers"):
            ImageGrammar(self.vocabulary, [(4,)])
        with pytest.raises(ValueError, match=r"grid \(0, 4\) has not the 2 positive numbers"):
            ImageGrammar(self.vocabulary, [(0, 4)])

    def test_parallel_streams(self) -> None:
        with pytest.raises(
            ValueError, match="constrained decoding is for flat vocabularies; each head of a parallel one can emit other ids"
        ):
            ImageGrammar(replace(self.vocabulary, arrangement="parallel"), [(2, 2)])

    @pytest.mark.usefixtures("unchecked_types")
    def test_other_arguments(self) -> None:
        with pytest.raises(ValueError, match="after_image is eos or continue, max_length positive; got 'stop' and None"):
            ImageGrammar(self.vocabulary, [(2, 2)], after_image="stop")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="got 'eos' and 0"):
            ImageGrammar(self.vocabulary, [(2, 2)], max_length=0)


def language_model(vocabulary: Vocabulary) -> Any:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    special = vocabulary.special
    config = transformers.LlamaConfig(
        vocab_size=vocabulary.size + 5,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=special.bos,
        eos_token_id=special.eos,
        pad_token_id=special.pad,
    )
    return transformers.LlamaForCausalLM(config).eval()


@pytest.mark.parametrize("options", [{"do_sample": True}, {"do_sample": False}])
@pytest.mark.parametrize("forbids", [{"no_repeat_ngram_size": 1}, {"min_new_tokens": 50}])
def test_generate_with_what_forbids_the_only_way_on_is_an_error(options: dict[str, Any], forbids: dict[str, int]) -> None:
    vocabulary = vocabulary_of((30,))
    start = prompt(["a"], vocabulary, grid=(2, 2)).ids[None]
    processor = ConstrainedDecoding(ImageGrammar(vocabulary, [(2, 2)]))
    with pytest.raises(TokbenchError, match=r"row 0 may go on with E.*, but all of that was forbidden before"):
        language_model(vocabulary).generate(
            start, attention_mask=torch.ones_like(start), logits_processor=[processor], max_new_tokens=60, **options, **forbids
        )


@pytest.mark.parametrize("options", [{"do_sample": True}, {"num_beams": 3}, {"do_sample": True, "num_beams": 2, "top_k": 5}])
def test_generate_of_transformers(options: dict[str, Any]) -> None:
    vocabulary = vocabulary_of((6, 9))
    model, special = language_model(vocabulary), vocabulary.special
    starts = [prompt([text], vocabulary).ids for text in ("a", "bcd")]
    rows = torch.stack([torch.cat([torch.full((6 - len(start),), special.pad), start]) for start in starts])
    processor = ConstrainedDecoding(ImageGrammar(vocabulary, [(2, 2), (3, 1), (1, 2)]))
    mask = (rows != special.pad).long()
    out = model.generate(rows, attention_mask=mask, logits_processor=[processor], max_new_tokens=60, **options)
    for row in out:
        _, image = parse(row, vocabulary)
        assert isinstance(image, DiscreteTokens)
        assert image.grid in ((2, 2), (3, 1), (1, 2))


@pytest.mark.parametrize("begun", [0, 1, 3, 4, 5, 7, 9, 12, 14, 15, 16])
@pytest.mark.parametrize(("sizes", "grid"), [((7,), (2, 3)), ((4, 5), (2, 2)), ((9,), (8,))])
def test_the_rest_of_an_image_is_what_is_allowed_step_by_step(sizes: tuple[int, ...], grid: Grid, begun: int) -> None:
    vocabulary = vocabulary_of(sizes, len(grid))
    grammar, special = ImageGrammar(vocabulary, [grid]), vocabulary.special
    row = build(["a", image_of(sizes, grid), "b", image_of(sizes, grid)], vocabulary).ids
    row = row[: int((row == special.boi).nonzero()[-1]) + 1 + begun]
    if row[-1] == special.eoi or special.eos in row:
        with pytest.raises(ValueError, match="the ids must end within an image"):
            grammar.rest(row)
        return
    rest = grammar.rest(row)
    for choices in rest:
        assert choices.tolist() == grammar.allowed(row[None])[0].nonzero()[:, 0].tolist()
        row = torch.cat([row, choices[-1:]])
    assert row[-1] == special.eos
    assert parse(row, vocabulary)[-1].grid == grid  # type: ignore[union-attr]


def test_the_rest_of_an_image_is_known_only_within_one() -> None:
    vocabulary = vocabulary_of()
    text, opened = prompt(["a"], vocabulary).ids[:-1], prompt(["a"], vocabulary).ids
    with pytest.raises(ValueError, match="the ids must end within an image"):
        ImageGrammar(vocabulary, [(2, 2)]).rest(text)
    with pytest.raises(ValueError, match="the ids must end within an image, and the sequence behind that image"):
        ImageGrammar(vocabulary, [(2, 2)], after_image="continue").rest(opened)
    with pytest.raises(ValueError, match="may still become one of 2 sizes"):
        ImageGrammar(vocabulary, [(2, 2), (2, 3)]).rest(opened)
    with pytest.raises(TokbenchError, match="cannot become one of the sizes allowed"):
        ImageGrammar(vocabulary, [(2, 2)]).rest(prompt(["a"], vocabulary, grid=(3, 3)).ids)
    with pytest.raises(TokbenchError, match="within 10 ids"):
        ImageGrammar(vocabulary, [(2, 2)], max_length=10).rest(opened)
