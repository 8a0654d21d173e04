"""From what a user writes after ``--data`` to an image source."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from tokbench.data.archives import ZipSource
from tokbench.data.batch import BatchSource
from tokbench.data.folder import FolderSource, is_hidden, walk_images
from tokbench.data.hub import DEFAULT_SPLITS, HubSource
from tokbench.data.parts import PartsSource
from tokbench.data.photos import PhotoCrops, WholePhotos
from tokbench.data.public import OWN, PUBLIC, UNCHECKED, check_public, public_place
from tokbench.data.scenes.images import TRAINED, is_scenes, open_scenes
from tokbench.data.shards import ShardSource, expand_braces
from tokbench.data.source import ImageSource
from tokbench.data.table import TableSource
from tokbench.data.tar_members import compressed_tar, is_compressed_tar
from tokbench.data.text import TextImages
from tokbench.errors import TokbenchError, unknown_name
from tokbench.image_size import Size, sides, square_side

TRAINING_PHOTOS = "photos/train"
PHOTO_SPECS = ("photos", "photos/test", TRAINING_PHOTOS)
"""Names of the embedded photos; a folder of the same name is written ``./photos``."""

TEXT_SPEC, FACES_SPEC = "text", "faces"
"""Names of the rendered text and of the faces; folders of those names are written ``./text`` and ``./faces``."""

KINDS = (
    "photos, photos/train or photos/test; text; scenes, scenes/SPLIT or scenes/SPLIT:COUNT; faces or faces:PLACE; a folder of images; a .zip; a .tar or a folder of them; "
    f"{', '.join(f'{name}:PLACE' for name in PUBLIC)}; "
    "a .parquet; several of one kind as shards-{0000..0003}.tar or a.zip::b.zip; an .npz or .npy of bytes [N, H, W, 3]; hf:NAME, hf:NAME:SPLIT or hf:NAME:CONFIG:SPLIT"
)
"""What ``--data`` takes."""

SHARDS = (".tar", ".parquet", ".zip")
"""Files of which several are read as one."""

BETWEEN = "::"
"""Stands between shards, as webdataset has it."""

NO_FILES = re.compile(r"[a-z][a-z0-9+.-]+://|pipe:", re.IGNORECASE)
"""How places begin whose images would come as a stream."""

OF_FILES = re.compile(r"file:(?://(?=/))?(?=.)", re.IGNORECASE)
"""How addresses of files begin, before their paths."""


def comes_with_the_package(name: str) -> bool:
    """Whether these are images that ``--data`` finds by their name anywhere; those of the faces may have to be fetched."""
    return name in (*PHOTO_SPECS, TEXT_SPEC, FACES_SPEC) or is_scenes(name)


def spec_of(data: str | Path) -> str:
    """How ``open_source`` takes images: a path that is no text is that of a folder or file, whatever set comes with the package."""
    text = str(data)
    return os.path.join(os.curdir, text) if isinstance(data, Path) and comes_with_the_package(text) else text


def open_source(spec: str, *, size: Size, scaled: bool = True) -> ImageSource:
    """Open images to measure on.

    Args:
        spec: One of ``KINDS``; ``photos`` means ``photos/test``, and ``~`` is expanded.
        size: Side in pixels at which the images will be used, or height and width. Only what comes ready looks at it: the embedded
            photos, the rendered text, the scenes and the faces.
        scaled: Whether the embedded photos come scaled to that size; else they are squares of their own size, for a protocol to scale.

    Returns:
        The source, with its ids known and, but for faces, which are looked for, no image decoded.

    Raises:
        TokbenchError: If there is no such thing, it is of another kind, damaged or without images, or the photos, the text or the
            scenes do not come in this size.
    """
    if spec in PHOTO_SPECS:
        side = square_side(size, "the embedded photos come") if scaled else max(sides(size))
        return PhotoCrops("train" if spec == TRAINING_PHOTOS else "test", side, scaled=scaled)
    if spec == TEXT_SPEC:
        return TextImages(square_side(size, "the rendered text comes"))
    if is_scenes(spec):
        return open_scenes(spec, size=square_side(size, "scenes come"))
    if spec == FACES_SPEC or spec.startswith(f"{FACES_SPEC}:"):
        return _open_faces(spec.removeprefix(FACES_SPEC).removeprefix(":"), square_side(size, "faces come"))
    return _open_given(spec)


def open_training_source(spec: str) -> ImageSource:
    """Open images to train on, whole.

    Args:
        spec: As for ``open_source``, but ``photos`` means ``photos/train``, ``scenes`` ``scenes/train`` and ``hf:NAME`` its split ``train``.

    Returns:
        The source.

    Raises:
        TokbenchError: As for ``open_source``, and for ``photos/test``, ``text``, ``faces`` and scenes that are not for training.
    """
    if spec in (TEXT_SPEC, FACES_SPEC):
        raise TokbenchError(f"{spec} is what tokenizers are measured on and never trained on; train on photos/train or other images")
    if spec == "photos/test":
        raise TokbenchError("photos/test is what tokenizers are measured on and never trained on; train on photos/train or other images")
    if spec in PHOTO_SPECS:
        return WholePhotos("train")
    if is_scenes(spec):
        scenes = open_scenes(spec, size=None, split="train", count=TRAINED)
        if scenes.split != "train":
            raise TokbenchError(
                f"scenes/{scenes.split} is what tokenizers and models are measured on and never trained on; train on scenes/train or other images"
            )
        return scenes
    return _open_given(spec, hub_splits=("train",))


def _open_faces(place: str, size: int) -> ImageSource:
    from tokbench.data.face_package import FacePhotos
    from tokbench.data.faces import FaceCrops

    pictures = _open_given(place) if place else FacePhotos()
    return FaceCrops(pictures, size, name=f"faces:{pictures.name}" if place else FACES_SPEC)


def _open_given(spec: str, *, hub_splits: Sequence[str] = DEFAULT_SPLITS) -> ImageSource:
    """Open images that do not come with the package; a public set is checked, and what is only called like a set is told from it."""
    named = public_place(spec)
    if named is None:
        source = _open_unchecked(spec, hub_splits)
        if source.name in PUBLIC:
            source.name += UNCHECKED
        elif comes_with_the_package(source.name) or source.name.startswith(f"{FACES_SPEC}:"):
            source.name += OWN
        return source
    name, place = named
    if not place:
        raise TokbenchError(f"--data {spec} names no place; give the folder that holds the images, {name}:PLACE")
    source = _open_unchecked(place, hub_splits)
    check_public(name, source.ids, place)
    source.name = name
    return source


def _open_unchecked(spec: str, hub_splits: Sequence[str]) -> ImageSource:
    if spec.startswith("hf:") and spec != "hf:":
        return HubSource(spec.removeprefix("hf:"), splits=hub_splits)
    if OF_FILES.match(spec) and not os.path.exists(spec):
        spec = OF_FILES.sub("", spec, count=1)
    path = Path(os.path.expanduser(spec))
    if spec and path.is_dir():
        return _open_folder(path)
    if spec and path.is_file():
        return _open_file(path)
    if NO_FILES.match(spec):
        raise TokbenchError(
            f"--data {spec} would be a stream, which has no index to choose images by; allowed are files: download the shards, "
            "and give their paths"
        )
    if "{" in spec or BETWEEN in spec:
        return _open_shards(spec)
    if "*" in spec:
        raise TokbenchError(f"--data {spec} is a pattern of the shell; give the folder, or a range as in shards-{{0000..0003}}.tar")
    if spec.startswith("photos/"):
        raise unknown_name("part of the embedded photos", spec, PHOTO_SPECS)
    if spec in PUBLIC:
        raise TokbenchError(f"--data {spec} does not come with the package; give the place of its images: {spec}:PLACE")
    found = "is neither a file nor a folder" if spec and path.exists() else "does not exist"
    raise TokbenchError(f"--data {spec or repr(spec)} {found}; allowed: {KINDS}; check the path")


def _open_folder(path: Path) -> ImageSource:
    try:
        names = sorted(name for name in os.listdir(path) if not is_hidden(name))
    except OSError as error:
        raise TokbenchError(f"cannot list the folder {path}: {error.strerror}; make it readable or give another one") from error
    tars = [path / name for name in names if name.lower().endswith(".tar")]
    others = [path / name for name in names if is_compressed_tar(name) or name.lower().endswith((".zip", ".parquet"))]
    if not (tars or others) or next(walk_images(path), None) is not None:
        return FolderSource(path)
    if not others:
        return ShardSource(tars, Path(os.path.abspath(path)).name)
    for file in others:
        if is_compressed_tar(file.name):
            raise compressed_tar(file)
    raise TokbenchError(
        f"the folder {path} holds no images but {others[0].name}; give that file, several as in {path}/{{a,b}}{others[0].suffix}, "
        f"or hf:{path} for a data set in parts"
    )


def _open_file(path: Path) -> ImageSource:
    kinds: dict[str, Callable[[Path], ImageSource]] = {
        ".zip": ZipSource,
        ".parquet": TableSource,
        ".npz": BatchSource,
        ".npy": BatchSource,
    }
    suffix = path.suffix.lower()
    if suffix in kinds:
        return kinds[suffix](path)
    if suffix == ".tar":
        return ShardSource([path], path.name)
    if is_compressed_tar(path.name):
        raise compressed_tar(path)
    raise TokbenchError(f"--data {path} is a file of another kind; allowed: {KINDS}; name the folder or archive that holds the images")


def _open_shards(spec: str) -> ImageSource:
    """Open several files of one kind, given by ranges, lists, or one after another."""
    patterns = [os.path.expanduser(OF_FILES.sub("", part, count=1)) for part in spec.split(BETWEEN) if part]
    paths = [path for pattern in patterns for path in _shards(pattern)]
    name = BETWEEN.join(Path(pattern).name for pattern in patterns)
    kinds = sorted({path.suffix.lower() for path in paths})
    if len(kinds) != 1:
        raise TokbenchError(f"--data {spec} names files of several kinds ({', '.join(kinds) or 'none'}); give shards of one kind")
    if kinds == [".tar"]:
        return ShardSource(paths, name)
    return PartsSource(paths, name, ZipSource if kinds == [".zip"] else TableSource)


def _shards(pattern: str) -> list[Path]:
    paths = []
    for name in expand_braces(pattern):
        path = Path(name)
        if is_compressed_tar(name):
            raise compressed_tar(path)
        if path.suffix.lower() not in SHARDS:
            raise TokbenchError(
                f"--data {pattern} is a pattern of files that do not end in {', '.join(SHARDS[:-1])} or {SHARDS[-1]}; allowed: {KINDS}"
            )
        if not path.is_file():
            raise TokbenchError(f"the shard {path} of {pattern} does not exist; check the path or the range")
        paths.append(path)
    return paths
