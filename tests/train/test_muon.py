"""Muon: orthogonal steps of a known size for hidden weights, equal to torch's own where both apply."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from tokbench.nn.autoencoder import Decoder, Encoder
from tokbench.nn.configs import AutoencoderConfig
from tokbench.train.muon import RMS_OF_ADAM, Muon, MuonAdamW, dealt_by_cost, hidden_weights, orthogonal


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(24, 24), (16, 144), (144, 16), (1, 9)])
def test_orthogonal_keeps_the_singular_vectors_and_evens_the_values(shape: tuple[int, int]) -> None:
    matrix = randn(*shape)
    u, values, vh = torch.linalg.svd(matrix, full_matrices=False)
    result = u.T @ orthogonal(matrix) @ vh.T
    assert torch.allclose(result - torch.diag(result.diagonal()), torch.zeros_like(result), atol=1e-4)
    large = values > 0.1 * values.max()
    assert result.diagonal()[large].min() > 0.6
    assert result.diagonal().max() < 1.3


def test_scale_of_the_gradient_does_not_matter() -> None:
    matrix = randn(8, 30)
    assert torch.allclose(orthogonal(matrix), orthogonal(1e4 * matrix), atol=1e-5)
    assert torch.equal(orthogonal(torch.zeros(3, 5)), torch.zeros(3, 5))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 0.03), (torch.bfloat16, 0.03)])
def test_steps_equal_those_of_torch_up_to_its_half_precision(dtype: torch.dtype, tolerance: float) -> None:
    mine, theirs = nn.Parameter(randn(12, 20, seed=1)), nn.Parameter(randn(12, 20, seed=1))
    ours = Muon([mine], lr=0.1, dtype=dtype)
    peer = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    for step in range(5):
        mine.grad, theirs.grad = randn(12, 20, seed=10 + step), randn(12, 20, seed=10 + step)
        ours.step()
        peer.step()
    moved = theirs - randn(12, 20, seed=1)
    assert (mine - theirs).norm() < tolerance * moved.norm()
    assert mine.dtype == torch.float32


def test_a_convolution_moves_as_the_matrix_of_its_output_channels() -> None:
    kernel, matrix = nn.Parameter(randn(6, 4, 3, 3)), nn.Parameter(randn(6, 4, 3, 3).flatten(1))
    grad = randn(6, 4, 3, 3, seed=2)
    for parameter, gradient in ((kernel, grad), (matrix, grad.flatten(1))):
        parameter.grad = gradient
        Muon([parameter], lr=0.5).step()
    assert torch.equal(kernel.flatten(1), matrix)
    step = (kernel - randn(6, 4, 3, 3)).flatten(1) / (0.5 * RMS_OF_ADAM * 36**0.5)
    assert torch.linalg.svdvals(step).max() < 1.3


def test_what_has_no_gradient_stays_and_vectors_are_refused() -> None:
    parameter = nn.Parameter(randn(4, 4))
    Muon([parameter], lr=1.0).step()
    assert torch.equal(parameter, randn(4, 4))
    with pytest.raises(ValueError, match="vectors"):
        Muon([nn.Parameter(randn(4))], lr=1.0)


def test_hidden_weights_leave_out_pixels_codebooks_biases_and_what_is_frozen() -> None:
    config = AutoencoderConfig(z_channels=8, channels=32, channel_multipliers=(1, 1), num_res_blocks=1, attn_resolutions=())
    encoder, decoder, codebook = Encoder(config), Decoder(config), nn.Embedding(16, 8)
    encoder.mid.block_1.conv1.weight.requires_grad_(False)
    module = nn.ModuleDict({"encoder": encoder, "decoder": decoder, "codebook": codebook})
    chosen = {id(weight) for weight in hidden_weights(module)}
    names = {name for name, parameter in module.named_parameters() if id(parameter) in chosen}
    assert {"encoder.conv_out.weight", "decoder.conv_in.weight", "decoder.mid.attn_1.q.weight"} <= names
    left = {"encoder.conv_in.weight", "decoder.conv_out.weight", "codebook.weight", "encoder.mid.block_1.conv1.weight"}
    assert not names & left
    assert all(name.endswith("weight") and "norm" not in name for name in names)


def test_one_optimizer_moves_hidden_weights_by_muon_and_the_others_by_adam() -> None:
    shapes = {"hidden": (6, 9), "matrix": (5, 4), "vector": (7,)}
    ours, theirs = ({name: nn.Parameter(randn(*shape)) for name, shape in shapes.items()} for _ in range(2))
    both = MuonAdamW([ours["hidden"]], [ours["matrix"]], [ours["vector"]], 0.02, betas=(0.9, 0.95), weight_decay=0.1)
    groups = [{"params": [theirs["matrix"]]}, {"params": [theirs["vector"]], "weight_decay": 0.0}]
    adam, muon = torch.optim.AdamW(groups, lr=0.02, betas=(0.9, 0.95), weight_decay=0.1), Muon([theirs["hidden"]], 0.02)
    for step in range(5):
        for weights in (ours, theirs):
            for place, weight in enumerate(weights.values()):
                weight.grad = randn(*weight.shape, seed=10 * step + place)
        both.step()
        with torch.no_grad():
            theirs["hidden"].mul_(1 - 0.02 * 0.1)
        adam.step()
        muon.step()
    for name in shapes:
        assert torch.allclose(ours[name], theirs[name], atol=1e-6), name
        assert not torch.equal(ours[name], randn(*shapes[name]))


def test_one_optimizer_goes_on_from_its_state() -> None:
    def made() -> tuple[list[nn.Parameter], MuonAdamW]:
        weights = [nn.Parameter(randn(4, 6)), nn.Parameter(randn(3, 5)), nn.Parameter(randn(4))]
        return weights, MuonAdamW(weights[:1], weights[1:2], weights[2:], 0.1)

    def moved(weights: list[nn.Parameter], optimizer: MuonAdamW, steps: range) -> None:
        for step in steps:
            for weight in weights:
                weight.grad = randn(*weight.shape, seed=step)
            optimizer.step()

    (whole, optimizer), (parted, first) = made(), made()
    moved(whole, optimizer, range(6))
    moved(parted, first, range(3))
    second = MuonAdamW(parted[:1], parted[1:2], parted[2:], 0.1)
    second.load_state_dict(first.state_dict())
    moved(parted, second, range(3, 6))
    assert all(torch.equal(one, other) for one, other in zip(whole, parted, strict=True))


SHAPES = [(6, 9), (4, 4), (12, 3, 3, 3), (8, 2), (5,)]


def learned(*, shared: bool) -> list[Tensor]:
    """The weights after four steps."""
    generator = torch.Generator().manual_seed(0)
    weights = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    optimizer = MuonAdamW(weights[:3], weights[3:4], weights[4:], 0.1, weight_decay=0.1, shared=shared)
    for step in range(4):
        for place, weight in enumerate(weights):
            weight.grad = torch.randn(weight.shape, generator=generator) if (place, step) != (1, 2) else None
        optimizer.step()
    return [weight.detach() for weight in weights]


def test_processes_that_share_the_iterations_step_as_one_alone_to_the_bit(in_processes: Callable[..., list[int]], tmp_path: Path) -> None:
    def work(rank: int) -> None:
        dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=rank, world_size=2)
        torch.save(learned(shared=True), tmp_path / f"{rank}.pt")
        dist.destroy_process_group()

    assert in_processes(2, work) == [0, 0]
    alone = learned(shared=False)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert all(torch.equal(one, other) for one, other in zip(alone, found, strict=True))


def test_matrices_are_dealt_by_what_they_cost() -> None:
    shapes = [(192, 192)] * 16 + [(192, 512)] * 12
    whose = dealt_by_cost(shapes, 2)
    costs = [sum(min(shape) ** 2 * max(shape) for shape, owner in zip(shapes, whose, strict=True) if owner == rank) for rank in (0, 1)]
    assert costs[0] == costs[1]
    assert dealt_by_cost([(4, 4), (90, 90), (4, 4)], 2) == [1, 0, 1]
    assert dealt_by_cost(shapes, 1) == [0] * 28
    assert set(dealt_by_cost([(2, 2)], 5)) == {0}
