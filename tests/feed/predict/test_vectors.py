"""Vectors of codes: what is near to what, held to loops over all codes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import tokbench
from tokbench.feed.predict.results import NotApplicable
from tokbench.feed.predict.sensitivity import flipped
from tokbench.feed.predict.vectors import CodeVectors, code_vectors, vectors_of
from tokbench.layout import TokenLayout
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import DiscreteTokens


class Residual(Tokenizer):
    """Two codebooks whose rows add up; ``twist`` makes the second depend on where it stands."""

    trained_with = ()

    def __init__(self, twist: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("one", torch.randn(6, 3, generator=generator))
        self.register_buffer("other", torch.randn(4, 3, generator=generator))
        self.twist, self.name = twist, "tests/residual"

    def layout(self, height: int, width: int) -> TokenLayout:
        return TokenLayout((height, width), (4, 4), (6, 4))

    def _image_size(self, grid: tuple[int, ...]) -> tuple[int, int]:
        return (16, 16)

    def _encode(self, images: torch.Tensor, seeds: object) -> DiscreteTokens:
        levels = ((images[:, :, ::4, ::4] + 1) * 127.5).round().long().flatten(2)
        return DiscreteTokens(torch.stack([levels[:, 0] % 6, levels[:, 1] % 4], dim=-1), (4, 4), (6, 4))

    def _decode(self, tokens: DiscreteTokens, seeds: object) -> torch.Tensor:
        return torch.zeros(len(tokens), 3, 16, 16)

    def _embed(self, codes: torch.Tensor) -> torch.Tensor:
        places = torch.arange(codes.shape[1])[None, :, None]
        return self.one[codes[..., 0]] + self.other[codes[..., 1]] * (1 + self.twist * places)


def distances(table: torch.Tensor, point: torch.Tensor) -> list[float]:
    return [float(((row.double() - point.double()) ** 2).sum()) for row in table]


@pytest.mark.parametrize("name", ["pixel/rgb", "patch/kmeans-1024"])
def test_tables_give_what_embed_gives(name: str, encoded) -> None:
    made = encoded(tokbench.load(name))
    found = code_vectors(made)
    assert [len(table) for table in found.tables] == list(made.layout.codebook_sizes)
    torch.testing.assert_close(vectors_of(made, found), made.tokenizer.embed(made.tokens), rtol=1e-5, atol=1e-5)


def test_rows_of_several_codebooks_add_up(encoded) -> None:
    made = encoded(Residual())
    found = code_vectors(made)
    torch.testing.assert_close(vectors_of(made, found), made.tokenizer.embed(made.tokens), rtol=1e-5, atol=1e-5)
    assert found.tables[1].shape == (4, 3)


def test_vectors_that_depend_on_the_place_are_refused(encoded) -> None:
    with pytest.raises(NotApplicable, match=r"^the vectors of tests/residual depend on more than the code of each codebook$"):
        code_vectors(encoded(Residual(twist=0.1)))


def test_a_tokenizer_without_vectors_says_so(encoded) -> None:
    plain = Residual()
    plain._embed = lambda codes: Tokenizer._embed(plain, codes)
    with pytest.raises(NotApplicable, match=r"tests/residual has no code vectors; its class gives some by writing _embed"):
        code_vectors(encoded(plain))


def test_neighbours_are_the_nearest_others() -> None:
    table = torch.randn(50, 5, generator=torch.Generator().manual_seed(1))
    found = CodeVectors((table,)).neighbours(0, torch.tensor([0, 7, 49]), 10)
    for code, near in zip((0, 7, 49), found, strict=True):
        far = distances(table, table[code])
        assert near.tolist() == [other for other in np.argsort(far).tolist() if other != code][:10]
    assert CodeVectors((table,)).neighbours(0, torch.tensor([3]), 100).shape == (1, 49)


def test_the_nearest_code_and_chance_between_equally_near_ones() -> None:
    table = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [9.0, 9.0]])
    codes = CodeVectors((table,))
    points = torch.tensor([[0.1, 0.0], [8.0, 9.0], [1.0, 0.0], [1.0, 0.0], [0.8, 0.8]])
    found = codes.nearest(0, points, np.array([0.99, 0.0, 0.2, 0.7, 0.5]))
    assert found.tolist() == [0, 3, 0, 1, 0]
    many = codes.nearest(0, torch.tensor([[1.0, 1.0]]).expand(3000, 2), np.random.default_rng(0).random(3000))
    assert np.bincount(many.numpy(), minlength=4) == pytest.approx([1000, 1000, 1000, 0], abs=90)
    random = torch.randn(200, 2, generator=torch.Generator().manual_seed(2)) * 4
    assert codes.nearest(0, random, np.zeros(200)).tolist() == [int(np.argmin(distances(table, point))) for point in random]


def test_signs_are_seen_in_any_order_and_flipped() -> None:
    rows = torch.tensor(list(itertools.product([-0.5, 0.5], repeat=3)))
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    table = torch.cat([rows[order], torch.full((8, 1), 3.0)], dim=1)
    (signs,) = CodeVectors((table,)).bits
    assert signs is not None
    assert torch.equal(signs, rows[order] > 0)
    codes = torch.arange(8).reshape(2, 4)
    hit = torch.zeros(2, 4, 3, dtype=torch.bool)
    assert torch.equal(flipped(codes, hit, signs), codes)
    hit[..., 1] = True
    turned = flipped(codes, hit, signs)
    assert torch.equal(table[turned][..., 1], -table[codes][..., 1])
    assert torch.equal(table[turned][..., [0, 2, 3]], table[codes][..., [0, 2, 3]])
    assert CodeVectors((table[:7], torch.randn(8, 3))).bits == (None, None)


def test_the_nearest_code_of_signs_needs_no_search_and_draws_every_channel() -> None:
    order = torch.randperm(16, generator=torch.Generator().manual_seed(3))
    table = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=4)))[order] * 0.25
    codes = CodeVectors((table,))
    points = torch.randn(100, 4, generator=torch.Generator().manual_seed(4))
    assert codes.nearest(0, points, np.zeros(100)).tolist() == [int(np.argmin(distances(table, point))) for point in points]
    halfway = torch.tensor([[1.0, 0.0, -1.0, 0.0]]).expand(4000, 4)
    found = table[codes.nearest(0, halfway, np.random.default_rng(0).random(4000))]
    assert bool((found[:, 0] > 0).all())
    assert bool((found[:, 2] < 0).all())
    pairs = (found[:, 1] > 0).long() * 2 + (found[:, 3] > 0).long()
    assert np.bincount(pairs.numpy(), minlength=4) == pytest.approx([1000] * 4, abs=110)


def test_too_many_codes_are_refused(encoded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokbench.feed.predict.vectors.MOST_CODES", 9)
    with pytest.raises(NotApplicable, match="10 codes are more than the 9 whose vectors are compared"):
        code_vectors(encoded(Residual()))
