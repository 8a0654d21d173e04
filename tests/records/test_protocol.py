"""Presets of protocols: what they are, what they refuse, and that records of before they had these settings are read."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from tokbench.configs import build, plain
from tokbench.errors import TokbenchError
from tokbench.records.protocol import CHANGEABLE, EARLIER, PRESETS, Protocol, get_protocol

NAMED = ("llamagen", "seed-voken", "flowmo", "titok", "maskbit", "bsq-lanczos", "rae", "dcae-512", "vtbench", "taming", "ldm")
RESULTS = Path(__file__).parents[2] / "results"


def test_the_clean_default_and_presets_of_repositories_are_there():
    assert list(PRESETS)[:3] == ["photos-64", "tokbench-256", "tokbench-512"]
    assert set(NAMED) < set(PRESETS)
    assert get_protocol() == PRESETS["photos-64"]
    assert (get_protocol("tokbench-256").size, get_protocol("tokbench-512").size) == (256, 512)
    assert get_protocol("tokbench-256").lpips_nets == ("alex", "vgg")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_comes_back_whole_from_json(name):
    protocol = PRESETS[name]
    assert build(Protocol, json.loads(json.dumps(plain(protocol)))) == protocol
    assert protocol.label == name


def test_no_two_presets_are_the_same():
    bodies = [replace(protocol, name="", version=0) for protocol in (*PRESETS.values(), *EARLIER.values())]
    assert len(set(bodies)) == len(bodies)


def test_what_repeats_mistakes_is_in_presets_of_others_only():
    clean = [PRESETS[name] for name in ("photos-64", "tokbench-256", "tokbench-512")]
    for protocol in clean:
        assert (protocol.uint8, protocol.originals, protocol.batch) == ("round", "as read", 1)
        assert (protocol.ssim_range, protocol.psnr_averaging, protocol.lpips_range) == (1.0, "images", "[-1, 1]")
        assert protocol.fid_pixels == protocol.pixels == "bytes"
    assert PRESETS["llamagen"].ssim_range == 2.0
    assert (PRESETS["flowmo"].psnr_averaging, PRESETS["flowmo"].batch) == ("batches", 5)
    assert PRESETS["seed-voken"].fid_pixels == "floats"
    assert PRESETS["vtbench"].lpips_range == "[0, 1]"


def test_records_of_before_are_those_of_the_defaults():
    path = next(iter(sorted((RESULTS / "flowmo-photos-64").glob("*.json"))))
    values = json.loads(path.read_text())["protocol"]
    assert "ssim_window" not in values
    assert build(Protocol, values) == replace(EARLIER["photos-64", 1], seed=values["seed"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"antialias": False}, "antialias=False goes with resize=bilinear or bicubic, got lanczos"),
        ({"batch": 0}, "batch must be 1 to 4096, got 0"),
        ({"ssim_range": 0.0}, "ssim_range must be above 0"),
        ({"ssim_range": None, "batch": 5}, "micro_batch must be a multiple of batch"),
        ({"psnr_ceiling": -1.0}, "psnr_ceiling must be above 0"),
        ({"judged_size": 0}, "judged_size must be 1 to 8192 px, got 0"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        replace(get_protocol(), **changes)


def test_an_unknown_preset_answers_with_near_ones():
    with pytest.raises(TokbenchError, match="llamagen"):
        get_protocol("llamagn")
    assert {field.name for field in fields(Protocol)} > set(CHANGEABLE)
