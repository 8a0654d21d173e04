"""The cache of features: what is damaged is computed again and replaced, never used."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from tokbench.bench.cache import FeatureCache
from tokbench.bench.networks import FeatureNetwork

KEYS = [hashlib.sha256(bytes([n])).digest() for n in range(3)]
VALUES = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def network(weights: str = "a") -> FeatureNetwork:
    return FeatureNetwork("toy", 4, {"weights_sha256": weights}, lambda images: torch.zeros(len(images), 4))


def filled(folder: Path) -> Path:
    cache = FeatureCache(folder, network())
    for key, value in zip(KEYS, VALUES, strict=True):
        cache.put(key, value)
    cache.flush()
    (segment,) = cache.folder.iterdir()
    return segment


def test_features_are_found_again(tmp_path: Path) -> None:
    filled(tmp_path)
    again = FeatureCache(tmp_path, network())
    assert all(np.array_equal(again.get(key), value) for key, value in zip(KEYS, VALUES, strict=True))  # type: ignore[arg-type]
    assert FeatureCache(tmp_path, network("b")).get(KEYS[0]) is None


def test_every_flipped_byte_and_every_cut_is_noticed_and_mended(tmp_path: Path) -> None:
    segment = filled(tmp_path)
    data = segment.read_bytes()
    damaged = [data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :] for place in range(len(data))]
    damaged += [data[:length] for length in range(0, len(data), 16)] + [data + b"x", data * 2]
    for content in damaged:
        segment.write_bytes(content)
        assert [FeatureCache(tmp_path, network()).get(key) for key in KEYS] == [None] * 3
        assert not segment.exists()
    assert filled(tmp_path) == segment
    assert segment.read_bytes() == data


@pytest.mark.parametrize("name", ["0123456789abcdef", "a", "f" * 32])
def test_segments_of_other_names_are_not_read(name: str, tmp_path: Path) -> None:
    segment = filled(tmp_path)
    segment.unlink()
    segment.with_stem(name).write_bytes(save({"keys": np.stack([np.frombuffer(key, np.uint8) for key in KEYS]), "features": VALUES}))
    assert FeatureCache(tmp_path, network()).get(KEYS[0]) is None
    assert segment.with_stem(name).exists() == (len(name) != 32)


def test_a_segment_of_another_network_is_not_taken(tmp_path: Path) -> None:
    segment = filled(tmp_path)
    other = FeatureCache(tmp_path, network("b"))
    other.folder.mkdir()
    segment.rename(other.folder / segment.name)
    assert FeatureCache(tmp_path, network("b")).get(KEYS[0]) is None


def test_pipes_and_folders_among_segments_are_passed_over(tmp_path: Path) -> None:
    segment = filled(tmp_path)
    os.mkfifo(segment.with_stem("e" * 32))
    segment.with_stem("d" * 32).mkdir()
    assert FeatureCache(tmp_path, network()).get(KEYS[0]) is not None
