"""Configurations: changed by dotted name, from values or text; written as plain JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokbench.configs import build, canonical_json, plain, with_overrides
from tokbench.errors import TokbenchError


@dataclass(frozen=True)
class Inner:
    width: int = 32
    factors: tuple[int, ...] = (1, 2)
    span: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.width % 32:
            raise ValueError("width must be a multiple of 32")


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    mode: Literal["mean", "sample"] = "mean"
    rate: float = 0.5
    flag: bool = False
    limit: int | None = None
    label: str = ""


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("mode", "sample", "sample"),
        ("rate", "1e-3", 1e-3),
        ("rate", 2, 2.0),
        ("flag", "yes", True),
        ("flag", "False", False),
        ("flag", True, True),
        ("limit", "7", 7),
        ("limit", "none", None),
        ("limit", None, None),
        ("label", "a,b", "a,b"),
    ],
)
def test_fields_from_text_and_values(key: str, value: object, expected: object) -> None:
    changed = getattr(with_overrides(Outer(), {key: value}), key)
    assert changed == expected
    assert type(changed) is type(expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1,2,4", (1, 2, 4)), ("(1, 2)", (1, 2)), ("[3]", (3,)), ("(3,)", (3,)), ("()", ()), ([4, 5], (4, 5)), ((6,), (6,))],
)
def test_tuples(value: object, expected: tuple[int, ...]) -> None:
    assert with_overrides(Outer(), {"inner.factors": value}).inner.factors == expected


@pytest.mark.parametrize("value", [None, "none"])
def test_an_optional_field_is_taken_back(value: object) -> None:
    assert with_overrides(Outer(limit=3), {"limit": value}).limit is None
    with pytest.raises(TokbenchError, match="rate takes a value of type float, got None"):
        with_overrides(Outer(), {"rate": None})


def test_several_fields_at_several_depths() -> None:
    base = Outer()
    changed = with_overrides(base, {"inner.width": "64", "inner.span": "0.1,0.9", "rate": 0.1})
    assert changed == Outer(Inner(64, span=(0.1, 0.9)), rate=0.1)
    assert base == Outer()


def test_fields_that_only_fit_together_are_changed_at_once() -> None:
    """A width of 48 does not go with groups of 32, nor groups of 24 with a width of 32."""

    @dataclass(frozen=True)
    class Pair:
        width: int = 32
        group: int = 32

        def __post_init__(self) -> None:
            if self.width % self.group:
                raise ValueError("groups must divide the width")

    @dataclass(frozen=True)
    class Around:
        pair: Pair = Pair()

    assert with_overrides(Around(), {"pair.width": 48, "pair.group": "24"}) == Around(Pair(48, 24))
    with pytest.raises(TokbenchError, match=r"pair.width=48, pair.group=9 is refused: groups must divide the width"):
        with_overrides(Around(), {"pair.width": 48, "pair.group": 9})


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("inner.widht", 64, "unknown setting 'inner.widht'; did you mean inner.width"),
        ("rat", 1, "unknown setting 'rat'; did you mean rate"),
        ("rate.x", 1, "'rate.x' cannot be set: 'x' is not part of a configuration"),
        ("inner", "x", "inner cannot be set as a whole; set its fields, e.g. inner.field=value"),
        ("inner.width", 33, "inner.width=33 is refused: width must be a multiple of 32"),
        ("inner.width", "wide", "inner.width takes a value of type int, got 'wide'"),
        ("inner.width", 64.5, "inner.width takes a value of type int, got 64.5"),
        ("inner.width", float("inf"), "inner.width takes a value of type int, got inf"),
        ("inner.width", True, "inner.width takes a value of type int, got True"),
        ("inner.span", "1", "inner.span takes 2 values, got 1"),
        ("inner.factors", "1,x", "inner.factors takes a value of type int, got 'x'"),
        ("inner.factors", 3, "inner.factors takes values separated by commas, got 3"),
        ("mode", "mode", "mode is one of mean, sample; got 'mode'"),
        ("flag", "maybe", "flag takes true or false, got 'maybe'"),
    ],
)
def test_refusals(key: str, value: object, reason: str) -> None:
    with pytest.raises(TokbenchError) as error:
        with_overrides(Outer(), {key: value})
    assert reason in str(error.value)


@given(
    st.integers(1, 9).map(lambda n: 32 * n),
    st.lists(st.integers(1, 9)).map(tuple),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none() | st.integers(),
)
def test_what_is_written_can_be_read_back(width: int, factors: tuple[int, ...], rate: float, flag: bool, limit: int | None) -> None:
    config = Outer(Inner(width, factors), rate=rate, flag=flag, limit=limit)
    written = {"inner.width": width, "inner.factors": factors, "rate": rate, "flag": flag, "limit": limit}
    assert with_overrides(Outer(), {key: str(value) for key, value in written.items()}) == config
    assert json.loads(canonical_json(config)) == plain(config)


def test_plain_holds_what_json_cannot() -> None:
    assert plain({"a": (1, float("inf"), [Inner()]), 2: float("-inf"), "n": float("nan")}) == {
        "a": [1, "inf", [{"width": 32, "factors": [1, 2], "span": [0.0, 1.0]}]],
        "2": "-inf",
        "n": "nan",
    }
    with pytest.raises(TypeError):
        canonical_json({"path": Path("x")})


def test_equal_values_have_equal_json() -> None:
    assert canonical_json({"b": 1, "a": (2, 3)}) == canonical_json({"a": [2, 3], "b": 1}) == '{"a":[2,3],"b":1}'


@pytest.mark.parametrize("kind", [int | tuple[int, int], tuple[int, ...] | int])
def test_null_is_refused_where_a_union_does_not_hold_it(kind: object) -> None:
    with pytest.raises(ValueError, match=r"^size is null, not "):
        build(kind, None, "size")
    assert build(kind | None, None, "size") is None
