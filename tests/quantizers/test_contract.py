"""What every quantizer promises: shapes, codes in range, codes that name the vectors, gradients, single precision, training."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tokbench.quantizers.base import Quantized, Quantizer
from tokbench.quantizers.bsq import BinarySphericalQuantizer
from tokbench.quantizers.ema import EmaCodebook
from tokbench.quantizers.fsq import FiniteScalarQuantizer
from tokbench.quantizers.gumbel import GumbelQuantizer
from tokbench.quantizers.ibq import IndexBackpropagationQuantizer
from tokbench.quantizers.lfq import LookupFreeQuantizer
from tokbench.quantizers.residual import ResidualQuantizer
from tokbench.quantizers.simvq import SimVQ
from tokbench.quantizers.vq import VectorQuantizer

DIM = 6

MAKERS: dict[str, Callable[[], Quantizer]] = {
    "vq": lambda: VectorQuantizer(40, DIM),
    "vq-cosine": lambda: VectorQuantizer(40, DIM, cosine=True, entropy_weight=0.1),
    "fsq": lambda: FiniteScalarQuantizer([8, 5, 4], 2),
    "fsq-symmetric": lambda: FiniteScalarQuantizer([2] * DIM, preserve_symmetry=True),
    "lfq": lambda: LookupFreeQuantizer(3, 2),
    "lfq-high": lambda: LookupFreeQuantizer(3, 2, bit_order="high", entropy_form="clamped"),
    "lfq-spherical": lambda: LookupFreeQuantizer(DIM, spherical=True, scale=0.5),
    "bsq": lambda: BinarySphericalQuantizer(DIM, group_size=3),
    "bsq-groups": lambda: BinarySphericalQuantizer(DIM, codes_per_position=2, entropy_form="analytical"),
    "residual": lambda: ResidualQuantizer((16, 8, 4), DIM),
    "simvq": lambda: SimVQ(40, DIM),
    "simvq-straight": lambda: SimVQ(40, DIM, rotation_trick=False),
    "ibq": lambda: IndexBackpropagationQuantizer(40, DIM),
    "gumbel": lambda: GumbelQuantizer(40, DIM),
}


@pytest.fixture(params=MAKERS)
def quantizer(request: pytest.FixtureRequest) -> Quantizer:
    torch.manual_seed(0)
    return MAKERS[request.param]()


@pytest.fixture
def vectors() -> Tensor:
    return torch.randn(2, 9, DIM, generator=torch.Generator().manual_seed(1))


def quantize(quantizer: Quantizer, vectors: Tensor) -> Quantized:
    """In training mode, with the noise of the one that needs some."""
    if isinstance(quantizer, GumbelQuantizer):
        return quantizer(vectors, generator=torch.Generator().manual_seed(2))
    return quantizer(vectors)


def test_shapes_and_range(quantizer: Quantizer, vectors: Tensor) -> None:
    out = quantize(quantizer, vectors)
    assert out.vectors.shape == vectors.shape
    assert out.codes.shape == (2, 9, len(quantizer.codebook_sizes))
    assert out.codes.dtype == torch.int64
    assert bool((out.codes >= 0).all())
    assert bool((out.codes < torch.tensor(quantizer.codebook_sizes)).all())
    assert all(loss.ndim == 0 and bool(torch.isfinite(loss)) for loss in out.losses.values())


def test_codes_name_the_vectors(quantizer: Quantizer, vectors: Tensor) -> None:
    for mode in (True, False):
        out = quantize(quantizer.train(mode), vectors)
        torch.testing.assert_close(quantizer.lookup(out.codes), out.vectors, atol=1e-6, rtol=0)


def test_codes_alone_are_those_of_the_forward_pass(quantizer: Quantizer, vectors: Tensor) -> None:
    codes = quantizer.eval().codes(vectors)
    assert torch.equal(codes, quantizer(vectors).codes)
    assert torch.equal(codes, Quantizer.codes(quantizer, vectors))
    assert len(codes.flatten(0, 1).unique(dim=0)) > 1


def test_quantizing_a_code_gives_it_back(quantizer: Quantizer, vectors: Tensor, request: pytest.FixtureRequest) -> None:
    if type(quantizer) in (GumbelQuantizer, IndexBackpropagationQuantizer, FiniteScalarQuantizer):
        pytest.skip("chooses by a product, or bounds what it gets")
    codes = quantizer.codes(vectors)
    if isinstance(quantizer, ResidualQuantizer):
        codes, quantizer = codes[..., :1], quantizer.layers[0]  # type: ignore[assignment]
    assert torch.equal(quantizer.codes(quantizer.lookup(codes)), codes)


def test_gradients_reach_the_vectors_and_the_parameters(quantizer: Quantizer, vectors: Tensor) -> None:
    vectors.requires_grad_()
    out = quantize(quantizer, vectors)
    torch.stack([out.vectors.square().sum(), *out.losses.values()]).sum().backward()
    assert bool(torch.isfinite(vectors.grad).all())
    assert float(vectors.grad.abs().sum()) > 0
    for name, parameter in quantizer.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().sum()) > 0, name


def test_a_position_does_not_depend_on_others(quantizer: Quantizer, vectors: Tensor) -> None:
    alone = quantizer.eval()(vectors[1:, 3:4])
    together = quantizer(vectors)
    assert torch.equal(alone.codes, together.codes[1:, 3:4])
    torch.testing.assert_close(alone.vectors, together.vectors[1:, 3:4], atol=1e-6, rtol=0)


def test_half_precision_is_quantized_in_single(quantizer: Quantizer, vectors: Tensor) -> None:
    half = vectors.bfloat16()
    out, single = quantize(quantizer, half), quantize(quantizer, half.float())
    assert out.vectors.dtype == torch.float32
    assert torch.equal(out.codes, single.codes)
    assert all(loss.dtype == torch.float32 for loss in out.losses.values())


def test_autocast_does_not_lower_the_precision(quantizer: Quantizer, vectors: Tensor) -> None:
    plain = quantize(quantizer, vectors)
    with torch.autocast("cpu", torch.bfloat16):
        out = quantize(quantizer, vectors)
        rows = quantizer.lookup(out.codes)
    assert torch.equal(out.codes, plain.codes)
    torch.testing.assert_close(out.vectors, plain.vectors, atol=1e-6, rtol=0)
    torch.testing.assert_close(rows, plain.vectors, atol=1e-6, rtol=0)
    for name, loss in out.losses.items():
        torch.testing.assert_close(loss, plain.losses[name], atol=1e-6, rtol=1e-5)


def test_no_vectors_no_codes(quantizer: Quantizer) -> None:
    none = torch.zeros(0, 9, DIM)
    codes = quantizer.codes(none)
    assert codes.shape == (0, 9, len(quantizer.codebook_sizes))
    assert quantizer.lookup(codes).shape == none.shape
    assert quantize(quantizer, none).vectors.shape == none.shape


@pytest.mark.parametrize("name", ["vq", "vq-cosine", "residual", "simvq", "ibq"])
def test_its_losses_train_it(name: str) -> None:
    """Gradient steps on a fixed set of clusters bring the codes nearer to the vectors."""
    torch.manual_seed(0)
    quantizer = MAKERS[name]()
    centres = torch.randn(8, DIM)
    vectors = (centres.repeat(8, 1) + 0.05 * torch.randn(64, DIM))[None]
    if name == "vq-cosine":
        vectors = torch.nn.functional.normalize(vectors, dim=-1)
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=0.04)

    @torch.no_grad()
    def error() -> float:
        return float((quantizer.lookup(quantizer.codes(vectors)) - vectors).square().mean())

    before = error()
    for _ in range(30):
        optimizer.zero_grad()
        torch.stack(list(quantizer(vectors).losses.values())).sum().backward()
        optimizer.step()
    assert error() < 0.7 * before


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_real_settings_are_finite(value: float) -> None:
    """Every setting of every quantizer that is a real number."""
    tried = 0
    for kind in {type(make()) for make in MAKERS.values()}:
        parameters = inspect.signature(kind).parameters.values()
        needed = [{"sizes": (4, 4), "levels": (4, 4)}.get(one.name, 9) for one in parameters if one.default is one.empty]
        build: Any = kind
        build(*needed)  # whole without the setting
        for one in parameters:
            if one.annotation == "float":
                tried += 1
                with pytest.raises(ValueError, match=rf"{one.name} must be a finite number, got {value}"):
                    build(*needed, **{one.name: value})
    assert tried >= 22


@pytest.mark.parametrize("key", ["decay", "eps", "restart_below"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_real_settings_of_averages_are_finite(key: str, value: float) -> None:
    build: Any = EmaCodebook
    with pytest.raises(ValueError, match=rf"{key} must be a finite number, got {value}"):
        build(VectorQuantizer(4, DIM, loss_form="commitment"), **{key: value})
