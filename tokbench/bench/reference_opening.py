"""From what a user gives after ``--reference`` to a reference: it is read once, and what is to be known of it is noted in sentences."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from tokbench.bench.fitting import fit
from tokbench.bench.loader import LoadReport, in_background, key_of, opened, reading_order
from tokbench.bench.references import AHEAD, ImagesReference, Reference, StatisticsReference
from tokbench.bench.statistics_file import COVARIANCE, IMAGES, MEAN, members, read_statistics
from tokbench.counting import counted
from tokbench.data.open import open_source
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.escapes import visible
from tokbench.images import UnreadableImage
from tokbench.readers import readers
from tokbench.records.protocol import Protocol
from tokbench.records.record import SkippedImage
from tokbench.weights.checkpoints import sha256

logger = logging.getLogger(__name__)

TRAINING = re.compile(r"(?<![a-z])train", re.IGNORECASE)
"""How files and folders are called that are of training images."""

ADM_TRAINING = re.compile(r"virtual_", re.IGNORECASE)
"""How ADM's files are called whose statistics are of whole training sets."""

IMAGENET_TRAINING = 1_281_167

WHOLE = "raw:"
"""Begins references whose images are not cut."""

UNCUT = "each is taken whole and stretched to what a network takes, as other packages take folders, while those measured are cut"
"""What is to be known of such a reference."""

MADE_BY = {"_clean_": "clean-fid", "_legacy_pytorch_": "pytorch-fid", "_legacy_tensorflow_": "torch-fidelity"}
"""What clean-fid's names of statistics say of who scaled the images."""


def open_reference(spec: str | Path, protocol: Protocol, *, images: int) -> Reference:
    """Open a reference, read it once, and note what is to be known of it.

    Args:
        spec: An .npz of statistics or of images, a folder, or whatever else ``--data`` takes; of images behind ``raw:`` none is cut, and
            networks scale each as it is.
        protocol: How images are cut.
        images: How many images are measured.

    Raises:
        TokbenchError: If it is missing, damaged, or neither statistics nor images; or no image can be read.
    """
    whole = str(spec).startswith(WHOLE)
    spec = str(spec).removeprefix(WHOLE)
    path = Path(spec).expanduser()
    if path.is_file() and path.suffix.lower() == ".npz":
        names = members(path)
        if whole and (MEAN in names or COVARIANCE in names):
            raise TokbenchError(f"{path} holds statistics, and {WHOLE} is for images that are taken whole; leave {WHOLE} out")
        if MEAN in names or COVARIANCE in names:
            return _statistics(path)
        if names and IMAGES not in names:
            held = ", ".join(visible(name) for name in sorted(names)[:5])
            raise TokbenchError(f"{path} holds {held}; a reference is statistics ({MEAN} and {COVARIANCE}) or images ({IMAGES})")
    try:
        source = open_source(str(spec), size=protocol.size, scaled=not (whole or protocol.scales_all))
    except TokbenchError as error:
        raise TokbenchError(str(error).replace("--data", "--reference")) from error
    return _images(str(spec), source, protocol, images, whole=whole)


def _statistics(path: Path) -> StatisticsReference:
    found = read_statistics(path)
    made_by = next((who for word, who in MADE_BY.items() if word in path.name.lower()), "torch-fidelity" if found.of_adm else "")
    kind = "statistics of ADM's evaluator" if found.of_adm else "statistics"
    guards = (*_of_training(path.name, adm=found.of_adm), *found.guards)
    return StatisticsReference(path.name, kind, sha256(path), None, guards, found.mean, found.covariance, made_by)


def _images(spec: str, source: ImageSource, protocol: Protocol, measured: int, *, whole: bool) -> ImagesReference:
    report, sizes, indices = LoadReport(), list[tuple[int, int]](), list[int]()
    look = partial(_look, source, None if whole else protocol)
    order = reading_order(source)
    for index, found in zip(order, in_background(look, order, ahead=AHEAD, workers=readers()), strict=True):
        if isinstance(found, SkippedImage):
            report.skipped.append(found)
            continue
        name = source.ids[index]
        size, report.pixels[name], report.raw[name] = found
        indices.append(index)
        sizes.append(size)
    if not indices:
        first = report.skipped[0] if report.skipped else None
        why = f"the first: {visible(first.id)}: {first.reason}" if first else "there are none"
        raise TokbenchError(f"none of the images of --reference {spec} can be read ({why})")
    guards = list(_of_training(spec, adm=False))
    if not guards and len(indices) == IMAGENET_TRAINING:
        guards.append(f"it has {len(indices)} images, as many as ImageNet's training set")
    others = [size for size in sizes if size != protocol.shape[::-1]]
    if others:
        what = UNCUT if whole else "they are cut as the protocol cuts"
        wanted = "x".join(map(str, protocol.shape))
        other = f"{others[0][1]}x{others[0][0]}" + " as they are decoded" * (protocol.jpeg_draft is not None and not whole)
        guards.append(f"{len(others)} of {len(indices)} files are not {wanted} px but such as {other}; {what}")
    if len(indices) != measured:
        guards.append(f"it has {counted(len(indices), 'image')}, {measured} are measured; Fréchet distances compare at equal numbers only")
    if report.skipped:
        guards.append(f"{len(report.skipped)} of its files cannot be read and are left out, the first {visible(report.skipped[0].id)}")
    if source.passed_over:
        guards.append(f"{len(source.passed_over)} of its files are of kinds that are not read")
    keys = tuple(report.pixels[source.ids[index]] for index in indices)
    digest = report.pixels_digest()
    return ImagesReference(
        name=source.name,
        kind="images, whole" if whole else "images",
        sha256=digest,
        images=len(indices),
        guards=tuple(guards),
        source=source,
        protocol=protocol,
        indices=tuple(indices),
        keys=keys,
        source_sha256=digest if whole else report.digest(),
        sizes=tuple(sizes) if whole else (),
    )


def _look(source: ImageSource, protocol: Protocol | None, index: int) -> tuple[tuple[int, int], bytes, bytes] | SkippedImage:
    """Size of one image as it is decoded, before it is cut, digest of its pixels after, and of what it is made from.

    Without a protocol images are not cut.
    """
    try:
        image, raw = opened(source, protocol, index)
        pixels = np.asarray(image) if protocol is None else fit(image, protocol)
    except UnreadableImage as error:
        return SkippedImage(source.ids[index], str(error))
    return image.size, key_of(pixels), raw


def _of_training(spec: str, *, adm: bool) -> tuple[str, ...]:
    """What the name says of training images."""
    if adm and ADM_TRAINING.match(Path(spec).name):
        return ("ADM's VIRTUAL files hold statistics of whole training sets, not of the images that are reconstructed",)
    if TRAINING.search("/".join(Path(spec).parts[-3:])):
        return ("its name says that it is of training images, which are not those that are reconstructed",)
    return ()


class References:
    """A reference as a user named it, opened once for all runs that cut it alike, and said to mislead once.

    Args:
        spec: As ``open_reference`` takes it.
        say: Takes a line on what is to be known of it.
    """

    def __init__(self, spec: str | Path, say: Callable[[str], object] = logger.warning) -> None:
        self._spec, self._say = spec, say
        self._opened: dict[tuple[Protocol, int], Reference] = {}
        self._said: set[str] = set()

    def of(self, protocol: Protocol, *, images: int) -> Reference:
        """The reference as a protocol cuts it.

        Args:
            protocol: Protocol of a run.
            images: How many images the run measures.

        Raises:
            TokbenchError: As ``open_reference``.
        """
        key = replace(protocol, noise=0), images
        if key not in self._opened:
            reference = self._opened[key] = open_reference(self._spec, protocol, images=images)
            line = f"--reference {visible(reference.name)}: {'; '.join(reference.guards)}"
            if reference.guards and line not in self._said:
                self._said.add(line)
                self._say(line)
        return self._opened[key]
