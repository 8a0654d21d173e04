"""Locality, held to loops over positions and pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tokbench
from tokbench.data.scenes import draw, edit_of, untouched
from tokbench.feed.predict.locality import KINDS, measure_locality, positions_away
from tokbench.feed.predict.results import NotApplicable, Results
from tokbench.layout import TokenLayout
from tokbench.records.protocol import get_protocol

PROTOCOL = get_protocol(changes={"size": 32, "micro_batch": 4})


def test_the_shares_are_those_of_a_loop(small_vqvae) -> None:
    results = Results()
    count, away = measure_locality(small_vqvae, small_vqvae.layout(32, 32), PROTOCOL, 8, results)
    same, still, all_same = [], [], []
    edits = [edit for edit in (edit_of(seed, "test", kinds=KINDS) for seed in range(8)) if edit.before.ground == edit.after.ground]
    for edit in edits:
        codes = []
        for scene in (edit.before, edit.after):
            image = torch.from_numpy(draw(scene, 32)).permute(2, 0, 1)[None]
            codes.append(small_vqvae.encode(tokbench.to_float(image)).codes.reshape(16, 16).numpy())
        calm = untouched(edit, 32)
        for row in range(16):
            for column in range(16):
                alike = codes[0][row, column] == codes[1][row, column]
                all_same.append(alike)
                if all(calm[2 * row + a, 2 * column + b] for a in (0, 1) for b in (0, 1)):
                    same.append(alike)
        still.append(sum(positions_away(torch.from_numpy(calm)[None], (16, 16)).flatten().tolist()))
    assert results.figures["locality"].value == pytest.approx(np.mean(same))
    assert results.figures["locality_whole"].value == pytest.approx(np.mean(all_same))
    assert (count, away) == (len(edits), np.mean(still))
    assert len(same) == sum(still)
    assert results.figures["locality"].value > results.figures["locality_whole"].value


def test_pixels_keep_where_nothing_changes() -> None:
    results, rgb = Results(), tokbench.load("pixel/rgb")
    measure_locality(rgb, rgb.layout(32, 32), PROTOCOL, 6, results)
    assert results.figures["locality"].value == 1
    assert results.figures["locality_whole"].value < 1


@pytest.mark.parametrize(
    ("layout", "size", "reason"),
    [
        (TokenLayout((32, 32), (4, 4), channels=3), 32, "latents have no codes to compare"),
        (TokenLayout((32, 32), (16,), (4,)), 32, "the tokens are a sequence, in which no position has a place in the image"),
        (TokenLayout((32, 32), (5, 5), (4,), padding=(3, 3)), 32, "images of 32 px are padded, so positions cover other parts of them"),
        (TokenLayout((16, 16), (4, 4), (4,)), 16, "scenes come in sizes 32, 64, 128, 256 px, got 16"),
    ],
)
def test_what_has_no_locality(small_vqvae, layout: TokenLayout, size: int, reason: str) -> None:
    with pytest.raises(NotApplicable, match=reason):
        measure_locality(small_vqvae, layout, get_protocol(changes={"size": size}), 5, Results())
