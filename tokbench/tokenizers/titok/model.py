"""TiTok. Paper: Yu et al., "An Image is Worth 32 Tokens for Reconstruction and Generation", 2024. For TA-TiTok: Kim et al.,
"Democratizing Text-to-Image Masked Generative Models with Compact Text-Aware One-Dimensional Tokens", 2025.

    image patches --+                                           codes -> vectors --+
                    +-> encoder -> N vectors -> N codes                            +-> decoder -> patches -> pixels
    N latent tokens +                                             mask tokens -----+
                                                    features of words, if any -----+

The first models, those of two steps, have pixels made by MaskGIT's decoder, from the mean of its codes by the scores of each patch.
Parameter names are those of bytedance/1d-tokenizer ``modeling/titok.py``; those of MaskGIT's decoder become VQGAN's on reading.
"""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.errors import TokbenchError
from tokbench.linear import Linear
from tokbench.nn import autoencoder
from tokbench.nn.posterior import Posterior
from tokbench.nn.vit import ViT, learned
from tokbench.quantizers.base import check_finite
from tokbench.quantizers.vq import VectorQuantizer
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.titok.config import TiTokConfig
from tokbench.tokens import ContinuousTokens, DiscreteTokens, Tokens
from tokbench.weights.key_maps.taming import to_taming


class Encoder(ViT):
    """Patches and latent tokens to one vector a latent token, with mean and log-variance where there are no codes."""

    def __init__(self, config: TiTokConfig) -> None:
        super().__init__(config.encoder)
        width, patch, side = config.encoder.width, config.encoder.patch_size, config.encoder.grid(config.image_size)
        self.two_steps = config.pixels is not None
        self.patch_embed = nn.Conv2d(3, width, patch, stride=patch)
        self.class_embedding = learned(1, width)
        self.positional_embedding = learned(1 + side**2, width)
        self.latent_token_positional_embedding = learned(config.length, width)
        self.conv_out = nn.Conv2d(width, config.channels * (1 if config.codebook_size else 2), 1)

    def forward(self, images: Float[Tensor, "b 3 h w"], latents: Float[Tensor, "n d"]) -> Float[Tensor, "b c 1 n"]:
        """Encode images in [0, 1]."""
        patches = rearrange(self.patch_embed(images), "b w gh gw -> b (gh gw) w")
        image = torch.cat([self.class_embedding.expand(len(images), 1, -1), patches], dim=1) + self.positional_embedding
        latents = (latents + self.latent_token_positional_embedding).expand(len(images), -1, -1)
        x = self.transform(torch.cat([image, latents], dim=1), slice(image.shape[1], None))
        if self.two_steps:  # upstream reshaped where it meant to transpose, and the published weights were trained so
            return self.conv_out(x.reshape(len(x), x.shape[2], 1, x.shape[1]))
        return self.conv_out(rearrange(x, "b n w -> b w 1 n"))


class Decoder(ViT):
    """Vectors of tokens to images, or to scores of the pixel network's codes."""

    def __init__(self, config: TiTokConfig) -> None:
        super().__init__(config.decoder)
        width, patch, self.side = config.decoder.width, config.decoder.patch_size, config.decoder.grid(config.image_size)
        self.patch, self.two_steps = patch, config.pixels is not None
        self.decoder_embed = Linear(config.channels, width)
        self.class_embedding = learned(1, width)
        self.positional_embedding = learned(1 + self.side**2, width)
        self.mask_token = learned(1, 1, width)
        self.latent_token_positional_embedding = learned(config.length, width)
        if config.text:
            self.text_guidance_proj = Linear(config.text[1], width)
            self.text_guidance_positional_embedding = learned(config.text[0], width)
        if self.two_steps:
            self.ffn = nn.Sequential(nn.Conv2d(width, 2 * width, 1), nn.Tanh(), nn.Conv2d(2 * width, config.pixel_codes, 1))
        else:
            self.ffn = nn.Sequential(nn.Conv2d(width, 3 * patch**2, 1))
            self.conv_out = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, vectors: Float[Tensor, "b n c"], text: Float[Tensor, "b t d"] | None) -> Float[Tensor, "b o h w"]:
        """Decode vectors, beside the features of words where the decoder is text-aware."""
        b, patches = len(vectors), self.side**2
        masks = torch.cat([self.class_embedding.expand(b, 1, -1), self.mask_token.expand(b, patches, -1)], dim=1)
        parts = [masks + self.positional_embedding, self.decoder_embed(vectors) + self.latent_token_positional_embedding]
        if text is not None:
            parts.append(self.text_guidance_proj(text) + self.text_guidance_positional_embedding)
        x = self.transform(torch.cat(parts, dim=1), slice(1, 1 + patches))
        out = self.ffn(rearrange(x, "b (h w) d -> b d h w", h=self.side))
        if self.two_steps:
            return out
        return self.conv_out(rearrange(out, "b (ph pw c) h w -> b c (h ph) (w pw)", ph=self.patch, pw=self.patch))


class TiTok(Tokenizer):
    """Transformer tokenizer with a 1D sequence of codes or latents, for images of one size.

    Args:
        config: Shape of the networks and of a token; with ``posterior="sample"`` encoding needs seeds.
    """

    config: TiTokConfig
    tileable = False

    def __init__(self, config: TiTokConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.latent_tokens = learned(config.length, config.encoder.width)
        self.decoder = Decoder(config)
        if config.codebook_size:
            self.quantize = VectorQuantizer(config.codebook_size, config.channels, cosine=config.cosine)
        if config.pixels is not None:
            self.pixel_quantize = VectorQuantizer(config.pixel_codes, config.pixels.z_channels)
            self.pixel_decoder = autoencoder.Decoder(config.pixels)

    @property
    def encode_is_stochastic(self) -> bool:  # type: ignore[override]  # depends on the configuration here
        """Encoding draws noise only with ``posterior="sample"``."""
        return self.config.posterior == "sample"

    @classmethod
    def own_names(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Those of 1d-tokenizer, but for the pixel network, whose names become VQGAN's."""
        return to_taming(state)

    def features(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c 1 n"]:
        """Encode images to what is quantized, or to means and log-variances (differentiable)."""
        return self.encoder((images + 1) / 2, self.latent_tokens)

    @torch.no_grad()
    def decode_with_text(self, tokens: Tokens, text: Float[Tensor, "b t d"]) -> Float[Tensor, "b 3 h w"]:
        """Turn tokens into images beside words, for a text-aware decoder.

        Args:
            tokens: As ``encode`` returns them.
            text: Features of the words that belong to each image, all positions. The published models were trained on those of the last
                layer of CLIP ViT-L/14 at 336 px, after its final normalisation.

        Returns:
            RGB, nominally in [-1, 1].

        Raises:
            ValueError: If the decoder takes no words, or the features or tokens are not of its kind.
        """
        self._check_tokens(tokens)
        if self.config.text is None or text.shape != (len(tokens), *self.config.text):
            wanted = "takes no words" if self.config.text is None else f"takes features {(len(tokens), *self.config.text)}"
            raise ValueError(f"{self.name or 'this TiTok'} {wanted}, got {tuple(text.shape)}")
        return self._render(tokens, text)

    def _encode(self, images: Tensor, seeds: list[int]) -> Tokens:
        grid, features = (self.config.length,), self.features(images)
        if self.config.codebook_size:
            return DiscreteTokens(self.quantize.codes(rearrange(features, "b c 1 n -> b n c")), grid, self.quantize.codebook_sizes)
        latents = Posterior.of(features).drawn(seeds).to(images.dtype)
        check_finite(latents, "latents")
        return ContinuousTokens(rearrange(latents, "b c 1 n -> b n c").contiguous(), grid)

    def _decode(self, tokens: Tokens, seeds: list[int]) -> Tensor:
        if self.config.text:
            raise TokbenchError(
                f"{self.name or 'this TiTok'} decodes beside words, which its tokens do not hold: give their CLIP features to "
                "decode_with_text(tokens, text), or take a variant of TiTok that needs none"
            )
        return self._render(tokens, None)

    def _render(self, tokens: Tokens, text: Tensor | None) -> Tensor:
        vectors = self._embed(tokens.codes) if isinstance(tokens, DiscreteTokens) else tokens.latents
        images = self.decoder(vectors.to(self.latent_tokens.dtype), text)
        if self.config.pixels is not None:
            codes = self.pixel_quantize.embedding.weight
            images = self.pixel_decoder(torch.einsum("b k h w, k d -> b d h w", images.softmax(dim=1), codes))
        return 2 * images - 1

    def _embed(self, codes: Tensor) -> Tensor:
        return self.quantize.lookup(codes)

    def _image_size(self, grid: tuple[int, ...]) -> tuple[int, int]:
        if grid != (self.config.length,):
            raise ValueError(f"{self.name or 'TiTok'} takes a sequence of {self.config.length} tokens, got a grid {grid}")
        return self.config.image_size, self.config.image_size
