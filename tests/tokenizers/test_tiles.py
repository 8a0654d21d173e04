"""Large images in tiles: where these lie, tokens and pixels against those of whole images, and what is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tokbench
from tokbench import ContinuousTokens, DiscreteTokens, Tokenizer, TokenLayout
from tokbench.bench.identity import identity_of
from tokbench.conduct import values_of
from tokbench.data.photos import WholePhotos
from tokbench.errors import TokbenchError
from tokbench.images import to_float
from tokbench.nn.autoencoder import Norm
from tokbench.nn.configs import AutoencoderConfig
from tokbench.plugins import import_class
from tokbench.tokenizers import tiles
from tokbench.tokenizers.family import Variant
from tokbench.tokenizers.tiling import Tiling
from tokbench.tokenizers.vae.model import VAE
from tokbench.tokenizers.vae.variants import VAEConfig
from tokbench.tokenizers.zoo import families


def photo(height: int, width: int, *, images: int = 1) -> Tensor:
    """Images with edges and slopes, in [-1, 1]."""
    noise = torch.rand(images, 3, height // 4, width // 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return nn.functional.interpolate(noise, size=(height, width), mode="bilinear")


@dataclass(frozen=True)
class Config:
    """One level of 4 pixels, whose latents see a few pixels beyond their own."""

    noise: float = 0.0
    stride: int = 4

    def layout(self, height: int, width: int) -> TokenLayout:
        return TokenLayout.strided(height, width, self.stride, channels=5)


class Near(Tokenizer):
    """Convolutions alone: a latent sees 4 pixels around its own, a pixel one latent around its own."""

    Config = Config

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        torch.manual_seed(0)
        self.down, self.up = nn.Conv2d(3, 5, 12, stride=4, padding=4), nn.ConvTranspose2d(5, 3, 12, stride=4, padding=4)
        self.sizes: list[tuple[int, ...]] = []

    @property
    def encode_is_stochastic(self) -> bool:  # type: ignore[override]
        return self.config.noise > 0

    def _encode(self, images: Tensor, seeds: list[int]) -> ContinuousTokens:
        self.sizes.append(tuple(images.shape))
        latents = self.down(images)
        for one, seed in zip(latents, seeds, strict=False):
            one += self.config.noise * torch.randn(one.shape, generator=torch.Generator().manual_seed(seed))
        return ContinuousTokens(latents.flatten(2).transpose(1, 2), tuple(latents.shape[2:]))

    def _decode(self, tokens: ContinuousTokens, seeds: list[int]) -> Tensor:
        self.sizes.append(tuple(tokens.latents.shape))
        return self.up(tokens.latents.transpose(1, 2).unflatten(2, tokens.grid))


@pytest.fixture
def near() -> Near:
    return Near(Config()).eval()


@pytest.mark.parametrize("overlap", [0, 1, 3, 4])
def test_tiles_cover_an_axis_once_and_overlap_enough(overlap: int) -> None:
    for positions in (1, 7, 8, 9, 12, 13, 20, 101):
        _check_axis(positions, overlap)


def _check_axis(positions: int, overlap: int) -> None:
    spans = Tiling(8 * 4, overlap * 4).spans(positions, 4)
    assert [place for span in spans for place in range(span.first, span.end)] == list(range(positions))
    assert {span.stop - span.start for span in spans} == {min(positions, 8)}
    assert len(spans) == max(1, math.ceil((positions - overlap) / (8 - overlap)))
    for before, after in pairwise(spans):
        assert before.stop - after.start >= overlap
        assert before.fade_out == after.fade_in <= overlap // 2
        assert after.start <= after.first - after.fade_in // 2
        assert after.first + -(-after.fade_in // 2) <= before.stop
        near_before, near_after = (abs(after.first + 0.5 - (span.start + span.stop) / 2) for span in (before, after))
        assert near_after <= near_before
    assert all(span.start <= span.inner.start <= span.inner.stop <= span.stop for span in spans)


def test_windows_are_none_or_some() -> None:
    with pytest.raises(ValueError, match="there are 0 or more windows along an axis, got -1"):
        Tiling(8, 0, windows=-1)


@pytest.mark.parametrize("values", [(0, 0), (8, 5), (8, -1)])
def test_a_tiling_has_a_side_and_overlaps_by_half_of_it_at_most(values: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="tiles need a positive side and an overlap of 0 to half of it"):
        Tiling(*values)


@pytest.mark.parametrize("size", [(64, 64), (36, 100), (200, 32), (32, 32), (8, 12)])
def test_convolutions_give_what_they_give_of_the_whole_image(near: Near, size: tuple[int, int]) -> None:
    images = photo(*size, images=2)
    tiled = near.tiled(32, overlap=16)
    whole, cut = near.encode(images), tiled.encode(images)
    assert cut.grid == whole.grid
    torch.testing.assert_close(values_of(cut), values_of(whole), rtol=0, atol=1e-6)
    torch.testing.assert_close(tiled.decode(whole), near.decode(whole), rtol=0, atol=1e-6)


def test_pixels_that_need_no_neighbours_come_back_exactly() -> None:
    images = photo(52, 76)
    for overlap in (0, 4):
        tiled = tokbench.load("pixel/rgb").tiled(16, overlap=overlap)
        tokens = tiled.encode(images)
        assert isinstance(tokens, DiscreteTokens)
        assert torch.equal(tokens.codes, tokbench.load("pixel/rgb").encode(images).codes)  # type: ignore[union-attr]
        assert torch.equal(tokbench.to_uint8(tiled.decode(tokens)), tokbench.to_uint8(images))


@pytest.mark.parametrize("name", ["vae/tiny", "vqgan/tiny", "patch/kmeans-1024"])
def test_tokenizers_of_the_zoo_work_in_tiles(name: str) -> None:
    model = tokbench.load(name)
    tiled, images = model.tiled(64, overlap=32), photo(96, 160)
    tokens = tiled.encode(images)
    assert (tokens.grid, type(tokens)) == (model.layout(96, 160).grid, type(model.encode(images)))
    again = tiled.decode(tokens)
    assert again.shape == images.shape
    assert torch.equal(again, tiled.decode(tokens))
    small = images[:, :, :64, :48].contiguous()
    assert torch.equal(values_of(tiled.encode(small)), values_of(model.encode(small)))
    assert torch.equal(tiled.decode(model.encode(small)), model.decode(model.encode(small)))
    if name.startswith("patch"):
        assert torch.equal(values_of(tokens), values_of(model.encode(images)))


def four_corners(side: int) -> Tensor:
    """An image whose quarters have means and contrasts of their own."""
    image, half = photo(side, side), side // 2
    for number, (rows, columns) in enumerate(
        (top, left) for top in (slice(half), slice(half, None)) for left in (slice(half), slice(half, None))
    ):
        image[:, :, rows, columns] = image[:, :, rows, columns] * (0.1 + 0.1 * number) + (0.2 * number - 0.4)
    return image


def test_windows_tell_tiles_of_the_whole_image() -> None:
    shape = AutoencoderConfig(4, 16, (1, 2), 1, attn_resolutions=(), double_z=True, norm_groups=4)
    torch.manual_seed(0)
    model, images = VAE(VAEConfig(shape, embed_dim=4)).eval(), four_corners(128)
    whole = model.encode(images)
    errors = {}
    for windows in (0, None):
        tiled = model.tiled(64, windows=windows)
        tokens = tiled.encode(torch.cat([images, photo(128, 128)]))
        assert torch.equal(values_of(tokens)[:1], values_of(tiled.encode(images)))  # other images tell nothing
        far = tiled.decode(whole)
        assert torch.equal(far, tiled.decode(whole))
        errors[windows] = (values_of(tokens)[:1] - values_of(whole)).std().item()
    assert errors[None] < 0.6 * errors[0]


def test_windows_bring_photos_nearer_to_what_trained_networks_make_of_the_whole() -> None:
    photos = WholePhotos("test")
    quarters = [torch.from_numpy(np.asarray(photos.read(index))[:192, :192].copy()).permute(2, 0, 1) for index in range(4)]
    images = to_float(torch.cat([torch.cat(quarters[:2], 2), torch.cat(quarters[2:], 2)], 1)[None])
    model = tokbench.load("vqgan/tiny")
    whole = model.encode(images)
    pixels = model.decode(whole)
    shares, errors = {}, {}
    for windows in (0, None):
        tiled = model.tiled(128, windows=windows)
        shares[windows] = (values_of(tiled.encode(images)) == values_of(whole)).double().mean().item()
        errors[windows] = (tiled.decode(whole) - pixels).std().item()
    assert shares[None] > shares[0]
    assert errors[None] < 0.6 * errors[0]


ATTENDING = AutoencoderConfig(4, 16, (1, 2), 1, attn_resolutions=(16,), resolution=32, double_z=True, norm="rms", norm_groups=4)
"""Places know of each other by convolutions, and by the attention of the lowest level and the middle."""


def attending(**settings: object) -> VAE:
    torch.manual_seed(0)
    return VAE(VAEConfig(ATTENDING, embed_dim=4, **settings)).eval()  # type: ignore[arg-type]


def test_what_attends_sees_the_whole_image() -> None:
    model, images = attending(), four_corners(128)
    whole = model.encode(images)
    for tiled, near in ((model.tiled(64, overlap=32), True), (model.tiled(64, overlap=32, halfway=False), False)):
        assert tiled.tiling in (Tiling(64, 32, halfway=True), Tiling(64, 32))
        tokens, pixels = tiled.encode(images), tiled.decode(whole)
        assert torch.allclose(values_of(tokens), values_of(whole), atol=1e-5) == near
        assert torch.allclose(pixels, model.decode(whole), atol=1e-4) == near


def test_noise_is_that_of_the_whole_image_where_only_the_first_half_is_in_tiles() -> None:
    model, images = attending(posterior="sample"), photo(96, 128, images=2)
    whole = values_of(model.encode(images, seeds=[5, 6]))
    torch.testing.assert_close(values_of(model.tiled(64, overlap=32).encode(images, seeds=[5, 6])), whole, rtol=0, atol=1e-5)


def test_a_map_halfway_that_is_too_large_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = attending(), photo(128, 64)
    tiled, without = model.tiled(64, overlap=32), model.tiled(64, overlap=32, halfway=False)
    values = 16 * 128 * 64 // 4  # of the map halfway in the encoder; the decoder's is of twice the rows, columns and channels
    for most, encodes, decodes in (
        (8 * values, True, True),
        (8 * values - 1, True, False),
        (values, True, False),
        (values - 1, False, False),
    ):
        monkeypatch.setattr(tiles, "MOST", most / 64**2)
        tokens = tiled.encode(images)
        assert torch.equal(values_of(tokens), values_of(without.encode(images))) != encodes
        assert torch.equal(tiled.decode(tokens), without.decode(tokens)) != decodes


@pytest.mark.parametrize("positions", [17, 32, 65, 200])
def test_windows_are_alike_and_spread_over_an_axis(positions: int) -> None:
    for tile, count in ((16, 2), (32, 2), (64, 2), (100, 3), (130, 4)):
        windows = Tiling(4 * tile, 0, windows=4).sights(positions, 4)
        if positions <= tile:
            assert windows == (range(positions),)
            continue
        assert {len(window) for window in windows} == {tile // count}
        assert len(windows) == count
        for number, window in enumerate(windows):
            part = range(number * positions // count, (number + 1) * positions // count)
            assert part.start <= window.start < window.stop <= part.stop
            assert abs(window.start + window.stop - part.start - part.stop) <= 1  # in the middle


def test_windows_and_tiles_are_looked_at_twice(near: Near) -> None:
    """Windows that say what they see, tiles that say what all is, windows again, and then the tiles."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), Norm(2, 8))
    near.down = nn.Sequential(model, nn.Conv2d(8, 5, 12, stride=4, padding=4))  # type: ignore[assignment]
    near.tiled(32, overlap=0).encode(photo(64, 64))
    tile, windows = (1, 3, 32, 32), (4, 3, 16, 16)
    assert near.sizes == [windows, *[tile] * 4, windows, *[tile] * 4]


def test_no_call_is_larger_than_one_tile_of_one_image(near: Near) -> None:
    tiled = near.tiled(32)
    tiled.decode(tiled.encode(photo(96, 200, images=3)))
    assert set(near.sizes) == {(1, 3, 32, 32), (1, 64, 5)}


def test_an_image_depends_on_no_other() -> None:
    model, images = tokbench.load("vqvae/tiny").tiled(32), photo(48, 32, images=2)
    alone = [model.encode(image[None]) for image in images]
    together = model.encode(images)
    assert torch.equal(values_of(together), torch.cat([values_of(one) for one in alone]))
    assert torch.equal(model.decode(together), torch.cat([model.decode(one) for one in alone]))


def test_tiles_of_an_image_have_noise_of_their_own() -> None:
    noisy = Near(Config(noise=1.0)).eval().tiled(16, overlap=0)
    tokens = noisy.encode(torch.zeros(2, 3, 32, 32), seeds=[1, 2])
    assert isinstance(tokens, ContinuousTokens)
    maps = tokens.latents.unflatten(1, (8, 8))
    parts = [maps[image, top : top + 4, left : left + 4] for image in (0, 1) for top in (0, 4) for left in (0, 4)]
    assert not any(torch.allclose(one, other, atol=1e-3) for i, one in enumerate(parts) for other in parts[:i])
    assert torch.equal(tokens.latents[1:], values_of(noisy.encode(torch.zeros(1, 3, 32, 32), seeds=[2])))


def test_no_images_are_no_tokens(near: Near) -> None:
    tiled = near.tiled(32)
    tokens = tiled.encode(torch.zeros(0, 3, 64, 64))
    assert (len(tokens), tokens.grid) == (0, (16, 16))
    assert tiled.decode(tokens).shape == (0, 3, 64, 64)


def test_half_precision_stays_what_it_is(near: Near) -> None:
    half = near.to(torch.bfloat16).tiled(32)
    tokens = half.encode(photo(64, 64).bfloat16())
    assert isinstance(tokens, ContinuousTokens)
    assert (tokens.latents.dtype, half.decode(tokens).dtype) == (torch.bfloat16, torch.bfloat16)


def test_the_copy_shares_weights_and_says_how_it_cuts() -> None:
    model = tokbench.load("vae/tiny")
    tiled = model.tiled(128)
    assert all(own is other for own, other in zip(model.parameters(), tiled.parameters(), strict=True))
    assert (tiled.tiling, model.tiling, tiled.tiled(None).tiling) == (Tiling(128, 32, windows=4, halfway=True), None, None)
    assert identity_of(tiled).config["tiling"] == {"size": 128, "overlap": 32, "windows": 4, "halfway": True}
    assert identity_of(tiled).settings == {"tiling.size": "128", "tiling.overlap": "32", "tiling.windows": "4", "tiling.halfway": "True"}
    assert "tiling" not in identity_of(model).config
    assert identity_of(tiled).state_sha256 == identity_of(model).state_sha256


class Sequence(Near):
    """One whose layout is a sequence, which nobody declared."""

    @dataclass(frozen=True)
    class Config(Config):
        """The same pixels, listed."""

        def layout(self, height: int, width: int) -> TokenLayout:
            return TokenLayout((height, width), (height * width // 16,), channels=5)


class Noisy(Near):
    """One whose decoder draws noise."""

    decode_is_stochastic = True


@pytest.mark.parametrize(
    ("model", "size", "overlap", "problem"),
    [
        (Near(Config()), 30, None, r"tiles of Near have sides of 4, 8, ... px, got 30; take a multiple of 4"),
        (Near(Config()), 0, None, r"tiles of Near have sides of 4, 8, ... px, got 0"),
        (Near(Config()), 32, 6, r"tiles of Near of 32 px overlap by 0 to 16 px, in steps of 4, got 6"),
        (Near(Config()), 32, 20, r"tiles of Near of 32 px overlap by 0 to 16 px, in steps of 4, got 20"),
        (Near(Config()), 32, -4, r"tiles of Near of 32 px overlap by 0 to 16 px"),
        (Sequence(Sequence.Config()), 32, None, "Sequence does not work in tiles: its tokens stand for a whole image, or depend on where"),
        (Noisy(Config()), 32, None, "Noisy does not work in tiles: its decoder draws noise for a whole image"),
    ],
)
def test_what_does_not_go_in_tiles_is_refused(model: Tokenizer, size: int, overlap: int | None, problem: str) -> None:
    with pytest.raises(TokbenchError, match=problem):
        model.tiled(size, overlap=overlap)


def _declared(model: str, variant: Variant) -> bool:
    """What the class of a variant says; some are found by a function."""
    made = import_class(model)
    if not isinstance(made, type):
        with torch.device("meta"):
            made = made(variant.config)
    return made.tileable  # type: ignore[no-any-return]


def _has_grids(variant: Variant) -> bool:
    """Whether images of several sizes lie on grids of two axes."""
    side = variant.config.stride
    try:
        return all(len(variant.config.layout(factor * side, factor * side).grid) == 2 for factor in (16, 32))
    except TokbenchError:
        return False


@pytest.mark.parametrize("family", families())
def test_what_has_no_grid_at_every_size_says_that_it_does_not_work_in_tiles(family: str) -> None:
    found = families()[family]
    for variant in found.variants:
        assert _has_grids(variant) or not _declared(found.model, variant), variant.name
