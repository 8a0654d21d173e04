"""Drawing from a probe: well-formed whatever it scores, from the distribution it should, and each image by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tokbench.feed.probe.drawing import Draw, SampleOptions, decode_samples, draw_samples, sample
from tokbench.tokens import DiscreteTokens

SHAPES = [{"codebooks": 1, "axes": 2}, {"codebooks": 2, "axes": 1}, {"codebooks": 2, "axes": 2}]


@pytest.mark.parametrize("shape", SHAPES)
def test_images_are_whole_and_do_not_depend_on_the_batch(sequences_of, network_of, shape) -> None:
    sequences = sequences_of(2, **shape)
    model, vocabulary, grid = network_of(sequences, gain=3.0), sequences.vocabulary, sequences.dataset.grid
    tokens = sample(model, vocabulary, grid, SampleOptions(count=5, batch_size=5, top_k=5))
    assert tokens.codes.shape == (5, 16, shape["codebooks"])
    assert (tokens.grid, tokens.codebook_sizes) == (grid, vocabulary.codebook_sizes)
    assert len({tuple(codes.flatten().tolist()) for codes in tokens.codes}) == 5
    one_by_one = sample(model, vocabulary, grid, SampleOptions(count=3, batch_size=1, top_k=5))
    assert torch.equal(one_by_one.codes, tokens.codes[:3])
    other = sample(model, vocabulary, grid, SampleOptions(count=3, seed=1, top_k=5))
    assert not torch.equal(other.codes, tokens.codes[:3])


def test_texts_may_be_of_any_length(sequences_of, network_of) -> None:
    sequences = sequences_of(4, condition="caption")
    tokens = sample(
        network_of(sequences), sequences.vocabulary, (4, 4), SampleOptions(count=6, batch_size=4), texts=["", "a", "a longer one"]
    )
    assert tokens.codes.shape == (6, 16, 1)


def test_the_likeliest_code_is_drawn_when_only_one_may_be(sequences_of, network_of) -> None:
    sequences = sequences_of(1)
    model = network_of(sequences)
    tokens = sample(model, sequences.vocabulary, (4, 4), SampleOptions(count=2, top_k=1))
    assert torch.equal(tokens.codes[0], tokens.codes[1])


@pytest.mark.parametrize(("top_k", "temperature"), [(None, 1.0), (None, 0.5), (3, 1.0), (2, 2.0)])
def test_draws_follow_the_distribution(top_k: int | None, temperature: float) -> None:
    scores = torch.tensor([[2.0, 1.0, 0.5, -torch.inf, 0.0]])
    kept = scores[0].masked_fill(scores[0] < scores[0].topk(top_k).values[-1], -torch.inf) if top_k else scores[0]
    expected = (kept / temperature).softmax(0)
    count = 20_000
    drawn = Draw(range(count), top_k=top_k, temperature=temperature)(torch.zeros(count, 1, dtype=torch.int64), scores.repeat(count, 1))
    shares = torch.bincount(drawn.argmax(dim=1), minlength=5) / count
    torch.testing.assert_close(shares, expected, atol=0.012, rtol=0)
    assert (shares[expected == 0] == 0).all()


@pytest.mark.parametrize("wrong", [{"count": 0}, {"top_k": 0}, {"temperature": 0.0}, {"temperature": float("inf")}, {"batch_size": 0}])
def test_options_that_make_no_sense_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match="must be"):
        SampleOptions(**wrong)


def test_samples_are_decoded_and_put_side_by_side(blocks, small) -> None:
    codes = torch.arange(18 * 16).reshape(18, 16, 1) % 12
    images = decode_samples(blocks(), DiscreteTokens(codes, (4, 4), (12,)), small)
    assert images.shape == (18, 3, 8, 8)
    assert images[17, 0, ::2, ::2].flatten().tolist() == (codes[17, :, 0] * 20).tolist()
    picture = np.asarray(draw_samples(images, columns=5, enlarge=3, gap=2))
    assert picture.shape == (2 + 4 * 26, 2 + 5 * 26, 3)
    np.testing.assert_array_equal(picture[2 + 3 * 26 : 2 + 3 * 26 + 24 : 3, 2 + 2 * 26 : 2 + 2 * 26 + 24 : 3], images[17].permute(1, 2, 0))
    assert (picture[:2] == 255).all()
    assert (picture[2 + 3 * 26 :, 2 + 3 * 26 :] == 255).all()


def test_the_package_offers_what_it_names() -> None:
    import tokbench.feed.probe as package

    for name in package.__all__:
        offered = getattr(package, name)
        assert callable(offered), name
        assert offered.__name__ == name
