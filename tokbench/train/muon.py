"""Muon: momentum whose update is made orthogonal, for the weights of hidden layers.

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), has Nesterov momentum and the quintic
Newton-Schulz coefficients. The step's scale is that of Liu et al., "Muon is Scalable for LLM Training" (2025), equation 4, which makes
learning rates comparable with Adam's. ``torch.optim.Muon`` takes matrices only and always iterates in bfloat16. On a processor without
bfloat16 arithmetic that costs more than the network itself. This one takes convolutions and iterates in the precision it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

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
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})
        self.dtype = dtype
        for group in self.param_groups:
            if BETAS not in group and any(parameter.ndim < 2 for parameter in group["params"]):
                raise ValueError("Muon moves matrices and convolutions; give vectors to another optimizer")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # torch's overloads
        """Move every weight that has a gradient once."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)
        return loss

    def _move(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(grad)
        mean = state["momentum"].lerp_(grad, 1 - group["momentum"])
        update = orthogonal(grad.lerp(mean, group["momentum"]).flatten(1).to(self.dtype)).to(parameter)
        scale = RMS_OF_ADAM * max(update.shape) ** 0.5
        parameter.sub_(update.reshape(parameter.shape), alpha=group["lr"] * scale)


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
    ) -> None:
        groups: list[dict[str, Any]] = [
            {"params": list(hidden), "weight_decay": weight_decay},
            {"params": list(matrices), BETAS: betas, "weight_decay": weight_decay},
            {"params": list(vectors), BETAS: betas, "weight_decay": 0.0},
        ]
        super().__init__([group for group in groups if group["params"]], lr, dtype=dtype)

    def _move(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        if BETAS not in group:
            super()._move(parameter, grad, group)
            return
        state, (first, second) = self.state[parameter], group[BETAS]
        if not state:
            state |= {"step": torch.zeros(()), "exp_avg": torch.zeros_like(grad), "exp_avg_sq": torch.zeros_like(grad)}
        state["step"] += 1
        step = float(state["step"])
        mean = state["exp_avg"].lerp_(grad, 1 - first) / (1 - first**step)
        spread = (state["exp_avg_sq"].mul_(second).addcmul_(grad, grad, value=1 - second) / (1 - second**step)).sqrt_()
        parameter.addcdiv_(mean, spread.add_(EPSILON), value=-group["lr"])


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


def hidden_weights(module: nn.Module) -> list[nn.Parameter]:
    """Weights Muon is meant for: trainable convolutions and linear maps that neither read nor write pixels (3 channels)."""
    layers = (layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    weights = [weight for layer in layers if isinstance(weight := layer.weight, nn.Parameter)]
    return [weight for weight in weights if weight.requires_grad and min(weight.shape[:2]) > 3]
