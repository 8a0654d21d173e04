"""What stands behind the figures: commands that make the records again, warnings, published figures, skipped files."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from tokbench.records.protocol import get_protocol
from tokbench.records.record import MetricResult, SkippedImage
from tokbench.records.store import find_records
from tokbench.report.page import facts
from tokbench.report.page.commands import commands, run_command
from tokbench.report.page.model import arrange

ROOT = Path(__file__).parents[2]


def changed(item, **parts):
    return replace(item, record=replace(item.record, **parts))


def test_commands_are_ones_the_command_line_knows():
    from tokbench.cli import root_command

    run = root_command().commands["run"]
    options = {option for parameter in run.params for option in parameter.opts}
    for path, record in find_records([ROOT / "results"]):
        words = shlex.split(run_command(record), comments=True)
        assert words[:3] == ["tokbench", "run", "-t"], path
        assert all(word in options for word in words if word.startswith("--")), path
        rung = path.name.startswith("vqvae-tiny+")  # of the ladder, which the study has too
        changed = {"quantizer-ladder", "protocols"} & set(path.parts) or ("which-tokenizer" in path.parts and rung)
        assert "--set" not in words or record.tokenizer.name.startswith("flowmo") or changed


@pytest.mark.parametrize("name", ["a b; rm -rf ~", "$(reboot)", "'quoted\"", "x\ny"])
def test_hostile_names_stay_one_word_of_a_command(make_record, name):
    item = changed(make_record("family/a"), tokenizer=replace(make_record("family/a").record.tokenizer, name=name, config={name: name}))
    words = shlex.split(run_command(item.record).split("  # ")[0])
    assert words[3] == " ".join(name.split())
    assert "--metrics" in words


def test_commands_say_what_options_cannot(make_record):
    item = make_record("family/a")
    protocol = get_protocol(changes={"resize": "box", "size": 128, "precision": "bf16"})
    line = run_command(changed(item, protocol=protocol).record)
    assert "--size 128" in line
    assert "--precision bf16" in line
    assert "resize=box, in Python" in line.split("  # ")[1]
    older = run_command(changed(item, protocol=replace(item.record.protocol, version=0)).record)
    assert "version 0" in older
    assert "not known here" in run_command(changed(item, protocol=replace(item.record.protocol, name="mine")).record)
    assert commands(arrange([item, item]))[1:] == ["tokbench report results -o report.html"]


def test_published_figures_are_on_the_page(make_record):
    from tokbench.report.page.render import render_page

    groups = arrange([make_record("vqgan/imagenet-f16-1024")])
    (table,) = facts.published(groups)
    assert {cells[1].text for _, cells in table.rows} >= {"7.94", "10.54", "20.18", "0.52"}
    page = render_page(groups, [None])
    assert table.title in page
    assert "10.54" in page
    groups = arrange([make_record("my.module:Class")])
    assert facts.published(groups) == []
    assert "No published figures are known" in render_page(groups, [None])


def test_skipped_files_are_named_up_to_a_limit(make_record):
    item = make_record("family/a")
    skipped = tuple(SkippedImage(f"{i}.jpg", "cut off") for i in range(facts.SHOWN_SKIPPED + 5))
    (group,) = arrange([changed(item, data=replace(item.record.data, skipped=skipped)), make_record("family/b")])
    found = facts.sources(group)
    assert len(found.skipped.named) == facts.SHOWN_SKIPPED
    assert found.skipped.more == 5
    assert found.skipped.named[0] == ("0.jpg", "cut off")
    assert dict(found.data)["images"] == "60 measured of 60 asked for"
    assert dict(found.protocol)["resize"] == "lanczos"
    assert {"label", "name", "version", "size", "uint8", "seed", "reference"} <= set(dict(found.protocol))


def test_warnings(make_record):
    a, b = make_record("family/a"), make_record("family/b")
    plain = [warned.text for warned in facts.warnings(arrange([a, b]))]
    assert plain == ["FD-EffLite0 at N=60: biased upwards at so few images; compare at equal N only."]
    odd = changed(
        b,
        schema=1,
        metrics=b.record.metrics | {"psnr": MetricResult(float("nan"), "dB", True)},
        environment=replace(b.record.environment, packages={"torch": "3.0"}, tokbench="0.2.0"),
        tokenizer=replace(b.record.tokenizer, trained_with=("data:photos/test",)),
        data=replace(b.record.data, enlarged=2, skipped=(SkippedImage("x", "y"),)),
    )
    elsewhere = changed(a, data=replace(a.record.data, pixels_digest="f" * 64))
    texts = {warned.text: warned.names for warned in facts.warnings(arrange([a, replace(odd, rows={}), elsewhere]))}
    for start, names in (
        ("2 protocols or data sets", ()),
        ("Records of schema 1 lack codebook curves and intervals of speeds", ("family/b",)),
        ("No per-image values", ("family/b",)),
        ("Not a number: psnr", ("family/b",)),
        ("Trained on photos/test", ("family/b",)),
        ("1 image could not be read and was left out", ()),
        ("2 images were enlarged", ()),
        ("Records were made with different versions of torch", ()),
        ("Records were made with different versions of tokbench", ()),
    ):
        (found,) = [text for text in texts if text.startswith(start)]
        assert texts[found] == names
    assert facts.warnings(arrange([changed(a, schema=1), changed(b, schema=1)]))[-1].names == ()  # all of them
    broken = facts.warnings(arrange([replace(a, rows={}, problem="bad magic")]))
    assert any("bad magic" in warned.text for warned in broken)


def test_warnings_of_few_images(make_record):
    """Intervals mean little there, whether there is one image, or several of few groups."""

    def said(images, groups):
        item = make_record("family/a")
        data = replace(item.record.data, count=images, groups=groups, skipped=(SkippedImage("x", "y"),) * 2, enlarged=1)
        return [warned.text for warned in facts.warnings(arrange([changed(item, data=data)]))]

    assert any(text.startswith("Measured on 1 image: there are no intervals") for text in said(1, 1))
    assert any(text.startswith("60 images of 5 groups: intervals over fewer than 6 groups mean little") for text in said(60, 5))
    assert any(text.startswith("2 images of 1 group:") for text in said(2, 1))
    assert not any("interval" in text for text in said(60, 6))
    assert {"2 images could not be read and were left out.", "1 image was enlarged to the protocol's size."} <= set(said(60, 6))
    item = make_record("family/a")
    alone = changed(item, data=replace(item.record.data, count=1, groups=1, pixels_digest="f" * 64))
    (text,) = [w.text for w in facts.warnings(arrange([item, alone])) if "1 image:" in w.text]
    assert text.endswith("N=1 of photos/test (1 group), data dddddddd)]")  # which of the two it is about


def test_environments_are_told_once(make_record):
    a, b = make_record("family/a"), make_record("family/b")
    assert [names for _, names in facts.environments(arrange([a, b]))] == [("family/a", "family/b")]
    other = changed(b, timing=replace(b.record.timing, threads=16))
    assert len(facts.environments(arrange([a, other]))) == 2
