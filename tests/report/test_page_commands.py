"""The commands on the page: networks first, and no place asked for where none is needed."""

from dataclasses import replace

import pytest

from tokbench.bench.record import MetricResult
from tokbench.report.page.commands import commands, run_command
from tokbench.report.page.model import arrange


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
