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
from tokbench.together import own_rows, processes
from tokbench.tokenizers.flowmo.model import FlowMo
from tokbench.train.objective import Objective, psnr
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
    unused = True  # in the last blocks, what the other stream would go on with; the encoder, once it stands still

    def __init__(self, model: FlowMo, recipe: Recipe, perceptual: nn.Module | None) -> None:
        super().__init__(model, recipe, perceptual)
        assert isinstance(recipe.losses, FlowLosses)
        self.losses = recipe.losses
        self.add_model_optimizers()
        self.norms = {key: weight.detach().norm() for key, weight in self._kept()}

    def step(self, images: Tensor, step: int, generator: torch.Generator) -> dict[str, float]:
        """Train on one batch; see ``Objective.step``."""
        rules, count, device = self.losses, len(images) * processes(), images.device
        noise = own_rows(torch.randn((count, *images.shape[1:]), generator=generator)).to(device)
        times = own_rows(fat_lognormal(count, generator, uniform_share=rules.uniform_share, mean=rules.time_mean)).to(device)
        kept = own_rows(torch.rand(count, 1, 1, generator=generator) >= rules.code_dropout).to(images)
        frozen = step >= rules.freeze_encoder_after * self.recipe.steps

        def losses() -> tuple[Tensor, dict[str, Tensor]]:
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
                    ending = estimate if rules.walk_steps == 0 else self._walk(context, images.shape, generator)
                    terms["perceptual"] = rules.perceptual_weight * self.perceptual(ending, images).float().mean()
                loss = torch.stack(list(terms.values())).sum()
            error = F.mse_loss(estimate.detach().float(), images)
            figures = terms | {"bits_on": (quantized.vectors > 0).float().mean(), "error": error}
            return loss, {name: value.detach() for name, value in figures.items()}

        loss, figures = self.together("model", losses)
        self.apply_model(loss, step)
        self._renormalise()
        found = self.figures(figures)
        error = found.pop("error")
        return found | {"estimate_psnr": psnr(error)}

    def _walk(self, context: Tensor, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """A sample from fresh noise at random times."""
        count = shape[0] * processes()
        noise = own_rows(torch.randn((count, *shape[1:]), generator=generator)).to(context.device)
        times = own_rows(random_walk_times(count, self.losses.walk_steps, generator)).to(context.device)

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
