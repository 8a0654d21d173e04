"""Sequences of mixed tasks: any of them at any time, shares kept, words changed as asked, and what does not fit named."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tokbench.errors import TokbenchError
from tokbench.feed import ByteText, TokenDataset, Vocabulary, parse, write_memmap
from tokbench.feed.export import export
from tokbench.lm.edits import Edits
from tokbench.lm.halves import hide_lower
from tokbench.lm.mixture import Mixture, words_of
from tokbench.lm.model import LanguageModel
from tokbench.lm.order import Order
from tokbench.lm.recipes import Shares, Words
from tokbench.lm.tasks import Task, example_of
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import DiscreteTokens

MIXED = Shares(generate=4, edit=2, describe=2, complete=1, text=1)


def mixture(folder: Path, model: LanguageModel, **changes: Any) -> Mixture:
    data = TokenDataset(folder)
    edits = Edits(folder / "edits.jsonl", data) if (folder / "edits.jsonl").is_file() else None
    settings: dict[str, Any] = {"tasks": MIXED, "words": Words(drop=0), "edits": edits, "seed": 0}
    return Mixture(data, model.vocabulary, **(settings | changes))


def parts(one: Mixture, number: int) -> list[Any]:
    """Texts as they are, images as their codes."""
    found = parse(torch.tensor(one.example(number).input_ids), one.vocabulary)
    return [tuple(part.codes.flatten().tolist()) if isinstance(part, DiscreteTokens) else part for part in found]


def kind(one: Mixture, number: int) -> str:
    found = parts(one, number)
    texts, images = [part for part in found if isinstance(part, str)], sum(not isinstance(part, str) for part in found)
    if images > 1:
        return "edit"
    if texts[:1] == ["describe"]:
        return "describe"
    return "drawn" if images else "text"


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(any),
    st.integers(1, 4),
    st.integers(0, 3),
    st.booleans(),
)
def test_every_row_comes_once_an_epoch(sizes: list[int], at_once: int, seed: int, halved: bool) -> None:
    starts = np.cumsum([0, *sizes])
    blocks = [range(int(start), int(start) + size) for start, size in zip(starts, sizes, strict=False)]
    kept = np.arange(0, sum(sizes), 2) if halved else None
    order = Order(blocks, kept=kept, seed=seed, at_once=at_once)
    rows = list(range(0, sum(sizes), 2 if halved else 1))
    for epoch in range(2):
        assert sorted(order.row(epoch * len(order) + place) for place in range(len(order))) == rows


def test_the_order_follows_from_seed_and_place() -> None:
    orders = [Order([range(3000)], seed=seed, at_once=2) for seed in (0, 0, 1)]
    places = [0, 2999, 3000, 12345, 5]
    first, again, other = ([order.row(place) for place in places] for order in orders)
    assert first == again != other
    assert [orders[0].row(place) for place in reversed(places)] == first[::-1]
    assert all(orders[0].another(place, choice) != orders[0].row(place) for place in places for choice in range(50))
    assert Order([range(1)], seed=0).another(0, 5) == 0


@pytest.mark.parametrize("mapped", [False, True])
def test_a_sequence_is_the_same_at_any_time(painted: Path, tiny: LanguageModel, tmp_path: Path, mapped: bool) -> None:
    folder = painted
    if mapped:
        write_memmap(painted, tmp_path / "array")
        (tmp_path / "array" / "edits.jsonl").write_bytes((painted / "edits.jsonl").read_bytes())
        folder = tmp_path / "array"
    one, two = mixture(folder, tiny), mixture(folder, tiny)
    forwards = [one.example(number) for number in range(150)]
    assert [two.example(number) for number in reversed(range(150))] == forwards[::-1]
    assert mixture(folder, tiny, seed=1).example(0) != forwards[0]


def test_tasks_come_in_their_shares(painted: Path, tiny: LanguageModel) -> None:
    one = mixture(painted, tiny)
    counts = Counter(kind(one, number) for number in range(300))
    assert counts["edit"] == pytest.approx(60, abs=22)
    # A third of the images has no caption and is drawn in place of described.
    assert counts["describe"] == pytest.approx(60 * 2 / 3, abs=20)
    assert counts["text"] == pytest.approx(30 * 2 / 3, abs=14)
    assert counts["drawn"] == pytest.approx(180, abs=30)


def test_words_stand_before_their_image(painted: Path, tiny: LanguageModel) -> None:
    one = mixture(painted, tiny, tasks=Shares(generate=1))
    rows = {tuple(item["codes"].flatten().tolist()): item["caption"] for item in (one.data[row] for row in range(len(one.data)))}
    for number in range(60):
        *words, image = parts(one, number)
        assert "".join(words) == rows[image]


def test_edits_show_their_images_in_order(painted: Path, tiny: LanguageModel) -> None:
    one = mixture(painted, tiny, tasks=Shares(generate=0, edit=1))
    codes = {one.data[row]["id"]: tuple(one.data[row]["codes"].flatten().tolist()) for row in range(len(one.data))}
    lines = [json.loads(line) for line in (painted / "edits.jsonl").read_text().splitlines()]
    expected = {line["instruction"]: [codes[name] for name in line["images"]] for line in lines}
    seen = {}
    for number in range(len(lines)):
        instruction, *images = parts(one, number)
        seen[instruction] = images
        example = one.example(number)
        assert example.labels[: example.prompt_length] == [-100] * example.prompt_length
    assert seen == expected


def test_words_are_dropped_mixed_up_and_shortened_in_their_shares(painted: Path, tiny: LanguageModel) -> None:
    drawn, count = Shares(generate=1), 120
    plain, wrong, vague, dropped = (
        mixture(painted, tiny, tasks=drawn, words=words)
        for words in (Words(drop=0), Words(drop=0, wrong=0.3), Words(drop=0, vague=0.3), Words(drop=0.3))
    )
    found = [[parts(one, number) for number in range(count)] for one in (plain, wrong, vague, dropped)]
    texts, images = ([[part[:-1] for part in one] for one in found], [[part[-1] for part in one] for one in found])
    assert images.count(images[0]) == 4
    worded = [number for number in range(count) if texts[0][number]]
    assert sum(texts[1][number] != texts[0][number] for number in worded) / len(worded) == pytest.approx(0.3, abs=0.14)
    shortened = [number for number in worded if texts[2][number] != texts[0][number]]
    assert len(shortened) / len(worded) == pytest.approx(0.3, abs=0.14)
    for number in shortened:
        (before,), (after,) = texts[0][number], texts[2][number]
        assert after in before
        assert len(after.split()) <= len(before.split()) // 2
    assert sum(not texts[3][number] for number in worded) / len(worded) == pytest.approx(0.3, abs=0.14)


def test_steps_are_arranged_by_images_and_keep_their_sequences(painted: Path, tiny: LanguageModel) -> None:
    one = mixture(painted, tiny)
    for step in (0, 3):
        numbers = [one.arranged(place, 16) for place in range(step * 16, step * 16 + 16)]
        assert sorted(numbers) == list(range(step * 16, step * 16 + 16))
        images = [sum(not isinstance(part, str) for part in parts(one, number)) for number in numbers]
        assert images[-1] > 1
        # An image without a caption is drawn in place of the text that it does not have.
        assert [count for count in images if count] == sorted(count for count in images if count)


def test_only_what_is_kept_is_learned_from(painted: Path, tiny: LanguageModel) -> None:
    kept = np.array([1, 2, 3, 33])  # of the edits, 2 to 3 is left
    one = mixture(painted, tiny, kept=kept)
    codes = {tuple(one.data[int(row)]["codes"].flatten().tolist()) for row in kept}
    found = [[part for part in parts(one, number) if not isinstance(part, str)] for number in range(60)]
    assert {images[-1] for images in found if images} == codes


def test_memory_does_not_grow_with_the_number_of_sequences(painted: Path, tiny: LanguageModel) -> None:
    one = mixture(painted, tiny)
    peaks = []
    for count in (40, 160):
        tracemalloc.start()
        for number in range(count):
            one.example(number)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2 + 100_000
    million = Order([range(10_000_000)], seed=0)
    tracemalloc.start()
    for place in range(0, 10_000_000, 500_000):
        million.row(place)
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"caption": "a cat", "label": 1}, "a cat"),
        ({"caption": "", "label": 1}, "dog"),
        ({"label": 0}, "cat"),
        ({"label": 7}, "class 7"),
        ({"label": -1}, ""),
        ({}, ""),
    ],
)
def test_words_of_a_row(item: dict[str, Any], words: str) -> None:
    assert words_of(item, ("cat", "dog")) == words


def test_what_does_not_fit_is_named(painted: Path, tiny: LanguageModel, tmp_path: Path) -> None:
    other = replace(tiny.vocabulary, image_tokenizer=replace(tiny.identity, name="vqgan/tiny"))
    with pytest.raises(
        TokbenchError, match=r"holds codes of patch/kmeans-1024, the model reads those of vqgan/tiny; export with the model's"
    ):
        Mixture(TokenDataset(painted), other, tasks=Shares(), words=Words(), seed=0)
    same = replace(tiny.vocabulary, image_tokenizer=replace(tiny.identity, state_sha256="0" * 64))
    with pytest.raises(TokbenchError, match=r"both called patch/kmeans-1024 with other weights or settings"):
        Mixture(TokenDataset(painted), same, tasks=Shares(), words=Words(), seed=0)
    with pytest.raises(TokbenchError, match=re.escape("give --edits FILE, or leave them out: --set tasks.edit=0")):
        mixture(painted, tiny, edits=None)
    with pytest.raises(TokbenchError, match=r"no images or edits of .* are left to learn from; lower keep.score and keep.psnr"):
        mixture(painted, tiny, kept=np.array([], dtype=np.int64))
    with pytest.raises(
        TokbenchError, match=r"makes a sequence of \d+ ids for generate, the network takes 20; start from a network with more"
    ):
        mixture(painted, tiny, tasks=Shares(generate=1), longest=20)


@pytest.mark.parametrize(
    ("tasks", "asked"),
    [(Shares(generate=1), "generate"), (Shares(generate=1, describe=1), "describe"), (Shares(generate=0, text=1), "text")],
    ids=["generate", "describe", "text"],
)
@pytest.mark.parametrize("mapped", [False, True])
def test_words_that_are_too_long_are_named_before_anything_is_learned(
    painted: Path, tiny: LanguageModel, tmp_path: Path, tasks: Shares, asked: Task, mapped: bool
) -> None:
    folder = painted
    if mapped:
        folder = write_memmap(painted, tmp_path / "array").parent
    data = TokenDataset(folder)
    blank = [DiscreteTokens(torch.zeros(1, 16, 1, dtype=torch.int64), data.grid, data.codebook_sizes)]
    texts = {row: data[row]["caption"] for row in range(len(data)) if data[row]["caption"]}
    needed = {row: len(example_of(asked, tiny.vocabulary, text=text, images=blank[: asked != "text"])) for row, text in texts.items()}
    longest = max(needed.values())
    mixture(folder, tiny, tasks=tasks, longest=longest)
    first = next(row for row, length in needed.items() if length == longest)
    message = f"'p{first:03d}' makes a sequence of {longest} ids for {asked}, the network takes {longest - 1}; start from a network"
    with pytest.raises(TokbenchError, match=re.escape(message)):
        mixture(folder, tiny, tasks=tasks, longest=longest - 1)
    shorter = np.array([row for row, length in needed.items() if length < longest])
    mixture(folder, tiny, tasks=tasks, longest=longest - 1, kept=shorter)


def test_instructions_that_are_too_long_are_named_before_anything_is_learned(painted: Path, tiny: LanguageModel) -> None:
    data = TokenDataset(painted)
    blank = [DiscreteTokens(torch.zeros(1, 16, 1, dtype=torch.int64), data.grid, data.codebook_sizes)]
    longest = len(example_of("edit", tiny.vocabulary, text="like 30", images=blank * 3))
    edited = Shares(generate=0, edit=1)
    mixture(painted, tiny, tasks=edited, longest=longest)
    with pytest.raises(TokbenchError, match=rf"the edit 'like 30' makes a sequence of {longest} ids for edit"):
        mixture(painted, tiny, tasks=edited, longest=longest - 1)


def test_images_of_one_row_of_codes_are_not_completed(patch_tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "black.png")
    export(patch_tokenizer, tmp_path / "images", tmp_path / "tokens", protocol=get_protocol(changes={"size": 4}))
    data = TokenDataset(tmp_path / "tokens")
    vocabulary = Vocabulary.over(ByteText(), data.job.layout, data.job.tokenizer)
    with pytest.raises(TokbenchError, match=r"images of 1\*1 codes have no upper half .* leave completions out: --set tasks.complete=0"):
        Mixture(data, vocabulary, tasks=Shares(complete=1), words=Words(), seed=0)
    with pytest.raises(TokbenchError, match=r"images of 1\*1 codes have no upper half"):
        hide_lower(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), data.grid)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no edits; write a line of instruction and images for each"),
        ("nonsense\n", "line 1: Expecting value"),
        ('\n{"instruction": "x", "images": ["p000"]}\n', "line 2: it has 1 image, an edit has 2 or 3"),
        ('{"instruction": " ", "images": ["p000", "p001"]}\n', "line 1: its instruction is empty"),
        ('{"instruction": "x", "images": ["p000", "missing"]}\n', "has no image 'missing'; export the images of all edits"),
        ('{"images": ["p000", "p001"]}\n', "line 1: it has no instruction"),
        ('{"instruction": "\\ud800", "images": ["p000", "p001"]}\n', "line 1: 'utf-8' codec can't encode"),
        ("[" * 5000 + "\n", "line 1: it has more than 64 lists and objects"),
        ('"' + "x" * 2**20 + '"\n', "line 1: it has more than 1,048,576 bytes"),
    ],
)
def test_files_that_are_no_edits(painted: Path, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "edits.jsonl").write_text(text)
    with pytest.raises(TokbenchError, match=re.escape(message)):
        Edits(tmp_path / "edits.jsonl", TokenDataset(painted))


def test_edits_that_are_not_there(painted: Path, tmp_path: Path) -> None:
    with pytest.raises(TokbenchError, match=r"cannot be read \(No such file or directory\); give a file of JSON lines with edits"):
        Edits(tmp_path / "none.jsonl", TokenDataset(painted))
    with pytest.raises(TokbenchError, match=r"cannot be read \(it is a folder, not a file\)"):
        Edits(tmp_path, TokenDataset(painted))
