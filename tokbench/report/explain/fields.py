"""What a protocol's fields do to figures: one row of words a field, and one for whatever else records differ in; no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Literal

from tokbench.records.figure_info import FigureInfo
from tokbench.records.protocol import Protocol

Weight = Literal["much", "some", "little", "digits"]
WEIGHTS: tuple[Weight, ...] = ("much", "some", "little", "digits")
"""How far a cause usually moves a figure, the farthest first; the last moves digits that nobody writes."""

WEIGHT_WORDS = {"much": "usually much", "some": "usually some", "little": "usually little", "digits": "usually the last digits"}

Stage = Literal["images", "tokenizer", "bytes", "judges", "software"]
STAGES: tuple[Stage, ...] = ("images", "tokenizer", "bytes", "judges", "software")
"""Where in a run a cause works. This is also the order in which causes are changed one after another."""

EVERYTHING = ("quality", "codes", "bound")
"""Kinds of figures that depend on what the images are."""

SETS = "sets"
"""Stands for figures that say how far two sets of images are apart."""

LABELS = ("name", "version", "data")
"""Fields that name what other fields, and the digest of the data, say."""


@dataclass(frozen=True)
class FieldWords:
    """One row.

    Args:
        name: The field of a protocol, or the key of another cause.
        words: What it is.
        stage: Where in a run it works.
        weight: How far it usually moves figures.
        moves: Which figures: kinds, keys, names of metrics or of networks that judge, or ``SETS``.
    """

    name: str
    words: str
    stage: Stage
    weight: Weight
    moves: tuple[str, ...] = EVERYTHING

    def matters_to(self, key: str, info: FigureInfo | None) -> bool:
        """Whether it may move a figure; a figure that nothing is known of may be moved by anything."""
        if info is None:
            return True
        tags = {info.kind, key, info.measured_by, *info.networks, *((SETS,) if info.of_whole_sets else ())}
        return not tags.isdisjoint(self.moves)


LPIPS = ("lpips", "lpips_vgg")

ROWS = (
    FieldWords("samples", "how many images are measured at most", "images", "some"),
    FieldWords("seed", "the seed that chooses images and draws noise", "images", "little"),
    FieldWords("size", "side of the square images in pixels, or height and width", "images", "much", (*EVERYTHING, "rate")),
    FieldWords("crop", "what is kept of a picture that was scaled", "images", "some"),
    FieldWords("resize", "the filter that scales pictures", "images", "some"),
    FieldWords("antialias", "whether that filter widens where it scales down", "images", "some"),
    FieldWords("jpeg_draft", "whether JPEGs are decoded at a fraction of their size, before that filter", "images", "some"),
    FieldWords("precision", "the number format that the tokenizer runs in", "tokenizer", "little", ("quality", "codes")),
    FieldWords("noise", "which pass it is, and so which noise a stochastic tokenizer draws", "tokenizer", "little", ("quality", "codes")),
    FieldWords("micro_batch", "images that every network sees at once", "tokenizer", "digits"),
    FieldWords("tokenizer_batch", "images that the tokenizer sees at once", "tokenizer", "digits", ("quality", "codes", "speed")),
    FieldWords(
        "compiled", "whether the tokenizer was compiled, which rounds otherwise", "tokenizer", "digits", ("quality", "codes", "speed")
    ),
    FieldWords("uint8", "how reconstructions become bytes", "bytes", "some", ("quality", "stability")),
    FieldWords("originals", "whether originals are compared as read, or after the way to floats and back", "bytes", "some", ("quality",)),
    FieldWords("judged_size", "the side to which both are scaled before anything judges them", "bytes", "much", ("quality",)),
    FieldWords("reference", "what reconstructions are compared with", "judges", "much", (SETS,)),
    FieldWords("batch", "images of a batch, where a figure is taken over batches", "judges", "some", ("psnr", "ssim")),
    FieldWords(
        "pixels", "what PSNR, SSIM and MS-SSIM see: bytes, or what the tokenizer gave", "judges", "little", ("psnr", "ssim", "ms_ssim")
    ),
    FieldWords("psnr_averaging", "what PSNR averages: decibels of images, or errors", "judges", "some", ("psnr",)),
    FieldWords("psnr_range", "what the peak of PSNR is", "judges", "little", ("psnr",)),
    FieldWords("psnr_ceiling", "the decibels that an image counts as at most", "judges", "little", ("psnr",)),
    FieldWords("ssim_window", "the window of local means of SSIM", "judges", "some", ("ssim",)),
    FieldWords("ssim_covariance", "the divisor of local variances of SSIM", "judges", "little", ("ssim",)),
    FieldWords("ssim_border", "whether the window of SSIM may reach beyond the image", "judges", "little", ("ssim",)),
    FieldWords("ssim_range", "what the constants of SSIM take for the range of pixels", "judges", "much", ("ssim",)),
    FieldWords("ssim_colour", "whether SSIM is of colours, or of luminance alone", "judges", "some", ("ssim",)),
    FieldWords("lpips_nets", "which backbones of LPIPS are measured by default", "judges", "digits", ()),
    FieldWords("lpips_range", "the range of the pixels that LPIPS is given", "judges", "much", LPIPS),
    FieldWords("lpips_pixels", "what LPIPS sees: bytes, or what the tokenizer gave", "judges", "little", LPIPS),
    FieldWords("fd", "network and input of the distances on EfficientNet-Lite0", "judges", "much", ("efflite0",)),
    FieldWords("fid_network", "network of the distances on Inception", "judges", "much", ("inception",)),
    FieldWords("fid_resize", "how images come to the size that Inception takes", "judges", "some", ("inception",)),
    FieldWords("fid_scaling", "how pixels come to the range that Inception takes", "judges", "little", ("inception",)),
    FieldWords("fid_pixels", "what Inception sees: bytes, or what the tokenizer gave", "judges", "some", ("inception",)),
)
"""The fields of a protocol, in the order in which they are changed one after another."""

BY_NAME = {row.name: row for row in ROWS}


def protocol_fields() -> tuple[FieldWords, ...]:
    """The row of every field that figures may depend on, in the order of stages; a field that has no row gets one from its name."""
    names = [field.name for field in fields(Protocol) if field.name not in LABELS]
    known = [row for row in ROWS if row.name in names]
    others = [FieldWords(name, f"the protocol's {name.replace('_', ' ')}", "judges", "some") for name in names if name not in BY_NAME]
    return tuple(in_order([*known, *others]))


def in_order(rows: Iterable[FieldWords]) -> list[FieldWords]:
    """Rows in the order of their stages; those of one stage keep theirs."""
    return sorted(rows, key=lambda row: STAGES.index(row.stage))
