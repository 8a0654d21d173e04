"""The commands on the page: networks first, and no place asked for where none is needed."""

import html
import re
import shlex
from dataclasses import replace
from itertools import pairwise

import pytest

from tokbench.records.figures import FIGURES
from tokbench.records.protocol import get_protocol
from tokbench.records.record import MetricResult
from tokbench.records.store import write_record
from tokbench.report.page.commands import Asked, anchor_command, commands, run_command
from tokbench.report.page.model import arrange
from tokbench.report.page.render import missing_anchors, render_page
from tokbench.weights.assets import ASSETS, TIMM


def changed(item, data="photos/test", **metrics):
    record = item.record
    return replace(item, record=replace(record, data=replace(record.data, name=data), metrics=record.metrics | metrics))


@pytest.mark.parametrize(
    ("data", "asked"), [("text", False), ("faces", False), ("photos/train", False), ("faces:mine", True), ("photos/x", True)]
)
def test_a_place_is_asked_for_only_where_the_name_does_not_say_it(make_record, data, asked):
    line = run_command(changed(make_record("family/a"), data).record)
    assert f"--data {data} " in line
    assert ("give the place of the data" in line) is asked


def test_networks_are_fetched_once_and_first(make_record):
    vgg, face = MetricResult(0.1, "1", False), MetricResult(0.4, "distance", False)
    items = [
        changed(make_record("family/a"), lpips_vgg=vgg),
        changed(make_record("family/b"), lpips_vgg=vgg),
        changed(make_record("family/a"), "faces", face_distance=face, face_match=face),
        changed(make_record("family/b"), "faces:mine"),
    ]
    lines = commands(arrange(items))
    assert lines[:2] == ["tokbench weights get lpips-vgg", "tokbench weights get faces"]
    assert len(lines) == 2 + 4 + 1
    assert all(line.startswith("tokbench run ") for line in lines[2:6])
    without = commands(arrange([changed(make_record("family/a"), "text", lpips_vgg=MetricResult(reason="lpips-vgg is not here"))]))
    assert not [line for line in without if "weights get" in line]


def options(line):
    """The words of a command by the option before them."""
    words = shlex.split(line, comments=True)
    found = {}
    for name, value in pairwise(words):
        if name.startswith("-"):
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize(
    ("name", "given", "changes"),
    [
        ("photos/test", "photos", {}),
        ("photos/test", "photos", {"size": 128, "samples": 50, "seed": 3, "precision": "bf16"}),
        ("text", "text", {}),
        ("faces", "faces", {"size": 96}),
        ("faces:mine", "faces:mine", {}),
        ("scenes/test", "scenes/test", {"samples": 500}),
        ("scenes/held-out:70", "scenes/held-out:70", {}),
        ("imagenette:validation", "hf:imagenette:validation", {"samples": 1000}),
        ("faces:celebs:test", "faces:hf:celebs:test", {}),
    ],
)
def test_missing_anchors_are_measured_as_the_tokenizers_were(make_record, name, given, changes):
    protocol = get_protocol(changes=changes, data=name)
    own = {"text_accuracy": MetricResult(0.5, "share", True)} if name == "text" else {}
    items = [changed(make_record(tokenizer, seed=i), name, **own) for i, tokenizer in enumerate(("family/a", "family/b"))]
    items = [replace(item, record=replace(item.record, protocol=protocol, protocol_label=protocol.label)) for item in items]
    (group,) = arrange(items)
    line = anchor_command(group, missing_anchors(group))
    asked = options(line)
    assert asked["-t"] == ["anchor/webp-20", "anchor/jpeg-20"]
    assert asked["--data"] == [given]
    settings = {"samples": "--limit", "size": "--size", "seed": "--seed", "precision": "--precision"}
    assert get_protocol(changes={key: asked.get(option, [None])[0] for key, option in settings.items()}, data=name) == protocol
    assert asked["--metrics"] == [",".join(sorted({"fd_efflite0", "lpips", "psnr", "ssim", "usage", *own}))]
    assert line in html.unescape(render_page([group], [None]))


def test_nothing_is_suggested_where_no_anchor_is_missing(make_record):
    (group,) = arrange([make_record("family/a"), make_record("anchor/webp-20"), make_record("anchor/jpeg-20")])
    assert anchor_command(group, missing_anchors(group)) == ""
    assert "To add what is missing" not in render_page([group], [None])


def test_metrics_of_others_are_asked_for_by_their_class(make_record):
    own = {"contrast": MetricResult(0.25, "1", False), "warmth": MetricResult(0.5, "1", None)}
    record = changed(make_record("family/a"), **own).record
    record = replace(record, metrics={key: record.metrics[key] for key in ("psnr", *own)})
    line = run_command(record)
    assert options(line)["--metrics"] == ["psnr,MODULE:CLASS"]
    assert line.endswith("; MODULE:CLASS names the metric that gives contrast, warmth: the record does not say which class it is")
    assert "MODULE:CLASS" not in run_command(make_record("family/a").record)


def test_every_network_that_is_fetched_for_a_metric_is_in_the_commands(make_record):
    fetched = {asset.name for asset in ASSETS if not asset.embedded} - {"resnet50"}  # that one only trains
    fetched |= {info.asset for info in FIGURES if info.asset.startswith(TIMM)}
    item = make_record("family/a")
    item = replace(item, record=replace(item.record, metrics={info.key: MetricResult(3.5, info.unit) for info in FIGURES}))
    first = [line.removeprefix("tokbench weights get ") for line in commands(arrange([item])) if line.startswith("tokbench weights get ")]
    assert len(first) == len(fetched)
    assert set(first) == fetched


def test_the_page_says_how_it_was_asked_for(make_record):
    groups = arrange([make_record("family/a")])
    assert commands(groups)[-1] == "tokbench report results -o report.html"
    asked = Asked(("a folder", "/home/someone/other"), "pages/mine.html", 0, ("faces:/home/someone/pictures", "birds"))
    *_, again, same = commands(groups, asked=asked)
    shown = "--images 0 --data faces:pictures --data birds -o pages/mine.html"
    assert again == f"tokbench report results {shown}  # absolute paths are shortened to names"
    assert same == f"tokbench report 'a folder' other {shown}  # of the records this page is made of; absolute paths are shortened to names"


def test_what_the_command_was_given_stands_on_its_page(make_record, report_cli, tmp_path):
    for folder, name in (("one", "family/a"), ("two", "family/b")):
        item = make_record(name)
        write_record(item.record, item.rows, tmp_path / folder)
    report_cli("one", "two", "--images", "0", "--data", "pictures", "--data", "birds", "-o", "mine.html")
    lines = html.unescape(re.search(r'id="command-lines">(.*?)</pre>', (tmp_path / "mine.html").read_text(), re.S)[1]).splitlines()
    assert (
        lines[-1] == "tokbench report one two --images 0 --data pictures --data birds -o mine.html  # of the records this page is made of"
    )
    before = (tmp_path / "mine.html").read_bytes()
    report_cli(*shlex.split(lines[-1], comments=True)[2:])
    assert (tmp_path / "mine.html").read_bytes() == before


@pytest.mark.parametrize("given", ["", "."])
def test_a_folder_is_no_page_and_is_refused_before_pictures_are_made(given, tokbench_cli, make_record, tmp_path):
    write_record(make_record("pixel/rgb").record, {}, tmp_path / "runs")
    status, out, err = tokbench_cli("report", str(tmp_path / "runs"), "-o", given)
    assert (status, out) == (2, "")
    assert err == "tokbench: --output '.' is a folder; give a file, such as 'name'\n"
