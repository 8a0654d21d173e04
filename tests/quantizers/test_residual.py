"""Residual quantization: a golden of upstream, the stages written out, training by losses and by averages."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tokbench.quantizers.ema import EmaCodebook
from tokbench.quantizers.residual import ResidualQuantizer, from_vector_quantize_pytorch


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def quantizer(sizes: tuple[int, ...] = (16, 8, 4), dim: int = 3, **options: Any) -> ResidualQuantizer:
    module = ResidualQuantizer(sizes, dim, **options)
    with torch.no_grad():
        for k, layer in enumerate(module.layers):
            layer.embedding.weight.copy_(randn(sizes[k], dim, seed=k) / 2**k)
    return module


def test_golden(golden: Any) -> None:
    """lucidrains/vector-quantize-pytorch, in evaluation mode."""
    data = golden("rvq")
    config = data.config
    module = ResidualQuantizer((config["codebook_size"],) * config["num_quantizers"], config["dim"])
    module.load_state_dict(from_vector_quantize_pytorch(data.state))
    out = module(data.io["z"])
    assert torch.equal(out.codes, data.io["indices"])
    torch.testing.assert_close(out.vectors, data.io["quant"], atol=1e-6, rtol=0)
    torch.testing.assert_close(module.lookup(out.codes), data.io["quant"], atol=1e-6, rtol=0)
    rows = torch.stack([layer.lookup(out.codes[..., k : k + 1]) for k, layer in enumerate(module.layers)])  # type: ignore[operator]
    torch.testing.assert_close(rows, data.io["all_codes"], atol=1e-6, rtol=0)


def test_unknown_keys_are_left_for_a_strict_load_to_name(golden: Any) -> None:
    state = from_vector_quantize_pytorch(
        golden("rvq").state | {"project_in.weight": torch.zeros(1), "layers.0._codebook.odd": torch.zeros(1)}
    )
    with pytest.raises(RuntimeError, match=r"layers\.0\._codebook\.odd.*project_in\.weight|project_in\.weight.*layers\.0\._codebook\.odd"):
        ResidualQuantizer((16, 16, 16), 8).load_state_dict(state)


def test_stages_loss_and_gradients_equal_a_loop() -> None:
    module, vectors = quantizer(beta=0.3), randn(2, 9, 3, seed=7).requires_grad_()
    out = module(vectors)
    residual, total, loss = vectors.detach().double(), torch.zeros(2, 9, 3).double(), 0.0
    gradient = torch.zeros(2, 9, 3).double()
    for k, layer in enumerate(module.layers):
        rows = layer.embedding.weight.detach().double()
        codes = (residual[..., None, :] - rows).square().sum(dim=-1).argmin(dim=-1)
        assert torch.equal(out.codes[..., k], codes)
        torch.testing.assert_close(module.stage_inputs(vectors, out.codes)[:, :, k].double(), residual, atol=1e-6, rtol=0)
        error = rows[codes] - residual
        loss += 1.3 * float(error.square().mean())
        gradient += -0.6 * error / error.numel()
        residual, total = residual - rows[codes], total + rows[codes]
    torch.testing.assert_close(out.vectors.double(), total, atol=1e-6, rtol=0)
    assert out.losses["codebook"].item() == pytest.approx(loss, rel=1e-5)
    assert torch.equal(module.codes(vectors), out.codes)
    (seen,) = torch.autograd.grad(out.losses["codebook"], vectors, retain_graph=True)
    torch.testing.assert_close(seen.double(), gradient, atol=1e-7, rtol=1e-4)
    out.losses["codebook"].backward(retain_graph=True)
    assert all(layer.embedding.weight.grad is not None for layer in module.layers)


def test_gradient_passes_straight_through_once() -> None:
    vectors, upstream = randn(2, 9, 3).requires_grad_(), randn(2, 9, 3, seed=1)
    quantizer()(vectors).vectors.backward(upstream)
    assert torch.equal(vectors.grad, upstream)


def test_first_stages_alone() -> None:
    module, vectors = quantizer(), randn(2, 9, 3, seed=7)
    whole, coarse = module(vectors), module(vectors, stages=2)
    assert coarse.codes.shape == (2, 9, 2)
    assert torch.equal(coarse.codes, whole.codes[..., :2])
    torch.testing.assert_close(module.lookup(coarse.codes), coarse.vectors, atol=1e-6, rtol=0)
    assert float(coarse.losses["codebook"]) < float(whole.losses["codebook"])
    errors = [float((module(vectors, stages=k).vectors - vectors).square().mean()) for k in (1, 2, 3)]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("stages", [0, 4])
def test_stages_that_are_not_there(stages: int) -> None:
    with pytest.raises(ValueError, match=f"there are 3 stages, asked for {stages}"):
        quantizer()(randn(1, 2, 3), stages=stages)
    with pytest.raises(ValueError, match="asked for 4"):
        quantizer().lookup(torch.zeros(1, 2, 4, dtype=torch.int64))


def test_no_stages_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one stage"):
        ResidualQuantizer((), 3)


def test_every_stage_learns_by_its_own_averages() -> None:
    module = quantizer(loss_form="commitment")
    averages = [EmaCodebook(layer, decay=0.5, restart_below=0) for layer in module.layers]  # type: ignore[arg-type]
    for average in averages:
        average.adopt(512)
    vectors = randn(2, 256, 3, seed=3)
    before = float((module(vectors).vectors - vectors).square().mean())
    for _ in range(20):
        codes = module.codes(vectors)
        inputs = module.stage_inputs(vectors, codes)
        for k, average in enumerate(averages):
            average.update(inputs[:, :, k].flatten(0, 1), codes[..., k].flatten(), torch.Generator())
    assert float((module(vectors).vectors - vectors).square().mean()) < 0.6 * before


@pytest.mark.parametrize("sizes", [(16, 16, 16), (32, 8)])
def test_against_the_library(sizes: tuple[int, ...]) -> None:
    library = pytest.importorskip("vector_quantize_pytorch")
    peer = library.ResidualVQ(dim=8, codebook_size=sizes, rotation_trick=False, commitment_weight=0.7)
    module = ResidualQuantizer(sizes, 8, beta=0.7, loss_form="commitment")
    module.load_state_dict(from_vector_quantize_pytorch(peer.state_dict()))
    vectors = randn(2, 50, 8).requires_grad_()
    out = module(vectors)
    quantized, codes, losses = peer.train()(vectors)
    assert torch.equal(out.codes, codes)
    torch.testing.assert_close(out.vectors, quantized, atol=1e-6, rtol=0)
    torch.testing.assert_close(out.losses["codebook"], losses.sum(), atol=1e-5, rtol=0)
    upstream = randn(2, 50, 8, seed=1)
    (mine,), (theirs,) = (torch.autograd.grad(value, vectors, upstream) for value in (out.vectors, quantized))
    torch.testing.assert_close(len(sizes) * mine, theirs, atol=1e-6, rtol=1e-5)
