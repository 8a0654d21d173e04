"""A diagonal Gaussian over latents, as KL autoencoders encode. Paper: Kingma and Welling, "Auto-Encoding Variational Bayes", 2014."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tokbench.nn.noise import standard_normal
from tokbench.tracing import graph_value


@graph_value
@dataclass(frozen=True)
class Posterior:
    """A diagonal Gaussian over latents; the log-variance is clamped to [-30, 20]."""

    mean: Float[Tensor, "b c h w"]
    logvar: Float[Tensor, "b c h w"]

    @classmethod
    def of(cls, moments: Float[Tensor, "b c2 h w"]) -> Posterior:
        """Read what an encoder gave: means, then log-variances, as channels; in single precision at least."""
        mean, logvar = (moments if moments.dtype == torch.float64 else moments.float()).chunk(2, dim=1)
        return cls(mean, logvar.clamp(-30.0, 20.0))

    @property
    def std(self) -> Float[Tensor, "b c h w"]:
        """Standard deviation."""
        return torch.exp(0.5 * self.logvar)

    def sample(self, noise: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Turn standard normal noise into a sample."""
        return self.mean + self.std * noise

    def drawn(self, seeds: list[int]) -> Float[Tensor, "b c h w"]:
        """The means; with seeds, one an image, a sample whose noise is drawn on the processor."""
        if not seeds:
            return self.mean
        return self.sample(standard_normal(self.mean.shape[1:], seeds, self.mean))

    def kl(self) -> Float[Tensor, " b"]:
        """KL divergence from the standard normal, in nats, summed over an image's latents."""
        return 0.5 * (self.mean.square() + self.logvar.exp() - 1.0 - self.logvar).sum(dim=(1, 2, 3))
