"""Encoders whose features tell of the pixels around them alone, and what the published ones do instead."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tokbench.configs import plain
from tokbench.nn.autoencoder import Decoder, Encoder
from tokbench.nn.configs import AutoencoderConfig

GLOBAL = AutoencoderConfig(
    4,
    channels=8,
    channel_multipliers=(1, 2, 2, 3),
    num_res_blocks=1,
    attn_resolutions=(),
    resolution=64,
    mid_attention=False,
    norm_groups=4,
)
LOCAL = replace(GLOBAL, norm="rms", local_levels=3)


def changed_by(config: AutoencoderConfig, pixel: tuple[int, int]) -> torch.Tensor:
    """Which features of an image of 64 px change with one pixel."""
    torch.manual_seed(0)
    encoder, image = Encoder(config).eval(), torch.rand(1, 3, 64, 64)
    other = image.clone()
    other[:, :, pixel[0], pixel[1]] += 1.0
    with torch.no_grad():
        return (encoder(image) != encoder(other)).any(dim=1)[0]


@pytest.mark.parametrize("pixel", [(28, 28), (0, 0), (63, 63), (40, 7)])
def test_a_pixel_changes_the_features_around_it_alone(pixel: tuple[int, int]) -> None:
    found = changed_by(LOCAL, pixel).nonzero()
    assert len(found)
    for row, column in found.tolist():  # a place of 8 px and at most 10 px around, by the strides of the convolutions
        assert 8 * row - 10 <= pixel[0] < 8 * row + 18
        assert 8 * column - 10 <= pixel[1] < 8 * column + 18


def test_published_networks_tell_of_the_whole_image() -> None:
    assert changed_by(GLOBAL, (28, 28)).all()


def test_as_many_levels_are_local_as_are_asked_for() -> None:
    counts = [int(changed_by(replace(LOCAL, local_levels=levels), (28, 28)).sum()) for levels in (3, 2, 1, 0)]
    assert counts == sorted(set(counts))


def test_what_is_normalised_place_by_place_has_no_mean_over_the_map() -> None:
    torch.manual_seed(0)
    decoder, features = Decoder(LOCAL).eval(), torch.randn(2, 4, 16, 16)
    with torch.no_grad():
        whole = decoder(features)
        assert whole.shape == (2, 3, 128, 128)
        features[:, :, 0, 0] += 5.0
        assert torch.equal(decoder(features)[:, :, -1, -1], whole[:, :, -1, -1])


def test_bfloat16_stays_bfloat16() -> None:
    encoder = Encoder(LOCAL).to(torch.bfloat16)
    assert encoder(torch.rand(1, 3, 32, 32, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_large_maps_are_as_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    image = torch.rand(1, 3, 64, 64)
    for config in (replace(GLOBAL, local_levels=2), LOCAL):
        encoder = Encoder(config).eval()
        with torch.no_grad():
            usual = encoder(image)
            monkeypatch.setattr("tokbench.nn.autoencoder.STRIP", 1)
            assert torch.equal(encoder(image), usual)
        monkeypatch.undo()


def test_files_of_published_networks_stay_as_they_are() -> None:
    assert not {"norm", "local_levels"} & set(plain(GLOBAL))
    assert plain(LOCAL)["norm"] == "rms"


@pytest.mark.parametrize("levels", [-1, 5])
def test_levels_that_are_not_there(levels: int) -> None:
    with pytest.raises(ValueError, match=f"local_levels is 0 to 4, the levels there are, got {levels}"):
        replace(GLOBAL, local_levels=levels)
