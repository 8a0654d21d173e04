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

    def __init__(self, parameters: Iterable[Tensor], lr: float, *, momentum: float = 0.95, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})
        self.dtype = dtype
        for group in self.param_groups:
            if any(parameter.ndim < 2 for parameter in group["params"]):
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
