"""The page as text: one file that loads nothing, in which no record's words are more than words."""

import base64
import hashlib
import json
import math
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tokbench.records.record import MetricResult, SkippedImage, record_from_dict
from tokbench.records.store import find_records, write_record
from tokbench.report.page.embed import data_uri, script_json
from tokbench.report.page.gallery import make_gallery
from tokbench.report.page.model import Measured, arrange
from tokbench.report.page.render import PICTURE_BYTES, Extra, Shown, extra_tables, render_page
from tokbench.report.page.tokens import CHANGED, distinct_colours, token_pictures
from tokbench.report.table import make_tables

ROOT = Path(__file__).parents[2]
HOSTILE = "<script>window.pwned=1</script><img src=x onerror=window.pwned=1>\"'`{{7*7}}&amp;\u2028</title></script>"


class Page(HTMLParser):
    """Collects tags with their attributes, and the text outside scripts and styles."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.inside, self.raw, self.text = [], None, {}, []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inside = f"{tag} {dict(attrs).get('type', '')}".strip()

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self.inside = None

    def handle_data(self, data):
        if self.inside:
            self.raw[self.inside] = self.raw.get(self.inside, "") + data
        else:
            self.text.append(data)


def page_of(items, pictures=None):
    groups = arrange(items)
    return render_page(groups, [pictures(group) if pictures else None for group in groups])


@pytest.fixture
def shown(make_pictures):
    def make(group, count=3):
        ids = sorted({name for entry in group.entries for column in entry.rows.values() for name in column})[:count]
        return Shown(*make_pictures(group, ids))

    return make


def test_nothing_on_the_page_can_be_loaded(make_record, shown):
    html = page_of([make_record("family/a"), make_record("family/b", seed=1, grid=(16,))], shown)
    page = Page(html)
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form") or attributes == {"rel": "icon", "href": "data:,"}
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "action", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)
    assert "url(" not in page.raw["style"]
    assert "@import" not in page.raw["style"]
    assert not re.search(r"fetch\(|XMLHttpRequest|WebSocket|import\(|eval\(|innerHTML|insertAdjacent|document\.write", page.raw["script"])
    (policy,) = [a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.raw[kind].encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"


def hostile(item):
    record = item.record
    name = HOSTILE + "x" * 100_000
    return Measured(
        file=f'"{HOSTILE}".json',
        record=replace(
            record,
            tokenizer=replace(record.tokenizer, name=name, config={HOSTILE: HOSTILE, "deep": {"": [HOSTILE]}}, trained_with=(HOSTILE,)),
            data=replace(record.data, name=HOSTILE, digest=HOSTILE, skipped=(SkippedImage(f'a "quoted" {HOSTILE}.png', HOSTILE),)),
            protocol_label=HOSTILE,
            protocol=replace(record.protocol, name=HOSTILE, data=HOSTILE),
            metrics={
                "psnr": MetricResult(math.nan, HOSTILE, True, {HOSTILE: HOSTILE}),
                "lpips": MetricResult(1e300, "1", False, {"network": HOSTILE}),
                HOSTILE: MetricResult(-math.inf, HOSTILE, None),
                "ssim": MetricResult(reason=HOSTILE + "y" * 100_000),
                "rfid": MetricResult(reason=HOSTILE),
            },
            tokens=replace(record.tokens, bits_are=HOSTILE, bpp=math.nan, bits_per_image=math.nan),
            timing=replace(record.timing, device=HOSTILE, decode_images_per_second=math.nan),
            environment=replace(record.environment, packages={HOSTILE: HOSTILE}, processor=HOSTILE),
            codebooks=tuple(replace(use, shares=(math.nan, *use.shares[1:])) for use in record.codebooks),
        ),
        rows={"psnr": {HOSTILE: 1.0, "b": math.nan}, HOSTILE: {HOSTILE: 1.0, "b": 2.0}},
        problem=HOSTILE,
    )


def test_a_hostile_record_is_text(make_record, shown):
    html = page_of([hostile(make_record("family/a")), hostile(make_record("family/b", seed=1, grid=(16,))), make_record("family/c")], shown)
    page, clean = Page(html), Page(page_of([make_record("family/a"), make_record("family/b", grid=(16,)), make_record("family/c")], shown))
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in clean.tags} | {"details", "summary"}
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 2
    assert page.raw["script"] == clean.raw["script"]
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert HOSTILE.replace("\u2028", " ").split("{{")[0] in "".join(page.text)
    assert "{{7*7}}" in "".join(page.text)
    json.loads(page.raw["script application/json"])
    assert len(html) < 1_500_000
    assert max(map(len, page.text)) < 5_000


def test_json_cannot_leave_its_element():
    value = {"</script><!--": "&\u2028\u2029>", "n": [1.5, None, "inf"]}
    text = script_json(value)
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == value
    with pytest.raises(ValueError, match="JSON"):
        script_json({"x": math.nan})


def test_records_of_before_and_records_that_lack_things(make_record):
    values = make_record("family/a").record.to_dict()
    values["schema"] = 1
    del values["codebooks"]
    values["tokenizer"].pop("weights_how", None)
    old = record_from_dict(values, origin="old")
    bare = replace(old, metrics={}, tokens=replace(old.tokens, bits_per_image=None, bpp=None))
    page = page_of([Measured("old.json", old, {}), Measured("bare.json", bare, {})])
    for words in (
        "Records of schema 1",
        "None of these records holds usage curves",
        "No per-image values lie beside",
        "They were not asked for",
    ):
        assert words in page
    alone = page_of([Measured("bare.json", bare, {})])
    assert "No record here has both bits per image and a figure of quality" in alone
    assert "<h1>family/a</h1>" in alone


def test_committed_records_make_a_page():
    items = [Measured(path.name, record, {}) for path, record in find_records([ROOT / "results"])]
    page = page_of(items)
    assert all(item.record.tokenizer.name.split("/")[0] in page for item in items)
    for _, record in find_records([ROOT / "results" / "photos-64"]):
        assert record.data.digest in page
        assert f"{record.metrics['lpips'].value:.4f}" in page


def test_pictures_are_whole(make_record, make_pictures):
    (group,) = arrange([make_record("family/a"), make_record("family/b", grid=(4, 4))])
    ids = list(group.entries[0].rows["psnr"])[:3]
    chosen, pictures = make_pictures(group, ids)
    gallery, spent = make_gallery(group, chosen, pictures, 10**9)
    assert [image.name for image in gallery.images] == ids
    assert gallery.dropped == 0
    for image in gallery.images:
        assert (decoded(image.source) == pictures.originals[image.name]).all()
        for shot, made in zip(image.shots, pictures.by_record, strict=True):
            assert (decoded(shot.source) == made[image.name].reconstruction).all()
            assert shot.values["psnr"] == shot.entry.rows["psnr"][image.name]
    assert gallery.images[1].reasons == ("median LPIPS", "best SSIM")
    fewer, less = make_gallery(group, chosen, pictures, spent - 1)
    assert (len(fewer.images), fewer.dropped) == (2, 1)
    assert less < spent


def test_records_without_pictures_say_why(make_record, make_pictures):
    groups = arrange([make_record("family/a"), make_record("family/b")])
    chosen, pictures = make_pictures(groups[0], list(groups[0].entries[0].rows["psnr"])[:2])
    pictures = replace(pictures, by_record=({}, pictures.by_record[1]), missing=("the weights are <gone>", None))
    page = render_page(groups, [Shown(chosen, pictures)])
    assert "No pictures of family/a: the weights are &lt;gone&gt;" in page
    nothing = replace(pictures, originals={}, by_record=({}, {}), missing=("no data", "no data"))
    assert "family/a, family/b: no data" in render_page(groups, [Shown(chosen, nothing)])


def test_token_pictures_show_codes_bits_and_changes(make_record, make_pictures):
    (group,) = arrange(
        [make_record("family/two", grid=(4, 6), size=16), make_record("family/one", grid=(70,), size=12), make_record("vae/a", bits=None)]
    )
    ids = ["000/00"]
    _, pictures = make_pictures(group, ids)
    (image,) = token_pictures(group, ids, pictures, 10**9)[0].images
    two, one = image.views
    codes, again = pictures.by_record[0]["000/00"].codes[..., 0], pictures.by_record[0]["000/00"].codes_again[..., 0]
    assert (decoded(two.maps[0].source) == distinct_colours(codes)).all()
    changed = (decoded(two.changed.source) == CHANGED).all(axis=2)
    assert (changed == (codes != again)).all()
    assert "4 x 6 positions, codebook of 16, 20.8% of codes change" in two.summary
    bits = decoded(one.maps[0].source)
    sequence = pictures.by_record[1]["000/00"].codes[:, 0]
    read = [sum(int(bits[row, column, 0] < 100) << (3 - row) for row in range(4)) for column in range(64)]
    assert read == sequence[:64].tolist()
    assert [sum(int(bits[5 + row, column, 0] < 100) << (3 - row) for row in range(4)) for column in range(6)] == sequence[64:].tolist()
    assert len({tuple(colour) for colour in distinct_colours(np.arange(4096)).tolist()}) > 3500


@pytest.mark.parametrize("pixels", [np.zeros((2, 2)), np.zeros((2, 2, 4), np.uint8), np.zeros((0, 2, 3), np.uint8)])
def test_only_pictures_become_pictures(pixels):
    with pytest.raises(ValueError, match="a picture is uint8"):
        data_uri(pixels)


def test_extra_sections_have_their_place(make_record):
    from markupsafe import Markup

    groups = arrange([make_record("family/a")])
    page = render_page(groups, [None], extra=[Extra("learnability", "How well they are <learned>", Markup("<p>here</p>"))])
    assert '<section id="learnability"' in page
    assert "How well they are &lt;learned&gt;" in page
    assert "<p>here</p>" in page
    tables = extra_tables("others", "Others", make_tables([hostile(make_record("family/a")).record]))
    page = render_page(groups, [None], extra=[tables])
    assert '<section id="others"' in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;window.pwned=1&lt;/script&gt;" in page
    with pytest.raises(ValueError, match="1 groups with 0"):
        render_page(groups, [])


def test_many_tokenizers_and_rows_stay_light(make_record):
    items = [make_record(f"family{i % 7}/variant-{i}", seed=i, better=0.1 * i, images=5_000 if i < 2 else 60) for i in range(40)]
    items = [replace(item, record=replace(item.record, metrics=items[0].record.metrics)) for item in items]
    page = page_of(items)
    assert len(page) < 2_000_000
    assert page.count('class="chip"') == 40
    assert PICTURE_BYTES < 12_000_000  # with everything else below 15 MB


def written(item, folder):
    return write_record(item.record, item.rows, folder)


def test_the_command_writes_a_page(report_cli, make_record, tmp_path, monkeypatch):
    for i in range(2):
        written(make_record(f"family/{i}", seed=i), tmp_path / "runs")
    said = report_cli("--images", 0)
    assert "wrote report.html: 2 records" in said
    assert "family/1" in (tmp_path / "report.html").read_text()
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    report_cli("runs", "-o", "deep/er/page.html", "--images", 0, "--open")
    assert opened == [(tmp_path / "deep/er/page.html").as_uri()]
    (tmp_path / "file").write_text("")
    assert "choose another place" in report_cli("runs", "-o", "file/page.html", "--images", 0)
    assert "no records in nothing-here" in report_cli(make_folder(tmp_path / "nothing-here").name)


def make_folder(path):
    path.mkdir()
    return path


def test_damaged_rows_cost_only_themselves(report_cli, make_record, tmp_path):
    path = written(make_record("family/a"), tmp_path / "runs")
    path.with_suffix(".parquet").write_bytes(b"no parquet")
    report_cli("--images", 0)
    assert "Per-image values could not be read" in (tmp_path / "report.html").read_text()


def test_the_page_needs_no_torch(make_record, tmp_path):
    import subprocess

    written(make_record("family/a"), tmp_path / "runs")
    code = (
        "import sys, typer; from tokbench.commands.report import report; app = typer.Typer(); app.command()(report)\n"
        "app(['runs', '--images', '0'], standalone_mode=False); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr


def decoded(source):
    import io

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1]))).convert("RGB"))
