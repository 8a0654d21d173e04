"""Weights of the networks that judge and train: read only where their digest is the expected one."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.weights.assets import TIMM_FILE, Asset, get_asset, need_asset
from tokbench.weights.checkpoints import read_state, sha256
from tokbench.weights.digest import tensors_digest
from tokbench.weights.places import HubPlace, check_pin


def read_judge(name: str) -> tuple[dict[str, Tensor], str]:
    """Read the tensors of an asset.

    Args:
        name: Name of the asset.

    Returns:
        Tensors by name, and the file's SHA-256.

    Raises:
        TokbenchError: If it has not been fetched, or is not the network of that name.
    """
    asset = get_asset(name)
    path = need_asset(name)
    if asset.sha256:
        check_file(asset, path)
    state, digest = read_state(path)
    if asset.tensors_sha256 and tensors_digest(state) != asset.tensors_sha256:
        raise not_the_judge(asset, path, tensors_digest(state), asset.tensors_sha256)
    return state, digest


def timm_place(name: str) -> HubPlace:
    """Where the weights of a network of timm are published.

    Args:
        name: Name of the asset, ``timm/ARCHITECTURE.TAG``.
    """
    return HubPlace(get_asset(name).name, TIMM_FILE)


def need_timm(name: str) -> tuple[Path, str]:
    """Find the weights of a network of timm here, as they were at first use.

    Args:
        name: Name of the asset.

    Returns:
        The file, and its SHA-256, which is noted if it is the first.

    Raises:
        TokbenchError: If it has not been fetched, or is not the file of its first use.
    """
    path = need_asset(name)
    return path, check_pin(str(timm_place(name)), path, name=name)


def check_file(asset: Asset, path: Path) -> None:
    """Compare a file's digest with the asset's, before anything in it is read.

    Raises:
        TokbenchError: If they differ.
    """
    if (digest := sha256(path)) != asset.sha256:
        raise not_the_judge(asset, path, digest, asset.sha256)


def not_the_judge(asset: Asset, path: Path, digest: str, expected: str) -> TokbenchError:
    """Build the error for a file that is not what its name says, to be raised by the caller."""
    again = "install tokbench again" if asset.embedded else f"run: tokbench weights get {asset.name} --renew"
    return TokbenchError(f"{path} is not {asset.name}: it has SHA-256 {digest[:12]}, expected {expected[:12]}; {again}")
