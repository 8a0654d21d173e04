"""One row a figure: what it is called, how it is written and drawn, what it means, and what it takes to measure it; no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from tokbench.configs import UNLESS_DEFAULT

LONGEST = {"key": 60, "title": 60, "unit": 60, "symbol": 12, "meaning": 200}
"""Characters of texts, which tables, plots and pages show as they are."""

MOST_DIGITS = 12
"""Decimals a figure may be written with."""


@dataclass(frozen=True)
class FigureInfo:
    """One figure. The figures of this package are in ``FIGURES``; a metric of others brings its own.

    Args:
        key: Its name in records, and what ``--metrics`` and ``--columns`` take.
        title: Its name in tables and plots.
        unit: Unit of the number in a record.
        higher_is_better: Direction; None where neither is better.
        meaning: What it is, in a line.
        kind: What it says something of: the ``quality`` of reconstructions, the ``codes``, the ``bound`` that quality cannot pass, the
            ``rate`` or the ``speed``. Quality is drawn against rate and speed.
        digits: Decimals it is written with.
        scale: The number of a record is multiplied by this before it is written or drawn.
        symbol: What follows the number that is written, such as ``dB``.
        axis: Axis of plots: ``log`` or ``linear``.
        per_image: Whether it is the mean of one value an image; else it is one of the whole set.
        leading: Whether it is shown where there is room for few.
        metric: What measures it; empty for a metric of the figure's own name.
        by_default: Whether it is measured unless metrics are named.
        networks: Networks that judge, by the names ``trained_with`` uses.
        asset: The network file it needs, as ``tokbench weights get`` takes it; empty if none.
        extra: The extra of this package it needs; empty if none.
        data: What ``--data`` must be for it to say something; empty for any.
        option: Option of ``run`` that it needs; empty if none.

    Raises:
        ValueError: If digits or scale are out of range, or a text is long or no line of printable characters.
    """

    key: str
    title: str
    unit: str
    higher_is_better: bool | None
    meaning: str
    kind: Literal["quality", "codes", "bound", "rate", "speed"] = "quality"
    digits: int = 4
    scale: float = 1.0
    symbol: str = ""
    axis: Literal["linear", "log"] = "linear"
    per_image: bool = True
    leading: bool = False
    metric: str = ""
    by_default: bool = True
    networks: tuple[str, ...] = ()
    asset: str = ""
    extra: str = ""
    data: str = ""
    option: str = field(default="", metadata=UNLESS_DEFAULT)

    def __post_init__(self) -> None:
        for name, most in LONGEST.items():
            text = getattr(self, name)
            if not (isinstance(text, str) and text.isprintable() and len(text) <= most):
                raise ValueError(f"{name} must be a line of at most {most} printable characters")
        if not 0 <= self.digits <= MOST_DIGITS:
            raise ValueError(f"digits must be 0 to {MOST_DIGITS}, got {self.digits}")
        if not (self.scale > 0 and math.isfinite(self.scale)):
            raise ValueError(f"scale must be positive and finite, got {self.scale}")

    @property
    def heading(self) -> str:
        """Title and symbol."""
        return f"{self.title} {self.symbol}".strip()

    @property
    def arrow(self) -> str:
        """``↑`` if more is better, ``↓`` if less is, else empty."""
        return {True: "↑", False: "↓", None: ""}[self.higher_is_better]

    @property
    def of_whole_sets(self) -> bool:
        """Whether it says how far two sets of images are apart, and so compares at equal numbers of images only."""
        return self.kind == "quality" and not self.per_image

    @property
    def measured_by(self) -> str:
        """Name of its metric."""
        return self.metric or self.key


RATES = (
    FigureInfo("tokens_per_image", "tokens", "tokens", None, "tokens that stand for one image", "rate", 0),
    FigureInfo(
        "bits_per_image",
        "bits/image",
        "bits",
        None,
        "ceiling of a uniform code: tokens times the logarithm of the codebook's size; for codecs, the mean size of a file",
        "rate",
        0,
    ),
    FigureInfo("bpp", "bpp", "bits per pixel", None, "bits per image divided by its pixels", "rate", 3, axis="log"),
)
"""What an image costs, derived from the layout."""

SPEEDS = (
    FigureInfo(
        "encode",
        "encode img/s",
        "images per second",
        True,
        "images encoded per second, on the machine of the record",
        "speed",
        1,
        axis="log",
    ),
    FigureInfo(
        "decode",
        "decode img/s",
        "images per second",
        True,
        "images decoded per second, on the machine of the record",
        "speed",
        1,
        axis="log",
    ),
    FigureInfo("parameters", "M params", "parameters", None, "parameters in millions", "speed", 2, 1e-6),
)
"""How fast it goes, and how large it is."""

FIGURES = (
    FigureInfo(
        "fd_efflite0",
        "FD-EffLite0",
        "squared feature distance",
        False,
        "Fréchet distance between originals and reconstructions on features of EfficientNet-Lite0; not FID, and only comparable at equal N",
        digits=2,
        axis="log",
        per_image=False,
        leading=True,
        networks=("efflite0",),
    ),
    FigureInfo(
        "fd_efflite0_reference",
        "FD-EffLite0 to reference",
        "squared feature distance",
        False,
        "Fréchet distance between the reference given and reconstructions on features of EfficientNet-Lite0; not FID",
        digits=2,
        axis="log",
        per_image=False,
        by_default=False,
        networks=("efflite0",),
        option="--reference",
    ),
    FigureInfo(
        "fd_efflite0_infinite",
        "FD-EffLite0∞",
        "squared feature distance",
        False,
        "FD-EffLite0 that infinitely many images would have, by a jackknife",
        digits=2,
        per_image=False,
        by_default=False,
        networks=("efflite0",),
    ),
    FigureInfo(
        "fd_efflite0_bias",
        "FD-EffLite0 bias",
        "squared feature distance",
        None,
        "how much FD-EffLite0 of these images is above that of infinitely many",
        "bound",
        2,
        per_image=False,
        metric="fd_efflite0_infinite",
        by_default=False,
        networks=("efflite0",),
    ),
    FigureInfo(
        "fd_efflite0_299",
        "FD-EffLite0@299",
        "squared feature distance",
        False,
        "Fréchet distance on EfficientNet-Lite0 of images resized and rounded as the protocol has it for rFID; only comparable at equal N",
        digits=2,
        axis="log",
        per_image=False,
        by_default=False,
        networks=("efflite0",),
    ),
    FigureInfo(
        "kd_efflite0",
        "KD-EffLite0",
        "squared feature distance",
        False,
        "kernel distance between originals and reconstructions on features of EfficientNet-Lite0, unbiased at any N; not KID",
        digits=5,
        per_image=False,
        by_default=False,
        networks=("efflite0",),
    ),
    FigureInfo(
        "fd_dinov2",
        "FD-DINOv2",
        "squared feature distance",
        False,
        "Fréchet distance between originals and reconstructions on features of DINOv2 ViT-L/14; only comparable at equal N",
        digits=2,
        axis="log",
        per_image=False,
        by_default=False,
        networks=("dinov2",),
        asset="timm/vit_large_patch14_dinov2.lvd142m",
    ),
    FigureInfo(
        "rfid",
        "rFID",
        "squared feature distance",
        False,
        "Fréchet Inception distance between originals and reconstructions; only comparable at equal N",
        digits=3,
        axis="log",
        per_image=False,
        leading=True,
        networks=("inception",),
        asset="inception",
        extra="fid",
    ),
    FigureInfo(
        "rfid_torchmetrics",
        "rFID torchmetrics",
        "squared feature distance",
        False,
        "rFID of the same images, with the network's input made as torchmetrics makes it",
        digits=3,
        axis="log",
        per_image=False,
        by_default=False,
        networks=("inception",),
        asset="inception",
        extra="fid",
    ),
    FigureInfo(
        "rfid_pytorch_fid",
        "rFID pytorch-fid",
        "squared feature distance",
        False,
        "rFID of the same images, with the network's input made as pytorch-fid makes it",
        digits=3,
        axis="log",
        per_image=False,
        by_default=False,
        networks=("inception",),
        asset="inception",
        extra="fid",
    ),
    FigureInfo(
        "rfid_clean_fid",
        "rFID clean-fid",
        "squared feature distance",
        False,
        "rFID of the same images, with the network's input made as clean-fid makes it",
        digits=3,
        axis="log",
        per_image=False,
        by_default=False,
        networks=("inception",),
        asset="inception",
        extra="fid",
    ),
    FigureInfo(
        "fid",
        "FID",
        "squared feature distance",
        False,
        "Fréchet Inception distance between the reference given and reconstructions; only comparable at equal N and reference",
        digits=3,
        axis="log",
        per_image=False,
        by_default=False,
        networks=("inception",),
        asset="inception",
        extra="fid",
        option="--reference",
    ),
    FigureInfo(
        "fid_torchmetrics",
        "FID torchmetrics",
        "squared feature distance",
        False,
        "FID to the reference given, with the network's input made as torchmetrics makes it",
        digits=3,
        axis="log",
        per_image=False,
        by_default=False,
        networks=("inception",),
        asset="inception",
        extra="fid",
        option="--reference",
    ),
    FigureInfo(
        "fid_pytorch_fid",
        "FID pytorch-fid",
        "squared feature distance",
        False,
        "FID to the reference given, with the network's input made as pytorch-fid makes it",
        digits=3,
        axis="log",
        per_image=False,
        by_default=False,
        networks=("inception",),
        asset="inception",
        extra="fid",
        option="--reference",
    ),
    FigureInfo(
        "fid_clean_fid",
        "FID clean-fid",
        "squared feature distance",
        False,
        "FID to the reference given, with the network's input made as clean-fid makes it",
        digits=3,
        axis="log",
        per_image=False,
        by_default=False,
        networks=("inception",),
        asset="inception",
        extra="fid",
        option="--reference",
    ),
    FigureInfo(
        "rfid_infinite",
        "rFID∞",
        "squared feature distance",
        False,
        "rFID that infinitely many images would have, by a jackknife",
        digits=3,
        per_image=False,
        by_default=False,
        networks=("inception",),
        asset="inception",
        extra="fid",
    ),
    FigureInfo(
        "rfid_bias",
        "rFID bias",
        "squared feature distance",
        None,
        "how much rFID of these images is above that of infinitely many",
        "bound",
        3,
        per_image=False,
        metric="rfid_infinite",
        by_default=False,
        networks=("inception",),
        asset="inception",
        extra="fid",
    ),
    FigureInfo(
        "kid",
        "KID",
        "squared feature distance",
        False,
        "kernel Inception distance between originals and reconstructions over all pairs, unbiased at any N",
        digits=5,
        per_image=False,
        by_default=False,
        networks=("inception",),
        asset="inception",
        extra="fid",
    ),
    FigureInfo(
        "ris",
        "rIS",
        "classes",
        True,
        "Inception score of the reconstructions, all at once; it grows with N",
        digits=2,
        per_image=False,
        by_default=False,
        networks=("inception",),
        asset="inception",
        extra="fid",
    ),
    FigureInfo(
        "ris_original",
        "IS of originals",
        "classes",
        None,
        "Inception score of the originals",
        "bound",
        2,
        per_image=False,
        metric="ris",
        by_default=False,
        networks=("inception",),
        asset="inception",
        extra="fid",
    ),
    FigureInfo(
        "precision",
        "precision",
        "share of images",
        True,
        "share of reconstructions that lie as near to an original as its third neighbour, on features of Inception; only comparable at equal N",
        per_image=False,
        metric="prdc",
        by_default=False,
        networks=("inception",),
        asset="inception",
        extra="fid",
    ),
    FigureInfo(
        "recall",
        "recall",
        "share of images",
        True,
        "share of originals that lie as near to a reconstruction as its third neighbour, on features of Inception; only comparable at equal N",
        per_image=False,
        metric="prdc",
        by_default=False,
        networks=("inception",),
        asset="inception",
        extra="fid",
    ),
    FigureInfo(
        "density",
        "density",
        "1",
        True,
        "how many originals a reconstruction is nearer to than their fifth neighbour, over 5, on features of Inception; only comparable at equal N",
        per_image=False,
        metric="prdc",
        by_default=False,
        networks=("inception",),
        asset="inception",
        extra="fid",
    ),
    FigureInfo(
        "coverage",
        "coverage",
        "share of images",
        True,
        "share of originals that a reconstruction is nearer to than their fifth neighbour, on features of Inception; only comparable at equal N",
        per_image=False,
        metric="prdc",
        by_default=False,
        networks=("inception",),
        asset="inception",
        extra="fid",
    ),
    FigureInfo(
        "lpips",
        "LPIPS",
        "1",
        False,
        "learned perceptual distance on AlexNet",
        axis="log",
        leading=True,
        networks=("lpips-alex",),
        asset="lpips-alex",
    ),
    FigureInfo(
        "lpips_vgg",
        "LPIPS-VGG",
        "1",
        False,
        "learned perceptual distance on VGG16",
        axis="log",
        by_default=False,
        networks=("lpips-vgg",),
        asset="lpips-vgg",
    ),
    FigureInfo(
        "dists",
        "DISTS",
        "1",
        False,
        "distance of structure and texture on VGG16",
        axis="log",
        by_default=False,
        networks=("lpips-vgg",),
        asset="lpips-vgg",
    ),
    FigureInfo("psnr", "PSNR", "dB", True, "mean over images of the peak signal-to-noise ratio", digits=2, symbol="dB", leading=True),
    FigureInfo("ssim", "SSIM", "1", True, "structural similarity"),
    FigureInfo("ms_ssim", "MS-SSIM", "1", True, "structural similarity in five scales, of images of at least 161 px", by_default=False),
    FigureInfo(
        "usage",
        "usage",
        "share of codes",
        True,
        "share of the codebook that occurs at all",
        "codes",
        1,
        100.0,
        "%",
        per_image=False,
        metric="codebook",
    ),
    FigureInfo(
        "perplexity",
        "perplexity",
        "codes",
        True,
        "codes that would carry as much if all were used alike",
        "codes",
        1,
        per_image=False,
        metric="codebook",
    ),
    FigureInfo(
        "entropy_bits",
        "entropy",
        "bits per token",
        None,
        "measured entropy of a token",
        "codes",
        2,
        symbol="bits",
        per_image=False,
        metric="codebook",
    ),
    FigureInfo("dead_codes", "dead codes", "codes", False, "codes that never occur", "codes", 0, per_image=False, metric="codebook"),
    FigureInfo(
        "entropy_bits_per_image",
        "coded bits/image",
        "bits",
        None,
        "bits that the codes of an image take when they are coded by how often they occur in other images; the ceiling is bits/image",
        "codes",
        0,
        per_image=False,
        metric="codebook",
    ),
    FigureInfo(
        "stability",
        "stable",
        "share of codes",
        True,
        "share of codes that survive decoding and encoding again",
        "codes",
        1,
        100.0,
        "%",
    ),
    FigureInfo(
        "text_accuracy",
        "text",
        "share of characters",
        True,
        "share of the typed characters that a reading network still reads off the reconstruction",
        digits=1,
        scale=100.0,
        symbol="%",
        leading=True,
        by_default=False,
        networks=("pp-ocrv4-rec",),
        extra="ocr",
        data="text",
    ),
    FigureInfo(
        "text_ned",
        "text NED",
        "share of characters",
        True,
        "one minus the normalised edit distance between what a network reads off the reconstruction and off the original",
        metric="text_accuracy",
        by_default=False,
        networks=("pp-ocrv4-rec",),
        extra="ocr",
        data="text",
    ),
    FigureInfo(
        "text_accuracy_original",
        "text of originals",
        "share of characters",
        None,
        "share of the typed characters that the same network reads off the original, the most it can do",
        "bound",
        1,
        100.0,
        "%",
        metric="text_accuracy",
        by_default=False,
        networks=("pp-ocrv4-rec",),
        extra="ocr",
        data="text",
    ),
    FigureInfo(
        "scene_accuracy",
        "scene",
        "share of parts",
        True,
        "share of the parts of a drawn scene (shapes, colours, sizes, fills, places, number, ground) that a reader by rule still reads right",
        digits=1,
        scale=100.0,
        symbol="%",
        leading=True,
        by_default=False,
        data="scenes",
    ),
    FigureInfo(
        "scene_whole",
        "whole scenes",
        "share of scenes",
        True,
        "share of drawn scenes whose reconstruction is read wholly right",
        digits=1,
        scale=100.0,
        symbol="%",
        metric="scene_accuracy",
        by_default=False,
        data="scenes",
    ),
    FigureInfo(
        "scene_whole_original",
        "whole scenes of originals",
        "share of scenes",
        None,
        "share of drawn scenes whose original is read wholly right, the most the reader can do",
        "bound",
        1,
        100.0,
        "%",
        metric="scene_accuracy",
        by_default=False,
        data="scenes",
    ),
    FigureInfo(
        "face_distance",
        "face distance",
        "1",
        False,
        "mean distance between the faces of original and reconstruction in the space of a face recognition network",
        digits=3,
        leading=True,
        metric="face_similarity",
        by_default=False,
        networks=("face-api-recognition",),
        asset="faces",
        data="faces",
    ),
    FigureInfo(
        "face_match",
        "same face",
        "share of faces",
        True,
        "share of reconstructions whose face is within the distance of 0.6 that counts as the same person",
        digits=1,
        scale=100.0,
        symbol="%",
        metric="face_similarity",
        by_default=False,
        networks=("face-api-recognition",),
        asset="faces",
        data="faces",
    ),
)
"""What metrics measure, in the order of tables; the rows of one metric stand together, the one that leads it first."""

BY_KEY = {info.key: info for info in (*RATES, *FIGURES, *SPEEDS)}
"""All of them by key."""


def known_figure(key: str, carried: Iterable[FigureInfo | None] = ()) -> FigureInfo | None:
    """Find the row of a figure.

    Args:
        key: Key of the figure.
        carried: The rows that records carry of it.

    Returns:
        That of this package, else the one that all records carry; None if there is none, or they differ.
    """
    if key in BY_KEY:
        return BY_KEY[key]
    rows = set(carried)
    info = rows.pop() if len(rows) == 1 else None
    return info if info is not None and info.key == key else None


def figures_of(metric: str) -> tuple[FigureInfo, ...]:
    """The rows of a metric of this package, by its name; empty if there are none."""
    return tuple(info for info in FIGURES if info.measured_by == metric)
