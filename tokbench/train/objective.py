"""What every training objective shares: optimizers, one way to apply a loss, and state that can be saved and restored."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tokbench.errors import TokbenchError
from tokbench.together import averaging, over_all, processes
from tokbench.train.muon import Muon, hidden_weights
from tokbench.train.recipes import Recipe

T = TypeVar("T")


class Objective(ABC):
    """Trains a tokenizer in place, one batch at a time. Processes that train together give each its share of a batch.

    Args:
        model: The tokenizer.
        recipe: What to do.
        perceptual: Frozen LPIPS, needed if the recipe weighs it.

    Attributes:
        unused: Whether some weights of the model may have no part in a loss.

    Raises:
        ValueError: If the recipe has a perceptual loss and there is no network for it.
    """

    unused = False

    def __init__(self, model: Any, recipe: Recipe, perceptual: nn.Module | None) -> None:
        if recipe.losses.perceptual_weight and perceptual is None:
            raise ValueError("the recipe has a perceptual loss, pass its network")
        self.model, self.recipe, self.perceptual = model, recipe, perceptual
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self._averaging: dict[str, Callable[[Callable[[], Any]], Any]] = {}

    def add_model_optimizers(self) -> None:
        """Give every trainable parameter of the model an optimizer: ``model``, and ``hidden`` for what Muon moves."""
        recipe = self.recipe
        hidden = hidden_weights(self.model) if recipe.optimizer == "muon" else []
        taken = {id(weight) for weight in hidden}
        rest = [p for p in self.model.parameters() if p.requires_grad and id(p) not in taken]
        self.optimizers["model"] = torch.optim.AdamW(rest, lr=recipe.learning_rate, betas=recipe.betas, weight_decay=0.0)
        if hidden:
            dtype = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
            self.optimizers["hidden"] = Muon(hidden, lr=recipe.learning_rate, dtype=dtype, shared=processes() > 1)

    @abstractmethod
    def step(self, images: Tensor, step: int, generator: torch.Generator) -> dict[str, float]:
        """Train on one batch.

        Args:
            images: RGB in [-1, 1], ``[B, 3, H, W]``; those of this process.
            step: 0 for the first.
            generator: Noise of this step, on the CPU; every process has one of the same seed.

        Returns:
            The losses and other figures worth logging, of the whole batch.

        Raises:
            TokbenchError: If the loss is not finite, or the batch cannot be trained on.
        """

    def modules(self) -> dict[str, nn.Module]:
        """Everything that learns, by name."""
        return {"model": self.model}

    def to(self, device: torch.device) -> Objective:
        """Move all training state to a device."""
        for module in (*self.modules().values(), self.perceptual):
            if module is not None:
                module.to(device)
        return self

    def autocast(self, device: torch.device) -> torch.autocast:
        """The recipe's precision, as a context."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16")

    def together(self, name: str, losses: Callable[[], T]) -> T:
        """Compute losses of one of the modules.

        Args:
            name: One of ``modules``.
            losses: Returns tensors, also in tuples and dictionaries; the one that ``apply`` is given must be among them. Its gradients
                are then averaged over the processes.
        """
        if name not in self._averaging:
            self._averaging[name] = averaging(self.modules()[name], unused=self.unused and name == "model")
        result: T = self._averaging[name](losses)
        return result

    def figures(self, values: Mapping[str, Tensor | float]) -> dict[str, float]:
        """Take figures of this process to their means over all of them, which are those of the whole batch."""
        found = {name: float(value.detach()) if isinstance(value, Tensor) else float(value) for name, value in values.items()}
        means = over_all(torch.tensor(list(found.values()), dtype=torch.float64)) / processes()
        return dict(zip(found, means.tolist(), strict=True))

    def apply_model(self, loss: Tensor, step: int) -> None:
        """Move the model against a loss.

        Raises:
            TokbenchError: If the loss or its gradient is not finite.
        """
        self.apply(loss, step, *(name for name in ("model", "hidden") if name in self.optimizers))

    def apply(self, loss: Tensor, step: int, *names: str) -> None:
        """Move what the named optimizers hold, with the gradients of all of them clipped together.

        Raises:
            TokbenchError: If the loss or its gradient is not finite; then nothing has moved.
        """
        value = float(over_all(loss.detach().clone())) / processes()
        if not math.isfinite(value):
            raise _diverged(f"the loss is {value}" if names[0] == "model" else f"the loss of the {names[0]} is {value}", step)
        optimizers = [self.optimizers[name] for name in names]
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self.recipe.grad_clip)
        if not bool(torch.isfinite(norm)):
            raise _diverged(f"the gradient of the {names[0]} has length {norm.item()}", step)
        for optimizer in optimizers:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """All training state beside the step number and the averaged weights."""
        return {
            "modules": {name: module.state_dict() for name, module in self.modules().items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        for name, module in self.modules().items():
            module.load_state_dict(state["modules"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])


def psnr(error: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error of images in [-1, 1]."""
    return float(-10 * torch.log10(torch.tensor(error) / 4))


def _diverged(what: str, step: int) -> TokbenchError:
    return TokbenchError(
        f"training diverged: {what} at step {step}; lower the learning rate, or train in fp32. The last checkpoint is as it was"
    )
