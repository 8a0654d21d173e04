"""Blocks of Inception that convolve before they average, against those of torch-fidelity."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch_fidelity import feature_extractor_inceptionv3 as theirs

from tokbench.bench.inception_blocks import BRANCHES, STEM, ConvolvedFirst, lean
from tokbench.nn.folding import fold_norms, frozen
from tokbench.nn.packed import PackedConv2d

BLOCKS = {"InceptionA": (192, 32), "InceptionC": (96, 128), "InceptionE_1": (96,)}


def block(name: str) -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = getattr(theirs, name)(*BLOCKS[name])
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias, std=0.5)  # so that ReLU before and after averaging differ
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return made.double().eval()


@pytest.mark.parametrize("name", BRANCHES)
@torch.no_grad()
def test_a_block_computes_what_theirs_does(name: str) -> None:
    images = torch.randn(2, BLOCKS[name][0], 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    wanted = block(name)(images)
    layer = block(name)
    fold_norms(layer)
    made = lean([nn.Identity()] * STEM + [layer])[-1]
    assert isinstance(made, ConvolvedFirst)
    torch.testing.assert_close(made(images), wanted, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_a_trunk_keeps_what_its_layers_make() -> None:
    def layers() -> list[nn.Module]:
        torch.manual_seed(0)
        made = [theirs.BasicConv2d(3, 96, kernel_size=3), nn.MaxPool2d(3, stride=2), theirs.InceptionE_1(96), theirs.InceptionE_2(2048)]
        return [layer.eval() for layer in made]

    images = torch.randn(3, 3, 19, 19, generator=torch.Generator().manual_seed(1))
    wanted = nn.Sequential(*layers())(images)
    trunk = frozen(lean(layers()), torch.device("cpu"))
    assert sum(isinstance(module, PackedConv2d) for module in trunk.modules()) == 1 + 9 + 9
    found = trunk(images.contiguous(memory_format=torch.channels_last))
    assert ((found - wanted).norm() / wanted.norm()).item() < 1e-6
