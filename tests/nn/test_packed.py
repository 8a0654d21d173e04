"""Convolutions with weights laid out once, against those they replace."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from tokbench.nn import packed as room
from tokbench.nn.packed import PackedConv2d, available, by_few, packed


def images(count: int, side: int = 17, channels: int = 6) -> Tensor:
    drawn = torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(count))
    return drawn.contiguous(memory_format=torch.channels_last)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(8, 8, (1, 7), padding=(0, 3), groups=2), nn.ReLU(inplace=True))
    layers = (nn.Conv2d(6, 8, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2), inner, nn.Conv2d(8, 4, 1, bias=False))
    return nn.Sequential(*layers).to(memory_format=torch.channels_last).eval().requires_grad_(False)


def test_the_operators_are_there() -> None:
    state = torch.get_rng_state()
    assert available.__wrapped__()
    assert torch.equal(torch.get_rng_state(), state)  # and nothing is drawn to find out


@pytest.mark.parametrize("count", [1, 3, 16])
def test_a_packed_network_computes_the_same(count: int) -> None:
    plain, fast = network(), packed(network())
    kinds = [type(layer) for layer in fast.modules()]
    assert kinds.count(PackedConv2d) == 3
    assert not {nn.ReLU, nn.Conv2d} & set(kinds)
    given = images(count)
    torch.testing.assert_close(fast(given), plain(given), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(fast(images(count, 23)), plain(images(count, 23)), rtol=1e-5, atol=1e-6)  # laid out for another size


def test_an_image_is_computed_alike_with_any_beside_it() -> None:
    fast, given = packed(network()), images(16)
    whole = fast(given)
    assert torch.equal(torch.cat([fast(part) for part in given.split(3)]), whole)


def test_a_relu_of_another_parent_stays() -> None:
    class Block(nn.Module):
        """Its ReLU runs on a sum, and stands behind a convolution all the same."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu = nn.Conv2d(6, 6, 1), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.relu(x + self.conv(x))

    torch.manual_seed(0)
    plain = Block().requires_grad_(False)
    given = images(2)
    wanted = plain(given)
    fast = packed(plain)
    assert isinstance(fast.relu, nn.ReLU)
    assert isinstance(fast.conv, PackedConv2d)
    torch.testing.assert_close(fast(given), wanted, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_packed_stays() -> None:
    doubles = packed(network().double())
    assert not any(isinstance(layer, PackedConv2d) for layer in doubles.modules())
    odd = nn.Sequential(nn.Conv2d(6, 6, 3, padding="same"), nn.Conv2d(6, 6, 3, padding=1, padding_mode="reflect"))
    assert [type(layer) for layer in packed(odd)] == [nn.Conv2d, nn.Conv2d]


@pytest.mark.parametrize("fault", [RuntimeError("no such operator"), None])
def test_without_the_operators_nothing_is_packed(monkeypatch: pytest.MonkeyPatch, fault: Exception | None) -> None:
    def broken(self: PackedConv2d, x: Tensor) -> Tensor:
        if fault is not None:
            raise fault
        return torch.zeros(1, 1, 3, 3)

    monkeypatch.setattr(PackedConv2d, "forward", broken)
    available.cache_clear()
    try:
        assert not available()
        assert [type(layer) for layer in packed(network())] == [type(layer) for layer in network()]
    finally:
        monkeypatch.undo()
        available.cache_clear()
    assert available()


def test_threads_pack_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Tensor] = []
    lay_out = room._laid_out
    monkeypatch.setattr(room, "_laid_out", lambda *how: made.append(lay_out(*how)) or made[-1])
    fast, given = packed(nn.Sequential(nn.Conv2d(6, 6, 3).requires_grad_(False))), images(2)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: fast(given), range(8)))
    assert len(made) == 1
    assert all(torch.equal(one, found[0]) for one in found)


@pytest.mark.parametrize("used", [False, True])
def test_it_is_copied_and_pickled(used: bool) -> None:
    fast, given = packed(network()), images(3)
    if used:
        fast(given)
    for copied in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert torch.equal(copied(given), fast(given))
        assert torch.equal(pickle.loads(pickle.dumps(copied))(given), fast(given))


@pytest.mark.parametrize("used", [False, True])
def test_it_is_sent_to_processes_that_are_spawned(used: bool) -> None:
    network = packed(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).requires_grad_(False))
    given = torch.ones(1, 3, 8, 8)
    if used:
        network(given)
    process = multiprocessing.get_context("spawn").Process(target=network, args=(given,))
    process.start()
    process.join(60)
    assert process.exitcode == 0


def test_few_at_once() -> None:
    seen: list[int] = []

    def compute(part: Tensor) -> Tensor:
        seen.append(len(part))
        return part.mean(dim=(2, 3))

    given = images(7)
    assert torch.equal(by_few(compute, given, count=3), given.mean(dim=(2, 3)))
    assert seen == [3, 3, 1]
    by_few(compute, given.to("meta"), count=3)
    assert seen[3:] == [7]
