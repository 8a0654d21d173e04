"""What holds for every metric: plain settings, independence of batches and order, merging, one result an image."""

import json
import math

import pytest
import torch

from tokbench.bench.context import MetricContext
from tokbench.bench.metrics import metric_classes, select
from tokbench.configs import plain
from tokbench.data.text import TypedLine, TypedSource
from tokbench.errors import TokbenchError
from tokbench.weights.assets import asset_path

NAMES = sorted(metric_classes())
MODULES = {"ocr": "onnxruntime", "fid": "torch_fidelity"}
"""What extras install, as far as metrics need it."""


@pytest.fixture
def make(tmp_path):
    def build(name):
        cls = metric_classes()[name]
        for info in cls.figures:
            if info.asset and not asset_path(info.asset).is_file():
                pytest.skip(f"{info.asset} has not been fetched: tokbench weights get {info.asset}")
            if info.extra:
                pytest.importorskip(MODULES[info.extra], reason=f"{info.key} needs the extra {info.extra}")
        return cls.create(MetricContext(torch.device("cpu"), micro_batch=8, cache=tmp_path / "cache", source=Captioned()))

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
def images(crops):
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
    order = list(range(24))
    whole = feed(make(name), images, observe, order, 24)
    shuffled = feed(make(name), images, observe, order[::-1][7:] + order[::-1][:7], 5)
    merged, other = feed(make(name), images, observe, order[:9], 4), feed(make(name), images, observe, order[9:], 24)
    merged.merge_state(other)
    close(whole.compute(), shuffled.compute())
    close(whole.compute(), merged.compute())
    assert whole.rows() == shuffled.rows() == merged.rows()


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_described_and_settings_are_plain(name, make, images, observe):
    metric = feed(make(name), images, observe, list(range(24)), 8)
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
        assert set(column) == {f"{i:03d}" for i in range(24)}


@pytest.mark.parametrize("name", NAMES)
def test_reset_forgets(name, make, images, observe):
    metric = feed(make(name), images, observe, list(range(12)), 8)
    metric.reset()
    again = feed(metric, images, observe, list(range(12, 24)), 8).compute()
    close(again, feed(make(name), images, observe, list(range(12, 24)), 8).compute())


def test_selection_takes_names_of_metrics_and_of_figures():
    assert [cls.name for cls in select(("perplexity", "usage", "psnr"))] == ["codebook", "psnr"]
    assert {cls.name for cls in select(("all",))} == set(NAMES)
    assert "lpips_vgg" not in {cls.name for cls in select(None)}
    with pytest.raises(TokbenchError, match=r"unknown metric 'psnrr'; did you mean psnr"):
        select(("psnrr",))
