"""What layers that look at all of a map are told of the rest of it, where they see one tile: statistics, and keys and values to attend to.

    windows spread over a large map -> network, all windows as if they were one map -> a sketch, an entry a layer
    every tile of it, and the sketch -> network -> what all tiles together have for moments, where layers are told the sketch
    the same windows, and how tiles differ from them -> network -> a better sketch
    a tile of it, and the sketch -> network -> normalised as the sketch says, attending to the tile and to windows outside of it

Windows are few and have edges, so their moments are not those of the map. Tiles have its very moments, but those of layers that were told a
little wrong. So the second sketch takes of windows only how moments move once layers before are told better: a defect correction.

A layer asks here in the order in which a network calls its layers, which is the same for windows and tiles. Outside of both contexts, and
while a graph is traced, the answer is that what a layer sees is all there is.

A network may say as well where it is halfway: between its layers of high resolution, which take the memory, and those of the lowest, which
attend. Then these work on the whole map, and only the others on tiles.

    encoder: tiles -> levels | halfway, put together | lowest level, middle -> features of the whole
    decoder: features of the whole -> middle, lowest level | halfway, cut | levels -> tiles
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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


Part = tuple[slice, slice]
"""Rows and columns that belong to a tile, in places of the map that it is cut by."""


@dataclass(frozen=True)
class Anchor:
    """Moments of one layer over the whole map, and over windows, where the layers before were told the same.

    Args:
        all: Mean and variance over the whole map.
        windows: The same over windows.
    """

    all: Pair
    windows: Pair

    def moved(self, windows: Pair) -> Pair:
        """The whole map's, now that windows have others: means move as theirs do, variances as much, or in proportion where that is less."""
        (mean, variance), (seen, spread) = self.all, self.windows
        share = torch.where(spread > variance, variance / spread, 1.0)
        return mean + (windows[0] - seen), variance + share * (windows[1] - spread)


class Heard:
    """Moments of every layer over a whole map, as its tiles say them one by one; a place counts in the tile that it belongs to."""

    def __init__(self) -> None:
        self._layers: dict[int, list[_Moments]] = {}

    def add(self, layer: int, x: Float[Tensor, "1 c h w"], groups: int, part: Part, size: tuple[int, int]) -> None:
        """Hear one tile.

        Args:
            layer: Number of the layer.
            x: What it was given.
            groups: Groups of channels.
            part: What belongs to the tile.
            size: Rows and columns of the tile, in the places of ``part``.
        """
        down, right = (
            slice(own.start * length // whole, own.stop * length // whole)
            for own, length, whole in zip(part, x.shape[2:], size, strict=True)
        )
        self._layers.setdefault(layer, []).append(_moments_of(x[0, :, down, right], groups))

    def anchors(self, windows: Sequence[Pair]) -> list[Anchor | None]:
        """How the whole map and windows of it differ.

        Args:
            windows: What each layer said of them, see ``sketching``.

        Returns:
            One a layer; None for attention.
        """
        return [Anchor(_pooled(self._layers[number]), own) if number in self._layers else None for number, own in enumerate(windows)]


@dataclass
class _Pass:
    """One pass through a network, and the layer it has come to.

    Args:
        entries: What layers said of all windows: mean and variance of groups, or keys and values of every window.
        taking: Whether layers are saying it now, or are told.
        outside: The windows that do not lie in the tile.
        weight: How many places outside of the tile a place of these windows stands for.
        edges: Of the windows.
        anchors: By what the moments of windows are corrected, a layer each; none are where there are none.
        own: The moments of windows as they are, where somebody wants them.
        hear: Called with what a layer is given, and its number and groups, where tiles are heard.
        at: Entries that were told.
    """

    entries: list[Pair]
    taking: bool
    outside: Sequence[int] = ()
    weight: float = 0.0
    edges: Sequence[Edges] = ()
    anchors: Sequence[Anchor | None] = ()
    own: list[Pair] = field(default_factory=list)
    hear: Callable[[int, Tensor, int], None] | None = None
    at: int = field(default=0)

    def told(self) -> Pair:
        self.at += 1
        return self.entries[self.at - 1]


_now: ContextVar[_Pass | None] = ContextVar("_now", default=None)


def _pass() -> _Pass | None:
    return None if traced() else _now.get()


@contextmanager
def sketching(edges: Sequence[Edges] = (), *, anchors: Sequence[Anchor | None] = (), own: list[Pair] | None = None) -> Iterator[list[Pair]]:
    """Take the images of a batch for windows of one map, and keep in a list what layers say of it.

    Args:
        edges: What every window ends with; empty where all are seen to their ends.
        anchors: How moments of the whole map differ from those of windows, as ``Heard`` knows; empty where that is not known.
        own: Takes what layers say of the windows themselves.
    """
    entries: list[Pair] = []
    with _entered(_Pass(entries, taking=True, edges=edges, anchors=anchors, own=[] if own is None else own)):
        yield entries


@contextmanager
def sketched(
    entries: list[Pair],
    *,
    outside: Sequence[int],
    weight: float,
    hear: Callable[[int, Tensor, int], None] | None = None,
) -> Iterator[None]:
    """Take a single image for a tile of that map.

    Args:
        entries: As ``sketching`` kept them.
        outside: Which windows do not lie in the tile.
        weight: How many places outside of the tile a place of these windows stands for.
        hear: Called with the number of a layer that normalises, what it is given, and its groups.

    Raises:
        ValueError: If the network called other layers than for the windows.
    """
    now = _Pass(entries, taking=False, outside=outside, weight=weight, hear=hear)
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


@dataclass
class _Half:
    """What a network does halfway.

    Args:
        map: What it goes on with, in place of what it made; None for it to stop there.
        calls: How many times it was there.
    """

    map: Tensor | None
    calls: int = field(default=0)


_half: ContextVar[_Half | None] = ContextVar("_half", default=None)


class _Stopped(Exception):
    """A network is halfway, where it was to stop."""

    def __init__(self, found: Tensor) -> None:
        super().__init__("stopped halfway")
        self.found = found


class Halved:
    """A network that asks ``halfway`` once, where its map has a fixed number of rows for a row of tokens."""


def halfway(first: Callable[[], Tensor]) -> Tensor:
    """What a network goes on with halfway: what its first half makes, where nothing else was said.

    Args:
        first: Runs the layers before.
    """
    now = None if traced() else _half.get()
    if now is None:
        return first()
    if now.map is None:
        raise _Stopped(first())
    now.calls += 1
    return now.map


def until_halfway(run: Callable[[], object]) -> Float[Tensor, "b c h w"] | None:
    """Run a network up to where it says that it is halfway.

    Returns:
        What it made so far; None if it never said so, and ran to its end.
    """
    token = _half.set(_Half(None))
    try:
        run()
    except _Stopped as stopped:
        return stopped.found
    finally:
        _half.reset(token)
    return None


@contextmanager
def from_halfway(found: Float[Tensor, "b c h w"]) -> Iterator[None]:
    """Let a network go on with what was made before, whatever it is given.

    Raises:
        ValueError: If it was not halfway exactly once.
    """
    now = _Half(found)
    token = _half.set(now)
    try:
        yield
    finally:
        _half.reset(token)
    if now.calls != 1:
        raise ValueError(f"the network was halfway {now.calls} times, not once")


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
        anchor = now.anchors[len(now.own)] if now.anchors else None
        now.own.append(_moments_within(x, groups, now.edges))
        now.entries.append(now.own[-1] if anchor is None else anchor.moved(now.own[-1]))
        mean, variance = now.entries[-1]
    else:
        mean, variance = now.told()
        if now.hear is not None:
            now.hear(now.at - 1, x, groups)
    return mean.to(x.dtype), variance.to(x.dtype)


_Moments = tuple[int, Tensor, Tensor]
"""Places, mean and variance of groups over them, in double precision."""


def _moments_of(x: Float[Tensor, "c h w"], groups: int) -> _Moments:
    variance, mean = torch.var_mean(x.unflatten(0, (groups, -1)), dim=(1, 2, 3), correction=0)
    return x.shape[1] * x.shape[2], mean.double(), variance.double()


def _pooled(parts: Sequence[_Moments]) -> Pair:
    """Mean and variance over several parts together."""
    counts, means, variances = zip(*parts, strict=True)
    mean, variance = torch.stack(means), torch.stack(variances)
    shares = torch.tensor(counts, dtype=torch.float64, device=mean.device)[:, None] / sum(counts)
    centre = (shares * mean).sum(dim=0)
    return centre, (shares * (variance + (mean - centre).square())).sum(dim=0)


def _moments_within(x: Float[Tensor, "b c h w"], groups: int, edges: Sequence[Edges]) -> Pair:
    """Mean and variance over windows, each without its margins."""
    height, width = x.shape[2:]
    rows, columns = height // MARGIN, width // MARGIN
    parts = []
    for window, (above, left, below, right) in zip(x, edges or [(True,) * 4] * len(x), strict=True):
        down = slice(0 if above else rows, height if below else height - rows)
        parts.append(_moments_of(window[:, down, 0 if left else columns : width if right else width - columns], groups))
    return _pooled(parts)


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
        now.own.append((k, v))
        queries, keys, values = (rearrange(x, "b n l d -> 1 n (b l) d") for x in (q, k, v))
        return rearrange(F.scaled_dot_product_attention(queries, keys, values), "1 n (b l) d -> b n l d", b=len(q))
    entry = now.told()
    if not now.outside:
        return F.scaled_dot_product_attention(q, k, v)
    others = [rearrange(x[list(now.outside)], "b n l d -> 1 n (b l) d") for x in entry]
    counts = torch.cat([k.new_zeros(k.shape[2]), k.new_full((others[0].shape[2],), log(now.weight))])
    all_keys, all_values = (torch.cat(pair, dim=2) for pair in zip((k, v), others, strict=True))
    return F.scaled_dot_product_attention(q, all_keys, all_values, attn_mask=counts[None])
