"""Configuration of Wan's autoencoders; no torch."""

from __future__ import annotations

from dataclasses import dataclass

from tokbench.nn.configs import WanNetworkConfig
from tokbench.tokenizers.vae.config import NetworkConfig


@dataclass(frozen=True)
class WanConfig(NetworkConfig):
    """Shape of an autoencoder of Wan or Qwen-Image, on stills."""

    network: WanNetworkConfig
