"""Scene accuracy: what is still read off reconstructions of drawn scenes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.scenes import SceneAccuracy
from tokbench.bench.runner import RunOptions, run
from tokbench.data.photos import PhotoCrops
from tokbench.data.scenes.images import SceneImages
from tokbench.data.scenes.reader import read
from tokbench.data.scenes.score import score
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers.zoo import load

KEYS = ("scene_accuracy", "scene_whole", "scene_whole_original")


@pytest.fixture(scope="module")
def source():
    return SceneImages("test", 64, 24)


@pytest.fixture(scope="module")
def pictures(source):
    return torch.stack([torch.from_numpy(np.array(source.read(index))).permute(2, 0, 1) for index in range(24)])


def built(source):
    return SceneAccuracy.create(MetricContext(torch.device("cpu"), micro_batch=8, source=source))


def test_originals_are_wholly_right_and_grey_pictures_are_not(source, pictures, observe):
    metric = built(source)
    metric.update(observe(pictures, pictures, source.ids))
    assert metric.compute() == dict.fromkeys(KEYS, 1.0)
    metric.reset()
    metric.update(observe(pictures, torch.full_like(pictures, 128), source.ids))
    found = metric.compute()
    assert found["scene_accuracy"] < 0.15
    assert (found["scene_whole"], found["scene_whole_original"]) == (0.0, 1.0)


def test_figures_are_means_of_what_the_reader_scores(source, pictures, observe):
    changed = pictures.clone()
    changed[::2] = changed[::2].flip(2)  # triangles stand on their tips, places are others
    metric = built(source)
    metric.update(observe(pictures, changed, source.ids))
    scores = [score(source.scene(index), read(np.ascontiguousarray(changed[index].permute(1, 2, 0).numpy()))) for index in range(24)]
    found, rows = metric.compute(), metric.rows()
    assert found["scene_accuracy"] == pytest.approx(np.mean([one.share for one in scores]))
    assert found["scene_whole"] == pytest.approx(np.mean([one.all_right for one in scores]))
    assert 0 < found["scene_whole"] < 1
    assert rows["scene_accuracy"] == dict(zip(source.ids, [one.share for one in scores], strict=True))
    assert rows["scene_whole"] == dict(zip(source.ids, [float(one.all_right) for one in scores], strict=True))


def test_scenes_are_told_by_their_ids(source, pictures, observe):
    metric = built(source)
    metric.update(observe(pictures[[5, 2]], pictures[[5, 2]], [source.ids[5], source.ids[2]]))
    assert metric.compute() == dict.fromkeys(KEYS, 1.0)
    metric.reset()
    metric.update(observe(pictures[[5]], pictures[[2]], [source.ids[5]]))
    assert metric.compute()["scene_accuracy"] < 1


def test_without_scenes_a_reconstruction_is_held_against_its_original(pictures, observe):
    metric = built(None)
    metric.update(observe(pictures[:4], pictures[:4]))
    assert metric.compute() == dict.fromkeys(KEYS, 1.0)


def test_it_is_measured_by_default_on_scenes_and_gives_a_reason_elsewhere(source):
    protocol = get_protocol(changes={"samples": 6})
    figures = run(load("pixel/rgb"), source, protocol=protocol, metrics=None, options=RunOptions(cache=False)).record.metrics
    assert [figures[key].value for key in KEYS] == [1.0, 1.0, 1.0]
    assert figures["scene_accuracy"].interval is not None
    assert figures["scene_accuracy"].settings["reader"] == "scene-reader-1"
    figures = run(
        load("pixel/rgb"), PhotoCrops("test", 64), protocol=protocol, metrics=("scene_accuracy",), options=RunOptions(cache=False)
    ).record.metrics
    assert {figures[key].reason for key in KEYS} == {"these images are no drawn scenes; --data scenes gives some"}
