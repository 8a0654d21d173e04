"""Headings of the groups of a page: words a person understands, no two the same, the protocol's label below."""

from dataclasses import replace

import pytest

from tokbench.records.protocol import get_protocol
from tokbench.records.record import MetricResult
from tokbench.report.page.headings import headings
from tokbench.report.page.model import arrange
from tokbench.report.page.render import render_page


def under(item, data, *, metric=None, label=None, pixels="e", **changes):
    protocol = get_protocol(changes=changes, data=None if data == "photos/test" else data)
    found = item.record.metrics | ({metric: MetricResult(0.5, "1", True)} if metric else {})
    record = replace(item.record, protocol=protocol, protocol_label=label or protocol.label, metrics=found)
    return replace(item, record=replace(record, data=replace(record.data, name=data, pixels_digest=pixels * 64)))


@pytest.mark.parametrize(
    ("data", "options", "heading"),
    [
        ("photos/test", {}, "Photos (photos-64 protocol, v2)"),
        ("photos/train", {}, "Photos to train on (photos-64 protocol, v2)"),
        ("text", {"metric": "text_accuracy"}, "Rendered text (photos-64 protocol, v2)"),
        ("text", {}, "text (photos-64 protocol, v2)"),  # a folder may be called so
        ("faces", {"metric": "face_distance"}, "Faces (photos-64 protocol, v2)"),
        ("scenes/held-out", {"metric": "scene_accuracy"}, "Drawn scenes of combinations held out (photos-64 protocol, v2)"),
        ("faces:people", {"metric": "face_distance"}, "Faces in people (photos-64 protocol, v2)"),
        ("imagenet:validation", {"size": 256, "precision": "bf16"}, "imagenet:validation (photos-64 protocol with size=256, precision=bf16, v2)"),
        ("photos/test", {"label": "mine"}, "Photos (mine protocol, v2)"),
    ],
)  # fmt: skip
def test_headings_are_words(make_record, data, options, heading):
    assert headings(arrange([under(make_record("family/a"), data, **options)])) == [heading]


def test_headings_differ_where_groups_do(make_record):
    item = make_record("family/a")
    groups = arrange([under(item, "pictures"), under(item, "pictures", pixels="f"), under(item, "photos/test")])
    first, second, photos = headings(groups)
    assert (first, second) == tuple(f"pictures ({group.title})" for group in groups[:2])
    assert photos == "Photos (photos-64 protocol, v2)"


def test_a_page_shows_heading_and_label(make_record):
    item = make_record("family/a")
    groups = arrange([under(item, "text", metric="text_accuracy"), under(item, "photos/test")])
    page = render_page(groups, [None, None])
    assert '<h2 id="part-title-0">Rendered text (photos-64 protocol, v2)</h2>' in page
    assert f'<p class="hint">{groups[0].title}</p>' in page
    assert "photos-64+data=text" in groups[0].title
    assert '<a href="#part-0">Rendered text (photos-64 protocol, v2)</a>' in page
