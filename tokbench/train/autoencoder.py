"""What one training step of a convolutional autoencoder does: losses, gradients, codebook and discriminator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Int64
from torch import Tensor, nn

from tokbench.errors import TokbenchError
from tokbench.nn.discriminator import PatchDiscriminator
from tokbench.quantizers.configs import VQ, QuantizerConfig, ResidualVQ
from tokbench.quantizers.ema import EmaCodebook
from tokbench.quantizers.starting import start_codebooks
from tokbench.quantizers.vq import VectorQuantizer
from tokbench.together import all_rows, over_all, own_rows, processes
from tokbench.tokenizers.conv_vq.model import ConvVQTokenizer
from tokbench.tokenizers.vae.model import VAE
from tokbench.train.objective import Objective, psnr
from tokbench.train.recipes import AutoencoderLosses, Recipe


class AutoencoderObjective(Objective):
    """Trains a VAE, VQ-VAE or VQGAN; which terms act is data in the recipe.

    Args:
        model: The tokenizer, in place.
        recipe: What to do.
        perceptual: Frozen LPIPS, needed if the recipe weighs it.

    Attributes:
        fresh_codebook: Whether the first batch shall start the codebook, because no weights brought one.
    """

    model: ConvVQTokenizer | VAE

    def __init__(self, model: ConvVQTokenizer | VAE, recipe: Recipe, perceptual: nn.Module | None) -> None:
        super().__init__(model, recipe, perceptual)
        assert isinstance(recipe.losses, AutoencoderLosses)
        self.losses = recipe.losses
        self.fresh_codebook = recipe.init_from is None
        self.codebook: EmaCodebook | None = None
        if self.losses.codebook is not None and isinstance(model, ConvVQTokenizer) and _takes_averages(model.config.quantizer):
            update = self.losses.codebook
            assert isinstance(model.quantize, VectorQuantizer)
            self.codebook = EmaCodebook(
                model.quantize, decay=update.decay, restart_below=update.restart_below, restart_every=update.restart_every
            )
        self.unused = self.codebook is None and isinstance(model, ConvVQTokenizer) and _stands_still(model.config.quantizer)
        self.add_model_optimizers()  # after the codebook: what moves by averages is not trained
        self.discriminator: PatchDiscriminator | None = None
        if self.losses.adversary is not None:
            rival = self.losses.adversary
            self.discriminator = PatchDiscriminator(channels=rival.channels, layers=rival.layers)
            self.optimizers["discriminator"] = torch.optim.AdamW(
                self.discriminator.parameters(), lr=rival.learning_rate, betas=(0.5, 0.9), weight_decay=0.0
            )

    def modules(self) -> dict[str, nn.Module]:
        """Model, codebook averages and discriminator, as far as there are any."""
        own = {"codebook": self.codebook, "discriminator": self.discriminator}
        return super().modules() | {name: module for name, module in own.items() if module is not None}

    def step(self, images: Tensor, step: int, generator: torch.Generator) -> dict[str, float]:
        """Train on one batch; see ``Objective.step``."""

        def losses() -> tuple[Tensor, Tensor, dict[str, Tensor], dict[str, Tensor | float]]:
            with self.autocast(images.device):
                reconstruction, terms, figures = self._autoencode(images, step, generator)
                reconstruction = reconstruction.float()
                terms["pixel"], figures["error"] = self._pixel(reconstruction, images)
                if self.perceptual is not None and self.losses.perceptual_weight:
                    terms["perceptual"] = self.losses.perceptual_weight * self.perceptual(reconstruction, images).float().mean()
                loss = torch.stack(list(terms.values())).sum()
                if self.discriminator is not None:
                    loss = loss + self._adversarial(reconstruction, terms, step, figures)
            return loss, reconstruction.detach(), {name: term.detach() for name, term in terms.items()}, figures

        loss, reconstruction, terms, figures = self.together("model", losses)
        self.apply_model(loss, step)
        if self.discriminator is not None:
            figures["discriminator"] = self._train_discriminator(images, reconstruction, step)
        found = self.figures(terms | figures)
        error = found.pop("error")
        return found | {"psnr": psnr(error)}

    def _autoencode(
        self, images: Tensor, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor | float]]:
        if isinstance(self.model, VAE):
            grid = self.model.layout(*images.shape[2:]).grid
            noise = torch.randn((len(images) * processes(), self.model.config.embed_dim, *grid), generator=generator)
            out = self.model(images, own_rows(noise).to(images.device))
            return out.images, {"kl": self.losses.kl_weight * out.posterior.kl().mean() / images[0].numel()}, {}
        figures: dict[str, Tensor | float] = {}
        if step == 0 and self.fresh_codebook:
            self._start_codebook(images, generator)
        out = self.model(images, generator=generator)
        figures["batch_perplexity"] = perplexity(all_rows(out.quantized.codes))
        if self.codebook is not None:
            codes = out.quantized.codes.flatten()
            figures["restarted"] = float(self.codebook.update(out.vectors.flatten(0, 1), codes, generator))
        return out.images, dict(out.quantized.losses), figures

    def _start_codebook(self, images: Tensor, generator: torch.Generator) -> None:
        assert isinstance(self.model, ConvVQTokenizer)
        with torch.no_grad():
            vectors = self.model(images, generator=generator).vectors.flatten(0, 1)
        if self.codebook is None:
            start_codebooks(self.model.quantize, vectors, generator)
        else:
            positions = len(vectors) // len(images)
            needed = -(-self.model.config.quantizer.codebook_sizes[0] // positions)
            count = len(images) * processes()
            if count < needed:
                raise TokbenchError(f"a batch of {count} is too small to start the codebook from; it takes at least {needed}")
            self.codebook.initialise(vectors, generator)

    def _pixel(self, reconstruction: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        squared = F.mse_loss(reconstruction, images)
        loss = squared if self.losses.pixel == "l2" else F.l1_loss(reconstruction, images)
        return self.losses.pixel_weight * loss, squared.detach()

    def _adversarial(
        self, reconstruction: Tensor, terms: dict[str, Tensor], step: int, figures: dict[str, Tensor | float]
    ) -> Tensor | float:
        rival = self.losses.adversary
        assert rival is not None
        assert self.discriminator is not None
        if step < rival.start:
            return 0.0
        generator_loss = -self.discriminator(reconstruction).float().mean()
        weight = adaptive_weight(terms["pixel"] + terms.get("perceptual", 0.0), generator_loss, self.model.decoder.last_weight)
        figures |= {"generator": generator_loss.detach(), "adaptive_weight": weight}
        return rival.weight * weight * generator_loss

    def _train_discriminator(self, real: Tensor, fake: Tensor, step: int) -> Tensor:
        judge = self.discriminator
        assert judge is not None

        def losses() -> Tensor:
            with self.autocast(real.device):
                return hinge_loss(judge(real).float(), judge(fake).float())

        loss = self.together("discriminator", losses)
        self.apply(loss, step, "discriminator")
        return loss.detach()


def perplexity(codes: Int64[Tensor, "b l k"]) -> float:
    """How many codes of a codebook a batch uses, as ``exp`` of the entropy of their frequencies; the geometric mean over codebooks."""
    entropies = []
    for book in codes.flatten(0, 1).unbind(dim=-1):
        share = book.unique(return_counts=True)[1].double() / len(book)
        entropies.append(-(share * share.log()).sum())
    return float(torch.stack(entropies).mean().exp())


def _takes_averages(quantizer: QuantizerConfig) -> bool:
    """Whether moving averages can learn a codebook; any other quantizer learns by its own losses."""
    return isinstance(quantizer, VQ) and not quantizer.cosine and quantizer.loss_form == "commitment"


def _stands_still(quantizer: QuantizerConfig) -> bool:
    """Whether a codebook has no loss of its own, so that it stays as it began unless averages move it."""
    return isinstance(quantizer, VQ | ResidualVQ) and quantizer.loss_form == "commitment"


def adaptive_weight(nll: Tensor, generator_loss: Tensor, last_weight: Tensor) -> Tensor:
    """VQGAN's balance of the two losses: ``|grad nll| / (|grad generator| + 1e-4)`` at the decoder's last layer, at most 1e4.

    The gradients are those of the whole batch, where processes train together.
    """
    grads = [torch.autograd.grad(loss, last_weight, retain_graph=True)[0] for loss in (nll, generator_loss)]
    nll_grad, generator_grad = (over_all(grad.contiguous()) / processes() for grad in grads)
    return (nll_grad.norm() / (generator_grad.norm() + 1e-4)).clamp(0.0, 1e4).detach()


def hinge_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Discriminator loss: half the mean of ``relu(1 - real)`` plus half the mean of ``relu(1 + fake)``."""
    return 0.5 * (F.relu(1.0 - real).mean() + F.relu(1.0 + fake).mean())
