"""What is held out: whole groups, always the same ones; and mirror images."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image

from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed.export import ExportOptions, export
from tokbench.feed.probe.parts import WithMirrorImages, open_parts, split
from tokbench.feed.probe.tokens import TokenSet, describe, export_tokens, read_codes
from tokbench.images import UnreadableImage
from tokbench.ranks import Ranks
from tokbench.records.protocol import get_protocol


def test_photos_are_split_as_they_come() -> None:
    parts = open_parts("photos", size=64, share=0.5, seed=0)
    assert (parts.train.name, len(parts.train)) == ("photos/train", 1955)
    assert (parts.held_out.name, len(parts.held_out)) == ("photos/test", 736)
    with pytest.raises(TokbenchError, match="--data photos/test names one part of the photos"):
        open_parts("photos/test", size=64, share=0.5, seed=0)


def test_groups_stay_together_and_images_that_come_later_move_none(ramps) -> None:
    few, more = split(ramps(300), share=0.3, seed=0), split(ramps(600), share=0.3, seed=0)
    assert set(few.train.ids) | set(few.held_out.ids) == set(ramps(300).ids)
    groups = [{part.group(i) for i in range(len(part))} for part in (few.train, few.held_out)]
    assert groups[0].isdisjoint(groups[1])
    assert 20 < len(groups[1]) < 40
    assert set(few.held_out.ids) <= set(more.held_out.ids)
    assert split(ramps(300), share=0.3, seed=1).held_out.ids != few.held_out.ids
    index = few.held_out.ids.index(few.held_out.ids[-1])
    original = ramps(300).ids.index(few.held_out.ids[-1])
    assert few.held_out.raw_digest(index) == ramps(300).raw_digest(original)


def test_a_part_knows_what_its_source_knows(ramps) -> None:
    source = ramps(30, described=True)
    part = split(source, share=0.5, seed=0).train
    assert (part.has_labels, part.has_captions, part.label_names, part.ready_size) == (True, True, source.label_names, 8)
    for i, name in enumerate(part.ids):
        index = source.ids.index(name)
        assert (part.label(i), part.caption(i), part.group(i)) == (source.label(index), source.caption(index), source.group(index))
        np.testing.assert_array_equal(np.asarray(part.read(i)), np.asarray(source.read(index)))


class Repeats(ImageSource):
    """Images of which every seventh has the bytes of number 0, and 40 to 49 those of the ten before; number 5 cannot be read."""

    name = "repeats"
    ids = tuple(f"{i:03d}" for i in range(200))

    def read(self, index: int) -> Image.Image:
        return Image.new("RGB", (8, 8), (index, 0, 0))

    def raw_digest(self, index: int) -> bytes:
        if index == 5:
            raise UnreadableImage("broken")
        shown = 0 if index % 7 == 0 else index - 10 if 40 <= index < 50 else index
        return shown.to_bytes(32, "big")


@pytest.mark.parametrize("seed", range(5))
def test_repeated_images_are_one_group_on_one_side(seed: int) -> None:
    seen = []
    parts = split(Repeats(), share=0.4, seed=seed, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, 200) for i in range(200)]
    sides = [{part.raw_digest(i) for i in range(len(part)) if part.ids[i] != "005"} for part in (parts.train, parts.held_out)]
    assert sides[0].isdisjoint(sides[1])
    groups = {name: part.group(i) for part in (parts.train, parts.held_out) for i, name in enumerate(part.ids)}
    assert set(groups) == set(Repeats.ids)
    assert {groups[f"{i:03d}"] for i in range(0, 200, 7)} == {"000"}
    assert (groups["041"], groups["005"], groups["048"]) == ("031", "005", "038")
    different = {Repeats().raw_digest(i) for i in range(200) if i != 5}
    assert len(set(groups.values())) == len(different) + 1 == 165


def test_without_repeats_the_split_is_that_of_the_groups_names(ramps) -> None:
    source = ramps(300)
    parts = split(source, share=0.3, seed=0)
    own = {name: source.group(i) for i, name in enumerate(source.ids)}
    for part in (parts.train, parts.held_out):
        assert [part.group(i) for i in range(len(part))] == [own[name] for name in part.ids]
    first = min(parts.held_out.ids)
    digest = hashlib.sha256(f"0\0held out\0{own[first]}".encode()).digest()
    assert int.from_bytes(digest[:8], "big") / 2**64 < 0.3


@pytest.mark.parametrize("share", [1e-9, 1 - 1e-9])
def test_a_part_without_images_is_refused(ramps, share: float) -> None:
    with pytest.raises(TokbenchError, match="leaves none to"):
        split(ramps(9), share=share, seed=0)


def test_folders_are_split_or_named(tmp_path) -> None:
    for part, count in (("a", 12), ("b", 3)):
        (tmp_path / part).mkdir()
        for i in range(count):
            Image.new("RGB", (8, 8), (i, 0, count)).save(tmp_path / part / f"{i}.png")
    parts = open_parts(str(tmp_path / "a"), size=8, share=0.4, seed=0)
    assert len(parts.train) + len(parts.held_out) == 12
    assert parts.train.name == "a (train)"
    named = open_parts(str(tmp_path / "a"), size=8, share=0.4, seed=0, held_out_data=str(tmp_path / "b"))
    assert (len(named.train), len(named.held_out)) == (12, 3)


def test_mirror_images_are_turned_and_told_apart(ramps, blocks, small, tmp_path) -> None:
    both = WithMirrorImages(ramps(6, described=True))
    assert len(set(both.ids)) == len(both) == 12
    assert len({both.raw_digest(i) for i in range(12)}) == 12
    for i in range(6):
        image, digest = both.open(6 + i)
        np.testing.assert_array_equal(np.asarray(image), np.asarray(both.read(i))[:, ::-1])
        assert digest == both.raw_digest(6 + i)
        assert (both.group(6 + i), both.label(6 + i)) == (both.group(i), both.label(i))
    tokens = export_tokens(blocks(), both, tmp_path, protocol=small)
    codes = {tokens.dataset[row]["id"]: tokens.dataset[row]["codes"].reshape(4, 4) for row in range(12)}
    assert (codes["001/2~mirrored"] == codes["001/2"].flip(1)).all()


def test_exports_are_found_again_by_what_they_are(ramps, blocks, small, tmp_path) -> None:
    export_tokens(blocks(), ramps(20), tmp_path, protocol=small)
    folders = set(tmp_path.iterdir())
    export_tokens(blocks(), ramps(20), tmp_path, protocol=small)
    assert set(tmp_path.iterdir()) == folders
    export_tokens(blocks(codebooks=2), ramps(20), tmp_path, protocol=small)
    export_tokens(blocks(), ramps(19), tmp_path, protocol=small)
    export_tokens(blocks(), ramps(20), tmp_path, protocol=get_protocol(changes={"size": 8, "seed": 1, "micro_batch": 16}))
    assert len(set(tmp_path.iterdir())) == 4


def test_sets_are_described_and_read(ramps, blocks, small, tmp_path) -> None:
    tokens = export_tokens(blocks(), ramps(20), tmp_path, protocol=small)
    info = describe(tokens)
    assert (info.name, info.count, info.groups, info.skipped) == ("ramps", 20, 7, 0)
    export(blocks(), ramps(20), tmp_path / "in parts", protocol=small, options=ExportOptions(rows_per_shard=6, ranks=Ranks()))
    in_parts = TokenSet(type(tokens.dataset)(tmp_path / "in parts"), tokens.source, tmp_path / "in parts")
    assert describe(in_parts) == info
    assert in_parts.digests() == tokens.digests() == {ramps(20).raw_digest(i) for i in range(20)}
    assert read_codes(tokens.dataset).shape == (20, 16, 1)
    few = read_codes(tokens.dataset, most=5 * 16 + 3)
    assert (few == read_codes(tokens.dataset)[[0, 4, 8, 12, 16]]).all()
    assert len(read_codes(tokens.dataset, most=1)) == 1
