"""Configuration and layout arithmetic of TiTok; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tokbench.layout import TokenLayout, check_one_size
from tokbench.nn.configs import AutoencoderConfig, ViTConfig


@dataclass(frozen=True)
class TiTokConfig:
    """Shape of a TiTok.

    Args:
        encoder: The transformer that fills the tokens.
        decoder: The transformer that fills the patches of the image.
        length: Tokens an image.
        channels: Values of a token.
        codebook_size: Codes; None has tokens of real values, with a Gaussian for each as in a KL autoencoder.
        cosine: Whether codes are compared and read at length 1.
        posterior: Whether encoding without codes returns means or samples (which need seeds).
        image_size: Side of the square images in pixels.
        pixels: The network that makes pixels of features. If there is one, the decoder scores ``pixel_codes`` codes for each patch, whose
            mean by those scores the network is given. If there is none, the decoder makes the pixels itself.
        pixel_codes: Codes of that network, where there is one.
        text: Positions and values of the words' features that a text-aware decoder stands beside; None needs no words.

    Raises:
        ValueError: If a number is not positive, patches do not fill the image, the network makes images of another size, or its design is
            ``magvit2``.
    """

    encoder: ViTConfig
    decoder: ViTConfig
    length: int
    channels: int
    codebook_size: int | None = None
    cosine: bool = False
    posterior: Literal["mean", "sample"] = "mean"
    image_size: int = 256
    pixels: AutoencoderConfig | None = None
    pixel_codes: int = 1024
    text: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if min(self.length, self.channels, self.pixel_codes, *(self.text or ())) < 1:
            raise ValueError(f"length, channels, pixel_codes and text must be positive, got {self}")
        if self.codebook_size is not None and self.codebook_size < 2:
            raise ValueError(f"a codebook needs at least 2 codes, got {self.codebook_size}")
        if self.posterior not in ("mean", "sample") or (self.codebook_size and self.posterior == "sample"):
            raise ValueError(f"posterior is mean, or sample where there is no codebook, got {self.posterior!r}")
        if self.pixels is not None:
            self.pixels.check_design()
        self.encoder.grid(self.image_size)
        made = self.decoder.grid(self.image_size) * (self.decoder.patch_size if self.pixels is None else self.pixels.stride)
        if made != self.image_size:
            raise ValueError(f"the decoder makes images of {made} px, not of image_size={self.image_size}")

    @property
    def stride(self) -> int:
        """Pixels of the encoder's patches along each axis; images have one size."""
        return self.encoder.patch_size

    def layout(self, height: int, width: int) -> TokenLayout:
        """A sequence of ``length`` tokens, for images of one size."""
        codes = self.codebook_size
        check_one_size(height, width, self.image_size, model="TiTok")
        return TokenLayout(
            (height, width), (self.length,), codebook_sizes=(codes,) if codes else (), channels=0 if codes else self.channels
        )
