"""Maps that are mirrored, turned and halved, held to pixels moved one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from einops import rearrange

import tokbench
from tokbench.feed.predict.equivariance import halved, halved_images, measure_equivariance
from tokbench.feed.predict.results import NotApplicable, Results
from tokbench.feed.predict.vectors import code_vectors
from tokbench.layout import TokenLayout
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import ContinuousTokens


class Means(Tokenizer):
    """Means of two by two pixels."""

    trained_with = ()

    def __init__(self, smallest: int = 2) -> None:
        super().__init__()
        self.smallest, self.name = smallest, "tests/means"

    @property
    def stride(self) -> int:
        return 2

    def layout(self, height: int, width: int) -> TokenLayout:
        if height < self.smallest:
            raise tokbench.TokbenchError(f"tests/means takes no {height} px; take more")
        return TokenLayout.strided(height, width, 2, channels=3)

    def _encode(self, images: torch.Tensor, seeds: object) -> ContinuousTokens:
        maps = F.avg_pool2d(images, 2)
        return ContinuousTokens(rearrange(maps, "b c h w -> b (h w) c").contiguous(), tuple(maps.shape[2:]))

    def _decode(self, tokens: ContinuousTokens, seeds: object) -> torch.Tensor:
        maps = rearrange(tokens.latents, "b (h w) c -> b c h w", h=tokens.grid[0])
        return maps.repeat_interleave(2, 2).repeat_interleave(2, 3)


def measured(made, codes=None, why_not: str | None = None) -> Results:
    results = Results()
    measure_equivariance(made, codes, why_not, results)
    return results


def test_nothing_is_lost_where_order_does_not_matter(encoded) -> None:
    results = measured(encoded(Means()))
    assert results.figures["equivariance_flip"].value == pytest.approx(0, abs=1e-9)
    assert results.figures["equivariance_rotation"].value == pytest.approx(0, abs=1e-9)
    assert abs(results.figures["equivariance_scale"].value) < 0.5  # halved images are rounded
    exact = measured((made := encoded(tokbench.load("pixel/rgb"))), code_vectors(made))
    assert exact.figures["equivariance_flip"].value == exact.figures["equivariance_rotation"].value == 0


def test_a_tokenizer_that_minds_the_side_loses_what_pixels_moved_by_hand_say(encoded) -> None:
    class Sided(Means):
        """Keeps the left of two pixels."""

        def _encode(self, images: torch.Tensor, seeds: object) -> ContinuousTokens:
            maps = images[:, :, ::2, ::2]
            return ContinuousTokens(rearrange(maps, "b c h w -> b (h w) c").contiguous(), tuple(maps.shape[2:]))

    made = encoded(Sided())
    results = measured(made)
    found = {"flip": [], "rotation": []}
    for image in made.pixels.numpy().astype(float):
        for name, turn in (("flip", lambda x: x[:, :, ::-1]), ("rotation", lambda x: np.rot90(x, 1, (1, 2)))):
            wanted = turn(image)
            first = turn(image)[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2)
            last = turn(image[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2))
            squares = [max(float(((wanted - one) ** 2).mean()), 1 / 12) for one in (first, last)]
            found[name].append(10 * np.log10(squares[1] / squares[0]))
    for name, values in found.items():
        assert list(results.rows[f"equivariance_{name}"].values()) == pytest.approx(values, abs=1e-6)
        assert results.figures[f"equivariance_{name}"].value == pytest.approx(np.mean(values))


def test_halved_codes_are_nearest_to_the_mean_of_four(encoded, small_vqvae) -> None:
    made = encoded(small_vqvae)
    codes = code_vectors(made)
    table, own = codes.tables[0].double().numpy(), made.tokens.codes[..., 0].reshape(-1, 8, 8).numpy()
    found = halved(made, codes, None)
    assert found.grid == (4, 4)
    for image, rows in enumerate(found.codes[..., 0].reshape(-1, 4, 4).tolist()):
        for row, columns in enumerate(rows):
            for column, code in enumerate(columns):
                mean = np.mean([table[own[image, 2 * row + a, 2 * column + b]] for a in (0, 1) for b in (0, 1)], axis=0)
                far = ((table - mean) ** 2).sum(axis=1)
                assert far[code] <= far.min() * (1 + 1e-4) + 1e-9


def test_halved_images_are_rounded_means() -> None:
    images = torch.tensor([[[[0, 1], [1, 1]], [[10, 20], [30, 40]], [[255, 255], [255, 255]]]], dtype=torch.uint8)
    assert halved_images(images).flatten().tolist() == [1, 25, 255]


def test_reasons_where_a_change_cannot_be_had(encoded, small_vqvae) -> None:
    small = measured(encoded(Means(smallest=16)))
    assert small.figures["equivariance_scale"].reason == "tests/means takes no 8 px; take more"
    assert small.figures["equivariance_flip"].value is not None
    without = measured(encoded(small_vqvae), None, "it has no code vectors")
    assert without.figures["equivariance_scale"].reason == "it has no code vectors"
    assert without.figures["equivariance_rotation"].value is not None


def test_sequences_are_no_maps(encoded) -> None:
    class Sequence(Means):
        def layout(self, height: int, width: int) -> TokenLayout:
            return TokenLayout((height, width), (height * width // 4,), channels=3)

        def _image_size(self, grid: tuple[int, ...]) -> tuple[int, int]:
            return (16, 16)

        def _encode(self, images: torch.Tensor, seeds: object) -> ContinuousTokens:
            return ContinuousTokens(super()._encode(images, seeds).latents, (64,))

        def _decode(self, tokens: ContinuousTokens, seeds: object) -> torch.Tensor:
            return super()._decode(ContinuousTokens(tokens.latents, (8, 8)), seeds)

    with pytest.raises(NotApplicable, match=r"^the tokens are a sequence, which has no rows and columns$"):
        measured(encoded(Sequence()))
