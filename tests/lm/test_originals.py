"""Images of exports: those of a name, and scenes of stages, which are drawn again as they were."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tokbench.data.scenes.edits import EDIT_KINDS
from tokbench.data.scenes.images import SceneImages
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed import ExportOptions, TokenDataset
from tokbench.feed.export import export
from tokbench.feed.memmap import write_memmap
from tokbench.lm.evaluate_images import ImageEvaluationOptions, evaluate_images
from tokbench.lm.halves import HalvedImages
from tokbench.lm.image_model import ImageModel
from tokbench.lm.originals import originals_of
from tokbench.lm.real_images import open_real
from tokbench.lm.recipes import RECIPES
from tokbench.lm.scene_source import StageScenes
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers.base import Tokenizer

PROTOCOL = get_protocol(changes={"size": 32})


def made(source: ImageSource | str, tokenizer: Tokenizer, folder: Path) -> TokenDataset:
    export(tokenizer, source, folder, protocol=PROTOCOL, options=ExportOptions(rows_per_shard=16))
    return TokenDataset(folder)


@pytest.mark.parametrize(
    "drawing",
    [
        {"count": 24, "first": 10_000_000},
        {"count": 12, "edits": 8},
        {"count": 12, "edits": 4, "low_quality": 0.4, "first": 7},
        {"count": 6, "low_quality": 1.0},
        {"count": 2, "edits": 30, "kinds": next(recipe.edit_kinds for recipe in RECIPES if recipe.edit_kinds != EDIT_KINDS)},
    ],
)
def test_scenes_of_a_stage_are_drawn_again_as_they_were(drawing: dict[str, Any], patch_tokenizer: Tokenizer, tmp_path: Path) -> None:
    source = StageScenes(size=32, **drawing)
    data = made(source, patch_tokenizer, tmp_path / "tokens")
    write_memmap(tmp_path / "tokens", tmp_path / "map")
    for again in (originals_of(data), originals_of(TokenDataset(tmp_path / "map"))):
        assert again.ids == source.ids
        for index in range(len(source)):
            assert np.array_equal(np.asarray(again.read(index)), np.asarray(source.read(index)))
            assert again.caption(index) == source.caption(index)


def test_scenes_by_their_name_are_those_of_their_split(patch_tokenizer: Tokenizer, tmp_path: Path) -> None:
    source = originals_of(made("scenes/held-out:9", patch_tokenizer, tmp_path / "tokens"))
    assert isinstance(source, SceneImages)
    assert (source.split, len(source)) == ("held-out", 9)


class Others(StageScenes):
    """Scenes by another rule, under the same ids."""

    def raw_digest(self, index: int) -> bytes:
        return bytes(32)


@pytest.mark.parametrize(
    "source",
    [
        Others(8, size=32),
        HalvedImages(StageScenes(8, size=32), 8, PROTOCOL, (8, 8)),
        StageScenes(1, size=32, edits=40, kinds=("remove", "remove", "recolour")),
    ],
)
def test_what_was_drawn_otherwise_is_not_at_hand(source: ImageSource, patch_tokenizer: Tokenizer, tmp_path: Path) -> None:
    data = made(source, patch_tokenizer, tmp_path / "tokens")
    with pytest.raises(TokbenchError, match=r"scenes does not hold the \d+ images asked for"):
        originals_of(data)


def test_images_of_an_edit_are_of_one_group() -> None:
    source = StageScenes(2, size=32, edits=3)
    groups = {source.group(index) for index in range(len(source))}
    assert groups == {"scene-000000000", "scene-000000001", *(f"edit-{number:09d}-0" for number in range(3))}


def test_a_model_is_evaluated_on_the_scenes_of_a_stage(artist: ImageModel, patch_tokenizer: Tokenizer, tmp_path: Path) -> None:
    made(StageScenes(10, size=32, edits=4, low_quality=0.3), patch_tokenizer, tmp_path / "model" / "tokens")
    options = ImageEvaluationOptions(str(tmp_path / "model" / "tokens"), prompts=4, tasks=("generate", "complete"), training_images=5)
    done = evaluate_images(artist, tmp_path / "model", options)
    protocol = done.record.protocol
    assert (protocol.data, protocol.split, protocol.prompts, protocol.training_scenes) == ("scenes", "given", 4, 5)
    assert done.record.figures["nearest_training"].measured, "the model's own training images are at hand too"


def test_verify_compares_with_scenes_of_a_stage(tokbench_cli: Callable, patch_tokenizer: Tokenizer, tmp_path: Path) -> None:
    folder = tmp_path / "tokens"
    made(StageScenes(10, size=32, low_quality=0.5), patch_tokenizer, folder)
    status, out, err = tokbench_cli("verify", folder)
    assert (status, err) == (0, "")
    assert "10 of 10 images encode to the same tokens" in out


@pytest.mark.parametrize("name", ["scenes", "text", "kodak"])
def test_images_of_ones_own_are_found_in_the_folder_of_their_name(
    name: str, patch_tokenizer: Tokenizer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where they were exported before they were told from sets of that name."""
    monkeypatch.chdir(tmp_path)
    folder.rename(tmp_path / name)
    data = made(f"./{name}", patch_tokenizer, tmp_path / "tokens")
    assert data.job.data.name == f"{name} (own images)".replace("kodak (own images)", "kodak (unchecked)")
    shard = tmp_path / "tokens" / data.job.shard_name(0)
    earlier = tmp_path / "earlier"
    (tmp_path / "tokens").rename(earlier)
    for place in (earlier / shard.name, earlier / ".export.json"):
        if place.suffix == ".json":
            place.write_text(place.read_text().replace(data.job.data.name, name))
        else:
            table = pq.read_table(place)
            told = json.loads(table.schema.metadata[b"tokbench"])
            told["job"]["data"]["name"] = name
            pq.write_table(table.replace_schema_metadata({b"tokbench": json.dumps(told).encode()}), place)
    assert isinstance(pq.read_table(earlier / shard.name), pa.Table)
    for one in (data, TokenDataset(earlier)):
        assert originals_of(one).ids == tuple(f"{number:02d}.png" for number in range(12))


def test_an_export_called_scenes_is_none_by_its_bare_name(
    artist: ImageModel, patch_tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made("scenes/test:6", patch_tokenizer, tmp_path / "scenes")
    assert open_real("./scenes", artist.model).source.name == "scenes/test:6"
    assert open_real("scenes", artist.model).source.name == "scenes/test"
