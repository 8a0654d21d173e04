"""Images in a column of a parquet file."""

from __future__ import annotations

import logging
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from tokbench.data.archives import PerProcess
from tokbench.data.columns import AnnotatedRows, Classes, caption_column, class_names, label_column, unused_columns
from tokbench.data.folder import no_images, printable, read_file, touched_since
from tokbench.errors import TokbenchError
from tokbench.image_files import too_large
from tokbench.images import MAX_FILE_BYTES, UnreadableImage
from tokbench.names import Names

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE_COLUMNS = ("image", "images", "img", "jpg", "png", "webp", "jpeg", "picture", "image_path", "path", "file_name", "file")
"""Names of an image column, in the order in which they are tried, first as they are, then in any case."""

KEY_COLUMN = "__key__"
"""Where tables made from webdataset shards keep the sample's key."""


class TableSource(AnnotatedRows):
    """The images of a parquet file, in the order of its rows.

    The column holds encoded bytes, or a struct of ``bytes`` and ``path`` as Hugging Face data sets have it. It may hold lists of either,
    of which the first counts, or paths of files below the table's folder. Its name is one of ``IMAGE_COLUMNS``, or it is the only one of
    bytes. Ids are the paths or keys stored with the images, see ``row_ids``; labels and captions are those of the columns that
    ``label_column`` and ``caption_column`` find.

    Args:
        path: The parquet file.

    Raises:
        TokbenchError: If it is not a whole parquet file, has no image column or no rows.
    """

    def __init__(self, path: Path) -> None:
        """Read the footer and the columns that name the rows."""
        import pyarrow.parquet as pq

        self.name = path.name
        self.own_order = True
        self._file = PerProcess(partial(pq.ParquetFile, path, buffer_size=1 << 20))
        try:
            with self._file.use() as file:
                schema, metadata = file.schema_arrow, file.metadata
                self._labels, self._captions_in = label_column(schema), caption_column(schema)
                self._class_names = class_names(schema, self._labels) if self._labels else ()
                self._column = image_column(schema, str(path))
                kind = schema.field(self._column).type
                names = [f"{self._column}.path", KEY_COLUMN]
                leaves = {metadata.schema.column(leaf).path for leaf in range(metadata.num_columns)}
                stored = [_flat(file.read(columns=[name], use_threads=False).column(0)).to_pylist() for name in names if name in leaves]
        except TokbenchError:
            raise
        except Exception as error:  # damaged files raise ArrowInvalid, OSError, ValueError, ...
            raise TokbenchError(f"{path} is not a whole parquet file ({error}); copy or download it again") from error
        if not metadata.num_rows:
            raise no_images(str(path))
        starts = [0, *accumulate(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))]
        self._path, self._folder = path, path.parent
        self.unused_columns = tuple(name for name in unused_columns(schema) if name != self._column)
        if is_list(kind):
            logger.warning("column %s of %s holds lists of images; the first of each is taken", self._column, path.name)
        self._images = _Cells(self._file, starts, self._column)
        self._captions = _Cells(self._file, starts, self._captions_in) if self._captions_in else None
        self._paths = _Paths.of(self._file, starts, self._column, kind)
        self.ids = Names.of(row_ids(stored, metadata.num_rows))

    def release(self) -> None:
        """Close the file, and let go of the row groups that are kept."""

        def forget() -> None:
            for cells in (self._images, self._captions, self._paths):
                if cells is not None:
                    cells.forget()

        self._file.close(forget)

    def changed_since(self, index: int, moment: float) -> bool:
        """Whether the file with all of them was touched, or the one that a row names instead of holding an image."""
        if (touched := touched_since(self._path, moment)) or self._paths is None:
            return touched
        try:
            path = self._paths[index]
            return path is not None and touched_since(_file_at(path, self._folder), moment)
        except Exception:  # as above: its digest tells
            return True

    def read_bytes(self, index: int) -> bytes:
        """Take one cell; its row group is kept until a cell of another one is read."""
        try:
            data = self._images[index]
        except Exception as error:  # as above
            raise UnreadableImage.because(error) from error
        return image_bytes(data, self._folder)

    def _caption(self, index: int) -> object:
        return self._captions[index]

    def _read_classes(self) -> Classes:
        try:
            with self._file.use() as file:
                groups = (file.read_row_group(group, columns=[self._labels], use_threads=False) for group in range(file.num_row_groups))
                return Classes((part for group in groups for part in group.column(0).chunks), self._class_names, self.record)
        except TokbenchError:
            raise
        except Exception as error:  # as above
            raise TokbenchError(f"column {self._labels} of {self.name} cannot be read ({error}); copy or download it again") from error


LARGE_GROUP = 64 << 20
"""Bytes of a column in one row group above which it is read batch by batch."""

BATCH = 16
"""Rows of such a batch at most. A page of the file is read as a whole, however many rows it has."""


BATCHES_KEPT = 4
"""Batches of a large row group that are kept, as are two groups of half its size. Threads that read ahead may reach the next before
others leave theirs, and what is let go of is read again: of a large group all that lies before it, too."""


class _Cells:
    """The cells of a column, read row group by row group, large ones batch by batch; those read last are kept."""

    _kept: list[tuple[int, int, Any]]
    _batches: tuple[int, Iterator[Any]] | None
    _end: int

    def __init__(self, file: PerProcess[Any], starts: Sequence[int], leaf: str) -> None:
        self._file, self._starts, self._leaf = file, starts, leaf
        self.forget()

    def __getitem__(self, index: int) -> Any:
        with self._file.use() as file:
            kept = next((piece for piece in self._kept if piece[0] <= index < piece[1]), None)
            first, _, rows = self._read(file, index) if kept is None else kept
            return rows[index - first].as_py()

    def _read(self, file: Any, index: int) -> tuple[int, int, Any]:
        group = bisect_right(self._starts, index) - 1
        start, end = self._starts[group], self._starts[group + 1]
        size = _column_bytes(file.metadata.row_group(group), self._leaf)
        if size <= LARGE_GROUP:
            self._leave(int(2 * size <= LARGE_GROUP))
            rows = file.read_row_group(group, columns=[self._leaf], use_threads=False).column(0)
            return self._keep(start, end, rows)
        begun = self._batches
        if begun is None or begun[0] != group or index < self._end:
            count = max(1, min(BATCH, LARGE_GROUP * (end - start) // (size * BATCHES_KEPT)))
            batches = file.iter_batches(batch_size=count, row_groups=[group], columns=[self._leaf], use_threads=False)
            begun = self._batches = (group, batches)
            self._end = start
        while True:
            self._leave(BATCHES_KEPT - 1)
            rows = next(begun[1]).column(0)
            first, self._end = self._end, self._end + len(rows)
            piece = self._keep(first, self._end, rows)
            if index < self._end:
                return piece

    def _keep(self, first: int, end: int, rows: Any) -> tuple[int, int, Any]:
        self._kept.append((first, end, rows))
        return self._kept[-1]

    def _leave(self, count: int) -> None:
        """Let go of all but so many of the pieces, before another one takes memory."""
        del self._kept[: max(0, len(self._kept) - count)]

    def forget(self) -> None:
        """Let go of the rows that are kept."""
        self._kept, self._batches, self._end = [], None, 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": [], "_batches": None, "_end": 0}


class _Paths(_Cells):
    """The paths of files in a column; None of rows in a group in which every row holds its image."""

    def __init__(self, file: PerProcess[Any], starts: Sequence[int], column: str, whole: Sequence[bool]) -> None:
        super().__init__(file, starts, column)
        self._whole = whole

    @staticmethod
    def of(file: PerProcess[Any], starts: Sequence[int], column: str, kind: pa.DataType) -> _Paths | None:
        """Those of a column of paths, or of structs that have one; None of others, and of lists."""
        if is_path(kind):
            return _Paths(file, starts, column, [False] * len(starts))
        if is_list(kind) or not is_image_struct(kind) or kind.get_field_index("path") < 0:
            return None
        with file.use() as opened:
            metadata = opened.metadata
            leaf = next(leaf for leaf in range(metadata.num_columns) if metadata.schema.column(leaf).path == f"{column}.bytes")
            groups = (metadata.row_group(group) for group in range(metadata.num_row_groups))
            return _Paths(file, starts, f"{column}.path", [_has_no_null(group.column(leaf)) for group in groups])

    def __getitem__(self, index: int) -> Any:
        if self._whole[bisect_right(self._starts, index) - 1]:
            return None
        cell = super().__getitem__(index)
        return (cell.get("path") if isinstance(cell, Mapping) else cell) or ""


def _has_no_null(column: Any) -> bool:
    """Whether a column of a row group says that all its values are there."""
    statistics = column.statistics
    return statistics is not None and statistics.has_null_count and statistics.null_count == 0


def _column_bytes(group: Any, column: str) -> int:
    parts = (group.column(number) for number in range(group.num_columns))
    return sum(part.total_uncompressed_size for part in parts if part.path_in_schema.partition(".")[0] == column)


def image_bytes(cell: Any, folder: Path | None) -> bytes:
    """The bytes of an image, from what stands in a row.

    Args:
        cell: Bytes, a path, a mapping with either, or a list of these, of which the first counts.
        folder: Below which paths are read; None reads none.

    Raises:
        UnreadableImage: If there is none, it is too large, or its path leaves the folder.
    """
    if isinstance(cell, list):
        cell = cell[0] if cell else None
    path = cell if isinstance(cell, str) else None
    if isinstance(cell, Mapping):
        cell, path = cell.get("bytes"), cell.get("path")
    if isinstance(cell, bytes):
        if len(cell) > MAX_FILE_BYTES:
            raise too_large(len(cell), MAX_FILE_BYTES)
        return cell
    if not isinstance(path, str) or not path or folder is None:
        raise UnreadableImage("no bytes are stored in this row")
    return read_file(_file_at(path, folder))


def _file_at(path: str, folder: Path) -> Path:
    """The file that a row names.

    Raises:
        UnreadableImage: If its path leaves the folder.
    """
    if PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute():
        raise UnreadableImage("no bytes are stored in this row, and its path is one of some machine's")
    try:
        place = Path(os.path.realpath(folder / path))
    except (OSError, ValueError) as error:  # a zero byte, or half a pair of UTF-16
        raise UnreadableImage("its path is none that a file can have") from error
    if not place.is_relative_to(os.path.realpath(folder)):
        raise UnreadableImage("its path leads out of the table's folder")
    return place


def image_column(schema: pa.Schema, given: str) -> str:
    """Choose the column with the images.

    Args:
        schema: Columns of a table.
        given: What the user named, for the error.

    Returns:
        The first of ``IMAGE_COLUMNS`` of a fitting type, else the only column of a fitting type.

    Raises:
        TokbenchError: If there is none, or more than one under other names.
    """
    fitting = [field.name for field in schema if is_image(field.type)]
    paths = [field.name for field in schema if is_path(field.type)]
    for columns_of in (fitting, paths):
        for fold in (str, str.lower):
            named = [own for name in IMAGE_COLUMNS for own in columns_of if fold(own) == name]
            if named:
                return named[0]
    if len(fitting) == 1:
        return fitting[0]
    columns = ", ".join(f"{field.name} ({'struct' if str(field.type).startswith('struct') else field.type})" for field in schema)
    raise TokbenchError(
        f"{given} has {'no' if not fitting else 'more than one possible'} image column; its columns are: {columns or 'none'}; "
        f"the image column holds bytes, structs with bytes, or lists of these, and is the only such one or named "
        f"{', '.join(IMAGE_COLUMNS)}; under such a name it may hold paths too: rename it"
    )


def is_image(kind: pa.DataType) -> bool:
    """Whether a column type is that of images: bytes, a struct with bytes, or a list of either."""
    kind = kind.value_type if is_list(kind) else kind
    return is_image_struct(kind) or _is_binary(kind)


def is_list(kind: pa.DataType) -> bool:
    """Whether a column type is a list."""
    import pyarrow as pa

    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def is_path(kind: pa.DataType) -> bool:
    """Whether a column type may hold paths."""
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()


def is_image_struct(kind: pa.DataType) -> bool:
    """Whether a column type is a struct with a binary field ``bytes``.

    Args:
        kind: The type.

    Returns:
        True for the layout of Hugging Face data sets.
    """
    import pyarrow as pa

    return pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 and _is_binary(kind.field("bytes").type)


def row_ids(stored: Iterable[Sequence[object]], count: int) -> tuple[str, ...]:
    """Name the rows of a table.

    Args:
        stored: Columns that may name them, best first. Where one holds absolute paths, their last parts are taken, as the folders
            are those of some machine.
        count: Number of rows.

    Returns:
        The first column that has a unique text in every row, else row numbers of eight digits.
    """
    for column in stored:
        if all(isinstance(value, str) and value for value in column):
            texts = [printable(str(value)) for value in column]
            if any(PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute() for text in texts):
                texts = [PureWindowsPath(text).name for text in texts]
            if "" not in texts and len(set(texts)) == count:
                return tuple(texts)
    return tuple(f"{row:08d}" for row in range(count))


def _is_binary(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or kind == pa.binary_view()


def _flat(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    return column.flatten()[0] if pa.types.is_struct(column.type) else column  # of a struct only one field was read
