"""Tables: sections by protocol and data, marks, and the same numbers in every format."""

import csv
import io
import json
import math
import re
from dataclasses import replace

import pytest
from rich.console import Console

from tokbench.errors import TokbenchError
from tokbench.records.intervals import Interval
from tokbench.records.protocol import get_protocol
from tokbench.records.record import DataInfo, Environment, MetricResult, Record, Timing, TokenizerInfo, TokensInfo
from tokbench.report.render import print_tables, render
from tokbench.report.sections import make_sections
from tokbench.report.table import Cell, Column, Table, make_tables

RECORD = Record(
    tokenizer=TokenizerInfo("vqgan/tiny", {}, "ab", 2_500_000, ("lpips-vgg",)),
    data=DataInfo("photos/test", "d" * 64, "e" * 64, 736, 736, 40),
    protocol=get_protocol(),
    protocol_label="photos-64",
    metrics={
        "psnr": MetricResult(25.1234, "dB", True, interval=Interval(24.0, 26.0, "bootstrap")),
        "lpips": MetricResult(0.1, "1", False),
        "lpips_vgg": MetricResult(0.2, "1", False, judged_by_training_network=True),
        "usage": MetricResult(0.975, "share of codes", True),
        "rfid": MetricResult(reason="the weights are not here"),
    },
    tokens=TokensInfo(256, 256, 2560.0, 0.625, (16, 16), (1024,)),
    timing=Timing(100.0, 50.0, 16, "cpu", 2, 3.0),
    environment=Environment("0", "3", "x", "y", {}),
    created="2026-01-01T00:00:00+00:00",
)
OTHER = replace(
    RECORD, tokenizer=replace(RECORD.tokenizer, name="pixel/rgb"), metrics=RECORD.metrics | {"psnr": MetricResult(float("inf"), "dB", True)}
)
LARGER = replace(RECORD, protocol=get_protocol(changes={"size": 128}), protocol_label="photos-64+size=128")


def test_different_protocols_and_data_get_tables_of_their_own():
    elsewhere = replace(RECORD, data=replace(RECORD.data, pixels_digest="f" * 64))
    tables = make_tables([RECORD, LARGER, OTHER, elsewhere])
    assert [[name for name, _ in table.rows] for table in tables] == [["vqgan/tiny", "pixel/rgb"], ["vqgan/tiny"], ["vqgan/tiny"]]
    assert "photos-64+size=128" in tables[1].title
    assert "N=736" in tables[0].title


def test_protocols_of_one_label_do_not_share_a_table():
    mine = replace(RECORD, protocol=replace(RECORD.protocol, name="mine"), protocol_label="mine")
    truncated = replace(mine, protocol=replace(mine.protocol, uint8="truncate"))
    tables = make_tables([mine, truncated, RECORD, replace(mine, tokenizer=OTHER.tokenizer)])
    end = f" v{RECORD.protocol.version}, N=736 of photos/test (40 groups), data dddddddd"
    assert [table.title for table in tables] == [f"mine+uint8=round{end}", f"mine+uint8=truncate{end}", f"photos-64{end}"]
    assert [len(table.rows) for table in tables] == [2, 1, 1]
    assert make_tables([mine])[0].title == f"mine{end}"
    (mixed,) = make_tables([mine, truncated], mix=True)
    assert [name for name, _ in mixed.rows] == [f"vqgan/tiny [mine+uint8={rule}{end}]" for rule in ("round", "truncate")]
    elsewhere = replace(mine, data=replace(mine.data, pixels_digest="f" * 64))
    assert [table.title for table in make_tables([mine, elsewhere])] == [f"mine{end}"] * 2


def test_metrics_of_others_have_columns_too():
    own = {"warmth": MetricResult(0.5), "contrast": MetricResult(0.25, "1", False, interval=Interval(0.2, 0.3, "bootstrap"))}
    record = replace(RECORD, metrics=own | RECORD.metrics | {"nothing": MetricResult(reason="it cannot be"), "bpp": MetricResult(7.0)})
    tables = make_tables([record, OTHER], intervals=True)
    columns = [(column.title, column.arrow) for column in tables[0].columns]
    assert columns[3:9] == [("LPIPS", "↓"), ("LPIPS-VGG", "↓"), ("PSNR dB", "↑"), ("usage %", "↑"), ("contrast", "↓"), ("warmth", "")]
    assert [column.key for column in tables[0].columns].count("bpp") == 1
    assert "| 97.5 | 0.2500 [0.2000, 0.3000] | 0.5000 |" in render(tables, "md")
    (chosen,) = make_tables([record, OTHER], columns=["contrast"])
    assert [[cell.text for cell in cells] for _, cells in chosen.rows] == [["0.2500"], ["-"]]
    turned = replace(OTHER, metrics=OTHER.metrics | {"contrast": MetricResult(0.1, "1", True)})
    (chosen,) = make_tables([record, turned], columns=["contrast"])
    assert chosen.columns[0].arrow == ""


def test_rows_of_one_tokenizer_say_what_differs():
    def changed(weights, **config):
        return replace(
            RECORD, tokenizer=replace(RECORD.tokenizer, config={"side": {"width": 3}, "grid": [1, 2]} | config, weights_sha256=weights)
        )

    (table,) = make_tables([changed("0123456789", steps=4), changed("0123456789", steps=8), changed("f" * 64, steps=8), OTHER])
    assert [name for name, _ in table.rows] == [
        "vqgan/tiny steps=4 weights=01234567",
        "vqgan/tiny steps=8 weights=01234567",
        "vqgan/tiny steps=8 weights=ffffffff",
        "pixel/rgb",
    ]
    (table,) = make_tables([changed("ab", side={"width": 3}), changed("ab", side={"width": 4}, grid=[2, 2])])
    assert [name for name, _ in table.rows] == ["vqgan/tiny side.width=3 grid=1,2", "vqgan/tiny side.width=4 grid=2,2"]
    (table,) = make_tables([changed("ab"), changed("ab")])
    assert [name for name, _ in table.rows] == ["vqgan/tiny", "vqgan/tiny #2"]


def test_mixing_marks_every_row():
    (table,) = make_tables([RECORD, LARGER], mix=True)
    assert all("photos-64" in name and "N=736" in name for name, _ in table.rows)


def test_training_networks_and_reasons_are_marked():
    text = render(make_tables([RECORD]), "md")
    assert "0.2000†" in text
    assert "trained with the network that judges" in text
    assert "rfid: the weights are not here" in text
    assert "rFID |" not in text


def test_intervals_on_request():
    assert "25.12 [24.00, 26.00]" in render(make_tables([RECORD], intervals=True), "md")
    assert "[24.00" not in render(make_tables([RECORD]), "md")


def test_bits_of_codecs_have_intervals_and_those_of_tokens_need_none():
    sizes = replace(RECORD.tokens, bits_interval=Interval(2048.0, 3072.0, "bootstrap"))
    codec = replace(RECORD, tokenizer=replace(RECORD.tokenizer, name="anchor/webp-320", codec="webp"), tokens=sizes)
    text = render(make_tables([RECORD, codec], intervals=True, columns=["bits_per_image", "bpp"]), "md")
    assert "| anchor/webp-320 | 2560 [2048, 3072] | 0.625 [0.500, 0.750] |" in text
    assert "| vqgan/tiny | 2560 | 0.625 |" in text


def test_columns_are_chosen_and_ordered_with_the_notes_they_need():
    text = render(make_tables([RECORD, OTHER], columns=["psnr", "bits_per_image", "psnr"]), "md")
    assert "| tokenizer | PSNR dB ↑ | bits/image |" in text
    assert "| vqgan/tiny | 25.12 | 2560 |" in text
    assert "trained with the network" not in text
    assert "rfid" not in text
    assert "trained with the network" in render(make_tables([RECORD], columns=["lpips_vgg"]), "md")
    text_record = replace(LARGER, metrics={"text_accuracy": MetricResult(0.5, "share", True)})
    first, second = make_tables([RECORD, text_record], columns=["text_accuracy", "bpp"])
    assert [[column.key for column in table.columns] for table in (first, second)] == [["bpp"], ["text_accuracy", "bpp"]]


@pytest.mark.parametrize(("columns", "got"), [(["psnr", "rfid"], "'rfid'"), (["PSNR"], "'PSNR'"), ([], "none")])
def test_columns_that_no_record_has(columns, got):
    with pytest.raises(TokbenchError, match=f"columns of these records are tokens_per_image, .*parameters; got {got}"):
        make_tables([RECORD], columns=columns)


def test_speeds_have_intervals_where_a_record_holds_them():
    steady = replace(RECORD, timing=replace(RECORD.timing, decode_interval=Interval(47.0, 51.5, "order statistics")))
    text = render(make_tables([steady, OTHER], intervals=True), "md")
    assert "50.0 [47.0, 51.5]" in text
    assert text.count("| 100.0 |") == 2
    assert "47.0" not in render(make_tables([steady, OTHER]), "md")
    rows = list(csv.DictReader(io.StringIO(render(make_tables([steady, OTHER], intervals=True), "csv"))))
    assert [(row["decode_low"], row["decode_high"]) for row in rows] == [("47.0", "51.5"), ("", "")]
    assert "encode_low" not in rows[0]


def test_intervals_have_columns_of_their_own_for_machines():
    tables = make_tables([RECORD, OTHER], intervals=True)
    rows = list(csv.DictReader(io.StringIO(render(tables, "csv"))))
    assert [(row["psnr_low"], row["psnr_high"]) for row in rows] == [("24.0", "26.0"), ("", "")]
    assert "lpips_low" not in rows[0]  # no record has one
    assert json.loads(render(tables, "json"))[0]["rows"][0]["psnr_high"] == 26.0
    assert "25.12 {\\scriptsize [24.00, 26.00]}" in render(tables, "latex")
    assert "psnr_low" not in render(make_tables([RECORD]), "csv")


def test_bold_needs_rows_and_more_than_chance(make_record):
    worse, best, near = make_record("a/b", seed=1), make_record("c/d", seed=1, better=3), make_record("e/f", seed=2, better=3)

    def bold(items, form="md"):
        return render(make_tables([item.record for item in items], rows=[item.rows for item in items]), form)

    row = next(line for line in bold([worse, best]).splitlines() if line.startswith("| c/d |"))
    assert f"| **{best.record.metrics['psnr'].value:.2f}** |" in row
    assert "bold: better than every other row that has the figure, by more than chance" in bold([worse, best])
    for items in ([worse, best, near], [worse]):
        assert "**" not in bold(items).split("\n", 1)[1]
        assert "bold:" not in bold(items)
    perfect = replace(best, record=replace(best.record, metrics=best.record.metrics | {"psnr": MetricResult(math.inf, "dB", True)}))
    perfect = replace(perfect, rows=perfect.rows | {"psnr": dict.fromkeys(perfect.rows["psnr"], math.inf)})
    assert "\\textbf{exact}" in bold([worse, perfect], "latex")
    assert f"\\textbf{{{best.record.metrics['psnr'].value:.2f}}}" in bold([worse, best], "latex")
    assert json.loads(bold([worse, best], "json"))[0]["rows"][1]["best"] == ["fd_efflite0", "lpips", "psnr", "ssim"]
    stream = io.StringIO()
    tables = make_tables([worse.record, best.record], rows=[worse.rows, best.rows])
    print_tables(tables, Console(file=stream, width=240, force_terminal=True, color_system="standard"))
    assert re.search(rf"\x1b\[1m\s*{best.record.metrics['psnr'].value:.2f}\s*\x1b", stream.getvalue())
    with pytest.raises(ValueError, match="2 records with 1"):
        make_tables([worse.record, best.record], rows=[worse.rows])


def test_records_of_other_protocols_do_not_take_the_bold_away(make_record):
    worse, best, large = make_record("a/b", seed=1), make_record("c/d", seed=1, better=3), make_record("e/f", seed=1, better=9)
    other = replace(large.record, protocol=get_protocol(changes={"size": 128}), protocol_label="photos-64+size=128")
    first, second = make_tables([worse.record, other, best.record], rows=[worse.rows, large.rows, best.rows])
    assert [[any(cell.bold for cell in cells) for _, cells in table.rows] for table in (first, second)] == [[False, True], [False]]
    (mixed,) = make_tables([worse.record, other, best.record], rows=[worse.rows, large.rows, best.rows], mix=True)
    assert not any(cell.bold for _, cells in mixed.rows for cell in cells)


def test_latex_is_ready_to_paste():
    hostile = replace(RECORD, tokenizer=replace(RECORD.tokenizer, name="[a]_b%c&d#e$f{g}~h^i\\j<k>|"))
    text = render(make_tables([hostile, OTHER]), "latex")
    assert (
        "{[}a]\\_b\\%c\\&d\\#e\\$f\\{g\\}\\textasciitilde{}h\\textasciicircum{}i\\textbackslash{}j\\textless{}k\\textgreater{}\\textbar{}"
        in text
    )
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    assert text.startswith("% photos-64")
    assert "\\usepackage{booktabs,threeparttable}" in text
    assert [line for line in lines if line.startswith(("\\begin", "\\end"))] == [
        "\\begin{threeparttable}",
        lines[1],
        "\\end{tabular}",
        "\\begin{tablenotes}",
        "\\end{tablenotes}",
        "\\end{threeparttable}",
    ]
    body = lines[lines.index("\\midrule") + 1 : lines.index("\\bottomrule")]
    columns = lines[1].removeprefix("\\begin{tabular}{").removesuffix("}")
    assert all(line.replace("\\&", "").count("&") == len(columns) - 1 for line in body)
    assert " & exact & " in text
    assert "0.2000$^\\dagger$" in text


def rows_of(tables, form):
    text = render(tables, form)
    return list(csv.DictReader(io.StringIO(text))) if form == "csv" else [row for table in json.loads(text) for row in table["rows"]]


def test_figures_of_other_settings_are_marked_in_every_format():
    def measured(name, window, **counts):
        ssim = MetricResult(0.8, "1", True, {"window": window, **counts})
        return replace(RECORD, tokenizer=replace(RECORD.tokenizer, name=name, weights_sha256=None), metrics=RECORD.metrics | {"ssim": ssim})

    records = [measured("a/b", 7), measured("c/d", 11, images=3), measured("e/f", 11, images=4)]
    tables = make_tables(records, columns=["ssim"])
    note = "≠ SSIM with other settings than most of this table: window 7 or 11"
    assert [cells[0].text for _, cells in tables[0].rows] == ["0.8000≠", "0.8000", "0.8000"]
    assert tables[0].notes == (note,)
    assert note in render(tables, "md")
    assert "0.8000$^{\\neq}$" in render(tables, "latex")
    assert "\\item $^{\\neq}$ SSIM with other settings" in render(tables, "latex")
    for form, nothing in (("csv", ""), ("json", None)):
        assert [row.get("ssim_note") for row in rows_of(tables, form)] == ["measured otherwise than most of this table", nothing, nothing]
    assert not make_tables(records, columns=["psnr"])[0].notes
    assert "note" not in render(make_tables(records[1:], columns=["ssim"]), "csv")


def test_speeds_of_different_machines_are_marked_in_every_format():
    elsewhere = replace(RECORD, environment=replace(RECORD.environment, processor="another"))
    untimed = replace(elsewhere, timing=replace(RECORD.timing, encode_images_per_second=None, decode_images_per_second=None))
    note = "‡ measured on different machines, devices, threads or micro-batches: these speeds do not compare"
    for other in (elsewhere, replace(RECORD, timing=replace(RECORD.timing, threads=RECORD.timing.threads + 1))):
        tables = make_tables([RECORD, other], columns=["encode", "parameters"])
        assert [cells[0].mark for _, cells in tables[0].rows] == ["‡", "‡"]
        assert not any(cells[1].mark for _, cells in tables[0].rows)
        assert note in tables[0].notes
        assert note in render(tables, "md")
        assert render(tables, "latex").count("$^\\ddagger$ &") == 2
        for form in ("csv", "json"):
            words = "measured on different machines, devices, threads or micro-batches"
            assert [row["encode_note"] for row in rows_of(tables, form)] == [words, words]
    for alike in ([RECORD, RECORD], [RECORD, untimed]):
        assert "‡" not in render(make_tables(alike), "md")
    assert note not in make_tables([RECORD, elsewhere], columns=["psnr"])[0].notes


def test_figures_of_another_protocol_or_data_are_marked_where_they_are_mixed():
    elsewhere = replace(RECORD, data=replace(RECORD.data, pixels_digest="f" * 64))
    (table,) = make_tables([RECORD, OTHER, LARGER, elsewhere], mix=True, columns=["bpp", "psnr"])
    assert [cells[1].mark for _, cells in table.rows] == ["", "", "≠", "≠"]
    assert not any(cells[0].mark for _, cells in table.rows)
    assert "≠ under another protocol or on other data than most of this table: such figures do not compare" in table.notes
    for apart in make_tables([RECORD, OTHER, LARGER, elsewhere]):
        assert "≠" not in render([apart], "md")


def test_machines_are_told_of_judges_that_trained():
    clean = replace(OTHER, metrics=OTHER.metrics | {"lpips_vgg": MetricResult(0.3, "1", False)})
    tables = make_tables([RECORD, clean])
    for form, nothing in (("csv", ""), ("json", None)):
        first, second = rows_of(tables, form)
        assert first["lpips_vgg_note"] == "trained with the network that judges"
        assert second.get("lpips_vgg_note") == nothing
    header = render(tables, "csv").splitlines()[0].split(",")
    assert header.index("lpips_vgg_note") == header.index("lpips_vgg") + 1
    assert sum(name.endswith("_note") for name in header) == 1


def test_machines_are_told_what_is_best_where_it_was_looked_for(make_record):
    worse, best = make_record("a/b", seed=1), make_record("c/d", seed=1, better=3)
    del worse.record.metrics["ssim"]
    records, rows = [worse.record, best.record], [worse.rows, best.rows]
    found = rows_of(make_tables(records, rows=rows), "csv")
    assert [row["psnr_best"] for row in found] == ["false", "true"]
    assert [row["ssim_best"] for row in found] == ["", "false"]  # alone it is the best of nothing
    assert "bpp_best" not in found[0]
    found = rows_of(make_tables(records, rows=rows), "json")
    assert [row["psnr_best"] for row in found] == [False, True]
    assert "_best" not in render(make_tables(records), "csv")
    named = {"psnr_best": MetricResult(1.0, "1", True)}
    text = render(make_tables([replace(item, metrics=item.metrics | named) for item in records], rows=rows), "csv")
    assert text.splitlines()[0].split(",").count("psnr_best") == 1


@pytest.mark.parametrize(("images", "warning"), [(1, "measured on 1 image: there are no intervals"), (12, "12 images of 2 groups: ")])
def test_few_images_are_warned_of_below_the_table(make_record, images, warning):
    (table,) = make_tables([make_record("a/b", images=images).record], columns=["psnr"])
    assert sum(note.startswith(warning) for note in table.notes) == 1
    few = replace(RECORD, data=replace(RECORD.data, groups=1, count=5))
    assert "(1 group)" in make_tables([few])[0].title
    assert not make_tables([make_record("a/b").record], columns=["psnr"])[0].notes


def test_nothing_is_minus_zero():
    tiny = replace(RECORD, metrics={"lpips": MetricResult(-1e-9, "1", False), "psnr": MetricResult(-0.5, "dB", True)})
    text = render(make_tables([tiny]), "md")
    assert "| 0.0000 | -0.50 |" in text


def test_all_formats_hold_the_same_numbers():
    tables = make_tables([RECORD, OTHER])
    rows = list(csv.DictReader(io.StringIO(render(tables, "csv"))))
    assert [float(row["psnr"]) for row in rows] == [25.1234, float("inf")]
    values = json.loads(render(tables, "json"))
    assert values[0]["rows"][0]["psnr"] == 25.1234
    assert values[0]["rows"][1]["psnr"] == "inf"
    assert "25.12" in render(tables, "md")
    latex = render(tables, "latex")
    assert latex.count("\\\\") == 3
    assert "97.5" in latex
    assert "_" not in latex.replace("\\_", "").split("\\begin")[1].split("\\end")[0]


def test_a_table_without_figures_says_why():
    none = replace(RECORD, metrics={key: MetricResult(reason="a codec without tokens") for key in ("usage", "perplexity", "of:Others")})
    (table,) = make_tables([none])
    assert {"usage: a codec without tokens", "of:Others: a codec without tokens"} <= set(table.notes)
    assert not [note for note in table.notes if note.startswith("perplexity")]
    (table,) = make_tables([replace(none, metrics={**none.metrics, "psnr": MetricResult(20.0, "dB", True)})])
    assert not [note for note in table.notes if "a codec without tokens" in note]


def test_figures_on_weights_of_others_say_why_they_are_not_there():
    lacking = {f"{key}[inception:759bc475]": MetricResult(reason="1 image; it needs more") for key in ("precision", "recall")}
    (table,) = make_tables([replace(RECORD, metrics={**RECORD.metrics, **lacking})])
    assert "precision[inception:759bc475], recall[inception:759bc475]: 1 image; it needs more" in table.notes


def test_csv_of_several_tables_has_one_header():
    elsewhere = replace(LARGER, metrics={"text_accuracy": MetricResult(0.5, "share", True), "psnr": MetricResult(20.0, "dB", True)})
    tables = make_tables([elsewhere, RECORD], intervals=True)
    text = render([*tables, replace(tables[0], lead="figure")], "csv")
    lines = list(csv.reader(io.StringIO(text)))
    assert {len(line) for line in lines} == {len(lines[0])}
    assert len(set(lines[0])) == len(lines[0])
    first, second, third = csv.DictReader(io.StringIO(text))
    assert (first["tokenizer"], first["figure"], third["tokenizer"], third["figure"]) == ("vqgan/tiny", "", "", "vqgan/tiny")
    assert (first["psnr"], first["psnr_low"], first["text_accuracy"], first["lpips"]) == ("20.0", "", "0.5", "")
    assert (second["psnr"], second["psnr_low"], second["text_accuracy"], second["lpips"]) == ("25.1234", "24.0", "", "0.1")
    assert first["protocol and data"] == tables[0].title


@pytest.mark.parametrize("width", [60, 100, 240])
def test_terminal_tables_fit_their_window(width):
    stream = io.StringIO()
    print_tables(make_tables([RECORD, OTHER]), Console(file=stream, width=width))
    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "25.12" in stream.getvalue()
    assert "vqgan/tiny" in stream.getvalue()


def test_tables_of_words_are_not_turned_but_go_on_in_another_line():
    stream = io.StringIO()
    columns = (Column("of", "of", align="left"), Column("first", "first", align="left"), Column("second", "second", align="left"))
    rows = tuple((f"setting {i}", tuple(map(Cell, ("tokenizer", "many words " * 5, "others " * 5)))) for i in range(3))
    print_tables([Table("what differs", columns, rows, (), "setting")], Console(file=stream, width=80))
    assert stream.getvalue().count("first") == 1
    assert max(map(len, stream.getvalue().splitlines())) <= 80


def test_long_names_go_on_in_another_line_where_one_would_fill_a_turned_table():
    stream = io.StringIO()
    rows = tuple((f"vqgan/tiny {i} " + "under a protocol " * 4, (Cell("25.12", 25.12),)) for i in range(3))
    print_tables([Table("mixed", (Column("PSNR dB", "psnr", 2),), rows, ())], Console(file=stream, width=60))
    assert stream.getvalue().count("PSNR dB") == 1
    assert max(map(len, stream.getvalue().splitlines())) <= 60


def test_names_are_text_not_markup():
    hostile = replace(RECORD, tokenizer=replace(RECORD.tokenizer, name="[red]x|y_z[/red]"))
    stream = io.StringIO()
    print_tables(make_tables([hostile]), Console(file=stream, width=240))
    assert "[red]x|y_z[/red]" in stream.getvalue()
    assert "x\\|y_z" in render(make_tables([hostile]), "md")


def test_unknown_format():
    with pytest.raises(TokbenchError, match="unknown format 'mdd'; did you mean md"):
        render([], "mdd")


HOSTILE = "<b>a</b>|\u202eb\nc\x1b[31m"


def test_hostile_names_are_text_in_every_format():
    named = replace(RECORD, tokenizer=replace(RECORD.tokenizer, name=HOSTILE))
    shown = "<b>a</b>|\\u202eb\\nc\\x1b[31m"
    tables = make_tables([named], columns=["psnr"])
    (line,) = [line for line in render(tables, "md").splitlines() if "31m" in line]
    assert line.startswith("| &lt;b&gt;a&lt;/b&gt;\\|\\u202eb\\nc\\x1b[31m | ")
    assert [row["tokenizer"] for form in ("csv", "json") for row in rows_of(tables, form)] == [shown, shown]
    for form in ("md", "latex", "csv", "json"):
        assert all(character.isprintable() or character == "\n" for character in render(tables, form))
    assert len(render(tables, "latex").splitlines()) == len(render(make_tables([RECORD], columns=["psnr"]), "latex").splitlines())


def test_endless_names_and_figures_are_short_where_people_read_them():
    endless = replace(RECORD, tokenizer=replace(RECORD.tokenizer, name="n" * 20_000), metrics={"psnr": MetricResult(1e308, "dB", True)})
    tables = make_tables([endless], columns=["psnr"])
    for form in ("md", "latex"):
        assert max(map(len, render(tables, form).splitlines())) < 500
        assert "1e+308" in render(tables, form)
    assert rows_of(tables, "json")[0]["tokenizer"] == "n" * 20_000


@pytest.mark.parametrize(
    ("name", "cell"), [("=cmd|'/c calc'!A1", "'=cmd|'/c calc'!A1"), ("@x", "'@x"), ("a=b", "a=b"), ("-", "-"), ("-1.5", "-1.5")]
)
def test_csv_has_no_formulas(name, cell):
    named = replace(RECORD, tokenizer=replace(RECORD.tokenizer, name=name))
    assert rows_of(make_tables([named], columns=["psnr"]), "csv")[0]["tokenizer"] == cell


@pytest.mark.parametrize("key", ["=1+1", "+cmd", "-x", "@SUM(A1)"])
def test_headers_of_csv_have_no_formulas(key):
    named = replace(RECORD, metrics=RECORD.metrics | {key: MetricResult(1.0, "1", True)})
    header = next(csv.reader(io.StringIO(render(make_tables([named]), "csv"))))
    assert f"'{key}" in header
    assert not [name for name in header if name[0] in "=+-@"]


def test_labels_of_earlier_records_are_read_without_rounding(make_record):
    first, second = (make_record(name).record for name in ("vqvae/tiny", "vae/tiny"))
    protocol = replace(second.protocol, tokenizer_batch=64, compiled=True)
    second = replace(second, protocol=protocol, protocol_label=f"{second.protocol_label}+tokenizer_batch=64+compiled=True")
    for records in ((first, second), (second, first)):
        (section,) = make_sections(records)
        assert "tokenizer_batch" not in section.title
    (table,) = make_tables([first, second])
    assert any("compiled or not; 16 or 64 images at once" in note for note in table.notes)
    half = replace(second, protocol=replace(protocol, precision="bf16"))
    assert len(make_sections([first, half])) == 2
