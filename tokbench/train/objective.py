"""What one training step of a convolutional autoencoder does: losses, gradients, codebook and discriminator."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokbench.errors import TokbenchError
from tokbench.nn.discriminator import PatchDiscriminator
from tokbench.quantizers.ema import EmaCodebook
from tokbench.tokenizers.conv_vq import ConvVQTokenizer
from tokbench.tokenizers.vae.model import VAE
from tokbench.train.recipes import Recipe


class AutoencoderObjective:
    """Trains a VAE, VQ-VAE or VQGAN; which terms act is data in the recipe.

    Args:
        model: The tokenizer, in place.
        recipe: What to do.
        perceptual: Frozen LPIPS, needed if the recipe weighs it.
    """

    def __init__(self, model: ConvVQTokenizer | VAE, recipe: Recipe, perceptual: nn.Module | None) -> None:
        losses = recipe.losses
        if losses.perceptual_weight and perceptual is None:
            raise ValueError("the recipe has a perceptual loss, pass its network")
        self.model, self.recipe, self.losses, self.perceptual = model, recipe, losses, perceptual
        self.codebook: EmaCodebook | None = None
        if losses.codebook is not None and isinstance(model, ConvVQTokenizer):
            update = losses.codebook
            self.codebook = EmaCodebook(
                model.quantize, decay=update.decay, restart_below=update.restart_below, restart_every=update.restart_every
            )
        parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "model": torch.optim.AdamW(parameters, lr=recipe.learning_rate, betas=recipe.betas, weight_decay=0.0)
        }
        self.discriminator: PatchDiscriminator | None = None
        if losses.adversary is not None:
            rival = losses.adversary
            self.discriminator = PatchDiscriminator(channels=rival.channels, layers=rival.layers)
            self.optimizers["discriminator"] = torch.optim.AdamW(
                self.discriminator.parameters(), lr=rival.learning_rate, betas=(0.5, 0.9), weight_decay=0.0
            )

    def to(self, device: torch.device) -> AutoencoderObjective:
        """Move all training state to a device."""
        for module in (self.model, self.codebook, self.discriminator, self.perceptual):
            if module is not None:
                module.to(device)
        return self

    def step(self, images: Tensor, step: int, generator: torch.Generator) -> dict[str, float]:
        """Train on one batch.

        Args:
            images: RGB in [-1, 1], ``[B, 3, H, W]``.
            step: 0 for the first.
            generator: Noise of this step, on the CPU.

        Returns:
            The losses and other figures worth logging.

        Raises:
            TokbenchError: If the loss is not finite, or the first batch too small to start a codebook from.
        """
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            reconstruction, terms, figures = self._autoencode(images, step, generator)
            reconstruction = reconstruction.float()
            terms["pixel"], error = self._pixel(reconstruction, images)
            if self.perceptual is not None and self.losses.perceptual_weight:
                terms["perceptual"] = self.losses.perceptual_weight * self.perceptual(reconstruction, images).float().mean()
            loss = torch.stack(list(terms.values())).sum()
            if self.discriminator is not None:
                loss = loss + self._adversarial(reconstruction, terms, step, figures)
        if not bool(torch.isfinite(loss)):
            raise TokbenchError(f"training diverged: the loss is {loss.item()} at step {step}; lower the learning rate, or train in fp32")
        self._apply("model", loss)
        if self.discriminator is not None:
            figures["discriminator"] = self._train_discriminator(images, reconstruction.detach())
        return {name: float(value.detach()) for name, value in terms.items()} | figures | {"psnr": float(-10 * torch.log10(error / 4))}

    def _autoencode(self, images: Tensor, step: int, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor], dict[str, float]]:
        if isinstance(self.model, VAE):
            grid = self.model.layout(*images.shape[2:]).grid
            noise = torch.randn((len(images), self.model.config.embed_dim, *grid), generator=generator).to(images.device)
            out = self.model(images, noise)
            return out.images, {"kl": self.losses.kl_weight * out.posterior.kl().mean() / images[0].numel()}, {}
        figures: dict[str, float] = {}
        if self.codebook is not None and step == 0 and self.recipe.init_from is None:
            with torch.no_grad():
                vectors = self.model(images).vectors
            needed = -(-self.model.config.codebook_size // vectors.shape[1])
            if len(images) < needed:
                raise TokbenchError(f"a batch of {len(images)} is too small to start the codebook from; it takes at least {needed}")
            self.codebook.initialise(vectors.flatten(0, 1), generator)
        out = self.model(images)
        codes = out.quantized.codes.flatten()
        counts = torch.bincount(codes, minlength=self.model.config.codebook_size).float()
        share = counts / counts.sum()
        figures["batch_perplexity"] = float(torch.exp(-(share * share.clamp_min(1e-12).log()).sum()))
        if self.codebook is not None:
            figures["restarted"] = float(self.codebook.update(out.vectors.flatten(0, 1), codes, generator))
        return out.images, dict(out.quantized.losses), figures

    def _pixel(self, reconstruction: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        squared = F.mse_loss(reconstruction, images)
        loss = squared if self.losses.pixel == "l2" else F.l1_loss(reconstruction, images)
        return self.losses.pixel_weight * loss, squared.detach()

    def _adversarial(self, reconstruction: Tensor, terms: dict[str, Tensor], step: int, figures: dict[str, float]) -> Tensor | float:
        rival = self.losses.adversary
        assert rival is not None
        assert self.discriminator is not None
        if step < rival.start:
            return 0.0
        generator_loss = -self.discriminator(reconstruction).float().mean()
        weight = adaptive_weight(terms["pixel"] + terms.get("perceptual", 0.0), generator_loss, self.model.decoder.last_weight)
        figures |= {"generator": float(generator_loss.detach()), "adaptive_weight": float(weight)}
        return rival.weight * weight * generator_loss

    def _train_discriminator(self, real: Tensor, fake: Tensor) -> float:
        assert self.discriminator is not None
        with torch.autocast(real.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            loss = hinge_loss(self.discriminator(real).float(), self.discriminator(fake).float())
        self._apply("discriminator", loss)
        return float(loss.detach())

    def _apply(self, name: str, loss: Tensor) -> None:
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, self.recipe.grad_clip)
        optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """All training state beside the step number and the averaged weights."""
        modules = {"model": self.model, "codebook": self.codebook, "discriminator": self.discriminator}
        return {
            "modules": {name: module.state_dict() for name, module in modules.items() if module is not None},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        for name, module in {"model": self.model, "codebook": self.codebook, "discriminator": self.discriminator}.items():
            if module is not None:
                module.load_state_dict(state["modules"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])


def adaptive_weight(nll: Tensor, generator_loss: Tensor, last_weight: Tensor) -> Tensor:
    """VQGAN's balance of the two losses: ``|grad nll| / (|grad generator| + 1e-4)`` at the decoder's last layer, at most 1e4."""
    nll_grad = torch.autograd.grad(nll, last_weight, retain_graph=True)[0]
    generator_grad = torch.autograd.grad(generator_loss, last_weight, retain_graph=True)[0]
    return (nll_grad.norm() / (generator_grad.norm() + 1e-4)).clamp(0.0, 1e4).detach()


def hinge_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Discriminator loss: half the mean of ``relu(1 - real)`` plus half the mean of ``relu(1 + fake)``."""
    return 0.5 * (F.relu(1.0 - real).mean() + F.relu(1.0 + fake).mean())
