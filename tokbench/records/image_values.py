"""Values of very many images under their ids: a mapping that holds numbers, not an object for each."""

from __future__ import annotations

from collections.abc import Collection, ItemsView, Iterator, Mapping, ValuesView
from typing import Any

import numpy as np

from tokbench.names import Names


class ImageValues(Mapping[str, float]):
    """A column of rows: image id to value, in the order of the ids. It equals any mapping of the same.

    Columns of one run share the names, and images that have a value in common share that. ``dict(values)`` makes a dict of it.

    Args:
        ids: Names of images, all different.
        numbers: Values, float64 ``[m]``.
        which: Which of them each image has, integers ``[n]``, -1 where it has none; None where each has its own.
    """

    def __init__(self, ids: Names, numbers: np.ndarray, which: np.ndarray | None = None) -> None:
        """Take names and arrays as they are."""
        self.ids, self.numbers, self.which = ids, numbers, which

    @classmethod
    def of(cls, values: Mapping[str, float], ids: Names | None = None) -> ImageValues:
        """Gather the values of a mapping.

        Args:
            values: Image id to value.
            ids: Names that are shared if all of the mapping are among them, in its order.
        """
        numbers = np.fromiter(values.values(), np.float64, len(values))
        if ids is not None:
            waiting, which = enumerate(values), np.full(len(ids), -1, np.int32)
            number, wanted = next(waiting, (0, None))
            for place, name in enumerate(ids):
                if name == wanted:
                    which[place] = number
                    number, wanted = next(waiting, (0, None))
            if wanted is None:
                return cls(ids, numbers, which)
        return cls(Names.of(values), numbers)

    @classmethod
    def at(cls, ids: Names, places: np.ndarray, numbers: np.ndarray) -> ImageValues:
        """Give values to the images at some places.

        Args:
            ids: Names of images, all different.
            places: Places among them, each once, ``[m]``.
            numbers: Their values, float64 ``[m]``.
        """
        if len(places) == len(ids) and (places == np.arange(len(ids))).all():
            return cls(ids, numbers)
        which = np.full(len(ids), -1, np.int32)
        which[places] = np.arange(len(places))
        return cls(ids, numbers, which)

    @property
    def there(self) -> np.ndarray:
        """Whether each image has a value, bool ``[n]``."""
        return np.ones(len(self.ids), bool) if self.which is None else self.which >= 0

    def taken(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values of the images at some places, and whether each has one; the number of one that has none means nothing."""
        if self.which is None:
            return self.numbers[places], np.ones(len(places), bool)
        which = self.which[places]
        there = which >= 0
        numbers = np.zeros(len(places))
        numbers[there] = self.numbers[which[there]]
        return numbers, there

    def leaving_out(self, images: Collection[str]) -> ImageValues:
        """The values of all other images."""
        gone = np.array([place for place, name in enumerate(self.ids) if name in images] if images else [], np.int64)
        if not self.there[gone].any():
            return self
        which = np.arange(len(self.ids), dtype=np.int32) if self.which is None else self.which.copy()
        which[gone] = -1
        return ImageValues(self.ids, self.numbers, which)

    def __getitem__(self, image: str) -> float:
        place = self.ids.places[image]
        place = place if self.which is None else int(self.which[place])
        if place < 0:
            raise KeyError(image)
        return float(self.numbers[place])

    def __iter__(self) -> Iterator[str]:
        if self.which is None:
            return iter(self.ids)
        return (name for name, place in zip(self.ids, self.which.data, strict=True) if place >= 0)

    def __len__(self) -> int:
        return len(self.ids) if self.which is None else int(np.count_nonzero(self.which >= 0))

    def values(self) -> ValuesView[float]:
        """The values, without looking one up."""
        return _Values(self)

    def items(self) -> ItemsView[str, float]:
        """Ids and values, without looking one up."""
        return _Items(self)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The values, as numpy and frames of pandas ask for them."""
        return np.fromiter(self.values(), np.float64 if dtype is None else dtype, len(self))

    def __repr__(self) -> str:
        return f"ImageValues({len(self)} images)"


def on_common_ids(rows: Mapping[str, Mapping[str, float]]) -> tuple[Names, dict[str, ImageValues]]:
    """Put columns over the same names: those they share, or else those of all, sorted."""
    found = {name: column for name, column in rows.items() if isinstance(column, ImageValues)}
    first = next(iter(found.values()), None)
    if first is not None and len(found) == len(rows) and all(column.ids is first.ids for column in found.values()):
        return first.ids, found
    ids = Names.of(sorted({image for column in rows.values() for image in column}))
    return ids, {name: _on(ids, column) for name, column in rows.items()}


def _on(ids: Names, column: Mapping[str, float]) -> ImageValues:
    """A column over other names; one of None has no value there."""
    places, values = [], []
    for image, value in column.items():
        if value is not None:
            places.append(ids.places[image])
            values.append(value)
    return ImageValues.at(ids, np.array(places, np.int64), np.array(values, np.float64))


class _Values(ValuesView[float]):
    _mapping: ImageValues

    def __iter__(self) -> Iterator[float]:
        numbers = self._mapping.numbers.data
        if self._mapping.which is None:
            return iter(numbers)
        return (numbers[place] for place in self._mapping.which.data if place >= 0)


class _Items(ItemsView[str, float]):
    _mapping: ImageValues

    def __iter__(self) -> Iterator[tuple[str, float]]:
        return zip(self._mapping, self._mapping.values(), strict=True)
