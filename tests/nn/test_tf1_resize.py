"""The resize of TensorFlow 1, bit by bit as torch-fidelity computes it."""

from __future__ import annotations

import pytest
import torch

from tokbench.nn.tf1_resize import tf1_bilinear


@pytest.mark.parametrize("shape", [(64, 64), (256, 256), (299, 299), (300, 41), (512, 400), (1, 1)])
def test_it_is_that_of_torch_fidelity(shape: tuple[int, int]) -> None:
    compat = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")
    images = torch.randint(0, 256, (2, 3, *shape), generator=torch.Generator().manual_seed(0)).float()
    wanted = compat.interpolate_bilinear_2d_like_tensorflow1x(images, size=(299, 299), align_corners=False)
    assert torch.equal(tf1_bilinear(images, 299), wanted)


def test_corners_stay_and_the_last_pixel_repeats() -> None:
    images = torch.tensor([[0.0, 4.0], [8.0, 12.0]])[None, None]
    assert tf1_bilinear(images, 4)[0, 0].tolist() == [[0, 2, 4, 4], [4, 6, 8, 8], [8, 10, 12, 12], [8, 10, 12, 12]]
