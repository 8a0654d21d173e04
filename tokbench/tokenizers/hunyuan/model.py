"""HunyuanImage's autoencoder (Tencent Hunyuan 2025, HunyuanImage 2.1).

images -> encoder -> (mean, log-variance) -> latents -> decoder -> images
"""

from __future__ import annotations

from torch import Tensor, nn

from tokbench.nn.hunyuan import HunyuanDecoder, HunyuanEncoder
from tokbench.tokenizers.hunyuan.config import HunyuanConfig
from tokbench.tokenizers.hunyuan.keys import from_hunyuan
from tokbench.tokenizers.vae.latents import GaussianTokenizer


class Hunyuan(GaussianTokenizer):
    """Convolutional tokenizer with continuous latents on a 2D grid.

    Args:
        config: Shape of the network; with ``posterior="sample"`` encoding needs seeds.
    """

    config: HunyuanConfig
    peers = ("AutoencoderKLHunyuanImage",)

    def __init__(self, config: HunyuanConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = HunyuanEncoder(config.network)
        self.decoder = HunyuanDecoder(config.network)
        self.quant_conv, self.post_quant_conv = nn.Identity(), nn.Identity()

    @classmethod
    def own_names(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of ``tokbench.nn.hunyuan``; published files have Tencent's or diffusers' names."""
        return from_hunyuan(state)
