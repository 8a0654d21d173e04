"""The protocol: everything a figure depends on but the tokenizer and the data's bytes; named, versioned, recorded whole."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from tokbench.configs import UNLESS_DEFAULT, with_overrides
from tokbench.errors import TokbenchError, unknown_name
from tokbench.image_size import Size, check_size, parse_size, sides, size_text

ResizeFilter = Literal["lanczos", "bicubic", "bilinear", "box", "box halving, bicubic"]
Crop = Literal["centre", "centre, whole pixels", "scale all, cut on whole pixels", "scale all, cut as torchvision"]
Uint8Rule = Literal["round", "half up", "truncate"]
Pixels = Literal["bytes", "floats", "unclamped floats"]
FidResize = Literal["TF1 bilinear to 299", "bilinear to 299", "bilinear antialias to 299", "bicubic antialias to 299"]
FidScaling = Literal["(x - 128) / 128", "x / 127.5 - 1"]

HALVING, TORCHVISION = "box halving, bicubic", "scale all, cut as torchvision"
"""One of the filters, and one of the crops."""

MOST_PASSES = 1000
"""Passes over the same images."""

MOST_DRAFT = 8
"""Sides of the result that a decoder may be asked to leave at most."""


def scales_all(crop: str) -> bool:
    """Whether a crop scales the whole picture before it cuts."""
    return crop.startswith("scale all")


@dataclass(frozen=True)
class Protocol:
    """How tokenizers are measured. Defaults are those of ``photos-64``, which records without a field were measured under.

    Args:
        name: Name of the preset.
        version: Version of the preset; raised whenever a figure under it may change.
        data: Name of the data set (its digest stands beside the protocol in a record).
        size: Side of the square images in pixels, as the tokenizer sees them; or height and width, where images are not square.
        resize: Filter that scales a picture until it just covers ``size``: its shortest side, of squares. ``box halving, bicubic`` halves
            by means of 2x2 pixels as long as both sides are twice the size, and scales what is left.
        antialias: Whether the filter widens where it scales down; only ``bilinear`` and ``bicubic`` can do without.
        crop: What is kept: the centre, of the shape of ``size``. ``centre, whole pixels`` scales that part alone, and cuts on whole pixels where nothing is
            scaled. ``centre`` (version 1 of the presets) resampled half a pixel off there. ``scale all, cut on whole pixels`` scales the
            whole picture, its long side rounded, and cuts at the upper or left one of two middle places. ``scale all, cut as
            torchvision`` cuts the long side's fraction off, and rounds half a pixel to the even place.
        uint8: How reconstructions become bytes: rounded (half to even), half up, or cut off.
        samples: How many images at most, chosen by ``seed``; None takes all.
        seed: Seed of the choice of images and of stochastic tokenizers.
        precision: Number format the tokenizer runs in.
        micro_batch: Images every network sees at once, the tokenizer too unless ``tokenizer_batch`` says otherwise.
        noise: Which pass over the images it is. Passes differ in the noise that stochastic tokenizers draw, and in nothing else.
        tokenizer_batch: Images the tokenizer sees at once, a divisor or a multiple of ``micro_batch``, on which its rounding may depend.
        compiled: Whether the tokenizer runs through ``torch.compile``, by inductor, which rounds otherwise.
        jpeg_draft: JPEGs are decoded at a half, a quarter or an eighth of their size: the smallest whose shortest side has at least so
            many times ``size``; 1 to 8. Of a height and a width, the longer one counts. The decoder scales in its own way, so that what
            ``resize`` makes of it is not what it makes of all pixels. None decodes all of them.
        originals: What reconstructions are compared with: the bytes that were read, or those that were cut off on the way to [-1, 1]
            and back. That lowers 95 of the 256 grey levels by one.
        judged_size: Side to which originals and reconstructions are scaled, as bytes by ``bilinear`` with antialias, before anything
            judges them; None judges them at ``size``.
        batch: Images of a batch, where a figure is taken over batches; 1 where none is.
        pixels: What PSNR, SSIM and MS-SSIM see of a reconstruction: its bytes, or what the tokenizer gave, clamped or not.
        psnr_averaging: What is averaged: decibels of images, errors of all images, or decibels of the errors of batches.
        psnr_range: What the peak is: 255, or the largest value of the originals.
        psnr_ceiling: Decibels that an image counts as at most, also one that came back exactly; None counts such images apart.
        ssim_window: Window of local means.
        ssim_covariance: Divisor of local variances: that of the whole window (N), or that of samples (N - 1).
        ssim_border: Whether only positions count where the window lies inside, or all, with the image mirrored at its border.
        ssim_range: What the constants take for the range of pixels, as a multiple of the true one; None takes largest less smallest
            value of each batch.
        ssim_colour: Mean over the channels of RGB, or luminance (BT.601) alone.
        lpips_nets: Backbones of LPIPS that are measured by default; heads of version 0.1, at native size.
        lpips_range: Range of the pixels the backbones are given; they were made for [-1, 1].
        lpips_pixels: What LPIPS sees of a reconstruction.
        fd: Network and input of the Fréchet distance that needs no download.
        fid_network: Network of ``rfid``.
        fid_resize: How it is given 299 px. ``bilinear`` is that of torch, half a pixel on from TF1's.
        fid_scaling: What it is given of bytes, or of floats in their range.
        fid_pixels: What it sees of a reconstruction; floats are never made bytes.
        reference: What reconstructions are compared with by ``rfid``.

    Raises:
        ValueError: If a number is out of range, or settings do not go together.
    """

    name: str
    version: int
    data: str
    size: Size
    resize: ResizeFilter = "lanczos"
    antialias: bool = True
    crop: Crop = "centre, whole pixels"
    uint8: Uint8Rule = "round"
    samples: int | None = None
    seed: int = 0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    micro_batch: int = 16
    originals: Literal["as read", "truncated"] = "as read"
    judged_size: int | None = None
    batch: int = 1
    pixels: Pixels = "bytes"
    psnr_averaging: Literal["images", "all pixels", "batches"] = "images"
    psnr_range: Literal["255", "largest original"] = "255"
    psnr_ceiling: float | None = None
    ssim_window: Literal["gaussian 11x11 sigma 1.5", "uniform 7x7"] = "gaussian 11x11 sigma 1.5"
    ssim_covariance: Literal["N", "N - 1"] = "N"
    ssim_border: Literal["valid", "mirrored"] = "valid"
    ssim_range: float | None = 1.0
    ssim_colour: Literal["RGB", "luminance"] = "RGB"
    lpips_nets: tuple[Literal["alex", "vgg"], ...] = ("alex",)
    lpips_range: Literal["[-1, 1]", "[0, 1]"] = "[-1, 1]"
    lpips_pixels: Pixels = "bytes"
    fd: Literal["EfficientNet-Lite0, bilinear antialias to 128"] = "EfficientNet-Lite0, bilinear antialias to 128"
    fid_network: Literal["Inception 2015-12-05"] = "Inception 2015-12-05"
    fid_resize: FidResize = "TF1 bilinear to 299"
    fid_scaling: FidScaling = "(x - 128) / 128"
    fid_pixels: Pixels = "bytes"
    reference: Literal["the same images, uint8"] = "the same images, uint8"
    noise: int = field(default=0, metadata=UNLESS_DEFAULT)  # left out of records where there is one pass, as before there were several
    tokenizer_batch: int | None = field(default=None, metadata=UNLESS_DEFAULT)
    compiled: bool = field(default=False, metadata=UNLESS_DEFAULT)
    jpeg_draft: int | None = field(default=None, metadata=UNLESS_DEFAULT)

    def __post_init__(self) -> None:
        check_size(self.size)
        if self.judged_size is not None:
            check_size(self.judged_size, "judged_size")
            if not isinstance(self.size, int):
                raise ValueError(
                    f"images that are judged at a side of {self.judged_size} px must be square, got size {size_text(self.size)}"
                )
        if self.samples is not None and not 1 <= self.samples < 2**63:
            raise ValueError(f"samples must be at least 1 and fit in 63 bits, got {self.samples}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be 0 or more and fit in 63 bits, got {self.seed}")
        if not 1 <= self.micro_batch <= 4096:
            raise ValueError(f"micro_batch must be 1 to 4096, got {self.micro_batch}")
        if not 1 <= self.at_once <= 4096 or (self.at_once % self.micro_batch and self.micro_batch % self.at_once):
            raise ValueError(
                f"tokenizer_batch must divide {self.micro_batch} or be a multiple of it up to 4096, got {self.tokenizer_batch}"
            )
        if not 1 <= self.batch <= 4096:
            raise ValueError(f"batch must be 1 to 4096, got {self.batch}")
        if not 0 <= self.noise < MOST_PASSES:
            raise ValueError(f"noise must be 0 to {MOST_PASSES - 1}, got {self.noise}")
        if self.jpeg_draft is not None and not 1 <= self.jpeg_draft <= MOST_DRAFT:
            raise ValueError(f"jpeg_draft must be 1 to {MOST_DRAFT}, got {self.jpeg_draft}")
        if not self.antialias and self.resize not in ("bilinear", "bicubic"):
            raise ValueError(f"antialias=False goes with resize=bilinear or bicubic, got {self.resize}")
        if not self.scales_all and (self.resize == HALVING or not self.antialias):
            raise ValueError(f"resize={self.resize}, antialias={self.antialias} goes with a crop that scales all, got {self.crop!r}")
        if self.ssim_range is not None and not 0 < self.ssim_range <= 1000:
            raise ValueError(f"ssim_range must be above 0 and at most 1000, got {self.ssim_range}")
        if self.ssim_range is None and self.micro_batch % self.batch:
            raise ValueError(f"micro_batch must be a multiple of batch where ssim_range is that of a batch, got {self.micro_batch}")
        if self.psnr_ceiling is not None and not 0 < self.psnr_ceiling <= 1000:
            raise ValueError(f"psnr_ceiling must be above 0 and at most 1000 dB, got {self.psnr_ceiling}")

    @property
    def pixels_in(self) -> Mapping[str, object]:
        """Whatever the images depend on that a tokenizer is given, and what it makes of them: protocols alike in it share one pass."""
        return {name: getattr(self, name) for name in PIXELS_IN}

    @property
    def scales_all(self) -> bool:
        """Whether the whole picture is scaled before it is cut."""
        return scales_all(self.crop)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the images, in pixels."""
        return sides(self.size)

    @property
    def size_text(self) -> str:
        """The size in words: ``256``, or ``576x1024``."""
        return size_text(self.size)

    @property
    def pixels_per_image(self) -> int:
        """Height times width."""
        height, width = self.shape
        return height * width

    @property
    def seen_at(self) -> tuple[int, int]:
        """Height and width of the images that are judged, in pixels."""
        return sides(self.size if self.judged_size is None else self.judged_size)

    @property
    def figures_from(self) -> Hashable:
        """Whatever figures of the same images depend on by more than rounding: protocols alike in it compare."""
        return tuple((field.name, getattr(self, field.name)) for field in fields(self) if field.name not in (*ROUNDING, "samples"))

    @property
    def at_once(self) -> int:
        """Images the tokenizer sees at once."""
        return self.micro_batch if self.tokenizer_batch is None else self.tokenizer_batch

    @property
    def label(self) -> str:
        """The preset's name, with every setting that differs from it but by rounding: ``photos-64+size=128``."""
        base = EARLIER.get((self.name, self.version)) or PRESETS.get(self.name)
        if base is None:
            return self.name
        changed = [
            field.name
            for field in fields(self)
            if field.name not in ("name", "version", *ROUNDING) and getattr(self, field.name) != getattr(base, field.name)
        ]
        return "+".join([self.name, *(f"{name}={value_text(self, name)}" for name in changed)])


def value_text(protocol: Protocol, name: str) -> Any:
    """A setting as people write it: its value, but height and width as one word."""
    value = getattr(protocol, name)
    return size_text(value) if name == "size" and not isinstance(value, int) else value


PIXELS_IN = (
    *("size", "resize", "antialias", "crop", "jpeg_draft", "samples", "seed"),
    *("precision", "micro_batch", "noise", "tokenizer_batch", "compiled"),
)
"""Settings that reach the tokenizer; all others say how its images are judged."""

ROUNDING = ("micro_batch", "tokenizer_batch", "compiled")
"""Settings that figures depend on by rounding alone: recorded, said below tables, and no reason to keep records apart."""

DEFAULT, CLEAN = "photos-64", "tokbench-256"
"""Presets of the images that come with the package, and of folders and data sets."""

_ADM = {"resize": "box halving, bicubic", "crop": "scale all, cut on whole pixels"}
_TORCHVISION = {"resize": "bilinear", "crop": "scale all, cut as torchvision"}
_SKIMAGE = {"ssim_window": "uniform 7x7", "ssim_covariance": "N - 1"}
_PYTORCH_FID = {"fid_resize": "bilinear to 299", "fid_scaling": "x / 127.5 - 1"}

_CLEAN = Protocol(
    name="tokbench-256",
    version=1,
    data="photos/test",
    size=256,
    resize="bicubic",
    crop="scale all, cut on whole pixels",
    lpips_nets=("alex", "vgg"),
)


def _published(name: str, size: int = 256, /, **settings: object) -> Protocol:
    """A preset that repeats what a repository does to the validation images of ImageNet."""
    return Protocol(name=name, version=1, data="imagenet-val", size=size, **settings)  # type: ignore[arg-type]


_SEED_VOKEN = _published(
    "seed-voken",
    **_TORCHVISION,
    **_SKIMAGE,
    **_PYTORCH_FID,
    uint8="truncate",
    originals="truncated",
    lpips_nets=("alex", "vgg"),
    lpips_pixels="floats",
    fid_pixels="floats",
)
_MASKBIT = _published(
    "maskbit",
    **_TORCHVISION,
    uint8="truncate",
    pixels="floats",
    psnr_ceiling=100.0,
    ssim_border="mirrored",
    lpips_nets=("vgg",),
    lpips_pixels="floats",
)
_BSQ = _published(
    "bsq-lanczos",
    resize="lanczos",
    crop="scale all, cut as torchvision",
    **_PYTORCH_FID,
    pixels="unclamped floats",
    lpips_pixels="unclamped floats",
    fid_pixels="unclamped floats",
)
_RAE = _published("rae", **_ADM, psnr_ceiling=100.0, ssim_border="mirrored", lpips_nets=("vgg",))
_VTBENCH = _published(
    "vtbench",
    resize="lanczos",
    crop="scale all, cut on whole pixels",
    uint8="truncate",
    judged_size=256,
    batch=8,
    psnr_averaging="all pixels",
    psnr_range="largest original",
    ssim_border="mirrored",
    ssim_range=None,
    lpips_range="[0, 1]",
    fid_resize="bilinear antialias to 299",
)
_TAMING = _published("taming", resize="bilinear", antialias=False, crop="scale all, cut on whole pixels", uint8="truncate", lpips_nets=())

PRESETS = {
    protocol.name: protocol
    for protocol in (
        Protocol(name="photos-64", version=2, data="photos/test", size=64),
        _CLEAN,
        replace(_CLEAN, name="tokbench-512", size=512),
        _published("llamagen", **_ADM, **_SKIMAGE, uint8="half up", ssim_range=2.0, lpips_nets=()),
        _SEED_VOKEN,
        replace(_SEED_VOKEN, name="flowmo", precision="bf16", batch=5, psnr_averaging="batches"),
        _published("titok", resize="bicubic", crop="scale all, cut as torchvision", lpips_nets=()),
        replace(_MASKBIT, version=2),
        replace(_BSQ, version=2),
        replace(_RAE, version=2, uint8="truncate"),
        _published("dcae-512", 512, **_ADM, **_PYTORCH_FID, uint8="half up", ssim_border="mirrored"),
        replace(_VTBENCH, version=2, originals="truncated"),
        _TAMING,
        replace(_TAMING, name="ldm", lpips_nets=("vgg",)),
    )
}
"""Protocols by name; the first is the default."""

EARLIER = {
    (protocol.name, protocol.version): protocol for protocol in (replace(PRESETS["photos-64"], version=1, crop="centre"), _RAE, _VTBENCH)
}
"""Earlier versions of presets, under which records were measured; one whose settings are those of today is not among them."""

CHANGEABLE = (
    *("size", "resize", "uint8", "samples", "seed", "precision", "micro_batch", "noise", "tokenizer_batch", "compiled"),
    "jpeg_draft",
)
"""Settings a user may change; the others name what the metrics do."""


def without_rounding(label: str) -> str:
    """The label of a protocol without settings that figures depend on by rounding alone, which earlier versions wrote there."""
    first, *changes = label.split("+")
    return "+".join([first, *(change for change in changes if change.partition("=")[0] not in ROUNDING)])


def get_protocol(name: str = DEFAULT, changes: Mapping[str, object] | None = None, *, data: str | None = None) -> Protocol:
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
    if isinstance(changes.get("size"), str):
        changes["size"] = parse_size(str(changes["size"]), name="size")
    for key in changes:
        if key not in CHANGEABLE:
            raise unknown_name("protocol setting", key, CHANGEABLE)
    try:
        return with_overrides(protocol, changes)
    except ValueError as error:
        raise TokbenchError(str(error)) from error
