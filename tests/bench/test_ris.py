"""Inception score of reconstructions against torch-fidelity's, and what is kept of it."""

import math

import pytest
import torch

from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.ris import RIS
from tokbench.bench.networks import FeatureNetwork
from tokbench.bench.observation import Listing, Observation
from tokbench.records.left_out import cluster_of

CLASSES = torch.randn(5, 4, generator=torch.Generator().manual_seed(3)) * 3


def first_pixels(images):
    return images[:, 0, 0, :4].float() / 255


def toy():
    return RIS(FeatureNetwork("toy", 4, {}, first_pixels, classes=CLASSES), None, micro_batch=4)


def observation(reference, reconstruction, places, groups):
    listing = Listing(tuple(f"{i:03d}" for i in range(len(groups))), tuple(groups))
    keys = tuple(bytes(32) for _ in places)
    return Observation(listing, tuple(places), keys, reference[places], reconstruction[places], None, lambda: None)


def pictures(count):
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (count, 3, 2, 4), dtype=torch.uint8, generator=generator) for _ in range(2)]


def test_it_is_that_of_torch_fidelity():
    package = pytest.importorskip("torch_fidelity.metric_isc")
    images, metric = pictures(90), toy()
    metric.update(observation(*images, list(range(90)), [f"{i % 30}" for i in range(90)]))
    found = metric.report()
    for key, side in (("ris", images[1]), ("ris_original", images[0])):
        logits = first_pixels(side) @ CLASSES.T
        wanted = package.isc_features_to_metric(logits, splits=1)["inception_score_mean"]
        assert found[key].value == pytest.approx(wanted, rel=1e-6)
        assert found[key].interval.low < wanted < found[key].interval.high
        assert "clusters in 10 folds" in found[key].interval.method
        assert wanted > 1.2


def test_without_a_cluster_it_is_that_of_the_others():
    images, groups = pictures(90), [f"{i % 30}" for i in range(90)]
    metric, rest = toy(), toy()
    metric.update(observation(*images, list(range(90)), groups))
    cluster = cluster_of("7")
    rest.update(observation(*images, [i for i in range(90) if cluster_of(groups[i]) != cluster], groups))
    for key, figure in metric.report().items():
        assert (figure.part, figure.without[f"{cluster:02d}"]) == ("cluster", rest.report()[key].value)


def test_the_interval_is_that_of_other_images():
    """Each image shows a class and its group's others, so that what changes the score is which classes there are."""

    def measure(seed):
        generator, metric = torch.Generator().manual_seed(seed), toy()
        first = torch.randint(0, 256, (60, 1, 1, 4), generator=generator).expand(60, 3, 2, 4)
        images = first.repeat_interleave(3, dim=0).to(torch.uint8)
        metric.update(observation(images, images, list(range(180)), [f"{i // 3}" for i in range(180)]))
        return metric.report()["ris"]

    found = [measure(seed) for seed in range(40)]
    spread = 2 * 2.262 * torch.tensor([one.value for one in found]).std().item()
    assert sum(one.interval.high - one.interval.low for one in found) / 40 == pytest.approx(spread, rel=0.35)


def test_order_batches_and_merging_change_no_bit():
    images, groups = pictures(40), [f"{i % 7}" for i in range(40)]
    whole = toy()
    whole.update(observation(*images, list(range(40)), groups))
    parts = [toy(), toy()]
    for i in range(39, -1, -1):
        parts[i % 2].update(observation(*images, [i], groups))
    parts[0].merge_state(parts[1])
    assert parts[0].report() == whole.report()
    assert {key: value.shape for key, value in whole.metric_state.items() if isinstance(value, torch.Tensor)} == {
        "counts": (64,),
        "shares": (2, 64, 5),
        "entropies": (2, 64),
    }
    assert not whole.images


def test_one_image_has_a_score_of_1_and_all_classes_alike_too():
    one = toy()
    one.update(observation(*pictures(1), [0], ["a"]))
    assert one.compute()["ris"] == pytest.approx(1, abs=1e-9)
    assert one.report()["ris"].interval is None
    with pytest.raises(ValueError, match="toy has no classes"):
        RIS(FeatureNetwork("toy", 4, {}, first_pixels), None, micro_batch=4)


def test_its_logits_are_those_of_torch_fidelity(lively_inception, crops, observe):
    path, network = lively_inception
    metric = RIS.create(MetricContext(torch.device("cpu"), micro_batch=4, feature_weights=path))
    with torch.no_grad():
        features, logits = network(crops[:4])
    torch.testing.assert_close(features @ metric.network.classes.T, logits, rtol=1e-4, atol=1e-4)
    metric.update(observe(crops[:4], crops[4:8]))
    keys = list(metric.report())
    assert [key.partition("[")[0] for key in keys] == ["is", "is_original"]
    assert math.isfinite(metric.compute()[keys[0]])
    assert metric.settings["logits"] == "1008, without biases"
