"""The contract every tokenizer keeps: images to tokens and back; public methods validate, private ones compute."""

from __future__ import annotations

import copy
import itertools
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.errors import TokbenchError
from tokbench.granted import granted, presumed
from tokbench.layout import TokenLayout
from tokbench.tokenizers.normalisation import Normalisation
from tokbench.tokenizers.tiles import decode_tiles, encode_tiles, tiling_for
from tokbench.tokenizers.tiling import Tiling
from tokbench.tokens import ContinuousTokens, DiscreteTokens, Tokens
from tokbench.tracing import traced
from tokbench.weights.checkpoints import Checkpoint
from tokbench.weights.choice import DEFAULT, Choice
from tokbench.weights.training import UNKNOWN, TrainingSet

if TYPE_CHECKING:
    from tokbench.weights.weight_files import Opened

logger = logging.getLogger(__name__)

OVERSHOOT = 2.0
"""Pixels as far out as this are taken for what a decoder gave, and clamped."""

Seeds = Tensor | list[int] | tuple[int, ...]


class Tokenizer(nn.Module, ABC):
    """An image tokenizer.

    Subclasses set ``config``, a frozen dataclass that holds whatever changes pixels and owns ``layout`` and ``stride``, and write
    ``_encode`` and ``_decode``. The private methods are differentiable; the public ones run without gradients. A class without a
    configuration writes ``layout`` itself, and ``stride`` where that is not 1.

    Attributes:
        name: ``family/variant``, set by whoever loads the tokenizer.
        config: The frozen dataclass it was built from; None if it has none.
        encode_is_stochastic: Whether encode draws noise and so needs ``seeds``; otherwise it ignores them.
        decode_is_stochastic: Whether decode does.
        tileable: Whether tokens stand for places, and do so alike wherever in an image these lie, so that large images can be cut into tiles.
            Classes whose tokens are of a whole image, or who learned positions in it, say False.
        tiling: How encode and decode cut images, see ``tiled``; None leaves them whole.
        kept_length: How many of a sequence's first positions encode keeps, see ``keeping``; None keeps all.
        trained_with: The networks and data its training used, so that a bench can mark figures those networks judge; ``unknown`` among
            them where there may be others. A class that learned nothing says ``trained_with = ()``.
        training_sets: The data its training used, as far as they were digested.
        own_weights: Whether its weights are those of its name, not others that the user named.
        weights_sha256: Digest of the file its weights were loaded from, if any.
        weights_how: Which entry of that file was taken, under which prefix, and what was left out, in words.
        normalisation: How diffusion models read its latents, as its row or its weights say; None if nobody says, or if its tokens are so already.
        statistics_alone: Whether a scaling factor beside means and deviations in settings does not count, see ``Variant``.
        normalisation_told: Whether that was said by the weights it has, or holds for all of its class; else it is that of the row's own weights.
        bundles: Parts of names under which files of a larger network hold this one.
    """

    encode_is_stochastic: bool = False
    decode_is_stochastic: bool = False
    tileable: bool = True
    tiling: Tiling | None = None
    kept_length: int | None = None
    name: str = ""
    config: Any = None
    trained_with: tuple[str, ...] = (UNKNOWN,)
    training_sets: tuple[TrainingSet, ...] = ()
    own_weights: bool = True
    weights_sha256: str | None = None
    weights_how: str | None = None
    normalisation: Normalisation | None = None
    normalisation_told: bool = False
    statistics_alone: bool = False
    bundles: ClassVar[tuple[str, ...]] = ()

    @property
    def stride(self) -> int:
        """Pixels a position covers along each axis, of which padded images are multiples: what the configuration says, otherwise 1."""
        return getattr(self.config, "stride", 1)

    @property
    def device(self) -> torch.device:
        """Where its weights are; the CPU if it has none."""
        tensor = next(itertools.chain(self.parameters(), self.buffers()), None)
        return torch.device("cpu") if tensor is None else tensor.device

    def layout(self, height: int, width: int) -> TokenLayout:
        """Say how an image of this size becomes tokens, without encoding one.

        Args:
            height: In pixels.
            width: In pixels.

        Raises:
            TokbenchError: If the tokenizer cannot take this size.
        """
        if self.config is None:
            raise NotImplementedError(
                f"{type(self).__name__} has no config that says its layout; it must write layout(height, width) itself"
            )
        layout: TokenLayout = self.config.layout(height, width)
        return layout

    def keeping(self, length: int) -> Tokenizer:
        """Copy the tokenizer, weights shared, with an encode that keeps but the first positions of a sequence.

        Args:
            length: How many; one of the layout's ``lengths``, which encode checks.
        """
        kept = copy.copy(self)
        kept.kept_length = length
        return kept

    def tiled(self, size: int | None, *, overlap: int | None = None, windows: int | None = None, halfway: bool | None = None) -> Tokenizer:
        """Copy the tokenizer, weights shared, with an encode and a decode that work through large images tile by tile.

        Tokens lie on the grid of the whole image, whose layout does not change. Each tile of each image runs by itself, so that memory
        follows the size of a tile. Layers that work on a network's smallest maps see the whole image. What looks at all of a larger map
        sees one tile, and windows of the whole image beforehand. Tokens and pixels are then near those without tiles, not equal. They are
        the same ones where an image is no larger than a tile.

        Args:
            size: Side of a tile in pixels, a multiple of the stride; None works without tiles.
            overlap: Pixels that neighbours share at least, a multiple of the stride; None takes a quarter of the side.
            windows: Windows along each axis, together as large as a tile, and at most; they and a first pass over all tiles say of the image
                what such layers ask. With 0 they see one tile alone. None takes 4 where a network of this package has such layers; those of
                libraries are never told.
            halfway: Whether the half of a network that works on its smallest maps sees the whole image, where these maps are small enough
                for the memory of a tile. None takes that where a network of this package has halves.

        Raises:
            TokbenchError: If the tokenizer does not work in tiles (``tileable``, a grid of two axes, a decoder without noise), or not in such.
        """
        tiled = copy.copy(self)
        tiled.tiling = None if size is None else tiling_for(self, size, overlap, windows, halfway)
        return tiled

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "b 3 h w"], *, seeds: Seeds | None = None) -> Tokens:
        """Turn images into tokens.

        Images whose sides do not fit are padded as their layout says, right and below, by copies of their last pixels (``Tokens.image_size``).

        Args:
            images: RGB in [-1, 1]. What ``decode`` gave may lie a little outside: up to ``OVERSHOOT`` it is clamped.
            seeds: One per image, for stochastic tokenizers; deterministic ones ignore it.

        Returns:
            Discrete or continuous tokens, always of one kind for one tokenizer.

        Raises:
            TokbenchError: If the size does not fit, seeds are missing, or no image can be decoded from the positions kept.
            ValueError: If dtype, shape or range are not those of images.
        """
        if not isinstance(images, Tensor) or not images.is_floating_point() or images.ndim != 4 or images.shape[1] != 3:
            given = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
            raise ValueError(f"encode takes float images [B, 3, H, W] in [-1, 1], got {given}; bytes go through tokbench.images.to_float")
        images = self._in_range(images)
        self._check_dtype("images", images)
        layout = self.layout(*images.shape[2:])
        values = _check_seeds(self.name, self.encode_is_stochastic, seeds, len(images))
        images = _padded(images, layout.padding)
        tokens = self._encode(images, values) if self.tiling is None else encode_tiles(self, images, values, self.tiling)
        if layout.cut_size is not None:
            tokens = replace(tokens, image_size=layout.cut_size)
        return tokens if self.kept_length is None else tokens.prefix(layout.prefix(self.kept_length).positions)

    @torch.no_grad()
    def decode(self, tokens: Tokens, *, seeds: Seeds | None = None) -> Float[Tensor, "b 3 h w"]:
        """Turn tokens into images.

        Args:
            tokens: As ``encode`` returns them, or a prefix of them as long as one of the layout's ``lengths``.
            seeds: One per image, for stochastic tokenizers; deterministic ones ignore it.

        Returns:
            RGB, nominally in [-1, 1], without what was padded; not clamped, so that it can be trained on (``encode`` and ``tokbench.images.to_uint8`` clamp).

        Raises:
            ValueError: If the tokens are not of this tokenizer's kind.
            TokbenchError: If seeds are missing, or no image can be decoded from so few tokens.
        """
        self._check_tokens(tokens)
        values = _check_seeds(self.name, self.decode_is_stochastic, seeds, len(tokens))
        images = self._decode(tokens, values) if self.tiling is None else decode_tiles(self, tokens, self.tiling)
        if tokens.image_size is None:
            return images
        height, width = tokens.image_size
        return images[:, :, :height, :width].contiguous()

    @torch.no_grad()
    def embed(self, tokens: Tokens) -> Float[Tensor, "b l d"]:
        """Look up the vectors that codes stand for, which ``decode`` goes on from.

        Args:
            tokens: Discrete ones, as ``encode`` returns them.

        Returns:
            One vector a position; several codebooks share it.

        Raises:
            ValueError: If the tokens are not of this tokenizer's kind, or latents, which are vectors already.
            TokbenchError: If the tokenizer has no vectors.
        """
        if not isinstance(tokens, DiscreteTokens):
            raise ValueError(f"embed takes DiscreteTokens, got {type(tokens).__name__}; latents are vectors already")
        self._check_tokens(tokens)
        return self._embed(tokens.codes)

    @classmethod
    def configured(cls, place: Path, config: Any) -> Any:
        """Say which configuration weights are for, where these bring one of their own.

        Args:
            place: Their file or folder.
            config: That of the variant asked for.

        Returns:
            ``config``, unless a class reads folders that say more.
        """
        return config

    @classmethod
    def own_names(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Turn the names of a published file, without a prefix, into this class's parameter names.

        Args:
            state: Tensors, perhaps without values; perhaps of something else altogether.

        Returns:
            The same tensors in the same order; a name that is not known stays, so that strict loading names it.
        """
        return state

    @classmethod
    def open_place(cls, place: Path, averages: bool | None) -> Opened:
        """Open a file or folder of weights; a class whose weights come in other files says how.

        Args:
            place: The file or folder.
            averages: Which to take where a folder has averaged and raw weights in files of their own.

        Raises:
            TokbenchError: If they cannot be found or read.
        """
        from tokbench.weights.weight_files import open_weights

        return open_weights(place, averages=averages, bundles=cls.bundles)

    def check_settings(self, settings: Mapping[str, Any], place: Path) -> None:  # most have nothing to refuse
        """Refuse weights whose settings make another network of the same shapes.

        Args:
            settings: What the ``config.json`` beside the weights says.
            place: Place of that file.

        Raises:
            TokbenchError: If they do; says what loads them.
        """

    def note_settings(self, settings: Mapping[str, Any], place: Path) -> None:  # most have nothing to take
        """Take from the settings beside weights what these themselves do not hold, such as ``normalisation``.

        Args:
            settings: What the ``config.json`` beside the weights says.
            place: Place of that file.

        Raises:
            TokbenchError: If what they say cannot be; says what to do.
        """

    def read_weights(self, path: Path, choice: Choice = DEFAULT) -> Checkpoint:
        """Read weights for this tokenizer, whatever they are wrapped in.

        Entries and prefixes are found by the names and shapes of this tokenizer; what training left is left out (``LEFTOVERS``).

        Args:
            path: A file or folder.
            choice: What else to leave out, and whether to take averages.

        Returns:
            Tensors by name, a digest, and how they were found.

        Raises:
            TokbenchError: If they cannot be read or do not fit.
        """
        from tokbench.weights.checkpoints import read_fitting
        from tokbench.weights.weight_files import read_json

        opened = self.open_place(path, choice.averages)
        beside = opened.files[0].with_name("config.json")
        if beside.is_file():
            settings: Mapping[str, Any] = {}
            with nullcontext() if path.is_dir() else suppress(TokbenchError):  # beside a lone file it may be of anything
                settings = read_json(beside)
            self.check_settings(settings, beside)
            self.note_settings(settings, beside)
        if opened.answers_averages:  # the files of a folder are one kind or the other, whatever names they have within
            choice = replace(choice, averages=None)
        return read_fitting(self, opened, origin=path.name or str(path), choice=choice, rename=self.own_names, bundles=self.bundles)

    @abstractmethod
    def _encode(self, images: Tensor, seeds: list[int]) -> Tokens: ...

    @abstractmethod
    def _decode(self, tokens: Any, seeds: list[int]) -> Tensor: ...

    def _embed(self, codes: Tensor) -> Tensor:
        raise TokbenchError(f"{self.name or type(self).__name__} has no code vectors; its class gives some by writing _embed(codes)")

    def _in_range(self, images: Tensor) -> Tensor:
        """Clamp an overshoot, refuse what lies beyond, and warn of images that nobody scaled."""
        if traced():
            return images.clamp(-1, 1)
        if not images.numel():
            return images
        if granted():
            low, high = torch.aminmax(images)
            presumed((low >= -1) & (high <= 1))
            return images
        low, high = torch.stack(torch.aminmax(images)).tolist()
        if not (low >= -OVERSHOOT and high <= OVERSHOOT):  # also where one is NaN
            raise ValueError(f"images range over {low:.4g}..{high:.4g}, allowed is -1..1; see tokbench.images.to_float")
        if low >= 0 and high <= 1 and not _from_bytes(images):
            _warn_of_range(self.name or type(self).__name__)
        return images if low >= -1 and high <= 1 else images.clamp(-1, 1)

    def _check_tokens(self, tokens: Tokens) -> None:
        if not isinstance(tokens, DiscreteTokens | ContinuousTokens):
            raise ValueError(f"decode takes DiscreteTokens or ContinuousTokens, got {type(tokens).__name__}")
        expected = self.layout(*(tokens.image_size or self._image_size(tokens.grid)))
        if tokens.image_size is not None and tokens.grid != expected.grid:
            raise ValueError(f"tokens have a grid {tokens.grid}, images of {tokens.image_size} have {expected.grid} in {self.name}")
        if len(tokens.grid) == 1:
            expected = expected.prefix(tokens.grid[0])
        if isinstance(tokens, DiscreteTokens):
            if tokens.codebook_sizes != expected.codebook_sizes:
                own: object = expected.codebook_sizes or "continuous latents"
                raise ValueError(f"tokens have codebooks {tokens.codebook_sizes}, {self.name} has {own}")
        else:
            if tokens.latents.shape[2] != expected.channels:
                own = expected.channels or "discrete codes"
                raise ValueError(f"latents have {tokens.latents.shape[2]} channels, {self.name} has {own}")
            self._check_dtype("latents", tokens.latents)

    def _check_dtype(self, what: str, values: Tensor) -> None:
        tensors = (*self.parameters(), *self.buffers())
        own = next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), values.dtype)
        if values.dtype != own:
            raise ValueError(f"{what} are {values.dtype}, {self.name or 'this tokenizer'} computes in {own}; convert them with .to({own})")

    def _image_size(self, grid: tuple[int, ...]) -> tuple[int, int]:
        """Image size that a grid stands for; 2D grids scale by the stride."""
        if len(grid) != 2:
            raise ValueError(f"{self.name or type(self).__name__} takes a 2D grid, got {grid}")
        return grid[0] * self.stride, grid[1] * self.stride


def _padded(images: Tensor, padding: tuple[int, int]) -> Tensor:
    """Repeat the last row below, and then the last column right."""
    below, right = padding
    return F.pad(images, (0, right, 0, below), mode="replicate") if below or right else images


def _from_bytes(images: Tensor) -> bool:
    """Whether every value is a byte that ``to_float`` mapped, as in a bright image; of values ``byte / 255`` every second is none."""
    levels = images.float() * 127.5 + 127.5
    return bool((levels - levels.round()).abs().amax() < 0.3)  # half precision moves them by a quarter


@cache
def _warn_of_range(name: str) -> None:
    """Warn once for a tokenizer: the cache is what remembers."""
    logger.warning("%s was given images all in [0, 1]; it takes [-1, 1], as tokbench.to_float makes of bytes (2 * images - 1)", name)


def _check_seeds(name: str, needed: bool, seeds: Seeds | None, count: int) -> list[int]:
    if not needed:
        return []
    if seeds is None:
        raise TokbenchError(f"{name or 'this tokenizer'} draws noise: pass seeds=[...], one integer per image ({count} here)")
    values = [int(seed) for seed in seeds]
    if len(values) != count:
        raise ValueError(f"got {len(values)} seeds for {count} images")
    return values
