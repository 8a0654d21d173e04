"""Linear layers by either library, which differ in rounding alone."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.utils.flop_counter import FlopCounterMode

from tokbench import linear as room
from tokbench.linear import MANY_ROWS, PRODUCTS, ROWS, TRAINED_ROWS, Linear, gelu_of, linear, multiplying
from tokbench.quantizers.nearest import nearest_codes

WIDTH = 256


@pytest.fixture
def convolving(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """As on a processor of AMD; rows of each product that oneDNN is given."""
    if not torch.backends.mkldnn.is_available() or not room.takes_weights_as_they_lie():
        pytest.skip("PyTorch comes without oneDNN here, or with another one")
    seen: list[int] = []
    convolve, multiply = torch.mkldnn_convolution, torch.ops.mkldnn._linear_pointwise

    def noted(x: Tensor, *rest: object) -> Tensor:
        assert x.shape[2] >= MANY_ROWS or torch.is_grad_enabled()
        seen.append(x.shape[2])
        return convolve(x, *rest)

    def noted_as_they_lie(x: Tensor, weight: Tensor, bias: Tensor | None, then: str, *rest: object) -> Tensor:
        rows = x.numel() // x.shape[-1]
        assert rows < MANY_ROWS or then == "gelu"
        assert not (torch.is_grad_enabled() and weight.requires_grad)
        seen.append(rows)
        return multiply(x, weight, bias, then, *rest)

    monkeypatch.setattr(room, "multiplies_slowly", lambda: True)
    monkeypatch.setattr(torch, "mkldnn_convolution", noted)
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", noted_as_they_lie)
    return seen


def layers(bias: bool = True) -> tuple[nn.Linear, Linear]:
    torch.manual_seed(0)
    plain = nn.Linear(WIDTH, 320, bias=bias)
    ours = Linear(WIDTH, 320, bias=bias)
    ours.load_state_dict(plain.state_dict())
    return plain, ours


def rows(*shape: int) -> Tensor:
    return torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", [(1, ROWS), (3, 5, 77), (4096,)])
@pytest.mark.parametrize("bias", [False, True])
@torch.no_grad()
def test_many_rows_are_multiplied_by_the_other_library(convolving: list[int], shape: tuple[int, ...], bias: bool) -> None:
    plain, ours = layers(bias)
    given = rows(*shape)
    torch.testing.assert_close(ours(given), plain(given), rtol=1e-5, atol=1e-5)
    assert convolving == [given.numel() // WIDTH]
    assert ours(given).is_contiguous()
    turned = rows(96, ROWS).transpose(0, 1)  # not as rows lie in memory
    torch.testing.assert_close(ours(turned), plain(turned), rtol=1e-5, atol=1e-5)


def test_a_bias_alone_is_given_its_gradient(convolving: list[int]) -> None:
    plain, ours = layers()
    for layer in (plain, ours):
        layer.weight.requires_grad_(False)
        layer(rows(TRAINED_ROWS)).square().mean().backward()
    assert convolving == [TRAINED_ROWS]
    torch.testing.assert_close(ours.bias.grad, plain.bias.grad, rtol=1e-4, atol=1e-7)


def test_gradients_are_the_same(convolving: list[int]) -> None:
    plain, ours = layers()
    found = []
    for layer in (plain, ours):
        given = rows(2, TRAINED_ROWS).requires_grad_()
        layer(given).square().mean().backward()
        found.append((given.grad, layer.weight.grad, layer.bias.grad))
    assert convolving == [2 * TRAINED_ROWS]
    for wanted, gradient in zip(*found, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-7)


@torch.no_grad()
def test_few_products_stay(convolving: list[int]) -> None:
    small = Linear(WIDTH, PRODUCTS // (ROWS * WIDTH) - 1)
    small(rows(ROWS))
    assert convolving == []


def test_few_rows_and_other_precisions_stay(convolving: list[int]) -> None:
    plain, ours = layers()
    assert torch.equal(ours(rows(TRAINED_ROWS - 1)), plain(rows(TRAINED_ROWS - 1)))
    with torch.no_grad():
        assert torch.equal(ours(rows(ROWS - 1)), plain(rows(ROWS - 1)))
        assert torch.equal(ours(rows(0)), plain(rows(0)))
        with torch.autocast("cpu", torch.bfloat16):
            assert ours(rows(512)).dtype == torch.bfloat16
        assert ours.double()(rows(512).double()).dtype == torch.float64
    assert convolving == []


@torch.no_grad()
def test_elsewhere_it_is_the_layer_of_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "multiplies_slowly", lambda: False)
    plain, ours = layers()
    assert torch.equal(ours(rows(512)), plain(rows(512)))
    assert torch.equal(linear(rows(512), ours.weight), nn.functional.linear(rows(512), ours.weight))


@pytest.mark.parametrize(
    ("vendor", "capability", "slow"), [("AuthenticAMD", "AVX512", True), ("AuthenticAMD", "AVX2", False), ("GenuineIntel", "AVX512", False)]
)
def test_which_processors_multiply_slowly(monkeypatch: pytest.MonkeyPatch, vendor: str, capability: str, slow: bool) -> None:
    monkeypatch.setattr(room, "_vendor", lambda: f"vendor_id : {vendor}")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert room.multiplies_slowly.__wrapped__() is slow
    assert isinstance(room._vendor(), str)


@torch.no_grad()
def test_a_network_of_a_library_keeps_its_names_weights_and_hooks(convolving: list[int]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ModuleDict({"other": nn.LazyLinear(4)}), nn.Linear(WIDTH, WIDTH))
    names, seen = [name for name, _ in network.named_parameters()], []
    network[0].register_forward_hook(lambda *_: seen.append(True))
    first, given = network[0], rows(512)
    wanted = network[2](first(given))
    assert multiplying(network)[0] is first
    assert [type(layer) for layer in (network[0], network[1]["other"], network[2])] == [Linear, nn.LazyLinear, Linear]
    torch.testing.assert_close(network[2](network[0](given)), wanted, rtol=1e-5, atol=1e-5)
    assert [name for name, _ in network.named_parameters()] == names
    assert (len(seen), convolving) == (2, [512, 512])


def test_it_is_copied_and_saved_as_the_layer_of_pytorch() -> None:
    plain, ours = layers()
    assert list(ours.state_dict()) == list(plain.state_dict())
    for copied in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert isinstance(copied, Linear)
        assert torch.equal(copied.weight, ours.weight)
    assert repr(ours) == repr(plain)


@torch.no_grad()
def test_graphs_hold_the_layer_of_pytorch(convolving: list[int]) -> None:
    _, ours = layers()
    given = rows(512)
    graph = torch.jit.trace(ours, given, check_trace=False)  # which would call it once more, untraced
    assert "mkldnn" not in str(graph.inlined_graph)
    exported = torch.export.export(ours, (given,))
    assert not [node for node in exported.graph.nodes if "mkldnn" in str(node.target)]
    assert convolving == []


class Quantized(Tensor):
    """Weights of a class of somebody else."""


@pytest.mark.parametrize("way", ["transformed", "differentiated forwards", "counted", "pretended", "quantized"])
def test_what_knows_the_usual_operators_alone_is_given_them(convolving: list[int], way: str) -> None:
    plain, ours = layers()
    given = rows(2, 512)
    if way == "transformed":
        torch.testing.assert_close(torch.func.jvp(ours, (given,), (given,))[1], torch.func.jvp(plain, (given,), (given,))[1])
        torch.testing.assert_close(torch.func.vmap(ours)(given), plain(given))
    elif way == "differentiated forwards":
        with forward_ad.dual_level():
            found = [forward_ad.unpack_dual(layer(forward_ad.make_dual(given, given))).tangent for layer in (ours, plain)]
        torch.testing.assert_close(*found)
    elif way == "counted":
        with FlopCounterMode(display=False) as counter:
            ours(given)
        assert counter.get_total_flops() == 2 * given.numel() * 320
    elif way == "pretended":
        with FakeTensorMode(allow_non_fake_inputs=True):
            assert ours(torch.empty(512, WIDTH)).shape == (512, 320)
    else:
        assert torch.equal(linear(given, ours.weight.detach().as_subclass(Quantized)), nn.functional.linear(given, ours.weight))
    assert convolving == []


gelu = nn.GELU(approximate="tanh")


@pytest.mark.parametrize("shape", [(1, ROWS), (3, 5, 77), (4096,), (2, 3)])
@torch.no_grad()
def test_gelu_comes_along_with_a_product(convolving: list[int], shape: tuple[int, ...]) -> None:
    plain, ours = layers()
    given = rows(*shape)
    wanted = gelu(plain(given))
    torch.testing.assert_close(gelu_of(ours, gelu, given), wanted, rtol=1e-5, atol=2e-6)
    assert convolving == [given.numel() // WIDTH] * (given.numel() // WIDTH >= ROWS)
    assert torch.equal(gelu_of(plain, gelu, given), wanted)


def test_gelu_of_a_layer_that_is_trained_or_watched(convolving: list[int]) -> None:
    plain, ours = layers()
    found = []
    for layer in (plain, ours):
        given = rows(TRAINED_ROWS).requires_grad_()
        gelu_of(layer, gelu, given).square().mean().backward()
        found.append((given.grad, layer.weight.grad, layer.bias.grad))
    for wanted, gradient in zip(*found, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-7)

    outputs: list[Tensor] = []
    ours.register_forward_hook(lambda layer, given, output: outputs.append(output))
    with torch.no_grad():
        watched = gelu_of(ours, gelu, rows(TRAINED_ROWS))
        assert torch.equal(watched, gelu(outputs[0]))
        torch.testing.assert_close(outputs[0], plain(rows(TRAINED_ROWS)), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_another_activation_and_one_that_is_watched_run(convolving: list[int]) -> None:
    plain, ours = layers()
    given, seen = rows(TRAINED_ROWS), list[Tensor]()
    for other in (nn.ReLU(), nn.GELU()):
        torch.testing.assert_close(gelu_of(ours, other, given), other(plain(given)), rtol=1e-5, atol=1e-5)
    watched = nn.GELU(approximate="tanh")
    watched.register_forward_hook(lambda layer, given, output: seen.append(output))
    assert torch.equal(gelu_of(ours, watched, given), seen[0])


@torch.no_grad()
@pytest.mark.parametrize("wrong", [lambda *rest: 1 + multiply(*rest), lambda x, weight: x])
def test_another_operator_of_that_name_is_left_alone(monkeypatch: pytest.MonkeyPatch, wrong: Callable[..., Tensor]) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", wrong)
    room.takes_weights_as_they_lie.cache_clear()
    try:
        assert not room.takes_weights_as_they_lie()
        _, ours = layers()
        monkeypatch.setattr(room, "multiplies_slowly", lambda: True)
        torch.testing.assert_close(ours(rows(ROWS)), nn.functional.linear(rows(ROWS), ours.weight, ours.bias), rtol=1e-5, atol=1e-5)
    finally:
        room.takes_weights_as_they_lie.cache_clear()


def multiply(x: Tensor, weight: Tensor, bias: Tensor | None, *rest: object) -> Tensor:
    return nn.functional.linear(x, weight, bias)


def test_other_widths_are_refused_in_pytorchs_words(convolving: list[int]) -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        layers()[1](rows(512)[:, 1:])
    assert convolving == []


@pytest.mark.parametrize("layout", ["as rows lie", "turned", "every second one"])
@torch.no_grad()
def test_what_comes_out_lies_as_of_pytorch(convolving: list[int], layout: str) -> None:
    _, ours = layers()
    given = {"as rows lie": rows(512), "turned": rows(512).T.contiguous().T, "every second one": rows(1024)[::2]}[layout]
    found = ours(given)
    assert found.is_contiguous()
    assert found.stride() == nn.functional.linear(given, ours.weight, ours.bias).stride()
    torch.testing.assert_close(found, nn.functional.linear(given, ours.weight, ours.bias), rtol=1e-5, atol=1e-5)
    across = linear(given, ours.weight.T.contiguous().T)
    assert across.is_contiguous()
    assert convolving == [512, 512]


@torch.no_grad()
def test_codes_are_searched_for_vectors_however_they_lie(convolving: list[int]) -> None:
    book = torch.randn(1024, 64, generator=torch.Generator().manual_seed(2))
    maps = torch.randn(4, 64, 16, 16, generator=torch.Generator().manual_seed(3))
    vectors = maps.flatten(2).permute(0, 2, 1).reshape(-1, 64)
    wanted = nearest_codes(vectors.contiguous(), book)
    assert convolving
    for lying in (vectors.T.contiguous().T, maps[:1].flatten(2)[0].T):
        assert torch.equal(nearest_codes(lying, book), wanted[: len(lying)])
    assert torch.equal(wanted, torch.cdist(vectors.double(), book.double()).argmin(dim=1))
