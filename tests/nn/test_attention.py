"""Attention over a map: what it computes, and that it holds no scores of all pairs of places."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tokbench.nn.autoencoder import AttentionBlock


@pytest.fixture
def block() -> AttentionBlock:
    made = AttentionBlock(24, 4).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return made


def by_softmax(block: AttentionBlock, x: Tensor) -> Tensor:
    """The same attention place by place, in double precision."""
    block, x = block.double(), x.double()
    q, k, v = (proj(block.norm(x)).flatten(2) for proj in (block.q, block.k, block.v))
    weights = (torch.einsum("b c n, b c m -> b n m", q, k) / q.shape[1] ** 0.5).softmax(dim=2)
    return x + block.proj_out(torch.einsum("b n m, b c m -> b c n", weights, v).unflatten(2, x.shape[2:]))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (20, 16)])
def test_places_are_mixed_by_softmax_without_a_table_of_pairs(
    block: AttentionBlock, size: tuple[int, int], memory_format: torch.memory_format
) -> None:
    x = torch.randn(2, 24, *size, generator=torch.Generator().manual_seed(1)).to(memory_format=memory_format)
    with torch.no_grad(), sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # refused where a layout would need the table
        mixed = block(x)
    torch.testing.assert_close(mixed.double(), by_softmax(block, x), atol=1e-5, rtol=0)
