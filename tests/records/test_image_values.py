"""Columns of rows that hold numbers, and no object an image: mappings like any other, and files that are the same."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tokbench.names import Names
from tokbench.records import store
from tokbench.records.image_values import ImageValues, on_common_ids
from tokbench.records.store import read_rows, write_named

IDS = Names.of(["c", "a", "d", "b"])
VALUES = np.array([1.0, 2.0, math.inf])


@pytest.fixture
def some() -> ImageValues:
    """Values of three of four images, two of which have one in common."""
    return ImageValues(IDS, VALUES, np.array([2, 0, -1, 0], np.int8))


def test_values_are_a_mapping(some: ImageValues) -> None:
    expected = {"c": math.inf, "a": 1.0, "b": 1.0}
    assert some == expected == dict(some)
    assert (list(some), list(some.values()), list(some.items())) == (list(expected), list(expected.values()), list(expected.items()))
    assert (len(some), some["b"], some.get("d"), "d" in some, "c" in some) == (3, 1.0, None, False, True)
    assert type(some["b"]) is type(next(iter(some.values()))) is float
    assert np.asarray(some).tolist() == list(expected.values())
    for gone in ("d", "e"):
        with pytest.raises(KeyError):
            print(some[gone])


def test_values_of_all_images_are_held_as_they_are() -> None:
    found = ImageValues.at(IDS, np.arange(4), np.arange(4.0))
    assert found.which is None
    assert found == {"c": 0.0, "a": 1.0, "d": 2.0, "b": 3.0}
    assert list(found) == list(IDS)
    assert ImageValues.at(IDS, np.array([3, 0]), np.array([5.0, 6.0])) == {"b": 5.0, "c": 6.0}


def test_images_that_are_left_out_have_no_value(some: ImageValues) -> None:
    assert some.leaving_out({"c", "nobody"}) == {"a": 1.0, "b": 1.0}
    assert some.leaving_out({"d"}) is some.leaving_out(set()) is some
    assert ImageValues(IDS, np.arange(4.0)).leaving_out({"a"}) == {"c": 0.0, "d": 2.0, "b": 3.0}


def test_a_mapping_shares_the_names_it_has_in_order() -> None:
    assert ImageValues.of({"c": 1, "b": 2}, IDS).ids is IDS
    assert ImageValues.of({"c": 1, "b": 2}, IDS) == {"c": 1.0, "b": 2.0}
    assert ImageValues.of({"b": 1, "c": 2}, IDS).ids is not IDS
    assert ImageValues.of({"b": 1, "c": 2}, IDS) == ImageValues.of({"b": 1, "c": 2}) == {"b": 1.0, "c": 2.0}
    assert ImageValues.of({}, IDS) == {}


def test_columns_of_other_images_are_put_over_the_names_of_all(some: ImageValues) -> None:
    assert on_common_ids({"x": some, "y": ImageValues(IDS, np.zeros(4))})[0] is IDS
    ids, columns = on_common_ids({"x": some, "y": {"z": 1.0, "a": 2.0}})
    assert ids == ["a", "b", "c", "z"]
    assert columns == {"x": dict(some), "y": {"z": 1.0, "a": 2.0}}


@pytest.mark.parametrize("group", [1, 2, 100])
def test_rows_are_written_group_by_group_in_the_order_of_their_ids(
    some: ImageValues, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int
) -> None:
    monkeypatch.setattr(store, "ROW_GROUP", group)
    rows = {"x": some, "a": ImageValues(IDS, np.array([math.nan, 1.0]), np.array([0, -1, -1, 1]))}
    paths = [write_named("{}", given, tmp_path, name) for name, given in (("own", rows), ("dicts", {key: dict(rows[key]) for key in rows}))]
    files = [path.with_suffix(".parquet") for path in paths]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert pq.read_metadata(files[0]).num_row_groups == -(-3 // group)
    table = pq.read_table(files[0])
    assert table.column_names == ["id", "a", "x"]
    assert table.column("id").to_pylist() == ["a", "b", "c"]
    assert table.column("x").to_pylist() == [1.0, 1.0, math.inf]
    found = read_rows(paths[0])
    assert found["x"] == some
    assert (found["a"]["b"], math.isnan(found["a"]["c"]), "a" in found["a"]) == (1.0, True, False)
