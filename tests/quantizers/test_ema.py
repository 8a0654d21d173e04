"""Codebook learning by moving averages: a golden step, a loop written out, and the restart of dead codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tokbench.quantizers.ema import EmaCodebook
from tokbench.quantizers.vq import VectorQuantizer


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def codebook(size: int = 4, dim: int = 2, **options: float) -> tuple[VectorQuantizer, EmaCodebook]:
    quantizer = VectorQuantizer(size, dim, loss_form="commitment")
    with torch.no_grad():
        quantizer.embedding.weight.copy_(torch.randn(size, dim, generator=generator(9)))
    return quantizer, EmaCodebook(quantizer, **options)  # type: ignore[arg-type]


def test_one_step_equals_the_golden(goldens: Path) -> None:
    """lucidrains/vector-quantize-pytorch, one forward pass in training mode."""
    folder = goldens / "quantizers" / "vq_ema"
    config = json.loads((folder / "config.json").read_text())
    before, io = load_file(folder / "state_dict.safetensors"), load_file(folder / "io.safetensors")
    quantizer = VectorQuantizer(config["codebook_size"], config["dim"], beta=config["commitment_weight"], loss_form="commitment")
    ema = EmaCodebook(quantizer, decay=config["decay"], eps=config["eps"], restart_below=0)
    with torch.no_grad():
        quantizer.embedding.weight.copy_(before["_codebook.embed"][0])
    ema.counts.copy_(before["_codebook.cluster_size"][0])
    ema.sums.copy_(before["_codebook.embed_avg"][0])

    out = quantizer(io["z"])
    ema.update(io["z"].flatten(0, 1), out.codes.flatten(), generator())

    assert torch.equal(out.codes.squeeze(-1), io["indices"])
    torch.testing.assert_close(out.vectors, io["quant"], atol=1e-6, rtol=0)
    torch.testing.assert_close(out.losses["codebook"], io["loss"], atol=1e-6, rtol=0)
    torch.testing.assert_close(ema.counts, io["after._codebook.cluster_size"][0], atol=1e-6, rtol=0)
    torch.testing.assert_close(ema.sums, io["after._codebook.embed_avg"][0], atol=1e-6, rtol=0)
    torch.testing.assert_close(quantizer.embedding.weight, io["after._codebook.embed"][0], atol=1e-5, rtol=1e-5, check_stride=False)


def test_several_steps_equal_a_loop() -> None:
    quantizer, ema = codebook(size=5, dim=3, decay=0.8, eps=1e-3, restart_below=0)
    ema.adopt(10)
    rows = quantizer.embedding.weight.double().clone()
    counts, sums = [2.0] * 5, [2.0 * row for row in rows]
    for step in range(4):
        vectors = torch.randn(10, 3, generator=generator(step))
        codes = quantizer(vectors[None]).codes.flatten()
        ema.update(vectors, codes, generator())
        for k in range(5):
            mine = vectors[codes == k].double()
            counts[k] = 0.8 * counts[k] + 0.2 * len(mine)
            sums[k] = 0.8 * sums[k] + 0.2 * mine.sum(dim=0)
        for k in range(5):
            smoothed = (counts[k] + 1e-3) / (sum(counts) + 5 * 1e-3) * sum(counts)
            torch.testing.assert_close(quantizer.embedding.weight[k].double(), sums[k] / smoothed, atol=1e-5, rtol=1e-5)


def test_smoothing_keeps_the_total_and_an_unused_code_finite() -> None:
    quantizer, ema = codebook(decay=0.0, eps=1e-5, restart_below=0)
    ema.adopt(8)
    ema.update(torch.ones(8, 2), torch.zeros(8, dtype=torch.int64), generator())
    assert ema.counts.tolist() == [8.0, 0.0, 0.0, 0.0]
    torch.testing.assert_close(quantizer.embedding.weight[0], torch.ones(2), atol=1e-4, rtol=0)
    assert bool(torch.isfinite(quantizer.embedding.weight).all())


def test_dead_codes_are_restarted_on_vectors_of_the_batch_and_then_chosen() -> None:
    quantizer, ema = codebook(size=4, decay=0.5, restart_below=0.1, restart_every=3)
    with torch.no_grad():
        quantizer.embedding.weight[1:] += 1e3  # far from all that comes
    ema.adopt(64)
    restarted = []
    for step in range(3):
        vectors = torch.randn(64, 2, generator=generator(step))
        for _ in range(4):  # only the first code is chosen, so the others' counts halve
            assert quantizer(vectors[None]).codes.unique().tolist() == [0]
        restarted.append(ema.update(vectors, torch.zeros(64, dtype=torch.int64), generator()))
        ema.counts[1:] *= 0.1
    assert restarted == [0, 0, 3]

    fresh = quantizer.embedding.weight[1:]
    assert bool((fresh[:, None] == vectors).all(dim=2).any(dim=1).all())
    assert len(fresh.unique(dim=0)) == 3
    assert len(quantizer(torch.randn(1, 256, 2, generator=generator(7))).codes.unique()) == 4


def test_a_restarted_code_survives_the_next_update() -> None:
    quantizer, ema = codebook(size=2, decay=0.9, restart_below=0.5, restart_every=1)
    ema.adopt(8)
    ema.counts[1], ema.sums[1] = 0.0, 0.0
    vectors = torch.randn(8, 2, generator=generator(3))
    assert ema.update(vectors, torch.zeros(8, dtype=torch.int64), generator()) == 1
    revived = quantizer.embedding.weight[1].clone()
    assert ema.update(vectors, quantizer(vectors[None]).codes.flatten(), generator()) == 0
    assert float((quantizer.embedding.weight[1] - revived).norm()) < 1.0


def test_no_restart_when_switched_off_or_not_due() -> None:
    for options in ({"restart_below": 0, "restart_every": 1}, {"restart_below": 0.9, "restart_every": 5}):
        _, ema = codebook(**options)
        ema.adopt(4)
        ema.counts[1:] = 0.0
        assert ema.update(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64), generator()) == 0


def test_more_dead_codes_than_vectors() -> None:
    _, ema = codebook(size=8, restart_below=0.5, restart_every=1, decay=0.0)
    ema.adopt(8)
    assert ema.update(torch.zeros(2, 2), torch.zeros(2, dtype=torch.int64), generator()) == 2


def test_initialise_finds_clusters() -> None:
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    vectors = (centres[:, None] + 0.1 * torch.randn(4, 50, 2, generator=generator())).flatten(0, 1)
    quantizer, ema = codebook(size=4, restart_below=0)
    ema.initialise(vectors, generator(4), iterations=20)
    rows = quantizer.embedding.weight
    error = (vectors - rows[quantizer(vectors[None]).codes.flatten()]).square().sum(dim=1).mean()
    assert float(error) < float((vectors - vectors.mean(dim=0)).square().sum(dim=1).mean()) / 3
    assert ema.counts.tolist() == [50.0] * 4
    torch.testing.assert_close(ema.sums, 50.0 * rows)


def test_initialise_needs_enough_vectors() -> None:
    _, ema = codebook(size=4)
    with pytest.raises(ValueError, match="3 vectors cannot make 4 clusters"):
        ema.initialise(torch.zeros(3, 2), generator())


def test_adopt_leaves_the_codebook_alone() -> None:
    quantizer, ema = codebook()
    before = quantizer.embedding.weight.clone()
    ema.adopt(100)
    assert torch.equal(quantizer.embedding.weight, before)
    assert ema.counts.tolist() == [25.0] * 4
    torch.testing.assert_close(ema.sums, 25.0 * before)


def test_the_codebook_leaves_the_optimiser_and_the_state_stays_one_tensor() -> None:
    quantizer, ema = codebook()
    assert not any(parameter.requires_grad for parameter in quantizer.parameters())
    assert list(quantizer.state_dict()) == ["embedding.weight"]
    assert sorted(ema.state_dict()) == ["counts", "sums", "updates"]


def test_a_cosine_codebook_is_refused() -> None:
    with pytest.raises(ValueError, match="cosine codebook cannot be learned by moving averages"):
        EmaCodebook(VectorQuantizer(4, 2, cosine=True))


def test_half_precision_vectors_move_it_too() -> None:
    quantizer, ema = codebook()
    ema.adopt(4)
    before = quantizer.embedding.weight.clone()
    vectors: Tensor = torch.ones(4, 2, dtype=torch.bfloat16)
    ema.update(vectors, torch.zeros(4, dtype=torch.int64), generator())
    assert not torch.equal(before, quantizer.embedding.weight)
