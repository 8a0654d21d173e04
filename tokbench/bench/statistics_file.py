"""Statistics of features as evaluators keep them: an .npz with a mean ``mu`` ``[d]`` and a covariance ``sigma`` ``[d, d]``.

pytorch-fid and clean-fid write these two. ADM's evaluator has ``mu_s`` and ``sigma_s`` of spatial features beside them, and often images
in ``arr_0``, which need not be those that the statistics are of. Nothing in a file is run.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tokbench.arrays import open_member
from tokbench.counting import counted
from tokbench.errors import TokbenchError
from tokbench.escapes import visible

MEAN, COVARIANCE = "mu", "sigma"
SPATIAL = ("mu_s", "sigma_s")
"""What only ADM's evaluator keeps."""

IMAGES = "arr_0"

MOST_FEATURES = 16384
"""Features whose covariance is taken, which is 2 GiB of that many."""

ROUNDING, TOO_FAR = 1e-6, 1e-3
"""How far a covariance may be from its transpose, by its largest value: without a word, and at all."""

SEMIDEFINITE = 1e-6
"""How far below 0 eigenvalues may lie, by the largest one, before that is said."""


@dataclass(frozen=True)
class Statistics:
    """What a file holds, checked.

    Args:
        mean: ``[d]``, float64.
        covariance: ``[d, d]``, float64 and symmetric.
        of_adm: Whether it is of the form that ADM's evaluator writes.
        guards: What is to be known of it, sentence by sentence.
    """

    mean: np.ndarray
    covariance: np.ndarray
    of_adm: bool
    guards: tuple[str, ...]


def members(path: Path) -> dict[str, str]:
    """Names of the arrays of an .npz, each with its name in the archive; empty if it is none that can be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError):
        return {}


def read_statistics(path: Path) -> Statistics:
    """Read mean and covariance.

    Raises:
        TokbenchError: If one is missing, damaged, of another shape, or not finite, or the covariance can be none.
    """
    names = members(path)
    lacking = [name for name in (MEAN, COVARIANCE) if name not in names]
    if lacking:
        raise TokbenchError(f"{path} lacks {lacking[0]}; statistics are an .npz with {MEAN} [d] and {COVARIANCE} [d, d]")
    try:
        with zipfile.ZipFile(path) as archive:
            mean, covariance = (open_member(path, archive, names[name]) for name in (MEAN, COVARIANCE))
            images = open_member(path, archive, names[IMAGES]).shape if IMAGES in names else ()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, MemoryError) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise TokbenchError(f"{path} holds no statistics that can be read ({visible(why)}); write them anew") from error
    floats = mean.dtype.kind == covariance.dtype.kind == "f"
    if not floats or mean.ndim != 1 or not 1 <= len(mean) <= MOST_FEATURES or covariance.shape != (len(mean), len(mean)):
        shapes = f"{MEAN} {mean.dtype} {list(mean.shape)} and {COVARIANCE} {covariance.dtype} {list(covariance.shape)}"
        raise TokbenchError(f"{path} holds {shapes}; statistics are floats [d] and [d, d], of {MOST_FEATURES} features at most")
    guards = [f"{COVARIANCE} is of {covariance.dtype}, which keeps fewer digits"] if covariance.dtype.itemsize < 8 else []
    mean, covariance = np.array(mean, dtype=np.float64), np.array(covariance, dtype=np.float64)
    found, more = _checked(path, mean, covariance)
    if images:
        guards.append(f"it holds {images[0]} images too; its statistics are taken, which may be of other images")
    return Statistics(mean, found, all(name in names for name in SPATIAL), (*guards, *more))


def _checked(path: Path, mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The covariance made symmetric, and what is to be known of it."""
    for name, values in ((MEAN, mean), (COVARIANCE, covariance)):
        if not np.isfinite(values).all():
            wrong = int((~np.isfinite(values)).sum())
            raise TokbenchError(
                f"{path}: {name} holds {counted(wrong, 'value')} that {'is' if wrong == 1 else 'are'} not finite; write it anew"
            )
    largest = float(np.abs(covariance).max())
    apart = float(np.abs(covariance - covariance.T).max()) / largest if largest else 0.0
    if apart > TOO_FAR or float(covariance.diagonal().min()) < 0:
        what = f"differs from its transpose by {apart:.1g} of its largest value" if apart > TOO_FAR else "has variances below 0"
        raise TokbenchError(f"{path}: {COVARIANCE} {what}, and is no covariance; write it anew, by numpy.cov(features, rowvar=False)")
    guards = [f"{COVARIANCE} is not symmetric, by {apart:.1g} of its largest value; its mean with its transpose is taken"]
    covariance = (covariance + covariance.T) / 2
    return covariance, guards * (apart > ROUNDING) + _of_eigenvalues(covariance)


def _of_eigenvalues(covariance: np.ndarray) -> list[str]:
    """What eigenvalues tell: how many images a singular covariance is of, and whether it can be one at all."""
    try:
        np.linalg.cholesky(covariance)
        return []
    except np.linalg.LinAlgError:
        values = np.linalg.eigvalsh(covariance)
    guards = []
    if values[0] < -SEMIDEFINITE * values[-1]:
        guards.append(f"{COVARIANCE} has eigenvalues down to {values[0] / values[-1]:.1g} of the largest, which are left out")
    rank = int((values > values[-1] * 1e-10).sum())
    if rank < len(values) and not guards:
        guards.append(f"{COVARIANCE} has rank {rank}, so that it is of about {rank + 1} images")
    return guards
