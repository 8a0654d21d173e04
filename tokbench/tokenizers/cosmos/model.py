"""Cosmos-Tokenizer on images. Report: Agarwal et al., "Cosmos World Foundation Model Platform for Physical AI", 2025, section 4.

    images -> Haar transform -> encoder -> quant_conv -+-> latents (CI) ---------------+-> post_quant_conv -> decoder -> inverse -> images
                                                       +-> 6 channels of levels (DI) --+

Published as TorchScript archives: ``autoencoder.jit``, or ``encoder.jit`` and ``decoder.jit``. Their tensors are read, their programs are not
run. They compute in bfloat16, this in single precision, so some ids differ from theirs. Source: NVIDIA/Cosmos-Tokenizer
``cosmos_tokenizer/networks``.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from tokbench.nn.autoencoder import Decoder, Encoder
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.conv_vq.config import ConvVQConfig
from tokbench.tokenizers.conv_vq.model import ConvVQTokenizer
from tokbench.tokenizers.cosmos.config import CosmosCIConfig
from tokbench.tokenizers.vae.latents import LatentTokenizer
from tokbench.weights.places import from_torchscript
from tokbench.weights.weight_files import Opened, open_weights

TABLES = ("encoder.patcher.", "decoder.unpatcher.", "quantizer.", "inv_quant.")
"""Constants of the transform and of the levels, which archives hold and no state dict does."""


class _Published(Tokenizer):
    """What both kinds read."""

    @classmethod
    def open_place(cls, place: Path, averages: bool | None) -> Opened:
        """Open weights: an archive, a folder with those of both halves, or a file of tensors."""
        parts = [place / "encoder.jit", place / "decoder.jit"] if place.is_dir() else [place] if place.suffix == ".jit" else []
        if not all(part.is_file() for part in parts):
            parts = [part for part in [place / "autoencoder.jit"] if part.is_file()]
        opened = [open_weights(from_torchscript(part)) for part in parts]
        if not opened:
            return super().open_place(place, averages)
        content = {key: value for part in opened for key, value in part.content.items()}
        files = tuple(file for part in opened for file in part.files)
        return Opened(content, "safetensors", files, places={key: file for part in opened for key, file in part.places.items()})

    @classmethod
    def own_names(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of the published classes; constants of an archive are left out."""
        return {key: value for key, value in state.items() if not key.startswith(TABLES)}


class CosmosDI(_Published, ConvVQTokenizer):
    """Convolutional tokenizer on a Haar transform, whose codes are levels of channels."""


class CosmosCI(_Published, LatentTokenizer):
    """Convolutional tokenizer on a Haar transform, with continuous latents on a 2D grid.

    Args:
        config: Shape of the network.
    """

    config: CosmosCIConfig

    def __init__(self, config: CosmosCIConfig) -> None:
        super().__init__()
        self.config = config
        z, latent = config.autoencoder.z_channels, config.latent_channels
        self.encoder = Encoder(config.autoencoder)
        self.decoder = Decoder(config.autoencoder)
        self.quant_conv = nn.Conv2d(z, latent, 1)
        self.post_quant_conv = nn.Conv2d(latent, z, 1)


def cosmos(config: ConvVQConfig | CosmosCIConfig) -> CosmosDI | CosmosCI:
    """Build the kind that a configuration is of."""
    return CosmosCI(config) if isinstance(config, CosmosCIConfig) else CosmosDI(config)
