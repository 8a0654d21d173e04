"""What the page says can be had again is had again: pictures, and records by their commands."""

import shlex
from pathlib import Path

import numpy as np
from PIL import Image

from tokbench.records.store import find_records, write_record
from tokbench.report.page.commands import run_command

ROOT = Path(__file__).parents[2]


def test_a_command_makes_its_record_again(tokbench_cli, tmp_path):
    pictures = tmp_path / "some pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(pictures / f"{i}.png")
    np.save(tmp_path / "colours.npy", np.linspace(-1, 1, 30, dtype=np.float32).reshape(10, 3))
    status, _, err = tokbench_cli(
        "run", "-t", "pixel", "--weights", "colours.npy", "--set", "colours=10", "--data", "some pictures", "--size", 32, "--limit", 2,
        "--seed", 5, "--metrics", "psnr,codebook", "--out", "first",
    )  # fmt: skip
    assert status == 0, err
    ((_, record),) = find_records([Path("first")])
    line = run_command(record)
    assert record.tokenizer.weights_sha256 in line
    words = shlex.split(line, comments=True)
    words[words.index("WEIGHTS")] = "colours.npy"
    words[words.index("--out") + 1] = "second"
    status, _, err = tokbench_cli(*words[1:])
    assert status == 0, err
    ((_, again),) = find_records([Path("second")])
    assert (again.metrics, again.protocol, again.data, again.tokenizer) == (record.metrics, record.protocol, record.data, record.tokenizer)


def test_pictures_are_made_again_from_the_records(report_cli, tmp_path):
    from tokbench.bench.runner import run
    from tokbench.records.protocol import get_protocol
    from tokbench.tokenizers.zoo import load

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for i in range(4):
        Image.fromarray(np.kron(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))).save(pictures / f"{i}.png")
    protocol = get_protocol(changes={"size": 32})
    evaluation = run(load("pixel"), str(pictures), metrics=("psnr", "codebook"), protocol=protocol)
    write_record(evaluation.record, evaluation.rows, tmp_path / "runs")
    report_cli("--data", pictures, "--images", 2)
    page = (tmp_path / "report.html").read_text()
    assert page.count('class="image"') == 4  # two in the gallery, two with their tokens
    assert "32 x 32 positions, codebook of 512" in page
    report_cli("--images", 2)
    assert "name them with --data" in (tmp_path / "report.html").read_text()


def test_error_maps_have_the_gain_of_the_grid_and_say_it(make_record, make_pictures):
    from tokbench.report.grid import ERROR_GAIN
    from tokbench.report.page.model import arrange
    from tokbench.report.page.render import Shown, render_page

    assert f"GAIN = {ERROR_GAIN}," in (ROOT / "tokbench/report/page/js/pictures.js").read_text()
    item = make_record("family/a")
    (group,) = arrange([item])
    page = render_page([group], [Shown(*make_pictures(group, sorted(item.rows["psnr"])[:1]))])
    assert f'id="gain" min="1" max="32" value="{ERROR_GAIN}"' in page
    assert f"Error maps: grey is 255 \N{MINUS SIGN} {ERROR_GAIN} \N{MULTIPLICATION SIGN} <i>d</i>" in page
    assert page.count(f'<span class="scale-end">{255 / ERROR_GAIN}</span> and more') == 2
