"""Configuration of a tokenizer that another library builds: the library's class and that class's own settings; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from tokbench.configs import canonical_json
from tokbench.json_files import parse_json
from tokbench.layout import TokenLayout
from tokbench.tokenizers.normalisation import Normalisation, from_settings


@dataclass(frozen=True)
class LibraryConfig:
    """What all of them have; a subclass says how the layout follows from the settings.

    Args:
        settings: Settings of the library's class, as its ``config.json`` has them, in one line of canonical JSON. The ``config.json`` of a
            folder takes their place; what is not said there is written out with the library's default.
        library_class: Name of the library's class.

    Raises:
        ValueError: If the settings are no JSON object, if the layout does not follow from them, or they name code to be fetched or
            are not for RGB images.
    """

    settings: str
    library_class: str

    def __post_init__(self) -> None:
        if bool(self.codebook_size) == bool(self.channels) or self.stride < 1:
            raise ValueError(f"settings of {self.library_class} make neither codes nor latents")
        if key := next((key for key in self.values if "_implementation" in key), ""):
            raise ValueError(f"settings of {self.library_class} name an {key[:40]}, which its library may fetch and run; leave it out")
        from_settings(self.values)
        for key in ("in_channels", "out_channels", "encoder_in_channels", "input_channels"):
            channels = self.image_channels if key == "out_channels" else self.input_channels
            if self.values.get(key, channels) != channels:
                what = "images have 3 channels" if channels == 3 else f"here images make {channels} channels"
                raise ValueError(f"{what}, {self.library_class} is set to {key} {self.values[key]}")

    @property
    def values(self) -> Mapping[str, Any]:
        """The settings by name."""
        return _parsed(self.settings)

    def number(self, name: str) -> int:
        """A setting that is a positive whole number."""
        value = self._value(name)
        if type(value) is not int or value < 1:
            raise ValueError(f"{name} of {self.library_class} must be a positive whole number, got {value!r}")
        return value

    def listed(self, name: str) -> list[int]:
        """A setting that is a list of whole numbers, one a level."""
        value = self._value(name)
        if not isinstance(value, list) or not value or not all(type(item) is int and item >= 0 for item in value):
            raise ValueError(f"{name} of {self.library_class} must be a list of whole numbers, one a level, got {value!r}")
        return value

    def halved(self, name: str) -> int:
        """How many pixels a position of the last level covers along each axis, if each has half the sides of the one before.

        Args:
            name: A setting that lists something of every level.
        """
        return int(2 ** (len(self.listed(name)) - 1))

    def _value(self, name: str) -> Any:
        if name not in self.values:
            raise ValueError(f"settings of {self.library_class} lack {name}")
        return self.values[name]

    @property
    def stride(self) -> int:
        """Pixels a token covers along each axis."""
        raise NotImplementedError

    @property
    def codebook_size(self) -> int:
        """Entries of the codebook; 0 for continuous latents."""
        return 0

    @property
    def channels(self) -> int:
        """Values per position of continuous latents; 0 for discrete tokens."""
        return 0

    @property
    def normalisation(self) -> Normalisation | None:
        """How diffusion models read its latents, as the settings say; None where they say nothing, or numbers of other latents."""
        found = from_settings(self.values)
        return found if found is not None and self.channels and found.fits(self.channels) else None

    @property
    def image_channels(self) -> int:
        """Channels of what its network takes and gives for an image."""
        return 3

    @property
    def input_channels(self) -> int:
        """What its settings call the channels that its network takes."""
        return self.image_channels

    def layout(self, height: int, width: int) -> TokenLayout:
        """One token or latent vector per ``stride`` x ``stride`` pixels."""
        sizes = (self.codebook_size,) if self.codebook_size else ()
        return TokenLayout.strided(height, width, self.stride, codebook_sizes=sizes, channels=self.channels)

    @property
    def encode_is_stochastic(self) -> bool:
        """Whether encode draws noise."""
        return False

    @property
    def decode_is_stochastic(self) -> bool:
        """Whether decode draws noise."""
        return False


def settings_of(values: Mapping[str, Any]) -> str:
    """Write settings as ``LibraryConfig`` holds them."""
    return canonical_json(values)


@cache
def _parsed(text: str) -> Mapping[str, Any]:
    values = parse_json(text)  # its error is a ValueError
    if not isinstance(values, dict):
        raise ValueError(f"settings must be a JSON object, got {text[:40]}")
    return values
