"""Quantizers against vector-quantize-pytorch as it is installed: codes, values, losses, gradients, averages, packing."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tokbench.quantizers.bsq import BinarySphericalQuantizer
from tokbench.quantizers.ema import EmaCodebook
from tokbench.quantizers.fsq import FiniteScalarQuantizer
from tokbench.quantizers.lfq import LookupFreeQuantizer
from tokbench.quantizers.residual import ResidualQuantizer, from_vector_quantize_pytorch
from tokbench.quantizers.rotation import rotate_through
from tokbench.quantizers.simvq import SimVQ
from tokbench.quantizers.vq import VectorQuantizer

DIM, SIZE = 6, 24


@pytest.fixture(scope="module")
def library() -> Any:
    return pytest.importorskip("vector_quantize_pytorch")


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def close(actual: Tensor, expected: Tensor, atol: float = 1e-6) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=1e-5)


def vq_pair(library: Any, *, weight: float = 0.7, **options: Any) -> tuple[Any, VectorQuantizer]:
    """Both with one random codebook; upstream in training mode."""
    peer = library.VectorQuantize(DIM, SIZE, commitment_weight=weight, **options).train()
    cosine = options.get("use_cosine_sim", False)
    loss_form = "paper" if options.get("learnable_codebook") else "commitment"
    model = VectorQuantizer(SIZE, DIM, beta=weight, loss_form=loss_form, cosine=cosine)  # type: ignore[arg-type]
    with torch.no_grad():
        rows = F.normalize(randn(SIZE, DIM, seed=5), dim=-1) if cosine else randn(SIZE, DIM, seed=5)
        peer._codebook.embed.copy_(rows)
        peer._codebook.embed_avg.copy_(rows)
        model.embedding.weight.copy_(rows)
    return peer, model


def gradients(value: Tensor, *inputs: Tensor, weight: Tensor | None = None) -> tuple[Tensor, ...]:
    return torch.autograd.grad(value, inputs, weight, retain_graph=True)


@pytest.mark.parametrize("cosine", [False, True])
def test_nearest_entry_and_nearest_direction(library: Any, cosine: bool) -> None:
    """The plain estimator: its gradient goes through the normalisation where there is one."""
    peer, model = vq_pair(library, use_cosine_sim=cosine, freeze_codebook=True, rotation_trick=False)
    vectors, upstream = randn(2, 50, DIM).requires_grad_(), randn(2, 50, DIM, seed=1)
    quantized, codes, loss = peer(vectors)
    out = model(vectors)
    assert torch.equal(out.codes.squeeze(-1), codes)
    assert len(codes.unique()) > SIZE / 2
    close(out.vectors, quantized)
    close(out.losses["codebook"], loss)
    for mine, theirs, weight in ((out.vectors, quantized, upstream), (out.losses["codebook"], loss, None)):
        close(*gradients(mine, vectors, weight=weight), *gradients(theirs, vectors, weight=weight))
    close(model.lookup(codes[..., None]), peer.get_codes_from_indices(codes))
    assert torch.equal(peer.eval()(vectors)[1], model.codes(vectors).squeeze(-1))


@pytest.mark.parametrize("cosine", [False, True])
def test_the_rotation_trick(library: Any, cosine: bool) -> None:
    peer, model = vq_pair(library, use_cosine_sim=cosine, freeze_codebook=True, rotation_trick=True)
    vectors, upstream = randn(2, 50, DIM).requires_grad_(), randn(2, 50, DIM, seed=1)
    quantized, codes, _ = peer(vectors)
    placed = F.normalize(vectors, dim=-1) if cosine else vectors
    turned = rotate_through(placed, model.lookup(codes[..., None]).detach())
    close(turned, quantized)
    (mine,), (theirs,) = (gradients(value, vectors, weight=upstream) for value in (turned, quantized))
    close(mine, theirs, 1e-5)
    (straight,) = gradients(model(vectors).vectors, vectors, weight=upstream)
    assert float((straight - theirs).abs().max()) > 0.1


def test_a_codebook_that_learns_by_gradients(library: Any) -> None:
    """Upstream pulls vectors and entries by one term; ours are two of equal value, and of beta's weight for vectors."""
    peer, model = vq_pair(library, weight=1.0, learnable_codebook=True, ema_update=False, rotation_trick=False)
    vectors = randn(2, 50, DIM).requires_grad_()
    _, codes, loss = peer(vectors)
    out = model(vectors)
    assert torch.equal(out.codes.squeeze(-1), codes)
    close(out.losses["codebook"], 2 * loss)
    mine = gradients(out.losses["codebook"], vectors, model.embedding.weight)
    theirs = gradients(loss, vectors, peer._codebook.embed)
    close(mine[0], theirs[0])
    close(mine[1], theirs[1].squeeze(0))


@pytest.mark.parametrize(("decay", "eps"), [(0.8, 1e-5), (0.99, 1e-2), (0.3, 1e-5)])
def test_moving_averages_step_by_step(library: Any, decay: float, eps: float) -> None:
    peer, model = vq_pair(library, decay=decay, eps=eps, rotation_trick=False)
    averages = EmaCodebook(model, decay=decay, eps=eps, restart_below=0)
    averages.adopt(SIZE)  # upstream starts as if every entry had been chosen once
    for step in range(4):
        vectors = randn(2, 50, DIM, seed=step)
        quantized, codes, loss = peer(vectors)
        out = model(vectors)
        averages.update(vectors.flatten(0, 1), out.codes.flatten(), torch.Generator())
        assert torch.equal(out.codes.squeeze(-1), codes), step
        close(out.vectors, quantized)
        close(out.losses["codebook"], loss)
        close(averages.counts, peer._codebook.cluster_size[0])
        close(averages.sums, peer._codebook.embed_avg[0])
        close(model.embedding.weight, peer._codebook.embed[0], 1e-5)
    assert float((model.embedding.weight - randn(SIZE, DIM, seed=5)).abs().max()) > 0.1


@pytest.mark.parametrize("options", [{}, {"rotation_trick": False}])
def test_stages_that_learn_by_averages(library: Any, options: dict[str, Any]) -> None:
    """Two steps of training, every stage by its own averages; the trick changes gradients only."""
    torch.manual_seed(0)
    peer = library.ResidualVQ(dim=DIM, codebook_size=16, num_quantizers=3, decay=0.6, **options).train()
    model = ResidualQuantizer((16, 16, 16), DIM, loss_form="commitment", beta=1.0)
    model.load_state_dict(from_vector_quantize_pytorch(peer.state_dict()))
    averages = [EmaCodebook(layer, decay=0.6, restart_below=0) for layer in model.layers]  # type: ignore[arg-type]
    for average in averages:
        average.adopt(16)
    for step in range(2):
        vectors = randn(2, 40, DIM, seed=step)
        quantized, codes, losses = peer(vectors)
        out = model(vectors)
        inputs = model.stage_inputs(vectors, out.codes)
        for k, average in enumerate(averages):
            average.update(inputs[:, :, k].flatten(0, 1), out.codes[..., k].flatten(), torch.Generator())
        assert torch.equal(out.codes, codes), step
        close(out.vectors, quantized, 1e-5)
        close(out.losses["codebook"], losses.sum(), 1e-5)
    mine = model.state_dict()
    for key, value in from_vector_quantize_pytorch(peer.state_dict()).items():
        close(mine[key], value, 1e-5)
    codes = torch.randint(16, (2, 5, 3), generator=torch.Generator().manual_seed(0))
    close(model.lookup(codes), peer.get_output_from_indices(codes), 1e-5)


@pytest.mark.parametrize(
    ("levels", "codebooks", "symmetric"), [([8, 5, 5, 5], 1, False), ([3, 4], 3, False), ([2, 3, 4], 1, True), ([2] * 4, 2, True)]
)
def test_finite_scalars(library: Any, levels: list[int], codebooks: int, symmetric: bool) -> None:
    """Gradients, and what every code stands for."""
    peer = library.FSQ(levels, num_codebooks=codebooks, preserve_symmetry=symmetric)
    model = FiniteScalarQuantizer(levels, codebooks, preserve_symmetry=symmetric)
    width = len(levels) * codebooks
    vectors, upstream = (2 * randn(2, 30, width)).requires_grad_(), randn(2, 30, width, seed=1)
    quantized, codes = peer(vectors)
    out = model(vectors)
    assert torch.equal(out.codes.flatten(), codes.flatten().long())
    close(out.vectors, quantized)
    close(*gradients(out.vectors, vectors, weight=upstream), *gradients(quantized, vectors, weight=upstream), 1e-5)
    size = math.prod(levels)
    assert peer.codebook_size == size
    every = torch.arange(size)[None, :, None].expand(1, size, codebooks)
    close(model.lookup(every), peer.indices_to_codes(every if codebooks > 1 else every[..., 0]))


@pytest.mark.parametrize(("bits", "codebooks", "scale", "spherical"), [(6, 1, 1.0, False), (4, 3, 0.5, False), (5, 2, 2.0, True)])
def test_signs(library: Any, bits: int, codebooks: int, scale: float, spherical: bool) -> None:
    """Losses and gradients, and what every code stands for: here the first channel is the highest bit."""
    peer = library.LFQ(
        dim=bits * codebooks,
        codebook_size=2**bits,
        num_codebooks=codebooks,
        codebook_scale=scale,
        spherical=spherical,
        entropy_loss_weight=0.3,
        diversity_gamma=1.5,
        commitment_loss_weight=0.4,
    ).train()
    model = LookupFreeQuantizer(
        bits,
        codebooks,
        entropy_weight=0.3,
        diversity_weight=1.5,
        commitment_weight=0.4,
        temperature=0.25,
        bit_order="high",
        entropy_form="clamped",
        spherical=spherical,
        scale=scale,
    )
    vectors, upstream = randn(2, 20, bits * codebooks).requires_grad_(), randn(2, 20, bits * codebooks, seed=1)
    quantized, codes, loss = peer(vectors, inv_temperature=4.0)
    out = model(vectors)
    assert torch.equal(out.codes.flatten(), codes.flatten().long())
    close(out.vectors, quantized)
    total = torch.stack(list(out.losses.values())).sum()
    close(total, loss, 1e-5)
    for mine, theirs, weight in ((out.vectors, quantized, upstream), (total, loss, None)):
        close(*gradients(mine, vectors, weight=weight), *gradients(theirs, vectors, weight=weight), 1e-5)
    every = torch.arange(2**bits)[None, :, None].expand(1, 2**bits, codebooks)
    close(model.lookup(every), peer.indices_to_codes(every if codebooks > 1 else every[..., 0]))
    if codebooks == 1:  # with more, the other order takes a code's channels from all over, too
        low = LookupFreeQuantizer(bits, bit_order="low")
        assert torch.equal(low.codes(vectors.flip(-1)), out.codes)


@pytest.mark.parametrize("unit", [True, False])
def test_signs_on_the_unit_sphere(library: Any, unit: bool) -> None:
    """Binary spherical quantization is lookup-free quantization there: one packing, one set of vectors."""
    scale = 1.0 if unit else 7**0.5
    peer = library.LFQ(dim=7, codebook_size=128, spherical=True, codebook_scale=scale).eval()
    model = BinarySphericalQuantizer(7, group_size=7, unit_codes=unit)
    vectors = 3 * randn(2, 20, 7)
    quantized, codes, _ = peer(vectors)
    out = model(vectors)
    assert torch.equal(out.codes.squeeze(-1), codes.long())
    close(out.vectors, quantized)
    every = torch.arange(128)[None, :, None]
    close(model.lookup(every), peer.indices_to_codes(every[..., 0]))


@pytest.mark.parametrize("frozen_dim", [None, 3, 9])
def test_a_mapped_codebook(library: Any, frozen_dim: int | None) -> None:
    """Gradients of the loss to the map, and what every code stands for."""
    torch.manual_seed(0)
    options = {} if frozen_dim is None else {"frozen_codebook_dim": frozen_dim}
    peer = library.SimVQ(DIM, SIZE, input_to_quantize_commit_loss_weight=0.4, commitment_weight=1.7, **options)
    model = SimVQ(SIZE, DIM, frozen_dim=frozen_dim, beta=0.4, commitment_weight=1.7)
    model.load_state_dict(peer.state_dict())
    vectors = randn(2, 40, DIM).requires_grad_()
    _, codes, loss = peer(vectors)
    out = model(vectors)
    assert torch.equal(out.codes.squeeze(-1), codes)
    close(out.losses["codebook"], loss)
    mine = gradients(out.losses["codebook"], vectors, model.code_transform.weight)
    theirs = gradients(loss, vectors, peer.code_transform.weight)
    for one, other in zip(mine, theirs, strict=True):
        close(one, other)
    every = torch.arange(SIZE)[None]
    close(model.lookup(every[..., None]), peer.indices_to_codes(every))
