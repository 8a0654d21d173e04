"""Pictures of a run made again from its records: originals, reconstructions and codes, as they were when it was measured."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch

from tokbench.bench.anchors import Anchor, parse_anchor
from tokbench.bench.encode import reproducible
from tokbench.bench.identity import CHANGED, KEPT, TILING, weights_digest
from tokbench.bench.loader import Batch, LoadReport, choose, load_batches
from tokbench.bench.observation import Listing
from tokbench.bench.under_test import UnderTest
from tokbench.configs import flat
from tokbench.counting import counted
from tokbench.data.face_package import ASSET as FACES_ASSET
from tokbench.data.faces import FaceCrops
from tokbench.data.open import FACES_SPEC, comes_with_the_package, open_source
from tokbench.data.photos import PhotoCrops
from tokbench.data.source import ImageSource
from tokbench.data.text import TextImages
from tokbench.errors import TokbenchError
from tokbench.records.pictures import Picture, Pictures
from tokbench.records.record import Record
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.zoo import load
from tokbench.tokens import DiscreteTokens
from tokbench.weights.assets import asset_path

logger = logging.getLogger(__name__)

CHECKED_IMAGES = 2048
"""Up to so many images the data are read whole, to see that they are those the record was measured on."""

FACES_CREDIT = "faces: photos of the package @vladmandic/face-api 1.7.15, MIT"
"""Whose the fetched faces are."""


def make_pictures(records: Sequence[Record], image_ids: Sequence[str], *, data: tuple[str, ...] = (), device: str = "cpu") -> Pictures:
    """Make the pictures of some images again, by every record's tokenizer, protocol and seeds.

    Images are prepared and grouped into padded micro-batches as in a run, so a picture is what the run saw, bit for bit on
    the same machine. Tokenizers are loaded by name with the record's configuration, and their weights held to its digest.

    Args:
        records: All measured on the same images as the first; others get a reason.
        image_ids: Which images, as in the per-image rows.
        data: Places they may come from, as for ``--data``. They are only looked at if the records' own photos, text or faces are not
            here, or are not those that were measured.
        device: Where the tokenizers run.

    Returns:
        The pictures; what cannot be had has a reason instead.
    """
    if not records:
        return Pictures({}, (), ())
    first = records[0]
    try:
        source = _open(first, data)
        batches, credits = _load(source, first, image_ids)
    except TokbenchError as error:
        return Pictures({}, tuple({} for _ in records), tuple(str(error) for _ in records))
    originals = {name: pixels for batch in batches for name, pixels in zip(batch.ids, _pixels(batch.images), strict=True)}
    by_size = {first.protocol.at_once: batches}
    made: list[dict[str, Picture]] = []
    missing: list[str | None] = []
    for record in records:
        try:
            if record.data.pixels_digest != first.data.pixels_digest:
                raise TokbenchError(f"measured on other images: {record.data.name} at {record.protocol.size_text} px")
            size = record.protocol.at_once
            if size not in by_size:
                by_size[size] = _load(source, record, image_ids)[0]
            made.append(_pictures(record, by_size[size], device))
            missing.append(None)
        except Exception as error:  # weights, plug-ins and devices fail in any way; one tokenizer must not cost the others
            logger.info("no pictures of %s", record.tokenizer.name, exc_info=True)
            made.append({})
            missing.append(str(error) if isinstance(error, TokbenchError) else f"{type(error).__name__}: {error}")
    attribution = FACES_CREDIT if isinstance(source, FaceCrops) and source.name == FACES_SPEC else ""
    shown = {name: originals[name] for name in image_ids if name in originals}
    return Pictures(shown, tuple(made), tuple(missing), attribution, {name: credits[name] for name in shown if credits.get(name)})


def _open(record: Record, data: tuple[str, ...]) -> ImageSource:
    """The images of the record's own name if they are here, else those of the first place that has them."""
    own = record.data.name
    try:
        if not comes_with_the_package(own):
            raise TokbenchError(f"the images of {own} do not come with the package; name them with --data")
        if own == FACES_SPEC and not asset_path(FACES_ASSET).is_file():
            raise TokbenchError(f"the images of {own} are not here; run: tokbench weights get {FACES_ASSET}")
        return _measured(own, record)
    except TokbenchError as error:
        if not data:
            raise
        problems = []
        for place in data:
            try:
                return _measured(place, record)
            except TokbenchError as other:
                problems.append(str(other))
        raise TokbenchError(f"{error}; of --data: {'; '.join(problems)}") from error


def _measured(spec: str, record: Record) -> ImageSource:
    """Open images and hold them to the record's digest."""
    source = open_source(spec, size=record.protocol.size, scaled=not record.protocol.scales_all)
    indices = choose(source, record.protocol)
    if len(indices) != record.data.requested:
        raise TokbenchError(
            f"{source.name} gives {counted(len(indices), 'image')}, the record was measured on {record.data.requested}; name its images with --data"
        )
    if len(indices) <= CHECKED_IMAGES:
        report = LoadReport()
        for _ in load_batches(source, indices, record.protocol, report, read_ahead=64, strict=False):
            pass
        if report.pixels_digest() != record.data.pixels_digest:
            raise TokbenchError(f"the images of {source.name} are not those the record was measured on; name its images with --data")
    return source


def _load(source: ImageSource, record: Record, image_ids: Sequence[str]) -> tuple[list[Batch], dict[str, str]]:
    """The images, and whose they are."""
    wanted = set(image_ids)
    indices = sorted((i for i, name in enumerate(source.ids) if name in wanted), key=source.ids.__getitem__)
    unknown = sorted(wanted - {source.ids[i] for i in indices})
    if unknown:
        raise TokbenchError(f"{source.name} has no image {unknown[0]!r}; name the images of the record with --data")
    if not indices:
        return [], {}
    credits = {source.ids[i]: source.credit(i) for i in indices} if isinstance(source, PhotoCrops | TextImages) else {}
    return list(load_batches(source, indices, record.protocol, LoadReport(), read_ahead=64, strict=False)), credits


def _pictures(record: Record, batches: Sequence[Batch], device: str) -> dict[str, Picture]:
    """What a record's tokenizer makes of batches of as many images as it sees at once."""
    under_test = UnderTest(_tokenizer(record, device), record.protocol)
    made = {}
    with reproducible():
        for batch in batches:
            observation = under_test.observe(batch, Listing(batch.ids, batch.groups))
            before, after = observation.tokens, None
            if isinstance(before, DiscreteTokens):
                after = observation.tokens_again
            for i, (name, pixels) in enumerate(zip(batch.ids, _pixels(observation.reconstruction), strict=True)):
                codes = _codes(before, i) if isinstance(before, DiscreteTokens) else None
                again = _codes(after, i) if isinstance(after, DiscreteTokens) else None
                made[name] = Picture(name, pixels, codes, again)
    return made


def _tokenizer(record: Record, device: str) -> Tokenizer | Anchor:
    info = record.tokenizer
    anchor = parse_anchor(info.name)
    if anchor is not None:
        return anchor
    if CHANGED in info.config:
        raise TokbenchError(
            f"{info.name} was measured after {', '.join(info.config[CHANGED])} of it had been changed; it cannot be made again"
        )
    settings = flat(info.config)
    kept, size, overlap, windows, halfway = (
        settings.pop(key, None) for key in (KEPT, *(f"{TILING}.{what}" for what in ("size", "overlap", "windows", "halfway")))
    )
    tokenizer = load(info.name, None, device, config=settings)
    if isinstance(kept, int):
        tokenizer = tokenizer.keeping(kept)
    if isinstance(size, int):
        tokenizer = tokenizer.tiled(size, overlap=overlap, windows=windows or 0, halfway=bool(halfway))
    if tokenizer.weights_sha256 != info.weights_sha256:
        here, there = ((digest or "none")[:8] for digest in (tokenizer.weights_sha256, info.weights_sha256))
        raise TokbenchError(f"{info.name} was measured with the weights {there}, those that load here are {here}")
    state = weights_digest(tokenizer)
    if info.state_sha256 is not None and state != info.state_sha256:
        raise TokbenchError(
            f"{info.name} was measured with the tensors {info.state_sha256[:8]}, those that load here are {(state or 'none')[:8]}"
        )
    if info.weights_how is not None and tokenizer.weights_how != info.weights_how:
        raise TokbenchError(f"{info.name} was measured with other weights of the same file: {info.weights_how}")
    return tokenizer


def _codes(tokens: DiscreteTokens, index: int) -> np.ndarray:
    codes = tokens.codes[index].cpu().numpy()
    return codes.reshape(*tokens.grid, codes.shape[1])


def _pixels(images: torch.Tensor) -> list[np.ndarray]:
    return list(images.cpu().permute(0, 2, 3, 1).contiguous().numpy())
