"""Configuration and layout arithmetic of RAE; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tokbench.layout import TokenLayout, check_one_size
from tokbench.tokenizers.library.config import LibraryConfig

STATISTICS = ("latents_mean", "latents_std")
"""Settings with as many numbers as an image has latents. The weights hold them too, so the configuration does not."""


@dataclass(frozen=True)
class RAEConfig(LibraryConfig):
    """Continuous latents, normalised by the network itself: features of an encoder, whose input the images are resized to.

    Args:
        settings: Settings of the class, without ``STATISTICS``.
        library_class: The class.
        statistics: Whether the weights have a mean and a deviation of every latent.

    Raises:
        ValueError: If settings are missing, hold statistics, or the network would draw images of another size than they say.
    """

    library_class: Literal["AutoencoderRAE"] = "AutoencoderRAE"
    statistics: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if held := [key for key in STATISTICS if self.values.get(key) is not None]:
            raise ValueError(f"settings of {self.library_class} leave out {', '.join(held)}, which the weights hold")
        if self.number("encoder_input_size") % self.number("encoder_patch_size"):
            raise ValueError(f"encoder_input_size of {self.library_class} must be a multiple of encoder_patch_size")
        if self.values.get("image_size") not in (None, self.image_size):
            raise ValueError(f"image_size of {self.library_class} must be {self.image_size}, got {self.values['image_size']}")
        if self.values.get("reshape_to_2d") is False:
            raise ValueError(f"latents of {self.library_class} are a grid here; leave reshape_to_2d out")

    @property
    def stride(self) -> int:
        """Pixels a latent is drawn as along each axis; the encoder's patches may be smaller, of smaller images."""
        return self.number("patch_size")

    @property
    def channels(self) -> int:
        """Values of a latent."""
        return self.number("encoder_hidden_size")

    @property
    def side(self) -> int:
        """Latents along each axis."""
        return self.number("encoder_input_size") // self.number("encoder_patch_size")

    @property
    def image_size(self) -> int:
        """Side of the square images that are drawn, in pixels."""
        return self.side * self.stride

    @property
    def normalisation(self) -> None:
        """Its tokens are normalised already."""
        return None

    def layout(self, height: int, width: int) -> TokenLayout:
        """One latent per ``stride`` x ``stride`` pixels, for images of one size."""
        check_one_size(height, width, self.image_size, model="RAE")
        return super().layout(height, width)
