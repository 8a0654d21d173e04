"""Commands that read records, as a user meets them."""

import json
import subprocess
import sys
from xml.etree import ElementTree

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from tokbench.commands import compare as cli_compare
from tokbench.commands import console
from tokbench.commands import report as cli_report
from tokbench.errors import TokbenchError
from tokbench.records.probe_store import write_probe_record
from tokbench.records.store import write_record


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs a command in a folder with records in ``runs``; returns status, stdout and stderr. Errors of the user are raised."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    app = typer.Typer()
    for function in (cli_compare.compare, cli_compare.plot, cli_compare.diff, cli_report.report):
        app.command()(function)

    def run(*arguments):
        with monkeypatch.context() as patched:
            patched.setattr(console, "out", Console(width=200))
            patched.setattr(console, "err", Console(width=200, stderr=True))
            done = CliRunner().invoke(app, list(map(str, arguments)))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.stdout, done.stderr

    return run


@pytest.fixture
def runs(make_record, tmp_path):
    """Two records in ``runs`` and, made later, one of the same tokenizer in ``later``."""
    for folder, name, better in (("runs", "a/b", 0.0), ("runs", "c/d", 3.0), ("later", "a/b", -0.5)):
        item = make_record(name, better=better)
        write_record(item.record, item.rows, tmp_path / folder)
    return tmp_path


def test_compare_in_bold_with_intervals(command, runs):
    status, out, _ = command("compare", "--format", "md", "--intervals", "--sort", "psnr")
    assert status == 0
    assert out.index("| c/d |") < out.index("| a/b |")
    assert "**3" not in out
    bold = command("compare", "--format", "md", "--bold")[1]
    row = next(line for line in bold.splitlines() if line.startswith("| c/d |"))
    assert row.count("**") == 8  # FD, LPIPS, PSNR, SSIM
    assert "bold: better than every other row that has the figure, by more than chance" in bold
    few = command("compare", "--format", "csv", "--columns", "psnr, bits_per_image")[1]
    assert few.splitlines()[0] == "protocol and data,tokenizer,psnr,bits_per_image"
    with pytest.raises(TokbenchError, match=r"columns of these records are .*; got 'nonsense'"):
        command("compare", "--columns", "psnr,nonsense")
    latex = command("compare", "--format", "latex", "--bold", "--intervals")[1]
    assert "\\textbf{" in latex
    assert "{\\scriptsize [" in latex
    assert json.loads(command("compare", "--format", "json", "--bold")[1])[0]["rows"][1]["best"] == ["fd_efflite0", "lpips", "psnr", "ssim"]


def test_published_has_nothing_to_say_of_own_tokenizers(command, runs):
    status, _, err = command("compare", "--published")
    assert status == 0
    assert "nothing published is known of these tokenizers" in err


def test_a_condition_that_holds_ends_with_status_one(command, runs):
    assert command("compare", "--fail-if", "psnr<1", "--fail-if", "lpips>0.9")[0] == 0
    status, out, err = command("compare", "--format", "csv", "--fail-if", "psnr<26", "--gate-report", "gate.xml")
    assert status == 1
    assert "psnr" in out  # the table all the same
    assert err.startswith("failed psnr<26: a/b, psnr is 2")
    assert ElementTree.parse("gate.xml").getroot().get("failures") == "1"
    status, _, err = command("compare", "--fail-if", "rfid>3")
    assert status == 1
    assert "no rfid: the weights are not here" in err


def test_conditions_on_changes(command, runs):
    status, out, err = command("diff", "runs", "later", "--fail-if", "psnr.change<-0.2", "--gate-report", "gate.json")
    assert status == 1
    assert "worse" in out
    assert "only in the first place" in err
    assert "failed psnr.change<-0.2: a/b, psnr.change is -1" in err
    assert json.loads((runs / "gate.json").read_text())["checks"][0]["value"] == pytest.approx(-1)
    assert command("diff", "runs", "later", "--fail-if", "psnr.change<-3", "-f", "json")[0] == 0
    found = json.loads(command("diff", "runs/a-b_photos-64.json", "runs/c-d_photos-64.json", "-f", "json")[1])
    assert [table["title"] for table in found] == ["a/b -> c/d: what differs", "a/b -> c/d: figures"]
    assert next(row for row in found[1]["rows"] if row["figure"] == "psnr")["verdict"] == "better"


def test_plots_are_written_and_named(command, runs):
    status, out, err = command("plot", "--kind", "images", "--kind", "rate", "--format", "svg,png", "--width", "page", "--out", "drawn")
    assert status == 0
    assert out.split() == ["drawn/images.svg", "drawn/images.png", "drawn/rate.svg", "drawn/rate.png"]
    assert all((runs / path).stat().st_size for path in out.split())
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compare", "--fail-if", "psrn<1"), "unknown metric 'psrn'; did you mean psnr"),
        (("compare", "--fail-if", "psnr"), "--fail-if takes a metric"),
        (("compare", "--fail-if", "psnr.change<1"), "use tokbench diff A B"),
        (("compare", "--gate-report", "x.xml"), "--gate-report writes what --fail-if found"),
        (("compare", "--fail-if", "psnr<1", "--gate-report", "x.txt"), r"must end in \.xml"),
        (("compare", "--sort", "psrn"), "unknown metric 'psrn'"),
        (("compare", "none"), "no record at none"),
        (("diff", "runs", "none"), "no record at none"),
        (("diff", "runs", "later", "--fail-if", "psrn.change<1"), "unknown metric 'psrn'"),
        (("plot", "--format", "jpg"), "unknown format 'jpg'"),
    ],
)
def test_mistakes_are_one_line(command, runs, arguments, message):
    with pytest.raises(TokbenchError, match=message):
        command(*arguments)


@pytest.mark.parametrize("arguments", [("compare", "--bold"), ("plot", "--format", "svg", "--kind", "rate"), ("diff", "runs", "later")])
def test_damaged_rows_are_named_in_one_line(command, runs, arguments):
    (runs / "runs" / "a-b_photos-64.parquet").write_bytes(b"no parquet")
    with pytest.raises(
        TokbenchError, match=r"^cannot read the per-image values in runs/a-b_photos-64\.parquet \(.+\); measure again"
    ) as caught:
        command(*arguments)
    assert "\n" not in str(caught.value)
    assert command("compare")[0] == 0
    assert command("report", "--images", "0", "runs")[0] == 0
    page = (runs / "report.html").read_text()
    assert "cannot read the per-image values in a-b_photos-64.parquet" in page


def test_nothing_here_imports_torch(runs):
    script = (
        "import sys, typer\nfrom tokbench.commands import compare as c\napp = typer.Typer()\n"
        "for f in (c.compare, c.plot, c.diff): app.command()(f)\n"
        "for line in ('compare --bold --published', 'diff runs later'):\n"
        "    app(line.split(), standalone_mode=False)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=runs, check=False)
    assert done.stdout.splitlines()[-1] == "False", done.stderr


@pytest.mark.parametrize("beside_runs", [False, True])
def test_records_of_probes_are_shown_alone_and_beside_runs(command, runs, make_probe, beside_runs):
    path = write_probe_record(make_probe(), {}, runs / ("runs" if beside_runs else "probes"))
    for place in (path, path.parent):
        status, out, _ = command("compare", place, "--format", "md")
        assert status == 0
        assert "**probe small v1 on photos-64" in out
        assert ("| a/b |" in out) is (beside_runs and place != path)
        assert command("report", place, "-o", "page.html", "--images", "0")[0] == 0
        assert 'id="learnability"' in (runs / "page.html").read_text()
    with pytest.raises(TokbenchError, match=r"\.json is the record of a probe, not of a run; tokbench compare and tokbench report show it"):
        command("diff", path, path)
    (runs / "empty").mkdir()
    with pytest.raises(TokbenchError, match=r"no records in .*empty"):
        command("report", runs / "empty")


def test_report_says_what_the_page_will_lack(make_record, report_cli, tmp_path):
    from tokbench.records.store import write_record

    first, second = make_record("vqgan/tiny"), make_record("own/thing", seed=1)
    write_record(first.record, first.rows, tmp_path / "runs")
    write_record(second.record, {}, tmp_path / "runs")
    said = report_cli("runs", "--images", "0")
    assert "no pictures: --images 0 asks for none" in said
    assert "no per-image values, so no distributions and few tests, of own/thing" in said
    assert "there are no records of tokbench probe" in said
    assert "no pictures of " in report_cli("runs", "--images", "2")


def test_a_record_measured_again_adds_no_row_and_another_figure_does(make_record, tokbench_cli, tmp_path):
    import json
    from dataclasses import replace

    from tokbench.records.store import write_record

    made = make_record("vqgan/tiny")
    again = replace(made.record, created="2027-01-01T00:00:00+00:00")
    other = replace(made.record, metrics=made.record.metrics | {"psnr": replace(made.record.metrics["psnr"], value=99.0)})
    fewer = replace(again, metrics={"psnr": made.record.metrics["psnr"]})
    for records, rows, words in (
        ([made.record, again], 1, "left out 1 record whose figures a newer one"),
        ([made.record, again, other], 2, "left out 1 record"),
        ([made.record, fewer], 2, ""),
        ([fewer, replace(again, created="2028-01-01T00:00:00+00:00")], 1, "left out 1 record"),
    ):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for record in records:
            write_record(record, made.rows, folder)
        _, out, err = tokbench_cli("compare", folder, "--format", "json")
        (table,) = json.loads(out)
        assert len({row["tokenizer"] for row in table["rows"]}) == len(table["rows"]) == rows
        assert words in err


def test_tables_say_what_groups_are_and_how_many_images_were_enlarged(make_record):
    from dataclasses import replace

    from tokbench.report.table import GROUPS_NOTE, make_tables

    record = make_record("a/b").record
    (table,) = make_tables([replace(record, data=replace(record.data, enlarged=3))])
    assert GROUPS_NOTE in table.notes
    assert "3 images were smaller than the protocol's size, and enlarged to it" in table.notes
    (table,) = make_tables([replace(record, data=replace(record.data, groups=record.data.count))])
    assert GROUPS_NOTE not in table.notes
