"""Multi-scale residual quantization: a map becomes maps from coarse to fine, each of what those before it left over.

    rest ----> reduce to p x p ----> any quantizer ----> codes of p x p positions
     ^                                                      |
     +--- minus <--- blend <--- enlarge to the full size <--+        the sum of all enlarged maps stands for the vectors

Sources: Tian et al., "Visual Autoregressive Modeling", algorithms 1 and 2, as in FoundationVision/VAR ``models/quant.py``; Han et al.,
"Infinity", section 3.2, as in FoundationVision/Infinity ``infinity/models/bsq_vae/multiscale_bsq.py``.
"""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tokbench.layout import lengths_of
from tokbench.quantizers.base import Quantized, Quantizer, single, straight_through
from tokbench.quantizers.configs import Enlarging


class Blend(nn.Conv2d):
    """A share of a map's 3x3 convolution and the rest of the map itself, in single precision."""

    def __init__(self, dim: int, share: float) -> None:
        super().__init__(dim, dim, 3, padding=1)
        self.share = share

    def forward(self, input: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        """Blend a map."""
        with torch.autocast(input.device.type, enabled=False):
            convolved = self._conv_forward(input, self.weight.float(), None if self.bias is None else self.bias.float())
        return input * (1 - self.share) + convolved * self.share


class MultiScaleQuantizer(Quantizer):
    """Maps of codes, coarse to fine, by one quantizer for all of them.

    Codes are ``[B, L, K]`` with L the positions of all maps, each in raster order, where vectors are those of the last map. The codes
    of the first maps alone stand for coarser vectors.

    Args:
        each: What quantizes every map.
        dim: D.
        scales: Sides of the maps, or their heights; the last is that of the vectors.
        widths: Widths of the maps, where they are not square.
        enlarge: How a map is brought to the full size.
        blends: Convolutions that the maps share, each for those near its place between coarse and fine; 0 has none.
        blend: Share of the convolved map in what a map becomes; the rest is the map itself.
        beta: Weight of the term that draws vectors to codes, against 1 for the one that draws codes to vectors.
    """

    def __init__(
        self,
        each: Quantizer,
        dim: int,
        scales: tuple[int, ...],
        *,
        enlarge: Enlarging = "bicubic",
        blends: int = 0,
        blend: float = 0.5,
        beta: float = 0.25,
        widths: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.codebook_sizes = each.codebook_sizes
        self.each = each
        self.sizes, self.enlarge, self.beta = tuple(zip(scales, widths or scales, strict=True)), enlarge, beta
        self.lengths = lengths_of(tuple(scales), tuple(widths))
        self.blends = nn.ModuleList(Blend(dim, blend) for _ in range(blends))
        self.blend_of = nearest_ticks(len(scales), blends) if blends else ()

    def forward(self, vectors: Float[Tensor, "b l d"]) -> Quantized:
        """Quantize vectors; losses hold one scalar named ``codebook``, the mean over scales. Losses of ``each`` are not asked for."""
        vectors = single(vectors)
        codes = self.codes(vectors)
        sums = [rearrange(total, "b d h w -> b (h w) d") for total in self.sums(codes)]
        terms = [F.mse_loss(total, vectors.detach()) + self.beta * F.mse_loss(vectors, total.detach()) for total in sums]
        return Quantized(straight_through(vectors, sums[-1]), codes, {"codebook": torch.stack(terms).mean()})

    @torch.no_grad()
    def codes(self, vectors: Float[Tensor, "b l d"]) -> Int64[Tensor, "b n k"]:
        """Search map by map, without losses."""
        codes: list[Tensor] = []
        rest = rearrange(single(vectors), "b (h w) d -> b d h w", h=self.sizes[-1][0])
        for number, size in enumerate(self.sizes):
            reduced = rest if size == self.sizes[-1] else F.interpolate(rest, size=size, mode="area")
            codes.append(self.each.codes(rearrange(reduced, "b d h w -> b (h w) d")))
            rest = rest - self._enlarged(number, codes[-1])
        return torch.cat(codes, dim=1)

    def lookup(self, codes: Int64[Tensor, "b n k"]) -> Float[Tensor, "b l d"]:
        """Return the vectors that the codes of all maps, or of the first ones, stand for.

        Raises:
            ValueError: If the codes are not those of whole maps.
        """
        return rearrange(self.sums(codes)[-1], "b d h w -> b (h w) d")

    def sums(self, codes: Int64[Tensor, "b n k"]) -> list[Float[Tensor, "b d h w"]]:
        """Return what stands for the vectors after every map.

        Raises:
            ValueError: If the codes are not those of whole maps.
        """
        if codes.shape[1] not in self.lengths:
            raise ValueError(f"codes are of whole maps, {', '.join(map(str, self.lengths))} of them, got {codes.shape[1]}")
        sizes = self.sizes[: self.lengths.index(codes.shape[1]) + 1]
        maps = codes.split([height * width for height, width in sizes], dim=1)
        return list(accumulate(self._enlarged(number, each) for number, each in enumerate(maps)))

    def _enlarged(self, number: int, codes: Tensor) -> Tensor:
        """Look the codes of a map up, enlarge and blend it."""
        size, full = self.sizes[number], self.sizes[-1]
        found = rearrange(self.each.lookup(codes), "b (h w) d -> b d h w", h=size[0])
        if size != full:
            found = F.interpolate(found, size=full, mode=self.enlarge, align_corners=False)
        return self.blends[self.blend_of[number]](found) if self.blends else found


def nearest_ticks(scales: int, ticks: int) -> tuple[int, ...]:
    """Say which of some ticks is nearest to each of some scales, both spread between 0 and 1; of two as near, the one rounding favours.

    Four ticks lie from 1/12 to 11/12, others in the middles of equal parts. In the published networks two scales lie between two ticks,
    and their choice hangs on the last digit of double precision, so the sums are taken in upstream's order.

    Args:
        scales: How many, the first at 0 and the last at 1.
        ticks: How many.
    """
    edge = 1 / 3 / ticks if ticks == 4 else 1 / 2 / ticks
    places = np.linspace(edge, 1 - edge, ticks)
    return tuple(int(np.abs(places - number / max(scales - 1, 1)).argmin()) for number in range(scales))
