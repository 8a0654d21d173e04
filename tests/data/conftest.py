"""Small pictures and the containers the sources read them from."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Packer = Callable[[Path, Mapping[str, bytes]], Path]


@pytest.fixture(scope="session")
def picture() -> Callable[[int], bytes]:
    """A PNG file of 5x4 pixels, all of one red level."""

    def make(level: int) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (5, 4), (level, 10, 20)).save(buffer, "PNG")
        return buffer.getvalue()

    return make


@pytest.fixture(scope="session")
def level() -> Callable[[Image.Image], int]:
    """The red level of such a picture, once it is decoded."""

    def measure(image: Image.Image) -> int:
        pixels = np.asarray(image)
        assert image.mode == "RGB"
        assert pixels.shape == (4, 5, 3)
        assert (pixels == pixels[0, 0]).all()
        assert pixels[0, 0, 1:].tolist() == [10, 20]
        return int(pixels[0, 0, 0])

    return measure


@pytest.fixture(scope="session")
def make_folder() -> Packer:
    """Write files below a folder."""

    def write(root: Path, files: Mapping[str, bytes]) -> Path:
        root.mkdir(exist_ok=True)
        for name, data in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return root

    return write


@pytest.fixture(scope="session")
def make_zip() -> Packer:
    """Pack files into a zip, every other one compressed."""

    def write(path: Path, files: Mapping[str, bytes]) -> Path:
        with zipfile.ZipFile(path, "w") as archive:
            for number, (name, data) in enumerate(files.items()):
                archive.writestr(name, data, zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED)
        return path

    return write


@pytest.fixture(scope="session")
def make_tar() -> Packer:
    """Pack files into a tar, in the order given."""

    def write(path: Path, files: Mapping[str, bytes]) -> Path:
        with tarfile.open(path, "w") as archive:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        return path

    return write
