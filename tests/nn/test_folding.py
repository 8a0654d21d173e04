"""Networks with their normalisation folded in, against the same without."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from tokbench.nn.folding import fold_norms, frozen


def with_statistics(model: nn.Module) -> nn.Module:
    """Weights and running statistics as if it had been trained."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model.eval()


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@torch.no_grad()
def test_a_network_of_timm_computes_the_same_without_its_normalisations() -> None:
    model = with_statistics(timm.create_model("tf_efficientnet_lite0", pretrained=False)).double()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted = model(images)
    assert norms(model) == 49
    folded = frozen(model, torch.device("cpu"))
    assert norms(folded) == 0
    torch.testing.assert_close(folded(images), wanted, rtol=1e-9, atol=1e-9)
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert not folded.training


class Odd(nn.Module):
    """A normalisation that stands beside a convolution of another width, and one that has none before it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 5, 1)
        self.other = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.other(self.first(x)))


@torch.no_grad()
def test_other_normalisations_stay() -> None:
    model = with_statistics(Odd())
    images = torch.randn(2, 3, 4, 4)
    wanted = model(images)
    fold_norms(model)
    assert norms(model) == 2
    assert torch.equal(model(images), wanted)


@pytest.mark.parametrize("bias", [False, True])
@torch.no_grad()
def test_a_bias_is_taken_along(bias: bool) -> None:
    model = with_statistics(nn.Sequential(nn.Conv2d(3, 8, 3, bias=bias), nn.BatchNorm2d(8, eps=1e-3), nn.ReLU()))
    images = torch.randn(2, 3, 9, 9)
    wanted = model(images)
    torch.testing.assert_close(frozen(model, torch.device("cpu"))(images), wanted, rtol=1e-5, atol=1e-5)
