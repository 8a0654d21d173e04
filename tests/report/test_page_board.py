"""The page's table: what is best, what is marked, what sorts."""

import math
from dataclasses import replace

import pytest

from tokbench.records.intervals import Interval
from tokbench.records.record import MetricResult
from tokbench.report.comparable import SETTINGS_MARK, SPEED_MARK
from tokbench.report.page.leaderboard import NONE, leaderboard
from tokbench.report.page.model import arrange
from tokbench.report.significance import significantly_best
from tokbench.report.table import make_tables
from tokbench.report.training import JUDGE_MARK


def board_of(*items):
    (group,) = arrange(items)
    return leaderboard(group)


def column(board, key):
    i = next(i for i, heading in enumerate(board.headings) if heading.column.key == key)
    return [cells[i] for _, cells in board.rows]


def with_metric(item, key, **changes):
    return replace(item, record=replace(item.record, metrics=item.record.metrics | {key: replace(item.record.metrics[key], **changes)}))


def test_figures_are_those_of_the_tables(make_record):
    items = [make_record(f"family/{i}", seed=i) for i in range(3)]
    (table,) = make_tables([item.record for item in items])
    board = board_of(*items)
    assert [heading.column for heading in board.headings] == list(table.columns)
    assert [[cell.text for cell in cells] for _, cells in board.rows] == [[cell.text for cell in cells] for _, cells in table.rows]
    ends = items[0].record.metrics["psnr"].interval
    assert column(board, "psnr")[0].interval == f"[{ends.low:.2f}, {ends.high:.2f}]"


def test_metrics_of_others_are_figures_with_a_best(make_record):
    items = [make_record(f"family/{i}", seed=i, better=4.0 * i) for i in range(2)]
    items = [
        replace(
            with_metric(item, "psnr"),
            record=replace(item.record, metrics=item.record.metrics | {"contrast": item.record.metrics["lpips"]}),
            rows=item.rows | {"contrast": item.rows["lpips"]},
        )
        for item in items
    ]
    board = board_of(*items)
    heading = next(heading for heading in board.headings if heading.column.key == "contrast")
    assert (heading.column.title, heading.kind, heading.better) == ("contrast", "figure", "lower")
    assert [(cell.text, cell.best) for cell in column(board, "contrast")] == [(cell.text, cell.best) for cell in column(board, "lpips")]
    assert [cell.best for cell in column(board, "contrast")] == [False, True]


def test_best_needs_a_difference_beyond_chance(make_record):
    clear = board_of(make_record("family/a"), make_record("family/b", seed=1, better=2.0), make_record("family/c", seed=2))
    for key in ("psnr", "lpips", "ssim"):
        assert [cell.best for cell in column(clear, key)] == [False, True, False]
    close = board_of(make_record("family/a"), make_record("family/b", seed=1, better=0.01))
    assert not any(cell.best for key in ("psnr", "lpips", "ssim") for cell in column(close, key))
    assert any("nothing is called best in" in note and "PSNR" in note for note in close.notes)
    assert not any(cell.best for cell in column(board_of(make_record("family/a")), "psnr"))


def test_best_at_equal_bits_is_judged_apart(make_record):
    items = [
        make_record("big/a", seed=1, better=4.0, grid=(8, 8)),
        make_record("small/a", seed=2, better=2.0),
        make_record("small/b", seed=3),
        make_record("vae/a", seed=4, bits=None),
    ]
    board = board_of(*items)
    assert [(cell.best, cell.best_at_rate) for cell in column(board, "psnr")] == [
        (True, False),
        (False, True),
        (False, False),
        (False, False),
    ]
    small = items[1:3]
    assert significantly_best([item.record for item in small], [item.rows for item in small], "psnr") == [True, False]


def test_without_rows_and_intervals_nothing_is_best(make_record):
    a, b = make_record("family/a"), with_metric(replace(make_record("family/b", seed=1, better=2.0), rows={}), "psnr", interval=None)
    assert not any(cell.best for cell in column(board_of(a, b), "psnr"))


def test_other_settings_are_marked(make_record):
    items = [make_record(f"family/{i}", seed=i, better=i) for i in range(3)]
    items[1] = with_metric(items[1], "lpips", settings={"network": "another"})
    board = board_of(*items)
    assert [SETTINGS_MARK in cell.marks for cell in column(board, "lpips")] == [False, True, False]
    assert not any(cell.best for cell in column(board, "lpips"))
    (note,) = [note for note in board.notes if note.startswith(SETTINGS_MARK)]
    assert "network some or another" in note
    assert not any(SETTINGS_MARK in cell.marks for cell in column(board, "psnr"))


def test_speeds_of_different_machines_are_marked(make_record):
    a, b = make_record("family/a"), make_record("family/b")
    assert not any(cell.marks for cell in column(board_of(a, b), "decode"))
    b = replace(b, record=replace(b.record, environment=replace(b.record.environment, processor="another")))
    board = board_of(a, b)
    assert [cell.marks for key in ("encode", "decode") for cell in column(board, key)] == [SPEED_MARK] * 4
    assert any(note.startswith(SPEED_MARK) for note in board.notes)
    assert not any(cell.marks for cell in column(board, "parameters"))


def test_speeds_show_how_steady_they_were(make_record):
    a, b = make_record("family/a"), make_record("family/b", seed=1)
    b = replace(b, record=replace(b.record, timing=replace(b.record.timing, decode_interval=None)))
    board = board_of(a, b)
    assert [cell.interval for cell in column(board, "decode")] == ["[45.0, 52.0]", ""]
    assert [cell.interval for cell in column(board, "encode")] == ["[96.0, 105.0]", "[97.0, 106.0]"]
    tips = {heading.column.key: heading.tip for heading in board.headings}
    assert "in brackets: 95 %, order statistics of 45 micro-batches of one pass" in tips["encode"]
    assert "brackets" not in tips["parameters"]


def test_a_judge_that_trained_is_marked(make_record):
    board = board_of(with_metric(make_record("family/a"), "lpips", judged_by_training_network=True), make_record("family/b"))
    assert [cell.marks for cell in column(board, "lpips")] == [JUDGE_MARK, ""]


@pytest.mark.parametrize(
    ("metric", "text", "value"),
    [
        (MetricResult(math.inf, "dB", True), "exact", math.inf),
        (MetricResult(-math.inf, "dB", True), "-∞", -math.inf),
        (MetricResult(math.nan, "dB", True), "–", None),  # noqa: RUF001
        (MetricResult(1e300, "dB", True), "1e300", 1e300),
        (MetricResult(-0.0, "dB", True), "0.00", 0.0),
        (MetricResult(reason="it cannot be"), "–", None),  # noqa: RUF001
        (MetricResult(5.0, "dB", True, interval=Interval(math.nan, math.inf, "odd")), "5.00", 5.0),
    ],
)
def test_odd_figures(make_record, metric, text, value):
    a = make_record("family/a")
    a = replace(a, record=replace(a.record, metrics=a.record.metrics | {"psnr": metric}))
    cell = column(board_of(a, make_record("family/b")), "psnr")[0]
    assert (cell.text, cell.value) == (text, value)
    if metric.reason:
        assert cell.reason == "it cannot be"


def test_frechet_distances_say_their_number_of_images(make_record):
    board = board_of(make_record("family/a", images=60))
    notes = {heading.column.key: heading.note for heading in board.headings}
    assert notes["fd_efflite0"] == "N=60"
    assert notes["psnr"] == ""
    directions = {heading.column.key: heading.better for heading in board.headings}
    assert (directions["fd_efflite0"], directions["psnr"], directions["bpp"]) == ("lower", "higher", "")


def test_every_missing_figure_has_its_reason(make_record):
    a, vae = make_record("family/a"), make_record("vae/a", seed=1, bits=None)
    codec = make_record("anchor/webp-320", seed=2)
    undecoded = replace(codec.record.timing, decode_images_per_second=None)
    codec = replace(codec, record=replace(codec.record, timing=undecoded, tokens=replace(codec.record.tokens, tokens_per_image=None)))
    untimed = replace(a.record.timing, encode_images_per_second=None, decode_images_per_second=math.nan)
    a = with_metric(replace(a, record=replace(a.record, timing=untimed)), "lpips", value=None, reason="it cannot be")
    board = board_of(a, vae, codec)
    assert board.absent == (
        (("tokens",), "a codec without tokens", ("anchor/webp-320",)),
        (("bits/image", "bpp"), "continuous latents have no bits", ("vae/a",)),
        (("LPIPS",), "it cannot be", ("family/a",)),
        (("encode img/s",), "a speed needs more than one micro-batch", ("family/a",)),
        (("decode img/s",), "the figure is not a number", ("family/a",)),
        (("decode img/s",), "a codec's decoding is timed within its encoding", ("anchor/webp-320",)),
    )
    for _, cells in board.rows:
        assert all(bool(cell.reason) == (cell.value is None) == (cell.text == NONE) for cell in cells)
