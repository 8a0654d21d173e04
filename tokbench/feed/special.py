"""Ids of the special tokens that frame texts and images in a sequence, and Emu3's own; no torch."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields


@dataclass(frozen=True)
class SpecialIds:
    """Ids of special tokens, with the names of Emu3's code; in brackets those of its paper.

    Args:
        bos: Begin of the sequence.
        eos: End of the sequence.
        pad: Fills a sequence up.
        boi: Begin of an image, before its size (SOV).
        img: End of the size, begin of the codes (SOT).
        eoi: End of the image (EOV).
        eol: End of a row of a 2D grid.
        eof: End of a frame, after its last row.

    Raises:
        ValueError: If two are equal or one is negative.
    """

    bos: int
    eos: int
    pad: int
    boi: int
    img: int
    eoi: int
    eol: int
    eof: int

    def __post_init__(self) -> None:
        if len(set(self.all)) != len(self.all) or min(self.all) < 0:
            raise ValueError(f"special ids must be different and not negative, got {self.all}")

    @classmethod
    def starting_at(cls, first: int) -> SpecialIds:
        """Number them in their order from ``first`` on."""
        return cls(*range(first, first + len(fields(cls))))

    @property
    def all(self) -> tuple[int, ...]:
        """The ids in their order."""
        return astuple(self)

    def name(self, number: int) -> str | None:
        """Name of a special token, e.g. ``EOL``; None for other ids."""
        return next((field.name.upper() for field in fields(self) if getattr(self, field.name) == number), None)


EMU3_SPECIAL = SpecialIds(bos=151849, eos=151850, pad=151643, boi=151852, img=151851, eoi=151853, eol=151846, eof=151847)

EMU3_TEXT_SIZE = 151643
"""Ids of text in Emu3's vocabulary: ``FileText.open(path, size=EMU3_TEXT_SIZE)``."""

EMU3_FIRST_CODE = 151854
EMU3_CODES = 32768
