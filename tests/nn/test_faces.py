"""The face networks, against what face-api's own code computes on the same weights and pictures.

The golden file was made by the package's JavaScript on TensorFlow.js: once on weights and pictures that follow from the formulas
here, once on its own weights and the astronaut among the embedded photos.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tokbench.data.photos import WholePhotos
from tokbench.nn.face_detection import build_face_detector
from tokbench.nn.face_embedding import as_input, build_face_embedder
from tokbench.weights.assets import asset_path

GOLDEN = json.loads((Path(__file__).parents[1] / "goldens" / "face-api.json").read_text())


def made_weights(network):
    weights = {}
    for k, (name, shape) in enumerate(GOLDEN[network]):
        count = math.prod(shape)
        values = ((np.arange(count) * 37 + k * 101) % 1009 / 1009 - 0.5).astype(np.float32).reshape(shape)
        if len(shape) > 1:
            inputs = 9 if "depthwise" in name else math.prod(shape[:-1])
            values = values * np.float32(4 / math.sqrt(inputs))
        elif name.endswith("scale/weights"):
            values = values * np.float32(0.5) + 1
        else:
            values = values * np.float32(0.2)
        weights[name] = torch.from_numpy(values.astype(np.float32))
    return weights


def made_picture(side):
    y, x, c = np.meshgrid(np.arange(side), np.arange(side), np.arange(3), indexing="ij")
    pixels = (x * x * 3 + y * y * 5 + x * y * (c + 1) + c * 40) % 256
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float()


def astronaut(side, box=None):
    photos = WholePhotos("test")
    photo = photos.read(photos.ids.index("88431cd965"))
    pixels = np.asarray(photo.resize((side, side), Image.Resampling.BILINEAR, box=box))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()


def needs_package():
    if not asset_path("faces").is_file():
        pytest.skip("the face networks have not been fetched: tokbench weights get faces")


def test_vectors_are_those_of_the_package_on_made_weights():
    vector = build_face_embedder(made_weights("embedder"))(made_picture(150))
    assert vector.shape == (1, 128)
    torch.testing.assert_close(vector[0], torch.tensor(GOLDEN["embedding"]), rtol=1e-4, atol=1e-5)


def test_answers_and_boxes_are_those_of_the_package_on_made_weights():
    detector = build_face_detector(made_weights("detector"))
    raw = detector(made_picture(128))
    torch.testing.assert_close(raw, torch.tensor(GOLDEN["raw"]).reshape(16, 5, 5), rtol=1e-4, atol=1e-5)
    found = detector.find(made_picture(128), min_score=0.5)
    assert len(found) == len(GOLDEN["found"]) == 18
    assert [list(box) for box in found] == [pytest.approx(box, rel=1e-3, abs=1e-3) for box in GOLDEN["found"]]
    assert len(detector.find(made_picture(128), min_score=0.52)) == sum(score > 0.52 for score, *_ in GOLDEN["found"])


def test_faces_do_not_hang_on_their_company():
    embedder = build_face_embedder(made_weights("embedder"))
    pictures = torch.cat([made_picture(150), made_picture(150).flip(3), 255 - made_picture(150)])
    torch.testing.assert_close(embedder(pictures)[1:2], embedder(pictures[1:2]), rtol=1e-4, atol=1e-5)


def test_pictures_of_any_size_become_input():
    flat = torch.full((2, 3, 40, 30), 7, dtype=torch.uint8)
    assert torch.equal(as_input(flat), torch.full((2, 3, 150, 150), 7.0))


@pytest.mark.parametrize(("build", "network"), [(build_face_embedder, "embedder"), (build_face_detector, "detector")])
def test_weights_must_all_be_there_and_fit(build, network):
    weights = made_weights(network)
    gone = next(name for name in weights if name.endswith("bias"))
    with pytest.raises((RuntimeError, KeyError)):
        build({name: value for name, value in weights.items() if name != gone})
    with pytest.raises(RuntimeError):
        build(weights | {gone: torch.zeros(7)})


def test_the_packaged_networks_find_and_describe_the_astronaut():
    needs_package()
    from tokbench.data.face_package import load_face_detector, load_face_embedder

    (face,) = load_face_detector().find(astronaut(416), min_score=0.5)
    assert list(face) == pytest.approx(GOLDEN["astronaut_found"][0], rel=1e-3)
    vector = load_face_embedder()(astronaut(150, box=(170, 60, 280, 170)))
    torch.testing.assert_close(vector[0], torch.tensor(GOLDEN["astronaut_embedding"]), rtol=1e-3, atol=1e-4)
