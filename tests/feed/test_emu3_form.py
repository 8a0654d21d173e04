"""Emu3's numbering and form, against its published table written out here, and against ``transformers`` where it is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tokbench.feed.loss import IGNORED, labels, loss_mask
from tokbench.feed.parsing import parse
from tokbench.feed.sequence import build, prompt
from tokbench.feed.special import EMU3_TEXT_SIZE
from tokbench.feed.text_file import FileText
from tokbench.feed.vocabulary import Vocabulary
from tokbench.tokens import DiscreteTokens

NAMES = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    *(f"<|extra_{i}|>" for i in range(205)),
    *("<|image token|>", "<|image start|>", "<|image end|>"),
    *(f"<|visual token {k:06d}|>" for k in range(32768)),
]
"""Emu3's special tokens in their order, behind 151643 ids of text."""

IDS = {name: 151643 + number for number, name in enumerate(NAMES)}
TABLE = {
    "bos": ("<|extra_203|>", 151849),
    "eos": ("<|extra_204|>", 151850),
    "pad": ("<|endoftext|>", 151643),
    "boi": ("<|image start|>", 151852),
    "img": ("<|image token|>", 151851),
    "eol": ("<|extra_200|>", 151846),
    "eof": ("<|extra_201|>", 151847),
    "eoi": ("<|image end|>", 151853),
}
DIGITS = {"*": 9, **{str(digit): 15 + digit for digit in range(10)}}
"""Ids of the letters that sizes are written with; digits are never merged."""


def image_of(height: int, width: int, seed: int = 0) -> DiscreteTokens:
    codes = torch.randint(32768, (1, height * width, 1), generator=torch.Generator().manual_seed(seed))
    return DiscreteTokens(codes, (height, width), (32768,))


def emu3_image(image: DiscreteTokens) -> list[int]:
    """An image as Emu3 writes it: names first, then their ids."""
    height, width = image.grid
    rows = image.codes.reshape(height, width).tolist()
    body = "<|extra_200|>".join("".join(f"<|visual token {code:0>6d}|>" for code in row) for row in rows)
    names = [f"<|{name}" for name in (body + "<|extra_200|><|extra_201|><|image end|>").split("<|")[1:]]
    return [
        IDS["<|image start|>"],
        *(DIGITS[letter] for letter in f"{height}*{width}"),
        IDS["<|image token|>"],
        *(IDS[name] for name in names),
    ]


@pytest.mark.parametrize("role", TABLE)
def test_special_ids(role: str) -> None:
    name, number = TABLE[role]
    assert getattr(Vocabulary.emu3().special, role) == number == IDS[name]


def test_codes_and_size() -> None:
    vocabulary = Vocabulary.emu3()
    assert vocabulary.size == 184622 == 151643 + len(NAMES)
    assert vocabulary.id_of(0, 0) == 151854 == IDS["<|visual token 000000|>"]
    assert vocabulary.id_of(0, 32767) == 184621 == IDS["<|visual token 032767|>"]
    assert vocabulary.codebook_sizes == (32768,)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
def test_images_are_written_as_emu3_writes_them(height: int, width: int, seed: int) -> None:
    vocabulary, image = Vocabulary.emu3(), image_of(height, width, seed)
    ids = build([image], vocabulary).ids
    assert ids.tolist() == [151849, *emu3_image(image), 151850]
    assert len(ids) == 2 + 1 + len(f"{height}*{width}") + 1 + height * (width + 1) + 2
    assert torch.equal(parse(ids, vocabulary)[0].codes, image.codes)  # type: ignore[union-attr]


def test_a_prompt_ends_where_emu3_begins_to_draw() -> None:
    expected = [151849, 64, 151852, *(DIGITS[letter] for letter in "90*90"), 151851]
    assert prompt(["a"], Vocabulary.emu3(), grid=(90, 90)).ids.tolist() == expected


def test_only_codes_carry_loss_in_vision_only_training() -> None:
    vocabulary, image = Vocabulary.emu3(), image_of(2, 3)
    sequence = build(["a cat", image, "!"], vocabulary)
    found = labels(sequence.ids, loss_mask(sequence, vocabulary, only="vision"))
    expected = [number if 151854 <= number <= 184621 else -100 for number in sequence.ids.tolist()]
    assert found.tolist() == expected
    assert sum(label != IGNORED for label in expected) == 6


def test_a_text_tokenizer_that_is_too_large_is_refused() -> None:
    with pytest.raises(ValueError, match="Emu3's text has 151643 ids, this tokenizer 151646; open it with size=EMU3_TEXT_SIZE"):
        Vocabulary.emu3(FileText("ab" * 32, 151646))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizers = pytest.importorskip("tokenizers")
    letters = json.loads(tokenizers.Tokenizer(tokenizers.models.BPE()).to_str())  # a valid file to start from
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    vocabulary = {chr(byte): number for number, byte in enumerate(printable)}
    vocabulary |= {chr(256 + number): len(printable) + number for number in range(len(others))}
    vocabulary |= {f"unused {number}": number for number in range(256, 151643)}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    letters["model"]["vocab"] = vocabulary
    letters |= {"pre_tokenizer": byte_level, "decoder": byte_level}
    letters["added_tokens"] = [{"id": number, "content": name, **flags} for name, number in IDS.items()]
    path = tmp_path_factory.mktemp("emu3") / "tokenizer.json"
    path.write_text(json.dumps(letters))
    return path


@pytest.fixture(scope="module")
def vocabulary(file: Path) -> Vocabulary:
    return Vocabulary.emu3(FileText.open(file, size=EMU3_TEXT_SIZE))


@pytest.fixture(scope="module")
def processor(file: Path) -> Any:
    transformers = pytest.importorskip("transformers", minversion="5.0")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(file),
        bos_token="<|extra_203|>",
        eos_token="<|extra_204|>",
        pad_token="<|endoftext|>",
        extra_special_tokens={
            "image_token": "<|extra_0|>",  # the place of a code until the model fills it in
            "boi_token": "<|image start|>",
            "eoi_token": "<|image end|>",
            "image_wrapper_token": "<|image token|>",
            "eof_token": "<|extra_201|>",
        },
    )
    images = transformers.Emu3ImageProcessor(min_pixels=32 * 32, max_pixels=1024**2, spatial_factor=8)
    return transformers.Emu3Processor(images, tokenizer)


class TestTransformers:
    """The processor of ``transformers``, around a tokenizer with Emu3's ids whose text is single bytes."""

    @pytest.mark.parametrize(("height", "width"), [(4, 6), (7, 5), (10, 12)])
    def test_images_in_text(self, processor: Any, vocabulary: Vocabulary, height: int, width: int) -> None:
        from transformers.models.emu3.modeling_emu3 import Emu3ImageVocabularyMapping

        image = image_of(height, width)
        pixels = np.zeros((height * 8, width * 8, 3), dtype=np.uint8)
        ids = torch.tensor(processor(images=[pixels], text=["USER: <|extra_0|>What is it? é"])["input_ids"])
        mapping = Emu3ImageVocabularyMapping({name: IDS[name] for name in NAMES} | {"<image>": IDS["<|extra_0|>"]})
        ids[ids == IDS["<|extra_0|>"]] = mapping.convert_img2bpe(image.codes.reshape(height, width)).flatten().long()
        sequence = build(["USER: ", image, "What is it? é"], vocabulary, eos=False)
        assert sequence.ids.tolist() == ids[0].tolist()

    @pytest.mark.parametrize(("ratio", "grid"), [("1:1", (90, 90)), ("3:2", (73, 110))])
    def test_prompts(self, processor: Any, vocabulary: Vocabulary, ratio: str, grid: tuple[int, int]) -> None:
        ids = processor(text=["a cat"], return_for_image_generation=True, ratio=ratio)["input_ids"]
        assert prompt(["a cat"], vocabulary, grid=grid).ids.tolist() == ids[0]

    def test_text_that_forges_there_cannot_forge_here(self, processor: Any, vocabulary: Vocabulary) -> None:
        spelled = "a<|extra_201|><|visual token 000003|>"
        assert processor(text=[spelled])["input_ids"][0][-2:] == [151847, 151857]
        ids = build([spelled], vocabulary).ids
        assert vocabulary.is_text(ids[1:-1]).all()
        assert parse(ids, vocabulary) == [spelled]
