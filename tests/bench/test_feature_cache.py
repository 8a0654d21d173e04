"""The cache of features: what is damaged is computed again and replaced, never used."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from tokbench.bench import cache as cache_module
from tokbench.bench.cache import FeatureCache
from tokbench.bench.cache_size import prune, segments
from tokbench.bench.networks import FeatureNetwork
from tokbench.errors import TokbenchError

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


def test_features_computed_otherwise_are_not_taken(tmp_path: Path) -> None:
    filled(tmp_path)
    assert FeatureCache(tmp_path, replace(network(), computed="as before")).get(KEYS[0]) is None


def many(count: int) -> list[tuple[bytes, np.ndarray]]:
    values = np.random.default_rng(1).normal(size=(count, 4)).astype(np.float32)
    return [(hashlib.sha256(str(n).encode()).digest(), value) for n, value in enumerate(values)]


def test_features_are_written_as_the_run_goes_and_memory_does_not_hold_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "SEGMENT", 10)
    cache, rows = FeatureCache(tmp_path, network()), many(35)
    for place, (key, value) in enumerate(rows):
        cache.put(key, value)
        assert len(cache._fresh) < 10
        assert np.array_equal(cache.get(rows[place // 2][0]), rows[place // 2][1])  # type: ignore[arg-type]
    assert len(list(cache.folder.iterdir())) == 3  # what a killed run has kept
    cache.flush()
    again = FeatureCache(tmp_path, network())
    assert all(np.array_equal(again.get(key), value) for key, value in rows)  # type: ignore[arg-type]
    assert again.get(b"0" * 32) is None


def test_images_whose_digests_begin_alike_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "SEGMENT", 3)
    cache = FeatureCache(tmp_path, network())
    given = [(bytes(8) + hashlib.sha256(bytes([i])).digest()[:24], np.full(4, i, np.float32)) for i in range(9)]
    for key, value in given:
        cache.put(key, value)
    for found in (cache, FeatureCache(tmp_path, network())):
        for key, value in given:
            assert np.array_equal(found.get(key), value)
        assert found.get(bytes(32)) is None


def test_where_features_lie_takes_few_bytes_an_image(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, network())
    tracemalloc.start()
    for number in range(10):
        cache._known.add(tmp_path / f"{number}", np.random.default_rng(number).integers(0, 256, (1000, 32), dtype=np.uint8))
    assert cache._known.find(bytes(32)) == []
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 20 * 10_000


def test_a_segment_that_goes_while_it_is_read_is_computed_again(tmp_path: Path) -> None:
    segment = filled(tmp_path)
    cache = FeatureCache(tmp_path, network())
    assert cache.get(KEYS[0]) is not None
    segment.unlink()
    assert [cache.get(key) for key in KEYS] == [None] * 3


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = FeatureCache(tmp_path / "file", network())
    cache.put(KEYS[0], VALUES[0])
    cache.flush()
    cache.put(KEYS[1], VALUES[1])
    assert not cache._fresh
    assert cache.get(KEYS[0]) is None


def aged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Three segments of ten images, the first used longest ago."""
    monkeypatch.setattr(cache_module, "SEGMENT", 10)
    cache = FeatureCache(folder, network())
    for key, value in many(30):
        cache.put(key, value)
    paths = []
    for age, key in enumerate((many(30)[0][0], many(30)[10][0], many(30)[20][0])):
        path = cache._known.find(key)[0][0]
        os.utime(path, (1e9 + age, 1e9 + age))
        paths.append(path)
    return paths


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = aged(tmp_path, monkeypatch)
    size = paths[0].stat().st_size
    assert [segment.path for segment in segments(tmp_path)] == paths
    FeatureCache(tmp_path, network()).get(many(30)[0][0])  # used now
    pruned = prune(tmp_path, 2 * size)
    assert (pruned.segments, pruned.size, pruned.left) == (1, size, 2 * size)
    assert [path.exists() for path in paths] == [True, False, True]
    assert prune(tmp_path, 2 * size).segments == 0
    assert prune(tmp_path, 0).left == 0
    assert not paths[0].parent.exists()
    assert prune(tmp_path / "nothing", 0).left == 0


def test_a_run_keeps_to_the_limit_and_to_what_it_uses_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = aged(tmp_path, monkeypatch)
    monkeypatch.setenv("TOKBENCH_CACHE_GB", str(2.5 * old[0].stat().st_size / 1e9))
    cache = FeatureCache(tmp_path, network("b"))
    for key, value in many(60):
        cache.put(key, value)
    cache.flush()
    assert not any(path.exists() for path in old)
    assert len(list(cache.folder.iterdir())) == 3  # the third passed the limit
    assert cache.get(many(60)[0][0]) is not None
    assert cache.get(many(60)[59][0]) is None


def test_no_room_is_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKBENCH_CACHE_GB", "0")
    cache = FeatureCache(tmp_path, network())
    cache.put(KEYS[0], VALUES[0])
    cache.flush()
    assert not cache.folder.exists()


@pytest.mark.parametrize("text", ["much", "-1", "nan", "inf", "4 GB"])
def test_a_limit_is_a_number_of_gigabytes(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKBENCH_CACHE_GB", text)
    with pytest.raises(TokbenchError, match=f"TOKBENCH_CACHE_GB is a number of gigabytes, 0 or more, got '{text}'; unset it to keep 4"):
        FeatureCache(tmp_path, network())
