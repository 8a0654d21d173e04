"""Moving averages of processes that train together: one codebook, as if one process had seen all vectors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from tokbench.quantizers.ema import EmaCodebook
from tokbench.quantizers.vq import VectorQuantizer


def learned(rank: int, *, initialise: bool) -> torch.Tensor:
    """The codebook of one of two processes after six updates."""
    torch.manual_seed(rank)  # processes start with other codebooks
    quantizer = VectorQuantizer(8, 4, loss_form="commitment")
    ema, generator = EmaCodebook(quantizer, restart_below=0.5, restart_every=2), torch.Generator().manual_seed(0)
    count = 64 if rank == 0 else 20
    vectors = [torch.randn(count, 4, generator=torch.Generator().manual_seed(100 * rank + step)) + 2 * rank for step in range(6)]
    if initialise:
        ema.initialise(torch.cat(vectors), generator)
    for rows in vectors:
        ema.update(rows, quantizer.codes(rows[None]).flatten(), generator)
    return quantizer.embedding.weight.detach()


def test_codebooks_of_two_processes_stay_equal(in_processes: Callable[..., list[int]], tmp_path: Path) -> None:
    def work(rank: int) -> None:
        dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=rank, world_size=2)
        torch.save(torch.stack([learned(rank, initialise=initialise) for initialise in (False, True)]), tmp_path / f"{rank}.pt")
        dist.destroy_process_group()

    assert in_processes(2, work) == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert torch.equal(first, second)
    for together, initialise in zip(first, (False, True), strict=True):
        assert float((together - learned(0, initialise=initialise)).abs().max()) > 0.01  # the other process was heard


@pytest.mark.parametrize("restart", [0.0, 0.1])
def test_rows_that_nothing_chose_stay(restart: float) -> None:
    generator = torch.Generator().manual_seed(0)
    quantizer = VectorQuantizer(256, 8, loss_form="commitment")
    before = quantizer.embedding.weight.clone()
    ema = EmaCodebook(quantizer, restart_below=restart)
    chosen = torch.zeros(256, dtype=torch.bool)
    for step in range(60):
        vectors = torch.randn(64, 8, generator=generator) * 0.01
        codes = quantizer.codes(vectors[None]).flatten()
        chosen[codes] = True
        ema.update(vectors, codes, generator)
        if step == 0:
            torch.testing.assert_close(quantizer.embedding.weight[~chosen], before[~chosen], rtol=1e-2, atol=0)
    assert not bool((quantizer.embedding.weight == 0).all(dim=1).any())


def test_rows_that_nothing_chooses_for_ever_do_not_fade() -> None:
    quantizer = VectorQuantizer(2, 1, loss_form="commitment")
    with torch.no_grad():
        quantizer.embedding.weight.copy_(torch.tensor([[0.0], [100.0]]))
    ema, generator = EmaCodebook(quantizer, restart_below=0.0, decay=0.5), torch.Generator().manual_seed(0)
    for _ in range(200):
        ema.update(torch.zeros(4, 1), torch.zeros(4, dtype=torch.int64), generator)
    assert float(quantizer.embedding.weight[1].detach()) > 40


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_averages_keep_their_digits_when_the_model_is_cast(dtype: torch.dtype) -> None:
    quantizer = VectorQuantizer(3, 2, loss_form="commitment")
    ema = EmaCodebook(quantizer)
    ema.adopt(3 * 100_001)  # beyond the largest number of half precision
    counts, sums = ema.counts.clone(), ema.sums.clone()
    ema.to(dtype)
    assert torch.equal(ema.counts, counts)
    assert torch.equal(ema.sums, sums)
    assert ema.to("meta").to_empty(device="cpu").counts.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_averages_are_in_single_precision_whatever_the_model_is(dtype: torch.dtype) -> None:
    quantizer = VectorQuantizer(4, 2, loss_form="commitment")
    ema = EmaCodebook(quantizer)
    torch.nn.ModuleList([quantizer, ema]).to(dtype)
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(5000, 2, generator=generator).to(dtype)
    ema.initialise(vectors, generator)
    ema.update(vectors, quantizer.codes(vectors[None]).flatten(), generator)
    assert ema.counts.dtype == ema.sums.dtype == torch.float32
    assert float(ema.counts.sum()) == pytest.approx(5000, rel=1e-3)
    assert quantizer.embedding.weight.dtype == dtype
    assert bool(quantizer.embedding.weight.isfinite().all())
