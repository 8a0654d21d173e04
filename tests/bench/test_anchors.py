"""Codecs as anchors."""

import pytest
import torch

from tokbench.bench.anchors import parse_anchor
from tokbench.bench.metrics.psnr import psnr
from tokbench.bench.runner import run
from tokbench.errors import TokbenchError


def test_webp_stays_within_its_budget_and_uses_it(crops):
    small, large = (parse_anchor(f"anchor/webp-{size}") for size in (320, 1200))
    decoded, sizes = small.transcode(crops)
    assert decoded.shape == crops.shape
    assert decoded.dtype == torch.uint8
    smallest = parse_anchor("anchor/webp-1").transcode(crops)[1]
    assert all(size <= max(320, least) for size, least in zip(sizes, smallest, strict=True))
    better, more = large.transcode(crops)
    assert sum(more) > sum(sizes)
    assert psnr(crops, better).mean() > psnr(crops, decoded).mean() + 2


def test_jpeg_that_cannot_reach_its_budget_reports_what_it_took(crops):
    _, sizes = parse_anchor("anchor/jpeg-100").transcode(crops[:4])
    assert all(100 < size < 1000 for size in sizes)


def test_an_anchor_is_measured_like_a_tokenizer(folder):
    record = run(parse_anchor("anchor/webp-320"), folder, size=64, metrics=("psnr", "codebook", "stability")).record
    assert (record.tokenizer.name, record.tokenizer.codec) == ("anchor/webp-320", "webp")
    assert record.tokens.positions is None
    assert record.tokens.bits_are == "mean file size measured"
    assert 1000 < record.interval("bits_per_image").low < record.tokens.bits_per_image < record.interval("bits_per_image").high < 4000
    assert record.interval("bpp").low == record.interval("bits_per_image").low / 4096
    assert record.metrics["usage"].reason == "a codec, or images alone, without tokens"
    assert record.metrics["psnr"].value > 20


@pytest.mark.parametrize("name", ["anchor/webp", "anchor/webp-0", "anchor/png-100", "anchor/webp--3"])
def test_names_that_are_no_anchor(name):
    with pytest.raises(TokbenchError, match="unknown anchor"):
        parse_anchor(name)


def test_other_names_are_left_to_the_zoo():
    assert parse_anchor("vqgan") is None
