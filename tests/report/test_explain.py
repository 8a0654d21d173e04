"""Explanations: what differs is named by what it does to figures, and differences are split up so that the parts add up."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import fields, replace
from pathlib import Path

import pytest

from tokbench.records.figures import BY_KEY
from tokbench.records.protocol import Protocol
from tokbench.records.record import MetricResult
from tokbench.records.store import write_record
from tokbench.report.explain.causes import SOFTWARE, Between
from tokbench.report.explain.explanation import explain
from tokbench.report.explain.fields import BY_NAME, LABELS, protocol_fields
from tokbench.report.explain.split import FIRST, SECOND, Corner, of_figures, shares
from tokbench.report.explain.write import as_json, tables, text
from tokbench.report.render import FORMATS, render


@pytest.fixture
def pair(make_record):
    """Makes a record and its rows; a protocol changed by fields, figures shifted by what is given."""

    def make(name="a/b", *, shift=None, environment=None, tokenizer=None, data=None, created=None, **fields_):
        item = make_record(name)
        record = item.record
        protocol = replace(record.protocol, **fields_)
        metrics = {
            key: replace(metric, value=metric.value + (shift or {}).get(key, 0.0)) if metric.value is not None else metric
            for key, metric in record.metrics.items()
        }
        rows = {key: {name: value + (shift or {}).get(key, 0.0) for name, value in column.items()} for key, column in item.rows.items()}
        record = replace(record, protocol=protocol, protocol_label=protocol.label, metrics=metrics, created=created or record.created)
        if environment:
            record = replace(record, environment=replace(record.environment, **environment))
        if tokenizer:
            record = replace(record, tokenizer=replace(record.tokenizer, **tokenizer))
        if data:
            record = replace(record, data=replace(record.data, **data))
        return record, rows

    return make


def split_of(found, key):
    return next(split for split in found.splits if split.key == key)


def test_every_field_of_the_protocol_has_a_row_of_words():
    assert {field.name for field in fields(Protocol)} - set(LABELS) == {row.name for row in protocol_fields()}
    missing = [row.name for row in protocol_fields() if row.name not in BY_NAME]
    assert missing == [], "write a row in tokbench/report/explain/fields.py"
    assert BY_NAME.keys() == {row.name for row in protocol_fields()}
    assert all(row.words and not row.words.endswith(".") for row in BY_NAME.values())


def test_one_cause_is_one_step_and_figures_it_cannot_move_are_equal(pair):
    found = explain(pair(), pair(uint8="truncate", shift={"psnr": -0.4, "lpips": 0.01}))
    (cause,) = found.causes
    assert (cause.key, cause.area, cause.before, cause.after) == ("uint8", "protocol", "round", "truncate")
    psnr = split_of(found, "psnr")
    assert [step.causes for step in psnr.steps] == [("uint8",)]
    assert psnr.steps[0].change == pytest.approx(-0.4)
    assert psnr.steps[0].interval.low == pytest.approx(-0.4)  # paired by image: all changed alike
    assert psnr.apart == ("uint8",)
    usage = split_of(found, "usage")
    assert (usage.causes, usage.apart, usage.steps, usage.how) == ((), (), (), "equal")


def test_what_judges_ssim_says_nothing_of_its_form_in_five_scales(pair):
    """Its window, border, range and colours are fixed; only what it sees is the protocol's."""
    info, five = BY_KEY["ssim"], BY_KEY["ms_ssim"]
    for row in protocol_fields():
        if row.name.startswith("ssim_"):
            assert (row.matters_to("ssim", info), row.matters_to("ms_ssim", five)) == (True, False)
    assert BY_NAME["pixels"].matters_to("ms_ssim", five)


def test_the_tokenizer_alone_keeps_no_figure_from_comparing(pair):
    found = explain(pair(), pair("c/d", shift={"psnr": 1.0}, tokenizer={"weights_sha256": "cd" * 32}))
    assert [cause.key for cause in found.causes] == ["tokenizer"]
    assert split_of(found, "psnr").apart == ()


def test_causes_not_measured_apart_stay_one_step(pair):
    found = explain(pair(), pair(uint8="truncate", resize="bilinear", shift={"psnr": -1.0}))
    (step,) = split_of(found, "psnr").steps
    assert (step.causes, step.joined) == (("resize", "uint8"), True)
    assert split_of(found, "psnr").how == "not measured apart, and so one step: resize and uint8"
    assert "resize: lanczos -> bilinear + uint8: round -> truncate" in text(found)


def test_records_between_tell_causes_apart_and_steps_add_up(pair):
    first, second = pair(), pair(uint8="truncate", resize="bilinear", precision="bf16", shift={"psnr": -1.0, "lpips": 0.3})
    middle = pair(resize="bilinear", shift={"psnr": -0.3, "lpips": 0.1})
    later = pair(resize="bilinear", precision="bf16", shift={"psnr": -0.25, "lpips": 0.1})
    found = explain(first, second, [middle])
    steps = split_of(found, "psnr").steps
    assert [step.causes for step in steps] == [("resize",), ("precision", "uint8")]
    assert [step.change for step in steps] == pytest.approx([-0.3, -0.7])
    found = explain(first, second, [later, middle])
    split = split_of(found, "psnr")
    assert [step.causes for step in split.steps] == [("resize",), ("precision",), ("uint8",)]
    assert [step.change for step in split.steps] == pytest.approx([-0.3, 0.05, -0.75])
    assert split.how == "changed one after another: resize, precision, uint8"
    for split in found.splits:
        assert math.fsum(step.change for step in split.steps) == pytest.approx(split.change, abs=1e-12)
    assert found.between == 2


def test_all_combinations_are_averaged_over_all_orders(pair):
    values = {(): 0.0, ("resize",): -0.2, ("uint8",): -0.5, ("resize", "uint8"): -1.0}
    changes = {"resize": {"resize": "bilinear"}, "uint8": {"uint8": "truncate"}}
    made = {
        key: pair(shift={"psnr": value}, **{name: value for cause in key for name, value in changes[cause].items()})
        for key, value in values.items()
    }
    found = explain(made[()], made["resize", "uint8"], [made["resize",], made["uint8",]])
    split = split_of(found, "psnr")
    assert {step.causes: step.change for step in split.steps} == {
        ("resize",): pytest.approx((-0.2 - 0.5) / 2),
        ("uint8",): pytest.approx((-0.5 - 0.8) / 2),
    }
    resize = split.steps[0]
    assert (resize.least, resize.most) == (pytest.approx(-0.5), pytest.approx(-0.2))
    assert split.how == "means over all orders of 2 causes"
    assert resize.interval.low == pytest.approx(resize.change)  # weighted sums, image by image
    assert "(-0.500 to -0.200 by order)" in text(found)


def slow_shapley(order, figure):
    """The definition: the mean over all permutations of what a cause changes when it comes."""
    totals = dict.fromkeys(order, 0.0)
    permutations = list(itertools.permutations(order))
    for permutation in permutations:
        done = frozenset()
        for cause in permutation:
            totals[cause] += figure[done | {cause}] - figure[done]
            done |= {cause}
    return {cause: total / len(permutations) for cause, total in totals.items()}


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_shares_are_the_mean_over_all_permutations(count):
    order = tuple("abcde"[:count])
    subsets = [frozenset(some) for size in range(count + 1) for some in itertools.combinations(order, size)]
    figure = {subset: math.sin(1 + sum(3.7 ** ord(cause) % 11 for cause in subset)) + 0.1 * len(subset) ** 2 for subset in subsets}
    values = {Corner(subset): value for subset, value in figure.items()}
    found = shares(list(values), order, software=False)
    expected = slow_shapley(order, figure)
    assert {share.causes[0]: share.of(values) for share in found} == pytest.approx(expected)
    assert math.fsum(share.of(values) for share in found) == pytest.approx(figure[frozenset(order)] - figure[frozenset()])


def test_software_changes_at_most_twice_and_is_one_cause():
    """Measured again elsewhere: from A to there, the causes there, and from there to B."""
    values = {
        Corner(frozenset()): 1.0, Corner(frozenset(), "x"): 1.5, Corner(frozenset("a"), "x"): 2.5,
        Corner(frozenset("ab"), "x"): 4.0, Corner(frozenset("ab"), SECOND): 4.25,
    }  # fmt: skip
    found = shares(list(values), ("a", "b"), software=True)
    assert {share.causes: share.of(values) for share in found} == {("a",): 1.0, ("b",): 1.5, (SOFTWARE,): 0.75}
    alone = shares([Corner(frozenset()), Corner(frozenset("ab"), SECOND)], ("a", "b"), software=True)
    assert [share.causes for share in alone] == [("a", "b", SOFTWARE)]
    assert of_figures(alone[0].weights, values) == 3.25


def test_records_of_other_places_are_never_mixed():
    one, other = Corner(frozenset("a"), "x"), Corner(frozenset("ab"), "y")
    found = shares([one, other], ("a", "b", "c"), software=False)
    used = {corner.where for share in found for corner in share.weights}
    assert not {"x", "y"} <= used
    assert FIRST in used


def test_the_order_given_settles_between_equal_ways():
    found = shares([Corner(frozenset("a")), Corner(frozenset("b")), Corner(frozenset("ab"))], ("b", "a", "c"), software=False)
    assert [share.causes for share in found] == [("b",), ("a",), ("c",)]


def test_records_of_other_tokenizers_data_or_fields_lie_not_between(pair):
    first, second = pair(), pair(uint8="truncate", resize="bilinear")
    between = Between(first[0], second[0])
    assert between.order == ("resize", "uint8")
    assert between.place(pair(resize="bilinear")[0]) == {"resize"}
    assert between.place(pair(resize="box")[0]) is None
    assert between.place(pair(resize="bilinear", seed=1)[0]) is None
    assert between.place(pair("c/d", resize="bilinear")[0]) is None
    assert between.place(pair(resize="bilinear", tokenizer={"config": {"codebook_size": 3}})[0]) is None
    assert between.place(pair(resize="bilinear", tokenizer={"weights_sha256": "1" * 64})[0]) is None
    assert between.place(pair(resize="bilinear", data={"digest": "1" * 64})[0]) is None
    assert between.place(pair(resize="bilinear", data={"pixels_digest": "1" * 64})[0]) == {"resize"}


def test_images_chosen_otherwise_are_no_cause_beside_the_choice(pair):
    first, second = pair(), pair(samples=30, uint8="truncate", data={"digest": "1" * 64, "count": 30})
    between = Between(first[0], second[0])
    assert between.order == ("samples", "uint8")
    assert between.place(pair(samples=30, data={"digest": "1" * 64, "count": 30})[0]) == {"samples"}
    assert between.place(pair(samples=30, data={"digest": "2" * 64, "count": 30})[0]) is None
    assert [cause.key for cause in Between(first[0], pair(data={"digest": "1" * 64})[0]).causes] == ["images"]


def test_versions_and_the_machine_are_named_and_are_one_step(pair):
    elsewhere = pair(environment={"packages": {"torch": "3.0"}, "processor": "other"}, shift={"psnr": 0.001})
    found = explain(pair(), elsewhere)
    assert [(cause.key, cause.area) for cause in found.causes] == [("torch", "versions"), ("processor", "environment")]
    (step,) = split_of(found, "psnr").steps
    assert step.causes == (SOFTWARE,)
    assert "versions and machine" in text(found)


def test_causes_that_cannot_move_a_figure_are_left_out_unless_records_show_they_did(pair):
    first = pair()
    quiet = explain(first, pair(uint8="truncate", resize="bilinear"))
    assert split_of(quiet, "usage").steps[0].causes == ("resize",)
    loud = pair(uint8="truncate", resize="bilinear", shift={"usage": -0.2})
    between = pair(resize="bilinear", shift={"usage": -0.1})
    steps = split_of(explain(first, loud, [between]), "usage").steps
    assert [step.causes for step in steps] == [("resize",), ("uint8",)]


def test_a_metric_set_otherwise_is_a_cause_of_its_own(pair):
    first, second = pair(), pair(shift={"lpips": 0.2})
    second[0].metrics["lpips"] = replace(second[0].metrics["lpips"], settings={"network": "other"})
    found = explain(first, second)
    (step,) = split_of(found, "lpips").steps
    assert step.causes == ("settings",)
    assert "settings: network some -> network other" in text(found)
    assert split_of(found, "psnr").how == "equal"


def test_causes_that_move_nothing_are_said_to(pair):
    found = explain(pair(), pair(lpips_nets=("alex", "vgg")), keys=["psnr"])
    assert "which backbones of LPIPS are measured by default; moves no figure\n" in text(found)


def test_another_reference_is_a_cause_told_from_others(pair):
    """What reconstructions are compared with stands in the settings of a metric, by its digest."""

    def to(name, digest, shift, **fields_):
        record, rows = pair(shift={"fd_efflite0": shift}, **fields_)
        reference = {"name": name, "kind": "statistics", "sha256": digest * 64, "images": 50_000, "guards": [f"guard of {digest}"]}
        record.metrics["fd_efflite0"] = replace(record.metrics["fd_efflite0"], settings={"reference": reference})
        return record, rows

    first = to("val.npz", "1", 0.0)
    found = explain(first, to("train.npz", "2", 8.0), keys=["fd_efflite0"])
    assert [(cause.key, cause.before, cause.after) for cause in found.causes] == [
        ("reference", "val.npz (50,000 images, 11111111)", "train.npz (50,000 images, 22222222)")
    ]
    assert [(step.causes, step.change) for step in found.splits[0].steps] == [(("reference",), 8.0)]
    second, middle = to("train.npz", "2", 11.0, uint8="truncate"), to("val.npz", "1", 2.0, uint8="truncate")
    (joined,) = explain(first, second, keys=["fd_efflite0"]).splits[0].steps
    assert joined.causes == ("uint8", "reference")
    steps = explain(first, second, [middle], keys=["fd_efflite0"]).splits[0].steps
    assert [(step.causes, step.change) for step in steps] == [(("uint8",), 2.0), (("reference",), 9.0)]
    both = explain(first, second, [middle, to("train.npz", "2", 8.0)], keys=["fd_efflite0"]).splits[0]
    assert [(step.causes, step.change) for step in both.steps] == [(("uint8",), 2.5), (("reference",), 8.5)]


def test_figures_without_a_number_say_why(pair):
    first, second = pair(), pair(uint8="truncate")
    second[0].metrics["psnr"] = MetricResult(None, "dB", True, exact=60)
    second[0].metrics["lpips"] = MetricResult(reason="a network is missing")
    found = explain(first, second, keys=["psnr", "lpips"])
    assert [split.how for split in found.splits] == [
        "second: images came back exactly, which no number says",
        "second: a network is missing",
    ]
    assert all(split.steps == () for split in found.splits)


def test_formats_say_the_same(pair):
    found = explain(
        pair(), pair(uint8="truncate", resize="bilinear", shift={"psnr": -1.0}), [pair(resize="bilinear", shift={"psnr": -0.4})]
    )
    values = json.loads(as_json(found))
    (psnr,) = [figure for figure in values["figures"] if figure["figure"] == "psnr"]
    assert sum(step["change"] for step in psnr["steps"]) == pytest.approx(psnr["second"] - psnr["first"])
    assert [step["causes"] for step in psnr["steps"]] == [["resize"], ["uint8"]]
    assert (psnr["compares"], psnr["apart"]) == (False, ["resize", "uint8"])
    assert [cause["cause"] for cause in values["differences"]] == ["resize", "uint8"]
    for form in FORMATS[1:]:
        assert "bilinear" in render(tables(found), form)
    sentences = text(found)
    assert "psnr: " in sentences
    assert "does not compare: resize, uint8" in sentences
    assert "-1.000  in all" in sentences


@pytest.fixture
def written(pair, tmp_path):
    """A folder with four records of one tokenizer and one of another."""
    for key in ({}, {"resize": "bilinear"}, {"uint8": "truncate"}, {"resize": "bilinear", "uint8": "truncate"}):
        write_record(*pair(shift={"psnr": -0.25 * len(key)}, **key), tmp_path / "runs")
    write_record(*pair("c/d", tokenizer={"weights_sha256": "cd" * 32}), tmp_path / "runs")
    return tmp_path / "runs"


def test_the_command_finds_records_by_file_name_and_tokenizer(tokbench_cli, written):
    files = sorted(path.stem for path in written.glob("*.json"))
    plain, both = "a-b_photos-64", "a-b_photos-64+resize=bilinear+uint8=truncate"
    assert {plain, both} <= set(files)
    by_file = tokbench_cli("explain", f"runs/{plain}.json", f"runs/{both}.json")
    assert by_file[0] == 0
    assert "means over all orders of 2 causes" in by_file[1]  # found beside the two
    assert tokbench_cli("explain", plain, both)[1] == by_file[1]  # names in runs, the default
    assert tokbench_cli("explain", plain, both, "--results", written)[1] == by_file[1]
    assert tokbench_cli("explain", "c/d", plain)[0] == 0
    found = json.loads(tokbench_cli("explain", plain, both, "--format", "json", "--metrics", "psnr")[1])
    assert [figure["figure"] for figure in found["figures"]] == ["psnr"]
    assert "| cause |" in tokbench_cli("explain", plain, both, "-f", "md")[1]
    header = tokbench_cli("explain", plain, both, "-f", "csv")[1].partition("\n")[0].split(",")
    assert len(header) == len(set(header))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a/b", "c/d"), "a/b may be one of 4 records (a-b_photos-64+resize"),
        (("runs", "c/d"), "runs may be one of 5 records"),
        (("c/e", "c/d"), "unknown record 'c/e'; did you mean c/d"),
        (("none.json", "c/d"), "none.json is neither a file nor a folder, and --results names none of that name"),
        (("c/d", "c/d", "--metrics", "psrn"), "unknown figure 'psrn'; did you mean psnr"),
        (("c/d", "c/d", "--metrics", ","), "--metrics needs some of "),
        (("c/d", "c/d", "--out", "elsewhere"), "--out is for what is measured again; give --measure too, or leave it out"),
        (("c/d", "c/d", "--device", "cuda"), "--device is for what is measured again"),
        (("c/d", "c/d", "--results", "nowhere"), "no record at nowhere"),
        (("c/d", "c/d", "--format", "txt"), "unknown --format 'txt'; did you mean text"),
    ],
)
def test_mistakes_are_one_line(tokbench_cli, written, arguments, message):
    status, out, err = tokbench_cli("explain", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"tokbench: {message}")
    assert err.count("\n") == 1


def test_damaged_records_beside_are_named(tokbench_cli, written):
    (Path("runs") / "bad.json").write_text('{"schema": 4, "metrics": ')
    status, _, err = tokbench_cli("explain", "runs/c-d_photos-64.json", "runs/a-b_photos-64.json")
    assert status == 2
    assert "runs/bad.json is not a readable record" in err


@pytest.fixture
def llamagen(pair, tmp_path):
    """A record of a published tokenizer, on 60 other images."""
    from tokbench.configs import plain
    from tokbench.tokenizers.zoo import resolve

    config = plain(resolve("llamagen/vq-16")[1].config)
    record, rows = pair("llamagen/vq-16", tokenizer={"config": config}, uint8="truncate")
    record.metrics["rfid"] = MetricResult(3.5, "squared feature distance", False)
    return write_record(record, rows, tmp_path / "runs")


def test_published_figures_stand_beside_a_record_with_all_that_keeps_them_apart(tokbench_cli, llamagen):
    status, out, err = tokbench_cli("explain", llamagen, "--published", "--format", "json")
    assert status == 0, err
    found = json.loads(out)["figures"]
    rfid = next(figure for figure in found if figure["figure"] == "rfid" and figure["published"] == 2.19)
    assert rfid["change"] == pytest.approx(2.19 - 3.5)
    assert rfid["compares"] is False
    assert {"the record is of photos/test, N=60", "the record is at 64 px", "the record is with uint8=truncate, precision=fp32"} <= set(
        rfid["apart"]
    )
    sentences = tokbench_cli("explain", llamagen, "--published", "--metrics", "rfid")[1]
    assert "rfid: 3.500 -> 2.19, -1.310" in sentences or "rfid: 3.50 -> 2.19, -1.31" in sentences
    assert "does not compare: " in sentences
    assert "psnr" not in sentences
    for form in FORMATS[1:]:
        assert "the record is at 64 px" in tokbench_cli("explain", llamagen, "--published", "-f", form)[1].replace("\\", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("c/d",), "explain needs B (What to compare with it), got none; or give --published"),
        (("c/d", "--published"), "nothing published is known of c/d; name a tokenizer as B"),
        (("c/d", "vqgan/tiny", "--published"), "nothing published is known of vqgan/tiny"),
        (("c/d", "llamagen/vq-16", "--published", "--metrics", "rfd"), "published of llamagen/vq-16 are "),
        (("c/d", "llamagen/vq-16", "--published", "--metrics", ","), "published of llamagen/vq-16 are "),
        (("c/d", "--published", "--measure"), "--published compares with what cannot be measured again; leave --measure out"),
    ],
)
def test_mistakes_about_published_figures_are_one_line(tokbench_cli, written, arguments, message):
    status, out, err = tokbench_cli("explain", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"tokbench: {message}")
