"""What pictures made again from records look like as data; no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Picture:
    """One image after its way through one tokenizer.

    Args:
        image_id: As in the record's per-image rows.
        reconstruction: Bytes ``[H, W, 3]``.
        codes: ``[*grid, K]``; None for continuous latents and codecs.
        codes_again: The codes of the re-encoded reconstruction; None where ``codes`` is.

    Raises:
        ValueError: If pixels are no RGB bytes, or the two sets of codes differ in shape.
    """

    image_id: str
    reconstruction: np.ndarray
    codes: np.ndarray | None = None
    codes_again: np.ndarray | None = None

    def __post_init__(self) -> None:
        pixels = self.reconstruction
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(f"a reconstruction is uint8 [H, W, 3], got {pixels.dtype} {list(pixels.shape)}")
        if (self.codes is None) != (self.codes_again is None):
            raise ValueError("codes and codes_again come together")
        if self.codes is not None and self.codes_again is not None and self.codes.shape != self.codes_again.shape:
            raise ValueError(f"codes {list(self.codes.shape)} and codes_again {list(self.codes_again.shape)} differ in shape")


@dataclass(frozen=True)
class Pictures:
    """Some images and what became of them, record by record.

    Args:
        originals: Image id to bytes ``[H, W, 3]``, in the order asked for.
        by_record: For every record, image id to picture; empty where ``missing`` says why.
        missing: For every record, why its pictures are not there; None where they are.
        attribution: Whose all originals are, in lines; empty if unknown.
        credits: Whose single ones are: image id to author, licence and place.

    Raises:
        ValueError: If ``by_record`` and ``missing`` are not equally many.
    """

    originals: dict[str, np.ndarray]
    by_record: tuple[dict[str, Picture], ...]
    missing: tuple[str | None, ...]
    attribution: str = ""
    credits: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.by_record) != len(self.missing):
            raise ValueError(f"{len(self.by_record)} sets of pictures with {len(self.missing)} reasons")
