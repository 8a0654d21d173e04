"""What autoencoders with continuous latents share, whatever their networks are; most encode to a Gaussian.

images -> encoder -> quant_conv -> latents, or their mean and log-variance -> post_quant_conv -> decoder -> images
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.errors import TokbenchError
from tokbench.nn.posterior import Posterior
from tokbench.quantizers.base import check_finite
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.normalisation import REPA_E_STATISTICS, STATISTICS, Normalisation, from_settings, from_statistics
from tokbench.tokens import ContinuousTokens
from tokbench.weights.checkpoints import Checkpoint
from tokbench.weights.choice import DEFAULT, Choice


class LatentTokenizer(Tokenizer):
    """A tokenizer with continuous latents on a 2D grid; a subclass sets its networks.

    Attributes:
        encoder: Images to latents, or to mean and log-variance, as many channels of each.
        decoder: Latents to images.
        quant_conv: Stands behind the encoder; the identity where there is none.
        post_quant_conv: Stands before the decoder, likewise.
    """

    encoder: nn.Module
    decoder: nn.Module
    quant_conv: nn.Module
    post_quant_conv: nn.Module

    def _encode(self, images: Tensor, seeds: list[int]) -> ContinuousTokens:
        latents = self._to_tokens(self._latents(images, seeds)).to(images.dtype)
        height, width = latents.shape[2:]
        check_finite(latents, "latents")
        return ContinuousTokens(rearrange(latents, "b c h w -> b (h w) c").contiguous(), (height, width))

    def _decode(self, tokens: ContinuousTokens, seeds: list[int]) -> Tensor:
        latents = rearrange(tokens.latents, "b (h w) c -> b c h w", h=tokens.grid[0])
        return self.decoder(self.post_quant_conv(self._from_tokens(latents)))

    def _latents(self, images: Tensor, seeds: list[int]) -> Tensor:
        """Images to the network's latents on their grid."""
        return self.quant_conv(self.encoder(images))

    def _to_tokens(self, latents: Tensor) -> Tensor:
        """From the network's latents to those that are handed out, both on their grids."""
        return latents

    def _from_tokens(self, latents: Tensor) -> Tensor:
        """The way back."""
        return latents


class GaussianTokenizer(LatentTokenizer):
    """One whose latents are drawn of a Gaussian.

    The configuration's ``posterior`` is ``mean`` or ``sample``; with the latter, encoding needs seeds.

    Attributes:
        peers: Classes of diffusers that this is a port of, whose ``config.json`` says how diffusion models read the latents.
    """

    peers: ClassVar[tuple[str, ...]] = ()

    @property
    def encode_is_stochastic(self) -> bool:  # type: ignore[override]  # depends on the configuration here
        """Encoding draws noise only with ``posterior="sample"``."""
        return bool(self.config.posterior == "sample")

    def posterior(self, images: Float[Tensor, "b 3 h w"]) -> Posterior:
        """Encode images to the Gaussian over their latents (differentiable)."""
        return Posterior.of(self.quant_conv(self.encoder(images)))

    def _latents(self, images: Tensor, seeds: list[int]) -> Tensor:
        return self.posterior(images).drawn(seeds)

    def note_settings(self, settings: Mapping[str, Any], place: Path) -> None:
        """Take the normalisation that the settings of a model of diffusers say, before that of the row; it is of these very weights."""
        if settings.get("_class_name") not in self.peers:
            return
        try:
            found = from_settings(settings, statistics_alone=self.statistics_alone)
        except ValueError as error:
            raise TokbenchError(f"{place} does not do: {error}") from error
        self._take(found)

    def read_weights(self, path: Path, choice: Choice = DEFAULT) -> Checkpoint:
        """Read weights, and the statistics of latents beside them where neither the row nor settings say how to normalise."""
        found = super().read_weights(path, choice)
        if self.normalisation is None:
            self._take_statistics(path)
        return found

    def _take_statistics(self, path: Path) -> None:
        """Take the normalisation that a file of statistics beside weights says, if there is one."""
        from tokbench.weights.weight_files import SUFFIXES

        folder, files = (path, sorted(path.iterdir())) if path.is_dir() else (path.parent, [path])
        stems = [file.stem for file in files if file.suffix in SUFFIXES and not file.name.endswith((STATISTICS, REPA_E_STATISTICS))]
        stem = stems[0] if len(stems) == 1 else ""
        place = next((place for place in self._statistics(folder, stem) if place.is_file() and place != path), None)
        if place is not None:
            try:
                self._take(from_statistics(self._read_statistics(place), stem))
            except ValueError as error:
                raise TokbenchError(f"{place} does not do: {error}") from error

    def _statistics(self, folder: Path, stem: str) -> list[Path]:
        """Places where statistics of latents may be beside weights, the first that is there counts."""
        named = [
            place for place in sorted(folder.glob(f"*{REPA_E_STATISTICS}")) if stem.startswith(place.name.removesuffix(REPA_E_STATISTICS))
        ]
        return [folder / STATISTICS, *named]

    def _read_statistics(self, place: Path) -> object:
        from tokbench.weights.weight_files import open_file

        return open_file(place).content

    def _take(self, found: Normalisation | None) -> None:
        """Take a normalisation that files say, if it is of as many channels."""
        side = getattr(self.config, "image_size", self.stride)  # some take images of one size
        if found is not None and found.fits(self.layout(side, side).channels):
            self.normalisation, self.normalisation_told = found, True
