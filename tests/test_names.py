"""Names in one piece of memory: a sequence of texts, their order and which are equal."""

from __future__ import annotations

import random

import pytest

from tokbench.names import Gathered, Names, first_repeated


def test_names_are_a_sequence_that_equals_lists_and_tuples() -> None:
    texts = ["a", "", "Grüße", "日本/語", "a"]
    names = Names.of(iter(texts))
    assert names == texts == list(names)
    assert names == tuple(texts)
    assert names != texts[:-1]
    assert names != "a"
    assert (len(names), names[-1], names[1:3], names.index("日本/語")) == (5, "a", ("", "Grüße"), 3)
    assert "Grüße" in names
    assert list(Names.of([])) == []
    assert repr(names) == "Names('a', '', 'Grüße', ...; 5)"
    for index in (5, -6):
        with pytest.raises(IndexError):
            print(names[index])


def test_names_that_go_on_differently_begin_alike() -> None:
    ids = Gathered()
    ids.add("a")
    groups = ids.copy()
    ids.add("b")
    groups.add("a")
    assert (list(ids.names()), list(groups.names())) == (["a", "b"], ["a", "a"])


@pytest.mark.parametrize(
    "texts",
    [
        ["b", "a", "ab", "a", "", "a\0", "a\0\0", "12345678", "123456789", "12345678", "1234567"],
        ["folder/ü1", "folder/u1", "folder/日", "folder/😀", "folder/\ue000", "folder/"],
        ["\udcff", "\ue000", "\udc80a", "é"],
        [f"{number % 7}/long/common/folder/{number % 11}/{number * 7919 % 1000}" for number in range(500)],
        ["", "", ""],
        [],
    ],
    ids=["prefixes", "letters", "no text", "folders", "empty", "none"],
)
def test_texts_are_ordered_and_ranked_as_python_sorts_them(texts: list[str]) -> None:
    shuffled = random.Random(0).sample(texts, len(texts))
    for given in (sorted(texts), shuffled):
        names = Names.of(given)
        expected = sorted(range(len(given)), key=given.__getitem__)
        assert (list(range(len(given))) if names.order is None else names.order.tolist()) == expected
        ranks = {text: rank for rank, text in enumerate(sorted(set(given)))}
        assert names.ranks.tolist() == [ranks[text] for text in given]
    assert Names.of(sorted(texts)).order is None


def test_the_first_text_that_was_there_before_is_found() -> None:
    assert [first_repeated(texts) for texts in ([], ["a"], ["b", "a"], ["c", "a", "b", "a", "c"], ["a", "a"])] == [
        None,
        None,
        None,
        "a",
        "a",
    ]
    assert first_repeated(Names.of(["b", "a", "b"])) == "b"


def test_a_text_is_found_at_its_place() -> None:
    assert Names.of(["b", "a"]).places == {"b": 0, "a": 1}
