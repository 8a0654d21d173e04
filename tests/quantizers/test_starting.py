"""Where codebooks that learn by their losses begin."""

from __future__ import annotations

import pytest
import torch

from tokbench.quantizers.configs import FSQ, VQ, ResidualVQ
from tokbench.quantizers.residual import ResidualQuantizer
from tokbench.quantizers.starting import start_codebooks
from tokbench.quantizers.vq import VectorQuantizer
from tokbench.train.autoencoder import perplexity


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def vectors() -> torch.Tensor:
    return 3 + torch.randn(400, 8, generator=generator())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
@pytest.mark.parametrize("quantizer", [VQ(32, 8), ResidualVQ((32, 16), 8)], ids=["vq", "residual"])
def test_rows_lie_among_the_vectors_and_every_code_is_chosen(quantizer, vectors, dtype):
    module = quantizer.build().to(dtype)
    before = module(vectors[None].to(dtype))
    assert start_codebooks(module, vectors.to(dtype), generator())
    after = module(vectors[None].to(dtype))
    assert after.losses["codebook"] < before.losses["codebook"] / 5
    assert perplexity(after.codes) > 10 > perplexity(before.codes)
    for stage, size in enumerate(module.codebook_sizes):
        assert len(after.codes[..., stage].unique()) > 0.9 * size
    again = quantizer.build().to(dtype)
    start_codebooks(again, vectors.to(dtype), generator())
    assert all(torch.equal(one, other) for one, other in zip(module.state_dict().values(), again.state_dict().values(), strict=True))
    assert all(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize("quantizer", [FSQ((5, 5)), VQ(401, 8), VQ(32, 8, loss_form="paper", cosine=True), ResidualVQ((32, 401), 8)])
def test_others_and_those_with_more_rows_than_vectors_stay_as_they_are(quantizer, vectors):
    module = quantizer.build()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    assert not start_codebooks(module, vectors, generator())
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def test_stages_start_from_what_the_stages_before_left_over(vectors):
    residual, first = ResidualQuantizer((32, 16), 8), VectorQuantizer(32, 8)
    start_codebooks(residual, vectors, generator())
    start_codebooks(first, vectors, generator())
    assert torch.equal(residual.layers[0].embedding.weight, first.embedding.weight)
    assert residual.layers[1].embedding.weight.norm(dim=1).mean() < first.embedding.weight.norm(dim=1).mean() / 2
