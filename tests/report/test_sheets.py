"""Plots as files: paper size, text as text, the same bytes again, and nothing drawn that is not there."""

import itertools
import math
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from PIL import Image

from tokbench.commands import compare as cli_compare
from tokbench.errors import TokbenchError
from tokbench.records.intervals import Interval
from tokbench.records.probe_store import write_probe_record
from tokbench.records.record import MetricResult
from tokbench.records.store import write_record
from tokbench.report.plots import paper
from tokbench.report.plots.kinds import RUN_KINDS
from tokbench.report.plots.sheets import draw_plots, write_plots


@pytest.fixture
def items(make_record):
    made = [
        make_record("a/b"),
        make_record("c/$d_e$", seed=1, better=1),
        make_record("vae/x", seed=2, bits=None),
        make_record("anchor/webp-320"),
    ]
    made[1].record.metrics["lpips"] = replace(made[1].record.metrics["lpips"], judged_by_training_network=True)
    for item in made:
        for key in ("fd_efflite0", "ssim", "usage"):
            del item.record.metrics[key]
        del item.rows["ssim"]
    return [item.record for item in made], [item.rows for item in made]


def files(written, folder):
    return sorted(str(path.relative_to(folder)) for path in written.paths)


def test_one_column_gets_a_file_a_panel(items, tmp_path):
    for record in items[0]:
        del record.metrics["psnr"]
    written = write_plots(*items, tmp_path, formats=("svg",))
    names = ["rate-lpips.svg", "encode-lpips.svg", "decode-lpips.svg", "images-lpips.svg", "images-psnr.svg"]
    names += ["codebook-ranks.svg", "codebook-histogram.svg"]
    assert files(written, tmp_path) == sorted(names)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert "rate-lpips leaves out vae/x: continuous latents have no bits" in written.notes
    assert not [note for note in written.notes if "images" in note]


def test_sizes_type_and_bytes(items, tmp_path):
    first, again = (write_plots(*items, tmp_path / name, kinds=("rate",), width="page") for name in ("a", "b"))
    assert files(first, tmp_path / "a") == ["rate.pdf", "rate.png", "rate.svg"]
    for one, other in zip(first.paths, again.paths, strict=True):
        assert one.read_bytes() == other.read_bytes(), one
    svg = (tmp_path / "a" / "rate.svg").read_text()
    assert f'width="{6.75 * 72:g}pt"' in svg
    assert "<text" in svg
    assert "c/$d_e$" in svg  # a name, not a formula
    assert "bits per pixel" in svg
    assert set(re.findall(r"font-size: ([\d.]+)px", svg)) == {"8"}
    assert "dc:date" not in svg
    pdf = (tmp_path / "a" / "rate.pdf").read_bytes()
    assert b"CreationDate" not in pdf
    with Image.open(tmp_path / "a" / "rate.png") as png:
        assert png.width == 6.75 * 300
        assert not png.text
    column = next(draw_plots(*items, [record.tokenizer.name for record in items[0]], kinds=("rate",)))
    assert column.figure.get_figwidth() == 3.25


def test_every_record_looks_the_same_in_every_plot_and_like_no_other():
    looks = paper.Paper((*(f"t/{i}" for i in range(40)), "anchor/webp-320", "anchor/jpeg-320"), (None,) * 40 + ("webp", "jpeg"))
    seen = {(look["color"], look["marker"]) for name in looks.names for look in [looks.look(name)]}
    assert len(seen) == 42
    assert looks.look("anchor/webp-320")["color"] == "black"
    assert paper.Paper(("anchor/webp-1", "t/0"), ("webp", None)).look("t/0") == looks.look("t/0")


def test_drawn_points_are_the_data(items):
    records, rows = items
    names = [record.tokenizer.name for record in records]
    plots = {plot.name: plot for plot in draw_plots(records, rows, names, kinds=("rate",))}
    axes = plots["rate-psnr"].figure.axes[0]
    marks = [line for line in axes.lines if line.get_linestyle() == "None" and len(line.get_xdata()) == 1]
    names[3] = next(line.get_label() for line in marks if line.get_marker() == "*")  # a codec's entry of the legend is for all its rates
    drawn = {line.get_label(): (line.get_xdata()[0], line.get_ydata()[0]) for line in marks}
    for name, record in zip(names, records, strict=True):
        if record.tokens.bpp is None:
            assert name not in drawn
        else:
            assert drawn[name] == (record.tokens.bpp, record.metrics["psnr"].value)
    (hollow,) = [line for line in plots["rate-lpips"].figure.axes[0].lines if line.get_label() == "c/$d_e$"]
    assert hollow.get_markerfacecolor() == "white"
    texts = [text.get_text() for text in plots["rate-lpips"].figure.legends[0].texts]
    assert texts[-1] == "hollow: trained with the judge"


def at_bpp(item, bpp, **metrics):
    record = replace(item.record, tokens=replace(item.record.tokens, bpp=bpp), metrics=item.record.metrics | metrics)
    return replace(item, record=record)


def figures_of(items, **options):
    names = [item.record.tokenizer.name for item in items]
    return {plot.name: plot for plot in draw_plots([item.record for item in items], [item.rows for item in items], names, **options)}


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("lpips", 0.0, "0"),
        ("lpips", 1e-12, "≈ 0"),
        ("lpips", 1e-300, "≈ 0"),
        ("lpips", -0.1, "≤ 0"),
        ("psnr", math.inf, "exact"),
        ("psnr", 1e308, "> 1e15"),
    ],
)
def test_figures_without_a_place_stand_at_the_end_of_the_axis_with_a_word(make_record, key, value, word):
    exact = make_record("pixel/rgb")
    exact.rows[key] = dict.fromkeys(exact.rows[key], value)
    perfect = MetricResult(value, "1", key == "psnr")
    items = [make_record("a/b"), at_bpp(make_record("c/d", seed=1, better=2), 1.0), at_bpp(exact, 24.0, **{key: perfect})]
    plot = figures_of(items, kinds=("rate",))[f"rate-{key}"]
    assert plot.left_out == ()
    (axes,) = plot.figure.axes
    (mark,) = [line for line in axes.lines if line.get_label() == "pixel/rgb"]
    labels = dict(zip((label.get_text() for label in axes.get_yticklabels()), axes.get_yticks(), strict=True))
    assert labels[word] == mark.get_ydata()[0]
    others = [line.get_ydata()[0] for line in axes.lines if line.get_label() in ("a/b", "c/d")]
    assert mark.get_ydata()[0] > max(others) if key == "psnr" else mark.get_ydata()[0] < min(others)
    (front,) = [line for line in axes.lines if line.get_label() == "Pareto front"]
    assert front.get_xdata()[-1] == 24.0
    assert front.get_ydata()[-1] == mark.get_ydata()[0]
    low, high = axes.get_ylim()
    assert low < mark.get_ydata()[0] < high


@pytest.mark.parametrize(
    ("values", "word"),
    [((1e308, math.inf), "> 1e15"), ((-1e308, -1e16), "< -1e15"), ((-math.inf, -math.inf), "-∞"), ((1e300, 1e16), "> 1e15")],
)
def test_huge_figures_share_a_strip_and_leave_the_axis_to_the_others(make_record, tmp_path, values, word):
    ordinary = MetricResult(20.0, "dB", True, interval=Interval(-1e300, 1e300, "by hand"))
    items = [at_bpp(make_record("a/b"), 0.5, psnr=ordinary), at_bpp(make_record("g/h", seed=3), 0.6)]
    items += [at_bpp(make_record(f"c/{i}", seed=1 + i), 1.0 + i, psnr=MetricResult(value, "dB", True)) for i, value in enumerate(values)]
    (axes,) = figures_of(items, kinds=("rate",))["rate-psnr"].figure.axes
    labels = dict(zip((label.get_text() for label in axes.get_yticklabels()), axes.get_yticks(), strict=True))
    marks = {line.get_label(): line.get_ydata()[0] for line in axes.lines if line.get_marker() != "None" and len(line.get_ydata())}
    assert marks["c/0"] == marks["c/1"] == labels[word]
    assert -100 < axes.get_ylim()[0] < axes.get_ylim()[1] < 100
    records, rows = [item.record for item in items], [item.rows for item in items]
    formats = ("png", "svg", "pdf") if word == "-∞" else ("svg",)
    assert write_plots(records, rows, tmp_path, kinds=("rate", "decode"), formats=formats).paths


@pytest.mark.parametrize("width", ["column", "page"])
def test_figures_of_other_settings_have_a_mark_and_a_note(make_record, tmp_path, width):
    items = [at_bpp(make_record(name, seed=i), 1.0 + i) for i, name in enumerate(("a/b", "c/d", "e/f"))]
    items[2].record.metrics["lpips"] = replace(items[2].record.metrics["lpips"], settings={"net": "other"})
    plots = figures_of(items, kinds=("rate", "images"), width=width)
    for kind in ("rate", "images"):
        plot = plots[kind if width == "page" else f"{kind}-lpips"]
        (axes,) = [axes for axes in plot.figure.axes if any("LPIPS" in label for label in (axes.get_xlabel(), axes.get_ylabel()))]
        (mark,) = [text for text in axes.texts if text.get_text() == "≠"]
        if kind == "rate":
            (point,) = [line for line in axes.lines if line.get_label() == "e/f"]
            assert mark.xy == (point.get_xdata()[0], point.get_ydata()[0])
        else:
            assert mark.xy[1] == 2  # the row of e/f
        assert not [text for other in plot.figure.axes if other is not axes for text in other.texts]
        assert [text.get_text() for text in plot.figure.legends[0].texts][-1] == "measured otherwise than most"
        assert [note[:50] for note in plot.notes] == ["≠ LPIPS with other settings than most of this plot"]
    if width == "column":
        assert plots["rate-psnr"].notes == ()
        assert "measured otherwise than most" not in [text.get_text() for text in plots["rate-psnr"].figure.legends[0].texts]
    written = write_plots([item.record for item in items], [item.rows for item in items], tmp_path, formats=("svg",), width=width)
    assert sum("≠ LPIPS with other settings" in note for note in written.notes) == 4  # rate, encode, decode, images


def test_infinite_images_are_counted_in_words(make_record):
    all_of_them, some = make_record("pixel/rgb"), make_record("a/b", seed=1)
    all_of_them.rows["psnr"] = dict.fromkeys(all_of_them.rows["psnr"], math.inf)
    some.rows["psnr"] |= dict.fromkeys(list(some.rows["psnr"])[:7], math.inf)
    plot = figures_of([make_record("c/d", seed=2), all_of_them, some], kinds=("images",))["images-psnr"]
    assert plot.left_out == ()
    assert [text.get_text() for text in plot.figure.axes[0].texts] == ["exact for all images", "exact for 7 of 60 images"]
    all_of_them.rows["psnr"] = dict.fromkeys(all_of_them.rows["psnr"], -1e308)
    some.rows["psnr"] |= dict.fromkeys(list(some.rows["psnr"])[:7], 1e300)
    plot = figures_of([all_of_them, some], kinds=("images",))["images-psnr"]
    assert [text.get_text() for text in plot.figure.axes[0].texts] == ["< -1e15 for all images", "> 1e15 for 7 of 60 images"]


def test_one_entry_of_the_legend_stands_for_all_rates_of_a_codec(make_record):
    items = [make_record("a/b")]
    for i, (codec, size) in enumerate(itertools.product(("jpeg", "webp"), (160, 320, 640)), start=1):
        items.append(at_bpp(make_record(f"anchor/{codec}-{size}", seed=i, better=i % 3), size / 512))
    plot = figures_of(items, kinds=("rate",))["rate-psnr"]
    assert [text.get_text() for text in plot.figure.legends[0].texts] == ["a/b", "JPEG (codec)", "WebP (codec)"]
    joined = [line for line in plot.figure.axes[0].lines if line.get_linestyle() == ":" and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in joined] == [[160 / 512, 320 / 512, 640 / 512]] * 2
    assert len(plot.figure.axes[0].lines) > 6


@pytest.mark.parametrize("width", ["column", "page"])
@pytest.mark.parametrize("span", [1.05, 1.5, 4.0, 30.0, 200.0, 1e4, 1e7])
def test_labels_of_ticks_never_touch(make_record, width, span):
    items = []
    for i in range(4):
        share = span ** (i / 3)
        made = make_record(f"t/{i}", seed=i)
        figures = {key: MetricResult(0.003 * share, "1", False) for key in ("lpips", "fd_efflite0", "rfid")}
        made = at_bpp(made, 0.07 * share, **figures, psnr=MetricResult(math.inf if i == 3 else 20 + i, "dB", True))
        speed = replace(made.record.timing, encode_images_per_second=3 * share, encode_interval=None)
        items.append(replace(made, record=replace(made.record, timing=speed)))
    items[0].record.metrics["lpips"] = MetricResult(0.0, "1", False)
    kinds = ("rate", "encode", *(("codebook",) if span == 1.05 else ()))  # codebooks have no span
    for plot in figures_of(items, kinds=kinds, width=width).values():
        with paper.paper_style():
            plot.figure.canvas.draw()
            for axes in plot.figure.axes:
                for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
                    boxes = [label.get_window_extent() for label in labels if label.get_text()]
                    assert len(boxes) >= 2, (plot.name, axes.get_xlim(), axes.get_ylim())
                    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])], plot.name


@pytest.mark.parametrize("width", ["column", "page"])
def test_endless_names_leave_a_figure_its_size(make_record, tmp_path, width):
    items = [at_bpp(make_record(f"{'long ' * 76}$/{'y' * 20}{i:02d}", seed=i, better=i / 40), 1 + i / 10) for i in range(40)]
    measured = [item.record for item in items], [item.rows for item in items]
    written = write_plots(*measured, tmp_path, kinds=("rate", "images"), formats=("png",), width=width)
    for path in written.paths:
        with Image.open(path) as picture:
            assert picture.width == paper.WIDTHS[width] * 300
            assert picture.height < 10 * 300, path.name  # a page
    plot = next(iter(figures_of(items, kinds=("rate",), width=width).values()))
    texts = [text.get_text() for text in plot.figure.legends[0].texts]
    assert len(set(texts[1:])) == 40  # both ends are kept, and tell them apart
    assert all(len(text) <= 80 and "…" in text for text in texts[1:])
    few = figures_of(items[:1], kinds=tuple(RUN_KINDS), width=width)
    assert max(plot.figure.get_figheight() for plot in few.values()) < 4


def test_text_and_faces_have_plots_of_their_own(make_record):
    own = {key: MetricResult(0.5 + 0.1 * i, "1", i != 1) for i, key in enumerate(("text_accuracy", "face_distance", "face_match"))}
    items = [at_bpp(make_record(name, seed=i), 1.0 + i, **own) for i, name in enumerate(("a/b", "c/d"))]
    for item in items:
        item.rows.update({key: dict.fromkeys(item.rows["psnr"], 0.5) for key in ("text_accuracy", "face_distance")})
    plots = figures_of(items, kinds=("rate", "images"))
    assert {"rate-text_accuracy", "rate-face_distance", "rate-face_match", "images-text_accuracy", "images-face_distance"} <= plots.keys()
    assert plots["rate-text_accuracy"].figure.axes[0].get_ylabel() == "text % ↑"


def test_protocols_are_drawn_apart(items, tmp_path):
    records, rows = items
    larger = replace(records[1].protocol, size=128)
    other = replace(records[1], protocol=larger, protocol_label=larger.label)
    written = write_plots([records[0], other], rows[:2], tmp_path, kinds=("images",), formats=("svg",), width="page")
    assert files(written, tmp_path) == ["1-photos-64/images.svg", "2-photos-64+size=128/images.svg"]


def test_old_records_and_records_without_rows_have_fewer_plots(items, tmp_path):
    old = replace(items[0][0], codebooks=())
    with pytest.raises(TokbenchError, match="nothing to draw for codebook, images; measure more metrics"):
        write_plots([old], [{}], tmp_path, kinds=("codebook", "images"))
    assert write_plots([old], [{}], tmp_path, formats=("svg",), kinds=("rate", "codebook", "images")).paths


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ("rates",)}, "unknown kind of plot 'rates'; did you mean rate"),
        ({"formats": ("pgn",)}, "unknown format 'pgn'; did you mean png"),
        ({"width": "colunm"}, "unknown width 'colunm'; did you mean column"),
    ],
)
def test_mistakes_are_named(items, tmp_path, options, message):
    with pytest.raises(TokbenchError, match=re.escape(message)):
        write_plots(*items, tmp_path, **options)


def test_a_folder_that_cannot_be_written_is_named(items, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TokbenchError, match=r"cannot write to .*file .*; choose another place"):
        write_plots(*items, tmp_path / "file", kinds=("images",), formats=("svg",), width="page")


def test_without_matplotlib_the_extra_is_named(items, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(TokbenchError, match=r"tokbench plot needs the package matplotlib.*tokbench\[plots\]"):
        write_plots(*items, tmp_path)


def test_nothing_is_drawn_at_import():
    script = (
        "import sys, tokbench.report.plots.sheets, tokbench.report.plots.panels; print('matplotlib' in sys.modules, 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "False False\n"


@pytest.mark.parametrize("given", ["", " , "])
def test_no_format_is_a_mistake(tmp_path, given):
    with pytest.raises(TokbenchError, match=f"^--format needs some of png, svg, pdf, got {given!r}$"):
        cli_compare.plot([tmp_path], form=given)


def test_of_records_of_probes_it_is_said_what_shows_them(make_record, make_probe, tmp_path, capsys):
    path, out = write_probe_record(make_probe(), {}, tmp_path / "probes"), tmp_path / "drawn"
    for place in (path, path.parent):
        message = f"plot draws records of tokbench run, and {place} holds those of probes; show them with: tokbench report {place}"
        with pytest.raises(TokbenchError, match=f"^{re.escape(message)}$"):
            cli_compare.plot([place], out_dir=out)
    item = make_record("a/b")
    write_record(item.record, item.rows, path.parent)
    cli_compare.plot([path.parent], form="svg", kind=["rate"], out_dir=out)
    assert "plot draws records of tokbench run, and leaves out 1 record of probes" in " ".join(capsys.readouterr().err.split())
    assert (out / "rate-psnr.svg").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(TokbenchError, match="no records in"):
        cli_compare.plot([tmp_path / "empty"], out_dir=out)
