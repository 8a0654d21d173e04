"""The protocol: everything a figure depends on but the tokenizer and the data's bytes; named, versioned, recorded whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from tokbench.configs import UNLESS_DEFAULT, with_overrides
from tokbench.errors import TokbenchError, unknown_name

ResizeFilter = Literal["lanczos", "bicubic", "bilinear", "box"]

MOST_PASSES = 1000
"""Passes over the same images."""


@dataclass(frozen=True)
class Protocol:
    """How tokenizers are measured.

    Args:
        name: Name of the preset.
        version: Version of the preset; raised whenever a figure under it may change.
        data: Name of the data set (its digest stands beside the protocol in a record).
        size: Side of the square images in pixels.
        resize: Filter that scales a picture's shortest side to ``size``.
        crop: What is kept after that: the centre square. ``centre, whole pixels`` cuts on whole pixels where nothing is scaled, at the
            upper or left one of two middle places. ``centre`` (version 1 of the presets) resampled half a pixel off there.
        uint8: How reconstructions become bytes.
        samples: How many images at most, chosen by ``seed``; None takes all.
        seed: Seed of the choice of images and of stochastic tokenizers.
        precision: Number format the tokenizer runs in.
        micro_batch: Images every network sees at once.
        noise: Which pass over the images it is. Passes differ in the noise that stochastic tokenizers draw, and in nothing else.
        psnr: Averaging and range.
        ssim: Window and range.
        lpips: Backbone, heads and input.
        fd: Network and input of the Fréchet distance that needs no download.
        fid: Network and resize of ``rfid``.
        reference: What reconstructions are compared with.

    Raises:
        ValueError: If a number is out of range.
    """

    name: str
    version: int
    data: str
    size: int
    resize: ResizeFilter = "lanczos"
    crop: Literal["centre", "centre, whole pixels"] = "centre, whole pixels"
    uint8: Literal["round", "truncate"] = "round"
    samples: int | None = None
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    micro_batch: int = 16
    psnr: Literal["mean of per-image dB, range 255"] = "mean of per-image dB, range 255"
    ssim: Literal["gaussian 11x11 sigma 1.5, valid, range 255"] = "gaussian 11x11 sigma 1.5, valid, range 255"
    lpips: Literal["alex 0.1, [-1, 1], native size"] = "alex 0.1, [-1, 1], native size"
    fd: Literal["EfficientNet-Lite0, bilinear antialias to 128"] = "EfficientNet-Lite0, bilinear antialias to 128"
    fid: Literal["Inception 2015-12-05, TF1 bilinear to 299"] = "Inception 2015-12-05, TF1 bilinear to 299"
    reference: Literal["the same images, uint8"] = "the same images, uint8"
    noise: int = field(default=0, metadata=UNLESS_DEFAULT)  # left out of records where there is one pass, as before there were several

    def __post_init__(self) -> None:
        if not 1 <= self.size <= 8192:
            raise ValueError(f"size must be 1 to 8192 px, got {self.size}")
        if self.samples is not None and not 1 <= self.samples < 2**63:
            raise ValueError(f"samples must be at least 1 and fit in 63 bits, got {self.samples}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be 0 or more and fit in 63 bits, got {self.seed}")
        if not 1 <= self.micro_batch <= 4096:
            raise ValueError(f"micro_batch must be 1 to 4096, got {self.micro_batch}")
        if not 0 <= self.noise < MOST_PASSES:
            raise ValueError(f"noise must be 0 to {MOST_PASSES - 1}, got {self.noise}")

    @property
    def label(self) -> str:
        """The preset's name, with every setting that differs from it: ``photos-64+size=128``."""
        base = EARLIER.get((self.name, self.version)) or PRESETS.get(self.name)
        if base is None:
            return self.name
        changed = [
            field.name
            for field in fields(self)
            if field.name not in ("name", "version") and getattr(self, field.name) != getattr(base, field.name)
        ]
        return "+".join([self.name, *(f"{name}={getattr(self, name)}" for name in changed)])


PRESETS = {"photos-64": Protocol(name="photos-64", version=2, data="photos/test", size=64)}
"""Protocols by name; the first is the default."""

EARLIER = {("photos-64", 1): replace(PRESETS["photos-64"], version=1, crop="centre")}
"""Earlier versions of presets, under which records were measured."""

CHANGEABLE = ("size", "resize", "uint8", "samples", "seed", "precision", "micro_batch", "noise")
"""Settings a user may change; the others name what the metrics do."""


def get_protocol(name: str = "photos-64", changes: Mapping[str, object] | None = None, *, data: str | None = None) -> Protocol:
    """Take a preset and change settings.

    Args:
        name: Name of the preset.
        changes: Settings by name, as values or text.
        data: Name of another data set.

    Raises:
        TokbenchError: If preset or setting is unknown, or a value is refused.
    """
    if name not in PRESETS:
        raise unknown_name("protocol", name, PRESETS)
    protocol = PRESETS[name] if data is None else replace(PRESETS[name], data=data)
    changes = {key: value for key, value in (changes or {}).items() if value is not None}
    for key in changes:
        if key not in CHANGEABLE:
            raise unknown_name("protocol setting", key, CHANGEABLE)
    try:
        return with_overrides(protocol, changes)
    except ValueError as error:
        raise TokbenchError(str(error)) from error
