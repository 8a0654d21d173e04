"""PatchGAN discriminator, with the parameter names of the published VQGAN checkpoints.

    image -> 4x4 convolutions, stride 2 (batch norm, leaky ReLU) -> 4x4, stride 1 -> one logit per overlapping patch

Source: Isola et al. 2017 (pix2pix); CompVis/taming-transformers ``taming/modules/discriminator/model.py``.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


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
            modules += [nn.Conv2d(inputs, width, 4, stride=stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.LeakyReLU(0.2)]
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
