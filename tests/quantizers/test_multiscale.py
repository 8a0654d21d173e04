"""Multi-scale residual codes: the loop of the papers step by step, what a part of them stands for, which blend a scale has."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tokbench.quantizers.bsq import BinarySphericalQuantizer
from tokbench.quantizers.multiscale import MultiScaleQuantizer, nearest_ticks
from tokbench.quantizers.vq import VectorQuantizer

SCALES = (1, 2, 3, 4)


def close(actual: Tensor, expected: Tensor, atol: float = 1e-6) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


@pytest.fixture
def vectors() -> Tensor:
    return torch.randn(2, 16, 6, generator=torch.Generator().manual_seed(0))


def signs() -> MultiScaleQuantizer:
    return MultiScaleQuantizer(BinarySphericalQuantizer(6, group_size=6), 6, SCALES, enlarge="bilinear")


def rows(blends: int, **settings: bool) -> MultiScaleQuantizer:
    torch.manual_seed(1)
    quantizer = MultiScaleQuantizer(VectorQuantizer(32, 6, **settings), 6, SCALES, blends=blends, blend=0.5)
    torch.nn.init.normal_(quantizer.each.embedding.weight)
    return quantizer


@torch.no_grad()
def test_signs_are_taken_scale_by_scale(vectors: Tensor) -> None:
    """The loop of Infinity, written out for one image."""
    quantizer = signs()
    codes = quantizer.codes(vectors)
    assert codes.shape == (2, 30, 1)
    rest, total, start = vectors[0].T.reshape(6, 4, 4), torch.zeros(6, 4, 4), 0
    for side in SCALES:
        reduced = F.adaptive_avg_pool2d(rest, side)
        bits = reduced > 0
        for row in range(side):
            for column in range(side):
                code = sum(int(bit) << (5 - place) for place, bit in enumerate(bits[:, row, column]))
                assert codes[0, start + row * side + column, 0] == code
        corner = torch.where(bits, 1.0, -1.0) / 6**0.5
        enlarged = F.interpolate(corner[None], size=(4, 4), mode="bilinear", align_corners=False)[0]
        rest, total, start = rest - enlarged, total + enlarged, start + side**2
        close(quantizer.lookup(codes[:, :start])[0], total.flatten(1).T)


@torch.no_grad()
@pytest.mark.parametrize("blends", [0, 1, 4])
def test_every_scale_brings_vectors_nearer_to_rows_that_are_learned(vectors: Tensor, blends: int) -> None:
    quantizer = rows(blends)
    with torch.no_grad():
        quantizer.each.embedding.weight.copy_(torch.cat([torch.zeros(1, 6), vectors[0], vectors[1, :15]]))
        for blend in quantizer.blends:  # as good as the identity
            blend.weight.zero_()
            blend.bias.zero_()
            blend.weight[range(6), range(6), 1, 1] = 1.0
    codes = quantizer.codes(vectors)
    errors = [(quantizer.lookup(codes[:, :length]) - vectors).square().mean() for length in quantizer.lengths]
    assert errors[-1] < 0.5 * vectors.square().mean()
    assert quantizer.lengths == (1, 5, 14, 30)


def test_codes_that_are_not_of_whole_scales_are_refused() -> None:
    with pytest.raises(ValueError, match="codes are of whole maps, 1, 5, 14, 30 of them, got 6"):
        signs().lookup(torch.zeros(1, 6, 1, dtype=torch.int64))


def test_training_reaches_vectors_rows_and_blends(vectors: Tensor) -> None:
    quantizer, start = rows(2), vectors.clone().requires_grad_()
    out = quantizer(start)
    close(out.vectors, quantizer.lookup(out.codes))
    (out.losses["codebook"] + out.vectors.sum()).backward()
    assert start.grad is not None
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in quantizer.parameters())


@torch.no_grad()
def test_raw_rows_are_found_by_direction_and_stand_as_they_are(vectors: Tensor) -> None:
    quantizer = rows(0, cosine=True, raw_rows=True).each
    codes = quantizer.codes(vectors)
    weight = quantizer.embedding.weight
    assert torch.equal(codes[..., 0], (F.normalize(vectors, dim=-1) @ F.normalize(weight, dim=-1).T).argmax(dim=-1))
    assert torch.equal(quantizer.lookup(codes), weight[codes[..., 0]])
    assert torch.equal(quantizer(vectors).codes, codes)


def test_two_scales_lie_between_two_ticks() -> None:
    """As the published network has them; with exact arithmetic the choice at 2 and 7 of 10 would be free."""
    assert nearest_ticks(10, 4) == (0, 0, 1, 1, 1, 2, 2, 3, 3, 3)
    assert nearest_ticks(5, 4) == (0, 1, 2, 2, 3)
    assert nearest_ticks(7, 7) == (0, 1, 2, 3, 4, 5, 6)
    assert nearest_ticks(10, 1) == (0,) * 10
    assert nearest_ticks(1, 4) == (0,)
