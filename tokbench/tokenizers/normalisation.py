"""What a diffusion model reads of latents: numbers that bring them to about unit variance, published beside weights; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import BatchNorm2d


@dataclass(frozen=True)
class Normalisation:
    """Latents as they are trained on: ``(latents - mean) * scale / std``, the order that pipelines of diffusers keep.

    Args:
        mean: Taken off first, called the shift where it is one number; one for all channels, or one a channel.
        std: Divided by, likewise.
        scale: Multiplied with, called the scaling factor.

    Raises:
        ValueError: If a number is not finite, deviations or scale are not positive, or the lists do not fit together.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scale: float = 1.0

    def __post_init__(self) -> None:
        if (
            not self.mean
            or not self.std
            or not all(map(isfinite, self.mean))
            or not all(0 < value < inf for value in (*self.std, self.scale))
        ):
            raise ValueError(f"a normalisation has finite means, positive deviations and a positive scale, got {self}")
        if len({len(self.mean), len(self.std)} - {1}) > 1:
            raise ValueError(f"a normalisation has one mean and deviation, or one a channel, got {len(self.mean)} and {len(self.std)}")

    def fits(self, channels: int) -> bool:
        """Whether it is one of latents with so many channels."""
        return {len(self.mean), len(self.std)} <= {1, channels}

    def applied(self, latents: Tensor) -> Tensor:
        """Normalise latents ``[..., C]``."""
        return (latents - latents.new_tensor(self.mean)) * (self.scale / latents.new_tensor(self.std))

    def undone(self, latents: Tensor) -> Tensor:
        """Turn normalised latents ``[..., C]`` into those that ``decode`` takes."""
        return latents * (latents.new_tensor(self.std) / self.scale) + latents.new_tensor(self.mean)


def from_settings(values: Mapping[str, Any], *, statistics_alone: bool = False) -> Normalisation | None:
    """Read what a ``config.json`` of diffusers says.

    Args:
        values: Settings of an autoencoder.
        statistics_alone: Whether a scaling factor that stands with means and deviations does not count. Pipelines of diffusers apply both;
            the code of REPA-E, whose files have both, takes the statistics alone (End2End-Diffusion/fuse-dit ``diffusion/trainers.py``).

    Returns:
        What they say; None if they say nothing of it.

    Raises:
        ValueError: If they are no such numbers.
    """
    mean, std = values.get("latents_mean"), values.get("latents_std")
    shift, scale = values.get("shift_factor"), values.get("scaling_factor")
    if all(value is None for value in (mean, std, shift, scale)):
        return None
    if statistics_alone and mean is not None and std is not None:
        scale = None
    factors = _numbers(scale, 1.0)
    if len(factors) != 1:
        raise ValueError(f"scaling_factor must be one number, got {scale!r}")
    return Normalisation(_numbers(mean if mean is not None else shift, 0.0), _numbers(std, 1.0), factors[0])


STATISTICS = "latents_stats.pt"
"""What LightningDiT calls the file of an autoencoder's statistics."""

REPA_E_STATISTICS = "-latents-stats.pt"
"""What REPA-E puts behind the name of an autoencoder, ``NAME.pt`` or ``NAME-400k.pt``, for that file."""

DETOK_STATISTICS = "stats.pkl"
"""What l-DeTok calls a file of the statistics of several."""


def from_statistics(values: object, name: str = "") -> Normalisation | None:
    """Read what such a file holds, a number a channel.

    LightningDiT's has tensors ``mean`` and ``std``. That of REPA-E has ``latents_bias``, the mean, and ``latents_scale``, one over the
    deviation. In that of l-DeTok, each autoencoder has a pair ``channel`` by its name. Its tensors go on with the log-variance, which is
    left out.

    Args:
        values: As ``torch.load`` or ``pickle.load`` returns them.
        name: That of the weights' file, by which one of several is chosen: the longest name that it begins with.

    Returns:
        What they say; None if all of several are of other autoencoders.

    Raises:
        ValueError: If they are no such tensors.
    """
    from torch import Tensor

    content = values if isinstance(values, Mapping) else {}
    mean, std = content.get("mean"), content.get("std")
    if "latents_scale" in content:
        mean, scale = content.get("latents_bias"), content["latents_scale"]
        std = 1 / scale if isinstance(scale, Tensor) and not scale.is_meta else None
    several = {key: one["channel"] for key, one in content.items() if isinstance(one, Mapping) and "channel" in one}
    if several:
        fitting = [key for key in several if isinstance(key, str) and name.startswith(key)]
        if not fitting:
            return None
        pair = several[max(fitting, key=len)]
        if not isinstance(pair, tuple) or len(pair) != 2 or not all(isinstance(one, Tensor) and one.ndim == 1 for one in pair):
            raise ValueError("its statistics are no pairs of a mean and a deviation a channel")
        mean, std = (one[: len(one) // 2] for one in pair)
    if not (isinstance(mean, Tensor) and isinstance(std, Tensor)) or mean.is_meta or std.is_meta:
        raise ValueError("it holds no tensors called mean and std")
    return Normalisation(tuple(mean.double().flatten().tolist()), tuple(std.double().flatten().tolist()))


def from_batch_norm(statistics: BatchNorm2d) -> Normalisation:
    """Read the running statistics that FLUX.2 has among its weights.

    Args:
        statistics: Those of latents, without scales and shifts of its own.
    """
    mean, variance = statistics.running_mean, statistics.running_var
    if mean is None or variance is None:
        raise ValueError("a normalisation needs running statistics, and these are not kept")
    return Normalisation(tuple(mean.double().tolist()), tuple((variance.double() + statistics.eps).sqrt().tolist()))


def _numbers(value: Any, default: float) -> tuple[float, ...]:
    """One number or a list of them; ``default`` for none."""
    listed = [default] if value is None else _listed(value)
    if not all(type(number) in (int, float) for number in listed):
        raise ValueError(f"the normalisation of latents must be numbers, got {str(value)[:40]}")
    return tuple(float(number) for number in listed)


def _listed(value: Any) -> list[Any]:
    """Numbers one behind the other, also of a list with the shape ``[1, C, 1, 1]``."""
    listed = value if isinstance(value, list) else [value]
    while len(listed) == 1 and isinstance(listed[0], list):
        listed = listed[0]
    return [_alone(one) for one in listed]


def _alone(value: Any) -> Any:
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value
