"""One picture through several tokenizers, as the page shows it: reconstruction, error map, tokens and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tokbench.app.uploads import read_upload
from tokbench.bench.fitting import fit
from tokbench.bench.reconstruct import Restored, restore
from tokbench.counting import counted
from tokbench.data.photos import PhotoCrops
from tokbench.errors import TokbenchError
from tokbench.image_size import Size, sides, size_text
from tokbench.records.protocol import get_protocol
from tokbench.report.grid import error_map
from tokbench.report.page.embed import data_uri
from tokbench.report.page.gallery import figure_text
from tokbench.report.page.tokens import draw_codes
from tokbench.report.table import figure_column
from tokbench.tokenizers import zoo
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import DiscreteTokens

SIDES = (32, 512)
"""Least and greatest side of a picture in pixels: a larger one takes a processor minutes."""


class Comparer:
    """Keeps the tokenizers that were asked for once.

    Args:
        names: Those that may be asked for.
        chosen: Those that are asked for at first; None for all.
        device: Where they run.
        load: How one is loaded, by name and device.
    """

    def __init__(
        self, names: Sequence[str], device: str = "cpu", *, chosen: Sequence[str] | None = None, load: Callable[..., Tokenizer] = zoo.load
    ) -> None:
        self.names = tuple(dict.fromkeys(names))
        self.chosen = self.names if chosen is None else tuple(chosen)
        self.device = device
        self._load = load
        self._loaded: dict[str, Tokenizer] = {}

    def loaded(self, name: str) -> Tokenizer:
        """One of them, loaded when it is first asked for.

        Raises:
            TokbenchError: If it cannot be loaded.
        """
        if name not in self._loaded:
            self._loaded[name] = self._load(name, None, self.device)
        return self._loaded[name]

    @cached_property
    def _photos(self) -> PhotoCrops:
        return PhotoCrops("test", 64)

    def read(self, upload: bytes, size: Size) -> np.ndarray:
        """Read an uploaded file and cut its centre to size.

        Args:
            upload: Bytes of an image file.
            size: Side in pixels, or height and width.

        Returns:
            uint8 ``[height, width, 3]``.

        Raises:
            TokbenchError: If it is no image that can be read, or the size is out of bounds.
        """
        _check_size(size)
        return read_upload(upload, size)

    def photo(self, number: int, size: Size) -> np.ndarray:
        """An embedded test photo, uint8 ``[height, width, 3]``; numbers go round.

        Raises:
            TokbenchError: If the size is out of bounds.
        """
        _check_size(size)
        return fit(self._photos.read(number % len(self._photos)), get_protocol(changes={"size": size}))

    def compare(self, pixels: np.ndarray, names: Sequence[str], seed: int = 0) -> dict[str, Any]:
        """Run a picture through tokenizers.

        Args:
            pixels: uint8 ``[height, width, 3]``.
            names: Some of ``names``.
            seed: Seed of stochastic tokenizers.

        Returns:
            The original, and for each tokenizer its pictures as data URIs with figures in words; or what kept it from them.

        Raises:
            TokbenchError: If none or an unknown one is asked for.
        """
        unknown = [name for name in names if name not in self.names]
        if unknown or not names:
            raise TokbenchError(f"choose among {', '.join(self.names)}; got {', '.join(unknown) or 'none'}")
        reference = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].contiguous()
        return {
            "original": data_uri(pixels),
            "size": list(pixels.shape[:2]),
            "results": [self._result(reference, name, seed) for name in names],
        }

    def _result(self, reference: Tensor, name: str, seed: int) -> Mapping[str, Any]:
        try:
            made = restore(reference, ["picture"], self.loaded(name), seed=seed)
        except TokbenchError as error:
            return {"name": name, "problem": str(error)}
        original, pixels = (images[0].permute(1, 2, 0).contiguous().numpy() for images in (reference, made.pixels))
        return {
            "name": name,
            "picture": data_uri(pixels),
            "errors": data_uri(error_map(original, pixels)),
            "tokens": [{"title": title, "picture": data_uri(drawn)} for title, drawn in _drawn(made)],
            "figures": _figures(made),
        }


def _figures(made: Restored) -> list[str]:
    judged = (("psnr", made.psnr), ("lpips", made.lpips))
    return [*(figure_text(figure_column(key), values[0]) for key, values in judged), _rate(made)]


def _rate(made: Restored) -> str:
    """Tokens and bits, or latents."""
    tokens = made.tokens
    if isinstance(tokens, DiscreteTokens) and made.bits is not None:
        return f"{counted(tokens.codes[0].numel(), 'token')}, {made.bits:,.0f} bits"
    return "continuous latents"


def _drawn(made: Restored) -> list[tuple[str, np.ndarray]]:
    tokens = made.tokens
    if not isinstance(tokens, DiscreteTokens):
        return []
    codes = tokens.codes[0].cpu().numpy()
    grid = codes.reshape(*tokens.grid, codes.shape[-1])
    return draw_codes(grid, tokens.codebook_sizes) if grid.ndim in (2, 3) else []


def _check_size(size: Size) -> None:
    least, most = SIDES
    if not all(least <= side <= most for side in sides(size)):
        raise TokbenchError(f"the side of a picture is {least} to {most} pixels here, got {size_text(size)}")
