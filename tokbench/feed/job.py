"""What an export is of: everything its rows depend on, written into every shard, so that two exports never mix; no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tokbench.configs import UNLESS_DEFAULT, build
from tokbench.errors import TokbenchError
from tokbench.image_size import Size, check_size
from tokbench.layout import TokenLayout
from tokbench.records.earlier import upgraded
from tokbench.records.protocol import scales_all
from tokbench.tokenizers.normalisation import Normalisation
from tokbench.tokenizers.tiling import Tiling

SCHEMA = 2
"""1 held a digest of the weights only where they came from no file; its exports are verified and gone on with by what they hold."""

VIEWS = {"none": 1, "flip": 2, "ten-crop": 10}
"""Rows of an image, by which views of it are exported; ``tokbench.feed.views`` makes them."""

LATENT_TYPES = ("float32", "float16")
"""How continuous latents may be stored."""

SHARD_BYTES = 64 * 2**20
"""Most tokens of a shard, before compression, unless its rows are given; a shard is held in memory until it is written, while the
next one is made."""

SHARD_ROWS = 4096
"""Most rows of a shard, unless they are given; a process that is killed loses at most the work of two shards, of which one
was being written."""

MOST_IMAGES, MOST_SHARDS, MOST_VALUES = 10**10, 10**6, 2**31
"""Images and shards of an export, and values of an image in it, that this package counts through."""


@dataclass(frozen=True)
class TokenizerIdentity:
    """Which tokenizer made the tokens.

    Args:
        name: ``family/variant``.
        config: Its configuration as plain JSON values.
        weights_sha256: Digest of the file its weights were loaded from.
        state_sha256: Digest of the weights as they were, see ``tokbench.bench.identity.weights_digest``; None if it has none.
        source_sha256: Digest of the source of a plug-in.
    """

    name: str
    config: dict[str, Any]
    weights_sha256: str | None
    state_sha256: str | None = None
    source_sha256: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "config", upgraded(self.name, self.config))


@dataclass(frozen=True)
class Preparation:
    """How images were read and encoded: the part of a protocol that tokens depend on, field by field, and the kind of device.

    Args:
        size: Side of the square images in pixels, or height and width.
        resize: Filter that scales a picture until it just covers ``size``.
        crop: What is kept after that.
        samples: How many images at most, chosen by ``seed``; None takes all.
        seed: Seed of the choice and of stochastic tokenizers.
        precision: Number format the tokenizer ran in.
        micro_batch: Images the network saw at once.
        device: ``cpu``, ``cuda``, ... whose arithmetic rounds in its own way.
        views: Which views of an image are rows, one of ``VIEWS``.
        tiling: How images were cut into tiles; None if they were encoded whole.
        antialias: Whether the filter widens where it scales down.

    Raises:
        ValueError: If there are no such views, or no such size.
    """

    size: Size
    resize: str
    crop: str
    samples: int | None
    seed: int
    precision: str
    micro_batch: int
    device: str = "cpu"
    views: str = field(default="none", metadata=UNLESS_DEFAULT)
    tiling: Tiling | None = field(default=None, metadata=UNLESS_DEFAULT)
    antialias: bool = field(default=True, metadata=UNLESS_DEFAULT)

    def __post_init__(self) -> None:
        check_size(self.size)
        if self.views not in VIEWS:
            raise ValueError(f"views are {', '.join(VIEWS)}, got {self.views[:40]!r}")

    @property
    def scaled(self) -> bool:
        """Whether the embedded photos came scaled, see ``tokbench.data.open.open_source``."""
        return not scales_all(self.crop)


@dataclass(frozen=True)
class DataIdentity:
    """Which images were asked for, or which views of images: each then counts as one and has an id of its own.

    Args:
        name: Name of the source.
        count: Images asked for.
        ids_sha256: Digest of their ids, in order.
    """

    name: str
    count: int
    ids_sha256: str


@dataclass(frozen=True)
class ExportJob:
    """One export.

    Args:
        tokenizer: Which tokenizer.
        layout: Shape of one image's tokens.
        dtype: numpy's name of the type they are stored in.
        preparation: How images were read and encoded.
        data: Which images.
        labels: Where labels came from: ``source``, ``folder`` or ``none``.
        label_names: What the labels stand for, if names are known.
        captions: Whether there are captions.
        rows_per_shard: Images asked for in every shard but the last.
        tokbench: Version of the package.
        schema: Schema of this description.
        normalisation: What was applied to the latents of the tokenizer; None if they are raw.

    Raises:
        ValueError: If the type cannot hold the tokens, or there are no rows.
    """

    tokenizer: TokenizerIdentity
    layout: TokenLayout
    dtype: str
    preparation: Preparation
    data: DataIdentity
    labels: str
    label_names: tuple[str, ...]
    captions: bool
    rows_per_shard: int
    tokbench: str
    schema: int = SCHEMA
    normalisation: Normalisation | None = field(default=None, metadata=UNLESS_DEFAULT)

    def __post_init__(self) -> None:
        if self.normalisation is not None and not self.normalisation.fits(self.layout.channels):
            raise ValueError(f"a normalisation of other than {self.layout.channels} channels")
        allowed = (code_type(self.layout.codebook_sizes),) if self.layout.discrete else LATENT_TYPES
        if self.dtype not in allowed:
            raise ValueError(f"these tokens are stored as {' or '.join(allowed)}, got {self.dtype}")
        if self.rows_per_shard < 1 or self.data.count < 1:
            raise ValueError(f"rows_per_shard and data.count must be positive, got {self.rows_per_shard} and {self.data.count}")
        if self.data.count > MOST_IMAGES:
            raise ValueError(f"{self.data.count:,} images are more than {MOST_IMAGES:,}")
        if self.rows_per_shard % self.views or self.data.count % self.views:
            raise ValueError(f"{self.data.count} rows in shards of {self.rows_per_shard} are no {self.views} views of every image")
        if self.shards > MOST_SHARDS or self.values > MOST_VALUES:
            raise ValueError(f"{self.shards:,} shards of {self.values:,} values an image are more than {MOST_SHARDS:,} of {MOST_VALUES:,}")

    @property
    def column(self) -> str:
        """Where the tokens stand in a row: ``codes`` or ``latents``."""
        return "codes" if self.layout.discrete else "latents"

    @property
    def width(self) -> int:
        """Values at every position: codebooks, or channels."""
        return len(self.layout.codebook_sizes) or self.layout.channels

    @property
    def values(self) -> int:
        """Values of one image, position major."""
        return self.layout.positions * self.width

    @property
    def views(self) -> int:
        """Rows of every image."""
        return VIEWS[self.preparation.views]

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return -(-self.data.count // self.rows_per_shard)

    @property
    def group_rows(self) -> int:
        """Rows of a row group, the unit of reading: about a mebibyte of tokens, 16 to 1024 rows."""
        return min(1024, max(16, 2**20 // (self.values * np.dtype(self.dtype).itemsize)))

    def shard_name(self, number: int) -> str:
        """File name of a shard."""
        return f"tokens-{number:05d}-of-{self.shards:05d}.parquet"

    def span(self, number: int) -> range:
        """Which of the images asked for belong to a shard."""
        start = number * self.rows_per_shard
        return range(start, min(start + self.rows_per_shard, self.data.count))


def view_of(name: str) -> tuple[str, int]:
    """The image that a row's id names in an export of views, and which view of it; -1 if the id is none of a view."""
    image, _, number = name.rpartition("#")
    return (image, int(number)) if len(number) == 1 and number in "0123456789" and image else (name, -1)


def code_type(codebook_sizes: tuple[int, ...]) -> str:
    """The smallest unsigned integer type that holds every code.

    Args:
        codebook_sizes: Entries of each codebook.

    Returns:
        numpy's name of it.
    """
    return str(np.min_scalar_type(max(codebook_sizes, default=1) - 1))


def default_rows(values: int, dtype: str) -> int:
    """Rows of a shard unless they are given.

    Args:
        values: Values of one image.
        dtype: They are stored in.

    Returns:
        As many as ``SHARD_BYTES`` hold, 16 to ``SHARD_ROWS``.
    """
    return min(SHARD_ROWS, max(16, SHARD_BYTES // (values * np.dtype(dtype).itemsize)))


def digest_of_ids(ids: Iterable[str]) -> str:
    """SHA-256 over ids in their order."""
    total = hashlib.sha256()
    for name in ids:
        total.update(name.encode() + b"\0")
    return total.hexdigest()


def job_from_dict(values: Any, *, origin: str) -> ExportJob:
    """Build a job from plain JSON values.

    Args:
        values: What ``plain`` made of a job.
        origin: What to call them in errors.

    Raises:
        TokbenchError: If they are no job, or of a newer schema.
    """
    if not isinstance(values, dict) or type(values.get("schema")) is not int:
        raise TokbenchError(f"{origin} was not written by tokbench export; choose another folder")
    if values["schema"] > SCHEMA:
        raise TokbenchError(f"{origin} has schema {values['schema']}, this tokbench reads up to {SCHEMA}; install a newer one")
    try:
        job = build(ExportJob, values)
    except ValueError as error:
        raise TokbenchError(f"{origin} holds no whole description of an export ({error}); delete the folder and export again") from error
    assert isinstance(job, ExportJob)
    return job
