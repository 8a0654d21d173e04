"""What layers that look at all of a map are told of the rest of it, where they see one tile: statistics, and keys and values to attend to.

    windows spread over a large map -> network, all windows as if they were one map -> a sketch, an entry a layer
    a tile of it, and the sketch -> network -> normalised as the sketch says, attending to the tile and to windows outside of it

A layer asks here in the order in which a network calls its layers, which is the same for windows and tiles. Outside of both contexts, and
while a graph is traced, the answer is that what a layer sees is all there is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from math import log

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tokbench.tracing import traced

Pair = tuple[Tensor, Tensor]

Edges = tuple[bool, bool, bool, bool]
"""Whether a window ends where the map does: above, on the left, below, on the right."""

MARGIN = 8
"""One of so many parts of a window is left out along each edge that is none of the map: there the network saw an end that is not there."""


@dataclass
class _Pass:
    """One pass through a network, and the layer it has come to.

    Args:
        entries: What layers said of all windows: mean and variance of groups, or keys and values of every window.
        taking: Whether layers are saying it now, or are told.
        outside: The windows that do not lie in the tile.
        weight: How many places outside of the tile a place of these windows stands for.
        edges: Of the windows.
        at: Entries that were told.
    """

    entries: list[Pair]
    taking: bool
    outside: Sequence[int] = ()
    weight: float = 0.0
    edges: Sequence[Edges] = ()
    at: int = field(default=0)

    def told(self) -> Pair:
        self.at += 1
        return self.entries[self.at - 1]


_now: ContextVar[_Pass | None] = ContextVar("_now", default=None)


def _pass() -> _Pass | None:
    return None if traced() else _now.get()


@contextmanager
def sketching(edges: Sequence[Edges] = ()) -> Iterator[list[Pair]]:
    """Take the images of a batch for windows of one map, and keep in a list what layers say of it.

    Args:
        edges: What every window ends with; empty where all are seen to their ends.
    """
    entries: list[Pair] = []
    with _entered(_Pass(entries, taking=True, edges=edges)):
        yield entries


def joined(sketches: Sequence[list[Pair]]) -> list[Pair]:
    """Make one sketch of those of several sets of windows, as many in each.

    Statistics are those of all of them; keys and values those of the set in the middle, so that they take no more memory.
    """
    return [_joined([sketch[layer] for sketch in sketches]) for layer in range(len(sketches[0]))]


def _joined(entries: list[Pair]) -> Pair:
    if entries[0][0].ndim > 1:
        return entries[len(entries) // 2]
    mean, variance = (torch.stack([entry[number] for entry in entries]).double() for number in (0, 1))
    centre = mean.mean(dim=0)
    spread = variance.mean(dim=0) + (mean - centre).square().mean(dim=0)
    return centre.to(entries[0][0]), spread.to(entries[0][0])


@contextmanager
def sketched(entries: list[Pair], *, outside: Sequence[int], weight: float) -> Iterator[None]:
    """Take a single image for a tile of that map.

    Args:
        entries: As ``sketching`` kept them.
        outside: Which windows do not lie in the tile.
        weight: How many places outside of the tile a place of these windows stands for.

    Raises:
        ValueError: If the network called other layers than for the windows.
    """
    now = _Pass(entries, taking=False, outside=outside, weight=weight)
    with _entered(now):
        yield
    if now.at != len(entries):
        raise ValueError(f"the network asked {now.at} times what windows said {len(entries)} times; it calls other layers for a tile")


@contextmanager
def _entered(now: _Pass) -> Iterator[None]:
    token = _now.set(now)
    try:
        yield
    finally:
        _now.reset(token)


def one_map() -> bool:
    """Whether the images of a batch are windows of one map."""
    now = _pass()
    return now is not None and now.taking


def moments(x: Float[Tensor, "b c h w"], groups: int) -> Pair | None:
    """Mean and variance ``[groups]`` over the whole map that ``x`` is of.

    Args:
        x: Windows of it, or a tile.
        groups: Groups of channels.

    Returns:
        Both in the number format of ``x``; None if ``x`` is all there is.
    """
    now = _pass()
    if now is None:
        return None
    if now.taking:
        found = _moments_within(x, groups, now.edges)
        now.entries.append(found)
        return found
    return now.told()


def _moments_within(x: Float[Tensor, "b c h w"], groups: int, edges: Sequence[Edges]) -> Pair:
    """Mean and variance over windows, each without its margins."""
    height, width = x.shape[2:]
    rows, columns = height // MARGIN, width // MARGIN
    parts, counts = [], []
    for window, (above, left, below, right) in zip(x, edges or [(True,) * 4] * len(x), strict=True):
        down = slice(0 if above else rows, height if below else height - rows)
        inner = window[:, down, 0 if left else columns : width if right else width - columns]
        parts.append(torch.var_mean(inner.unflatten(0, (groups, -1)), dim=(1, 2, 3), correction=0))
        counts.append(inner.shape[1] * inner.shape[2])
    shares = torch.tensor(counts, dtype=torch.float64, device=x.device)[:, None] / sum(counts)
    variance, mean = (torch.stack([part[number] for part in parts]).double() for number in (0, 1))
    centre = (shares * mean).sum(dim=0)
    spread = (shares * (variance + (mean - centre).square())).sum(dim=0)
    return centre.to(x.dtype), spread.to(x.dtype)


def scale_and_shift(norm: nn.GroupNorm, mean: Float[Tensor, "*b g"], variance: Float[Tensor, "*b g"]) -> Pair:
    """Factor and summand ``[..., c, 1, 1]`` that normalise by some mean and variance."""
    channels = norm.num_channels // norm.num_groups
    rate = torch.rsqrt(variance + norm.eps)
    scale, shift = (value.repeat_interleave(channels, dim=-1) for value in (rate, -mean * rate))
    if norm.weight is not None:
        scale, shift = scale * norm.weight, shift * norm.weight + norm.bias
    return scale[..., None, None], shift[..., None, None]


def attend(q: Float[Tensor, "b n l d"], k: Float[Tensor, "b n l d"], v: Float[Tensor, "b n l d"]) -> Float[Tensor, "b n l d"]:
    """Attention of all places of a map, the whole one that they are of.

    Places of windows outside of a tile count as many times as there are places for each of them.

    Args:
        q: Queries; channels lie beside each other in memory, without which torch holds the scores of all pairs.
        k: Keys, likewise.
        v: Values, likewise.
    """
    now = _pass()
    if now is None:
        return F.scaled_dot_product_attention(q, k, v)
    if now.taking:
        now.entries.append((k, v))
        queries, keys, values = (rearrange(x, "b n l d -> 1 n (b l) d") for x in (q, k, v))
        return rearrange(F.scaled_dot_product_attention(queries, keys, values), "1 n (b l) d -> b n l d", b=len(q))
    entry = now.told()
    if not now.outside:
        return F.scaled_dot_product_attention(q, k, v)
    others = [rearrange(x[list(now.outside)], "b n l d -> 1 n (b l) d") for x in entry]
    counts = torch.cat([k.new_zeros(k.shape[2]), k.new_full((others[0].shape[2],), log(now.weight))])
    all_keys, all_values = (torch.cat(pair, dim=2) for pair in zip((k, v), others, strict=True))
    return F.scaled_dot_product_attention(q, all_keys, all_values, attn_mask=counts[None])
