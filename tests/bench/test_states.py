"""What metrics keep, taken out and put back: bit for bit, and no larger than it must be."""

from dataclasses import replace

import pytest
import safetensors.torch
import torch
import torchmetrics

from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.frechet import FrechetMetric
from tokbench.bench.metrics.psnr import PSNR
from tokbench.bench.networks import FeatureNetwork
from tokbench.bench.observation import Listing, Subject
from tokbench.bench.panel import Panel
from tokbench.bench.states import kept, put_back, taken
from tokbench.records.figures import figures_of


class Keeps(torchmetrics.Metric):
    """One state of each kind."""

    def __init__(self):
        super().__init__()
        self.add_state("counts", default=torch.zeros(8, 16, dtype=torch.int32), dist_reduce_fx="sum")
        self.add_state("total", default=torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("rows", default=[], dist_reduce_fx="cat")
        self.add_state("odd", default=[], dist_reduce_fx=None)

    def update(self, start):
        self.counts[start % 8, 3] += start
        self.total += -0.0 if start == 0 else start / 3
        self.rows += [torch.full((2, 3), float(start)), torch.full((1, 3), start + 0.5)]
        self.odd.append(torch.arange(start))

    def compute(self):
        return self.total


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        pair = [value if isinstance(value, list) else [value] for value in (one[name], other[name])]
        assert [item.tolist() for item in pair[0]] == [item.tolist() for item in pair[1]], name
        assert [item.dtype for item in pair[0]] == [item.dtype for item in pair[1]], name


def test_what_is_taken_out_is_put_back_and_the_metric_begins_anew():
    metric = Keeps()
    for start in (3, 5):
        metric.update(start)
    counts, total = metric.counts.clone(), metric.total.clone()
    states = taken(metric)
    assert sorted(states) == ["counts/places", "counts/values", "odd/00000", "odd/00001", "rows/00000", "total"]
    assert states["rows/00000"].shape == (6, 3)
    assert not metric.counts.any()
    assert metric.rows == metric.odd == []
    other = Keeps()
    other.update(7)  # goes
    put_back(other, states)
    assert torch.equal(other.counts, counts)
    assert torch.equal(other.total, total)
    assert [len(item) for item in other.odd] == [3, 5]
    again = taken(other)
    same(states, again)


def test_many_counts_are_kept_as_they_are():
    metric = Keeps()
    metric.counts += 1
    states = taken(metric)
    assert states["counts"].shape == (8, 16)
    put_back(metric, states)
    assert metric.counts.sum() == 128


def test_what_is_kept_stays_when_the_metric_goes_on():
    metric = Keeps()
    metric.update(2)
    before = kept(metric)
    metric.reset()
    assert len(before["rows"]) == 2
    assert before["total"] > 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda states: states.pop("total"),
        lambda states: states.pop("counts/values"),
        lambda states: states.update({"counts/places": states["counts/places"] + 1000}),
        lambda states: states.update({"counts/places": states["counts/places"] - 1000}),
        lambda states: states.update({"counts/places": states["counts/places"].int()}),
        lambda states: states.update({"counts/places": states["counts/places"][:0]}),
    ],
)
def test_damaged_states_are_refused(damage):
    metric = Keeps()
    metric.update(3)
    states = taken(metric)
    damage(states)
    with pytest.raises(ValueError, match=r"its state (total|counts) "):
        put_back(metric, states)


def test_what_is_no_tensor_is_refused():
    metric = Keeps()
    metric.rows.append("text")
    with pytest.raises(TypeError, match="its state rows is no tensor and no list of tensors"):
        taken(metric)


class Distance(FrechetMetric):
    """A Fréchet distance of so few features that chunks are condensed."""

    name = "distance"
    figures = figures_of("fd_efflite0")

    @classmethod
    def create(cls, context):
        return cls(FeatureNetwork("toy", 4, {}, lambda images: images[:, 0, 0, :4].float()), None, micro_batch=2)

    def not_applicable(self, subject):
        return None


def test_figures_do_not_depend_on_who_measures_which_chunk(crops, observe):
    noise = torch.randint(-20, 21, crops.shape, generator=torch.Generator().manual_seed(0))
    changed = (crops.to(torch.int16) + noise).clamp(0, 255).to(torch.uint8)
    subject = Subject(None, 24, (64, 64))
    chunks = [range(0, 3), range(3, 10), range(10, 13), range(13, 21), range(21, 24)]
    ids = observe(crops[:1], changed[:1]).listing.ids
    listing = Listing(ids, ids)

    def panel():
        return Panel([Distance, PSNR], subject, MetricContext(torch.device("cpu"), 2), listing)

    def measured(judges, places, size):
        for start in range(places.start, places.stop, size):
            part = torch.tensor(places[start - places.start :][:size])
            seen = observe(crops[part], changed[part], [f"{place:03d}" for place in part.tolist()])
            judges.update(replace(seen, listing=listing))
        return judges.cut()

    alone = panel()
    for places in chunks:
        alone.merge(*measured(alone, places, 2), own=True)
    others = [panel(), panel(), panel()]
    found = [measured(others[number % 3], places, 3) for number, places in enumerate(chunks)]
    merging = panel()  # has seen no image itself
    for judges in (others[1], merging):
        for states, failures in found:
            judges.merge(safetensors.torch.load(safetensors.torch.save(states)), failures, own=False)
        assert not judges.failures
    one, *same_again = (judges.finish(subject, ()) for judges in (alone, others[1], merging))
    assert same_again == [one, one]
    assert one[0]["fd_efflite0"].value > 0
    assert one[0]["fd_efflite0"].interval.method == "jackknife of 24 groups"
    assert len(one[1]["psnr"]) == 24
    assert not alone.failures


class Failing(PSNR):
    """Fails at one image."""

    name = "failing"

    def update(self, observation):
        if 3 in observation.places:
            raise ValueError("no")
        super().update(observation)


def test_a_metric_that_failed_is_named_in_all_chunks_that_follow(crops, observe):
    listing = observe(crops[:1], crops[:1]).listing
    judges = Panel([Failing], Subject(None, 6, (64, 64)), MetricContext(torch.device("cpu"), 2), listing)
    found = []
    for start in (0, 2, 4):
        judges.update(observe(crops[start : start + 2], crops[start : start + 2], [f"{place:03d}" for place in (start, start + 1)]))
        found.append(judges.cut())
    assert [sorted(failures) for _, failures in found] == [[], ["failing"], ["failing"]]
    assert [bool(states) for states, _ in found] == [True, False, False]


def test_moments_of_large_chunks_do_not_pile_up(crops, observe):
    parts = []
    for start in (0, 8, 16):
        part = Distance.create(MetricContext(torch.device("cpu"), 2))
        ids = [f"{place:03d}" for place in range(start, start + 8)]
        part.update(observe(crops[start : start + 8], crops[start : start + 8].flip(3), ids))
        parts.append(part)
    whole = Distance.create(MetricContext(torch.device("cpu"), 2))
    for part in parts:
        whole.merge_state(part)
        assert len(whole.all_rows("counts")) == 1
    assert whole.all_rows("counts").tolist() == [24]
