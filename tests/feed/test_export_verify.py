"""Verification finds what is wrong with an export, and only that."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import tokbench
from tokbench.data.folder import FolderSource
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed.audit import read_job
from tokbench.feed.dataset import TokenDataset
from tokbench.feed.export import ExportOptions, export
from tokbench.feed.memmap import write_memmap
from tokbench.feed.origin import source_of, tokenizer_of
from tokbench.feed.summary import SUMMARY
from tokbench.feed.verify import VerifyOptions, verify
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers.base import Tokenizer

PROTOCOL = get_protocol(changes={"size": 64, "micro_batch": 4})
SECOND = "tokens-00001-of-00003.parquet"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Twelve smooth pictures and one broken file."""
    root = tmp_path_factory.mktemp("data") / "pictures"
    root.mkdir()
    y, x = np.mgrid[0:64, 0:64] / 10
    for i in range(12):
        Image.fromarray(np.stack([127 + 120 * np.sin(x + i), 127 + 120 * np.cos(y * i), x * 20], -1).astype(np.uint8)).save(
            root / f"{i:02d}.png"
        )
    (root / "03b.png").write_bytes(b"broken")
    return root


@pytest.fixture(scope="module")
def exported(pictures, tmp_path_factory):
    """The pictures as codes and as latents, by tokenizer."""
    root = tmp_path_factory.mktemp("exported")
    for name in ("vqvae/tiny", "vae/tiny", "pixel/rgb"):
        export(tokbench.load(name), pictures, root / name, protocol=PROTOCOL, options=ExportOptions(rows_per_shard=5))
    return root


@pytest.fixture
def copy(exported, tmp_path):
    """A copy of an export, to be damaged."""

    def make(name):
        return shutil.copytree(exported / name, tmp_path / name)

    return make


def rewrite(path, change):
    """Change the rows of a shard and leave its metadata as they were."""
    table = pq.read_table(path)
    pq.write_table(pa.Table.from_arrays(change(table), schema=table.schema), path)


def with_column(name, change):
    """Change the values of one column."""

    def apply(table):
        values = {column: table.column(column).to_pylist() for column in table.column_names}
        values[name] = change(values[name])
        return [pa.array(values[field.name], field.type) for field in table.schema]

    return apply


def replaced(values, row, value):
    return [value if number == row else old for number, old in enumerate(values)]


@pytest.mark.parametrize("name", ["vqvae/tiny", "vae/tiny", "pixel/rgb"])
def test_a_sound_export_is_sound(name, exported, pictures):
    calls = []
    options = VerifyOptions(sample=100, progress=lambda done, total: calls.append((done, total)))
    found = verify(exported / name, tokenizer=tokbench.load(name), data=pictures, options=options)
    assert found.ok, found.problems
    assert (found.shards, found.rows, found.problems) == (3, 12, ())
    assert (found.comparison.compared, found.comparison.equal) == (12, 12)
    record = tokbench.evaluate(tokbench.load(name), pictures, metrics=("psnr",), protocol=PROTOCOL)
    psnr = record.metrics["psnr"].value  # None where every image came back exactly
    assert found.comparison.psnr == (math.inf if psnr is None else pytest.approx(psnr, rel=1e-5))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_the_source_is_optional(exported, pictures):
    tokenizer = tokbench.load("pixel/rgb")
    few = [
        verify(exported / "pixel/rgb", tokenizer=tokenizer, data=pictures, options=VerifyOptions(sample=5, seed=seed)) for seed in (0, 1)
    ]
    assert [found.comparison.compared for found in few] == [5, 5]
    for found in (
        verify(exported / "pixel/rgb"),
        verify(exported / "pixel/rgb", tokenizer=tokenizer),
        verify(exported / "pixel/rgb", tokenizer=tokenizer, data=pictures, options=VerifyOptions(sample=0)),
    ):
        assert found.ok
        assert found.comparison is None
    with pytest.raises(ValueError, match="must not be negative"):
        VerifyOptions(sample=-1)


def test_every_flipped_byte_of_the_tokens_is_found(copy):
    folder = copy("vqvae/tiny")
    path = folder / SECOND
    column = pq.read_metadata(path).row_group(0).column(1)
    assert column.path_in_schema == "codes.list.element"
    whole = path.read_bytes()
    start = column.dictionary_page_offset
    places = range(start + 60, start + column.total_compressed_size, 97)  # behind the first page's header, whose damage shows in other ways
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        assert any(SECOND in problem for problem in verify(folder).problems), place
    assert len(places) > 10


def problems(folder, **given):
    found = verify(folder, **given)
    assert not found.ok
    return "; ".join(found.problems)


def test_what_is_missing_or_too_much_is_found(copy):
    folder = copy("vqvae/tiny")
    shutil.copy(folder / SECOND, folder / "tokens-00001-of-00004.parquet")
    assert problems(folder) == "tokens-00001-of-00004.parquet is not one of the 3 shards"
    (folder / "tokens-00001-of-00004.parquet").unlink()
    (folder / SECOND).unlink()
    assert problems(folder) == f"{SECOND} is missing; run the export again, it makes what is missing"
    (folder / SUMMARY).unlink()
    assert ".export.json is missing: the export is not finished; run it again, it goes on where it stopped" in problems(folder)
    shutil.copy(folder / "tokens-00000-of-00003.parquet", folder / SECOND)
    assert f"{SECOND} says it is shard 0" in problems(folder)
    (folder / SECOND).write_bytes((folder / SECOND).read_bytes()[:-100])
    assert f"{SECOND} is damaged" in problems(folder)


def test_shards_of_another_export_are_found(copy, exported):
    folder = copy("vqvae/tiny")
    shutil.copy(exported / "pixel/rgb" / SECOND, folder / SECOND)
    assert f"{SECOND} is of another export: tokenizer.name is pixel/rgb there and vqvae/tiny here" in problems(folder)
    assert f"{SECOND} has other columns than its job" in problems(folder)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (with_column("id", lambda ids: replaced(ids, 2, ids[1])), f"{SECOND} has the id 05.png twice"),
        (with_column("id", lambda ids: replaced(ids, 0, "03.png")), f"{SECOND} has the id 03.png twice"),
        (with_column("id", lambda ids: replaced(ids, 3, "00.png")), f"{SECOND} has the id 00.png out of order, or twice"),
        (
            with_column("id", lambda ids: replaced(ids, 4, "08a.png")),
            "ids of rows and skipped images are not those of the 13 images asked for",
        ),
        (with_column("id", lambda ids: replaced(ids, 4, None)), f"{SECOND} has rows without id, tokens or digest"),
        (
            with_column("codes", lambda rows: replaced(rows, 4, [*rows[4][:-1], 1024])),
            "has codes of codebook 0 up to 1024, allowed is 0..1023",
        ),
        (with_column("source_sha256", lambda rows: replaced(rows, 4, b"\0" * 32)), "do not give the data digest of .export.json"),
        (lambda table: [column.slice(0, 3).combine_chunks() for column in table.columns], "is damaged (it holds 3 rows and announces 5)"),
    ],
)
def test_rows_that_are_not_as_announced_are_found(change, expected, copy):
    folder = copy("vqvae/tiny")
    rewrite(folder / SECOND, change)
    assert expected in problems(folder)


def test_codes_are_checked_codebook_by_codebook(copy):
    folder = copy("pixel/rgb")
    for path in (folder / SUMMARY, *folder.glob("*.parquet")):
        small = {"codebook_sizes": [256, 8, 256]}
        if path.name == SUMMARY:
            values = json.loads(path.read_text())
            values["job"]["layout"] |= small
            path.write_text(json.dumps(values))
            continue
        table = pq.read_table(path)
        values = json.loads(table.schema.metadata[b"tokbench"])
        values["job"]["layout"] |= small
        pq.write_table(table.replace_schema_metadata({b"tokbench": json.dumps(values)}), path)
    found = verify(folder).problems
    assert all("codes of codebook 1 up to" in problem for problem in found)
    assert len(found) == 3


def test_latents_are_held_against_their_moments(copy):
    folder = copy("vae/tiny")
    rewrite(folder / SECOND, with_column("latents", lambda rows: replaced(rows, 0, [value + 1 for value in rows[0]])))
    assert problems(folder) == f"{SECOND} announces another mean or deviation than its latents have"
    rewrite(folder / SECOND, with_column("latents", lambda rows: replaced(rows, 0, [float("nan"), *rows[0][1:]])))
    assert f"{SECOND} has latents that are not finite" in problems(folder)
    values = json.loads((folder / SUMMARY).read_text())
    values["mean"][0] += 1
    (folder / SUMMARY).write_text(json.dumps(values))
    assert "means and deviations of the shards do not give those of .export.json" in problems(folder)


def test_the_summary_is_held_against_the_shards(copy):
    folder = copy("vqvae/tiny")
    whole = json.loads((folder / SUMMARY).read_text())
    for change, expected in (
        ({"rows": [4, 5, 4]}, "the shards hold 12 rows, .export.json says 13"),
        ({"skipped": []}, "the shards name 1 skipped image, .export.json names 0 or others"),
        ({"data_digest": "0"}, "do not give the data digest"),
    ):
        (folder / SUMMARY).write_text(json.dumps(whole | change))
        assert expected in problems(folder)


def test_tokens_that_are_not_those_of_the_source_are_found(copy, pictures, tmp_path):
    folder, tokenizer = copy("vqvae/tiny"), tokbench.load("vqvae/tiny")
    every = VerifyOptions(sample=100)
    rewrite(folder / SECOND, with_column("codes", lambda rows: replaced(rows, 4, [(rows[4][0] + 1) % 1024, *rows[4][1:]])))
    found = verify(folder, tokenizer=tokenizer, data=pictures, options=every)
    assert found.problems == ("08.png encoded afresh gives other tokens",)
    assert (found.comparison.compared, found.comparison.equal) == (12, 11)
    others = shutil.copytree(pictures, tmp_path / "pictures")
    shutil.copy(others / "01.png", others / "02.png")
    (others / "05.png").write_bytes(b"no")
    (others / "06.png").unlink()
    found = problems(copy("vae/tiny"), tokenizer=tokbench.load("vae/tiny"), data=others, options=every)
    assert "1 of 12 sampled images are not in pictures, such as 06.png" in found
    assert "02.png is not the image it was when it was exported" in found
    assert "05.png of pictures can no longer be read" in found
    (tmp_path / "elsewhere").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "elsewhere" / "a.png")
    found = verify(folder, tokenizer=tokenizer, data=tmp_path / "elsewhere", options=every)
    assert "12 of 12 sampled images are not in elsewhere, such as 00.png" in found.problems
    assert (found.comparison.compared, found.comparison.equal, found.comparison.psnr) == (0, 0, None)
    for path in others.glob("*.png"):
        path.write_bytes(b"no")
    found = verify(folder, tokenizer=tokenizer, data=others, options=every)
    assert found.comparison.compared == 0
    assert found.comparison.psnr is None
    assert len(found.problems) == 12


def test_noise_is_drawn_as_it_was(pictures, tmp_path):
    tokenizer = tokbench.load("vae/tiny", config={"posterior": "sample"})
    export(tokenizer, pictures, tmp_path, protocol=replace(PROTOCOL, seed=9), options=ExportOptions(latents="float16"))
    found = verify(tmp_path, tokenizer=tokenizer, data=pictures)
    assert found.ok, found.problems
    assert found.comparison.equal == 12


def test_an_empty_shard_is_sound(pictures, tmp_path):
    some = shutil.copytree(pictures, tmp_path / "pictures")
    for name in ("00.png", "01.png", "08.png", "09.png", "11.png"):
        (some / name).write_bytes(b"no")
    tokenizer = tokbench.load("pixel/rgb")
    export(tokenizer, some, tmp_path / "out", protocol=PROTOCOL, options=ExportOptions(rows_per_shard=2))
    assert pq.read_metadata(tmp_path / "out" / "tokens-00000-of-00007.parquet").num_rows == 0
    found = verify(tmp_path / "out", tokenizer=tokenizer, data=some)
    assert (found.problems, found.shards, found.rows) == ((), 7, 7)
    mapped = TokenDataset(write_memmap(tmp_path / "out", tmp_path / "mapped").parent)
    assert [item["id"] for item in map(mapped.__getitem__, range(7))] == [TokenDataset(tmp_path / "out")[row]["id"] for row in range(7)]


class Annotated(FolderSource):
    """Pictures with labels and captions that change."""

    label_names, shift = ("even", "odd"), 0
    has_captions = True

    def label(self, index):
        return None if index == 3 else (index + self.shift) % 2

    def caption(self, index):
        if self.shift == 2:
            raise TokbenchError("bad caption")
        return None if index == 3 else f"picture {index}, {self.shift}"


def test_labels_and_captions_that_are_not_those_of_the_source_are_found(pictures, tmp_path):
    tokenizer, every = tokbench.load("pixel/rgb"), VerifyOptions(sample=100)
    source = Annotated(pictures)
    for rule in ("source", "none"):
        export(tokenizer, source, tmp_path / rule, protocol=PROTOCOL, options=ExportOptions(labels=rule))
        assert verify(tmp_path / rule, tokenizer=tokenizer, data=source, options=every).ok
    source.shift = 1
    found = verify(tmp_path / "source", tokenizer=tokenizer, data=source, options=every)
    assert "00.png has the label 0, in pictures 1" in found.problems
    assert "00.png has another caption than in pictures" in found.problems
    assert len(found.problems) == 2 * 11  # one has neither
    assert found.comparison.equal == 12
    found = verify(tmp_path / "none", tokenizer=tokenizer, data=source, options=every)
    assert len(found.problems) == 11
    source.label_names, source.shift = ("one", "two"), 2
    found = verify(tmp_path / "source", tokenizer=tokenizer, data=source, options=every)
    assert found.problems == ("labels have other names in pictures", "bad caption")


def test_an_unfinished_export_is_compared_as_far_as_it_is(copy, pictures):
    folder = copy("vqvae/tiny")
    (folder / SECOND).unlink()
    (folder / SUMMARY).unlink()
    found = verify(folder, tokenizer=tokbench.load("vqvae/tiny"), data=pictures, options=VerifyOptions(sample=100))
    assert len(found.problems) == 2
    assert (found.comparison.compared, found.comparison.equal) == (found.rows, found.rows)
    assert read_job(folder).tokenizer.name == "vqvae/tiny"
    with pytest.raises(TokbenchError, match=r"the export in .* is not finished: it has 2 shards and no \.export\.json; run it again"):
        TokenDataset(folder)
    for path in folder.glob("*.parquet"):
        path.write_bytes(b"no")
    with pytest.raises(TokbenchError, match="holds no whole shard of an export"):
        read_job(folder)


def test_a_memory_map_is_verified_through_its_shards(exported, tmp_path):
    folder = write_memmap(exported / "pixel/rgb", tmp_path / "mapped").parent
    for read in (verify, read_job):
        with pytest.raises(TokbenchError, match="mapped is a memory map, which is verified through its shards"):
            read(folder)


def test_tokenizer_and_images_are_found_by_what_the_export_says(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(pictures.parent)
    protocol = replace(PROTOCOL, samples=7, seed=3)
    tokenizer = tokbench.load("vae/tiny", config={"posterior": "sample"})
    export(tokenizer, pictures, tmp_path / "out", protocol=protocol)
    job = read_job(tmp_path / "out")
    assert tokenizer_of(job).config == tokenizer.config
    assert source_of(job).ids == FolderSource(pictures).ids
    found = verify(tmp_path / "out", tokenizer=tokenizer_of(job), data=source_of(job))
    assert found.ok
    assert found.comparison.compared == found.rows
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TokbenchError, match="its images, pictures, are not in this folder"):
        source_of(job)
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / "a.png")
    with pytest.raises(TokbenchError, match=r"\./pictures does not hold the 7 images asked for"):
        source_of(job)


@pytest.mark.parametrize("name", ["photos/train", "photos/test", "text"])
def test_images_of_the_package_are_found_by_name(name, tmp_path):
    protocol = replace(PROTOCOL, samples=3)
    export(tokbench.load("pixel/palette-512"), name, tmp_path, protocol=protocol)
    source = source_of(read_job(tmp_path))
    assert source.name == name
    assert verify(tmp_path, tokenizer=tokenizer_of(read_job(tmp_path)), data=source).comparison.equal == 3


def test_a_folder_with_the_name_of_the_text_is_not_taken_for_it(pictures, tmp_path, monkeypatch):
    shutil.copytree(pictures, tmp_path / "text")
    monkeypatch.chdir(tmp_path)
    export(tokbench.load("pixel/palette-512"), "./text", tmp_path / "out", protocol=PROTOCOL)
    assert source_of(read_job(tmp_path / "out")).ids == FolderSource(pictures).ids


def test_tokenizers_that_cannot_be_found_are_named(exported):
    job = read_job(exported / "pixel/rgb")
    named = replace(job, tokenizer=replace(job.tokenizer, name="os:system"))
    with pytest.raises(TokbenchError, match="os:system is no tokenizer of the zoo"):
        tokenizer_of(named)
    trained = replace(job, tokenizer=replace(job.tokenizer, weights_sha256="0" * 64))
    with pytest.raises(TokbenchError, match=r"pixel/rgb was another one: tokenizer\.weights_sha256 is 0000000000000000\.\.\. there"):
        tokenizer_of(trained)
    elsewhere = replace(job, preparation=replace(job.preparation, device="cuda"))
    with pytest.raises(TokbenchError, match=r"made on cuda and cpu may round otherwise \(--device cuda compares\)"):
        tokenizer_of(elsewhere)


class Missing(Tokenizer):
    """Never used."""

    def layout(self, height, width):
        raise NotImplementedError

    _encode = _decode = layout


class ReadyMade(ImageSource):
    """Crops of another size."""

    name, ready_size, ids = "crops", 64, ("00.png",)

    def read(self, index):
        raise NotImplementedError

    raw_digest = read


def test_what_cannot_be_verified_is_an_error(exported, pictures, tmp_path):
    with pytest.raises(TokbenchError, match=r"made by another tokenizer: tokenizer\.name is pixel/rgb there and Missing here"):
        verify(exported / "pixel/rgb", tokenizer=Missing(), data=pictures)
    export(tokbench.load("pixel/rgb"), pictures, tmp_path / "small", protocol=replace(PROTOCOL, size=32))
    with pytest.raises(TokbenchError, match="crops yields 64 px images, the tokens were made at 32 px"):
        verify(tmp_path / "small", tokenizer=tokbench.load("pixel/rgb"), data=ReadyMade())
    with pytest.raises(TokbenchError, match="holds no exported tokens; make some with tokbench export"):
        verify(tmp_path / "nowhere")
    (tmp_path / "a.parquet").write_bytes(b"no")
    with pytest.raises(TokbenchError, match="holds no whole shard of an export"):
        verify(tmp_path)
