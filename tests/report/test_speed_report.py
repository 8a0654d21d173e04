"""Records of speed tests as tables, plots and a section of the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tokbench.errors import TokbenchError
from tokbench.records.everything import find_everything
from tokbench.records.intervals import Interval
from tokbench.records.lm_store import find_every_record
from tokbench.records.read import read
from tokbench.records.record import Environment, TokenizerInfo
from tokbench.records.speed_record import PeakMemory, SpeedMachine, SpeedProtocol, SpeedRecord, SpeedRow, speed_record_from_dict
from tokbench.records.speed_store import find_speed_records, write_speed_record
from tokbench.report.page.commands import speed_command
from tokbench.report.page.render import render_page, speed_section
from tokbench.report.page.speeds import speed_curves
from tokbench.report.plots.kinds import SPEED_KINDS
from tokbench.report.plots.speed_sheets import draw_speed_plots, write_speed_plots
from tokbench.report.plots.speeds import memory_plots, throughput_plots
from tokbench.report.render import render
from tokbench.report.speed import speed_sections, speed_tables

PROTOCOL = SpeedProtocol((64, 100), (1, 8))


def made_up(name: str = "a", *, slower: float = 1.0, device: str = "cpu", settings: dict[str, object] | None = None) -> SpeedRecord:
    """A record: 64 px is measured but for the compiled batch of 8, 100 px does not fit."""
    rows = []
    for mode, factor in (("warm", 1.0), ("compiled", 0.5)):
        for batch in (1, 8):
            for stage, usual in (("encode", 0.004), ("decode", 0.01)):
                if (mode, batch) == ("compiled", 8):
                    rows.append(SpeedRow(64, batch, mode, stage, "not compiled", reason="it has no graph"))
                    continue
                seconds = usual * batch * factor * slower
                memory = PeakMemory(500_000_000, batch * 2_000_000, *((batch * 3_000_000, batch * 1_000_000) if device != "cpu" else ()))
                ends = Interval(seconds * 0.9, seconds * 1.2, "order statistics of 10 rounds")
                rows.append(SpeedRow(64, batch, mode, stage, "measured", seconds, batch / seconds, ends, 10, 3, 0.25, memory))
    rows += [SpeedRow(100, 1, "warm", stage, "does not fit", reason="image size 100x100 does not fit") for stage in ("encode", "decode")]
    return SpeedRecord(
        tokenizer=TokenizerInfo(name, {}, None, 1, settings=settings or {}),
        protocol=PROTOCOL,
        machine=SpeedMachine(device, None if device == "cpu" else "some GPU", 2, "time.perf_counter"),
        beside=("b",),
        weights_bytes=1000,
        rows=tuple(rows),
        total_seconds=5.0,
        environment=Environment("0.2.0", "3.11", "Linux x86_64", "a processor", {"torch": "2.9"}),
        created="2027-01-01T00:00:00+00:00",
    )


def test_one_table_a_stage_and_size_with_every_row() -> None:
    tables = speed_tables([made_up(), made_up("b", slower=2.0)])
    assert [table.title for table in tables] == [
        f"{stage} at {size} px, cpu (a processor, 2 threads), fp32" for size in (64, 100) for stage in ("encoding", "decoding")
    ]
    encode = tables[0]
    titles = ["mode", "batch", "outcome", "ms", "images/s", "adds MB", "process MB", "first call s"]
    assert [column.title for column in encode.columns] == titles
    rows = [(name, *(cell.text for cell in cells)) for name, cells in encode.rows]
    assert rows[0] == ("a", "warm", "1", "measured", "4.00 [3.60, 4.80]", "250.0", "2", "500", "0.250")
    assert rows[1] == ("a", "warm", "8", "measured", "32.00 [28.80, 38.40]", "250.0", "16", "500", "0.250")
    assert rows[2] == ("a", "compiled", "1", "measured", "2.00 [1.80, 2.40]", "500.0", "2", "500", "0.250")
    assert rows[3] == ("a", "compiled", "8", "not compiled", *["-"] * 5)
    assert rows[4][:5] == ("b", "warm", "1", "measured", "8.00 [7.20, 9.60]")
    assert "a (compiled, batch 8): it has no graph" in encode.notes
    assert "a (warm, batch 1): image size 100x100 does not fit" in tables[2].notes
    assert [cell.text for cell in tables[2].rows[0][1]] == ["warm", "1", "does not fit", *["-"] * 5]


def test_rounds_that_differ_are_said() -> None:
    longer = replace(made_up("b"), protocol=replace(PROTOCOL, rounds=20))
    assert "the median over 10 to 20 rounds in which all take turns" in speed_tables([made_up(), longer])[0].notes[0]
    assert "the median over 10 rounds in which all take turns" in speed_tables([made_up()])[0].notes[0]
    assert "after 3 calls not counted" in speed_tables([made_up(), longer])[0].notes[0]


def test_tables_are_written_in_every_format() -> None:
    tables = speed_tables([made_up()])
    for form in ("md", "csv", "latex"):
        assert "not compiled" in render(tables, form)
    (first, *_) = json.loads(render(tables, "json"))
    warm, *_, last = first["rows"]
    assert (warm["seconds"], warm["seconds_low"] < 0.004, warm["process_added"], warm["outcome"]) == (0.004, True, 2_000_000, "measured")
    assert (last["mode"], last["batch"], last["outcome"], last["seconds"]) == ("compiled", 8, "not compiled", None)
    whole = replace(made_up(), rows=made_up().rows[:4])
    assert "outcome" not in render(speed_tables([whole]), "csv")


def test_the_same_weights_under_two_names_are_said_to_be_one() -> None:
    one, other = (replace(made_up(name), tokenizer=TokenizerInfo(name, {}, None, 1, state_sha256="1a" * 32)) for name in ("a", "c"))
    assert all("a and c are one tokenizer: the same weights 1a1a1a1a" in table.notes for table in speed_tables([one, other]))


def test_what_does_not_compare_is_apart() -> None:
    other = replace(made_up(), machine=replace(made_up().machine, threads=4))
    fast = replace(made_up(), machine=replace(made_up().machine, settings={"cudnn_allow_tf32": True}))
    half = replace(made_up(), protocol=replace(PROTOCOL, precision="bf16"))
    sections = speed_sections([made_up(), other, fast, half, made_up("b")])
    assert [section.names for section in sections] == [("a", "b"), ("a",), ("a",), ("a",)]
    eager = replace(made_up(), protocol=replace(PROTOCOL, compiler="eager"))
    assert len(speed_sections([made_up(), eager])) == 2
    again = speed_sections([made_up(), made_up(), made_up(settings={"steps": 3})])
    assert again[0].names == ("a", "a #2", "a steps=3")


def test_rungs_of_one_name_have_colours_of_their_own() -> None:
    def rung(place: int) -> SpeedRecord:
        return replace(made_up(), tokenizer=replace(made_up().tokenizer, state_sha256=f"{place}" * 64))

    for plot in speed_curves([rung(0), rung(1), rung(2)]):
        assert len({curve.colour for curve in plot.curves}) == 3


def test_memory_of_cuda_is_shown_where_there_is_one() -> None:
    (table, *_) = speed_tables([made_up(device="cuda:0")])
    assert table.title == "encoding at 64 px, cuda:0 (some GPU), fp32"
    assert "CUDA MB" in [column.title for column in table.columns]
    (section,) = speed_sections([made_up(device="cuda:0")])
    (plot, *_) = memory_plots(section)
    assert plot.axis.title == "CUDA memory MB"
    assert [point.value for point in plot.lines[0].points] == [3.0, 24.0]


def test_lines_over_the_batch_hold_what_was_measured() -> None:
    (section,) = speed_sections([made_up(), made_up("b", slower=2.0)])
    plots = throughput_plots(section)
    assert [(plot.name, plot.title) for plot in plots] == [
        ("throughput-encode-64px", "Encoding at 64 px"),
        ("throughput-decode-64px", "Decoding at 64 px"),
    ]
    assert [line.label for line in plots[0].lines] == ["a", "a, compiled", "b", "b, compiled"]
    warm, compiled = plots[0].lines[:2]
    assert [(point.batch, point.value) for point in warm.points] == [(1, 250.0), (8, 250.0)]
    assert [point.batch for point in compiled.points] == [1]
    assert warm.points[0].interval == pytest.approx((1 / 0.0048, 1 / 0.0036))
    assert plots[0].batches == [1, 8]


def test_plots_have_a_line_and_an_entry_of_the_legend_for_each_mode() -> None:
    (section,) = speed_sections([made_up(), made_up("b", slower=2.0)])
    plots = list(draw_speed_plots(section))
    assert [plot.name for plot in plots] == [f"{kind}-{stage}-64px" for kind in SPEED_KINDS for stage in ("encode", "decode")]
    (axes,) = plots[0].figure.axes
    assert [list(line.get_xdata()) for line in axes.get_lines()] == [[1, 8], [1], [1, 8], [1]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "8"]
    (legend,) = plots[0].figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "a, compiled", "b", "b, compiled"]
    assert [plot.name for plot in draw_speed_plots(section, width="page")] == list(SPEED_KINDS)


def test_plots_are_files_and_nothing_to_draw_is_told(tmp_path: Path) -> None:
    written = write_speed_plots([made_up()], tmp_path, kinds=["throughput"], formats=["svg"])
    assert [path.name for path in written.paths] == ["throughput-encode-64px.svg", "throughput-decode-64px.svg"]
    apart = write_speed_plots([made_up(), made_up(device="cuda:0")], tmp_path, kinds=["memory"], formats=["png"])
    assert {path.parent.name for path in apart.paths} == {"machine-1", "machine-2"}
    assert apart.notes == ("machine-1: cpu (a processor, 2 threads), fp32", "machine-2: cuda:0 (some GPU), fp32")
    assert written.notes == ()
    misfit = replace(made_up(), rows=made_up().rows[-2:])
    with pytest.raises(TokbenchError, match=r"^the records of speed tests hold nothing to draw for throughput, memory; compare says why"):
        write_speed_plots([misfit], tmp_path)
    with pytest.raises(TokbenchError, match=r"^unknown kind of plot 'throughputs'; did you mean throughput\?"):
        write_speed_plots([made_up()], tmp_path, kinds=["throughputs"])


def test_figures_that_no_axis_holds_are_left_out() -> None:
    row = SpeedRow(64, 1, "warm", "encode", "measured", 0.0, 1e300, Interval(0.0, float("inf"), "x"), memory=PeakMemory(0, 0))
    (section,) = speed_sections([replace(made_up(), rows=(row,))])
    assert throughput_plots(section) == memory_plots(section) == []
    assert speed_curves([replace(made_up(), rows=(row,))]) == []
    speed_tables([replace(made_up(), rows=(row,))])


def test_the_page_has_a_section_with_curves_tables_and_the_command() -> None:
    section = speed_section([made_up(), made_up("<b>", slower=2.0)])
    page = render_page([], [], extra=[section])
    assert "Speed and memory" in page
    assert "Encoding at 64 px: images per second" in page
    assert "images at once" in page
    assert "<b>," not in page
    assert section.records == 2
    assert "tokbench speed -t a --sizes 64,100 --batches 1,8 --out results  # it took turns with b: add them with -t" in page


def test_images_that_are_not_square_have_plots_and_a_command() -> None:
    rows = tuple(replace(row, size=(64, 96) if row.size == 64 else row.size) for row in made_up().rows)
    record = replace(made_up(), protocol=replace(PROTOCOL, sizes=((64, 96), 100)), rows=rows)
    assert speed_record_from_dict(json.loads(record.to_json()), origin="it") == record
    (section,) = speed_sections([record])
    assert [(plot.name, plot.title) for plot in throughput_plots(section)] == [
        ("throughput-encode-64x96px", "Encoding at 64x96 px"),
        ("throughput-decode-64x96px", "Decoding at 64x96 px"),
    ]
    assert section.sizes == [(64, 96), 100]
    assert speed_command(record).startswith("tokbench speed -t a --sizes 64x96,100 --batches 1,8")


def test_commands_say_what_is_not_usual() -> None:
    protocol = replace(PROTOCOL, modes=("warm",), rounds=6, seed=3, precision="bf16", compiler="eager")
    command = speed_command(replace(made_up(device="cuda:0"), protocol=protocol, beside=()))
    assert command == (
        "tokbench speed -t a --sizes 64,100 --batches 1,8 --rounds 6 --seed 3 --precision bf16 --modes warm --device cuda:0 "
        "--out results  # compiler=eager, in Python: tokbench.bench.speed"
    )


def test_records_are_written_found_and_kept_apart_from_others(tmp_path: Path, make_record: Callable) -> None:
    from tokbench.records.store import find_records, write_record

    path = write_speed_record(made_up("fam/a"), tmp_path)
    assert path.name == "fam-a_speed_cpu_64-100px_batch=1-8_fp32.json"
    assert write_speed_record(made_up("fam/a"), tmp_path).stem.endswith("_2")
    measured = make_record("c")
    run = write_record(measured.record, measured.rows, tmp_path)
    assert [record for _, record in find_speed_records([tmp_path])] == [made_up("fam/a")] * 2
    assert read(path) == made_up("fam/a")
    assert [found for found, _ in find_records([tmp_path])] == [run]
    everything = find_everything([tmp_path])
    assert (len(everything.runs), len(everything.speeds), everything.count) == (1, 2, 3)
    assert [len(found) for found in find_every_record([tmp_path])] == [1, 0, 0]
    with pytest.raises(TokbenchError, match=r"is not the record of a speed test; tokbench speed writes them"):
        find_speed_records([run])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "it has schema 2, this tokbench reads up to 1; install a newer one"),
        ({"kind": "run"}, "it is not the record of a speed test; tokbench speed writes them"),
        ({"rows": [{"size": 0, "batch": 1, "mode": "warm", "stage": "encode"}]}, "it is not the record of a speed test: "),
        ({"rows": [{"size": [8, 8], "batch": 1, "mode": "warm", "stage": "encode"}]}, "of square images is one number, got 8x8"),
        ({"rows": [{"size": [8], "batch": 1, "mode": "warm", "stage": "encode"}]}, "it is not the record of a speed test: "),
        ({"rows": [{"size": [8, 9, 10], "batch": 1, "mode": "warm", "stage": "encode"}]}, "it is not the record of a speed test: "),
        ({"rows": [{"size": 8, "batch": 0, "mode": "warm", "stage": "encode"}]}, "a row is of 1 to 65536 images at once, got 0"),
        ({"rows": [{"size": 8, "batch": 1, "mode": "hot", "stage": "encode"}]}, "it is not the record of a speed test: "),
        ({"rows": [{"size": 8, "batch": 1, "mode": "warm", "stage": "encode", "memory": {"process": 10**30}}]}, "63 bits"),
    ],
)
def test_hostile_records_are_one_line(change: dict[str, object], message: str) -> None:
    with pytest.raises(TokbenchError) as caught:
        speed_record_from_dict(json.loads(made_up().to_json()) | change, origin="it")
    assert message in str(caught.value)


def test_compare_plot_and_report_show_them(tokbench_cli: Callable, tmp_path: Path) -> None:
    write_speed_record(made_up(), tmp_path / "speeds")
    status, out, _ = tokbench_cli("compare", "speeds", "--format", "md")
    assert status == 0
    assert "**encoding at 64 px" in out
    status, out, _ = tokbench_cli("plot", "speeds", "--kind", "throughput", "--format", "svg")
    assert (status, out.split()) == (0, ["plots/throughput-encode-64px.svg", "plots/throughput-decode-64px.svg"])
    status, _, err = tokbench_cli("plot", "speeds", "--kind", "rate")
    assert (status, err.strip()) == (
        2,
        "tokbench: --kind rate draws nothing of records of speed tests; choose throughput, memory",
    )
    status, _, err = tokbench_cli("report", "speeds", "-o", "page.html")
    assert status == 0, err
    assert "wrote page.html: 1 record," in err
