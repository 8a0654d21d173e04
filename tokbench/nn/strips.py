"""Convolutions on large maps without gradients: in strips of rows, each of which stays in the processor's cache until it is done.

    map --- rows ---> normalise, swish ---> 3x3 convolution ---> + shortcut ---> rows of the next map

Nothing as large as a map is made but the maps themselves, whose memory the system would have to clear anew every time. Maps
lie channels last, as processors convolve fastest. Values are those of the layers one by one, up to the rounding of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.nn import whole

STRIP = 2**21
"""Values in a strip: 8 MB in single precision. Half of it, and twice it, are slower on two cores that share 32 MB of cache."""

Part = tuple[slice, slice, slice]
"""Images, channels (all of them) and rows of a map."""


def normed_conv(
    x: Float[Tensor, "b c h w"],
    norm: nn.GroupNorm,
    conv: nn.Conv2d,
    *,
    plus: Callable[[Part], Tensor] | None = None,
    in_place: bool = False,
) -> Float[Tensor, "b d h w"]:
    """Normalise, swish, convolve 3x3.

    Args:
        x: A map.
        norm: Its normalisation.
        conv: Padded by 1.
        plus: Returns a part of the map that is added to the result.
        in_place: Whether ``x`` is no longer needed, and may take up the result.
    """
    if x.dtype != torch.float32:  # statistics and swish want single precision inside, which whole layers have
        y = F.conv2d(F.silu(norm(x), inplace=True), conv.weight, conv.bias, padding=1)
        return y if plus is None else y.add_(plus((slice(None), slice(None), slice(None))))
    scale, shift = _scale_and_shift(x, norm)
    weight = conv.weight.contiguous(memory_format=torch.channels_last)
    height = x.shape[2]

    def convolved(part: Part) -> Tensor:
        images, _, rows = part
        first, last = max(rows.start - 1, 0), min(rows.stop + 1, height)
        y = _empty(x, (images.stop - images.start, x.shape[1], rows.stop - rows.start + 2, x.shape[3]))
        inside = y[:, :, first - rows.start + 1 : last - rows.start + 1]
        F.silu(torch.addcmul(shift[images], x[images, :, first:last], scale[images], out=inside), inplace=True)
        if first == rows.start:
            y[:, :, 0] = 0.0
        if last == rows.stop:
            y[:, :, -1] = 0.0
        return F.conv2d(y, weight, conv.bias, padding=(0, 1))

    def write(part: Part, y: Tensor) -> None:
        if plus is None:
            out[part] = y
        else:
            torch.add(y, plus(part), out=out[part])

    parts = list(_parts(len(x), height, x.shape[1] * x.shape[3]))
    if len(parts) == 1:
        y = convolved(parts[0])
        return y if plus is None else y.add_(plus(parts[0]))
    out = x if in_place else _empty(x, (len(x), conv.out_channels, *x.shape[2:]))
    waiting: tuple[Part, Tensor] | None = None
    for part in parts:
        y = convolved(part)
        if waiting is not None:  # in place, a strip is written once the next one, which reads its last row, is done
            write(*waiting)
        waiting = part, y
    if waiting is not None:
        write(*waiting)
    return out


def halving_conv(x: Float[Tensor, "b c h w"], conv: nn.Conv2d) -> Float[Tensor, "b d h2 w2"]:
    """Convolve 3x3 with stride 2; one zero row stands below and one zero column right.

    Args:
        x: A map.
        conv: Unpadded, of stride 2.
    """
    height, width = x.shape[2:]
    weight = conv.weight.contiguous(memory_format=torch.channels_last)
    out = _empty(x, (len(x), conv.out_channels, height // 2, width // 2))
    for part in _parts(len(x), height // 2, 2 * x.shape[1] * width):
        images, _, rows = part
        end = 2 * rows.stop + 1
        below = F.pad(x[images, :, 2 * rows.start : end], (0, 1, 0, max(end - height, 0)))
        out[part] = F.conv2d(below, weight, conv.bias, stride=2)
    return out


def doubling_conv(x: Float[Tensor, "b c h w"], conv: nn.Conv2d) -> Float[Tensor, "b d h2 w2"]:
    """Double the size by nearest neighbour and convolve 3x3, by one transposed 4x4 convolution of the map as it is.

    Under a 3x3 kernel on the doubled map lie only 2x2 different values; the weights on equal values are added beforehand.
    That leaves 4 of 9 multiplications.

    Args:
        x: A map.
        conv: Padded by 1.
    """
    kernel = _doubled(_doubled(conv.weight, 2), 3).transpose(0, 1)
    return F.conv_transpose2d(x, kernel, conv.bias, stride=2, padding=1)


def _parts(images: int, height: int, row: int) -> Iterator[Part]:
    """Cut maps with ``row`` values a row into strips: several images whole, or as many rows of one as nearly fill it.

    No image is cut otherwise than another, nor has more of them beside it: either may round otherwise.
    """
    channels = slice(None)
    rows = max(1, STRIP // row)
    if rows >= height:
        together = next(count for count in range(min(rows // height, images), 0, -1) if images % count == 0)
        yield from ((slice(i, i + together), channels, slice(0, height)) for i in range(0, images, together))
        return
    rows = -(-height // -(-height // rows))  # alike, as far as they can be
    for i in range(images):
        yield from ((slice(i, i + 1), channels, slice(top, min(top + rows, height))) for top in range(0, height, rows))


def _scale_and_shift(x: Tensor, norm: nn.GroupNorm) -> tuple[Tensor, Tensor]:
    """Factor and summand that normalise, each ``[b, c, 1, 1]``.

    Every strip and channel is centred at its own mean before it is squared; strips are joined in double precision.

    Source: Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance", 1983, equation 2.1.
    """
    told = whole.moments(x, norm.num_groups)
    if told is not None:
        scale, shift = whole.scale_and_shift(norm, *told)
        return scale.expand(len(x), -1, -1, -1), shift.expand(len(x), -1, -1, -1)
    means, squares, counts = [], [], []
    for part in _parts(len(x), x.shape[2], x.shape[1] * x.shape[3]):
        places = rearrange(x[part], "b c h w -> b (h w) c")
        mean = places.mean(dim=1, keepdim=True)
        means.append(mean.squeeze(1))
        squares.append(F.mse_loss(places, mean.expand_as(places), reduction="none").sum(dim=1))
        counts.append(torch.full((len(places), 1), places.shape[1]))
    b, g = len(x), norm.num_groups
    mean, square, count = (
        rearrange(torch.cat(figures).double(), "(b s) (g c) -> b s g c", b=b, g=groups)
        for figures, groups in ((means, g), (squares, g), (counts, 1))
    )
    values = x[0].numel() // g
    centre = (count * mean).sum(dim=(1, 3), keepdim=True) / values
    variance = (square + count * (mean - centre).square()).sum(dim=(1, 3), keepdim=True) / values
    scale, shift = whole.scale_and_shift(norm, centre.flatten(1), variance.flatten(1))
    return scale.to(x.dtype), shift.to(x.dtype)


def _doubled(weight: Tensor, axis: int) -> Tensor:
    """From three weights along an axis, the four by which one value enters the places around its two copies."""
    first, middle, last = weight.unbind(axis)
    return torch.stack([last, middle + last, first + middle, first], axis)


def _empty(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
