"""Codes in range, and codes that name the vectors, for every setting, number format and finite input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import pytest
import torch
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.quantizers.base import Quantized, Quantizer
from tokbench.quantizers.bsq import BinarySphericalQuantizer
from tokbench.quantizers.fsq import FiniteScalarQuantizer
from tokbench.quantizers.gumbel import GumbelQuantizer
from tokbench.quantizers.ibq import IndexBackpropagationQuantizer
from tokbench.quantizers.kmeans import kmeans
from tokbench.quantizers.lfq import LookupFreeQuantizer
from tokbench.quantizers.nearest import nearest_codes
from tokbench.quantizers.residual import ResidualQuantizer
from tokbench.quantizers.simvq import SimVQ
from tokbench.quantizers.vq import VectorQuantizer

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

Make = Callable[[], Quantizer]


def settings() -> Iterator[tuple[str, int, Make]]:
    """Name, width and maker of quantizers in all their forms."""
    for form, cosine, entropy in product(("paper", "taming", "commitment"), (False, True), (0.0, 0.1)):
        name = f"vq {form} cosine={cosine} entropy={entropy}"
        yield name, 6, lambda f=form, c=cosine, e=entropy: VectorQuantizer(40, 6, loss_form=f, cosine=c, entropy_weight=e)
    for size, dim in ((1, 1), (2, 1), (3000, 4), (33, 65)):
        yield f"vq {size}x{dim}", dim, lambda s=size, d=dim: VectorQuantizer(s, d)
    for levels, books, symmetric in product(
        ([3], [8, 5, 4], [8, 8, 8, 5, 5, 5], [7] * 6, [2001], [2000], [10_001, 9], [100_003], [2**24, 4]), (1, 2), (False, True)
    ):
        width = len(levels) * books
        yield (
            f"fsq {levels} x{books} {symmetric}",
            width,
            lambda v=levels, b=books, s=symmetric: FiniteScalarQuantizer(v, b, preserve_symmetry=s),
        )
    yield "fsq of two levels", 6, lambda: FiniteScalarQuantizer([2] * 6, preserve_symmetry=True)
    yield "fsq of 62 bits", 31, lambda: FiniteScalarQuantizer([4] * 31)
    for bits, books, order, form, spherical in product((1, 3, 10), (1, 2), ("low", "high"), ("exact", "clamped"), (False, True)):
        name = f"lfq {bits} x{books} {order} {form} spherical={spherical}"
        yield (
            name,
            bits * books,
            lambda b=bits, k=books, o=order, f=form, s=spherical: LookupFreeQuantizer(
                b, k, bit_order=o, entropy_form=f, spherical=s, scale=0.5 if s else 1.0
            ),
        )
    yield "lfq of 62 bits", 62, lambda: LookupFreeQuantizer(62, entropy_weight=0.0)
    for bits, books, form, normal, units in product((6, 18), (1, 2), ("group", "analytical"), (False, True), (False, True)):
        name = f"bsq {bits} x{books} {form} normalize={normal} unit={units}"
        yield (
            name,
            bits,
            lambda b=bits, k=books, f=form, n=normal, u=units: BinarySphericalQuantizer(
                b, codes_per_position=k, entropy_form=f, group_size=3, normalize=n, unit_codes=u
            ),
        )
    yield "bsq of 62 bits", 62, lambda: BinarySphericalQuantizer(62, entropy_form="analytical")
    for entropy in (0.0, 0.05):
        yield f"ibq {entropy}", 6, lambda e=entropy: IndexBackpropagationQuantizer(40, 6, entropy_weight=e)
    for rotation, frozen in product((False, True), (None, 3)):
        yield f"simvq {rotation} {frozen}", 6, lambda r=rotation, f=frozen: SimVQ(40, 6, frozen_dim=f, rotation_trick=r)
    for sizes in ((16,), (16, 8, 4), (5,) * 8):
        yield f"residual {sizes}", 6, lambda s=sizes: ResidualQuantizer(s, 6)
    for temperature in (0.1, 2.0):
        yield f"gumbel {temperature}", 6, lambda t=temperature: GumbelQuantizer(40, 6, temperature=t)


SETTINGS = list(settings())


def inputs(width: int, dtype: torch.dtype) -> Tensor:
    """Ordinary values, zeros of both signs, the smallest and the largest numbers, alone and side by side: ``[1, N, width]``."""
    draw = torch.Generator().manual_seed(width)
    info = torch.finfo(dtype)
    normal = torch.randn(12, width, generator=draw, dtype=torch.float64)
    rows = [normal, normal * 50, normal * 1e-6, torch.zeros(1, width, dtype=torch.float64), -torch.zeros(1, width, dtype=torch.float64)]
    for size in (info.max, info.max / 2, info.tiny, info.smallest_normal * info.eps, info.max**0.5, info.tiny**0.5):
        rows += [torch.full((1, width), size, dtype=torch.float64), normal[:3].sign() * size, normal[:3].clamp(-1, 1) * size]
    mixed = normal.clone()
    mixed[:, ::2] = mixed[:, ::2].sign() * info.max
    return torch.cat([*rows, mixed]).clamp(info.min, info.max).to(dtype)[None]


def quantize(quantizer: Quantizer, vectors: Tensor) -> Quantized:
    noise = {"generator": torch.Generator().manual_seed(0)} if isinstance(quantizer, GumbelQuantizer) else {}
    return quantizer(vectors, **noise)


@pytest.mark.parametrize(("name", "width", "make"), SETTINGS, ids=[row[0] for row in SETTINGS])
def test_codes_are_in_range_and_name_the_vectors(name: str, width: int, make: Make) -> None:
    for dtype in DTYPES:
        torch.manual_seed(0)
        quantizer = make().to(dtype)
        for vectors in (inputs(width, dtype), inputs(width, torch.float32), inputs(width, dtype)[:, :1], inputs(width, dtype)[:, ::3]):
            assert bool(vectors.isfinite().all())
            for mode in (False, True):
                out = quantize(quantizer.train(mode), vectors)
                sizes = torch.tensor(quantizer.codebook_sizes)
                assert bool(((out.codes >= 0) & (out.codes < sizes)).all()), (dtype, mode)
                assert out.vectors.dtype == torch.float32
                assert torch.equal(quantizer.lookup(out.codes), out.vectors), (dtype, mode)
            codes = quantizer.codes(vectors)
            assert torch.equal(codes, quantizer.eval()(vectors).codes), dtype
            assert torch.equal(
                codes, quantizer.codes(vectors.float().clamp(-torch.finfo(torch.float32).max, torch.finfo(torch.float32).max))
            )


@pytest.mark.parametrize(("name", "width", "make"), SETTINGS, ids=[row[0] for row in SETTINGS])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused(name: str, width: int, make: Make, bad: float) -> None:
    quantizer = make()
    vectors = torch.zeros(1, 3, width)
    vectors[0, 1, -1] = bad
    with pytest.raises(
        TokbenchError, match=f"1 of {3 * width} features in float32 are NaN or infinite; the network needs another precision"
    ):
        quantizer.codes(vectors)
    with pytest.raises(TokbenchError, match="are NaN or infinite"):
        quantize(quantizer, vectors)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["vq paper cosine=False entropy=0.1", "vq taming cosine=True entropy=0.0", "ibq 0.05", "simvq True None",
                                  "residual (16, 8, 4)", "gumbel 2.0", "fsq [8, 5, 4] x2 False", "lfq 3 x2 low exact spherical=False",
                                  "bsq 6 x2 analytical normalize=True unit=True"])  # fmt: skip
def test_models_of_every_format_train(name: str, dtype: torch.dtype) -> None:
    width, make = next((row[1], row[2]) for row in SETTINGS if row[0] == name)
    torch.manual_seed(0)
    quantizer = make().to(dtype)
    vectors = torch.randn(2, 7, width).to(dtype).requires_grad_()
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            out = quantize(quantizer, vectors)
            torch.stack([out.vectors.square().mean(), *out.losses.values()]).sum().backward()
        assert vectors.grad is not None
        assert vectors.grad.dtype == dtype
        assert bool(vectors.grad.isfinite().all())
        for parameter in quantizer.parameters():
            assert parameter.grad is not None
            assert bool(parameter.grad.isfinite().all())


@pytest.mark.parametrize(("name", "width", "make"), SETTINGS, ids=[row[0] for row in SETTINGS])
def test_gradients_are_finite_at_any_scale(name: str, width: int, make: Make) -> None:
    draw = torch.Generator().manual_seed(1)
    for scale in (0.0, 1e-45, 1e-38, 1e-30, 1e-15, 1e-7, 1.0, 1e4, 65504.0, 1e10, 1e15):
        torch.manual_seed(0)
        quantizer = make().train()
        vectors = (torch.randn(1, 4, width, generator=draw).clamp(-3, 3) * scale).requires_grad_()
        out = quantize(quantizer, vectors)
        torch.stack([out.vectors.square().mean(), *out.losses.values()]).sum().backward()
        assert vectors.grad is not None
        learned = [parameter.grad for parameter in quantizer.parameters() if parameter.grad is not None]  # averages move some
        assert all(bool(grad.isfinite().all()) for grad in (vectors.grad, *learned)), scale


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e-15, 1e-7, 1e7, 1e15, 1e30])
def test_the_largest_cosine_decides_at_any_scale(scale: float) -> None:
    torch.manual_seed(0)
    quantizer = VectorQuantizer(40, 6, cosine=True)
    vectors = torch.randint(-9, 10, (1, 50, 6)).float()  # exact in the smallest numbers too
    scaled = vectors * scale
    if scale == 1e-44:  # no power of two: 7 times the smallest number there is
        scaled = vectors * 7 * torch.finfo(torch.float32).smallest_normal * torch.finfo(torch.float32).eps
    assert torch.equal(quantizer.codes(scaled), quantizer.codes(vectors))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "name", ["vq paper cosine=False entropy=0.0", "vq paper cosine=True entropy=0.0", "ibq 0.05", "simvq True None", "gumbel 2.0"]
)
def test_damaged_codebooks_are_refused(name: str, bad: float) -> None:
    width, make = next((row[1], row[2]) for row in SETTINGS if row[0] == name)
    for damaged, _ in make().eval().named_parameters():
        if damaged == "embed.weight":  # of Gumbel: it is looked up only
            continue
        quantizer = make().eval()
        with torch.no_grad():
            quantizer.get_parameter(damaged).flatten()[0] = bad
        with pytest.raises(TokbenchError, match=r"(codebook values|offsets of scores) in float32 are NaN or infinite"):
            quantizer.codes(torch.ones(1, 2, width))


@pytest.mark.parametrize("kind", [VectorQuantizer, IndexBackpropagationQuantizer, GumbelQuantizer, SimVQ])
@pytest.mark.parametrize(("size", "dim"), [(0, 4), (-1, 4), (4, 0)])
def test_a_codebook_of_nothing_is_refused(kind: Callable[[int, int], Quantizer], size: int, dim: int) -> None:
    with pytest.raises(ValueError, match=f"at least one row of at least one value, got {size} rows of {dim} values"):
        kind(size, dim)


@pytest.mark.parametrize("symmetric", [False, True])
def test_more_levels_than_single_precision_counts_are_refused(symmetric: bool) -> None:
    with pytest.raises(ValueError, match="a channel has at most 16777216 levels"):
        FiniteScalarQuantizer([3, 2**24 + 1], preserve_symmetry=symmetric)


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1.0, 1e12, 1e18, 3e37])
def test_the_nearest_row_is_found_at_any_scale(scale: float) -> None:
    draw = torch.Generator().manual_seed(0)
    vectors, rows = torch.randn(50, 3, generator=draw), torch.randn(70, 3, generator=draw)
    expected = torch.cdist(vectors.double(), rows.double()).argmin(dim=1)
    assert torch.equal(nearest_codes(vectors * scale, rows * scale), expected)


def test_vectors_far_beyond_the_codebook_find_their_direction() -> None:
    rows = torch.eye(4)
    assert nearest_codes(torch.eye(4) * 3e38, rows).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("dtype", DTYPES)
def test_means_of_many_vectors_are_finite_in_every_format(dtype: torch.dtype) -> None:
    vectors = (torch.randn(60_000, 4, generator=torch.Generator().manual_seed(0)) * 0.1 + 3).to(dtype)
    centres = kmeans(vectors, 2, torch.Generator().manual_seed(0), iterations=3)
    assert centres.dtype == torch.float32
    torch.testing.assert_close(centres.mean(), torch.tensor(3.0), atol=0.05, rtol=0)


def test_more_bits_than_entropies_can_be_taken_of_are_refused() -> None:
    with pytest.raises(ValueError, match="use more codebooks of fewer bits, or entropy_weight 0"):
        LookupFreeQuantizer(25)
    with pytest.raises(ValueError, match="a group has at most 24 bits"):
        BinarySphericalQuantizer(50, group_size=25)
