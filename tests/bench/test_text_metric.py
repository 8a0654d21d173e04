"""Text survival: what is read off reconstructions, against the typed text."""

from __future__ import annotations

import random
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from tokbench.bench import reader as reader_module
from tokbench.bench.context import MetricContext
from tokbench.bench.metrics.text import TextAccuracy, edit_distance, normalised_similarity
from tokbench.bench.reader import open_reader
from tokbench.bench.runner import RunOptions, run
from tokbench.data.text import TextImages, TypedLine
from tokbench.errors import TokbenchError
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers.zoo import load

BLURS = (0, 2, 5)
SHOWN = slice(0, 128, 20)


@pytest.fixture(scope="module")
def pages():
    return TextImages(64)


@pytest.fixture(scope="module")
def pictures(pages):
    return dict(zip(pages.ids[SHOWN], map(pages.read, range(128)[SHOWN]), strict=True))


@pytest.fixture
def build(pages):
    pytest.importorskip("onnxruntime", reason="text is read with the extra ocr")
    return lambda source=pages: TextAccuracy.create(MetricContext(torch.device("cpu"), micro_batch=8, source=source))


def as_bytes(pictures):
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).permute(0, 3, 1, 2).contiguous()


def test_edit_distance_is_that_of_the_definition():
    @cache
    def slow(a, b):
        if not a or not b:
            return len(a) + len(b)
        return min(slow(a[1:], b) + 1, slow(a, b[1:]) + 1, slow(a[1:], b[1:]) + (a[0] != b[0]))

    rng = random.Random(0)
    pairs = [tuple("".join(rng.choices("abA", k=rng.randrange(8))) for _ in range(2)) for _ in range(300)]
    assert [edit_distance(a, b) for a, b in pairs] == [slow(a, b) for a, b in pairs]
    assert edit_distance("kitten", "sitting") == 3


@pytest.mark.parametrize(
    ("before", "after", "wanted"),
    [
        (["kitten"], ["sitting"], 1 - 3 / 7),
        (["abc", "de"], ["abc", ""], 1 - 2 / 5),
        (["ab", ""], ["ab", "xyz"], 1 - 3 / 5),
        (["Ab"], ["aB"], 0.0),
        (["", ""], ["", ""], 1.0),
        ([], [], 1.0),
    ],
)
def test_similarity_is_edits_over_the_longer_strings(before, after, wanted):
    assert normalised_similarity(before, after) == normalised_similarity(after, before) == pytest.approx(wanted, abs=1e-15)


def test_blur_costs_characters(build, pictures, observe):
    values = []
    for radius in BLURS:
        metric = build()
        blurred = [picture.filter(ImageFilter.GaussianBlur(radius)) if radius else picture for picture in pictures.values()]
        metric.update(observe(as_bytes(pictures.values()), as_bytes(blurred), list(pictures)))
        values.append(metric.compute())
    accuracies = [value["text_accuracy"] for value in values]
    originals = {value["text_accuracy_original"] for value in values}
    assert originals == {accuracies[0]}
    assert accuracies[0] > 0.98
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[BLURS.index(5)] < accuracies[0] - 0.5
    neds = [value["text_ned"] for value in values]
    assert neds[0] == 1.0
    assert neds == sorted(neds, reverse=True)
    assert neds[-1] < 0.5


def test_the_typed_text_decides_and_case_counts(build, pages, pictures, observe):
    pictures = dict(list(pictures.items())[::2])
    images = as_bytes(pictures.values())
    right, swapped, wrong = build(), build(), build()
    swapped._typed = {name: tuple(TypedLine(text.swapcase(), box) for text, box in lines) for name, lines in right._typed.items()}
    wrong._typed = {name: tuple(TypedLine("~~~~", box) for _, box in lines) for name, lines in right._typed.items()}
    for metric in (right, swapped, wrong):
        metric.update(observe(images, images, list(pictures)))
        assert metric.compute()["text_ned"] == 1.0  # whatever was typed
    letters = [character for name in pictures for line in right._typed[name] for character in line.text if not character.isspace()]
    share = sum(character.isalpha() for character in letters) / len(letters)
    assert swapped.compute()["text_accuracy"] == pytest.approx(1 - share, abs=0.15)
    assert wrong.compute()["text_accuracy"] == 0.0
    assert wrong.rows()["text_accuracy"] == dict.fromkeys(pictures, 0.0)


def test_nothing_is_read_where_nothing_stands(build, observe, pages):
    metric = build()
    blank = torch.full((1, 3, 64, 64), 200, dtype=torch.uint8)
    metric.update(observe(as_bytes([pages.read(5)]), blank, [pages.ids[5]]))
    assert metric.rows()["text_accuracy"] == {pages.ids[5]: 0.0}
    assert metric.rows()["text_accuracy_original"][pages.ids[5]] > 0.9
    assert tuple(metric.report()) == metric.figure_names()
    assert metric.rows()["text_ned"] == {pages.ids[5]: 0.0}
    assert [info.higher_is_better for info in metric.figures] == [True, True, None]
    assert {info.unit for info in metric.figures} == {"share of characters"}


def test_the_reader_reads_what_its_package_reads(build, pages):
    package = pytest.importorskip("rapidocr_onnxruntime.ch_ppocr_rec", reason="this package needs Python below 3.13")
    mine = open_reader()
    config = {
        "model_path": str(reader_module._model_path()),
        "rec_batch_num": 1,
        "rec_img_shape": [3, 48, 320],
        "intra_op_num_threads": 1,
        "inter_op_num_threads": 1,
        "use_cuda": False,
        "use_dml": False,
    }
    theirs = package.TextRecognizer(config)
    same = 0
    for index in range(0, 128, 16):
        pixels = np.asarray(pages.read(index))
        _, (left, top, right, bottom) = pages.lines(index)[0]
        line = pixels[top:bottom, left:right]
        same += mine.read(line) == theirs(line[:, :, ::-1])[0][0][0].replace(" ", "")
    assert same >= 7  # of 8: they scale with another filter


def test_lines_wider_than_the_network_are_read_whole(build):
    from tokbench.data.glyphs import draw_text

    drawn = draw_text("harvest gallery pattern kitchen", "sans", 20)
    line = np.repeat(255 - np.asarray(drawn)[:, :, None], 3, axis=2)
    assert line.shape[1] * 48 / line.shape[0] > 320
    assert edit_distance(open_reader().read(line), "harvestgallerypatternkitchen") <= 1
    assert open_reader().read(line[:, :1]) == ""


def test_a_run_records_all_figures_or_the_reason(build):
    protocol = get_protocol(changes={"samples": 12})
    result = run(load("pixel/rgb"), "text", metrics=("text_accuracy",), protocol=protocol, options=RunOptions(cache=False))
    figures = result.record.metrics
    assert result.record.data.count == 12
    assert figures["text_accuracy"].value == figures["text_accuracy_original"].value > 0.99
    assert figures["text_ned"].value == 1.0
    assert figures["text_accuracy"].interval is not None
    assert figures["text_accuracy"].settings["weights_sha256"] == reader_module.READER_SHA256
    assert result.rows["text_accuracy"] == result.rows["text_accuracy_original"]


def test_data_without_typed_text_give_a_reason(folder):
    figures = run(load("pixel/rgb"), folder, metrics=("text_accuracy",), options=RunOptions(cache=False)).record.metrics
    assert set(figures) == {"text_accuracy", "text_ned", "text_accuracy_original"}
    assert {figure.reason for figure in figures.values()} == {"nothing says what is written in these images; --data text does"}


def test_a_missing_extra_gives_a_reason(monkeypatch, pages):
    expected = r"reading text needs the package {}, which is not installed; install it with: pip install 'tokbench\[ocr\]'"
    context = MetricContext(torch.device("cpu"), micro_batch=8, source=pages)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(TokbenchError, match=expected.format("onnxruntime")):
        TextAccuracy.create(context)
    monkeypatch.undo()
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(reader_module, "PLACES", (("no_such_package", "a.onnx"), ("nor_this_one", "a.onnx")))
    with pytest.raises(TokbenchError, match=expected.format("rapidocr-onnxruntime")):
        TextAccuracy.create(context)


@pytest.mark.parametrize("name", ["ch_PP-OCRv4_rec_infer.onnx", "ch_PP-OCRv4_rec_mobile.onnx"])
def test_either_package_may_bring_the_network(build, monkeypatch, tmp_path, name):
    models = tmp_path / "rapidocr" / "models"
    models.mkdir(parents=True)
    (models.parent / "__init__.py").write_text("raise AssertionError('only its file is wanted')")
    (models / name).write_bytes(reader_module._model_path().read_bytes())
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(reader_module, "PLACES", [place for place in reader_module.PLACES if place[0] == "rapidocr"])
    assert reader_module._model_path() == models / name
    assert open_reader().settings["weights_sha256"] == reader_module.READER_SHA256
    (models / name).rename(models / "PP-OCRv6_rec_small.onnx")
    with pytest.raises(TokbenchError, match=r"^rapidocr as installed brings no PP-OCRv4 recognition network; run: pip install "):
        open_reader()


def test_another_network_is_refused(monkeypatch, tmp_path):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(reader_module, "_model_path", lambda: Path(tmp_path / "other.onnx"))
    (tmp_path / "other.onnx").write_bytes(b"another")
    with pytest.raises(TokbenchError, match=r"other\.onnx has SHA-256 [0-9a-f]{12}, expected 48fc40f24f6d; run: pip install"):
        open_reader()


def test_two_instances_merge_with_their_own_kind_only(build, pages, observe):
    from tokbench.bench.metrics.psnr import PSNR

    with pytest.raises(ValueError, match="TextAccuracy merges with its own kind only"):
        build().merge_state(PSNR())
    with pytest.raises(ValueError, match="text accuracy needs a source with typed text"):
        build(None).update(observe(*[as_bytes([Image.new("RGB", (64, 64))])] * 2))
