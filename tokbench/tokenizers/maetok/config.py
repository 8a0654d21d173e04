"""Configuration of MAETok; no torch."""

from __future__ import annotations

from dataclasses import dataclass

from tokbench.nn.configs import check_turned
from tokbench.tokenizers.softvq.config import SequenceConfig


@dataclass(frozen=True)
class MAETokConfig(SequenceConfig):
    """Shape of a MAETok.

    Args:
        encoder: The transformer that fills the tokens.
        decoder: The transformer that fills the patches of the image; its patches are the encoder's.
        length: Tokens an image.
        channels: Values of a token.
        image_size: Side of the square images in pixels.
        conditioned: Whether latents scale and shift their tokens in every block of the decoder, whose normalisations have no weights then.
        class_token: Whether the decoder has a class token, as the encoder does.

    Raises:
        ValueError: If a number is not positive, or patches of both sides are not of one size or do not fill the image. Also if the channels
            of a head cannot be shared by rows and columns.
    """

    model = "MAETok"

    conditioned: bool = True
    class_token: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_turned(self.encoder, self.decoder)
