"""What VAR and Infinity share: the convolutional autoencoder around codes of several scales.

    images -> encoder -> quant_conv -> codes of 1x1, 2x2, ... positions -> sum of all maps -> post_quant_conv -> decoder -> images

The codes of the first scales alone decode to coarser images of full size.
"""

from __future__ import annotations

from torch import Tensor, nn

from tokbench.quantizers.multiscale import MultiScaleQuantizer
from tokbench.tokenizers.conv_vq.model import ConvVQTokenizer
from tokbench.tokenizers.multiscale.config import MultiScaleConfig
from tokbench.tokens import DiscreteTokens


class MultiScaleTokenizer(ConvVQTokenizer):
    """Convolutional tokenizer with maps of codes, coarse to fine, as one sequence.

    Args:
        config: Shape of the network, its quantizer and the scales.
    """

    config: MultiScaleConfig
    quantize: MultiScaleQuantizer
    tileable = False

    def __init__(self, config: MultiScaleConfig) -> None:
        super().__init__(config)
        z, code, kernel = config.autoencoder.z_channels, config.quantizer.channels, config.code_kernel
        self.quantize = MultiScaleQuantizer(
            config.quantizer.build(),
            code,
            config.scales,
            enlarge=config.enlarge,
            blends=config.blends,
            blend=config.blend,
            widths=config.widths,
        )
        if config.quant_convs:
            self.quant_conv = nn.Conv2d(z, code, kernel, padding=kernel // 2)
            self.post_quant_conv = nn.Conv2d(code, z, kernel, padding=kernel // 2)

    def _encode(self, images: Tensor, seeds: list[int]) -> DiscreteTokens:
        vectors, _ = self._vectors(images)
        return DiscreteTokens(self.quantize.codes(vectors), (self.quantize.lengths[-1],), self.quantize.codebook_sizes)

    def _decode(self, tokens: DiscreteTokens, seeds: list[int]) -> Tensor:
        return self._render(self._embed(tokens.codes), self.config.grid)

    def _image_size(self, grid: tuple[int, ...]) -> tuple[int, int]:
        if len(grid) != 1:
            raise ValueError(f"{self.name or type(self).__name__} takes a sequence of codes, got a grid {grid}")
        height, width = self.config.grid
        return height * self.stride, width * self.stride
