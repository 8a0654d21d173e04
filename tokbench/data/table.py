"""Images in a column of a parquet file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from tokbench.data.archives import PerProcess
from tokbench.data.columns import AnnotatedRows, Classes, caption_column, class_names, label_column
from tokbench.data.folder import no_images, printable
from tokbench.errors import TokbenchError
from tokbench.images import UnreadableImage

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE_COLUMNS = ("image", "img", "jpg", "png", "webp", "jpeg", "picture")
"""Names of an image column, in the order in which they are tried."""

KEY_COLUMN = "__key__"
"""Where tables made from webdataset shards keep the sample's key."""


class TableSource(AnnotatedRows):
    """The images of a parquet file, in the order of its rows.

    The column holds encoded bytes, or a struct of ``bytes`` and ``path`` as Hugging Face data sets have it. Its name is one of
    ``IMAGE_COLUMNS``, or it is the only such column. Ids are the paths or keys stored with the images, see ``row_ids``; labels and
    captions are those of the columns that ``label_column`` and ``caption_column`` find.

    Args:
        path: The parquet file.

    Raises:
        TokbenchError: If it is not a whole parquet file, has no image column or no rows.
    """

    def __init__(self, path: Path) -> None:
        """Read the footer and the columns that name the rows."""
        import pyarrow.parquet as pq

        self.name = path.name
        self._file = PerProcess(partial(pq.ParquetFile, path))
        try:
            with self._file.use() as file:
                schema, metadata = file.schema_arrow, file.metadata
                self._labels, self._captions_in = label_column(schema), caption_column(schema)
                self._class_names = class_names(schema, self._labels) if self._labels else ()
                self._column = image_column(schema, str(path))
                is_struct = is_image_struct(schema.field(self._column).type)
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
        self._images = _Cells(self._file, starts, f"{self._column}.bytes" if is_struct else self._column)
        self._captions = _Cells(self._file, starts, self._captions_in) if self._captions_in else None
        self.ids = row_ids(stored, metadata.num_rows)

    def read_bytes(self, index: int) -> bytes:
        """Take one cell; its row group is kept until a cell of another one is read."""
        try:
            data = self._images[index]
        except Exception as error:  # as above
            raise UnreadableImage.because(error) from error
        if data is None:
            raise UnreadableImage("no bytes are stored in this row")
        return data

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


class _Cells:
    """The cells of a column, read row group by row group; that of the last cell is kept."""

    def __init__(self, file: PerProcess[Any], starts: Sequence[int], leaf: str) -> None:
        self._file, self._starts, self._leaf = file, starts, leaf
        self._cached: tuple[int, Any] | None = None

    def __getitem__(self, index: int) -> Any:
        group = bisect_right(self._starts, index) - 1
        with self._file.use() as file:
            if self._cached is None or self._cached[0] != group:
                self._cached = None
                self._cached = (group, _flat(file.read_row_group(group, columns=[self._leaf], use_threads=False).column(0)))
            return self._cached[1][index - self._starts[group]].as_py()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cached": None}


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
    fitting = [field.name for field in schema if is_image_struct(field.type) or _is_binary(field.type)]
    named = [name for name in IMAGE_COLUMNS if name in fitting]
    if named:
        return named[0]
    if len(fitting) == 1:
        return fitting[0]
    columns = ", ".join(f"{field.name} ({'struct' if str(field.type).startswith('struct') else field.type})" for field in schema)
    raise TokbenchError(
        f"{given} has {'no' if not fitting else 'more than one possible'} image column; its columns are: {columns or 'none'}; "
        f"the image column is binary, or a struct with bytes, and named {', '.join(IMAGE_COLUMNS)}, or is the only such one: rename it"
    )


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
