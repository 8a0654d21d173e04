"""Tokenizers across data sets: ranks by hand, resamples against a slow loop, and the tables a user sees."""

import csv
import hashlib
import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from tokbench.errors import TokbenchError
from tokbench.records.intervals import RESAMPLES, Interval
from tokbench.records.protocol import get_protocol
from tokbench.records.record import MetricResult
from tokbench.records.store import write_record
from tokbench.report.across import counted_places, places_of, standings, subjects_of
from tokbench.report.render import render
from tokbench.report.tidy import tidy_tables, wide_table

DIGESTS = {"photos/test": "e" * 64, "text": "1" * 64, "birds": "2" * 64}


@pytest.fixture
def on(make_record):
    """Makes a record on a data set; equal seeds are equal images."""

    def make(name, data="photos/test", *, better=0.0, size=64, seed=0, images=60):
        item = make_record(name, better=better, seed=seed, images=images)
        protocol = get_protocol(changes={"size": size}, data=data)
        info = replace(item.record.data, name=data, pixels_digest=DIGESTS[data][:60] + f"{size:04d}")
        record = replace(item.record, data=info, protocol=protocol, protocol_label=protocol.label)
        return replace(item, record=record)

    return make


def apart(items):
    return [item.record for item in items], [item.rows for item in items]


def standing(items, key="psnr"):
    records, rows = apart(items)
    return standings(places_of(records), records, rows, key)


def test_places_and_names_are_told_apart(on):
    items = [on("a/b"), on("a/b", "text"), on("a/b", "text", size=32), on("c/d", "text"), on("a/b", "text")]
    records, _ = apart(items)
    places = places_of(records)
    assert [place.label for place in places] == ["photos/test", "text 64 px", "text 32 px"]
    assert [place.members for place in places] == [{"a/b": 0}, {"a/b": 1, "c/d": 3, "a/b #2": 4}, {"a/b": 2}]
    assert subjects_of(places) == ["a/b", "c/d", "a/b #2"]


def test_ranks_are_averaged_over_data_sets_of_equal_weight(on):
    better = {"photos/test": (0, 1, 2), "text": (0, 2, 1), "birds": (1, 0, 2)}
    items = [
        on(name, data, better=3.0 * place, images=60 if data == "text" else 30)
        for data, places in better.items()
        for name, place in zip(("a", "b", "c"), places, strict=True)
    ]
    found = standing(items)
    assert {name: one.rank for name, one in found.items()} == pytest.approx({"a": 8 / 3, "b": 2, "c": 4 / 3})
    means = [np.mean(list(item.rows["psnr"].values())) for item in items[::3]]
    assert found["a"].mean == pytest.approx(np.mean(means))
    lower = standing(items, "lpips")
    assert {name: one.rank for name, one in lower.items()} == pytest.approx({"a": 8 / 3, "b": 2, "c": 4 / 3})


def slow_ranks(items_by_place, key, sign):
    """Mean ranks of each resample, image by image in plain Python."""
    total = np.zeros((RESAMPLES, len(items_by_place[0])))
    for items in items_by_place:
        seed = hashlib.sha256(items[0].record.data.pixels_digest.encode()).digest()[:8]
        generator = np.random.Generator(np.random.PCG64(int.from_bytes(seed, "big")))
        photos = sorted({name.partition("/")[0] for name in items[0].rows[key]})
        picks = generator.integers(len(photos), size=(RESAMPLES, len(photos)))
        for number, row in enumerate(picks):
            means = []
            for item in items:
                values = [value for pick in row for name, value in item.rows[key].items() if name.startswith(f"{photos[pick]}/")]
                means.append(sign * math.fsum(values) / len(values))
            total[number] += [1 + sum(other < own for other in means) for own in means]
    return total / len(items_by_place)


@pytest.mark.parametrize(("key", "sign"), [("psnr", -1), ("lpips", 1)])
def test_intervals_are_those_of_a_slow_loop(on, key, sign):
    by_place = [
        [on(name, data, seed=i, better=0.05 * i, images=24) for i, name in enumerate(("a", "b", "c"))] for data in ("photos/test", "text")
    ]
    found = standing([item for items in by_place for item in items], key)
    expected = np.quantile(slow_ranks(by_place, key, sign), [0.025, 0.975], axis=0).T
    for one, ends in zip(found.values(), expected, strict=True):
        assert (one.interval.low, one.interval.high) == pytest.approx(tuple(ends))
        assert one.interval.low <= one.rank <= one.interval.high
    assert any(one.interval.low < one.interval.high for one in found.values())


def test_the_same_figures_in_any_order_and_run(on):
    items = [on(name, data, seed=i) for data in ("photos/test", "text") for i, name in enumerate(("a", "b", "c"))]
    assert standing(items) == standing(items)
    assert standing(items[::-1]) == {name: one for name, one in standing(items).items()}


def test_what_is_equal_ties_in_every_resample(on):
    found = standing([on(name, data, seed=1) for data in ("photos/test", "text") for name in ("a", "b")])
    assert [(one.rank, one.interval.low, one.interval.high, one.best) for one in found.values()] == [(1.5, 1.5, 1.5, False)] * 2


def test_the_best_is_so_by_more_than_chance(on):
    sets = ("photos/test", "text")
    assert standing([on(name, data, better=b) for data in sets for name, b in (("a", 0.0), ("b", 3.0))])["b"].best
    close = standing([on(name, data, better=b, seed=i) for data in sets for i, (name, b) in enumerate((("a", 0.0), ("b", 0.02)))])
    assert not any(one.best for one in close.values())


def with_fd(item, value, half):
    interval = None if half is None else Interval(value - half, value + half, "jackknife")
    metrics = item.record.metrics | {"fd_efflite0": MetricResult(value, "squared feature distance", False, interval=interval)}
    return replace(item, record=replace(item.record, metrics=metrics))


def test_figures_of_whole_sets_are_drawn_from_their_intervals(on):
    def ranks(first, second, half):
        items = [with_fd(on(name, data), value, half) for data in ("photos/test", "text") for name, value in (("a", first), ("b", second))]
        return standing(items, "fd_efflite0")["a"]

    sure, unsure, unknown = ranks(10.0, 90.0, 5.0), ranks(50.0, 51.0, 10.0), ranks(10.0, 90.0, None)
    assert (sure.rank, sure.interval.low, sure.interval.high, sure.best) == (1.0, 1.0, 1.0, True)
    assert (unsure.rank, unsure.interval.low, unsure.interval.high, unsure.best) == (1.0, 1.0, 2.0, False)
    assert (unknown.rank, unknown.interval, unknown.best) == (1.0, None, False)


def test_figures_of_whole_sets_are_paired_where_records_say_what_they_are_without_parts(on):
    """Hard groups move both alike, by more than the two differ: intervals drawn for each by itself cannot tell them apart."""
    rng = np.random.default_rng(0)
    hard = {f"{i:03d}": float(value) for i, value in enumerate(rng.normal(size=10))}

    def item(name, data, value, more):
        one = with_fd(on(name, data), value, 40.0)
        column = {image: value + hard[image[:3]] + more * rng.normal() for image in one.rows["psnr"]}
        by_group = {image: column[f"{image[:3]}/00"] for image in column}
        return replace(one, rows={**one.rows, "fd_efflite0.without": by_group})

    def ranks(more, keep=True):
        items = [item(name, data, value, more) for data in ("photos/test", "text") for name, value in (("a", 50.0), ("b", 53.0))]
        items = items if keep else [replace(one, rows={}) for one in items]
        return standing(items, "fd_efflite0")["a"]

    paired, noisy, apart = ranks(0.02), ranks(2.0), ranks(0.02, keep=False)
    assert (paired.rank, paired.interval.low, paired.interval.high, paired.best) == (1.0, 1.0, 1.0, True)
    assert (noisy.rank, noisy.interval.high, noisy.best) == (1.0, 2.0, False)
    assert (apart.rank, apart.interval.high, apart.best) == (1.0, 2.0, False)


def test_the_same_images_under_two_names_count_once(on):
    once = [on(name, data, better=3.0 * place) for data in ("photos/test", "text") for place, name in enumerate(("a", "b"))]
    copies = []
    for item in once[:2]:
        info = replace(item.record.data, name="copies")
        protocol = get_protocol(data="copies")
        copies.append(replace(item, record=replace(item.record, data=info, protocol=protocol, protocol_label=protocol.label)))
    for key in ("psnr", "lpips"):
        assert standing([*once, *copies], key) == standing(once, key)
    records, rows = apart([*once, *copies])
    assert [place.label for place in counted_places(places_of(records), records, "psnr")] == ["photos/test", "text"]
    _, over = tidy_tables(records, rows, columns=["psnr"])
    for table in (over, wide_table(records, rows, "psnr")):
        assert "copies and photos/test are the same images, which count once" in table.notes
        assert any("over photos/test, text" in note for note in table.notes)
    assert not [note for note in wide_table(*apart(once), "psnr").notes if "count once" in note]


def test_only_those_measured_wherever_two_are_have_a_standing(on):
    items = [on("a"), on("b"), on("c"), on("a", "text"), on("b", "text"), on("a", "birds")]
    records, rows = apart(items)
    places = places_of(records)
    assert list(standings(places, records, rows, "psnr")) == ["a", "b"]
    assert [place.label for place in counted_places(places, records, "psnr")] == ["photos/test", "text"]
    assert standing([on("a"), on("b", "text")]) == {}
    assert standing([on("a"), on("b")], "rfid") == {}
    other = on("b")
    lpips = replace(other.record.metrics["lpips"], settings={"network": "another"})
    other = replace(other, record=replace(other.record, metrics=other.record.metrics | {"lpips": lpips}))
    assert standing([on("a"), on("c"), other], "lpips").keys() == {"a", "c"}


def test_exact_images_count_as_better_than_any_number(on):
    exact = on("a")
    metrics = exact.record.metrics | {"psnr": MetricResult(None, "dB", True, exact=60)}
    exact = replace(
        exact, record=replace(exact.record, metrics=metrics), rows=exact.rows | {"psnr": dict.fromkeys(exact.rows["psnr"], math.inf)}
    )
    found = standing([exact, on("b", better=9.0)])
    assert (found["a"].rank, found["a"].mean, found["a"].best) == (1.0, math.inf, True)
    some = standing([exact, on("b", better=9.0), on("a", "text", better=1.0), on("b", "text")])
    assert some["a"].mean is None


@pytest.fixture
def folder(on, tmp_path):
    for data in ("photos/test", "text"):
        for name, better in (("a/b", 0.0), ("c/d", 3.0)):
            item = on(name, data, better=better)
            write_record(item.record, item.rows, tmp_path / "runs")
    return tmp_path


def test_one_table_has_a_row_for_each_tokenizer_on_each_data_set(folder, tokbench_cli):
    status, out, err = tokbench_cli("compare", "--format", "csv", "--columns", "psnr,fd_efflite0", "--bold")
    assert status == 0, err
    lines = list(csv.DictReader(io.StringIO(out)))
    rows = [line for line in lines if line["data"]]
    assert [(line["tokenizer"], line["data"], line["size"], line["n"], line["seed"], line["protocol"]) for line in rows] == [
        (name, data, "64", "60", "0", label)
        for data, label in (("text", "photos-64+data=text"), ("photos/test", "photos-64"))  # as their files are named
        for name in ("a/b", "c/d")
    ]
    assert [line["psnr_best"] for line in rows] == ["false", "true", "false", "true"]
    over = {line["tokenizer"]: line for line in lines if not line["data"]}
    assert over["c/d"]["psnr_mean_rank"] == "1.0"
    assert (over["c/d"]["psnr_mean_rank_low"], over["c/d"]["psnr_mean_rank_high"], over["c/d"]["psnr_mean_rank_best"]) == (
        "1.0",
        "1.0",
        "true",
    )
    assert float(over["a/b"]["psnr_mean"]) == pytest.approx(np.mean([float(line["psnr"]) for line in rows if line["tokenizer"] == "a/b"]))
    table, standing = json.loads(tokbench_cli("compare", "--format", "json")[1])
    assert (table["title"], standing["title"]) == ("2 tokenizers on 2 data sets", "Over the data sets")
    assert {"data", "size", "n", "seed", "protocol", "psnr", "bits_per_image"} <= table["rows"][0].keys()


def test_protocols_of_one_data_set_are_not_called_data_sets(on):
    items = []
    for name in ("a/b", "c/d"):
        items.append(on(name))
        other = get_protocol("llamagen", {"size": 64}, data="photos/test")
        items.append(replace(items[-1], record=replace(items[-1].record, protocol=other, protocol_label=other.label)))
    table, standing = tidy_tables(*apart(items))
    assert (table.title, standing.title) == ("2 tokenizers on 1 data set under 2 protocols", "Over the data sets and protocols")
    assert wide_table(*apart(items), "psnr").title == "PSNR dB ↑ by data set and protocol"
    table, _ = tidy_tables(*apart([*items, on("a/b", "text"), on("c/d", "text")]))
    assert table.title == "2 tokenizers on 2 data sets under 2 protocols"
    table, _ = tidy_tables(*apart([on("a/b"), on("c/d"), on("a/b", size=32), on("c/d", size=32)]))
    assert table.title == "2 tokenizers on 1 data set under 2 protocols"


@pytest.mark.parametrize("form", ["terminal", "md", "latex"])
def test_people_read_the_same_table(folder, tokbench_cli, form):
    status, out, _ = tokbench_cli("compare", "--format", form, "--columns", "psnr")
    assert status == 0
    assert out.count("a/b") == 3
    assert "2 tokenizers on 2 data sets" in out
    assert "rows of different data or protocols do not compare" in out
    assert "mean rank" in out


def test_one_figure_wide(folder, tokbench_cli):
    status, out, _ = tokbench_cli("compare", "--wide", "lpips", "--format", "csv", "--intervals")
    assert status == 0
    first, second = csv.DictReader(io.StringIO(out))
    assert second["tokenizer"] == "c/d"
    assert float(second["photos/test"]) < float(second["photos/test_high"])
    assert float(first["mean"]) == pytest.approx((float(first["photos/test"]) + float(first["text"])) / 2)
    assert (first["mean_rank"], second["mean_rank"], second["mean_rank_best"], second["text_best"]) == ("2.0", "1.0", "true", "true")
    out = tokbench_cli("compare", "--wide", "lpips", "--format", "md")[1]
    assert "| tokenizer | text ↓ | photos/test ↓ | mean ↓ | mean rank ↓ |" in out
    assert "**1.00** [1.00, 1.00]" in out
    assert "mean and mean rank: over text, photos/test" in out
    bits = json.loads(tokbench_cli("compare", "--wide", "bits_per_image", "--format", "json")[1])
    assert bits[0]["rows"] == [{"tokenizer": name, "photos/test": 160.0, "text": 160.0} for name in ("a/b", "c/d")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--wide", "lpipss"), "unknown figure 'lpipss'; did you mean lpips"),
        (
            ("--wide", "lpips", "--columns", "psnr"),
            "--wide lpips is a table of one figure, and --columns is of others; leave one of them out",
        ),
        (("--wide", "lpips", "--mix"), "--mix is of others"),
        (("--wide", "lpips", "--published"), "--published is of others"),
        (("--wide", "lpips", "--bd-rate", "psnr"), "--bd-rate is of others"),
        (("--columns", "nothing"), "columns of these records are"),
    ],
)
def test_mistakes_are_one_line(folder, tokbench_cli, arguments, message):
    status, out, err = tokbench_cli("compare", *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_one_data_set_keeps_its_table(folder, tokbench_cli, on, tmp_path):
    item = on("a/b")
    write_record(item.record, item.rows, tmp_path / "one")
    out = tokbench_cli("compare", "one", "--format", "csv", "--columns", "psnr")[1]
    assert out.splitlines()[0] == "protocol and data,tokenizer,psnr"


def test_tables_need_a_figure(on):
    records, rows = apart([on("a"), on("b", "text")])
    assert [table.title for table in tidy_tables(records, rows)] == ["2 tokenizers on 2 data sets"]
    with pytest.raises(TokbenchError, match="unknown figure 'speed'"):
        wide_table(records, rows, "speed")


@pytest.mark.parametrize("name", ["mean", "mean_rank", "mean rank", "tokenizer", "best", "protocol and data"])
def test_data_called_like_another_column_have_one_of_their_own(on, name, monkeypatch):
    monkeypatch.setitem(DIGESTS, name, "3" * 64)
    records, rows = apart([on("a/b"), on("c/d", better=1), on("a/b", name), on("c/d", name, better=1)])
    table = wide_table(records, rows, "psnr", intervals=True)
    assert [column.title for column in table.columns] == ["photos/test", f"{name} (data)", "mean", "mean rank"]
    of = records[2].metrics["psnr"].value
    (line, _) = csv.DictReader(io.StringIO(render([table], "csv")))
    assert (line["tokenizer"], float(line[f"{name} (data)"])) == ("a/b", of)
    assert line["protocol and data"] == table.title
    assert float(line["mean"]) == pytest.approx((records[0].metrics["psnr"].value + of) / 2)
    (values, _) = json.loads(render([table], "json"))[0]["rows"]
    assert (values["tokenizer"], values[f"{name} (data)"]) == ("a/b", of)


def test_no_column_stands_for_what_is_beside_another(on, monkeypatch):
    monkeypatch.setitem(DIGESTS, "text_low", "3" * 64)
    names = ("text_low", "text")
    records, rows = apart([on(tokenizer, name) for name in names for tokenizer in ("a/b", "c/d")])
    (line, _) = csv.DictReader(io.StringIO(render([wide_table(records, rows, "psnr", intervals=True)], "csv")))
    assert float(line["text_low"]) == records[0].metrics["psnr"].value
    assert float(line["text_2"]) == records[2].metrics["psnr"].value
    assert float(line["text_2_low"]) == records[2].metrics["psnr"].interval.low


def test_figures_of_others_leave_tidy_columns_as_they_are(on):
    own = MetricResult(0.25, "1", True)
    items = [
        replace(item, record=replace(item.record, metrics={**item.record.metrics, "data": own, "n": own}))
        for item in (on("a/b"), on("a/b", "text"))
    ]
    table = tidy_tables(*apart(items))[0]
    line = next(csv.DictReader(io.StringIO(render([table], "csv"))))
    assert (line["data"], line["n"], line["data_2"], line["n_2"]) == ("photos/test", "60", "0.25", "0.25")
