"""What one training step of a FlowMo tokenizer does: flow matching, and post-training through the whole walk.

Source: Sargent et al., "Flow to the Mode", 2025, stages 1A and 1B; constants as in kylesargent/FlowMo.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tokbench.nn.flow import euler, fat_lognormal, image_estimate, mix, random_walk_times
from tokbench.tokenizers.flowmo.model import FlowMo
from tokbench.train.objective import Objective
from tokbench.train.recipes import FlowLosses, Recipe


class FlowObjective(Objective):
    """Trains a FlowMo tokenizer.

    Stage 1A tells noise from image along the straight path between them, with a perceptual loss on where one step would
    end. Stage 1B (``losses.walk_steps``) keeps the flow loss, and judges the end of a walk of several steps instead, with
    gradients through all of them.

    Args:
        model: The tokenizer, in place.
        recipe: What to do.
        perceptual: Frozen network that maps two batches of images to distances, needed if the recipe weighs it.
    """

    model: FlowMo

    def __init__(self, model: FlowMo, recipe: Recipe, perceptual: nn.Module | None) -> None:
        super().__init__(model, recipe, perceptual)
        assert isinstance(recipe.losses, FlowLosses)
        self.losses = recipe.losses
        self.add_model_optimizers()
        self.norms = {key: weight.detach().norm() for key, weight in self._kept()}

    def step(self, images: Tensor, step: int, generator: torch.Generator) -> dict[str, float]:
        """Train on one batch; see ``Objective.step``."""
        losses, count, device = self.losses, len(images), images.device
        noise = torch.randn(images.shape, generator=generator).to(device)
        times = fat_lognormal(count, generator, uniform_share=losses.uniform_share, mean=losses.time_mean).to(device)
        kept = (torch.rand(count, 1, 1, generator=generator) >= losses.code_dropout).to(images)
        frozen = step >= losses.freeze_encoder_after * self.recipe.steps
        with self.autocast(device):
            with torch.set_grad_enabled(not frozen):
                quantized = self.model(images)
            context = self.model.context(quantized.vectors)
            state = mix(images, noise, times)
            velocity = self.model.velocity(state, context * kept, times)
            estimate = image_estimate(state, velocity, times)
            terms = {"flow": F.mse_loss(velocity, noise - images)}
            if not frozen:
                terms |= quantized.losses
            if self.perceptual is not None:
                ending = estimate if losses.walk_steps == 0 else self._walk(context, images.shape, generator)
                terms["perceptual"] = losses.perceptual_weight * self.perceptual(ending, images).float().mean()
            loss = torch.stack(list(terms.values())).sum()
        self.apply_model(loss, step)
        self._renormalise()
        figures = {"bits_on": float((quantized.vectors > 0).float().mean()), "estimate_psnr": _psnr(estimate, images)}
        return {name: float(value.detach()) for name, value in terms.items()} | figures

    def _walk(self, context: Tensor, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """A sample from fresh noise at random times."""
        noise = torch.randn(shape, generator=generator).to(context.device)
        times = random_walk_times(shape[0], self.losses.walk_steps, generator).to(context.device)

        def velocity(state: Tensor, time: Tensor) -> Tensor:
            if not self.losses.recompute:
                return self.model.velocity(state, context, time)
            result: Any = checkpoint(self.model.velocity, state, context, time, use_reentrant=False)
            return result

        return list(euler(velocity, noise, list(times.unbind(1))))[-1]

    def _kept(self) -> list[tuple[str, Tensor]]:
        """Weights of the linear maps in the blocks, whose Frobenius norm is kept."""
        if not self.losses.keep_norms:
            return []
        layers = ((name, layer) for name, layer in self.model.named_modules() if "double_blocks." in name)
        return [(name, layer.weight) for name, layer in layers if isinstance(layer, nn.Linear)]

    @torch.no_grad()
    def _renormalise(self) -> None:
        for key, weight in self._kept():
            weight.mul_(self.norms[key].to(weight) / weight.norm().clamp_min(1e-12))

    def state_dict(self) -> dict[str, Any]:
        """All training state, the norms to keep too."""
        return super().state_dict() | {"norms": self.norms}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        super().load_state_dict(state)
        self.norms = dict(state["norms"])


def _psnr(images: Tensor, reference: Tensor) -> float:
    return float(-10 * torch.log10(F.mse_loss(images.detach().float(), reference) / 4))
