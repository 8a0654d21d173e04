"""Explanations that measure: what is missing between two records is measured again, one cause after another, and checked by digest."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import tokbench
from tokbench.bench.about import tokenizer_info
from tokbench.bench.again import Workshop, metrics_of
from tokbench.bench.prepared import RunOptions
from tokbench.bench.runner import run
from tokbench.errors import TokbenchError
from tokbench.records.protocol import get_protocol
from tokbench.records.record import GIVEN, TokenizerInfo, read_record
from tokbench.records.references import reference_of
from tokbench.records.store import write_record
from tokbench.report.explain.causes import Between
from tokbench.report.explain.plan import wanted

NAME = "patch/kmeans-1024"


@pytest.fixture
def measured(tokbench_cli, folder, tmp_path):
    """Measures a tokenizer on a folder of pictures under a changed protocol; returns the record's file."""

    def measure(into="runs", name=NAME, metrics="psnr,ssim,codebook", **changes):
        found = run(name, folder, protocol=get_protocol(changes={"size": 32, **changes}), metrics=metrics)
        return write_record(found.record, found.rows, tmp_path / into)

    return measure


def figures(tokbench_cli, *arguments):
    status, out, err = tokbench_cli("explain", *arguments, "--format", "json")
    assert status == 0, err
    return {figure["figure"]: figure for figure in json.loads(out)["figures"]}, err


def test_causes_are_told_apart_by_measuring_one_after_another(tokbench_cli, measured, folder, tmp_path):
    first, second = measured("a"), measured("b", resize="bilinear", uint8="truncate")
    before, _ = figures(tokbench_cli, first, second)
    assert [step["causes"] for step in before["psnr"]["steps"]] == [["resize", "uint8"]]
    found, err = figures(tokbench_cli, first, second, "--measure", "--data", folder, "--out", "between")
    assert "measured with resize as in B: record between" in err
    (path,) = (tmp_path / "between").glob("*.json")
    middle, alone = read_record(path), read_record(measured("c", resize="bilinear"))
    assert middle.metrics == alone.metrics
    values = [read_record(place).metrics["psnr"].value for place in (first, path, second)]
    steps = found["psnr"]["steps"]
    assert [step["causes"] for step in steps] == [["resize"], ["uint8"]]
    assert [step["change"] for step in steps] == [values[1] - values[0], values[2] - values[1]]
    for figure in found.values():
        assert math.fsum(step["change"] for step in figure["steps"]) == pytest.approx(figure["second"] - figure["first"], abs=1e-12)
    assert [step["causes"] for step in found["perplexity"]["steps"]] == [["resize"]]  # codes are taken before there are bytes
    again, err = figures(tokbench_cli, first, second, "--results", "between", "--measure")
    assert "there is no more to tell apart" in err
    assert again == found


def test_every_order_measures_all_combinations(tokbench_cli, measured, folder, tmp_path):
    first, second = measured("a"), measured("b", resize="bilinear", uint8="truncate")
    found, _ = figures(tokbench_cli, first, second, "--measure", "--every-order", "--data", folder, "--metrics", "psnr", "--out", "all")
    assert len(list((tmp_path / "all").glob("*.json"))) == 2
    assert found["psnr"]["how"] == "means over all orders of 2 causes"
    assert all(step["orders"][0] <= step["change"] <= step["orders"][1] for step in found["psnr"]["steps"])


@pytest.fixture
def references(tmp_path, crops, monkeypatch):
    """A folder of images, and statistics of others' features; few images give a distance here."""
    monkeypatch.setattr("tokbench.bench.metrics.frechet.MIN_IMAGES", 8)
    folder, file = tmp_path / "others", tmp_path / "stats.npz"
    folder.mkdir()
    for i, pixels in enumerate(crops[12:].permute(0, 2, 3, 1).numpy()):
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    features = np.random.default_rng(0).normal(size=(1400, 1280))
    np.savez(file, mu=features.mean(axis=0), sigma=np.cov(features, rowvar=False))
    return folder, file


def against(folder, reference, into, metrics="psnr,fd_efflite0_reference", **changes):
    """Measures a tokenizer with a reference; returns the record's file."""
    protocol = get_protocol(changes={"size": 32, **changes})
    found = run(NAME, folder, protocol=protocol, metrics=metrics, options=RunOptions(reference=reference))
    assert found.record.metrics["fd_efflite0_reference"].measured
    return write_record(found.record, found.rows, into)


def test_another_reference_is_told_from_another_resize_and_rounding(tokbench_cli, references, folder, tmp_path):
    """The three together: each is a step of its own, in the order of a run, and they add up to the whole."""
    images, statistics = references
    first = against(folder, images, tmp_path / "a")
    second = against(folder, statistics, tmp_path / "b", resize="bilinear", uint8="truncate")
    key = "fd_efflite0_reference"
    before, _ = figures(tokbench_cli, first, second)
    assert [step["causes"] for step in before[key]["steps"]] == [["resize", "uint8", "reference"]]
    assert [step["causes"] for step in before["psnr"]["steps"]] == [["resize", "uint8"]]
    options = ("--measure", "--data", folder, "--reference", statistics, "--reference", images)
    found, err = figures(tokbench_cli, first, second, *options, "--out", "between")
    assert err.count("measured with resize") == 2
    steps = found[key]["steps"]
    assert [step["causes"] for step in steps] == [["resize"], ["uint8"], ["reference"]]
    assert all(step["interval"] for step in steps)
    alone = [
        read_record(against(folder, images, tmp_path / f"c{i}", resize="bilinear", **more))
        for i, more in enumerate(({}, {"uint8": "truncate"}))
    ]
    values = [record.metrics[key].value for record in (read_record(first), *alone, read_record(second))]
    assert [step["change"] for step in steps] == [b - a for a, b in itertools.pairwise(values)]
    assert abs(steps[2]["change"]) > abs(steps[0]["change"])
    for figure in found.values():
        assert math.fsum(step["change"] for step in figure["steps"]) == pytest.approx(figure["second"] - figure["first"], rel=1e-12)
    assert [step["causes"] for step in found["psnr"]["steps"]] == [["resize"], ["uint8"]]


def test_one_cause_is_the_reference_and_what_lies_between_is_measured_without_it_where_it_is_not_at_hand(
    tokbench_cli, references, folder, tmp_path
):
    images, statistics = references
    first, other = against(folder, images, tmp_path / "a"), against(folder, statistics, tmp_path / "b")
    found, _ = figures(tokbench_cli, first, other, "--measure")
    assert {key: [step["causes"] for step in figure["steps"]] for key, figure in found.items()} == {
        "psnr": [],
        "fd_efflite0_reference": [["reference"]],
    }
    second = against(folder, images, tmp_path / "c", resize="bilinear", uint8="truncate")
    record = Between(read_record(first), read_record(second))
    assert record.order == ("resize", "uint8")  # the same images, though they are cut otherwise
    found, err = figures(tokbench_cli, first, second, "--measure", "--data", folder, "--out", "between")
    assert "fd_efflite0_reference compares with a reference, and is not measured again without; give it by --reference" in err
    assert [step["causes"] for step in found["psnr"]["steps"]] == [["resize"], ["uint8"]]
    assert [step["causes"] for step in found["fd_efflite0_reference"]["steps"]] == [["resize", "uint8"]]
    words = ("explain", first, second, "--measure", "--data", folder, "--metrics", "fd_efflite0_reference")
    for more in ((), ("--reference", statistics)):
        status, _, err = tokbench_cli(*words, *more)
        assert status == 2
        assert "the reference others, whose digest begins" in err
        assert "is not at hand; give it by --reference" in err
    plan = wanted(Between(read_record(other), read_record(second)), [], read_record(other), every=True)
    assert len(plan) == 2**3 - 2
    assert {("reference" in one.changed, reference_of(one.reference)["name"]) for one in plan} == {(True, "others"), (False, "stats.npz")}


def test_a_machine_of_others_is_told_from_a_cause(tokbench_cli, measured, folder):
    """The first record is of another machine: it is measured again here, and what that moved is a step of its own."""
    path, second = measured("a"), measured("b", uint8="truncate")
    record = read_record(path)
    psnr = replace(record.metrics["psnr"], value=record.metrics["psnr"].value + 0.125)
    elsewhere = replace(record, environment=replace(record.environment, processor="another"), metrics=record.metrics | {"psnr": psnr})
    path.write_text(elsewhere.to_json())
    joined, _ = figures(tokbench_cli, path, second, "--metrics", "psnr")
    assert [step["causes"] for step in joined["psnr"]["steps"]] == [["uint8", "software"]]
    found, _ = figures(tokbench_cli, path, second, "--metrics", "psnr", "--measure", "--data", folder, "--out", "between")
    steps = {tuple(step["causes"]): step["change"] for step in found["psnr"]["steps"]}
    assert steps["software",] == pytest.approx(-0.125)
    assert sum(steps.values()) == pytest.approx(found["psnr"]["change"])


def test_what_is_to_be_measured_mixes_both_records(measured):
    first, second = read_record(measured("a")), read_record(measured("b", resize="box", seed=3))
    info = replace(second.tokenizer, config=second.tokenizer.config | {"block": 8}, state_sha256="1" * 64)
    second = replace(second, tokenizer=info)
    between = Between(first, second)
    assert between.order == ("seed", "resize", "weights", "config.block")
    plan = wanted(between, [], first, every=False)
    assert [sorted(one.changed) for one in plan] == [["seed"], ["resize", "seed"], ["resize", "seed", "weights"]]
    assert [(one.protocol.seed, one.protocol.resize) for one in plan] == [(3, "lanczos"), (3, "box"), (3, "box")]
    assert plan[-1].tokenizer.state_sha256 == "1" * 64
    assert plan[-1].tokenizer.config == first.tokenizer.config
    assert len(wanted(between, [], first, every=True)) == 2**4 - 2
    judged = replace(
        second, protocol=replace(first.protocol, uint8="truncate", lpips_nets=("vgg",), ssim_range=2.0, fid_resize="bilinear to 299")
    )
    judged = replace(judged, tokenizer=first.tokenizer)
    between = Between(first, judged)
    assert set(between.order) == {"uint8", "lpips_nets", "ssim_range", "fid_resize"}
    assert [sorted(one.changed) for one in wanted(between, [], first, every=False, keys=["psnr", "ssim"])] == [["uint8"]]
    assert wanted(between, [], first, every=True, keys=["psnr"]) == []
    (middle,) = wanted(between, [], first, every=False, keys=["psnr", "ssim"])
    there = replace(first, protocol=middle.protocol)
    assert wanted(between, [there], first, every=False, keys=["psnr", "ssim"]) == []


def test_names_of_metrics_follow_from_figures():
    assert metrics_of(["psnr", "perplexity", "usage", "fd[timm:resnet50.a1_in1k]", "own"]) == [
        "psnr",
        "codebook",
        "fd_timm.resnet50.a1_in1k",
    ]


def test_mistakes_are_one_line(tokbench_cli, measured, folder, tmp_path):
    first, second = measured("a", metrics="psnr"), measured("b", metrics="psnr", resize="bilinear", uint8="truncate")

    def refused(*arguments):
        status, out, err = tokbench_cli("explain", first, second, *arguments)
        assert (status, out) == (2, "")
        return err.strip().splitlines()[-1]

    assert refused("--data", folder) == "tokbench: --data is for what is measured again; give --measure too, or leave it out"
    assert refused("--measure").endswith("the images of pictures do not come with the package; give their place by --data")
    assert "--data gives photos/test; give their place" in refused("--measure", "--data", "photos")
    next(folder.glob("*.png")).unlink()
    assert "but theirs" not in refused("--measure", "--data", folder)
    assert "the images of pictures are not those of the record" in refused("--measure", "--data", folder, "--out", "other")
    assert not (tmp_path / "other").exists()
    record = read_record(first)
    strange = replace(record, tokenizer=replace(record.tokenizer, state_sha256="1" * 64))
    for path, of in ((first, strange), (second, replace(read_record(second), tokenizer=strange.tokenizer))):
        path.write_text(of.to_json())
    assert f"{NAME} has other weights here than in the record, whose digest begins 11111111" in refused("--measure", "--data", folder)


def test_causes_that_cannot_be_changed_alone_are_refused(measured):
    first = read_record(measured("a", metrics="psnr"))
    second = replace(
        first,
        tokenizer=replace(first.tokenizer, source_sha256="1" * 64),
        protocol=replace(first.protocol, uint8="truncate"),
    )
    with pytest.raises(TokbenchError, match="code cannot be changed by itself: the source of a plug-in"):
        wanted(Between(first, second), [], first, every=False)


@pytest.mark.parametrize("halfway", [False, True])
@pytest.mark.parametrize("windows", [0, 2])
def test_tiles_are_cut_again_as_those_of_the_record(windows, halfway):
    tiled = tokbench.load("vqgan/tiny").tiled(32, windows=windows, halfway=halfway)
    again = Workshop((), (), device="cpu")._tokenizer(tokenizer_info(tiled))
    assert again.tiling == tiled.tiling


def test_images_that_other_code_made_cannot_be_made_again():
    info = TokenizerInfo("theirs", {GIVEN: {"name": "theirs", "sha256": "0" * 64}}, None, None)
    with pytest.raises(TokbenchError, match=r"^theirs is of images that other code made, which cannot make others; leave --measure out$"):
        Workshop((), (), device="cpu")._tokenizer(info)
