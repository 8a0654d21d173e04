"""Images of a Hugging Face data set, on the hub or in a local folder, through the ``datasets`` library."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokbench.data.columns import AnnotatedRows, Classes, caption_column, class_names, label_column, unused_columns
from tokbench.data.folder import no_images, read_file, touched_since
from tokbench.data.table import KEY_COLUMN, image_bytes, image_column, is_image_struct, is_list, row_ids
from tokbench.errors import TokbenchError, missing_extra
from tokbench.images import UnreadableImage

logger = logging.getLogger(__name__)

DEFAULT_SPLITS = ("test", "validation")
"""Splits taken when none is named, in this order."""

BATCH = 65536
"""Labels read at once."""


class HubSource(AnnotatedRows):
    """The images of one split of a data set, in the order of its rows, undecoded by ``datasets``.

    Columns and ids are chosen as for a parquet file.

    Args:
        spec: ``NAME``, ``NAME:SPLIT``, ``NAME:CONFIG`` or ``NAME:CONFIG:SPLIT``, where NAME is a data set of the hub or a local folder.
            Without CONFIG it is the one named ``default``, else the only one; without SPLIT the first of ``splits`` that exists, else
            the only one.
        splits: Taken when none is named, in this order.

    Raises:
        TokbenchError: If ``datasets`` is not installed, or the data set cannot be loaded. If configuration or split do not exist or must
            be named, or there is no image column or no row.
    """

    def __init__(self, spec: str, *, splits: Sequence[str] = DEFAULT_SPLITS) -> None:
        """Load the split, from the cache if it is there."""
        try:
            import datasets
        except ImportError as error:
            raise missing_extra("datasets", "hf", f"--data hf:{spec}") from error

        place, *parts = _parse(spec)
        config, split, data = _load(place, parts, splits)
        label = os.path.basename(os.path.abspath(place)) if os.path.isdir(place) else place.rpartition("/")[2]
        self.name = ":".join(part for part in (label, config, split) if part)
        column = image_column(data.features.arrow_schema, f"hf:{place}")
        if not len(data):
            raise no_images(f"split {split} of hf:{place}")
        self.ids = row_ids(_stored_names(data, column), len(data))
        schema = data.features.arrow_schema
        labels, captions = label_column(schema), caption_column(schema)
        self._labels = data.select_columns([labels]) if labels else None
        self._captions = data.select_columns([captions]) if captions else None
        self.unused_columns = tuple(name for name in unused_columns(schema) if name != column)
        data = data.select_columns([column])
        self._in_lists = is_list(schema.field(column).type)
        if self._in_lists:
            logger.warning("column %s of hf:%s holds lists of images; the first of each is taken", column, place)
            data = data.with_format("arrow")
        is_image = isinstance(data.features[column], datasets.Image)
        self._rows = data.cast_column(column, datasets.Image(decode=False)) if is_image else data
        self._column = column
        self._files = [Path(file["filename"]) for file in data.cache_files]
        self._stored = self._rows.with_format("arrow") if is_image_struct(self._rows.features.arrow_schema.field(column).type) else None

    def read_bytes(self, index: int) -> bytes:
        """Take one cell, or read the file it points to."""
        try:
            cell = self._rows[index][self._column]
            cell = cell[0].as_py() if self._in_lists else cell
        except Exception as error:  # a damaged cache file raises ArrowInvalid, OSError, ...
            raise UnreadableImage.because(error) from error
        cell = next(iter(cell or []), None) if self._in_lists else cell
        if isinstance(cell, dict) and cell.get("bytes") is None and cell.get("path"):
            return read_file(Path(cell["path"]))  # where the library has put it
        return image_bytes(cell, None)

    def changed_since(self, index: int, moment: float) -> bool:
        """Whether the library has written the data set anew, or the file was touched that a row names instead of holding an image."""
        if self._written > moment or self._stored is None:
            return self._written > moment
        cell = self._stored[index].column(self._column)[0]  # of Arrow, so that no image is copied
        if not cell.is_valid or cell["bytes"].is_valid or "path" not in cell:
            return False
        path = cell["path"].as_py()
        return bool(path) and touched_since(Path(path), moment)

    @cached_property
    def _written(self) -> float:
        """When the library last wrote one of the files that hold the rows, which may be hundreds; they do not change while they are open."""
        try:
            statuses = [file.stat() for file in self._files]
        except OSError:
            return math.inf
        return max((max(status.st_mtime, status.st_ctime) for status in statuses), default=0.0)

    def _caption(self, index: int) -> object:
        (value,) = self._captions[index].values()
        return value

    def _read_classes(self) -> Classes:
        schema = self._labels.features.arrow_schema
        tables = self._labels.with_format("arrow").iter(batch_size=BATCH)
        return Classes((part for table in tables for part in table.column(0).chunks), class_names(schema, schema.names[0]), self.record)


def _parse(spec: str) -> list[str]:
    """Place, then configuration and split as far as they are given, in this order."""
    place, parts = os.path.expanduser(spec), list[str]()
    while ":" in place and not os.path.isdir(place) and len(parts) < 2:
        place, _, part = place.rpartition(":")
        parts.insert(0, part)
    return [place, *filter(None, parts)]


def _load(place: str, parts: Sequence[str], splits: Sequence[str]) -> tuple[str, str, Any]:
    """Configuration, empty where there is but one, split, and the rows."""
    import datasets

    try:
        if _was_saved_to_disk(place):
            split = _only(place, parts)
            saved = datasets.load_from_disk(place)
            if isinstance(saved, datasets.DatasetDict):
                split = _choose_split(place, split, list(saved), splits)
                return "", split, saved[split]
            split = _choose_split(place, split, [str(saved.split or "train")], splits)
            return "", split, saved
        configs = datasets.get_dataset_config_names(place)
        config, rest = _choose_config(place, parts, configs)
        split = _choose_split(place, _only(f"{place}:{config}", rest), datasets.get_dataset_split_names(place, config), splits)
        return config if len(configs) > 1 else "", split, datasets.load_dataset(place, config, split=split)
    except TokbenchError:
        raise
    except Exception as error:  # OSError without network, DatasetNotFoundError, ValueError for a missing configuration, ...
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise TokbenchError(
            f"cannot load the data set hf:{place} ({reason}); give hf:NAME or hf:NAME:SPLIT (hf:NAME:CONFIG:SPLIT where there are several) with one of the hub "
            "or a folder that holds one; check the name and the connection"
        ) from error


def _was_saved_to_disk(place: str) -> bool:
    return any(os.path.isfile(os.path.join(place, marker)) for marker in ("state.json", "dataset_dict.json"))


def _choose_config(place: str, parts: Sequence[str], known: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The configuration, and what is left of the parts behind the name."""
    if parts and parts[0] in known:
        return parts[0], parts[1:]
    advice = f"it has {', '.join(known)}; name one of them, as in hf:{place}:{next(iter(known), 'CONFIG')}"
    if len(parts) > 1:
        raise TokbenchError(f"hf:{place} has no configuration {parts[0]!r}; {advice}")
    if "default" in known or len(known) == 1:
        return "default" if "default" in known else known[0], parts
    raise TokbenchError(f"hf:{place} has several configurations{f' and no {parts[0]!r}' if parts else ''}; {advice}")


def _only(place: str, parts: Sequence[str]) -> str | None:
    if len(parts) > 1:
        raise TokbenchError(f"hf:{place} has no configurations, and {':'.join(parts)} names one; give hf:NAME or hf:NAME:SPLIT")
    return parts[0] if parts else None


def _choose_split(place: str, given: str | None, known: Sequence[str], splits: Sequence[str]) -> str:
    if given in known:
        return str(given)
    advice = f"it has {', '.join(known)}; name one of them, as in hf:{place}:{next(iter(known), 'SPLIT')}"
    if given is not None:
        raise TokbenchError(f"hf:{place} has no split {given!r}; {advice}")
    preferred = [split for split in splits if split in known] or known
    if preferred is known and len(known) != 1:
        raise TokbenchError(f"hf:{place} has none of the splits {' and '.join(splits)}; {advice}")
    return preferred[0]


def _stored_names(data: Any, column: str) -> list[list[object]]:
    """What the rows may be called, without loading the images."""
    names = []
    schema = data.features.arrow_schema
    kind = schema.field(column).type
    if is_image_struct(kind) and kind.get_field_index("path") >= 0:
        cells = data.with_format("arrow")[:].column(column)
        names.append(cells.flatten()[kind.get_field_index("path")].to_pylist())
    if KEY_COLUMN in schema.names:
        names.append(data.with_format("arrow")[:].column(KEY_COLUMN).to_pylist())
    return names
