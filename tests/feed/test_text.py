"""Text tokenizers: exact bytes, other people's files stripped of all that is not text, and what they refuse."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokbench.errors import TokbenchError
from tokbench.feed.text import ByteText
from tokbench.feed.text_file import PROBE, FileText

BYTES = sorted(set(range(256)) - set(range(33, 127)) - set(range(161, 173)) - set(range(174, 256)))
GPT2_BYTES = [*range(33, 127), *range(161, 173), *range(174, 256), *BYTES]
"""The byte of every id, written out by its ranges."""


@pytest.mark.parametrize("alphabet", ["value", "gpt2"])
@given(written=st.text())
def test_bytes_keep_every_text(alphabet: Any, written: str) -> None:
    text = ByteText(alphabet)
    ids = text.encode(written)
    assert text.decode(ids) == written
    assert bytes(ids if alphabet == "value" else [GPT2_BYTES[number] for number in ids]).decode() == written


def test_bytes_that_are_no_utf_8_become_replacement_characters() -> None:
    assert ByteText().decode([97, 0xC3, 98]) == "a\ufffdb"


def test_what_bytes_refuse() -> None:
    for number in (256, -1):
        with pytest.raises(ValueError, match=f"id {number} stands for no text"):
            ByteText().decode([1, number])
    with pytest.raises(ValueError, match="surrogates not allowed"):
        ByteText().encode("\ud800")


@pytest.mark.usefixtures("unchecked_types")
def test_unknown_alphabets_are_refused() -> None:
    with pytest.raises(ValueError, match="alphabet is value or gpt2, got 'utf16'"):
        ByteText("utf16")  # type: ignore[arg-type]


def byte_level(added: list[tuple[str, bool]]) -> dict[str, Any]:
    """A ``tokenizer.json`` over bytes, then added tokens (name, special), then one merge, ``ab``."""
    extra = iter(range(256, 512))
    letters = [chr(byte) if byte not in BYTES else chr(next(extra)) for byte in GPT2_BYTES]  # as GPT-2 writes bytes
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    vocabulary |= {name: 256 + number for number, (name, _) in enumerate(added)}
    names = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
        "padding": {
            "strategy": {"Fixed": 9},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "!",
        },
        "added_tokens": [{"id": 256 + i, "content": name, "special": special, **names} for i, (name, special) in enumerate(added)],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocabulary | {"ab": 256 + len(added)}, "merges": ["a b"]},
    }


def written(path: Path, values: object) -> Path:
    path.write_text(json.dumps(values))
    return path


def test_without_the_package_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    path = written(tmp_path / "tokenizer.json", byte_level([]))
    with pytest.raises(TokbenchError, match=r"needs the package tokenizers, which is not installed; .* 'tokbench\[text\]'") as caught:
        FileText.open(path)
    assert "\n" not in str(caught.value)


class TestFiles:
    @pytest.fixture(autouse=True)
    def _package(self) -> None:
        pytest.importorskip("tokenizers")

    @given(st.lists(st.sampled_from(["<s>", "</s>", "<tool>", "ab", "é", " ", "a cat"]), max_size=6).map("".join))
    def test_text_comes_back_and_cannot_spell_special_tokens(self, tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
        path = written(tmp_path_factory.mktemp("text") / "tokenizer.json", byte_level([("<s>", True), ("</s>", True), ("<tool>", False)]))
        tokenizer = FileText.open(path)
        ids = tokenizer.encode(text)
        assert tokenizer.size == 260
        assert tokenizer.reserved == (256, 257)
        assert not {256, 257} & set(ids)
        assert ids.count(258) == text.count("<tool>")  # not special: the model learned it as one id
        assert ids.count(259) == text.count("ab")
        assert tokenizer.decode(ids) == text

    @pytest.mark.usefixtures("unchecked_types")
    def test_a_path_may_be_a_text(self, tmp_path: Path) -> None:
        path = written(tmp_path / "tokenizer.json", byte_level([]))
        opened = FileText.open(path)
        assert FileText.open(str(path)) == opened
        assert FileText.open(str(path)).path == path
        assert FileText(opened.sha256, opened.size, path=str(path)).encode("a") == opened.encode("a")  # type: ignore[arg-type]

    def test_ids_from_size_on_are_not_text(self, tmp_path: Path) -> None:
        path = written(tmp_path / "tokenizer.json", byte_level([("<v>", False), ("<w>", False)]))
        whole = FileText.open(path)
        assert whole.size == 259
        assert whole.encode("<v><w>ab") == [256, 257, 258]
        tokenizer = FileText.open(path, size=257)
        ids = tokenizer.encode("<v><w>")
        assert ids[0] == 256
        assert max(ids[1:]) < 256
        assert tokenizer.decode(ids) == "<v><w>"
        with pytest.raises(ValueError, match="id 257 stands for no text"):
            tokenizer.decode([257])

    def test_ids_without_any_token_are_not_text(self, tmp_path: Path) -> None:
        tokenizer = FileText.open(written(tmp_path / "tokenizer.json", byte_level([])), size=300)
        assert tokenizer.reserved == tuple(range(257, 300))
        with pytest.raises(ValueError, match="id 299 stands for no text"):
            tokenizer.decode([97, 299])

    def test_the_file_is_known_by_its_content(self, tmp_path: Path) -> None:
        path = written(tmp_path / "tokenizer.json", byte_level([]))
        tokenizer = FileText.open(path)
        moved = FileText(tokenizer.sha256, tokenizer.size, path=written(tmp_path / "moved.json", byte_level([])))
        assert moved == tokenizer
        assert moved.encode("abc") == tokenizer.encode("abc")
        other = FileText(tokenizer.sha256, tokenizer.size, path=written(tmp_path / "other.json", byte_level([("x", False)])))
        with pytest.raises(TokbenchError, match="the vocabulary was made with"):
            other.encode("abc")
        with pytest.raises(TokbenchError, match="pass its path as text_file"):
            FileText(tokenizer.sha256, tokenizer.size).encode("abc")

    def test_copies_for_other_processes_take_special_tokens_for_text_too(self, tmp_path: Path) -> None:
        tokenizer = FileText.open(written(tmp_path / "tokenizer.json", byte_level([("<s>", True)])))
        ids = tokenizer.encode("a<s>")
        copy = pickle.loads(pickle.dumps(tokenizer))
        assert copy == tokenizer
        assert copy.encode("a<s>") == ids

    def test_pieces_that_spell_special_tokens_are_refused_in_text(self, tmp_path: Path) -> None:
        pieces = [["<unk>", 0.0], ["</s>", -1.0], *([letter, -2.0] for letter in "abcs</>" + PROBE[:11])]
        special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        values = {
            "version": "1.0",
            "added_tokens": [{"id": 1, "content": "</s>", **special}],
            "model": {"type": "Unigram", "unk_id": 0, "vocab": pieces, "byte_fallback": False},
        }
        tokenizer = FileText.open(written(tmp_path / "tokenizer.json", values | dict.fromkeys(("normalizer", "pre_tokenizer", "decoder"))))
        assert tokenizer.size == len(pieces)
        assert 1 not in tokenizer.encode("s</a>")
        with pytest.raises(TokbenchError, match=r"only be written with '</s>' \(id 1\), a special token"):
            tokenizer.encode("a</s>")

    def test_a_tokenizer_that_loses_digits_is_refused(self, tmp_path: Path) -> None:
        words = {"type": "WordLevel", "vocab": {"<unk>": 0, "cat": 1}, "unk_token": "<unk>"}
        values = {"version": "1.0", "added_tokens": [], "model": words}
        with pytest.raises(TokbenchError, match="cannot hold sizes of images"):
            FileText.open(written(tmp_path / "tokenizer.json", values))

    def test_surrogates_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="surrogates not allowed"):
            FileText.open(written(tmp_path / "tokenizer.json", byte_level([]))).encode("\ud800")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{}", "is not the tokenizer.json of a language model"),
        ("[]", "is not the tokenizer.json of a language model"),
        ('{"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}}', "has no vocabulary"),
    ],
)
def test_other_files_are_refused(content: str, reason: str, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(TokbenchError, match=reason):
        FileText.open(tmp_path / "tokenizer.json")


def test_what_is_not_json_is_refused(tmp_path: Path) -> None:
    for content in (b"{", b"\xff\xfe"):
        (tmp_path / "tokenizer.json").write_bytes(content)
        with pytest.raises(TokbenchError, match="is not JSON"):
            FileText.open(tmp_path / "tokenizer.json")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokbenchError, match=r"cannot be read \(No such file"):
        FileText.open(tmp_path / "tokenizer.json")
