"""Layers that look at all of a map, told of the rest of it: as if they saw it."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tokbench.nn import whole
from tokbench.nn.autoencoder import AttentionBlock, Norm, ResBlock
from tokbench.nn.magvit2 import AdaptiveNorm
from tokbench.nn.movq import Attention
from tokbench.nn.strips import normed_conv

PARTS = [(slice(0, 6), slice(0, 4)), (slice(0, 6), slice(4, 8)), (slice(6, 12), slice(0, 4)), (slice(6, 12), slice(4, 8))]
"""Rows and columns of windows that are the whole map together."""


def random(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, mean=0.2, std=0.3, generator=generator)
    return module.eval()


class Places(nn.Sequential):
    """Places see each other by normalisation and attention alone."""

    def __init__(self) -> None:
        super().__init__(Norm(2, 8), nn.Conv2d(8, 8, 1), AttentionBlock(8, 4), Attention(8, 2), ResBlock(8, 8, 4, local=True))


def large_map() -> Tensor:
    """Of another mean and contrast in every corner."""
    x = torch.randn(1, 8, 12, 8, generator=torch.Generator().manual_seed(1))
    for number, (rows, columns) in enumerate(PARTS):
        x[:, :, rows, columns] = x[:, :, rows, columns] * (1 + number) + 2 * number
    return x


def windows_of(x: Tensor) -> Tensor:
    return torch.cat([x[:, :, rows, columns] for rows, columns in PARTS])


@torch.no_grad()
@pytest.mark.parametrize("number", range(4))
def test_a_tile_that_is_told_all_gives_what_the_whole_map_gives(number: int) -> None:
    network, x = random(Places()), large_map()
    expected, (rows, columns) = network(x), PARTS[number]
    with whole.sketching() as entries:
        windows = network(windows_of(x))
    assert len(entries) == 6
    torch.testing.assert_close(windows, windows_of(expected), atol=1e-5, rtol=1e-5)
    others = [other for other in range(4) if other != number]
    with whole.sketched(entries, outside=others, weight=1.0):
        told = network(x[:, :, rows, columns])
    torch.testing.assert_close(told, expected[:, :, rows, columns], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(network(x[:, :, rows, columns]), expected[:, :, rows, columns], atol=0.1)


@torch.no_grad()
def test_ends_of_windows_that_the_map_has_not_are_left_out() -> None:
    x = torch.randn(2, 8, 16, 24, generator=torch.Generator().manual_seed(3)) * 3 + 1
    with whole.sketching([(True, True, False, False), (False, False, True, True)]) as entries:
        random(Norm(4, 8))(x)
    ((mean, variance),) = entries
    for group in range(4):
        channels = slice(2 * group, 2 * group + 2)
        seen = torch.cat([x[0, channels, :14, :21].flatten(), x[1, channels, 2:, 3:].flatten()]).double()
        torch.testing.assert_close(mean[group].double(), seen.mean(), atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(variance[group].double(), seen.var(correction=0), atol=1e-5, rtol=1e-6)


@torch.no_grad()
def test_a_window_counts_as_many_times_as_it_stands_for_places() -> None:
    block, generator = random(AttentionBlock(8, 4)), torch.Generator().manual_seed(2)
    tile, other = (torch.randn(1, 8, 2, 3, generator=generator) for _ in range(2))
    x = torch.cat([tile, other, other, other], dim=2)
    with whole.sketching() as entries:
        block(torch.cat([tile, other]))
    entries[0] = tuple(reversed(torch.var_mean(x.unflatten(1, (4, -1)), dim=(0, 2, 3, 4), correction=0)))  # type: ignore[assignment]
    maps = [projection(block.norm(x)) for projection in (block.k, block.v)]
    entries[1] = tuple(part[:, :, 2:4].flatten(2).transpose(1, 2)[:, None].contiguous() for part in maps)  # type: ignore[assignment]
    with whole.sketched(entries, outside=[0], weight=3.0):
        told = block(tile)
    torch.testing.assert_close(told, block(x)[:, :, :2], atol=1e-5, rtol=1e-5)


TILES = [(slice(0, 8), slice(0, 5)), (slice(0, 8), slice(3, 8)), (slice(4, 12), slice(0, 5)), (slice(4, 12), slice(3, 8))]
"""Overlapping ones, and what belongs to each, counted within it."""
OWNED = [(slice(0, 6), slice(0, 4)), (slice(0, 6), slice(1, 5)), (slice(2, 8), slice(0, 4)), (slice(2, 8), slice(1, 5))]


def heard_of(network: nn.Module, x: Tensor, entries: list[whole.Pair]) -> whole.Heard:
    heard = whole.Heard()
    for (rows, columns), part in zip(TILES, OWNED, strict=True):
        with whole.sketched(entries, outside=[], weight=0.0, hear=partial(heard.add, part=part, size=(8, 5))):
            network(x[:, :, rows, columns])
    return heard


@torch.no_grad()
def test_tiles_have_the_moments_of_the_whole_map_together() -> None:
    norm, x, own = random(Norm(2, 8)), large_map(), list[whole.Pair]()
    with whole.sketching(own=own) as entries:
        norm(windows_of(x)[::3])  # two corners, of four that are unlike
    assert torch.equal(entries[0][0], own[0][0])
    (anchor,) = heard_of(norm, x, entries).anchors(own)
    assert anchor is not None
    parts = x.double().unflatten(1, (2, -1))
    torch.testing.assert_close(anchor.all[0], parts.mean(dim=(0, 2, 3, 4)), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(anchor.all[1], parts.var(dim=(0, 2, 3, 4), correction=0), atol=1e-5, rtol=1e-6)
    assert not torch.allclose(own[0][1], anchor.all[1], rtol=0.1)


@torch.no_grad()
def test_what_windows_miss_is_made_up_for_in_every_layer() -> None:
    network = nn.Sequential(*(random(ResBlock(8, 8, 4, local=True)) for _ in range(3)))
    x = large_map() + 3 * torch.randn(1, 8, 12, 8, generator=torch.Generator().manual_seed(4))
    with whole.sketching() as exact:
        network(x)
    own = list[whole.Pair]()
    with whole.sketching(own=own) as entries:
        network(windows_of(x)[::3])
    with whole.sketching(anchors=heard_of(network, x, entries).anchors(own)) as better:
        network(windows_of(x)[::3])

    def errors(sketch: list[whole.Pair]) -> Tensor:
        return torch.stack(
            [((mean - told) / variance.sqrt()).abs().mean() for (mean, variance), (told, _) in zip(exact, sketch, strict=True)]
        )

    assert errors(better)[0] < 1e-6  # nothing before it was told wrong
    assert errors(better).mean() < 0.3 * errors(entries).mean()


def test_moments_move_as_those_of_windows_and_never_below_nothing() -> None:
    def pair(mean: float, variance: float) -> whole.Pair:
        return torch.tensor([mean]), torch.tensor([variance])

    alike = whole.Anchor(pair(1.0, 4.0), pair(2.0, 3.0))
    assert [value.item() for value in alike.moved(pair(2.5, 3.5))] == [1.5, 4.5]
    contrasty = whole.Anchor(pair(0.0, 1.0), pair(0.0, 10.0))
    assert contrasty.moved(pair(0.0, 0.0))[1].item() == 0.0
    flat = whole.Anchor(pair(0.0, 1.0), pair(0.0, 0.0))
    assert flat.moved(pair(0.0, 0.5))[1].item() == 1.5
    black = whole.Anchor(pair(0.0, 0.0), pair(0.0, 0.0))
    assert black.moved(pair(0.0, 0.0))[1].item() == 0.0


@torch.no_grad()
def test_no_table_of_pairs_is_held_for_a_tile() -> None:
    block, x = random(AttentionBlock(8, 4)), large_map()
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # refused where a layout would need the table
        with whole.sketching() as entries:
            block(windows_of(x))
        with whole.sketched(entries, outside=[1, 2], weight=1.5):
            block(x[:, :, :6, :4])


@torch.no_grad()
def test_strips_are_told_too() -> None:
    norm, conv, x = random(Norm(2, 8)), random(nn.Conv2d(8, 8, 3, padding=1)), large_map()
    assert isinstance(norm, Norm)
    assert isinstance(conv, nn.Conv2d)
    with whole.sketching() as entries:
        norm(windows_of(x))
    tile = x[:, :, :6, :4]
    with whole.sketched(entries, outside=[], weight=0.0):
        expected = conv(nn.functional.silu(norm(tile)))
    with whole.sketched(entries, outside=[], weight=0.0):
        found = normed_conv(tile.contiguous(memory_format=torch.channels_last), norm, conv)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_statistics_of_a_code_are_those_of_the_whole() -> None:
    norm, x = random(AdaptiveNorm(8, 3, 4)), large_map()
    code = x[:, :3] * 0.5
    with whole.sketching() as entries:
        norm(windows_of(x), windows_of(code))
    with whole.sketched(entries, outside=[], weight=0.0):
        told = norm(x[:, :, 6:, 4:], code[:, :, 6:, 4:])
    torch.testing.assert_close(told, norm(x, code)[:, :, 6:, 4:], atol=0.02, rtol=0.02)  # of all places, not of all but one


@torch.no_grad()
def test_a_network_that_calls_other_layers_for_a_tile_is_noticed() -> None:
    norm, x = random(Norm(2, 8)), large_map()
    with whole.sketching() as entries:
        norm(norm(windows_of(x)))
    with pytest.raises(ValueError, match="asked 1 times what windows said 2 times"), whole.sketched(entries, outside=[], weight=0.0):
        norm(x)


@torch.no_grad()
def test_what_is_told_ends_with_its_context() -> None:
    norm, x = random(Norm(2, 8)), large_map()
    expected = norm(x)
    with whole.sketching() as entries:
        norm(windows_of(x))
    with pytest.raises(RuntimeError, match="no luck"), whole.sketched(entries, outside=[], weight=0.0):
        raise RuntimeError("no luck")
    assert torch.equal(norm(x), expected)
    assert not whole.one_map()
