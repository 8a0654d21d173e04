"""Sequences and the network: bits are those of a slow reading id by id, and know of nothing that comes later."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from tokbench.errors import TokbenchError
from tokbench.feed.parsing import parse
from tokbench.feed.probe.network import code_bits, count_parameters, make_network
from tokbench.feed.probe.sequences import SequenceBatch, choose_condition
from tokbench.feed.probe.training import batches, measure_bits, train
from tokbench.records.probe_protocol import get_probe_protocol

SHAPES = [{"codebooks": 1, "axes": 2}, {"codebooks": 2, "axes": 1}, {"codebooks": 2, "axes": 2}]


@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_bits_are_those_of_every_code_among_its_codebook(sequences_of, network_of, shape) -> None:
    sequences = sequences_of(3, **shape)
    model, vocabulary = network_of(sequences), sequences.vocabulary
    batch = sequences.batch(range(3))
    bits = code_bits(model, batch, vocabulary)
    assert bits.shape == (3, 16 * shape["codebooks"])
    for row in range(3):
        codes = sequences.dataset[row]["codes"].flatten().tolist()
        for number, (place, code) in enumerate(zip(batch.where[row].tolist(), codes, strict=True)):
            book = number % shape["codebooks"]
            start, size = vocabulary.offsets[book], vocabulary.codebook_sizes[book]
            assert batch.ids[row, place] == start + code
            scores = model(batch.ids[row : row + 1, :place]).logits[0, -1, start : start + size].double()
            expected = (scores.logsumexp(0) - scores[code]) / np.log(2)
            assert bits[row, number].item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-4)


@torch.no_grad()
def test_bits_know_nothing_of_what_comes_later(sequences_of, network_of) -> None:
    sequences = sequences_of(2)
    model, batch = network_of(sequences), sequences.batch([0])
    changed = batch.ids.clone()
    place = int(batch.where[0, 9])
    changed[0, place] = sequences.vocabulary.id_of(0, (int(changed[0, place]) - sequences.vocabulary.offsets[0] + 1) % 12)
    first, second = (code_bits(model, SequenceBatch(ids, batch.where), sequences.vocabulary)[0] for ids in (batch.ids, changed))
    torch.testing.assert_close(first[:9], second[:9], rtol=1e-4, atol=1e-4)
    assert (first[9:] != second[9:]).all()


def test_untrained_bits_are_about_uniform(sequences_of, network_of) -> None:
    sequences = sequences_of(20)
    model = network_of(sequences, gain=0.0)
    bits = measure_bits(model, sequences, range(20), batch_size=8)
    np.testing.assert_allclose(bits, np.log2(12), rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_images_bits_do_not_depend_on_its_company(sequences_of, network_of, shape) -> None:
    sequences = sequences_of(20, **shape)
    model = network_of(sequences)
    together = measure_bits(model, sequences, range(20), batch_size=8)
    backwards = measure_bits(model, sequences, range(19, -1, -1), batch_size=8)[::-1]
    np.testing.assert_array_equal(together, backwards)
    np.testing.assert_array_equal(together[[3]], measure_bits(model, sequences, [3], batch_size=8))


def test_only_the_embedding_depends_on_the_tokenizer(sequences_of) -> None:
    budget = get_probe_protocol()
    found = set()
    for shape in SHAPES:
        sequences = sequences_of(1, **shape)
        model = make_network(sequences.vocabulary, budget, length=sequences.length)
        parameters = count_parameters(model)
        assert parameters.embedding == sequences.vocabulary.size * budget.hidden_size
        assert parameters.non_embedding == sum(weight.numel() for name, weight in model.named_parameters() if "embed" not in name)
        found.add(parameters.non_embedding)
    assert len(found) == 1


def test_weights_follow_from_the_seed_and_leave_other_randomness_alone(sequences_of, budget) -> None:
    sequences = sequences_of(1)
    state = torch.get_rng_state()
    first, same, other = (make_network(sequences.vocabulary, replace(budget, seed=seed), length=40).lm_head.weight for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("condition", ["caption", "label"])
def test_texts_stand_before_their_images(sequences_of, network_of, condition) -> None:
    sequences = sequences_of(10, condition=condition)
    batch = sequences.batch(range(10))
    assert sequences.text(0) == ""
    for row in range(10):
        text = sequences.text(row)
        assert text == ("" if row % 5 == 0 else ("ü" * (row % 7) if condition == "caption" else ("slow", "fast", "very fast")[row % 3]))
        *before, image = parse(batch.ids[row], sequences.vocabulary)
        assert before == ([text] if text else [])
        assert torch.equal(image.codes[0], sequences.dataset[row]["codes"])
    bits = measure_bits(network_of(sequences), sequences, range(10), batch_size=4)
    assert np.isfinite(bits).all()


def test_the_condition_is_what_all_data_have(sequences_of) -> None:
    described, plain = sequences_of(6, condition="label").dataset, sequences_of(6).dataset
    assert choose_condition("auto", described, described) == "caption"
    assert choose_condition("auto", described, plain) == "none"
    assert choose_condition("label", described) == "label"
    with pytest.raises(TokbenchError, match="ramps has no captions; choose another --condition"):
        type(sequences_of(2))(plain, sequences_of(2).vocabulary, "caption")


def test_every_epoch_shows_every_image_once(sequences_of, budget) -> None:
    sequences = sequences_of(20)
    rows = [row for batch in batches(sequences, replace(budget, images_seen=50, batch_size=8)) for row in batch]
    assert len(rows) == 50
    assert sorted(rows[:20]) == sorted(rows[20:40]) == list(range(20))
    assert rows[:20] != rows[20:40]
    assert len(set(rows[40:])) == 10


def test_training_keeps_to_the_budget_and_learns(sequences_of, network_of, budget) -> None:
    sequences = sequences_of(60)
    seen = []
    model = network_of(sequences, gain=1.0)
    curve = train(
        model,
        sequences,
        replace(budget, images_seen=100, batch_size=8, curve_points=3),
        measure=lambda: float(measure_bits(model, sequences, range(8), batch_size=8).mean()),
        progress=lambda done, total, bits: seen.append((done, total)),
    )
    assert seen[-1] == (100, 100)
    assert len(seen) == 13
    assert [point.images_seen for point in curve] == [0, 32, 72, 100]
    assert curve[0].train is None
    assert curve[0].held_out > curve[-1].held_out + 0.5
    assert not model.training


def test_the_rate_rises_and_falls() -> None:
    budget = replace(get_probe_protocol(), images_seen=800, batch_size=8, learning_rate=1.0, warmup=0.1, final_rate=0.1)
    rates = [budget.rate(step) for step in range(budget.steps)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert all(a > b for a, b in pairwise(rates[9:]))
    assert rates[-1] == pytest.approx(0.1)


@pytest.mark.parametrize(
    "wrong",
    [{"hidden_size": 6, "heads": 2}, {"images_seen": 0}, {"learning_rate": 0.0}, {"warmup": 1.5}, {"held_out": 1.0}, {"clip": -1.0}],
)
def test_budgets_that_make_no_sense_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(get_probe_protocol(), **wrong)


def test_budgets_are_named_by_what_differs() -> None:
    assert get_probe_protocol(changes={"seed": 3, "images_seen": None}).label == "small+seed=3"
    with pytest.raises(TokbenchError, match="unknown budget 'smal'; did you mean small"):
        get_probe_protocol("smal")
    with pytest.raises(TokbenchError, match="precision is one of fp32, bf16"):
        get_probe_protocol(changes={"precision": "fp8"})
