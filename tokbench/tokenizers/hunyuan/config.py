"""Configuration and layout arithmetic of HunyuanImage's autoencoder; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tokbench.layout import TokenLayout
from tokbench.nn.configs import HunyuanNetworkConfig


@dataclass(frozen=True)
class HunyuanConfig:
    """Shape of an autoencoder of HunyuanImage.

    Args:
        network: The network.
        posterior: Whether encode returns the posterior's mean or a sample (which needs seeds).

    Raises:
        ValueError: If the posterior is neither.
    """

    network: HunyuanNetworkConfig
    posterior: Literal["mean", "sample"] = "mean"

    def __post_init__(self) -> None:
        if self.posterior not in ("mean", "sample"):
            raise ValueError(f"posterior is mean or sample, got {self.posterior!r}")

    @property
    def stride(self) -> int:
        """Pixels a latent covers along each axis."""
        return self.network.stride

    def layout(self, height: int, width: int) -> TokenLayout:
        """One latent vector per ``stride`` x ``stride`` pixels."""
        return TokenLayout.strided(height, width, self.stride, channels=self.network.z_channels)
