"""What configurations of autoencoders with a Gaussian over latents share; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from tokbench.layout import TokenLayout

PosteriorForm = Literal["mean", "sample"]
"""What encode returns: the posterior's mean, or a sample of it, which needs seeds."""


def check_posterior(posterior: str) -> None:
    """See that it is one of the two.

    Raises:
        ValueError: If it is not.
    """
    if posterior not in ("mean", "sample"):
        raise ValueError(f"posterior is mean or sample, got {posterior!r}")


@runtime_checkable
class Network(Protocol):
    """What is known of a network without building it."""

    @property
    def stride(self) -> int:
        """Pixels a latent covers along each axis."""
        ...

    @property
    def z_channels(self) -> int:
        """Channels of a latent."""
        ...


@dataclass(frozen=True)
class NetworkConfig:
    """Shape of an autoencoder whose network has a configuration of its own.

    Args:
        network: The network.
        posterior: Whether encode returns the posterior's mean or a sample (which needs seeds).

    Raises:
        ValueError: If the posterior is neither.
    """

    network: Network
    posterior: PosteriorForm = "mean"

    def __post_init__(self) -> None:
        check_posterior(self.posterior)

    @property
    def stride(self) -> int:
        """Pixels a latent covers along each axis."""
        return self.network.stride

    def layout(self, height: int, width: int) -> TokenLayout:
        """One latent vector per ``stride`` x ``stride`` pixels."""
        return TokenLayout.strided(height, width, self.stride, channels=self.network.z_channels)
