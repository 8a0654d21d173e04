"""A person's whole path: fine-tune published weights, measure, compare, explain the difference, and gate it in continuous integration."""

from __future__ import annotations

import csv
import io
import json
import math
from xml.etree import ElementTree

import pytest

from tokbench.records.record import read_record

MEASURED = ("--data", "pictures", "--size", "32", "--metrics", "psnr,ssim,codebook", "--out", "runs")


def test_fine_tune_measure_compare_explain_and_gate(tokbench_cli, folder, tmp_path):
    def done(*words, status=0):
        found, out, err = tokbench_cli(*words)
        assert found == status, err
        return out, err

    done(
        *("train", "vqvae-tiny", "--set", "init_from=vqvae/tiny", "--data", "pictures", "--size", "32", "--out", "tuned"),
        *("--steps", "2", "--batch-size", "2", "--set", "learning_rate=0.0001", "--log-every", "1"),
    )
    done("run", "-t", "vqvae/tiny", "--protocol", "photos-64", *MEASURED)
    _, err = done("run", "-t", "tuned", "--protocol", "photos-64", *MEASURED)
    assert "was trained on images of pictures, which it is measured on" in err
    done("run", "-t", "tuned", "--protocol", "llamagen", *MEASURED)
    records = {path: read_record(path) for path in (tmp_path / "runs").glob("*.json")}
    ours = [path for path, record in records.items() if record.protocol.name == "photos-64"]
    published, tuned = sorted(ours, key=lambda path: bool(records[path].trained_on))
    (elsewhere,) = records.keys() - set(ours)
    assert records[published].trained_on is False
    assert records[tuned].tokenizer.name == records[published].tokenizer.name == "vqvae/tiny"

    # compare: one name, two digests; figures on data trained on are marked
    rows = list(csv.DictReader(io.StringIO(done("compare", published, tuned, "--format", "csv")[0])))
    digests = {records[path].tokenizer.state_sha256[:8] for path in ours}
    assert {row["tokenizer"] for row in rows} == {f"vqvae/tiny weights={digest}" for digest in digests}
    assert sorted(row["psnr_note"] for row in rows) == ["", "trained on the images measured"]

    # explain: the weights alone, and so the figures compare
    found = json.loads(done("explain", published, tuned, "--format", "json")[0])
    assert [cause["cause"] for cause in found["differences"]] == ["weights"]
    psnr = next(figure for figure in found["figures"] if figure["figure"] == "psnr")
    values = [records[path].metrics["psnr"].value for path in (published, tuned)]
    assert psnr["steps"][0]["change"] == pytest.approx(values[1] - values[0])
    assert (psnr["compares"], found["trained_on"]) == (True, True)

    # explain under another protocol: what the weights moved and what the protocol did, adding up
    joined = json.loads(done("explain", published, elsewhere, "--results", published, "--format", "json", "--metrics", "psnr")[0])
    assert not joined["figures"][0]["compares"]
    words = ("--measure", "--data", "pictures", "--weights", "tuned", "--out", "between", "--metrics", "psnr,ssim", "--format", "json")
    for figure in json.loads(done("explain", published, elsewhere, *words)[0])["figures"]:
        steps = {tuple(step["causes"]): step["change"] for step in figure["steps"]}
        assert ("weights",) in steps
        assert ("uint8",) in steps
        assert not any(step["joined"] for step in figure["steps"])
        assert math.fsum(steps.values()) == pytest.approx(figure["second"] - figure["first"], abs=1e-9)

    # gate: what fails a build, and what does not
    done("diff", published, tuned, "--fail-if", "psnr.change<-40", "--fail-if", "psnr.change.high<-40", "--gate-report", "kept.json")
    _, err = done("diff", published, tuned, "--fail-if", "psnr.change<40", "--gate-report", "gate.xml", status=1)
    assert "failed psnr.change<40" in err
    assert ElementTree.parse(tmp_path / "gate.xml").getroot().get("failures") == "1"
    assert ElementTree.parse(tmp_path / "gate.xml").getroot().findtext(".//system-out") == "trained on the images measured"
    assert json.loads((tmp_path / "kept.json").read_text())["failed"] is False
