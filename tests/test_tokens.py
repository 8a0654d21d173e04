"""Tokens are validated at birth."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tokbench.tokens import ContinuousTokens, DiscreteTokens

grids = st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple)
books = st.lists(st.integers(2, 50), min_size=1, max_size=3).map(tuple)


def codes_for(batch: int, positions: int, sizes: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(size, (batch, positions), generator=generator) for size in sizes], dim=2)


@given(st.integers(0, 4), grids, books, st.integers(0, 99))
def test_codes_in_range_on_a_fitting_grid_are_taken(batch: int, grid: tuple[int, ...], sizes: tuple[int, ...], seed: int) -> None:
    codes = codes_for(batch, math.prod(grid), sizes, seed)
    tokens = DiscreteTokens(codes, grid, sizes)
    assert len(tokens) == batch
    assert torch.equal(tokens.codes, codes)


@given(grids, books, st.data())
def test_one_code_out_of_range_is_refused(grid: tuple[int, ...], sizes: tuple[int, ...], data: st.DataObject) -> None:
    codes = codes_for(2, math.prod(grid), sizes)
    book = data.draw(st.integers(0, len(sizes) - 1))
    position = data.draw(st.integers(0, math.prod(grid) - 1))
    codes[1, position, book] = data.draw(st.sampled_from([-1, sizes[book], 10**12]))
    with pytest.raises(ValueError, match=rf"codes of codebook {book} range over .*, allowed is 0..{sizes[book] - 1}"):
        DiscreteTokens(codes, grid, sizes)


@given(grids, st.integers(1, 40))
def test_a_grid_of_another_number_of_positions_is_refused(grid: tuple[int, ...], positions: int) -> None:
    if math.prod(grid) == positions:
        return
    reason = rf"has {math.prod(grid)} positions, the tokens have {positions}"
    with pytest.raises(ValueError, match=reason):
        DiscreteTokens(codes_for(1, positions, (4,)), grid, (4,))
    with pytest.raises(ValueError, match=reason):
        ContinuousTokens(torch.zeros(1, positions, 2), grid)


@pytest.mark.usefixtures("unchecked_types")
class TestRefusals:
    @pytest.mark.parametrize("grid", [(), (2, -2), (4.0,), [4], 4, (0, 4)])
    def test_grids(self, grid: object) -> None:
        with pytest.raises(ValueError, match="grid must be a tuple of positive ints"):
            ContinuousTokens(torch.zeros(1, 4, 2), grid)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("codes", "given"),
        [
            (torch.zeros(1, 4, 1), r"torch.float32 of shape \(1, 4, 1\)"),
            (torch.zeros(1, 4, 1, dtype=torch.int32), r"torch.int32 of shape \(1, 4, 1\)"),
            (torch.zeros(1, 4, dtype=torch.int64), r"torch.int64 of shape \(1, 4\)"),
            ([[[1]]], "list"),
        ],
    )
    def test_codes(self, codes: object, given: str) -> None:
        with pytest.raises(ValueError, match=rf"codes must be an int64 tensor \[B, L, K\], got {given}"):
            DiscreteTokens(codes, (4,), (8,))  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("latents", "given"),
        [
            (torch.zeros(1, 4, 1, dtype=torch.int64), r"torch.int64 of shape \(1, 4, 1\)"),
            (torch.zeros(4, 1), r"torch.float32 of shape \(4, 1\)"),
        ],
    )
    def test_latents(self, latents: object, given: str) -> None:
        with pytest.raises(ValueError, match=rf"latents must be a float tensor \[B, L, C\], got {given}"):
            ContinuousTokens(latents, (4,))  # type: ignore[arg-type]

    def test_the_number_of_codebooks(self) -> None:
        with pytest.raises(ValueError, match="codes have 1 codebooks, codebook_sizes names 2"):
            DiscreteTokens(codes_for(1, 4, (8,)), (4,), (8, 8))


def test_tokens_are_frozen() -> None:
    tokens = ContinuousTokens(torch.zeros(1, 4, 2), (2, 2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        tokens.grid = (4,)  # type: ignore[misc]
    assert len(dataclasses.replace(tokens, grid=(4,))) == 1


@given(st.integers(1, 5), grids, books)
def test_slices_are_batches_of_their_images(batch: int, grid: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    codes = codes_for(batch, math.prod(grid), sizes)
    tokens, latents = DiscreteTokens(codes, grid, sizes), ContinuousTokens(codes.float(), grid)
    for part in (slice(0, 2), slice(1, None), slice(None, None, 2), slice(batch, None)):
        assert torch.equal(tokens[part].codes, codes[part])
        assert torch.equal(latents[part].latents, codes[part].float())
    assert torch.equal(tokens[-1].codes, codes[-1:])
    assert tokens[0].grid == latents[0].grid == grid
    assert torch.equal(torch.cat([one.codes for one in tokens]), codes)  # type: ignore[attr-defined]
    with pytest.raises(IndexError):
        latents[batch]


def test_the_map_of_one_codebook_is_a_view() -> None:
    codes = torch.arange(12).reshape(2, 6, 1)
    image = DiscreteTokens(codes, (2, 3), (12,)).code_map
    assert image.tolist() == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]
    assert image.data_ptr() == codes.data_ptr()
    assert DiscreteTokens(codes, (6,), (12,)).code_map.shape == (2, 6)
    with pytest.raises(ValueError, match=r"the tokens have 2 codebooks, a map has one; take codes\[\.\.\., k\]"):
        DiscreteTokens(codes.reshape(2, 3, 2), (3,), (12, 12)).code_map  # noqa: B018


def test_tokens_move_to_a_device_or_a_type() -> None:
    codes = codes_for(2, 4, (8,))
    assert DiscreteTokens(codes, (4,), (8,)).to("cpu").codes is codes
    assert ContinuousTokens(torch.zeros(1, 4, 2), (4,)).to(torch.bfloat16).latents.dtype == torch.bfloat16
    assert ContinuousTokens(torch.zeros(1, 4, 2), (4,)).to("meta").latents.device.type == "meta"


def test_a_prefix_is_the_first_tokens_of_every_image() -> None:
    tokens = DiscreteTokens(torch.arange(12).reshape(2, 6, 1), (6,), (12,))
    assert torch.equal(tokens.prefix(2).codes, torch.tensor([[[0], [1]], [[6], [7]]]))
    assert tokens.prefix(2).grid == (2,)
    latents = ContinuousTokens(torch.rand(2, 6, 3), (6,))
    assert torch.equal(latents.prefix(6).latents, latents.latents)


@pytest.mark.parametrize(("grid", "length"), [((6,), 7), ((6,), 0), ((2, 3), 2)])
def test_what_is_no_prefix_is_refused(grid: tuple[int, ...], length: int) -> None:
    with pytest.raises(ValueError, match="a prefix is of 1 to all tokens of a sequence"):
        ContinuousTokens(torch.rand(2, 6, 3), grid).prefix(length)
