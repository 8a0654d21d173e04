"""Muon: momentum whose update is made orthogonal, for the weights of hidden layers.

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), has Nesterov momentum and the quintic
Newton-Schulz coefficients. The step's scale is that of Liu et al., "Muon is Scalable for LLM Training" (2025), equation 4, which makes
learning rates comparable with Adam's. ``torch.optim.Muon`` takes matrices only and always iterates in bfloat16. On a processor without
bfloat16 arithmetic that costs more than the network itself. This one takes convolutions and iterates in the precision it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
RMS_OF_ADAM = 0.2
EPSILON = 1e-8

BETAS = "betas"
"""What a group of parameters has that Adam moves."""


class Muon(torch.optim.Optimizer):
    """Step along the orthogonal factor of the momentum, each weight seen as a matrix of output channels by the rest.

    Args:
        parameters: Weights with at least 2 dimensions.
        lr: Learning rate, on Adam's scale.
        momentum: Momentum of the gradient, Nesterov's form.
        dtype: Dtype of the iterations; bfloat16 moves the step by about 3 % of its norm, and is several times as fast where the
            processor has it.
        shared: Whether the processes of ``torch.distributed`` hold the same weights and gradients. Each then iterates for a part of
            the weights, and hands its part to the others. Steps are the same as without.

    Raises:
        ValueError: If a parameter has fewer than 2 dimensions.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        *,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
        shared: bool = False,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})
        self.dtype, self.shared = dtype, shared
        for group in self.param_groups:
            if BETAS not in group and any(parameter.ndim < 2 for parameter in group["params"]):
                raise ValueError("Muon moves matrices and convolutions; give vectors to another optimizer")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # torch's overloads
        """Move every weight that has a gradient once."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            if BETAS in group:
                for parameter in moved:
                    self._move_by_adam(parameter, group)
            elif moved:
                self._move_along_factors(moved, group)
        return loss

    def _move_along_factors(self, moved: list[Tensor], group: dict[str, Any]) -> None:
        directions = [self._direction(parameter, group["momentum"]) for parameter in moved]
        for parameter, update in zip(moved, self._factors(directions), strict=True):
            scale = RMS_OF_ADAM * max(update.shape) ** 0.5
            parameter.mul_(1 - group["lr"] * group.get("weight_decay", 0.0))
            parameter.sub_(update.reshape(parameter.shape), alpha=group["lr"] * scale)

    def _direction(self, parameter: Tensor, momentum: float) -> Tensor:
        """Nesterov's momentum of a gradient, as a matrix."""
        grad, state = parameter.grad, self.state[parameter]
        assert grad is not None
        if not state:
            state["momentum"] = torch.zeros_like(grad)
        mean = state["momentum"].lerp_(grad, 1 - momentum)
        return grad.lerp(mean, momentum).flatten(1)

    def _factors(self, directions: list[Tensor]) -> list[Tensor]:
        """The orthogonal factor of each direction; of processes that share the work, every one gets all of them."""
        processes = distributed.get_world_size() if self.shared and distributed.is_initialized() else 1
        if processes == 1:
            return [orthogonal(direction.to(self.dtype)).to(direction) for direction in directions]
        whose, rank = dealt_by_cost([direction.shape for direction in directions], processes), distributed.get_rank()
        factors = [
            orthogonal(direction.to(self.dtype)).to(direction) if owner == rank else torch.zeros_like(direction)
            for direction, owner in zip(directions, whose, strict=True)
        ]
        together = torch.cat([factor.flatten() for factor in factors])
        distributed.all_reduce(together)  # a sum of one factor and zeros is that factor, to the bit
        parts = together.split([factor.numel() for factor in factors])
        return [part.view_as(factor) for part, factor in zip(parts, factors, strict=True)]

    def _move_by_adam(self, parameter: Tensor, group: dict[str, Any]) -> None:
        grad, state, (first, second) = parameter.grad, self.state[parameter], group[BETAS]
        assert grad is not None
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        if not state:
            state |= {"step": torch.zeros(()), "exp_avg": torch.zeros_like(grad), "exp_avg_sq": torch.zeros_like(grad)}
        state["step"] += 1
        step = float(state["step"])
        mean = state["exp_avg"].lerp_(grad, 1 - first) / (1 - first**step)
        spread = (state["exp_avg_sq"].mul_(second).addcmul_(grad, grad, value=1 - second) / (1 - second**step)).sqrt_()
        parameter.addcdiv_(mean, spread.add_(EPSILON), value=-group["lr"])


class MuonAdamW(Muon):
    """Muon for the weights of hidden layers and AdamW for all others, as one optimizer: trainers of libraries take one.

    Args:
        hidden: Weights with at least 2 dimensions, for Muon.
        matrices: Other weights that decay, such as embeddings.
        vectors: Weights that do not decay.
        lr: Learning rate of all.
        betas: Betas of AdamW.
        weight_decay: Weight decay of ``hidden`` and ``matrices``, as AdamW has it.
        dtype: See ``Muon``.
        shared: See ``Muon``.
    """

    def __init__(
        self,
        hidden: Iterable[Tensor],
        matrices: Iterable[Tensor],
        vectors: Iterable[Tensor],
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.95),
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.float32,
        shared: bool = False,
    ) -> None:
        groups: list[dict[str, Any]] = [
            {"params": list(hidden), "weight_decay": weight_decay},
            {"params": list(matrices), BETAS: betas, "weight_decay": weight_decay},
            {"params": list(vectors), BETAS: betas, "weight_decay": 0.0},
        ]
        super().__init__([group for group in groups if group["params"]], lr, dtype=dtype, shared=shared)


def orthogonal(matrix: Float[Tensor, "m n"], *, steps: int = 5) -> Float[Tensor, "m n"]:
    """Bring a matrix's singular values near 1, keeping its singular vectors, by Newton-Schulz iterations.

    Args:
        matrix: Any matrix; of zeros it stays zero.
        steps: Iterations; after 5, singular values lie within about 0.7 to 1.2, except those that began tiny.
    """
    a, b, c = COEFFICIENTS
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / (wide.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


def dealt_by_cost(shapes: Sequence[Sequence[int]], processes: int) -> list[int]:
    """Deal matrices to processes so that all have about equal work: the costliest first, each to whoever has least.

    Args:
        shapes: Rows and columns of each.
        processes: How many there are.

    Returns:
        Whose each matrix is, from 0.
    """
    costs = [min(shape) ** 2 * max(shape) for shape in shapes]
    whose, load = [0] * len(costs), [0] * processes
    for index in sorted(range(len(costs)), key=lambda index: -costs[index]):
        owner = load.index(min(load))
        whose[index] = owner
        load[owner] += costs[index]
    return whose


def hidden_weights(module: nn.Module) -> list[nn.Parameter]:
    """Weights Muon is meant for: trainable convolutions and linear maps that neither read nor write pixels (3 channels)."""
    layers = (layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    weights = [weight for layer in layers if isinstance(weight := layer.weight, nn.Parameter)]
    return [weight for weight in weights if weight.requires_grad and min(weight.shape[:2]) > 3]
