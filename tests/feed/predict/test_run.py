"""Whole predictions: what is measured, what has a reason, twice the same, on disk and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tokbench.errors import TokbenchError
from tokbench.feed.predict.run import Prediction, predict, select_studies
from tokbench.records.everything import find_everything
from tokbench.records.prediction_figures import BY_KEY, PREDICTION_FIGURES, STUDIES
from tokbench.records.prediction_record import PredictionProtocol, PredictionRecord, get_prediction_protocol, prediction_record_from_dict
from tokbench.records.prediction_store import find_prediction_records, write_prediction_record
from tokbench.records.read import read
from tokbench.records.store import find_records, read_rows
from tokbench.report.page.commands import prediction_command
from tokbench.report.page.render import prediction_section
from tokbench.report.prediction import prediction_tables
from tokbench.report.render import render

QUICK = PredictionProtocol(probabilities=(0.1,), edits=3)


MADE: list[Prediction] = []


@pytest.fixture
def made(pictures, protocol, small_vqvae) -> Prediction:
    """Everything of a small tokenizer with codes, measured once."""
    if not MADE:
        MADE.append(predict(small_vqvae, pictures, protocol=protocol, settings=QUICK))
    return MADE[0]


def test_every_figure_is_there_or_has_a_reason(made: Prediction) -> None:
    record = made.record
    assert set(record.figures) == {info.key for info in PREDICTION_FIGURES}
    reasons = {key: figure.reason for key, figure in record.figures.items() if figure.reason is not None}
    assert reasons == {
        "interpolation_fd": "24 images; a Fréchet distance needs at least 128",
        "sensitivity_fd": "24 images; a Fréchet distance needs at least 128",
        "locality": "scenes come in sizes 32, 64, 128, 256 px, got 16; choose one with --size",
        "locality_whole": "scenes come in sizes 32, 64, 128, 256 px, got 16; choose one with --size",
    }
    for key, figure in record.figures.items():
        if figure.reason is None:
            assert (figure.unit, figure.higher_is_better) == (BY_KEY[key].unit, BY_KEY[key].higher_is_better)
    for key in ("interpolation_kd", "sensitivity_loss", "equivariance_flip", "latent_std", "spectrum_excess", "linear_accuracy"):
        interval = record.figures[key].interval
        assert interval.low <= record.figures[key].value <= interval.high, key
    assert set(record.seconds) >= {*STUDIES, "encoding", "vectors of codes", "products of images", "features of images"}
    assert len(record.channels) == len(record.correlation) == 4
    assert [band.frequency for band in record.spectrum] == list(range(1, 8))
    assert (record.data.count, record.data.groups, record.tokens.grid) == (24, 12, (8, 8))
    assert set(made.rows["sensitivity_loss"]) == {f"{place // 2:02d}/{place % 2}" for place in range(24)}
    assert len(made.rows["linear_accuracy"]) == 23  # one has no class


def test_the_same_again_in_any_order_and_another_seed_is_not(made, pictures, protocol, small_vqvae) -> None:
    turned = type(pictures)(pictures.pixels[::-1], pictures.ids[::-1])
    turned.label = lambda index: pictures.label(23 - index)
    some = ["interpolation", "statistics", "linear"]
    again = predict(small_vqvae, turned, figures=some, protocol=protocol, settings=QUICK)
    assert again.record.figures == {key: made.record.figures[key] for key in again.record.figures}
    assert again.rows == {key: made.rows[key] for key in again.rows}
    other = predict(small_vqvae, pictures, figures=["sensitivity"], protocol=replace(protocol, seed=1), settings=QUICK)
    assert other.record.figures["sensitivity_loss"].value != made.record.figures["sensitivity_loss"].value
    assert set(other.record.figures) == {"sensitivity_fd", "sensitivity_kd", "sensitivity_loss"}


def test_latents_are_measured_too_and_one_study_gives_what_all_give(pictures, protocol, small_vae) -> None:
    several = ["equivariance", "statistics", "spectrum", "linear", "locality"]
    whole = predict(small_vae, pictures, figures=several, protocol=protocol, settings=QUICK)
    part = predict(small_vae, pictures, figures=["latent_std", "equivariance"], protocol=protocol, settings=QUICK)
    assert whole.record.figures["locality"].reason == "latents have no codes to compare"
    assert whole.record.tokens.channels == 3
    assert {key: whole.record.figures[key] for key in part.record.figures} == part.record.figures
    assert "interpolation_kd" not in whole.record.figures


def test_records_come_back(made: Prediction, tmp_path: Path) -> None:
    first, second = (write_prediction_record(made.record, made.rows, tmp_path) for _ in range(2))
    assert first.name.startswith("VQVAE") or "vqvae" in first.name.lower()
    assert "prediction+probabilities=0.1+edits=3_photos-64+" in first.name
    back = read(first)
    assert isinstance(back, PredictionRecord)
    assert back.to_json() == made.record.to_json()
    assert replace(back, correlation=()) == replace(made.record, correlation=())
    assert read_rows(first) == made.rows
    assert [path for path, _ in find_prediction_records([tmp_path])] == sorted([first, second])
    with pytest.raises(TokbenchError, match=r"^no records in .* are of runs, they are of a prediction; tokbench compare"):
        find_records([tmp_path])
    everything = find_everything([tmp_path])
    assert (len(everything.predictions), everything.count) == (2, 2)


def test_a_folder_of_any_name_leaves_the_correlations_where_they_are(made: Prediction) -> None:
    named = replace(made.record, data=replace(made.record.data, name="ROW_0"))
    assert json.loads(named.to_json())["data"]["name"] == "ROW_0"
    assert json.loads(named.to_json())["correlation"] == json.loads(made.record.to_json())["correlation"] != []
    none = json.loads(replace(made.record, correlation=()).to_json())
    assert none["correlation"] == []


def test_files_that_are_no_records_are_named(made: Prediction) -> None:
    values = json.loads(made.record.to_json())
    for wrong, problem in (
        ({**values, "schema": 3}, "has schema 3, this tokbench reads up to 2"),
        ({**values, "kind": "run"}, "is not the record of a prediction; tokbench predict writes them"),
        ({**values, "prediction": {**values["prediction"], "folds": 0}}, "folds must be 2 to 100"),
        ({key: item for key, item in values.items() if key != "seconds"}, "seconds"),
        ([], "is not the record of a prediction"),
    ):
        with pytest.raises(TokbenchError, match=problem):
            prediction_record_from_dict(wrong, origin="it")


def test_tables_the_page_and_the_command(made: Prediction) -> None:
    alone = replace(made.record, data=replace(made.record.data, count=1, groups=1))
    assert f"1 image of {made.record.data.name} (1 group, data " in prediction_tables([alone])[0].title
    tables = prediction_tables([made.record, made.record])
    text = render(tables, "md")
    assert "what may tell of generation, prediction+probabilities=0.1+edits=3 v1 on photos-64" in text
    assert "interpolation FD, sensitivity FD: 24 images; a Fréchet distance needs at least 128" in text
    assert tables[0].columns[-1].title == "seconds"
    assert tables[0].rows[0][1][-1].value == pytest.approx(sum(made.record.seconds.values()))
    assert tables[0].rows[0][0] != tables[0].rows[1][0]
    assert "PSNR dB at 0.1" in text
    written = prediction_tables([made.record], intervals=True)[0]
    assert any(cell.ends for cell in written.rows[0][1])
    section = prediction_section([made.record])
    assert (section.key, section.records) == ("generation", 1)
    assert "spectrum" in section.body
    command = prediction_command(made.record)
    assert command.startswith("tokbench predict -t ")
    assert "--size 16" in command
    assert "--edits 3" in command
    assert "probabilities=[0.1], in Python: tokbench.feed.predict" in command


@pytest.mark.parametrize(
    ("names", "found"),
    [(None, STUDIES), (["spectrum", "latent_std"], ("statistics", "spectrum")), (["locality_whole"], ("locality",))],
)
def test_studies_are_chosen_by_their_names_or_figures(names, found) -> None:
    assert select_studies(names) == found


def test_mistakes_are_named(pictures, protocol, small_vqvae) -> None:
    with pytest.raises(TokbenchError, match=r"^unknown figure 'spectre'; did you mean spectrum"):
        select_studies(["spectre"])
    with pytest.raises(TokbenchError, match=r"^--figures needs some of interpolation, sensitivity"):
        select_studies([])
    with pytest.raises(TokbenchError, match=r"some pictures yields 16 px images, the protocol asks for 32"):
        predict(small_vqvae, pictures, protocol=replace(protocol, size=32))
    with pytest.raises(TokbenchError, match="edits must be 1 to 100000, got 0"):
        get_prediction_protocol({"edits": "0"})
    with pytest.raises(TokbenchError, match="version belongs to the way of measuring"):
        get_prediction_protocol({"version": 2})
    assert get_prediction_protocol({"edits": None}).label == "prediction"


def test_the_command_writes_records_and_statistics(tokbench_cli: Callable, folder: Path, tmp_path: Path) -> None:
    arguments = ("predict", "-t", "vae", "--data", folder, "--size", 32, "--figures", "statistics, spectrum", "--out", tmp_path / "out")
    status, out, err = tokbench_cli(*arguments, "--json")
    assert status == 0, err
    (record,) = json.loads(out)
    assert record["kind"] == "prediction"
    assert record["figures"]["latent_std"]["value"] > 0
    (path,) = (tmp_path / "out").glob("*.json")
    about = json.loads((path.with_suffix("") / "statistics.json").read_text())
    assert about["std"] == [channel["std"] for channel in record["channels"]]
    status, out, err = tokbench_cli("compare", tmp_path / "out")
    assert status == 0, err
    assert "what may tell of generation" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--figures", "beauty"], "unknown figure 'beauty'"),
        (["--edits", "0"], "edits must be 1 to 100000, got 0"),
        (["--limit", "0"], "--limit takes a whole number of at least 1, got '0'"),
        (["--seed", "-1"], "--seed takes a whole number of at least 0, got '-1'"),
        (["-t", "flowmo", "--size", "66"], "--size 64"),
        (["-t", "vqgan", "--drop", "x"], "--weights, --drop and --averages belong to one tokenizer, 2 are given; measure them one by one"),
    ],
)
def test_the_command_refuses(tokbench_cli: Callable, words: list[str], message: str) -> None:
    status, _, err = tokbench_cli("predict", "-t", "vae", *words)
    assert status == 2
    assert message in err


def test_one_that_cannot_be_built_is_named_and_the_others_are_measured(tokbench_cli: Callable, folder: Path, tmp_path: Path) -> None:
    methods = "def __init__(self): 1 / 0", *(f"def {name}(self, *_): ..." for name in ("layout", "_encode", "_decode"))
    (tmp_path / "unbuilt.py").write_text("import tokbench\n\nclass Unbuilt(tokbench.Tokenizer):\n    " + "\n    ".join(methods))
    words = ("--data", folder, "--size", 16, "--figures", "spectrum", "--json")
    status, out, err = tokbench_cli("predict", "-t", "unbuilt:Unbuilt", "-t", "vae", *words)
    assert status == 1
    assert "unbuilt:Unbuilt fails in __init__ (ZeroDivisionError" in err
    assert [record["tokenizer"]["name"] for record in json.loads(out)] == ["vae/tiny"]


def test_what_a_tokenizer_does_wrong_is_named_and_other_figures_are_measured(
    pictures, protocol, small_vqvae, tokbench_cli: Callable, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(tokens):
        raise RuntimeError("no vectors today")

    monkeypatch.setattr(small_vqvae, "embed", crash)
    monkeypatch.setattr(small_vqvae, "decode", lambda tokens, seeds=None: tokens.codes.new_full((len(tokens), 3, 16, 16), 2).float() / 0)
    found = predict(small_vqvae, pictures, protocol=protocol, settings=QUICK)
    vectors, pixels = found.failures
    assert "fails in embed (RuntimeError: no vectors today" in vectors
    assert "decoded infinite pixels of image 00/0" in pixels
    figures = found.record.figures
    assert figures["equivariance_flip"].reason == pixels
    assert figures["interpolation_kd"].reason == figures["latent_std"].reason == vectors
    monkeypatch.setattr("tokbench.tokenizers.zoo.load", lambda *args, **options: small_vqvae)
    status, _, err = tokbench_cli("predict", "-t", "patch", "--data", str(folder), "--size", "16", "--figures", "statistics")
    assert status == 1
    assert f"tokbench: {vectors}; figures that do not need it are in the record" in err


def test_figures_of_images_trained_on_are_marked(made: Prediction, pictures, protocol, small_vqvae) -> None:
    assert made.record.trained_on is None  # nothing is known of its training
    small_vqvae.trained_with = (f"data:{pictures.name}",)
    record = predict(small_vqvae, pictures, protocol=protocol, settings=QUICK, figures=["statistics", "sensitivity"]).record
    assert record.trained_on is True
    assert prediction_record_from_dict(json.loads(record.to_json()), origin="it").trained_on is True
    figures, _, curve = prediction_tables([record])
    for table in (figures, curve):
        assert any(note.startswith("§ measured on images that the tokenizer was trained on: ") for note in table.notes)
        marked = {column.key: cell.mark for (_, cells) in table.rows for column, cell in zip(table.columns, cells, strict=True)}
        assert {mark for key, mark in marked.items() if key != "seconds"} == {"§"}
    assert "§" not in render(prediction_tables([made.record]), "md")
    older = {key: value for key, value in json.loads(record.to_json()).items() if key != "trained_on"} | {"schema": 1}
    assert prediction_record_from_dict(older, origin="it").trained_on is None


def test_two_digests_under_one_name_are_told_apart_and_one_under_two_is_said_to_be_one(made: Prediction) -> None:
    def of(name: str, digest: str) -> PredictionRecord:
        return replace(made.record, tokenizer=replace(made.record.tokenizer, name=name, settings={}, state_sha256=digest * 32))

    (figures, *_) = prediction_tables([of("a/b", "1a"), of("a/b", "2b"), of("c/d", "2b")])
    assert [name for name, _ in figures.rows] == ["a/b weights=1a1a1a1a", "a/b weights=2b2b2b2b", "c/d"]
    assert "a/b and c/d are one tokenizer: the same weights 2b2b2b2b" in figures.notes


def test_marks_of_judges_and_reasons_of_one_image(made: Prediction, pictures, protocol, small_vqvae) -> None:
    judged = replace(made.record.figures["interpolation_kd"], judged_by_training_network=True)
    unknown = replace(judged, judged_by_training_network=None)
    tables = [
        prediction_tables([replace(made.record, figures={**made.record.figures, "interpolation_kd": one})]) for one in (judged, unknown)
    ]
    for table, sign, note in ((tables[0][0], "†", "the network that judges here"), (tables[1][0], "?", "is not known")):
        place = [column.key for column in table.columns].index("interpolation_kd")
        assert table.rows[0][1][place].mark == sign
        assert any(one.startswith(sign) and note in one for one in table.notes)
    alone = predict(small_vqvae, pictures, protocol=replace(protocol, samples=1), settings=QUICK, figures=["sensitivity"]).record
    assert {key: alone.figures[key].reason for key in ("sensitivity_fd", "sensitivity_kd")} == {
        "sensitivity_fd": "1 image; a Fréchet distance needs at least 128",
        "sensitivity_kd": "one image; a kernel distance needs at least 2",
    }
