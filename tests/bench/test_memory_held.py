"""What the process that merges holds of each image: numbers and the bytes of its name, and no object of Python."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import pytest
import torch
from PIL import Image

from tokbench.bench import panel
from tokbench.bench.chunks import Part
from tokbench.bench.parts import find_parts, merge_parts
from tokbench.bench.prepared import PreparedRun, RunOptions
from tokbench.bench.sharing import measure
from tokbench.data.source import ImageSource
from tokbench.layout import TokenLayout
from tokbench.names import Names
from tokbench.records import intervals, store
from tokbench.records.protocol import get_protocol
from tokbench.records.store import read_rows, write_record
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import DiscreteTokens

SIDE, FEW, MANY = 8, 1024, 4096
HELD, MOST = 120, 300
"""Bytes an image that a merged run may hold, and that merging and writing may take."""


class Stubs(ImageSource):
    """Images that are there at once, all of one grey."""

    name, ready_size = "stubs", SIDE

    def __init__(self, images: int) -> None:
        self.ids: Names = Names.of(f"{place // 100:06d}/{place % 100:06d}" for place in range(images))

    def read(self, index: int) -> Image.Image:
        return Image.new("RGB", (SIDE, SIDE), (90, 120, 30))

    def raw_digest(self, index: int) -> bytes:
        return index.to_bytes(32, "little")


class Bit(Tokenizer):
    """Whether an image is bright."""

    trained_with, stride = (), SIDE

    def layout(self, height: int, width: int) -> TokenLayout:
        return TokenLayout.strided(height, width, SIDE, codebook_sizes=(2,))

    def _encode(self, images: torch.Tensor, seeds: list[int]) -> DiscreteTokens:
        return DiscreteTokens((images.mean(dim=(1, 2, 3)) > 0).long()[:, None, None], (1, 1), (2,))

    def _decode(self, tokens: DiscreteTokens, seeds: list[int]) -> torch.Tensor:
        return (tokens.codes.float() - 0.5)[:, :, :, None].expand(-1, 3, SIDE, SIDE).contiguous()


def merged(images: int, out: Path) -> tuple[int, int, int]:
    """Objects and bytes that a merged run holds, and the most bytes it took to merge and write it."""
    run = PreparedRun(
        Bit(), Stubs(images), metrics=("psnr", "codebook"), protocol=get_protocol(changes={"size": SIDE}), options=RunOptions()
    )
    for number in (1, 2):
        measure(run, out, lambda _: out, part=Part(number, 2))
    (parts,) = find_parts([out])
    del run
    gc.collect()
    tracemalloc.start()
    try:
        evaluation = merge_parts(parts)
        gc.collect()
        objects = sum(found.count for found in tracemalloc.take_snapshot().statistics("filename"))
        held = tracemalloc.get_traced_memory()[0]
        path = write_record(evaluation.record, evaluation.rows, out)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert read_rows(path) == evaluation.rows
    return objects, held, most


@pytest.mark.parametrize(("room", "most"), [(1 << 20, 10), (8 * 64, 1000 // 64 * 2), (0, 1000)])
def test_rows_of_chunks_are_put_together_in_order(monkeypatch: pytest.MonkeyPatch, room: int, most: int) -> None:
    monkeypatch.setattr(panel, "TOGETHER", room)
    rows: list[torch.Tensor] = []
    for number in range(1000):
        rows.append(torch.tensor([number]))
        panel._gather(rows)
    assert torch.equal(torch.cat(rows), torch.arange(1000))
    assert len(rows) <= most
    assert all(len(part) == 1 or part.nbytes <= room for part in rows)


def test_a_merge_holds_no_object_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ROW_GROUP", 256)
    monkeypatch.setattr(intervals, "PICKS", 256)  # so little that it is less than what is to be seen
    merged(256, tmp_path / "first")  # modules that are imported, and what they keep
    few, many = merged(FEW, tmp_path / "few"), merged(MANY, tmp_path / "many")
    objects, held, most = ((after - before) / (MANY - FEW) for before, after in zip(few, many, strict=True))
    assert objects < 0.1
    assert held < HELD
    assert most < MOST
