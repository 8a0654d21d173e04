"""Convolutions in strips against the plain layers in double precision, and when the autoencoder goes by strips."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tokbench.nn import autoencoder, strips
from tokbench.nn.autoencoder import Decoder, Encoder
from tokbench.nn.configs import AutoencoderConfig
from tokbench.nn.strips import doubling_conv, halving_conv, normed_conv

CONFIG = AutoencoderConfig(
    6, channels=16, channel_multipliers=(1, 2, 3), num_res_blocks=1, attn_resolutions=(16,), resolution=64, norm_groups=4
)
SIZE = 24
"""Of the images; the strips of these tests are smaller than the maps."""

Networks = tuple[Encoder, Decoder]


@pytest.fixture(params=[150, 700, 3000])
def strip(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Values in a strip: from less than a row to several maps of the lowest level."""
    monkeypatch.setattr(strips, "STRIP", request.param)
    monkeypatch.setattr(autoencoder, "STRIP", 0)
    return request.param


@pytest.fixture
def networks() -> Networks:
    """Random weights; the normalisations' too, which start as ones and zeros."""
    generator = torch.Generator().manual_seed(0)
    pair = Encoder(CONFIG).eval(), Decoder(CONFIG).eval()
    for network in pair:
        for name, parameter in network.named_parameters():
            fan = parameter[0].numel() if parameter.ndim > 1 else 10
            nn.init.normal_(parameter, mean=float(".norm" in name and name.endswith("weight")), std=fan**-0.5, generator=generator)
    return pair


def batch(count: int = 3, height: int = SIZE, width: int = SIZE, channels: int = 3) -> Tensor:
    return torch.randn(count, channels, height, width, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)


def layer_by_layer(network: nn.Module, x: Tensor) -> Tensor:
    """Gradients keep a network from going by strips."""
    with torch.enable_grad():
        return network(x).detach()


def random_map(seed: int, shape: tuple[int, int, int, int], offset: float = 0.0) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + offset
    return x.contiguous(memory_format=torch.channels_last)


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual.double(), expected.double(), atol=atol, rtol=0)


sizes = st.integers(1, 9)


class TestLayers:
    @given(
        b=st.integers(1, 3),
        h=sizes,
        w=sizes,
        strip=st.integers(1, 500),
        shortcut=st.booleans(),
        in_place=st.booleans(),
        seed=st.integers(0, 99),
    )
    @torch.no_grad()
    def test_normed_conv(self, b: int, h: int, w: int, strip: int, shortcut: bool, in_place: bool, seed: int) -> None:
        torch.manual_seed(seed)
        norm, conv = nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 3, padding=1)
        nn.init.normal_(norm.weight)
        x, y = random_map(seed, (b, 4, h, w), offset=3.0), random_map(seed + 1, (b, 4, h, w))
        wide = copy.deepcopy(norm).double()(x.double()) if b * 2 * h * w > 1 else None
        expected = copy.deepcopy(conv).double()(F.silu(wide)) + (y if shortcut else 0)
        kept = x.clone()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(strips, "STRIP", strip)
            close(normed_conv(x, norm, conv, plus=(lambda part: y[part]) if shortcut else None, in_place=in_place), expected, 1e-4)
        assert in_place or torch.equal(x, kept)

    @pytest.mark.parametrize("offset", [0.0, 10.0, 300.0])
    @torch.no_grad()
    def test_statistics_keep_their_digits(self, offset: float) -> None:
        """Far from zero too, where the difference of a mean square and a squared mean has none left."""
        norm = nn.GroupNorm(4, 16)
        x = random_map(0, (2, 16, 96, 64), offset)
        variance, mean = torch.var_mean(x.double().reshape(2, 4, -1), dim=2, correction=0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(strips, "STRIP", 9000)
            scale, shift = strips._scale_and_shift(x, norm)
        expected = (variance + norm.eps).rsqrt().repeat_interleave(4, dim=1)
        torch.testing.assert_close(scale.flatten(1).double(), expected, rtol=1e-6, atol=0)
        close(shift.flatten(1), -mean.repeat_interleave(4, dim=1) * expected, 1e-6 * (1 + offset))

    @given(b=st.integers(1, 3), h=st.integers(2, 13), w=st.integers(2, 9), strip=st.integers(1, 500), seed=st.integers(0, 99))
    @torch.no_grad()
    def test_halving_conv(self, b: int, h: int, w: int, strip: int, seed: int) -> None:
        torch.manual_seed(seed)
        conv, x = nn.Conv2d(3, 5, 3, stride=2), random_map(seed, (b, 3, h, w))
        expected = copy.deepcopy(conv).double()(F.pad(x.double(), (0, 1, 0, 1)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(strips, "STRIP", strip)
            close(halving_conv(x, conv), expected, 1e-5)

    @given(b=st.integers(1, 3), h=sizes, w=sizes, seed=st.integers(0, 99))
    @torch.no_grad()
    def test_doubling_conv(self, b: int, h: int, w: int, seed: int) -> None:
        torch.manual_seed(seed)
        conv, x = nn.Conv2d(3, 5, 3, padding=1), random_map(seed, (b, 3, h, w))
        expected = copy.deepcopy(conv).double()(x.double().repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
        close(doubling_conv(x, conv), expected, 1e-5)

    @given(images=st.integers(1, 9), height=st.integers(1, 40), row=st.integers(1, 90), strip=st.integers(1, 900))
    def test_parts_cover_all_rows_once_and_keep_to_the_size(self, images: int, height: int, row: int, strip: int) -> None:
        seen = torch.zeros(images, 1, height, dtype=torch.int64)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(strips, "STRIP", strip)
            for part in strips._parts(images, height, row):
                seen[part] += 1
                values = seen[part].numel() * row
                assert 0 < values <= max(strip, row)
        assert bool((seen == 1).all())


class TestNetworks:
    @pytest.mark.parametrize(("height", "width"), [(24, 24), (16, 40), (30, 18)])
    @pytest.mark.usefixtures("strip")
    @torch.no_grad()
    def test_values_are_those_of_the_layers(self, networks: Networks, height: int, width: int) -> None:
        encoder, decoder = networks
        images, features = batch(3, height, width), batch(3, height // 4, width // 4, channels=6)
        for network, x in ((encoder, images), (decoder, features)):
            kept, out = x.clone(), network(x)
            expected = layer_by_layer(copy.deepcopy(network).double(), x.double())
            assert out.is_contiguous()
            assert not torch.equal(out, layer_by_layer(network, x)), "it did not go by strips"
            assert torch.equal(x, kept)
            close(out, expected, 2e-5 * float(expected.abs().max()))

    @pytest.mark.usefixtures("strip")
    @torch.no_grad()
    def test_digits_are_kept_where_means_are_far_from_zero(self, networks: Networks) -> None:
        """As every normalisation's input has them here."""
        encoder = networks[0]
        for name, parameter in encoder.named_parameters():
            if name.endswith(("conv1.bias", "conv2.bias", "conv_in.bias")):
                parameter.add_(100.0)
        expected = layer_by_layer(copy.deepcopy(encoder).double(), batch().double())
        apart = (layer_by_layer(encoder, batch()) - expected).abs().max()
        assert float((encoder(batch()) - expected).abs().max()) < 3 * float(apart)

    @pytest.mark.usefixtures("strip")
    @torch.no_grad()
    def test_an_image_has_the_same_bits_whatever_its_neighbours_are(self, networks: Networks) -> None:
        for network, x in zip(networks, (batch(4, 16, 16), batch(4, 4, 4, channels=6)), strict=True):
            out = network(x)
            assert torch.equal(network(x), out)
            others = -x
            others[2] = x[2]
            assert torch.equal(network(others)[2], out[2])
            assert torch.equal(network(x.roll(1, 0)).roll(-1, 0), out)

    @pytest.mark.usefixtures("strip")
    @torch.no_grad()
    def test_channels_last_images_give_the_same_bits(self, networks: Networks) -> None:
        images = batch()
        assert torch.equal(networks[0](images.contiguous(memory_format=torch.channels_last)), networks[0](images))

    @pytest.mark.usefixtures("strip")
    @torch.no_grad()
    def test_changed_weights_are_seen(self, networks: Networks) -> None:
        _, decoder = networks
        features = batch(1, 6, 6, channels=6)
        before = decoder(features)
        decoder.up[1].upsample.conv.weight[:, :, 0].mul_(-1)  # type: ignore[union-attr]
        after = decoder(features)
        assert float((after - before).abs().max()) > 0.01
        close(after, layer_by_layer(decoder, features), 1e-4 * float(after.abs().max()))

    @pytest.mark.usefixtures("strip")
    def test_bfloat16_is_as_near_as_layer_by_layer(self, networks: Networks) -> None:
        for network, x in zip(networks, (batch(), batch(3, 6, 6, channels=6)), strict=True):
            exact = layer_by_layer(network, x)
            with torch.autocast("cpu", torch.bfloat16):
                with torch.no_grad():
                    out = network(x)
                apart = (layer_by_layer(network, x) - exact).square().mean().sqrt()
            assert out.dtype == torch.bfloat16
            assert float((out - exact).square().mean().sqrt()) < 1.5 * float(apart)


class TestWhen:
    """A network goes by strips only where that is the same as layer by layer."""

    def goes_by_strips(self, network: nn.Module, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> bool:
        calls = []
        plain = network._infer
        monkeypatch.setattr(network, "_infer", lambda y: calls.append(1) or plain(y))
        out = network(x)
        close(out.detach(), layer_by_layer(network, x), 1e-4 * float(out.detach().abs().max()))
        return bool(calls)

    @pytest.mark.usefixtures("strip")
    def test_not_with_gradients(self, networks: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
        images = batch(1).requires_grad_()
        assert not self.goes_by_strips(networks[0], images, monkeypatch)
        networks[0](images).sum().backward()
        assert float(images.grad.abs().sum()) > 0
        with torch.no_grad():
            assert self.goes_by_strips(networks[0], images, monkeypatch)

    @torch.no_grad()
    def test_small_maps_are_computed_as_in_training(self, networks: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
        """To the bit; the limit is that of one image, so that the batch has no say."""
        for network, x, scale in zip(networks, (batch(), batch(3, 6, 6, channels=6)), (1, 16), strict=True):
            values = 16 * x[0, 0].numel() * scale
            monkeypatch.setattr(autoencoder, "STRIP", values)
            assert torch.equal(network(x), layer_by_layer(network, x))
            monkeypatch.setattr(autoencoder, "STRIP", values - 1)
            assert self.goes_by_strips(network, x[:1], monkeypatch)

    @pytest.mark.parametrize(
        "change",
        [
            lambda block: block.norm2.register_forward_hook(lambda layer, given, out: 2 * out),
            lambda block: block.conv1.register_forward_pre_hook(lambda layer, given: (given[0] + 1,)),
            lambda block: setattr(block, "conv1", nn.Sequential(block.conv1, nn.Tanh())),
            lambda block: nn.utils.parametrize.register_parametrization(block.conv2, "weight", Doubled()),
            lambda block: setattr(block, "forward", lambda x: -x),
        ],
        ids=["hook", "pre-hook", "replaced", "parametrized", "patched"],
    )
    @pytest.mark.usefixtures("strip")
    @torch.no_grad()
    def test_a_changed_layer_has_its_effect(
        self, networks: Networks, change: Callable[[nn.Module], object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        images = batch(1)
        before = networks[0](images)
        change(networks[0].mid.block_1)
        assert not self.goes_by_strips(networks[0], images, monkeypatch)
        assert float((networks[0](images) - before).abs().max()) > 1e-3


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("grad", [False, True])
def test_an_image_of_one_stride_has_maps_of_one_place(count: int, grad: bool) -> None:
    """Where a group is one channel, a single such image is one value a group, which normalises to zero as it does among others."""
    config = AutoencoderConfig(4, channels=8, channel_multipliers=(1, 1), num_res_blocks=1, attn_resolutions=(), norm_groups=8)
    torch.manual_seed(0)
    encoder, decoder = Encoder(config), Decoder(config)
    images = batch(2, 2, 2)
    with torch.set_grad_enabled(grad):
        features = encoder(images[:count])
        decoded = decoder(features)
        pair = encoder(images)
    assert features.shape == (count, 4, 1, 1)
    assert decoded.shape == (count, 3, 2, 2)
    close(features.detach(), pair[:count].detach(), 1e-5)
    close(decoded.detach(), decoder(pair).detach()[:count], 1e-5)
    close(encoder.mid.block_1.norm1(torch.full((1, 8, 1, 1), 5.0)).detach().flatten(), torch.zeros(8), 1e-2)
