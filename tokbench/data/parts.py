"""Images in several files of one kind, such as the parquet files or zips of one data set, read one after another."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path

from tokbench.data.folder import StoredImages
from tokbench.data.shards import shard_names
from tokbench.errors import TokbenchError
from tokbench.names import Names

KEPT_OPEN = 4
"""Parts at most that keep files and rows open. More than one, as threads that read ahead reach the next part before others leave theirs."""


class PartsSource(StoredImages):
    """The images of several files, by ``part/id``, in the order of the parts' names.

    Args:
        paths: The files, all of one suffix. Their names in the ids are their paths below their common folder, without it.
        name: What to call them together.
        open_part: Opens one of them.

    Raises:
        TokbenchError: If one cannot be opened or is named twice, or two images have one id.
    """

    def __init__(self, paths: Sequence[Path], name: str, open_part: Callable[[Path], StoredImages]) -> None:
        """Open every file once, and let go of it again."""
        self.name = name
        named = sorted(zip(shard_names(paths), paths, strict=True), key=lambda one: one[0])
        twice = next((path for (one, path), (other, _) in pairwise(named) if one == other), None)
        if twice is not None:
            raise TokbenchError(f"{twice} is there twice among the parts of {name}; give each once")
        self._parts: list[StoredImages] = []
        for _, path in named:
            part = open_part(path)
            part.ids = part.ids if isinstance(part.ids, Names) else Names.of(part.ids)
            part.release()
            self._parts.append(part)
        self.own_order = any(part.own_order for part in self._parts)
        names = [part_name for part_name, _ in named]
        self._starts = [0, *accumulate(len(part) for part in self._parts)]
        self.ids = Names.of(f"{own}/{id_}" for own, part in zip(names, self._parts, strict=True) for id_ in part.ids)
        if _nested(names):
            common, count = Counter(self.ids).most_common(1)[0]
            if count > 1:
                raise TokbenchError(f"images of two parts of {name} have one id, {common}; rename one of the parts")
        self.passed_over = tuple(f"{own}/{other}" for own, part in zip(names, self._parts, strict=True) for other in part.passed_over)
        self._open: OrderedDict[int, None] = OrderedDict()
        self._lock = threading.Lock()

    def read_bytes(self, index: int) -> bytes:
        """Read from the part that the image lies in."""
        part, inner = self._place(index)
        return part.read_bytes(inner)

    def changed_since(self, index: int, moment: float) -> bool:
        """Whether the part was touched."""
        number = bisect_right(self._starts, index) - 1
        return self._parts[number].changed_since(index - self._starts[number], moment)

    def release(self) -> None:
        """Let go of all parts."""
        with self._lock:
            while self._open:
                self._parts[self._open.popitem()[0]].release()

    @property
    def unused_columns(self) -> tuple[str, ...]:
        """Columns of tables that could be labels or captions, but are not named like them."""
        return tuple(dict.fromkeys(column for part in self._parts for column in getattr(part, "unused_columns", ())))

    @property
    def has_labels(self) -> bool:
        """Whether images of any part may have a label."""
        return any(part.has_labels for part in self._parts)

    @cached_property
    def label_names(self) -> tuple[str, ...]:
        """Names of the classes of all parts: the same as in each where these agree, else all of them, sorted."""
        found: dict[tuple[str, ...], StoredImages] = {}
        for part in self._parts:
            if part.has_labels:
                found.setdefault(part.label_names, part)
                part.release()
        if () in found and len(found) > 1:
            numbers, names = found.pop(()).name, next(iter(found.values())).name
            raise TokbenchError(
                f"labels of {numbers} are numbers, and those of {names} have names; give parts that agree, or leave labels out with --labels none"
            )
        return next(iter(found), ()) if len(found) < 2 else tuple(sorted({name for names in found for name in names}))

    def label(self, index: int) -> int | None:
        """Read the label in its part, and number it as all parts do."""
        part, inner = self._place(index)
        number = part.label(inner)
        if number is None or not self.label_names or part.label_names == self.label_names:
            return number
        return self._numbers[part.label_names[number]]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.label_names)}

    @property
    def has_captions(self) -> bool:
        """Whether images of any part may have a caption."""
        return any(part.has_captions for part in self._parts)

    def caption(self, index: int) -> str | None:
        """Read the caption in its part."""
        part, inner = self._place(index)
        return part.caption(inner)

    def _place(self, index: int) -> tuple[StoredImages, int]:
        """The part of an image, and its place there; of parts that were read longest ago, what they hold open is let go of."""
        number = bisect_right(self._starts, index) - 1
        with self._lock:
            self._open[number] = None
            self._open.move_to_end(number)
            oldest = self._open.popitem(last=False)[0] if len(self._open) > KEPT_OPEN else None
        if oldest is not None:
            self._parts[oldest].release()
        return self._parts[number], index - self._starts[number]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_lock": None, "_open": OrderedDict()}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


def _nested(names: Sequence[str]) -> bool:
    """Whether the name of a part begins that of another as a folder does, so that ids may be the same."""
    folders = sorted(f"{name}/" for name in names)
    return any(other.startswith(one) for one, other in pairwise(folders))
