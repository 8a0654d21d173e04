"""Several protocols in one pass: the same records as a run each gives, with every image decoded and judged once."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tokbench
from tokbench import cli
from tokbench.bench.metrics.lpips import LPIPS
from tokbench.bench.prepared import RunOptions
from tokbench.bench.runner import run, run_all
from tokbench.bench.together import same_pixels
from tokbench.data.folder import FolderSource
from tokbench.data.open import open_source
from tokbench.records.protocol import PRESETS, get_protocol
from tokbench.tokenizers.base import Tokenizer

METRICS = "psnr,ssim,lpips,codebook,stability"
SHARED = ("llamagen", "rae", "seed-voken", "flowmo", "maskbit", "vtbench", "photos-64", "tokbench-256")


@pytest.fixture
def protocols():
    """Eight presets at 32 px, cut alike, of which no two judge alike."""
    return [
        replace(PRESETS[name], size=32, resize="bicubic", crop="scale all, cut on whole pixels", precision="fp32", judged_size=None)
        for name in SHARED
    ]


def told(evaluation):
    """What does not differ from run to run."""
    values = json.loads(evaluation.record.to_json())
    del values["timing"], values["created"]
    return values, evaluation.rows


def test_they_give_what_a_run_each_gives(folder, protocols):
    source = FolderSource(folder)
    tokenizer, options = tokbench.load("pixel/palette-512"), RunOptions(cache=False)
    assert len(same_pixels(protocols)) == 1
    together = run_all(tokenizer, source, protocols, metrics=METRICS, options=options)
    for protocol, evaluation in zip(protocols, together, strict=True):
        alone = run(tokenizer, source, metrics=METRICS, protocol=protocol, options=options)
        assert told(evaluation) == told(alone), protocol.name
        assert evaluation.record.protocol == replace(protocol, data=source.name)
    assert len({evaluation.record.metrics["ssim"].value for evaluation in together}) >= 5


def test_images_are_decoded_once_and_judged_once_where_they_are_the_same(folder, protocols, monkeypatch):
    decoded, judged = [], []
    decode, per_image = Tokenizer.decode, LPIPS.per_image
    monkeypatch.setattr(Tokenizer, "decode", lambda self, tokens, **seeds: (decoded.append(1), decode(self, tokens, **seeds))[1])
    monkeypatch.setattr(LPIPS, "per_image", lambda self, seen: (judged.append(self.rules.name), per_image(self, seen))[1])
    run_all(tokbench.load("pixel/palette-512"), FolderSource(folder), protocols, metrics="lpips", options=RunOptions(cache=False))
    assert len(decoded) == 1  # twelve images are one micro-batch
    assert judged == ["llamagen", "rae", "seed-voken", "vtbench"]  # others have the bytes, or the floats, of one of these


def test_what_is_kept_beside_values_is_kept_under_every_protocol():
    """Protocols that see the same bytes share values; the figures beside them were missing under all but the first."""
    source = open_source("scenes", size=32, scaled=False)
    protocols = [replace(PRESETS[name], size=32, samples=4) for name in ("taming", "ldm")]
    metrics, options = ("scene_accuracy",), RunOptions(cache=False)
    found = run_all(tokbench.load("pixel/palette-512"), source, protocols, metrics=metrics, options=options)
    assert not [failure for evaluation in found for failure in evaluation.failures]
    alone = run(tokbench.load("pixel/palette-512"), source, metrics=metrics, protocol=protocols[1], options=options)
    assert told(found[1]) == told(alone)
    assert found[1].rows.keys() == {"scene_accuracy", "scene_whole", "scene_whole_original"}


def test_other_pixels_have_their_own_pass(protocols):
    other = [*protocols, *(get_protocol(name, {"size": 32}) for name in ("seed-voken", "maskbit", "taming", "flowmo"))]
    groups = same_pixels(other)
    assert [[protocol.name for protocol in group] for group in groups[1:]] == [["seed-voken", "maskbit"], ["taming"], ["flowmo"]]


def records(folder):
    found = {}
    for path in sorted(Path(folder).glob("*.json")):
        values = json.loads(path.read_text())
        del values["timing"], values["created"]
        found[path.name] = values, path.with_suffix(".parquet").read_bytes()
    return found


NAMES = ("--protocol", "llamagen", "--protocol", "tokbench-256", "--protocol", "rae")


@pytest.fixture
def measured(tokbench_cli, folder, monkeypatch):
    monkeypatch.setattr("tokbench.bench.prepared.chunk_size", lambda protocol: 5)

    def call(*words, out):
        line = ("run", "-t", "pixel/palette-512", "--data", folder, "--metrics", "psnr,ssim", "--size", "32", "--out", out)
        return tokbench_cli(*line, *words)

    return call


def test_a_command_writes_a_record_for_each_and_says_who_shares_a_pass(measured, tmp_path):
    status, _, err = measured(*NAMES, out="several")
    assert status == 0, err
    assert "pixel/palette-512: 2 passes over the images" in err
    assert "llamagen, rae; tokbench-256" in err
    found = records(tmp_path / "several")
    assert [name.split("_")[1].split("+")[0] for name in found] == ["llamagen", "rae", "tokbench-256"]
    for name in NAMES[1::2]:
        assert measured("--protocol", name, out="single")[0] == 0
    assert records(tmp_path / "single") == found
    assert not list((tmp_path / "several").glob("*.journal"))


def test_parts_resuming_and_kills_change_nothing(measured, tokbench_cli, tmp_path):
    assert measured(*NAMES, out="whole")[0] == 0
    for part in ("2/2", "1/2"):
        status, _, err = measured(*NAMES, "--part", part, out="parts")
        assert status == 0, err
    assert len(list((tmp_path / "parts").glob("*.journal"))) == 6
    assert tokbench_cli("merge", "parts", "--out", "merged")[0] == 0
    assert records(tmp_path / "merged") == records(tmp_path / "whole")
    assert measured("--protocol", "llamagen", "--resume", out="again")[0] == 0
    (journal,) = (tmp_path / "again").glob("*.journal")
    for chunk in ("000001.parquet", "000001.safetensors"):
        (journal / chunk).unlink()
    assert measured(*NAMES, "--resume", out="again")[0] == 0  # one has two of its chunks, the others none
    found = records(tmp_path / "again")
    twice = next(name for name in found if name.endswith("_2.json"))
    assert found.pop(twice) == found[twice.replace("_2.json", ".json")]
    assert found == records(tmp_path / "whole")


def test_processes_share_protocols_as_they_share_images(measured, in_processes, folder, tmp_path):
    assert measured(*NAMES, out="whole")[0] == 0

    def work(rank):
        line = ("run", "-t", "pixel/palette-512", "--data", folder, "--metrics", "psnr,ssim", "--size", "32", "--out", "runs", *NAMES)
        sys.argv = ["tokbench", *map(str, line)]
        cli.main()

    assert in_processes(2, work) == [0, 0]
    assert records(tmp_path / "runs") == records(tmp_path / "whole")


def test_mistakes_are_one_line(measured):
    for words, text in [
        (("--protocol", "llamagn"), "unknown protocol 'llamagn'; did you mean llamagen"),
        (("--protocol", "rae", "--protocol", "rae"), "--protocol names rae twice; name every protocol once"),
        ((*NAMES, "--save-images", "images"), "--save-images keeps the images of one protocol, 3 are named; run them one by one"),
    ]:
        status, out, err = measured(*words, out="wrong")
        assert (status, out) == (2, "")
        assert text in err
        assert err.count("\n") == 1
        assert not Path("wrong").exists()


def test_folders_are_measured_at_the_size_of_the_tokenizer_and_codecs_beside_it_too(tokbench_cli, folder):
    def labels(*names):
        words = [word for name in names for word in ("-t", name)]
        status, out, err = tokbench_cli("run", *words, "--data", folder, "--metrics", "psnr", "--json")
        assert status == 0, err
        return [record["protocol_label"] for record in json.loads(out)]

    assert labels("pixel/rgb", "anchor/jpeg-4608") == ["tokbench-256+data=pictures+size=64"] * 2
    assert labels("anchor/jpeg-4608") == ["tokbench-256+data=pictures"]


def test_python_measures_a_path_as_the_command_does(folder):
    label = tokbench.evaluate("pixel/palette-512", folder, metrics="psnr").protocol_label
    assert label == tokbench.evaluate("pixel/palette-512", str(folder), metrics="psnr").protocol_label
    assert label == "tokbench-256+data=pictures+size=64"
    source = FolderSource(folder)
    assert tokbench.evaluate("pixel/palette-512", source, metrics="psnr").protocol_label == "photos-64+data=pictures"


def test_photos_are_scaled_by_the_protocol_that_scales_all():
    options, words = RunOptions(cache=False), {"samples": 4, "size": 128}
    found = [
        run("pixel/palette-512", "photos", metrics="psnr", protocol=get_protocol(name, words), options=options).record
        for name in ("photos-64", "tokbench-256", "bsq-lanczos")
    ]
    assert len({record.data.pixels_digest for record in found}) == 3
    assert found[1].data.digest == found[2].data.digest
    assert all(torch.isfinite(torch.tensor(record.metrics["psnr"].value)) for record in found)
