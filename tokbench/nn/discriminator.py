"""PatchGAN discriminator, with the parameter names of the published VQGAN checkpoints.

    image -> 4x4 convolutions, stride 2 (batch norm, leaky ReLU) -> 4x4, stride 1 -> one logit per overlapping patch

Source: Isola et al. 2017 (pix2pix); CompVis/taming-transformers ``taming/modules/discriminator/model.py``.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.together import mean_of_all, processes


class _Norm(nn.BatchNorm2d):
    """Batch normalisation; in training by the statistics of all processes that train together, with gradients through them.

    ``torch.nn.SyncBatchNorm`` does so on accelerators only.
    """

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if not self.training or processes() == 1:
            return super().forward(input)
        values, count = input.float(), input.numel() // input.shape[1]
        mean = mean_of_all(values.sum(dim=(0, 2, 3)), count)
        centred = values - mean[:, None, None]
        variance = mean_of_all(centred.square().sum(dim=(0, 2, 3)), count)
        self._follow(mean.detach(), variance.detach(), count * processes())
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        self.num_batches_tracked += 1


class PatchDiscriminator(nn.Module):
    """Judges whether patches are real.

    Args:
        channels: Width of the first convolution; it doubles a layer, up to eight times.
        layers: Strided convolutions.
    """

    def __init__(self, *, channels: int = 64, layers: int = 3) -> None:
        super().__init__()
        modules: list[nn.Module] = [nn.Conv2d(3, channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        width = channels
        for n in range(1, layers + 1):
            inputs, width = width, channels * min(2**n, 8)
            stride = 2 if n < layers else 1
            modules += [nn.Conv2d(inputs, width, 4, stride=stride, padding=1, bias=False), _Norm(width), nn.LeakyReLU(0.2)]
        modules.append(nn.Conv2d(width, 1, 4, stride=1, padding=1))
        self.main = nn.Sequential(*modules)
        for module in self.main:
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)
                nn.init.zeros_(module.bias)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h2 w2"]:
        """Return logits: positive for real."""
        return self.main(images)
