"""What metrics leave on a GPU is fetched when a chunk ends, and is what it would have been at once, bit for bit."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
import torch

import tokbench
from tests.bench.gpu_stand_in import CUDA
from tokbench.bench import feature_pass
from tokbench.bench.cache import FeatureCache
from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.codebook import Codebook
from tokbench.bench.metrics.kernel import KernelMetric
from tokbench.bench.metrics.psnr import PSNR
from tokbench.bench.metrics.ris import RIS
from tokbench.bench.metrics.stability import Stability
from tokbench.bench.networks import FeatureNetwork
from tokbench.bench.observation import Again, Subject
from tokbench.bench.panel import Panel
from tokbench.records.figures import figures_of


class Away(torch.Tensor):
    """A tensor of the processor that says it is on a GPU, and counts how often it is fetched."""

    fetched = 0
    device = property(lambda self: CUDA)

    def cpu(self):
        Away.fetched += 1
        return self.as_subclass(torch.Tensor)


NETWORK = FeatureNetwork("toy", 4, {}, lambda images: images[:, 0, 0, :4].float(), classes=torch.eye(4, 4) / 64)


class Distance(KernelMetric):
    """On a toy network, whose features of originals are kept in a cache."""

    name, figures = "distance", figures_of("kd_efflite0")

    @classmethod
    def create(cls, context):
        return cls(NETWORK, FeatureCache(context.cache, NETWORK), micro_batch=context.micro_batch)


class Classes(RIS):
    """On the same network, without a cache."""

    @classmethod
    def create(cls, context):
        return cls(NETWORK, None, micro_batch=context.micro_batch)


def test_what_is_on_a_device_is_fetched_when_a_chunk_ends(crops, observe, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_pass, "moved", lambda tensor, device: tensor.as_subclass(Away) if device == CUDA else tensor)
    layout = tokbench.load("pixel/palette-512").layout(64, 64)
    layout = replace(layout, codebook_sizes=(4,))

    def measured(folder, kind):
        context = MetricContext(torch.device("cpu"), 2, tmp_path / folder, None, None, layout)
        panel = Panel([PSNR, Codebook, Distance, Classes], Subject(layout, 12, (64, 64)), context, observe(crops[:1], crops[:1]).listing)
        found = []
        for start in (0, 4, 0):  # the third chunk finds its originals in the cache
            for first in (start, start + 2):
                places = range(first, first + 2)
                seen = observe(crops[first : first + 2], crops[first : first + 2].flip(3), [f"{place:03d}" for place in places])
                tokens = replace(seen.tokens, codes=seen.tokens.codes.as_subclass(kind))
                sides = {side: getattr(seen, side).as_subclass(kind) for side in ("reference", "reconstruction")}
                before = Away.fetched
                panel.update(replace(seen, tokens=tokens, **sides))
                assert Away.fetched == before
            states, failures = panel.cut()
            assert not failures
            found.append(states)
        panel.leave()
        return found

    here = measured("here", torch.Tensor)
    assert Away.fetched == 0
    away = measured("away", Away)
    assert Away.fetched > 0
    for one, other in zip(here, away, strict=True):
        assert one.keys() == other.keys()
        assert {"psnr/values/00000", "distance/features/00000", "ris/shares"} <= {key.removesuffix("/values") for key in one} | set(one)
        assert all(torch.equal(one[key], other[key].as_subclass(torch.Tensor)) for key in one)
    one, other = ([path.read_bytes() for path in sorted((tmp_path / folder).rglob("*.safetensors"))] for folder in ("here", "away"))
    assert len(one) == 1
    assert one == other


@pytest.mark.parametrize("metric", [lambda: Codebook((4,)), lambda: Classes.create(MetricContext(torch.device("cpu"), 2))])
def test_who_asks_for_figures_or_merges_settles_before(metric, crops, observe):
    seen = observe(crops[:4], crops[4:8], ["000", "010", "020", "030"])
    codes = replace(seen.tokens, codes=seen.tokens.codes.as_subclass(Away))
    away = replace(seen, reference=seen.reference.as_subclass(Away), reconstruction=seen.reconstruction.as_subclass(Away), tokens=codes)
    here, there, merged = metric(), metric(), metric()
    here.update(seen)
    there.update(away)
    merged.update(seen)
    merged.merge_state(there)
    assert there.report() == here.report()
    there.update(away)
    assert merged.report() == there.report()


def test_codes_made_again_are_those_that_turn_out_to_be_so(crops, observe):
    """What was likely of the first micro-batch does not hold; it is asked once, when the second is here, and of that whenever rows are asked for."""
    asked = []
    seen = [observe(crops[:2], crops[2:4], ["000", "010"]), observe(crops[:2], crops[4:6], ["020", "030"])]
    usual, late = Stability(), Stability()
    for number, one in enumerate(seen):
        sure = one.tokens_again
        usual.update(one)
        likely = one.tokens if number == 0 else sure
        again = Again(likely, lambda number=number, sure=sure: (asked.append(number), sure)[1])
        late.update(replace(one, reencode=lambda again=again: again))
        assert asked == list(range(number))
    assert usual.report() == late.report()
    assert asked == [0, 1]
    assert usual.rows() == pickle.loads(pickle.dumps(late)).rows()
    assert set(late.rows()["stability"].values()) != {1.0}
