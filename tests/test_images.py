"""The two pixel conversions."""

from __future__ import annotations

import math

import pytest
import torch

from tokbench.images import to_float, to_uint8

LEVELS = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256)


def test_every_level_survives_the_round_trip() -> None:
    assert torch.equal(to_uint8(to_float(LEVELS)), LEVELS)


def test_the_ends_and_the_middle() -> None:
    values = to_float(LEVELS)
    assert values.dtype == torch.float32
    assert (values[0, 0, 0, 0].item(), values[0, 0, 0, 255].item()) == (-1.0, 1.0)
    assert values[0, 0, 0, 127].item() == pytest.approx(-1 / 255)


def test_truncation_lowers_95_levels_by_one() -> None:
    change = to_uint8(to_float(LEVELS), rule="truncate").int() - LEVELS.int()
    assert change.unique().tolist() == [-1, 0]
    assert int((change[0, 0] == -1).sum()) == 95


def test_rounding_goes_to_the_nearest_level_and_truncation_down() -> None:
    shift = torch.tensor([-0.49, -0.1, 0.1, 0.49]).reshape(1, 1, 4, 1) / 127.5
    inner = to_float(LEVELS)[..., 1:-1] + shift
    assert torch.equal(to_uint8(inner), LEVELS[..., 1:-1].expand(1, 3, 4, 254))
    assert torch.equal(to_uint8(inner[:, :, :1], rule="truncate"), LEVELS[..., :-2])


def test_half_up_differs_from_rounding_at_halves_alone() -> None:
    values = torch.tensor([0.5, 1.5, 2.5, 254.5]).div(127.5).sub(1.0).double().reshape(1, 1, 1, 4).expand(1, 3, 1, 4)
    exact = [0.5, 1.5, 2.5, 254.5]
    assert to_uint8(values.float(), rule="half up")[0, 0, 0].tolist() == [int(value + 0.5) for value in exact]
    assert torch.equal(to_uint8(to_float(LEVELS), rule="half up"), LEVELS)


def test_values_outside_are_clamped() -> None:
    wild = torch.tensor([-math.inf, -7.0, 7.0, math.inf]).expand(1, 3, 1, 4)
    for rule in ("round", "half up", "truncate"):
        assert to_uint8(wild, rule=rule)[0, 0, 0].tolist() == [0, 0, 255, 255]  # type: ignore[arg-type]


def test_half_precision_is_converted_in_single() -> None:
    assert to_uint8(torch.full((1, 3, 1, 1), 0.5, dtype=torch.bfloat16)).unique().tolist() == [191]


def test_the_input_is_left_alone() -> None:
    values = to_float(LEVELS)
    before = values.clone()
    to_uint8(values)
    to_uint8(values, rule="truncate")
    assert torch.equal(values, before)


@pytest.mark.usefixtures("unchecked_types")
class TestRefusals:
    def test_nan(self) -> None:
        values = torch.zeros(1, 3, 2, 2)
        values[0, 0, 1, 1] = math.nan
        with pytest.raises(ValueError, match="to_uint8 got NaN pixels"):
            to_uint8(values)

    @pytest.mark.parametrize(
        ("images", "given"),
        [
            (torch.zeros(1, 3, 2, 2), r"torch.float32 \(1, 3, 2, 2\)"),
            (torch.zeros(1, 1, 2, 2, dtype=torch.uint8), r"torch.uint8 \(1, 1, 2, 2\)"),
            (torch.zeros(3, 2, 2, dtype=torch.uint8), r"torch.uint8 \(3, 2, 2\)"),
        ],
    )
    def test_to_float(self, images: torch.Tensor, given: str) -> None:
        with pytest.raises(ValueError, match=rf"to_float takes uint8 \[B, 3, H, W\], got {given}"):
            to_float(images)

    @pytest.mark.parametrize(
        ("images", "given"),
        [
            (torch.zeros(1, 3, 2, 2, dtype=torch.uint8), r"torch.uint8 \(1, 3, 2, 2\)"),
            (torch.zeros(1, 2, 2, 3), r"torch.float32 \(1, 2, 2, 3\)"),
        ],
    )
    def test_to_uint8(self, images: torch.Tensor, given: str) -> None:
        with pytest.raises(ValueError, match=rf"to_uint8 takes float \[B, 3, H, W\], got {given}"):
            to_uint8(images)

    def test_an_unknown_rule(self) -> None:
        with pytest.raises(ValueError, match="rule is round, half up or truncate, got 'floor'"):
            to_uint8(torch.zeros(1, 3, 2, 2), rule="floor")  # type: ignore[arg-type]
