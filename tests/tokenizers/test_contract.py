"""What every tokenizer of the zoo must do."""

from __future__ import annotations

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import pytest
import torch
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.feed.encoding import shareable
from tokbench.layout import TokenLayout
from tokbench.tokenizers import zoo
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import ContinuousTokens, DiscreteTokens, Tokens
from tokbench.weights.checkpoints import sha256
from tokbench.weights.obtain import weights_path


class Coded(Protocol):
    """What the fixture of that name holds."""

    images: Tensor
    seeds: list[int]
    tokens: Tokens
    decoded: Tensor


def values(tokens: Tokens) -> Tensor:
    return tokens.codes if isinstance(tokens, DiscreteTokens) else tokens.latents


def part(tokens: Tokens, index: int) -> Tokens:
    if isinstance(tokens, DiscreteTokens):
        return dataclasses.replace(tokens, codes=tokens.codes[index : index + 1])
    return dataclasses.replace(tokens, latents=tokens.latents[index : index + 1])


def row_layout(tokenizer: Tokenizer, height: int, width: int) -> TokenLayout:
    """The layout as the row of data has it, without weights."""
    _, variant = zoo.resolve(tokenizer.name)
    return variant.config.layout(height, width)


def made_for(tokenizer: Tokenizer) -> TokenLayout:
    """The layout at the size the tokenizer was made for."""
    size = zoo.resolve(tokenizer.name)[1].image_size
    return tokenizer.layout(size, size)


def of_one_size(tokenizer: Tokenizer) -> bool:
    """Whether it can make no images of another size."""
    return "image_size" in {field.name for field in dataclasses.fields(tokenizer.config)}


def assert_fits(tokens: Tokens, layout: TokenLayout, count: int) -> None:
    assert tokens.grid == layout.grid
    if layout.discrete:
        assert isinstance(tokens, DiscreteTokens)
        assert tokens.codebook_sizes == layout.codebook_sizes
        assert tokens.codes.shape == (count, layout.positions, len(layout.codebook_sizes))
        assert tokens.codes.is_contiguous()
    else:
        assert isinstance(tokens, ContinuousTokens)
        assert tokens.latents.shape == (count, layout.positions, layout.channels)
        assert tokens.latents.dtype == torch.float32


def test_kinds_and_shapes_are_those_of_the_layout(tokenizer: Tokenizer, coded: Coded) -> None:
    layout = tokenizer.layout(*coded.images.shape[2:])
    assert layout == row_layout(tokenizer, *coded.images.shape[2:])
    assert_fits(coded.tokens, layout, 4)
    assert coded.decoded.shape == coded.images.shape
    assert coded.decoded.dtype == torch.float32
    assert bool(torch.isfinite(coded.decoded).all())


@pytest.mark.parametrize("size", [(1, 1), (17, 30), (33, 6)])
def test_sides_that_do_not_fit_are_padded_by_the_last_pixels_and_cut_off_again(tokenizer: Tokenizer, size: tuple[int, int]) -> None:
    if of_one_size(tokenizer):
        pytest.skip("takes one size alone")
    stride, (height, width) = tokenizer.stride, size
    images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rows, columns = (torch.arange(-(-side // stride) * stride).clamp(max=side - 1) for side in size)
    by_hand = images[:, :, rows][:, :, :, columns]
    tokens, expected = tokenizer.encode(images, seeds=[1, 2]), tokenizer.encode(by_hand, seeds=[1, 2])
    assert_fits(tokens, row_layout(tokenizer, height, width), 2)
    assert torch.equal(values(tokens), values(expected))
    decoded = tokenizer.decode(tokens, seeds=[1, 2])
    assert decoded.shape == images.shape
    assert torch.equal(decoded, tokenizer.decode(expected, seeds=[1, 2])[:, :, :height, :width])
    assert (tokens.image_size is None) == (by_hand.shape == images.shape)


def test_another_size(tokenizer: Tokenizer, coded: Coded) -> None:
    """Higher than wide, so that a transposed grid shows; a tokenizer of one size only says so."""
    height, width = 5 * tokenizer.stride, 3 * tokenizer.stride
    images = coded.images[:2, :, :height, :width]
    try:
        layout = row_layout(tokenizer, height, width)
    except TokbenchError:
        with pytest.raises(TokbenchError):
            tokenizer.encode(images, seeds=[1, 2])
        return
    tokens = tokenizer.encode(images, seeds=[1, 2])
    assert_fits(tokens, layout, 2)
    assert tokenizer.decode(tokens, seeds=[1, 2]).shape == images.shape


def test_reconstruction_resembles_the_photo(coded: Coded) -> None:
    """Nearer to its own photo than to any other."""
    error = (coded.decoded[:, None] - coded.images[None]).square().mean(dim=(2, 3, 4))
    assert error.argmin(dim=1).tolist() == [0, 1, 2, 3]


def test_an_image_does_not_depend_on_its_batch(tokenizer: Tokenizer, coded: Coded) -> None:
    for i in range(4):
        alone = tokenizer.encode(coded.images[i : i + 1], seeds=coded.seeds[i : i + 1])
        together = part(coded.tokens, i)
        if isinstance(alone, DiscreteTokens):
            assert torch.equal(alone.codes, values(together))
        torch.testing.assert_close(values(alone), values(together), atol=1e-4, rtol=0)
        image = tokenizer.decode(together, seeds=coded.seeds[i : i + 1])
        torch.testing.assert_close(image, coded.decoded[i : i + 1], atol=1e-3, rtol=0)


def test_several_threads_may_call_it_at_once_where_an_export_does_so(tokenizer: Tokenizer, coded: Coded) -> None:
    if not shareable(tokenizer):
        pytest.skip(f"an export does not share {tokenizer.name} between threads")
    with ThreadPoolExecutor(2) as pool:
        orders = [torch.roll(torch.arange(4), i) for i in range(6)]
        found = pool.map(lambda order: tokenizer.encode(coded.images[order], seeds=[coded.seeds[i] for i in order]), orders)
        for order, tokens in zip(orders, found, strict=True):
            assert torch.equal(values(tokens), values(coded.tokens)[order])


def test_encoding_and_decoding_repeat_exactly_and_leave_their_input_alone(tokenizer: Tokenizer, coded: Coded) -> None:
    images, kept = coded.images.clone(), values(coded.tokens).clone()
    again = tokenizer.encode(images, seeds=coded.seeds)
    assert torch.equal(values(again), kept)
    assert torch.equal(images, coded.images)
    assert torch.equal(tokenizer.decode(again, seeds=coded.seeds), coded.decoded)
    assert torch.equal(values(again), kept)


def test_seeds_are_needed_or_ignored_as_declared(tokenizer: Tokenizer, coded: Coded) -> None:
    images, tokens = coded.images[:1], part(coded.tokens, 0)
    for stochastic, call in (
        (tokenizer.encode_is_stochastic, lambda seeds: values(tokenizer.encode(images, seeds=seeds))),
        (tokenizer.decode_is_stochastic, lambda seeds: tokenizer.decode(tokens, seeds=seeds)),
    ):
        if stochastic:
            with pytest.raises(TokbenchError, match=rf"{tokenizer.name} draws noise: pass seeds=\[...\], one integer per image \(1 here\)"):
                call(None)
            assert not torch.equal(call([1]), call([2]))
        else:
            assert torch.equal(call(None), call([2]))


def test_what_comes_out_has_no_gradient_but_can_be_trained_on(tokenizer: Tokenizer, coded: Coded) -> None:
    tokens = tokenizer.encode(coded.images[:1].clone().requires_grad_(), seeds=[1])
    decoded = tokenizer.decode(tokens, seeds=[1])
    for tensor in (values(tokens), decoded):
        assert not tensor.requires_grad
        assert not tensor.is_inference()
    weight = torch.ones((), requires_grad=True)
    (weight * decoded).square().sum().backward()
    (weight * values(tokens).float()).square().sum().backward()
    assert weight.grad is not None


def test_bits_follow_from_the_codebooks(tokenizer: Tokenizer) -> None:
    layout = made_for(tokenizer)
    if layout.discrete:
        bits = layout.positions * sum(math.log2(entries) for entries in layout.codebook_sizes)
        assert layout.bits_per_image == pytest.approx(bits)
        assert layout.bpp == pytest.approx(bits / math.prod(layout.image_size))
        assert layout.storage_bits_per_image is None
    else:
        assert layout.bits_per_image is None
        assert layout.bpp is None
        assert layout.storage_bits_per_image == 32 * layout.positions * layout.channels


def test_the_configuration_is_frozen_and_that_of_the_row(tokenizer: Tokenizer) -> None:
    variant = zoo.resolve(tokenizer.name)[1]
    assert tokenizer.config == variant.config
    assert hash(tokenizer.config) == hash(variant.config)
    for field in dataclasses.fields(tokenizer.config):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(tokenizer.config, field.name, None)


def test_it_is_ready_and_knows_where_it_comes_from(tokenizer: Tokenizer) -> None:
    variant = zoo.resolve(tokenizer.name)[1]
    assert not tokenizer.training
    assert tokenizer.trained_with == variant.trained_with
    path = weights_path(variant)
    assert tokenizer.weights_sha256 == (None if path is None else sha256(path))


def test_it_takes_what_it_decoded(tokenizer: Tokenizer, coded: Coded) -> None:
    """Decoded pixels are not clamped; encoding takes an overshoot for the white or black it is."""
    again = tokenizer.encode(coded.decoded, seeds=coded.seeds)
    assert_fits(again, tokenizer.layout(*coded.images.shape[2:]), 4)
    beyond = coded.images + 0.9
    assert torch.equal(
        values(tokenizer.encode(beyond, seeds=coded.seeds)), values(tokenizer.encode(beyond.clamp(-1, 1), seeds=coded.seeds))
    )


def test_vectors_are_what_its_codes_stand_for(tokenizer: Tokenizer, coded: Coded) -> None:
    if isinstance(coded.tokens, ContinuousTokens):
        with pytest.raises(ValueError, match=r"embed takes DiscreteTokens, got ContinuousTokens; latents are vectors already"):
            tokenizer.embed(coded.tokens)
        return
    vectors = tokenizer.embed(coded.tokens)
    assert vectors.shape[:2] == coded.tokens.codes.shape[:2]
    assert vectors.dtype == torch.float32
    rows = coded.tokens.codes.flatten(0, 1).unique(dim=0)
    assert len(vectors.flatten(0, 1).unique(dim=0)) == len(rows)


@pytest.mark.usefixtures("unchecked_types")
class TestRefusals:
    @pytest.mark.parametrize(
        ("images", "given"),
        [
            (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), r"torch.uint8 \(1, 3, 64, 64\)"),
            (torch.zeros(3, 64, 64), r"torch.float32 \(3, 64, 64\)"),
            (torch.zeros(1, 64, 64, 3), r"torch.float32 \(1, 64, 64, 3\)"),
            ([[0.0]], "list"),
        ],
    )
    def test_not_images(self, tokenizer: Tokenizer, images: object, given: str) -> None:
        with pytest.raises(ValueError, match=rf"encode takes float images \[B, 3, H, W\] in \[-1, 1\], got {given}; bytes go through"):
            tokenizer.encode(images, seeds=[1])  # type: ignore[arg-type]

    @pytest.mark.parametrize(("value", "range_"), [(255.0, "0..255"), (-2.1, "-2.1..0"), (math.nan, "nan..nan"), (math.inf, "0..inf")])
    def test_out_of_range(self, tokenizer: Tokenizer, value: float, range_: str) -> None:
        images = torch.zeros(1, 3, 64, 64)
        images[0, 1, 2, 3] = value
        with pytest.raises(ValueError, match=rf"images range over {range_}, allowed is -1\.\.1; see tokbench.images.to_float"):
            tokenizer.encode(images, seeds=[1])

    def test_another_precision_than_the_weights(self, tokenizer: Tokenizer) -> None:
        if not any(tensor.is_floating_point() for tensor in tokenizer.state_dict().values()):
            pytest.skip("computes without weights, in any precision")
        with pytest.raises(ValueError, match=rf"images are torch.float64, {tokenizer.name} computes in torch.float32; convert them with"):
            tokenizer.encode(torch.zeros(1, 3, 64, 64, dtype=torch.float64), seeds=[1])

    def test_a_size_that_does_not_fit(self, tokenizer: Tokenizer) -> None:
        size, own = 16 * tokenizer.stride, zoo.resolve(tokenizer.name)[1].image_size
        if not of_one_size(tokenizer):
            pytest.skip("every size fits, or is padded")
        with pytest.raises(
            TokbenchError, match=rf"image size {size}x{size + 1} does not fit: this FlowMo takes {own}x{own} \(--size {own}"
        ):
            tokenizer.encode(torch.zeros(1, 3, size, size + 1), seeds=[1])

    def test_tokens_of_another_tokenizer(self, tokenizer: Tokenizer) -> None:
        layout = made_for(tokenizer)
        own = layout.codebook_sizes or layout.channels
        codes = torch.zeros(1, layout.positions, 2, dtype=torch.int64)
        with pytest.raises(ValueError, match=rf"tokens have codebooks \(7, 9\), {tokenizer.name} has ") as error:
            tokenizer.decode(DiscreteTokens(codes, layout.grid, (7, 9)), seeds=[1])
        assert ("continuous latents" if layout.channels else str(own)) in str(error.value)
        with pytest.raises(ValueError, match=rf"latents have 99 channels, {tokenizer.name} has ") as error:
            tokenizer.decode(ContinuousTokens(torch.zeros(1, layout.positions, 99), layout.grid), seeds=[1])
        assert (str(own) if layout.channels else "discrete codes") in str(error.value)

    def test_a_grid_of_another_kind(self, tokenizer: Tokenizer) -> None:
        layout = made_for(tokenizer)
        if len(layout.grid) != 2:
            pytest.skip("takes sequences")
        with pytest.raises(ValueError, match=rf"{tokenizer.name} takes a 2D grid, got \({layout.positions},\)"):
            tokenizer.decode(ContinuousTokens(torch.zeros(1, layout.positions, 4), (layout.positions,)), seeds=[1])

    def test_no_tokens_at_all(self, tokenizer: Tokenizer) -> None:
        with pytest.raises(ValueError, match="decode takes DiscreteTokens or ContinuousTokens, got Tensor"):
            tokenizer.decode(torch.zeros(1), seeds=[1])  # type: ignore[arg-type]
