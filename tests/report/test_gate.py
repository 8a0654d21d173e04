"""Conditions: what is read, what fails, and what a build server is told."""

import json
import math
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from tokbench.errors import TokbenchError
from tokbench.records.store import write_record
from tokbench.report.diff import diff_records
from tokbench.report.gate import check, checks_json, junit, known_names, parse_conditions, record_marks, record_values, write_checks

KNOWN = ("lpips", "psnr", "fd_efflite0")


@pytest.mark.parametrize(
    ("text", "name", "operator", "bound"),
    [
        ("lpips>0.15", "lpips", ">", 0.15),
        (" psnr < 26 ", "psnr", "<", 26.0),
        ("fd_efflite0>=3e2", "fd_efflite0", ">=", 300.0),
        ("psnr<=.5", "psnr", "<=", 0.5),
        ("psnr.change<-0.2", "psnr.change", "<", -0.2),
        ("psnr<inf", "psnr", "<", math.inf),
        ("fd[inception:0123abcd]>3", "fd[inception:0123abcd]", ">", 3.0),
        ("fd[inception:0123abcd].change>0.5", "fd[inception:0123abcd].change", ">", 0.5),
    ],
)
def test_conditions_are_read(text, name, operator, bound):
    (condition,) = parse_conditions([text], known=[*KNOWN, "fd[inception:0123abcd]"], changes=True)
    assert (condition.name, condition.operator, condition.bound) == (name, operator, bound)


@pytest.mark.parametrize(
    "text", ["", "lpips", "lpips>", ">0.1", "lpips>much", "lpips=0.1", "lpips==0.1", "lpips>nan", "0.1<lpips", "lpips>0.1>0"]
)
def test_anything_else_is_refused(text):
    with pytest.raises(TokbenchError, match=r"--fail-if takes a metric, one of < <= > >= and a number"):
        parse_conditions([text], known=KNOWN)


def test_unknown_metrics_are_answered_with_near_ones(make_record):
    with pytest.raises(TokbenchError, match="unknown metric 'lpisp'; did you mean lpips"):
        parse_conditions(["lpisp>0.1"], known=KNOWN)
    with pytest.raises(TokbenchError, match="unknown metric 'lpisp'"):
        parse_conditions(["lpisp.change>0.1"], known=KNOWN, changes=True)
    with pytest.raises(TokbenchError, match=r"asks for a change.*tokbench diff A B"):
        parse_conditions(["lpips.change>0.1"], known=KNOWN)
    assert parse_conditions(["mine>1"])[0].name == "mine"
    record = make_record("a/b").record
    record.metrics["mine"] = record.metrics["psnr"]
    assert {"mine", "rfid", "bits_per_image", "decode", "stability"} <= known_names([record])
    assert "mine" not in known_names()


@pytest.mark.parametrize(
    ("operator", "failing"),
    [("<", [True, False, False]), ("<=", [True, True, False]), (">", [False, False, True]), (">=", [False, True, True])],
)
def test_what_holds_fails(operator, failing):
    conditions = parse_conditions([f"psnr{operator}2"])
    checks = check(conditions, [("a", {"psnr": 1.0}), ("b", {"psnr": 2.0}), ("c", {"psnr": 3.0})])
    assert [one.failed for one in checks] == failing
    assert [one.subject for one in checks] == ["a", "b", "c"]
    assert checks[0].message == "psnr is 1"


def test_infinity_is_a_figure_and_nothing_else_passes_unseen(make_record):
    record = make_record("a/b", bits=None).record
    values = record_values(record) | {"psnr": math.inf, "ssim": math.nan}
    conditions = parse_conditions(["psnr<26", "rfid>3", "bits_per_image>1", "ssim<0", "dead_codes>1", "usage<0.9"])
    found = {one.condition: one for one in check(conditions, [("a", values)])}
    assert not found["psnr<26"].failed
    assert not found["usage<0.9"].failed
    for text, message in {
        "rfid>3": "no rfid: the weights are not here",
        "bits_per_image>1": "no bits_per_image: the record has none",
        "ssim<0": "ssim is not a number",
        "dead_codes>1": "no dead_codes: it was not measured",
    }.items():
        assert found[text].failed
        assert found[text].message == message


def test_junit_and_json(tmp_path):
    checks = check(parse_conditions(["psnr<26", "lpips>0.1"]), [("a <b> & \x00c", {"psnr": 25.0, "lpips": 0.05})])
    root = ElementTree.fromstring(junit(checks))
    assert root.tag == "testsuites"
    suite = root.find("testsuite")
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    first, second = suite.findall("testcase")
    assert first.get("classname") == "a <b> & ?c"
    assert first.find("failure").get("message") == "psnr is 25"
    assert second.find("failure") is None
    values = json.loads(checks_json(checks))
    assert values["failed"] is True
    assert values["checks"][1] == {
        "subject": "a <b> & \x00c", "condition": "lpips>0.1", "value": 0.05, "failed": False, "message": "lpips is 0.05",
    }  # fmt: skip
    assert json.loads(checks_json(check(parse_conditions(["psnr<26"]), [("a", {"psnr": math.inf})])))["checks"][0]["value"] == "inf"
    write_checks(checks, tmp_path / "new" / "gate.xml")
    write_checks(checks, tmp_path / "gate.JSON")
    assert (tmp_path / "new" / "gate.xml").read_text() == junit(checks)
    assert (tmp_path / "gate.JSON").read_text() == checks_json(checks)
    with pytest.raises(TokbenchError, match=r"gate\.txt must end in \.xml \(JUnit\) or \.json"):
        write_checks(checks, tmp_path / "gate.txt")
    with pytest.raises(TokbenchError, match="cannot write"):
        write_checks(checks, tmp_path / "gate.JSON" / "x.xml")


def test_a_number_beyond_all_figures_is_refused():
    with pytest.raises(TokbenchError, match="'lpips>1e999' has a number too large for a figure"):
        parse_conditions(["lpips>1e999"])
    assert parse_conditions(["psnr<inf"])[0].bound == float("inf")


def test_a_gate_says_what_tables_mark(make_record):
    made = make_record("a/b").record
    record = replace(made, trained_on=True, metrics=made.metrics | {"psnr": replace(made.metrics["psnr"], judged_by_training_network=True)})
    conditions = parse_conditions(["psnr<1e3", "ssim<-1", "bits_per_image<0"])
    failed, passed, rate = check(conditions, [("a/b", record_values(record))], [record_marks(record)])
    words = "trained with the network that judges; trained on the images measured"
    assert failed.note == words
    assert failed.said == f"{failed.message} ({words})"
    assert passed.note == "trained on the images measured"
    assert rate.note == ""  # no image has a part in it
    cases = ElementTree.fromstring(junit([failed, passed, rate])).findall("testsuite/testcase")
    assert cases[0].find("failure").get("message") == failed.said
    assert [case.findtext("system-out") for case in cases] == [words, passed.note, None]
    assert [one.get("note", "") for one in json.loads(checks_json([failed, passed, rate]))["checks"]] == [words, passed.note, ""]


def test_a_gate_on_changes_says_of_either_side_what_it_was_trained_on(make_record, tokbench_cli, tmp_path):
    before, after = make_record("a/b"), make_record("a/b", seed=1)
    for trained, name in ((before, "first"), (after, "second")):
        pair = [replace(item.record, trained_on=item is trained) for item in (before, after)]
        found = diff_records(*pair, before.rows, after.rows).marks()
        assert found["psnr"] == ("§" if name == "second" else "")
        assert {found["psnr.change"], found["psnr.change.low"], found["psnr.change.high"]} == {"§"}
        assert found["bits_per_image.change"] == ""
    for item, folder in ((before, "first"), (after, "second")):
        write_record(replace(item.record, trained_on=True), item.rows, tmp_path / folder)
    command = ("diff", "first", "second", "--fail-if", "psnr.change>-100", "--gate-report", "gate.json")
    status, _, err = tokbench_cli(*command)
    assert status == 1
    assert "(trained on the images measured)" in err
    assert json.loads((tmp_path / "gate.json").read_text())["checks"][0]["note"] == "trained on the images measured"


def test_pairs_of_one_tokenizer_are_told_apart_where_they_are_named(make_record, tokbench_cli, tmp_path):
    for folder, seed in (("first", 0), ("second", 1)):
        for name in ("photos", "birds"):
            item = make_record("a/b", seed=seed)
            data = replace(item.record.data, name=name, digest=name[0] * 64, pixels_digest=name[1] * 64)
            write_record(replace(item.record, data=data, protocol_label=f"photos-64+data={name}"), item.rows, tmp_path / folder)
    status, out, _ = tokbench_cli("diff", "first", "second", "--fail-if", "psnr.change<100", "--gate-report", "gate.xml", "--format", "md")
    assert status == 1
    subjects = [case.get("classname") for case in ElementTree.parse("gate.xml").getroot().iter("testcase")]
    assert sorted(name.partition(", N=")[0] for name in subjects) == ["a/b [photos-64+data=birds v2", "a/b [photos-64+data=photos v2"]
    for name in subjects:
        assert f"**{name}: figures**" in out
