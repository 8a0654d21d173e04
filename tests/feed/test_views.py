"""Exports of several views an image: which pixels, which ids, resumed, verified, and as trainers read them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import tokbench
from tests.feed.formats.pieces import Pieces
from tokbench.bench.fitting import fit
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed import TokenDataset, write_format
from tokbench.feed.export import ExportOptions, export
from tokbench.feed.job import VIEWS, view_of
from tokbench.feed.summary import read_summary
from tokbench.feed.verify import verify
from tokbench.images import UnreadableImage
from tokbench.ranks import Ranks
from tokbench.records.protocol import get_protocol
from tokbench.tokens import DiscreteTokens

SIZE, SIDE = 20, 22
PROTOCOL = get_protocol(changes={"size": SIZE, "micro_batch": 4})


class Pictures(ImageSource):
    """Seven wide pictures with labels and captions; counts how often one is decoded."""

    name, ids, label_names = "pictures", tuple(f"{name}.png" for name in "gfedcba"), ("cat", "dog")

    def __init__(self, broken: str = "") -> None:
        self.broken, self.reads = broken, 0

    def read(self, index: int) -> Image.Image:
        if self.ids[index] == self.broken:
            raise UnreadableImage("broken")
        self.reads += 1
        return Image.fromarray(np.random.default_rng(index).integers(0, 256, (30, 47, 3), np.uint8))

    def raw_digest(self, index: int) -> bytes:
        return bytes([index]) * 32

    def label(self, index: int) -> int:
        return index % 2

    def caption(self, index: int) -> str:
        return f"picture {index}"


class Pixels(Pieces):
    """All pixels as codes: what is stored is what was seen."""

    def layout(self, height, width):
        return tokbench.TokenLayout((height, width), (height, width), (256, 256, 256))

    def _encode(self, images, seeds):
        codes = ((images + 1) * 127.5).round().long().flatten(2).transpose(1, 2).contiguous()
        return DiscreteTokens(codes, tuple(images.shape[2:]), (256, 256, 256))

    def _decode(self, tokens, seeds):
        return (tokens.codes.float() / 127.5 - 1).transpose(1, 2).unflatten(2, tokens.grid)


def made(folder: Path, views: str, source: ImageSource | None = None, tokenizer=None, **changes):
    options = ExportOptions(rows_per_shard=2, views=views, **changes)  # type: ignore[arg-type]
    return export(tokenizer or Pixels(256), source or Pictures(), folder, protocol=PROTOCOL, options=options)


def views_by_hand(index: int, views: str) -> list[np.ndarray]:
    """The views of a picture as LlamaGen cuts them, in plain slices."""
    side = SIDE if views == "ten-crop" else SIZE
    whole = fit(Pictures().read(index), replace(PROTOCOL, size=side))
    assert whole.shape == (side, side, 3)
    if views == "flip":
        return [whole, whole[:, ::-1]]
    far, near = SIDE - SIZE, (SIDE - SIZE) // 2
    corners = [(0, 0), (0, far), (far, 0), (far, far), (near, near)]
    return [image[top : top + SIZE, left : left + SIZE] for image in (whole, whole[:, ::-1]) for top, left in corners]


@pytest.mark.parametrize("views", ["flip", "ten-crop"])
def test_rows_are_the_views_of_every_image(views: str, tmp_path: Path) -> None:
    result, count = made(tmp_path / "tokens", views), VIEWS[views]
    assert (result.rows, result.made, result.complete) == (7 * count, 4, True)
    rows = TokenDataset(tmp_path / "tokens")
    assert len(rows) == 7 * count
    images = sorted(range(7), key=Pictures.ids.__getitem__)
    for place, index in enumerate(images):
        for view, pixels in enumerate(views_by_hand(index, views)):
            item = rows[place * count + view]
            assert item["id"] == f"{Pictures.ids[index]}#{view}"
            assert view_of(item["id"]) == (Pictures.ids[index], view)
            assert (item["label"], item["caption"]) == (index % 2, f"picture {index}")
            assert np.array_equal(item["codes"].reshape(SIZE, SIZE, 3).numpy(), pixels)
    assert pd.read_parquet(tmp_path / "tokens")["id"].is_unique


@pytest.mark.parametrize("views", ["flip", "ten-crop"])
def test_views_are_recorded_and_verified(views: str, tmp_path: Path) -> None:
    source = Pictures()
    made(tmp_path / "tokens", views, source)
    summary = read_summary(tmp_path / "tokens")
    assert (summary.job.preparation.views, summary.job.data.count) == (views, 7 * VIEWS[views])
    assert json.loads((tmp_path / "tokens" / ".export.json").read_text())["job"]["preparation"]["views"] == views
    assert source.reads <= 2 * 7  # by two threads: a view does not cost a decoding
    found = verify(tmp_path / "tokens", tokenizer=Pixels(256), data=Pictures())
    assert found.ok, found.problems
    assert (found.rows, found.comparison.compared, found.comparison.equal) == (7 * VIEWS[views], *(min(16, 7 * VIEWS[views]),) * 2)


def test_enlarged_images_are_counted_once(tmp_path: Path) -> None:
    class Small(Pictures):
        def read(self, index):
            return super().read(index).resize((21, 21) if index < 3 else (22, 22))

    made(tmp_path / "crops", "ten-crop", Small())
    made(tmp_path / "flips", "flip", Small())
    assert (read_summary(tmp_path / "crops").enlarged, read_summary(tmp_path / "flips").enlarged) == (3, 0)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_interrupted_export_of_views_is_gone_on_with(tmp_path: Path) -> None:
    made(tmp_path / "whole", "ten-crop")
    whole = files(tmp_path / "whole")
    calls = 0

    def stop(done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "tokens", "ten-crop", progress=stop)
    left = len(list((tmp_path / "tokens").glob("*.parquet")))
    assert 0 < left < 4
    result = made(tmp_path / "tokens", "ten-crop")
    assert (result.made, result.kept) == (4 - left, left)
    assert files(tmp_path / "tokens") == whole
    for rank in (1, 0):
        made(tmp_path / "ranked", "ten-crop", ranks=Ranks(rank, 2))
    assert files(tmp_path / "ranked") == whole


def test_views_never_mix(tmp_path: Path) -> None:
    made(tmp_path / "tokens", "flip")
    before = files(tmp_path / "tokens")
    for views, problem in (
        ("none", "preparation.views is flip there and None here"),
        ("ten-crop", "preparation.views is flip there and ten-crop here"),
    ):
        with pytest.raises(TokbenchError, match=problem):
            made(tmp_path / "tokens", views)
    assert files(tmp_path / "tokens") == before
    made(tmp_path / "plain", "none")
    with pytest.raises(TokbenchError, match=r"preparation\.views is None there and flip here"):
        made(tmp_path / "plain", "flip")


def test_an_export_without_views_says_nothing_of_them(tmp_path: Path) -> None:
    made(tmp_path / "tokens", "none")
    for path in (tmp_path / "tokens").glob("*.parquet"):
        about = json.loads(pq.read_schema(path).metadata[b"tokbench"])
        assert "views" not in json.dumps(about)


def test_an_image_that_cannot_be_read_leaves_out_all_of_its_views(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    result = made(tmp_path / "tokens", "ten-crop", Pictures(broken="c.png"))
    assert (result.rows, [image.id for image in result.skipped]) == (60, [f"c.png#{view}" for view in range(10)])
    assert "10 of 20 views cannot be read (the first: c.png#0: broken)" in caplog.text
    assert verify(tmp_path / "tokens").ok
    with pytest.raises(TokbenchError, match=r"g\.png#0 cannot be read"):
        made(tmp_path / "strict", "ten-crop", Pictures(broken="g.png"), strict=True)


def test_ids_of_views_are_unambiguous_whatever_images_are_called(tmp_path: Path) -> None:
    class Odd(Pictures):
        ids = ("a", "a#0", "a!", "a#0#0", "a#", "b/a#1", "a ")

    made(tmp_path / "tokens", "flip", Odd())
    rows = TokenDataset(tmp_path / "tokens")
    found = [view_of(rows[index]["id"]) for index in range(14)]
    assert found == [(name, view) for name in sorted(Odd.ids) for view in range(2)]
    assert verify(tmp_path / "tokens", tokenizer=Pixels(256), data=Odd()).ok
    assert len({rows[index]["id"] for index in range(14)}) == 14

    class Twins(Pictures):
        ids = ("a", "b", "a", "c", "d", "e", "f")

    with pytest.raises(TokbenchError, match="has two images with the id a; give every image its own name"):
        made(tmp_path / "twins", "flip", Twins())


def test_mirrored_captions_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made(tmp_path / "tokens", "flip")
    assert caplog.messages == ["mirrored views have the captions of their images; left and right are the other way round in them"]


def test_views_that_are_out_of_order_are_noticed(tmp_path: Path) -> None:
    made(tmp_path / "tokens", "flip", tokenizer=Pieces(256))
    path = sorted((tmp_path / "tokens").glob("*.parquet"))[1]
    table = pq.read_table(path)
    swapped = table.take([1, 0, *range(2, len(table))]).replace_schema_metadata(table.schema.metadata)
    pq.write_table(swapped, path)
    problems = verify(tmp_path / "tokens").problems
    assert any("out of order, or twice" in problem for problem in problems)
    with pytest.raises(TokbenchError, match="is not where it belongs among the views of its image; verify the export"):
        write_format(tmp_path / "tokens", "rar")


@pytest.mark.parametrize("change", [{"views": "five"}, {"views": "flip"}, {"views": "ten-crop"}], ids=lambda change: change["views"])
def test_a_job_whose_views_do_not_fit_is_damaged(change: dict, tmp_path: Path) -> None:
    made(tmp_path / "tokens", "none")
    path = tmp_path / "tokens" / ".export.json"
    values = json.loads(path.read_text())
    values["job"]["preparation"] |= change
    path.write_text(json.dumps(values))
    with pytest.raises(TokbenchError, match="holds no whole description of an export"):
        read_summary(tmp_path / "tokens")


@pytest.mark.parametrize(("views", "place"), [("flip", "flip"), ("ten-crop", "flip_ten_crop")])
def test_llamagen_and_rar_have_the_views_of_an_image_together(views: str, place: str, tmp_path: Path) -> None:
    made(tmp_path / "tokens", views, tokenizer=Pieces(256))
    count, rows = VIEWS[views], TokenDataset(tmp_path / "tokens")
    folder = write_format(tmp_path / "tokens", "llamagen") / place
    lines = (write_format(tmp_path / "tokens", "rar") / "pretokenized.jsonl").read_text().splitlines()
    for image in range(7):
        codes, label = (np.load(folder / f"imagenet20_{name}" / f"{image}.npy") for name in ("codes", "labels"))
        assert codes.shape == (1, count, 6)
        assert label.tolist() == [rows[image * count]["label"]]
        for view in range(count):
            expected = rows[image * count + view]["codes"][:, 0].tolist()
            assert codes[0, view].tolist() == expected
            assert json.loads(lines[image * count + view]) == {"class_id": label.item(), "tokens": expected}
    assert len(lines) == 7 * count


def test_latents_have_their_mirror_image_beside_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made(tmp_path / "tokens", "flip", tokenizer=Pieces())
    caplog.clear()
    folder, rows = write_format(tmp_path / "tokens", "latents"), TokenDataset(tmp_path / "tokens")
    assert caplog.messages == []
    parts = [load_file(path) for path in sorted(folder.glob("*.safetensors"))]
    for view, name in enumerate(("latents", "latents_flip")):
        found = torch.cat([part[name] for part in parts]).flatten(2).transpose(1, 2)
        assert torch.equal(found, torch.stack([rows[2 * image + view]["latents"] for image in range(7)]))
    assert torch.cat([part["labels"] for part in parts]).tolist() == [rows[2 * image]["label"] for image in range(7)]
    assert not torch.equal(parts[0]["latents"], parts[0]["latents_flip"])
    with pytest.raises(
        TokbenchError, match="latents takes an image and its mirror image, and the export has 10 views; make one of --views flip"
    ):
        made(tmp_path / "crops", "ten-crop", tokenizer=Pieces(), formats={"latents": None})
    assert not (tmp_path / "crops").exists()


def test_views_on_the_command_line(tokbench_cli, tmp_path: Path) -> None:
    common = ("export", "-t", "patch", "--data", "photos/train", "--limit", "3", "--size", "32")
    status, _, log = tokbench_cli(*common, "--views", "ten-crop", "--out", "tokens", "--as", "sequences", "--memmap", "array")
    assert status == 0, log
    assert "30 views in 1 new and 0 kept shards of tokens, 0 skipped" in log
    assert "0 new and 1 kept" in tokbench_cli(*common, "--views", "ten-crop", "--out", "tokens")[2]
    status, text, log = tokbench_cli("verify", "tokens")
    assert (status, log) == (0, "")
    assert text.startswith("1 shard, 30 views, 0 problems; 16 of 16 images encode to the same tokens")
    assert len(pq.read_table(tmp_path / "tokens-sequences")) == 30
    assert len(np.load(tmp_path / "array" / "codes.npy")) == 30
    status, _, log = tokbench_cli(*common, "--views", "five", "--out", "other")
    assert (status, log) == (2, "tokbench: unknown --views 'five'; did you mean flip? See: tokbench export --help\n")
    assert not (tmp_path / "other").exists()
