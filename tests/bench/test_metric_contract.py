"""What holds for every metric: plain settings, independence of batches and order, merging, one result an image."""

import json
import math
import pickle

import numpy as np
import pytest
import torch

from tokbench.bench.context import MetricContext
from tokbench.bench.metrics import frechet, metric_classes, select
from tokbench.bench.metrics.frechet import FrechetMetric
from tokbench.bench.metrics.psnr import PSNR
from tokbench.bench.metrics.ssim import SSIM
from tokbench.bench.networks import FeatureNetwork
from tokbench.bench.observation import Listing, Observation
from tokbench.bench.references import StatisticsReference
from tokbench.configs import plain
from tokbench.data.text import TypedLine, TypedSource
from tokbench.errors import TokbenchError
from tokbench.layout import TokenLayout
from tokbench.records.figures import figures_of
from tokbench.weights.assets import asset_path

NAMES = sorted(metric_classes())
MODULES = {"ocr": "onnxruntime", "fid": "torch_fidelity"}
"""What extras install, as far as metrics need it."""

LARGER = ("ms_ssim",)
"""Metrics that have no figure of small images."""


@pytest.fixture
def make(tmp_path):
    def build(name):
        cls = metric_classes()[name]
        for info in cls.figures:
            if info.asset and not asset_path(info.asset).is_file():
                pytest.skip(f"{info.asset} has not been fetched: tokbench weights get {info.asset}")
            if info.extra:
                pytest.importorskip(MODULES[info.extra], reason=f"{info.key} needs the extra {info.extra}")
        layout = TokenLayout((64, 64), (64, 64), (4,))
        reference = StatisticsReference("other", "statistics", "ab" * 32, None, (), np.zeros(1280), np.eye(1280))
        context = MetricContext(
            torch.device("cpu"), micro_batch=8, cache=tmp_path / "cache", source=Captioned(), layout=layout, reference=reference
        )
        return cls.create(context)

    return build


class Captioned(TypedSource):
    """Says of every picture that a word stands in its middle."""

    ids = tuple(f"{i:03d}" for i in range(24))

    def lines(self, index):
        return (TypedLine("word", (8, 20, 56, 40)),)

    def read(self, index):
        raise NotImplementedError

    def raw_digest(self, index):
        raise NotImplementedError


@pytest.fixture
def images(crops, request):
    if getattr(request.node, "callspec", None) is not None and request.node.callspec.params.get("name") in LARGER:
        crops = crops.repeat_interleave(3, dim=2).repeat_interleave(3, dim=3)
    noise = torch.randint(-20, 21, crops.shape, generator=torch.Generator().manual_seed(0))
    return crops, (crops.to(torch.int16) + noise).clamp(0, 255).to(torch.uint8)


def feed(metric, images, observe, order, size):
    reference, reconstruction = images
    for start in range(0, len(order), size):
        part = torch.tensor(order[start : start + size])
        metric.update(observe(reference[part], reconstruction[part], [f"{i:03d}" for i in part.tolist()]))
    return metric


def close(a, b):
    assert a.keys() == b.keys()
    for key in a:
        assert a[key] == pytest.approx(b[key], rel=1e-9, abs=1e-9), key


@pytest.mark.parametrize("name", NAMES)
def test_batches_order_and_merging_change_nothing(name, make, images, observe):
    order = list(range(5, 17))  # of two groups
    whole = feed(make(name), images, observe, order, 12)
    shuffled = feed(make(name), images, observe, order[::-1][4:] + order[::-1][:4], 5)
    merged, other = feed(make(name), images, observe, order[:5], 4), feed(make(name), images, observe, order[5:], 12)
    merged.compute()  # which torchmetrics remembers
    merged.merge_state(other)
    close(whole.compute(), shuffled.compute())
    close(whole.compute(), merged.compute())
    assert whole.rows() == shuffled.rows() == merged.rows()
    assert whole.report() == merged.report()


@pytest.mark.parametrize("name", NAMES)
def test_what_it_has_seen_is_pickled_merged_into_a_new_one_and_synchronized(name, make, images, observe):
    """Whatever it has seen is in states of torchmetrics, or parts could not travel."""
    whole = feed(make(name), images, observe, list(range(8)), 8)
    parts = [feed(make(name), images, observe, order, 8) for order in (list(range(5)), [5, 6, 7], [])]
    parts = [pickle.loads(pickle.dumps(part)) for part in parts]
    new = make(name)
    for part in parts:
        new.merge_state(part)
    assert new.report() == whole.report()
    assert new.settings == whole.settings
    assert new.rows() == whole.rows()
    synchronize(parts)
    assert parts[0].report() == whole.report()
    assert parts[0].rows() == whole.rows()
    for here, there in zip(parts[0].metric_state.values(), parts[2].metric_state.values(), strict=True):
        assert torch.equal(here, there)
    parts[0].unsync()
    new.reset()
    new.merge_state(parts[0])
    assert new.report() == feed(make(name), images, observe, list(range(5)), 8).report()


def synchronize(parts):
    """Do with metrics what as many processes would."""
    sent = [{key: part.all_rows(key) if isinstance(state, list) else state for key, state in part.metric_state.items()} for part in parts]
    for part in parts:
        queue = [[state[key] for state in sent] for key in part.metric_state]
        part.sync(dist_sync_fn=lambda tensor, group, queue=queue: queue.pop(0), distributed_available=lambda: True)
        assert not queue


def first_pixels(images):
    return images[:, 0, 0, :4].float()


class Toy(FrechetMetric):
    figures = figures_of("fd_efflite0")


def test_parts_of_a_frechet_distance_may_be_condensed_or_not(observe, images):
    """Features are kept for as many images as there are features, here four, and moments after that."""

    def toy(order, size):
        return feed(Toy(FeatureNetwork("toy", 4, {}, first_pixels), None, micro_batch=2), images, observe, order, size)

    whole = toy(list(range(24)), 24)
    for size in (1, 3, 5):
        parts = [toy(list(range(12)), size), toy(list(range(12, 15)), size), toy([], size), toy(list(range(15, 24)), size)]
        assert [len(part.all_rows("counts")) for part in parts] == [1, 0, 0, 1]
        merged = toy([], 1)
        for part in parts:
            merged.merge_state(pickle.loads(pickle.dumps(part)))
        close(merged.compute(), whole.compute())
        synchronize(parts)
        assert parts[2].report() == parts[0].report()
        assert parts[0].report()["fd_efflite0"].value == pytest.approx(whole.compute()["fd_efflite0"], rel=1e-9)
        assert parts[0].report()["fd_efflite0"].interval is None  # 24 images of three groups
    few = toy([0, 1], 1)
    few.merge_state(toy([2, 3], 1))
    assert few.report() == toy([0, 1, 2, 3], 4).report()
    few.merge_state(toy([4], 1))  # more images than features, though none of the parts had more
    assert few.report()["fd_efflite0"].interval is None
    close(few.compute(), toy([0, 1, 2, 3, 4], 5).compute())


def skewed_pixels(images):
    pixels = images.flatten(1).float()
    return pixels[:, :4].square() / 256 + pixels[:, 4:8]  # without rounding, so that no place in a batch matters


def test_the_interval_of_many_images_is_that_of_some_of_them(monkeypatch):
    """Beyond a number of images, groups are chosen by their digests, whatever the order and however the parts were cut."""
    generator = torch.Generator().manual_seed(0)
    reference = torch.randint(0, 256, (1500, 3, 2, 2), dtype=torch.uint8, generator=generator)
    noise = torch.randint(-40, 41, reference.shape, generator=generator)
    reconstruction = (reference.to(torch.int16) + noise).clamp(0, 255).to(torch.uint8)
    ids = tuple(f"{i:04d}" for i in range(1500))
    listing = Listing(ids, tuple(name[:3] for name in ids[:750]) + ids[750:])

    def toy(order, size):
        metric = Toy(FeatureNetwork("toy", 4, {}, skewed_pixels), None, micro_batch=50)
        for start in range(0, len(order), size):
            part = order[start : start + size]
            keys = tuple(ids[place].encode().ljust(32, b"\0") for place in part)
            seen = Observation(listing, tuple(part), keys, reference[part], reconstruction[part], None, lambda: None)
            metric.update(seen)
        return metric

    everything = list(range(1500))
    whole = toy(everything, 50).report()["fd_efflite0"].interval
    assert whole.method == "jackknife of 825 groups"
    monkeypatch.setattr(frechet, "KEPT", 600)
    frechet._chosen.cache_clear()
    some = toy(everything, 50)
    interval = some.report()["fd_efflite0"].interval
    assert interval.method.endswith("groups chosen by digest")
    assert interval.high - interval.low == pytest.approx(whole.high - whole.low, rel=0.15)
    assert sum(map(len, some.kept)) <= 600
    backwards = toy(everything[::-1], 70).report()["fd_efflite0"]
    merged = toy(everything[:333], 50)
    merged.merge_state(pickle.loads(pickle.dumps(toy(everything[333:], 30))))
    for other in (backwards, merged.report()["fd_efflite0"]):
        assert other.value == pytest.approx(some.compute()["fd_efflite0"], rel=1e-9)
        assert other.interval.high == pytest.approx(interval.high, rel=1e-6)
        assert other.interval.method == interval.method
    frechet._chosen.cache_clear()


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_described_and_settings_are_plain(name, make, images, observe):
    metric = feed(make(name), images, observe, list(range(5, 17)), 8)
    report = metric.report()
    assert tuple(report) == metric.figure_names()
    assert metric.compute() == {key: figure.value for key, figure in report.items()}
    for figure in report.values():
        assert not math.isnan(figure.value)
        if figure.interval is not None:
            assert figure.interval.low <= figure.interval.high
    json.dumps(plain(metric.settings), allow_nan=False)
    assert set(metric.rows()) <= {info.key for info in metric.figures if info.per_image}
    for column in metric.rows().values():
        assert set(column) == {f"{i:03d}" for i in range(5, 17)}


@pytest.mark.parametrize("name", NAMES)
def test_reset_forgets(name, make, images, observe):
    metric = feed(make(name), images, observe, list(range(5)), 4)
    metric.reset()
    again = feed(metric, images, observe, list(range(5, 11)), 4).compute()
    close(again, feed(make(name), images, observe, list(range(5, 11)), 4).compute())


def test_selection_takes_names_of_metrics_and_of_figures():
    assert [cls.name for cls in select(("perplexity", "usage", "psnr"))] == ["codebook", "psnr"]
    assert {cls.name for cls in select(("all",))} == set(NAMES)
    assert "lpips_vgg" not in {cls.name for cls in select(None)}
    with pytest.raises(TokbenchError, match=r"unknown metric 'psnrr'; did you mean psnr"):
        select(("psnrr",))


def test_parts_of_other_runs_and_kinds_do_not_merge(observe, images):
    part = feed(PSNR(), images, observe, [0, 1], 2)
    other = PSNR()
    other.update(observe(images[0][:2], images[1][:2], ["x", "y"]))
    with pytest.raises(ValueError, match="PSNR merges parts of one run only; these are of two listings of images"):
        part.merge_state(other)
    with pytest.raises(ValueError, match="PSNR merges with its own kind only"):
        part.merge_state(SSIM())


def test_a_plain_mapping_of_states_merges_too(observe, images):
    part, whole = feed(PSNR(), images, observe, [0, 1, 2], 3), feed(PSNR(), images, observe, list(range(8)), 3)
    part.merge_state(feed(PSNR(), images, observe, list(range(3, 8)), 2).metric_state)
    assert part.report() == whole.report()
