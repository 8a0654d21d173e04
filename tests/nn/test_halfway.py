"""Networks stopped halfway, and gone on with: as if they had run through; and what is made of a network that has no halves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tokbench.nn import autoencoder, hunyuan, magvit2, movq, wan, whole
from tokbench.nn.configs import AutoencoderConfig, HunyuanNetworkConfig, WanNetworkConfig

SHAPE = AutoencoderConfig(4, 8, (1, 2, 3), 1, attn_resolutions=(), resolution=32, norm_groups=4)
ATTENDING = AutoencoderConfig(4, 8, (1, 2, 3), 1, attn_resolutions=(16, 8), resolution=32, norm_groups=4)
HAAR = AutoencoderConfig(4, 8, (1, 2), 1, attn_resolutions=(), resolution=32, norm_groups=4, patch=2)
MASKGIT = AutoencoderConfig(4, 8, (1, 2, 3), 2, attn_resolutions=(), mid_attention=False, norm_groups=4, design="maskgit")
PLAIN = AutoencoderConfig(4, 8, (1, 2, 3), 1, attn_resolutions=(), mid_attention=False, norm_groups=4, design="magvit2")
HUNYUAN = HunyuanNetworkConfig(4, widths=(8, 16), num_res_blocks=1, norm_groups=4)
WAN = WanNetworkConfig(4, 8, channel_multipliers=(1, 2), num_res_blocks=1, temporal=(False,))

NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "taming encoder": (lambda: autoencoder.Encoder(SHAPE), 3, 8),
    "taming decoder": (lambda: autoencoder.Decoder(SHAPE), 4, 8),
    "attending encoder": (lambda: autoencoder.Encoder(ATTENDING), 3, 16),
    "attending decoder": (lambda: autoencoder.Decoder(ATTENDING), 4, 32),
    "haar encoder": (lambda: autoencoder.Encoder(HAAR), 3, 8),
    "haar decoder": (lambda: autoencoder.Decoder(HAAR), 4, 8),
    "maskgit encoder": (lambda: autoencoder.Encoder(MASKGIT), 3, 8),
    "maskgit decoder": (lambda: autoencoder.Decoder(MASKGIT), 4, 8),
    "magvit2 encoder": (lambda: magvit2.Encoder(PLAIN), 3, 8),
    "magvit2 decoder": (lambda: magvit2.Decoder(PLAIN), 4, 8),
    "hunyuan encoder": (lambda: hunyuan.HunyuanEncoder(HUNYUAN), 3, 16),
    "hunyuan decoder": (lambda: hunyuan.HunyuanDecoder(HUNYUAN), 4, 8),
    "wan encoder": (lambda: wan.WanEncoder(WAN), 3, 16),
    "wan decoder": (lambda: wan.WanDecoder(WAN), 4, 8),
    "movq encoder": (lambda: movq.Encoder(SHAPE, frames=2, heads=1), 3, 8),
}
"""How each is built, channels of what it is given, and rows of its map halfway for an image of 32 px or a code of 8 places."""

READS = {"magvit2 decoder"}
"""Networks whose second half reads what they were given as well."""


@torch.no_grad()
@pytest.mark.parametrize("in_strips", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_goes_on_where_it_stopped(name: str, in_strips: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    build, channels, rows = NETWORKS[name]
    monkeypatch.setattr(autoencoder, "STRIP", 1 if in_strips else 2**21)
    torch.manual_seed(0)
    network = build().eval()
    assert isinstance(network, whole.Halved)
    side = 32 if channels == 3 else 8
    given = torch.randn(1, channels, side, 2 * side)
    expected = network(given)
    found = whole.until_halfway(lambda: network(given))
    assert found is not None
    assert found.shape[2:] == (rows, 2 * rows)
    with whole.from_halfway(found):
        again = network(given if name in READS else torch.zeros_like(given))
    torch.testing.assert_close(again, expected, rtol=0, atol=1e-6)
    assert torch.equal(network(given), expected)


@torch.no_grad()
def test_a_decoder_whose_norms_follow_its_codes_goes_on_where_it_stopped() -> None:
    torch.manual_seed(0)
    network = movq.Decoder(SHAPE, frames=2, heads=1).eval()
    latents, vectors = torch.randn(2, 1, 4, 1, 8, 8).unbind()
    expected = network(latents, vectors)
    found = whole.until_halfway(lambda: network(latents, vectors))
    assert found is not None
    with whole.from_halfway(found):
        torch.testing.assert_close(network(latents, vectors), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["taming encoder", "attending decoder"])
def test_gradients_flow_as_before(name: str) -> None:
    build, channels, _ = NETWORKS[name]
    network, given = build(), torch.randn(1, channels, 16, 16, requires_grad=True)
    network(given).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@torch.no_grad()
def test_all_that_attends_is_on_the_side_of_small_maps() -> None:
    attended: list[Tensor] = []
    for name in ("attending encoder", "attending decoder", "wan encoder", "hunyuan decoder"):
        build, channels, _ = NETWORKS[name]
        network, given = build(), torch.randn(1, channels, 32, 32)
        blocks = [part for part in network.modules() if isinstance(part, autoencoder.AttentionBlock)]
        for block in blocks:
            block.register_forward_hook(lambda *_: attended.append(given))  # noqa: B023
        attended.clear()
        found = whole.until_halfway(lambda: network(given))  # noqa: B023
        assert found is not None
        before = len(attended)
        with whole.from_halfway(found):
            network(given)
        assert (before, len(attended)) == ((0, len(blocks)) if channels == 3 else (len(blocks),) * 2)


@torch.no_grad()
def test_a_network_without_halves_runs_to_its_end() -> None:
    ran: list[Tensor] = []
    assert whole.until_halfway(lambda: ran.append(nn.Conv2d(3, 3, 1)(torch.zeros(1, 3, 2, 2)))) is None
    assert len(ran) == 1
    with pytest.raises(ValueError, match="the network was halfway 0 times, not once"), whole.from_halfway(torch.zeros(1)):
        pass


def test_a_network_that_is_halfway_twice_is_noticed() -> None:
    def twice() -> None:
        whole.halfway(lambda: torch.zeros(1))
        whole.halfway(lambda: torch.zeros(1))

    with pytest.raises(ValueError, match="the network was halfway 2 times, not once"), whole.from_halfway(torch.ones(1)):
        twice()


def test_what_was_said_ends_with_its_context() -> None:
    with pytest.raises(RuntimeError, match="no luck"), whole.from_halfway(torch.ones(1)):
        raise RuntimeError("no luck")
    with pytest.raises(RuntimeError, match="no luck"):
        whole.until_halfway(_unlucky)
    assert torch.equal(whole.halfway(lambda: torch.zeros(1)), torch.zeros(1))


def _unlucky() -> None:
    raise RuntimeError("no luck")


def test_a_graph_has_no_halves() -> None:
    torch.manual_seed(0)
    network, given = autoencoder.Decoder(SHAPE).eval(), torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        expected = network(given)
        with whole.from_halfway(torch.zeros(1)):
            graph = torch.export.export(network, (given,)).module()
            torch.testing.assert_close(graph(given), expected, rtol=0, atol=1e-5)
            whole.halfway(lambda: torch.zeros(1))  # once, for the context
