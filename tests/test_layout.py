"""Positions, tokens and bits follow from grid and codebooks."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokbench.configs import plain
from tokbench.errors import TokbenchError
from tokbench.layout import TokenLayout

grids = st.lists(st.integers(1, 40), min_size=1, max_size=3).map(tuple)
sizes = st.lists(st.integers(2, 2**18), min_size=1, max_size=4).map(tuple)


@given(grids, sizes, st.integers(1, 512), st.integers(1, 512))
def test_discrete(grid: tuple[int, ...], codebooks: tuple[int, ...], height: int, width: int) -> None:
    layout = TokenLayout((height, width), grid, codebook_sizes=codebooks)
    assert layout.discrete
    assert layout.positions == math.prod(grid)
    assert layout.tokens_per_image == math.prod(grid) * len(codebooks)
    bits = sum(math.log2(size) for size in codebooks) * math.prod(grid)
    assert layout.bits_per_image == pytest.approx(bits)
    assert layout.bpp == pytest.approx(bits / height / width)
    assert layout.storage_bits_per_image is None


@given(grids, st.integers(1, 64))
def test_continuous(grid: tuple[int, ...], channels: int) -> None:
    layout = TokenLayout((64, 64), grid, channels=channels)
    assert not layout.discrete
    assert layout.tokens_per_image == layout.positions == math.prod(grid)
    assert layout.bits_per_image is None
    assert layout.bpp is None
    assert layout.storage_bits_per_image == math.prod(grid) * channels * 32


def test_bits_of_a_power_of_two_are_exact() -> None:
    assert TokenLayout((256, 256), (16, 16), (16384,)).bits_per_image == 3584.0
    assert TokenLayout((64, 64), (64, 64), (256, 256, 256)).bpp == 24.0


@given(st.integers(1, 16), grids.filter(lambda grid: len(grid) == 2))
def test_one_position_a_square(stride: int, grid: tuple[int, ...]) -> None:
    height, width = (stride * side for side in grid)
    assert TokenLayout.strided(height, width, stride, channels=3) == TokenLayout((height, width), grid, channels=3)


@pytest.mark.parametrize(("size", "grid", "padding"), [((63, 64), (8, 8), (1, 0)), ((64, 57), (8, 8), (0, 7)), ((4, 1), (1, 1), (4, 7))])
def test_a_size_that_the_stride_does_not_divide_is_padded(size: tuple[int, int], grid: tuple[int, int], padding: tuple[int, int]) -> None:
    layout = TokenLayout.strided(*size, 8, codebook_sizes=(16,))
    assert (layout.image_size, layout.grid, layout.padding) == (size, grid, padding)
    assert layout.padded_size == (8 * grid[0], 8 * grid[1])
    assert layout.downsampling == 8
    assert layout.cut_size == size
    assert layout.bpp == pytest.approx(4 * grid[0] * grid[1] / (size[0] * size[1]))
    assert TokenLayout.strided(64, 64, 8, channels=2).cut_size is None


@pytest.mark.parametrize("size", [(0, 8), (8, 0), (-8, 8)])
def test_an_image_without_pixels_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(TokbenchError, match=f"image size {size[0]}x{size[1]} does not fit: height and width must be at least 1"):
        TokenLayout.strided(*size, 8, channels=3)


def test_padding_is_two_numbers_of_0_or_more() -> None:
    with pytest.raises(ValueError, match="padding must be two numbers of 0 or more"):
        TokenLayout((8, 8), (2, 2), (16,), padding=(-1, 0))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image_size": (64, 0)}, "image_size must be two positive numbers"),
        ({"image_size": (64,)}, "image_size must be two positive numbers"),
        ({"grid": ()}, "grid must hold positive numbers"),
        ({"grid": (4, 0)}, "grid must hold positive numbers"),
        ({"codebook_sizes": (1024, 1)}, "a codebook needs at least 2 entries"),
        ({"codebook_sizes": ()}, "either codebook_sizes .* or channels"),
        ({"channels": 4}, "either codebook_sizes .* or channels"),
        ({"codebook_sizes": (), "channels": -4}, "channels must be positive, got -4"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_refusals(change: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        dataclasses.replace(TokenLayout((64, 64), (16, 16), (1024,)), **change)


def test_it_is_frozen_and_does_not_import_torch() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TokenLayout((64, 64), (16, 16), (1024,)).grid = (1,)  # type: ignore[misc]
    script = "import sys, tokbench.layout; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "False\n"


def test_maps_of_several_scales_are_one_sequence() -> None:
    layout = TokenLayout.multi_scale(16, (1, 2, 4), codebook_sizes=(4096,))
    assert layout == TokenLayout((64, 64), (21,), (4096,), scales=(1, 2, 4), lengths=(1, 5, 21))
    assert layout.bits_per_image == 21 * 12
    assert layout.prefix(21) == layout
    assert layout.prefix(5) == TokenLayout((64, 64), (5,), (4096,), scales=(1, 2), lengths=(1, 5))
    assert layout.prefix(5).bits_per_image == 60


def test_any_prefix_of_a_nested_sequence() -> None:
    nested = TokenLayout((64, 64), (20,), (16,), lengths=tuple(range(1, 21)))
    assert nested.prefix(7).tokens_per_image == 7
    with pytest.raises(TokbenchError, match=r"an image is decoded from 1, 2, 3, \.\.\., 20 positions, got 21; take one of these lengths"):
        nested.prefix(21)


@pytest.mark.parametrize("grid", [(16,), (4, 4)])
def test_other_sequences_have_no_prefix(grid: tuple[int, ...]) -> None:
    with pytest.raises(TokbenchError, match="an image is decoded from all 16 positions of its tokens, which have no shorter form"):
        TokenLayout((64, 64), grid, (16,)).prefix(8)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"scales": (1, 2)}, "lengths must be those of the scales"),
        ({"scales": (1, 2), "lengths": (1, 4)}, "lengths must be those of the scales"),
        ({"lengths": (2, 1, 5)}, "lengths must rise from 1"),
        ({"lengths": (0, 5)}, "lengths must rise from 1"),
        ({"lengths": (1, 4)}, "lengths must rise from 1 to the one side of the grid"),
    ],
)
def test_lengths_that_are_none_are_refused(settings: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        TokenLayout((64, 64), (5,), (16,), **settings)


def test_layouts_without_scales_are_written_as_before() -> None:
    assert set(plain(TokenLayout((64, 64), (8, 8), (16,)))) == {"image_size", "grid", "codebook_sizes", "channels"}
