"""The command that lists presets of protocols and shows one whole."""

import csv
import io
import json

from tokbench.records.protocol import PRESETS


def test_all_are_listed_with_their_purpose_and_marks(tokbench_cli):
    status, out, err = tokbench_cli("protocols")
    assert (status, err) == (0, "")
    for name in PRESETS:
        assert name in out
    facts = json.loads(tokbench_cli("protocols", "--json")[1])
    assert [one["name"] for one in facts] == list(PRESETS)
    assert {one["name"] for one in facts if one["bug_compatible"]} >= {"llamagen", "flowmo", "seed-voken", "vtbench"}
    assert all(one["purpose"] for one in facts)
    rows = list(csv.DictReader(io.StringIO(tokbench_cli("protocols", "--format", "csv")[1])))
    assert len(rows) == len(PRESETS)


def test_one_is_shown_whole_with_its_sources(tokbench_cli):
    status, out, _ = tokbench_cli("protocols", "llamagen", "--format", "md")
    assert status == 0
    for text in ("| ssim_range | 2.0 | ✗ |", "reconstruction_vq_ddp.py", "center_crop_arr", "FoundationVision/LlamaGen@", "not repeated: "):
        assert text in out
    facts = json.loads(tokbench_cli("protocols", "llamagen", "--format", "json")[1])
    assert facts["settings"]["ssim_range"]["value"] == 2.0
    assert "raises SSIM" in facts["settings"]["ssim_range"]["bug"]
    assert facts["settings"]["fid_resize"]["verified"] is False
    assert tokbench_cli("protocols", "flowmo")[0] == 0


def test_an_unknown_one_is_refused_in_a_line(tokbench_cli):
    status, out, err = tokbench_cli("protocols", "seedvoken")
    assert (status, out) == (2, "")
    assert "unknown protocol 'seedvoken'; did you mean seed-voken" in err
    assert err.count("\n") == 1
