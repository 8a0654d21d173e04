"""Plots as files: paper size, text as text, the same bytes again, and nothing drawn that is not there."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest
from PIL import Image

from tokbench.errors import TokbenchError
from tokbench.report import paper
from tokbench.report.figures import draw_plots, write_plots


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
    looks = paper.Paper((*(f"t/{i}" for i in range(40)), "anchor/webp-320", "anchor/jpeg-320"))
    seen = {(look["color"], look["marker"]) for name in looks.names for look in [looks.look(name)]}
    assert len(seen) == 42
    assert looks.look("anchor/webp-320")["color"] == "black"
    assert paper.Paper(("anchor/webp-1", "t/0")).look("t/0") == looks.look("t/0")


def test_drawn_points_are_the_data(items):
    records, rows = items
    names = [record.tokenizer.name for record in records]
    plots = {plot.name: plot for plot in draw_plots(records, rows, names, kinds=("rate",))}
    axes = plots["rate-psnr"].figure.axes[0]
    drawn = {line.get_label(): (line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines}
    for name, record in zip(names, records, strict=True):
        if record.tokens.bpp is None:
            assert name not in drawn
        else:
            assert drawn[name] == (record.tokens.bpp, record.metrics["psnr"].value)
    (hollow,) = [line for line in plots["rate-lpips"].figure.axes[0].lines if line.get_label() == "c/$d_e$"]
    assert hollow.get_markerfacecolor() == "white"
    texts = [text.get_text() for text in plots["rate-lpips"].figure.legends[0].texts]
    assert texts[-1] == "hollow: trained with the judge"


def test_protocols_are_drawn_apart(items, tmp_path):
    records, rows = items
    other = replace(records[1], protocol_label="photos-64+size=128")
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
    with pytest.raises(TokbenchError, match=r"cannot write .*file.*--out"):
        write_plots(*items, tmp_path / "file", kinds=("images",), formats=("svg",), width="page")


def test_without_matplotlib_the_extra_is_named(items, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(TokbenchError, match=r"tokbench plot needs the package matplotlib.*tokbench\[plots\]"):
        write_plots(*items, tmp_path)


def test_nothing_is_drawn_at_import():
    script = "import sys, tokbench.report.figures, tokbench.report.panels; print('matplotlib' in sys.modules, 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "False False\n"
