"""Faces cut out of pictures, and the package that the networks come in."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from tokbench.data import face_package, faces
from tokbench.data.face_package import decode_weights
from tokbench.data.faces import FaceCrops, face_boxes
from tokbench.data.folder import FolderSource
from tokbench.data.open import open_source, open_training_source
from tokbench.errors import TokbenchError
from tokbench.images import UnreadableImage
from tokbench.nn.face_detection import FaceBox
from tokbench.weights.assets import asset_path


class Eyes:
    """Finds what it is told, in pixels of the 416 px input."""

    def __init__(self, *boxes):
        self.boxes, self.seen = boxes, []

    def find(self, pixels, *, min_score):
        self.seen.append(pixels)
        return [FaceBox(0.9, *box) for box in self.boxes]


@pytest.fixture
def eyes(monkeypatch):
    eyes = Eyes((104, 104, 156, 144), (208, 52, 234, 78))
    monkeypatch.setattr(faces, "load_face_detector", lambda: eyes)
    return eyes


@pytest.fixture
def pictures(tmp_path):
    gradient = np.stack(np.meshgrid(np.arange(832) % 256, np.arange(416) % 256), axis=-1)
    pixels = np.concatenate([gradient, np.zeros((416, 832, 1))], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels[:, :416]).save(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(b"broken")
    return tmp_path


def test_faces_are_squares_a_quarter_larger_in_pixels_of_the_picture(eyes):
    wide = Image.new("RGB", (832, 416))
    assert face_boxes(wide, eyes) == [(195, 183, 325, 313), (410, 98, 475, 163)]  # 52 and 26 input pixels, times 2, times 1.25
    assert eyes.seen[0].shape == (1, 3, 416, 416)


@pytest.mark.parametrize("box", [(-20, -20, 60, 60), (380, 180, 440, 240), (0, 0, 416, 416)])
def test_faces_at_the_edge_are_moved_inside(box):
    ((left, top, right, bottom),) = face_boxes(Image.new("RGB", (400, 200)), Eyes(box))
    assert 0 <= left < right <= 400
    assert 0 <= top < bottom <= 200
    assert right - left == bottom - top


def test_the_picture_lies_in_the_upper_left_of_the_input_and_black_around(eyes):
    face_boxes(Image.new("RGB", (832, 416), (9, 8, 7)), eyes)
    assert torch.equal(eyes.seen[0][0, :, 0, 0], torch.tensor([9.0, 8.0, 7.0]))
    assert not eyes.seen[0][0, :, 208:].any()


def test_crops_ids_groups_and_digests(eyes, pictures):
    source = open_source(f"faces:{pictures}", size=64)
    assert source.name == f"faces:{pictures.name}"
    assert source.metrics == ("face_similarity",)
    assert source.ids == ("a.png/00", "a.png/01", "b.png/00", "c.png")  # the other face of b.png is 32 pixels wide
    assert [source.group(index) for index in range(len(source))] == [name.split("/")[0] for name in source.ids]
    image, digest = source.open(0)
    assert image.size == (64, 64)
    assert digest == source.raw_digest(0)
    expected = Image.open(pictures / "a.png").resize((64, 64), Image.Resampling.LANCZOS, box=(195, 183, 325, 313))
    assert image.tobytes() == expected.tobytes()
    raw = hashlib.sha256((pictures / "a.png").read_bytes()).digest()
    assert digest == hashlib.sha256(raw + b"face-squares-1:(195, 183, 325, 313)").digest()
    assert len({source.raw_digest(index) for index in range(len(source))}) == len(source)
    moment = max(file.stat().st_ctime for file in pictures.iterdir())
    assert not any(source.changed_since(index, moment) for index in range(len(source)))
    os.utime(pictures / "b.png", (moment + 9, moment + 9))
    assert [source.changed_since(index, moment + 5) for index in range(len(source))] == [False, False, True, False]


def test_small_faces_are_left_out_and_broken_pictures_are_named(eyes, pictures):
    source = FaceCrops(FolderSource(pictures), 66, name="faces")
    assert source.ids == ("a.png/00", "c.png")  # the others are 65 and 32 pixels wide
    with pytest.raises(UnreadableImage):
        source.read(1)


def test_pictures_without_faces_and_missing_networks_are_errors(monkeypatch, pictures, tmp_path):
    monkeypatch.setattr(faces, "load_face_detector", Eyes)
    with pytest.raises(TokbenchError, match=r"no face is found in the 3 pictures of .*; give others"):
        open_source(f"faces:{pictures}", size=64)
    monkeypatch.undo()
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))
    for spec in ("faces", f"faces:{pictures}"):
        with pytest.raises(TokbenchError, match="faces is not here; run: tokbench weights get faces"):
            open_source(spec, size=64)
    with pytest.raises(TokbenchError, match=r"--data nowhere does not exist; allowed: .*faces or faces:PLACE"):
        open_source("faces:nowhere", size=64)
    with pytest.raises(TokbenchError, match="faces is what tokenizers are measured on and never trained on"):
        open_training_source("faces")


def test_bytes_and_floats_become_numbers():
    manifest = [
        {"weights": [{"name": "a", "shape": [2, 2], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1}}]},
        {"weights": [{"name": "b", "shape": [2], "dtype": "float32"}]},
    ]
    data = bytes([0, 1, 2, 255]) + np.array([1.5, -2], "<f4").tobytes()
    weights = decode_weights(manifest, data)
    assert weights["a"].tolist() == [[-1, -0.5], [0, 126.5]]
    assert weights["b"].tolist() == [1.5, -2]
    with pytest.raises(ValueError, match="the numbers end within b"):
        decode_weights(manifest, data[:-1])
    with pytest.raises(ValueError, match="3 bytes are left over"):
        decode_weights(manifest, data + b"abc")
    manifest[1]["weights"][0]["dtype"] = "int32"
    with pytest.raises(ValueError, match="b is kept as int32"):
        decode_weights(manifest, data)


def test_another_package_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path))
    path = asset_path("faces")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"another")
    with pytest.raises(TokbenchError, match=r"has SHA-256 [0-9a-f]{12}, expected 0d77fffeef36; run: tokbench weights get faces --renew"):
        open_source("faces", size=64)


def test_photos_come_out_of_the_package(monkeypatch, tmp_path):
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path))
    path = asset_path("faces")
    path.parent.mkdir(parents=True)
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10)).save(buffer, "JPEG")
    with tarfile.open(path, "w:gz") as archive:
        for name in face_package.PHOTOS:
            info = tarfile.TarInfo(f"package/demo/{name}.jpg")
            info.size = len(buffer.getvalue())
            archive.addfile(info, io.BytesIO(buffer.getvalue()))
    monkeypatch.setattr(face_package, "PACKAGE_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    photos = face_package.FacePhotos()
    assert len(photos) == 6
    assert photos.read(5).size == (20, 10)


def test_the_packaged_photos_hold_nineteen_faces():
    if not asset_path("faces").is_file():
        pytest.skip("the face networks have not been fetched: tokbench weights get faces")
    source = open_source("faces", size=64)
    assert source.name == "faces"
    assert len(source) == 19
    assert {source.group(index) for index in range(19)} == set(face_package.PHOTOS)
