"""The commands that draw, edit, complete and describe: what they write, and one line for what they do not take."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tokbench.lm import shipped
from tokbench.lm.image_model import ImageModel
from tokbench.lm.model import LanguageModel
from tokbench.lm.prompts import read_prompts

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tiny: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("lm") / "model"
    tiny.save(place)
    return place


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(256, size=(16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "scene.png")
    return tmp_path / "scene.png"


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def grid(columns: int, rows: int, side: int = 16, enlarge: int = 2, gap: int = 4) -> tuple[int, int]:
    return gap + columns * (side * enlarge + gap), gap + rows * (side * enlarge + gap)


def test_generate_writes_a_grid(tokbench_cli: Cli, folder: Path, tmp_path: Path) -> None:
    status, out, log = tokbench_cli("lm", "generate", "a red circle", "-n", 10, "-o", "grid.png", "--model", folder, "--seed", 3)
    assert (status, out, log.strip()) == (0, "", "wrote grid.png")
    assert size_of(tmp_path / "grid.png") == grid(8, 2)
    first = (tmp_path / "grid.png").read_bytes()
    assert tokbench_cli("lm", "generate", "a red circle", "-n", 10, "--model", folder, "--seed", 3, "--batch-size", 4)[0] == 0
    assert (tmp_path / "grid.png").read_bytes() == first
    assert tokbench_cli("lm", "generate", "a red circle", "-n", 10, "--model", folder, "--seed", 4)[0] == 0
    assert (tmp_path / "grid.png").read_bytes() != first


def test_what_is_drawn_is_what_python_draws(tokbench_cli: Cli, folder: Path, tmp_path: Path) -> None:
    options = ("--top-k", 20, "--top-p", 0.9, "--temperature", 0.7, "--guidance", 2)
    assert tokbench_cli("lm", "generate", "red", "-o", "one.png", "--enlarge", 1, "--model", folder, *options)[0] == 0
    from tokbench.lm import SamplingOptions

    drawn = ImageModel.load(folder).generate(["red"], options=SamplingOptions(0.7, 20, 0.9, 2.0))
    with Image.open(tmp_path / "one.png") as picture:
        assert np.array_equal(np.asarray(picture), drawn[0].permute(1, 2, 0).numpy())


def test_a_prompt_is_a_line_and_no_less(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_bytes("\ufeffa red\u2028circle\r\n\r\n\x85a\x0bsquare \rlast\n".encode())
    assert read_prompts(tmp_path / "prompts.txt") == ["a red\u2028circle", "a\x0bsquare", "last"]


def test_prompts_from_a_file_have_a_row_each(tokbench_cli: Cli, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("\ufeffa red circle\r\n\n  a blue square \n", encoding="utf-8")
    assert tokbench_cli("lm", "generate", "--prompts", "prompts.txt", "-n", 3, "-o", "out.webp", "--model", folder)[0] == 0
    assert size_of(tmp_path / "out.webp") == grid(3, 2)
    assert tokbench_cli("lm", "generate", "a red circle", "a blue square", "-n", 3, "-o", "same.webp", "--model", folder)[0] == 0
    assert (tmp_path / "same.webp").read_bytes() == (tmp_path / "out.webp").read_bytes()


def test_edit_shows_before_and_after(tokbench_cli: Cli, folder: Path, scene: Path, tmp_path: Path) -> None:
    status, _, log = tokbench_cli("lm", "edit", scene, "make the circle green", "-o", "out.png", "--enlarge", 1, "--model", folder)
    assert status == 0, log
    assert size_of(tmp_path / "out.png") == grid(2, 1, enlarge=1)
    with Image.open(tmp_path / "out.png") as picture, Image.open(scene) as before:
        assert np.array_equal(np.asarray(picture)[4:20, 4:20], np.asarray(before))
    assert tokbench_cli("lm", "edit", scene, scene, "like the first image", "-n", 2, "-o", "two.png", "--model", folder)[0] == 0
    assert size_of(tmp_path / "two.png") == grid(4, 1)


def test_complete_has_a_row_an_image(tokbench_cli: Cli, folder: Path, scene: Path, tmp_path: Path) -> None:
    assert tokbench_cli("lm", "complete", scene, scene, "-n", 3, "--text", "red", "-o", "out.png", "--model", folder)[0] == 0
    assert size_of(tmp_path / "out.png") == grid(4, 2)


def test_describe_prints_a_line_an_image(tokbench_cli: Cli, folder: Path, scene: Path) -> None:
    status, out, log = tokbench_cli("lm", "describe", scene, scene, "--model", folder, "--temperature", 1)
    assert (status, log) == (0, "")
    assert len(out.splitlines()) == 2
    assert out.isprintable() or set(out) - {"\n"} == {letter for letter in out if letter.isprintable()}


def test_other_sizes_are_taken_where_they_are_asked_to_be(tokbench_cli: Cli, folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "wide.png")
    status, _, log = tokbench_cli("lm", "describe", "wide.png", "--model", folder)
    assert status == 2
    assert log == "tokbench: wide.png is 30x40 px, 16x16 are taken; scale it, or take its centre with --resize\n"
    assert tokbench_cli("lm", "describe", "wide.png", "--resize", "--model", folder)[0] == 0


BAD = [
    (("generate",), "give prompts in words or a file of them with --prompts, one of both"),
    (("generate", "red", "--prompts", "p.txt"), "give prompts in words or a file of them with --prompts, one of both"),
    (("generate", "--prompts", "missing.txt"), "missing.txt cannot be read (No such file or directory); give a text file"),
    (("generate", "--prompts", "empty.txt"), "empty.txt holds no prompts; write one in each line"),
    (("generate", "--prompts", "bytes.txt"), "bytes.txt is not UTF-8 (byte 1); give a text file with a prompt in each line"),
    (("generate", "red", "-o", "grid.gif"), "--output 'grid.gif' must end in .png, .webp, .jpg, .jpeg"),
    (("generate", "red", "-n", "20000", "-o", "grid.webp"), "grid.webp would have 90,004x292 px, WEBP takes 16,383 a side; choose fewer"),
    (("generate", "red", "-n", "20000", "-o", "grid.jpg"), "JPEG takes 65,500 a side; choose fewer images, a smaller --enlarge, or .png"),
    (("generate", "red", "-n", "90000"), "more than the 100,000,000 that a picture may have; choose fewer images, a smaller --enlarge"),
    (("complete", "scene.png", "-n", "4000", "-o", "grid.webp"), "grid.webp would have 40x144,040 px, WEBP takes 16,383 a side"),
    (("edit", "scene.png", "make it red", "-n", "200000"), "more than the 100,000,000 that a picture may have"),
    (("generate", "red", "-n", "0"), "--count takes a whole number of at least 1, got '0'"),
    (("generate", "red", "--temperature", "-1"), "temperature must be 0 or more, got -1; see --help"),
    (("generate", "red", "--top-p", "0"), "top-p must be above 0 and at most 1, got 0; see --help"),
    (("generate", "red", "--precision", "fp16"), "unknown --precision 'fp16'"),
    (("generate", "red", "-t", "vqvae"), "does not go with the tokenizer: the codes are those of patch/kmeans-1024, and vqvae/tiny is"),
    (("generate", "red", "--set", "a=1"), "--weights and --set belong to a tokenizer; give it with -t"),
    (("generate", "red" * 400), "is longer than the 512 ids that the model takes; shorten the prompt"),
    (("generate", "red", "--device", "nowhere"), "device 'nowhere' cannot be used here"),
    (("edit", "make it red"), "edit takes one or two images and then the instruction, got 0 images before 'make it red'"),
    (("edit", "a.png", "b.png", "c.png", "red"), "got 3 images before 'red'"),
    (("edit", "missing.png", "make it red"), "missing.png is not a readable image"),
    (("describe", "empty.txt"), "empty.txt is not a readable image"),
    (("describe",), "describe needs IMAGES"),
    (("complete", "photos/test/none"), "the embedded photos come in sizes 32 to 256 px, got 16"),
    (("draw",), "unknown command 'draw'"),
]


@pytest.mark.usefixtures("scene")
@pytest.mark.parametrize(("words", "message"), BAD, ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "")
def test_mistakes_are_one_line(tokbench_cli: Cli, folder: Path, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "bytes.txt").write_bytes(b"a\xff")
    model = () if words[0] == "draw" else ("--model", str(folder))
    status, out, log = tokbench_cli("lm", *words, *model)
    assert (status, out) == (2, "")
    assert message in log
    assert len(log.splitlines()) == 1
    assert not list(tmp_path.glob("grid*"))


def test_one_image_has_no_frame_so_that_it_can_be_edited(tokbench_cli: Cli, folder: Path, tmp_path: Path) -> None:
    alone, edited = tmp_path / "alone.png", tmp_path / "edited.png"
    model = ("--model", str(folder))
    assert tokbench_cli("lm", "generate", "red", "--enlarge", "1", "-o", str(alone), *model)[0] == 0
    with Image.open(alone) as picture:
        assert picture.size == (16, 16)
    assert tokbench_cli("lm", "edit", str(alone), "make it green", "-o", str(edited), *model)[0] == 0


def test_without_a_model_there_is_one_line(tokbench_cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "none")
    status, _, log = tokbench_cli("lm", "generate", "red")
    assert status == 2
    assert "comes without a model; give the folder of one with --model, or make one with: tokbench lm train" in log
    status, _, log = tokbench_cli("lm", "generate", "red", "--model", "nowhere")
    assert status == 2
    assert "nowhere holds no language model, it has no language_model.json; make one with: tokbench lm train" in log


def test_help_starts_without_heavy_libraries() -> None:
    code = "import sys; sys.argv = ['tokbench', 'lm', 'generate', '--help']\nfrom tokbench.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
