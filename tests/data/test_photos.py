"""The embedded photos: counts, splits, crops and attribution."""

from __future__ import annotations

import csv
import hashlib
from importlib import resources

import numpy as np
import pytest

from tokbench.data.photos import MAX_IOU, MIN_STD, PhotoCrops, WholePhotos, crop_boxes, photo_rows
from tokbench.errors import TokbenchError
from tokbench.images import load_rgb

SPLITS = ("train", "test")


def table() -> list[dict[str, str]]:
    text = (resources.files("tokbench.data") / "photos" / "ATTRIBUTION.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@pytest.mark.parametrize(("split", "photos", "crops"), [("train", 113, 1955), ("test", 40, 736)])
def test_counts(split: str, photos: int, crops: int) -> None:
    assert len(photo_rows(split)) == len(WholePhotos(split)) == photos  # type: ignore[arg-type]
    source = PhotoCrops(split, 64)  # type: ignore[arg-type]
    assert len(source) == len(PhotoCrops(split, 32)) == crops  # type: ignore[arg-type]
    assert {source.group(index) for index in range(len(source))} == {photo.id for photo in photo_rows(split)}  # type: ignore[arg-type]
    assert len(set(source.ids)) == crops


@pytest.mark.parametrize(
    ("split", "size", "count"),
    [
        *[("train", 96, 1533), ("train", 128, 1173), ("train", 192, 563), ("train", 256, 196)],
        *[("test", 96, 619), ("test", 128, 467), ("test", 192, 223), ("test", 256, 96)],
    ],
)
def test_larger_crops_are_fewer_and_never_enlarged(split: str, size: int, count: int) -> None:
    source = PhotoCrops(split, size)  # type: ignore[arg-type]
    assert len(source) == count
    assert set(source.ids) < set(PhotoCrops(split, 64).ids)  # type: ignore[arg-type]
    for _, _, (left, top, right, bottom) in source._cuts:
        assert right - left == bottom - top >= size
    assert source.read(0).size == (size, size)


def test_no_photo_is_in_both_splits() -> None:
    train, test = (photo_rows(split) for split in SPLITS)
    for field in ("id", "source_sha256"):
        assert not {getattr(photo, field) for photo in train} & {getattr(photo, field) for photo in test}
    pixels = [{hashlib.sha256(photo.read_bytes()).hexdigest() for photo in rows} for rows in (train, test)]
    assert not pixels[0] & pixels[1]


def test_every_row_has_its_file_and_every_file_its_row() -> None:
    folder = resources.files("tokbench.data") / "photos"
    assert {path.name for path in folder.iterdir() if path.name.endswith(".webp")} == {f"{row['id']}.webp" for row in table()}


def test_every_photo_is_attributed() -> None:
    rows = table()
    shipped = sorted(entry.name for entry in (resources.files("tokbench.data") / "photos").iterdir() if entry.name.endswith(".webp"))
    assert shipped == sorted(f"{row['id']}.webp" for row in rows)
    for row in rows:
        assert row["licence"], row["id"]
        assert row["author"], row["id"]
        assert row["origin"] or (row["package"] and row["file"]), row["id"]
        assert len(row["source_sha256"]) == 64
        assert row["source_sha256"].startswith(row["id"])


def test_the_pixels_of_the_test_crops_at_64() -> None:
    """Every figure measured on them depends on this digest."""
    source, digest = PhotoCrops("test", 64), hashlib.sha256()
    for index in range(len(source)):
        pixels = np.asarray(source.read(index))
        assert pixels.shape == (64, 64, 3)
        digest.update(pixels.tobytes())
    assert digest.hexdigest() == "c88856f95c4558b20ab463fbcbc3dc0ca3366ea4e281483b453c4b6e314bf12d"


def test_crops_lie_inside_are_not_flat_and_overlap_little() -> None:
    for photo in photo_rows("test")[:12]:
        image = load_rgb(photo.read_bytes())
        grey = np.asarray(image.convert("L"), dtype=np.float64)
        boxes = crop_boxes(photo, image)
        assert 0 < len(boxes) <= photo.crops
        masks = []
        for left, top, right, bottom in boxes:
            assert 0 <= left < right <= image.width
            assert 0 <= top < bottom <= image.height
            assert grey[top:bottom, left:right].std() > MIN_STD - 0.01
            mask = np.zeros(grey.shape, dtype=bool)
            mask[top:bottom, left:right] = True
            for other in masks:
                assert (mask & other).sum() / (mask | other).sum() <= MAX_IOU
            masks.append(mask)


def test_reading_in_any_order_gives_the_same_crops() -> None:
    source = PhotoCrops("test", 64)
    order = [700, 3, 701, 3, 0]
    shuffled = [source.read(index).tobytes() for index in order]
    assert shuffled == [PhotoCrops("test", 64).read(index).tobytes() for index in order]


def test_digests_tell_crops_and_photos_apart() -> None:
    crops, photos = PhotoCrops("test", 64), WholePhotos("test")
    digests = {crops.raw_digest(index) for index in range(50)} | {photos.raw_digest(index) for index in range(5)}
    assert len(digests) == 55
    assert PhotoCrops("test", 128).raw_digest(0) == crops.raw_digest(crops.ids.index(PhotoCrops("test", 128).ids[0]))


@pytest.mark.parametrize("size", [31, 257, 0])
def test_sizes_out_of_range(size: int) -> None:
    with pytest.raises(TokbenchError, match=rf"the embedded photos come in sizes 32 to 256 px, got {size}; use --data for others"):
        PhotoCrops("test", size)
