"""A whole probe: what it finds, twice the same, on disk and back, and gone on with."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tokbench.errors import TokbenchError
from tokbench.feed.probe.codecs import file_bits
from tokbench.feed.probe.parts import Parts, split
from tokbench.feed.probe.run import ProbeOptions, ProbeResult, probe
from tokbench.feed.probe.saved import ProbeForm, load_probe, read_probe_form, save_probe
from tokbench.feed.probe.sequences import Sequences
from tokbench.feed.probe.tokens import export_tokens
from tokbench.feed.probe.training import make_optimizer, measure_bits, train_step
from tokbench.records.probe_record import ProbeRecord, probe_record_from_dict
from tokbench.records.probe_store import find_probe_records, write_probe_record
from tokbench.records.read import read
from tokbench.records.store import find_records, read_rows
from tokbench.weights.training import DIGITS, TrainingSet


@pytest.fixture(scope="module")
def parts(ramps) -> Parts:
    return Parts(ramps(120), ramps(30, first=201, name="other ramps"))


@pytest.fixture(scope="module")
def made(parts, blocks, small, budget, tmp_path_factory) -> ProbeResult:
    return probe(blocks(codebooks=2, axes=1), parts, tmp_path_factory.mktemp("probe"), protocol=small, budget=budget)


def value(record: ProbeRecord, name: str) -> float:
    return record.figures[name].value


def without_times(record: ProbeRecord) -> dict:
    values = json.loads(record.to_json())
    del values["timing"]["train_seconds"], values["timing"]["total_seconds"], values["created"]
    return values


def test_a_probe_learns_and_its_figures_hang_together(made: ProbeResult) -> None:
    record = made.record
    assert value(record, "uniform_bits_per_image") == pytest.approx(16 * (np.log2(12) + np.log2(14)))
    assert value(record, "bits_per_image") < 0.8 * value(record, "unigram_bits_per_image")
    assert value(record, "ngram_bits_per_image") < value(record, "unigram_bits_per_image")
    assert value(record, "entropy_bits_per_image") <= value(record, "unigram_bits_per_image")
    assert record.figures["entropy_bits_per_image"].interval.method == "jackknife of 10 groups in 10 folds"
    without = [name for name, figure in record.figures.items() if figure.value is not None and figure.interval is None]
    assert without == ["uniform_bits_per_image"]
    assert value(record, "bits_per_token") == pytest.approx(value(record, "bits_per_image") / 32)
    assert value(record, "bits_per_pixel") == pytest.approx(value(record, "bits_per_image") / 64)
    assert sum(record.by_position) == pytest.approx(value(record, "bits_per_image"))
    assert sum(record.figures["bits_per_image"].by_codebook) * 16 == pytest.approx(value(record, "bits_per_image"))
    assert record.curve[-1].held_out < record.curve[0].held_out
    assert record.coding.decoded
    assert record.coding.images == 30
    assert record.coding.reported_bits_per_image == pytest.approx(value(record, "bits_per_image"))
    assert record.coding.reported_bits_per_image <= record.coding.coded_bits_per_image <= record.coding.reported_bits_per_image + 9
    assert (record.train.count, record.train.groups, record.held_out.count, record.held_out.groups) == (120, 40, 30, 10)
    assert record.condition == "none"
    interval = record.figures["bits_per_image"].interval
    assert interval.low < value(record, "bits_per_image") < interval.high
    assert "10 groups" in interval.method
    assert made.rows["bits_per_image"].keys() == made.rows["psnr"].keys() == {f"{i // 3:03d}/{i % 3}" for i in range(201, 231)}
    assert record.figures["psnr"].reached > 40
    assert value(record, "png_bits_per_image") > value(record, "webp_bits_per_image")


def test_the_gap_is_that_between_images_trained_on_and_held_out(made, parts, blocks, small, tmp_path) -> None:
    record = made.record
    trained = export_tokens(blocks(codebooks=2, axes=1), parts.train, tmp_path / "tokens", protocol=small)
    rows = [number * 120 // 30 for number in range(30)]
    bits = measure_bits(made.model, Sequences(trained.dataset, made.vocabulary, "none"), rows, batch_size=1)
    np.testing.assert_allclose(record.train_by_position, bits.reshape(30, 16, 2).sum(axis=2).mean(axis=0), rtol=1e-4)
    gap = record.figures["gap_bits_per_image"]
    assert gap.value == pytest.approx(sum(record.by_position) - sum(record.train_by_position), rel=1e-4)
    assert gap.interval.low < gap.value < gap.interval.high
    assert gap.settings["images_trained_on"] == 30
    assert gap.value == pytest.approx(value(record, "bits_per_image") - gap.settings["bits_per_image_trained_on"])


def test_two_runs_are_equal_and_another_seed_is_not(made, parts, blocks, small, budget, tmp_path) -> None:
    again = probe(blocks(codebooks=2, axes=1), parts, tmp_path / "elsewhere", protocol=small, budget=budget)
    assert without_times(again.record) == without_times(made.record)
    assert again.rows == made.rows
    for one, other in zip(again.model.parameters(), made.model.parameters(), strict=True):
        assert torch.equal(one, other)
    other = probe(blocks(codebooks=2, axes=1), parts, tmp_path / "tokens", protocol=small, budget=replace(budget, seed=1))
    assert value(other.record, "bits_per_image") != value(made.record, "bits_per_image")
    assert other.record.train == made.record.train


def test_conditions_mirror_images_and_bf16(ramps, blocks, small, budget, tmp_path) -> None:
    described = Parts(ramps(40, described=True), ramps(12, first=42, name="other ramps", described=True))
    changed = replace(budget, images_seen=40, augment="flip", condition="label", precision="bf16")
    found = probe(blocks(), described, tmp_path, protocol=small, budget=changed, options=ProbeOptions(coded_images=5))
    assert found.record.condition == "label"
    assert found.record.train.count == 80
    assert found.record.coding.images == 5
    assert found.record.coding.decoded
    assert set(found.texts) == {"", "slow", "fast", "very fast"}
    assert found.record.figures["bits_per_image"].by_codebook is None


def test_records_come_back_and_are_not_mixed_with_those_of_runs(made: ProbeResult, tmp_path: Path) -> None:
    first, second = (write_probe_record(made.record, made.rows, tmp_path / "records") for _ in range(2))
    assert first.name == "tests-blocks+codebooks=2+axes=1_probe-tests_photos-64+data=other-ramps+size=8.json"
    assert second.name == "tests-blocks+codebooks=2+axes=1_probe-tests_photos-64+data=other-ramps+size=8_2.json"
    back = read(first)
    assert isinstance(back, ProbeRecord)
    assert back.to_json() == made.record.to_json()
    by_position = {name: getattr(made.record, name) for name in ("by_position", "train_by_position")}
    assert replace(back, **by_position) == made.record
    np.testing.assert_allclose(back.train_by_position, made.record.train_by_position, atol=1e-4)
    np.testing.assert_allclose(back.by_position, made.record.by_position, atol=1e-4)
    assert read_rows(first)["bits_per_image"] == made.rows["bits_per_image"]
    assert [path for path, _ in find_probe_records([tmp_path / "records"])] == [first, second]
    with pytest.raises(TokbenchError, match="no records in"):
        find_records([tmp_path / "records"])


def test_files_that_are_no_records_are_named(made: ProbeResult, tmp_path: Path) -> None:
    values = json.loads(made.record.to_json())
    for wrong, problem in (
        ({**values, "schema": 2}, "has schema 2, this tokbench reads up to 1"),
        ({**values, "kind": "run"}, "is not the record of a probe"),
        ({**values, "probe": {**values["probe"], "heads": 0}}, "heads must be at least 1"),
        ({key: item for key, item in values.items() if key != "curve"}, "curve"),
        ([], "is not the record of a probe"),
    ):
        with pytest.raises(TokbenchError, match=problem):
            probe_record_from_dict(wrong, origin="it")
    with pytest.raises(TokbenchError, match="no record at"):
        read(tmp_path / "nowhere.json")
    (tmp_path / "cut.json").write_text(made.record.to_json()[:-20])
    with pytest.raises(TokbenchError, match=r"cut\.json is not a readable record"):
        find_probe_records([tmp_path])


def test_a_saved_probe_is_the_same_and_can_be_trained_further(made: ProbeResult, ramps, blocks, small, budget, tmp_path: Path) -> None:
    save_probe(made.model, made.vocabulary, tmp_path / "model")
    model, vocabulary = load_probe(tmp_path / "model")
    assert vocabulary == made.vocabulary
    assert model.generation_config.eos_token_id == vocabulary.special.eos
    held_out = export_tokens(blocks(codebooks=2, axes=1), ramps(30, first=201), tmp_path / "more", protocol=small)
    sequences = Sequences(held_out.dataset, vocabulary, "none")
    bits = measure_bits(model, sequences, range(30), batch_size=8)
    np.testing.assert_array_equal(bits.sum(axis=1, dtype=np.float64), list(made.rows["bits_per_image"].values()))

    more = Sequences(
        export_tokens(blocks(codebooks=2, axes=1), ramps(96, first=300), tmp_path / "more", protocol=small).dataset, vocabulary, "none"
    )
    model.train()
    optimizer = make_optimizer(model, budget)
    for start in range(0, 96, 8):
        train_step(model, optimizer, more, range(start, start + 8), budget)
    assert measure_bits(model.eval(), sequences, range(30), batch_size=8).mean() < bits.mean()


def test_a_saved_probe_says_on_what_grid_it_is(made: ProbeResult, tmp_path: Path) -> None:
    save_probe(made.model, made.vocabulary, str(tmp_path / "plain"))
    load_probe(str(tmp_path / "plain"))  # as older versions wrote it
    with pytest.raises(TokbenchError, match=r"has no probe\.json; grid and condition are in the record beside it"):
        read_probe_form(tmp_path / "plain")
    form = ProbeForm(made.record.tokens.grid, (8, 8), "none")
    save_probe(made.model, made.vocabulary, tmp_path / "model", form=form)
    assert read_probe_form(str(tmp_path / "model")) == form
    load_probe(tmp_path / "model")
    save_probe(made.model, made.vocabulary, tmp_path / "model", form=ProbeForm((4, 4), (8, 8)))
    with pytest.raises(TokbenchError, match=r"has the grid \(4, 4\) for a vocabulary of 1 axes; make the probe again"):
        load_probe(tmp_path / "model")
    for text in ("{", "[]", '{"grid": [4]}', '{"grid": [0], "image_size": [8, 8], "condition": "none"}'):
        (tmp_path / "model" / "probe.json").write_text(text)
        with pytest.raises(TokbenchError, match=r"probe\.json is damaged"):
            read_probe_form(tmp_path / "model")


@pytest.mark.usefixtures("unchecked_types")
def test_forms_that_cannot_be_are_refused() -> None:
    for grid, size, condition in [((0,), (8, 8), "none"), ((2, 2, 2), (8, 8), "none"), ((4,), (8,), "none"), ((4,), (8, 8), "size")]:
        with pytest.raises(ValueError, match="got"):
            ProbeForm(grid, size, condition)


def test_a_condition_the_data_do_not_offer_is_refused_before_anything_is_encoded(ramps, blocks, small, budget, tmp_path: Path) -> None:
    for condition, parts, name in (
        ("label", Parts(ramps(30), ramps(20, first=42, name="other ramps")), "ramps"),
        ("caption", Parts(ramps(30, described=True), ramps(20, first=42, name="other ramps")), "other ramps"),
    ):
        changed = replace(budget, condition=condition)
        with pytest.raises(TokbenchError, match=f"^{name} has no {condition}s; choose another --condition"):
            probe(blocks(), parts, tmp_path / "tokens", protocol=small, budget=changed)
    assert not (tmp_path / "tokens").exists()


def test_folders_without_a_probe_are_named(made: ProbeResult, tmp_path: Path) -> None:
    with pytest.raises(TokbenchError, match="holds no probe"):
        load_probe(tmp_path / "nowhere")
    save_probe(made.model, made.vocabulary, tmp_path / "model")
    config, weights = tmp_path / "model" / "config.json", tmp_path / "model" / "model.safetensors"
    whole = config.read_text()
    for text, problem in (
        ("{}", "num_hidden_layers is null, not a whole number"),
        ("[]", "holds no probe"),
        ("{", "holds no probe"),
        (None, "no probe"),
    ):
        if text is None:
            config.unlink()
        else:
            config.write_text(text)
        with pytest.raises(TokbenchError, match=problem):
            load_probe(tmp_path / "model")
    config.write_text(whole)
    weights.unlink()
    with pytest.raises(TokbenchError, match="holds no probe"):
        load_probe(tmp_path / "model")


def test_data_held_out_must_not_be_trained_on(ramps, blocks, small, budget, tmp_path: Path) -> None:
    with pytest.raises(TokbenchError, match="9 images of other ramps are trained on and held out"):
        probe(blocks(), Parts(ramps(30), ramps(20, first=21, name="other ramps")), tmp_path, protocol=small, budget=budget)


def test_latents_have_no_bits(ramps, small, budget, tmp_path: Path) -> None:
    import tokbench

    with pytest.raises(TokbenchError, match="vae/tiny makes continuous latents; a probe predicts codes"):
        probe(tokbench.load("vae/tiny"), Parts(ramps(3), ramps(3, first=3)), tmp_path, protocol=small, budget=budget)


def test_bits_of_files_are_those_of_whole_files(tmp_path: Path) -> None:
    from PIL import Image

    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, size=(2, 3, 9, 9), dtype=np.uint8))
    for codec in ("png", "webp"):
        bits = file_bits(images, codec)
        for pixels, found in zip(images.permute(0, 2, 3, 1).numpy(), bits, strict=True):
            path = tmp_path / f"it.{codec}"
            Image.fromarray(pixels).save(path, lossless=True, quality=100, method=6, optimize=True)
            assert found == 8 * path.stat().st_size
            np.testing.assert_array_equal(np.asarray(Image.open(path).convert("RGB")), pixels)
    with pytest.raises(ValueError, match="codecs are png, webp"):
        file_bits(images, "gif")


def test_a_probe_says_whether_the_tokenizer_was_trained_on_the_held_out_images(
    made, ramps, blocks, small, budget, tmp_path, monkeypatch
) -> None:
    assert made.record.trained_on is None  # nothing is known of its training
    monkeypatch.setattr(ramps, "raw_digest", lambda self, index: hashlib.sha256(f"{self.first + index}".encode()).digest())
    quick = replace(budget, images_seen=8, curve_points=1)
    halves = split(ramps(60), share=0.3, seed=0)

    def trained_on(*used: str, sets: tuple[TrainingSet, ...] = ()) -> bool | None:
        tokenizer = blocks()
        tokenizer.trained_with, tokenizer.training_sets = used, sets
        return probe(tokenizer, halves, tmp_path, protocol=small, budget=quick, options=ProbeOptions(coded_images=1)).record.trained_on

    assert trained_on() is False
    assert trained_on("data:ramps") is True  # the data set whose part is held out
    own = tuple(halves.held_out.raw_digest(index).hex()[:DIGITS] for index in range(2))
    other = tuple(halves.train.raw_digest(index).hex()[:DIGITS] for index in range(2))
    assert trained_on("data:elsewhere", sets=(TrainingSet("elsewhere", 2, "0" * 64, own),)) is True
    assert trained_on("data:elsewhere", sets=(TrainingSet("elsewhere", 2, "0" * 64, other),)) is False  # the probe's training images
