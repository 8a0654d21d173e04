"""Layers that look at all of a map, told of the rest of it: as if they saw it."""

from __future__ import annotations

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


def test_several_sets_of_windows_make_one_sketch() -> None:
    x, keys = random_windows(), torch.randn(2, 1, 3, 4)
    sketches = []
    for part in x.chunk(3):
        with whole.sketching() as entries:
            whole.moments(part, 4)
            whole.attend(keys, keys, keys)
        sketches.append(entries)
    (mean, variance), kept = whole.joined(sketches)
    parts = x.double().unflatten(1, (4, -1))
    torch.testing.assert_close(mean.double(), parts.mean(dim=(0, 2, 3, 4)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(variance.double(), parts.var(dim=(0, 2, 3, 4), correction=0), atol=1e-5, rtol=1e-5)
    assert torch.equal(kept[0], keys)


def random_windows() -> Tensor:
    """Six of them, pairs of which are unlike."""
    x = torch.randn(6, 8, 5, 5, generator=torch.Generator().manual_seed(3))
    return x * torch.tensor([1.0, 1, 2, 2, 3, 3])[:, None, None, None] + torch.tensor([0.0, 0, 1, 1, 5, 5])[:, None, None, None]


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
