"""Network files that metrics and training need: some ship with the package, others are fetched once into the user's cache."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from tokbench.errors import TokbenchError, unknown_name
from tokbench.files import make_folder


@dataclass(frozen=True)
class Asset:
    """One network file.

    Args:
        name: What ``tokbench weights get`` takes.
        file: File name, in the package or in the cache.
        summary: What it is.
        licence: Its terms.
        embedded: Whether it ships with the package.
        sha256: Digest of the file; empty where it is made on the spot, and of networks of timm, whose digest is noted at first use.
        tensors_sha256: Digest of its tensors, as ``tokbench.weights.digest`` takes it, where the file has none.
    """

    name: str
    file: str
    summary: str
    licence: str
    embedded: bool = False
    sha256: str = ""
    tensors_sha256: str = ""


ASSETS = (
    Asset(
        "lpips-alex",
        "lpips-alex.safetensors",
        "LPIPS 0.1, AlexNet backbone and heads, half precision",
        "BSD-2-Clause, BSD-3-Clause",
        embedded=True,
        sha256="33cdb071b93a0394b368f22d24502984708b3932205a72b4ac3ff88456e36c8c",
    ),
    Asset(
        "lpips-vgg",
        "lpips-vgg.safetensors",
        "LPIPS 0.1, VGG16 backbone and heads",
        "BSD-2-Clause, BSD-3-Clause",
        tensors_sha256="8aca5a2f93ab5ee85f40cc9053b8903b6edc6f85295e2fe0d97a1955e7307cbe",
    ),
    Asset(
        "resnet50",
        "resnet50-0676ba61.pth",
        "ResNet50 of torchvision, IMAGENET1K_V1, for training only",
        "BSD-3-Clause",
        sha256="0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
    ),
    Asset(
        "inception",
        "pt_inception-2015-12-05-6726825d.pth",
        "Inception network of FID, 2015-12-05",
        "Apache-2.0",
        sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    ),
    Asset(
        "faces",
        "vladmandic-face-api-1.7.15.tgz",
        "face-api 1.7.15: networks that find and compare faces, and six photos",
        "MIT",
        sha256="0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031",
    ),
)


TIMM_FILE = "model.safetensors"
"""File of the weights in its repository on the hub, and here."""

TIMM = "timm/"
"""What stands before the name of a network of timm, ``timm/vit_large_patch14_dinov2.lvd142m``."""


def is_asset(name: str) -> bool:
    """Whether a name is that of a network file, fetched or not: one of ``ASSETS``, or a network of timm."""
    return name.startswith(TIMM) or any(asset.name == name for asset in ASSETS)


def get_asset(name: str) -> Asset:
    """Find an asset by name; any network of timm is one.

    Raises:
        TokbenchError: If there is none of that name.
    """
    if name.startswith(TIMM):
        if not re.fullmatch(r"timm/\w[\w-]*(\.\w[\w-]*)?", name, re.ASCII):
            raise TokbenchError(f"{name!r} names no network of timm; write timm/ARCHITECTURE.TAG, such as {TIMM}resnet50.a1_in1k")
        return Asset(name, f"{name}/{TIMM_FILE}", f"{name.removeprefix(TIMM)} of timm", "see its page")
    for asset in ASSETS:
        if asset.name == name:
            return asset
    raise unknown_name("weights", name, (asset.name for asset in ASSETS))


def cache_dir() -> Path:
    """The user's cache: ``$TOKBENCH_CACHE``, else ``$XDG_CACHE_HOME/tokbench``, else ``~/.cache/tokbench``. Not created."""
    if own := os.environ.get("TOKBENCH_CACHE"):
        return Path(own)
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "tokbench"
    try:
        return Path.home() / ".cache" / "tokbench"
    except RuntimeError:  # a user without a home
        return Path(os.devnull) / "set TOKBENCH_CACHE"  # never there, and what cannot be written to it says what to do


def make_cache() -> None:
    """Make the user's cache before something is fetched into it.

    Raises:
        TokbenchError: If it cannot be written.
    """
    folder = cache_dir()
    try:
        make_folder(folder)
    except TokbenchError as error:
        raise _no_cache(folder) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _no_cache(folder)


def _no_cache(folder: Path) -> TokbenchError:
    return TokbenchError(f"downloads are kept in {folder}, which cannot be written; set TOKBENCH_CACHE to a folder that can")


def asset_path(name: str) -> Path:
    """Where an asset lies, or would lie once fetched."""
    asset = get_asset(name)
    if asset.embedded:
        return Path(str(resources.files("tokbench.bench") / "weights" / asset.file))
    return cache_dir() / "weights" / asset.file


def need_asset(name: str) -> Path:
    """Where an asset lies.

    Raises:
        TokbenchError: If it has not been fetched yet; says how to fetch it and where to put it by hand.
    """
    path = asset_path(name)
    if not path.is_file():
        raise TokbenchError(f"{name} is not here; run: tokbench weights get {name} (or put the file at {path})")
    return path
