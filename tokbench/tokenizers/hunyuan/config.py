"""Configuration of HunyuanImage's autoencoder; no torch."""

from __future__ import annotations

from dataclasses import dataclass

from tokbench.nn.configs import HunyuanNetworkConfig
from tokbench.tokenizers.vae.config import NetworkConfig


@dataclass(frozen=True)
class HunyuanConfig(NetworkConfig):
    """Shape of an autoencoder of HunyuanImage."""

    network: HunyuanNetworkConfig
