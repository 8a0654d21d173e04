"""What protocols let metrics see, and figures as presets compute them, against slow forms and the packages that others use."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tokbench.bench.context import MetricContext
from tokbench.bench.loader import key_of
from tokbench.bench.metrics import measured_by
from tokbench.bench.metrics.lpips import LPIPS
from tokbench.bench.metrics.psnr import PSNR
from tokbench.bench.metrics.ssim import SSIM, SSIMRule, ssim
from tokbench.bench.observation import Listing
from tokbench.bench.seen import Restored, observed
from tokbench.images import to_float, to_uint8
from tokbench.records.protocol import PRESETS, get_protocol

COUNT, SIDE = 11, 40


@pytest.fixture(scope="module")
def restored():
    """Eleven originals with what a tokenizer gave, some of it beyond [-1, 1]."""
    draw = torch.Generator().manual_seed(0)
    originals = torch.randint(0, 256, (COUNT, 3, 5, 5), generator=draw).repeat_interleave(8, 2).repeat_interleave(8, 3).to(torch.uint8)
    spread = torch.linspace(0.05, 0.4, COUNT)[:, None, None, None]
    images = to_float(originals) + spread * torch.randn(originals.shape, generator=draw)
    ids = tuple(f"{place:02d}" for place in range(COUNT))
    keys = tuple(key_of(one.permute(1, 2, 0).contiguous().numpy()) for one in originals)
    return Restored(ids, keys, originals, images, None, lambda images: images)


def seen(restored, protocol):
    return observed(restored, protocol, Listing(restored.ids, restored.ids))


def levels(images):
    """As numpy, ``[N, H, W, 3]``, double."""
    return images.permute(0, 2, 3, 1).double().numpy()


def figure(metric, *observations):
    for observation in observations:
        metric.update(observation)
    return metric.report()[metric.figures[0].key]


def test_bytes_are_made_by_the_rule_of_the_protocol(restored):
    for name, protocol in PRESETS.items():
        found = seen(restored, protocol if protocol.judged_size is None else get_protocol())
        if name != "vtbench":
            assert torch.equal(found.reconstruction, to_uint8(restored.images, rule=protocol.uint8))
    lowered = seen(restored, PRESETS["seed-voken"])
    change = restored.originals.int() - lowered.reference.int()
    assert change.unique().tolist() == [0, 1]
    assert lowered.keys != restored.keys
    assert lowered.keys_read == restored.keys


def test_floats_are_clamped_or_not_and_compared_with_what_was_read(restored):
    found = seen(restored, PRESETS["seed-voken"])
    before, after = found.pair("floats")
    assert torch.equal(before, to_float(restored.originals))
    assert float(after.max()) == 1
    assert float(found.pair("unclamped floats")[1].max()) > 1
    assert torch.equal(found.levels("bytes")[0], found.reference)


def test_images_are_judged_at_another_size_as_bytes(restored):
    protocol = get_protocol("vtbench", {"size": SIDE})
    half = seen(restored, replace(protocol, judged_size=SIDE // 2))
    assert half.reference.shape == half.reconstruction.shape == (COUNT, 3, SIDE // 2, SIDE // 2)
    assert half.restored is None
    assert half.keys != restored.keys


def decibels(errors):
    return 10 * np.log10(255.0**2 / errors)


@pytest.mark.parametrize("name", ["photos-64", "llamagen", "seed-voken", "maskbit", "bsq-lanczos", "flowmo", "vtbench", "titok"])
def test_psnr_of_presets(restored, name):
    protocol = PRESETS[name]
    protocol = protocol if protocol.judged_size is None else get_protocol("vtbench", {"size": 256})
    if name == "vtbench":
        protocol = replace(protocol, judged_size=None)
    found = seen(restored, protocol)
    if protocol.pixels == "bytes":
        before, after = levels(found.reference), levels(found.reconstruction)
    else:
        before = levels(restored.originals)
        wild = (levels(restored.images) + 1) * 127.5
        after = wild if protocol.pixels == "unclamped floats" else np.clip(wild, 0, 255)
    errors = ((before - after) ** 2).mean(axis=(1, 2, 3))
    if protocol.psnr_averaging == "images":
        expected = decibels(errors).mean()
    elif protocol.psnr_averaging == "batches":
        assert protocol.batch == 5
        expected = np.mean([decibels(part.mean()) for part in (errors[:5], errors[5:10], errors[10:])])
    else:
        expected = 10 * math.log10(before.max() ** 2 / errors.mean())
    assert figure(PSNR(protocol), found).value == pytest.approx(expected, abs=2e-4 if protocol.pixels != "bytes" else 1e-9)


@pytest.mark.parametrize("name", ["flowmo", "vtbench"])
def test_pooled_decibels_are_known_without_each_group(restored, name):
    """Batches stay as they are but for the images of the group, so that no image comes into another batch."""
    protocol = replace(PRESETS[name], judged_size=None, psnr_range="255", pixels="bytes")
    listing = Listing(restored.ids, tuple(f"{i // 2}" for i in range(COUNT)))
    found = observed(restored, protocol, listing)
    errors = ((levels(found.reference) - levels(found.reconstruction)) ** 2).mean(axis=(1, 2, 3))
    without = figure(PSNR(protocol), found).without
    assert set(without) == set(listing.groups)
    for group, value in without.items():
        kept = np.array([other != group for other in listing.groups])
        if name == "vtbench":
            assert value == pytest.approx(decibels(errors[kept].mean()), abs=1e-9)
        else:
            parts = [errors[start : start + 5][kept[start : start + 5]] for start in range(0, COUNT, 5)]
            assert value == pytest.approx(np.mean([decibels(part.mean()) for part in parts if len(part)]), abs=1e-9)


def test_batches_are_cut_in_the_order_of_the_listing_however_images_come(restored):
    protocol = PRESETS["flowmo"]
    whole = figure(PSNR(protocol), seen(restored, protocol))
    listing = Listing(restored.ids, restored.ids)
    parts = []
    for places in ([7, 3], [0, 10, 9], [1, 2, 4, 5, 6, 8]):
        part = Restored(
            tuple(restored.ids[i] for i in places),
            tuple(restored.keys[i] for i in places),
            restored.originals[places],
            restored.images[places],
            None,
            restored.reencode,
        )
        parts.append(observed(part, protocol, listing))
    assert figure(PSNR(protocol), *parts) == whole


def test_decibels_end_at_a_ceiling(restored):
    exact = Restored(restored.ids, restored.keys, restored.originals, to_float(restored.originals), None, restored.reencode)
    rounded = replace(PRESETS["rae"], uint8="round")
    assert figure(PSNR(rounded), seen(exact, rounded)).value == 100
    assert figure(PSNR(), seen(exact, get_protocol())).exact == COUNT
    for averaging in ("all pixels", "batches"):
        protocol = replace(get_protocol(), psnr_averaging=averaging)
        assert figure(PSNR(protocol), seen(exact, protocol)).exact == COUNT


@pytest.mark.parametrize("rule", [SSIMRule(uniform=True, sample=True), SSIMRule(uniform=True, sample=True, data_range=510.0), SSIMRule()])
def test_ssim_of_scikit_image(restored, rule):
    package = pytest.importorskip("skimage.metrics")
    before, after = restored.originals, to_uint8(restored.images)
    options = {} if rule.uniform else {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = [
        package.structural_similarity(x, y, data_range=rule.data_range, channel_axis=-1, **options)
        for x, y in zip(levels(before), levels(after), strict=True)
    ]
    assert ssim(before, after, rule).tolist() == pytest.approx(expected, abs=1e-9)


def test_ssim_of_torchmetrics_counts_the_border(restored):
    package = pytest.importorskip("torchmetrics.functional.image")
    before, after = restored.originals, to_uint8(restored.images)
    expected = package.structural_similarity_index_measure(after.double(), before.double(), data_range=255.0, reduction="none")
    assert ssim(before, after, SSIMRule(mirrored=True)).tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert ssim(before, after).tolist() != pytest.approx(expected.tolist(), abs=1e-4)


def test_a_doubled_range_raises_ssim_and_that_of_a_batch_depends_on_it(restored):
    known = {name: figure(SSIM(PRESETS[name]), seen(restored, PRESETS[name])).value for name in ("llamagen", "titok")}
    assert known["llamagen"] > known["titok"]
    protocol = replace(PRESETS["vtbench"], judged_size=None)
    found = seen(restored, protocol)
    expected = []
    for part in (slice(0, 8), slice(8, 11)):
        a, b = found.reference[part], found.reconstruction[part]
        widest = max(int(x.max()) - int(x.min()) for x in (a, b))
        expected += ssim(a, b, SSIMRule(mirrored=True, data_range=float(widest))).tolist()
    assert figure(SSIM(protocol), found).value == pytest.approx(np.mean(expected), abs=1e-12)


def test_luminance_is_of_bt_601(restored):
    protocol = get_protocol()
    protocol = replace(protocol, ssim_colour="luminance")
    grey = [(images.double() * torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)[:, None, None]).sum(dim=1, keepdim=True) for images in (
        restored.originals, to_uint8(restored.images))]  # fmt: skip
    assert figure(SSIM(protocol), seen(restored, protocol)).value == pytest.approx(float(ssim(*grey).mean()), abs=1e-12)


def test_lpips_of_the_wrong_range_is_another(restored):
    wrong = get_protocol()
    wrong = replace(wrong, lpips_range="[0, 1]")
    found = {}
    for protocol in (get_protocol(), wrong):
        metric = LPIPS.create(MetricContext(torch.device("cpu"), 16, protocol=protocol))
        found[protocol.lpips_range] = figure(metric, seen(restored, protocol)).value
        assert metric.settings["input"] == f"{protocol.lpips_range}, native size"
    assert found["[0, 1]"] != pytest.approx(found["[-1, 1]"], rel=0.01)


def test_settings_of_the_default_are_those_of_earlier_records():
    assert PSNR().settings == {"data_range": 255, "averaging": "mean of per-image dB"}
    assert SSIM().settings == {"window": "gaussian 11x11, sigma 1.5, valid", "k1": 0.01, "k2": 0.03, "data_range": 255}


def test_presets_say_which_lpips_is_measured():
    def names(name):
        return {metric.name for metric in measured_by(PRESETS[name])}

    assert {"lpips", "lpips_vgg"} <= names("tokbench-256")
    assert "lpips" not in names("llamagen")
    assert names("rae") & {"lpips", "lpips_vgg"} == {"lpips_vgg"}
    assert names("photos-64") & {"lpips", "lpips_vgg"} == {"lpips"}
