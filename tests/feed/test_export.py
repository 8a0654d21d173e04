"""Exported shards: what is in them, what they do not depend on, and what is refused."""

from __future__ import annotations

import io
import json
import logging
import tracemalloc
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import tokbench
from tokbench.bench.encode import image_seed
from tokbench.bench.identity import weights_digest
from tokbench.data.folder import FolderSource
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed.export import ExportOptions, export
from tokbench.feed.job import code_type, default_rows
from tokbench.feed.moments import Moments
from tokbench.feed.summary import SUMMARY, read_summary
from tokbench.feed.verify import verify
from tokbench.files import Busy, atomic_file, folder_lock
from tokbench.images import UnreadableImage, to_float
from tokbench.layout import TokenLayout
from tokbench.ranks import Ranks, ranks_from_environment
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokenizers.normalisation import Normalisation
from tokbench.tokens import ContinuousTokens, DiscreteTokens

SIZE = 64
PROTOCOL = get_protocol(changes={"size": SIZE, "micro_batch": 4})
SMALL = get_protocol(changes={"size": 8, "micro_batch": 4})
ROWS = ExportOptions(rows_per_shard=5)


def scene(seed, size=SIZE):
    """A smooth picture with an edge in it, so that codes differ between images and within them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    waves = [np.sin(rng.uniform(1, 9) * x + rng.uniform(1, 9) * y + rng.uniform(0, 6)) for _ in range(3)]
    pixels = np.stack(waves, -1) * 100 + 127 + 40 * (x > rng.uniform(0.2, 0.8))[..., None]
    return pixels.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of 12 pictures in two folders, named so that their order by name is not their order by content."""
    root = tmp_path_factory.mktemp("data") / "pictures"
    for i in range(12):
        path = root / ("cats" if i % 3 else "birds") / f"{(i * 7) % 12:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene(i)).save(path)
    return root


class Levels(ImageSource):
    """Plain pictures of 8 px, one grey level each; some cannot be read."""

    name, ready_size = "levels", 8

    def __init__(self, count, broken=()):
        self.ids = tuple(f"{i:06d}" for i in range(count))
        self.broken = broken

    def read(self, index):
        if index in self.broken:
            raise UnreadableImage("cut off")
        return Image.new("RGB", (8, 8), (index % 251,) * 3)

    def raw_digest(self, index):
        return bytes([index % 256]) * 32


class Described(Levels):
    """The same with labels and captions; every fifth has none."""

    label_names = ("dark", "grey", "light")

    def label(self, index):
        return None if index % 5 == 0 else index % 3

    def caption(self, index):
        return None if index % 5 == 0 else f"grey level {index}, über «alles»"


@dataclass(frozen=True)
class MeansConfig:
    """Blocks of 4 px; with ``codebooks`` 0 their means are latents."""

    codebooks: int = 2
    gain: float = 1.0


class Means(Tokenizer):
    """Block means, as codes or as latents."""

    def __init__(self, config=None):
        super().__init__()
        self.config = config or MeansConfig()
        self.name = "tests/means"

    def layout(self, height, width):
        sizes = tuple(range(300, 300 + self.config.codebooks))
        return TokenLayout((height, width), (height // 4, width // 4), sizes, 0 if sizes else 3)

    def _encode(self, images, seeds):
        layout = self.layout(*images.shape[2:])
        means = torch.nn.functional.avg_pool2d(images.double(), 4).flatten(2).transpose(1, 2).contiguous() * self.config.gain
        if not layout.discrete:
            return ContinuousTokens(means.float(), layout.grid)
        return DiscreteTokens(
            ((means + 1) * 100).round().long()[..., : self.config.codebooks].contiguous(), layout.grid, layout.codebook_sizes
        )

    def _decode(self, tokens, seeds):
        raise NotImplementedError


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def table(folder):
    return pq.read_table(sorted(folder.glob("*.parquet")))


def codes(folder):
    return np.stack(table(folder).column("codes").to_pylist())


def metadata(path):
    return json.loads(pq.read_schema(path).metadata[b"tokbench"])


def test_codes_are_those_of_encode(pictures, tmp_path):
    tokenizer = tokbench.load("vqvae/tiny")
    result = export(tokenizer, pictures, tmp_path, protocol=PROTOCOL, options=replace(ROWS, rows_per_shard=8))
    assert (result.rows, result.made, result.kept, result.complete, result.skipped) == (12, 2, 0, True, ())
    rows = table(tmp_path)
    ids = sorted(path.relative_to(pictures).as_posix() for path in pictures.rglob("*.png"))
    assert rows.column("id").to_pylist() == ids
    images = to_float(
        torch.from_numpy(np.stack([np.asarray(Image.open(pictures / name)) for name in ids])).permute(0, 3, 1, 2).contiguous()
    )
    expected = torch.cat([tokenizer.encode(images[i : i + 4]).codes for i in (0, 4, 8)])
    assert codes(tmp_path).reshape(12, 256, 1).tolist() == expected.tolist()
    assert len(expected.unique()) > 20


@pytest.mark.parametrize(("ranks", "share"), [(Ranks(), ""), (Ranks(1, 2), " as rank 1 of 2")])
def test_a_second_process_does_not_make_the_same_shards(pictures, tmp_path, ranks, share):
    tokenizer, options = tokbench.load("pixel/palette-512"), replace(ROWS, ranks=ranks)
    with folder_lock(tmp_path, f"export-{ranks.rank}-of-{ranks.world_size}"):
        with pytest.raises(Busy, match=f"another process exports into .*{share}; wait for it to end, or choose another --out"):
            export(tokenizer, pictures, tmp_path, protocol=PROTOCOL, options=options)
        assert not list(tmp_path.glob("*.parquet"))
    assert export(tokenizer, pictures, tmp_path, protocol=PROTOCOL, options=options).made
    assert not list(tmp_path.glob(".*.lock"))


def test_codebooks_lie_position_major(pictures, tmp_path):
    export(tokbench.load("pixel/rgb"), pictures, tmp_path, protocol=PROTOCOL, options=ROWS)
    pixels = np.stack([np.asarray(Image.open(path)) for path in sorted(pictures.rglob("*.png"))])
    assert (codes(tmp_path).reshape(12, 64, 64, 3) == pixels).all()
    field = pq.read_schema(tmp_path / "tokens-00000-of-00003.parquet").field("codes")
    assert str(field.type) == "fixed_size_list<element: uint8>[12288]"


def test_noise_is_each_image_s_own(pictures, tmp_path):
    tokenizer = tokbench.load("vae/tiny", config={"posterior": "sample"})
    export(tokenizer, pictures, tmp_path / "a", protocol=replace(PROTOCOL, seed=5), options=ROWS)
    export(tokenizer, pictures, tmp_path / "b", protocol=replace(PROTOCOL, seed=6), options=ROWS)
    name = sorted(path.relative_to(pictures).as_posix() for path in pictures.rglob("*.png"))[7]
    image = torch.from_numpy(np.asarray(Image.open(pictures / name)).copy()).permute(2, 0, 1)[None].contiguous()
    alone = tokenizer.encode(to_float(image), seeds=[image_seed(5, name, "encode")]).latents[0]
    stored = table(tmp_path / "a").column("latents")[7].as_py()
    assert np.allclose(stored, alone.flatten(), atol=1e-4)
    assert not np.allclose(stored, table(tmp_path / "b").column("latents")[7].as_py(), atol=1e-2)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [((2,), "uint8"), ((256, 8), "uint8"), ((257,), "uint16"), ((8, 65536), "uint16"), ((65537,), "uint32"), ((2**33,), "uint64")],
)
def test_codes_take_the_smallest_type_that_holds_them(sizes, expected):
    assert code_type(sizes) == expected


def test_the_metadata_say_what_the_tokens_are(pictures, tmp_path):
    tokenizer = tokbench.load("pixel/palette-512")
    export(tokenizer, pictures, tmp_path, protocol=PROTOCOL, options=ROWS)
    shards = [metadata(tmp_path / f"tokens-0000{i}-of-00003.parquet") for i in range(3)]
    job = shards[0]["job"]
    assert job["tokenizer"] == {
        "name": "pixel/palette-512",
        "config": {"colours": 512},
        "weights_sha256": tokenizer.weights_sha256,
        "state_sha256": weights_digest(tokenizer),
        "source_sha256": None,
    }
    assert job["layout"] == {"image_size": [64, 64], "grid": [64, 64], "codebook_sizes": [512], "channels": 0}
    assert job["preparation"] == {
        "size": 64,
        "resize": "lanczos",
        "crop": "centre, whole pixels",
        "samples": None,
        "seed": 0,
        "precision": "fp32",
        "micro_batch": 4,
        "device": "cpu",
    }
    assert (job["data"]["name"], job["data"]["count"], job["dtype"], job["tokbench"]) == ("pictures", 12, "uint16", tokbench.__version__)
    assert all(shard["job"] == job for shard in shards)
    assert [(shard["shard"]["number"], shard["shards"], shard["shard"]["rows"]) for shard in shards] == [(0, 3, 5), (1, 3, 5), (2, 3, 2)]


def test_the_data_digest_is_that_of_a_bench_record(pictures, tmp_path):
    (pictures / "broken.png").write_bytes(b"no")
    try:
        export(tokbench.load("pixel/rgb"), pictures, tmp_path, protocol=PROTOCOL, options=ROWS)
        record = tokbench.evaluate(tokbench.load("pixel/rgb"), pictures, metrics=("psnr",), protocol=PROTOCOL)
    finally:
        (pictures / "broken.png").unlink()
    assert read_summary(tmp_path).data_digest == record.data.digest
    assert read_summary(tmp_path).skipped == record.data.skipped


@pytest.mark.parametrize("name", ["pixel/palette-512", "vqvae/tiny"])
def test_bytes_do_not_depend_on_how_far_it_reads_ahead(name, pictures, tmp_path):
    tokenizer = tokbench.load(name)
    for batch_size in (64, 1, 7):
        export(tokenizer, pictures, tmp_path / str(batch_size), protocol=PROTOCOL, options=replace(ROWS, batch_size=batch_size))
    assert files(tmp_path / "64") == files(tmp_path / "1") == files(tmp_path / "7")
    assert len(files(tmp_path / "64")) == 4


def test_rows_do_not_depend_on_the_size_of_shards(pictures, tmp_path):
    tokenizer = tokbench.load("vqvae/tiny")
    for rows in (1, 5, 100):
        export(tokenizer, pictures, tmp_path / str(rows), protocol=PROTOCOL, options=ExportOptions(rows_per_shard=rows))
    assert table(tmp_path / "1").equals(table(tmp_path / "5"))
    assert table(tmp_path / "1").equals(table(tmp_path / "100"))


def record(calls, done, total):
    calls.append((done, total))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_ranks_make_what_one_makes(order, tmp_path, monkeypatch):
    source = Described(23, broken=(3, 11, 12))
    export(Means(), source, tmp_path / "one", protocol=SMALL, options=ROWS)
    for done, rank in enumerate(order):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        calls = []
        options = replace(ROWS, progress=partial(record, calls))
        result = export(Means(), source, tmp_path / "two", protocol=SMALL, options=options)
        assert result.complete == (done == 1)
        assert (result.made, result.rows, len(result.skipped)) == [(3, 10, 3), (2, 10, 0)][rank]
        assert calls[-1] == [(13, 13), (10, 10)][rank]
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_an_export_goes_on_with_another_number_of_ranks(tmp_path):
    for world_size in (3, 1):
        options = replace(ROWS, ranks=Ranks(0, world_size))
        result = export(Means(), Levels(23), tmp_path / "changed", protocol=SMALL, options=options)
    assert (result.made, result.kept, result.complete) == (3, 2, True)
    export(Means(), Levels(23), tmp_path / "one", protocol=SMALL, options=ROWS)
    assert files(tmp_path / "one") == files(tmp_path / "changed")


def test_a_rank_without_work_is_told(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        result = export(Means(), Levels(4), tmp_path, protocol=SMALL, options=replace(ROWS, ranks=Ranks(1, 2)))
    assert (result.made, result.complete) == (0, False)
    assert "rank 1 has nothing to do: there is only 1 shard; lower rows_per_shard" in caplog.text


@pytest.mark.parametrize("given", [{"RANK": "1"}, {"WORLD_SIZE": "2"}, {"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "a", "WORLD_SIZE": "2"}])
def test_ranks_that_do_not_fit_are_refused(given):
    with pytest.raises(TokbenchError, match=r"RANK=.* and WORLD_SIZE=.* torchrun"):
        ranks_from_environment(given)
    assert ranks_from_environment({}) == Ranks(0, 1)
    assert ranks_from_environment({"RANK": "1", "WORLD_SIZE": "4"}) == Ranks(1, 4)


def test_a_finished_export_is_left_alone(pictures, tmp_path):
    tokenizer = tokbench.load("pixel/palette-512")
    export(tokenizer, pictures, tmp_path, protocol=PROTOCOL, options=ROWS)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    result = export(tokenizer, pictures, tmp_path, protocol=PROTOCOL, options=ROWS)
    assert (result.made, result.kept, result.rows, result.complete) == (0, 3, 12, True)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_missing_shard_is_made_again(tmp_path):
    export(Means(), Levels(12), tmp_path, protocol=SMALL, options=ROWS)
    whole = files(tmp_path)
    (tmp_path / "tokens-00001-of-00003.parquet").unlink()
    assert export(Means(), Levels(12), tmp_path, protocol=SMALL, options=ROWS).made == 1
    assert files(tmp_path) == whole


MIXED = {
    "tokenizer.config.gain is 1.0 there and 0.5 here": {"tokenizer": Means(MeansConfig(gain=0.5))},
    "layout.codebook_sizes is 300,301 there and 300,301,302 here": {"tokenizer": Means(MeansConfig(codebooks=3))},
    "data.count is 12 there and 13 here": {"source": Levels(13)},
    "preparation.samples is None there and 7 here": {"protocol": replace(SMALL, samples=7)},
    "preparation.seed is 0 there and 3 here": {"protocol": replace(SMALL, seed=3)},
    "preparation.micro_batch is 4 there and 5 here": {"protocol": replace(SMALL, micro_batch=5)},
    "preparation.precision is fp32 there and bf16 here": {"protocol": replace(SMALL, precision="bf16")},
    "rows_per_shard is 5 there and 6 here": {"options": ExportOptions(rows_per_shard=6)},
    "labels is none there and source here": {"source": Described(12)},
}


@pytest.mark.parametrize("expected", MIXED)
@pytest.mark.parametrize("state", ["finished", "begun", "summary"])
def test_exports_never_mix(expected, state, tmp_path):
    export(Means(), Levels(12), tmp_path, protocol=SMALL, options=ROWS)
    left = {"finished": None, "begun": "tokens-00001-of-00003.parquet", "summary": SUMMARY}[state]
    for path in tmp_path.iterdir():
        if left not in (None, path.name):
            path.unlink()
    before = files(tmp_path)
    given = {"tokenizer": Means(), "source": Levels(12), "protocol": SMALL, "options": ROWS} | MIXED[expected]
    with pytest.raises(TokbenchError, match="holds tokens of another export") as caught:
        export(given["tokenizer"], given["source"], tmp_path, protocol=given["protocol"], options=given["options"])
    assert expected in str(caught.value)
    assert "choose another --out" in str(caught.value)
    assert files(tmp_path) == before


def test_latents_of_another_type_never_mix(tmp_path):
    tokenizer = Means(MeansConfig(codebooks=0))
    export(tokenizer, Levels(6), tmp_path, protocol=SMALL)
    with pytest.raises(TokbenchError, match="dtype is float32 there and float16 here"):
        export(tokenizer, Levels(6), tmp_path, protocol=SMALL, options=ExportOptions(latents="float16"))


def test_weights_in_memory_are_part_of_the_identity(tmp_path, pictures):
    tokenizer = tokbench.load("pixel/palette-512")
    export(tokenizer, pictures, tmp_path, protocol=PROTOCOL, options=ROWS)
    tokenizer.clusters += 0.01
    with pytest.raises(TokbenchError, match=r"tokenizer\.state_sha256 is"):
        export(tokenizer, pictures, tmp_path, protocol=PROTOCOL, options=ROWS)


def test_exports_of_the_first_schema_are_gone_on_with_and_verified(tmp_path, pictures):
    from tokbench.feed.audit import read_job
    from tokbench.feed.verify import verify

    tokenizer, job = tokbench.load("pixel/palette-512"), {}
    export(tokenizer, pictures, tmp_path, protocol=PROTOCOL, options=ROWS)
    for path in sorted(tmp_path.glob("*.parquet")):
        table = pq.read_table(path)
        values = json.loads(table.schema.metadata[b"tokbench"])
        job = values["job"]
        del job["tokenizer"]["source_sha256"]
        job["tokenizer"]["state_sha256"], job["schema"] = None, 1
        pq.write_table(table.replace_schema_metadata({b"tokbench": json.dumps(values)}), path)
    (tmp_path / ".export.json").unlink()
    max(tmp_path.glob("*.parquet")).unlink()
    result = export(tokenizer, pictures, tmp_path, protocol=PROTOCOL, options=ROWS)
    assert (result.made, result.kept, result.complete) == (1, 2, True)
    assert read_job(tmp_path).schema == 1
    found = verify(tmp_path, tokenizer=tokenizer, data=pictures)
    assert not [problem for problem in found.problems if "columns" not in problem], found.problems
    other = tokbench.load("pixel/palette-512")
    other.weights_sha256 = "0" * 64
    with pytest.raises(TokbenchError, match=r"tokenizer\.weights_sha256 is"):
        export(other, pictures, tmp_path, protocol=PROTOCOL, options=ROWS)


def test_images_that_changed_under_their_names_are_noticed(tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    for i in range(6):
        Image.fromarray(scene(i, 8)).save(root / f"{i}.png")
    options = replace(ROWS, rows_per_shard=2)
    export(Means(), root, tmp_path / "out", protocol=SMALL, options=replace(options, ranks=Ranks(1, 3)))
    Image.fromarray(scene(100, 8)).save(root / "2.png")
    with pytest.raises(TokbenchError, match=r"2\.png of images is not the image it was when .*tokens-00001-of-00003"):
        export(Means(), root, tmp_path / "out", protocol=SMALL, options=options)
    Image.fromarray(scene(2, 8)).save(root / "2.png")
    Image.fromarray(scene(100, 8)).save(root / "3.png")  # not the first of its shard, but touched since
    with pytest.raises(TokbenchError, match=r"3\.png of images is not the image it was"):
        export(Means(), root, tmp_path / "out", protocol=SMALL, options=options)
    (root / "2.png").write_bytes(b"no")
    with pytest.raises(TokbenchError, match=r"2\.png of images is not the image it was"):
        export(Means(), root, tmp_path / "out", protocol=SMALL, options=options)


class Redescribed(Described):
    """The same images with other labels, captions or both."""

    def __init__(self, count, labels=0, captions=""):
        super().__init__(count)
        self.labels, self.captions = labels, captions

    def label(self, index):
        label = super().label(index)
        return None if label is None else (label + self.labels) % 3

    def caption(self, index):
        return f"{super().caption(index)}{self.captions}"


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        ({"labels": 1}, "has another label than when"),
        ({"captions": "!"}, "has another caption than when"),
        ({"labels": 1, "captions": "!"}, "has another label and caption than when"),
    ],
)
def test_labels_and_captions_that_changed_are_noticed(other, problem, tmp_path):
    export(Means(), Redescribed(6), tmp_path, protocol=SMALL, options=replace(ROWS, rows_per_shard=2))
    (tmp_path / "tokens-00000-of-00003.parquet").unlink()
    before = files(tmp_path)
    with pytest.raises(TokbenchError, match=f"000002 of levels {problem} .*tokens-00001-of-00003.*; choose another --out"):
        export(Means(), Redescribed(6, **other), tmp_path, protocol=SMALL, options=replace(ROWS, rows_per_shard=2))
    assert files(tmp_path) == before
    assert export(Means(), Redescribed(6), tmp_path, protocol=SMALL, options=replace(ROWS, rows_per_shard=2)).made == 1


def test_a_label_or_caption_of_any_image_of_a_shard_that_is_kept_counts(tmp_path):
    class LastOtherwise(Described):
        def caption(self, index):
            return "another" if index == len(self) - 1 else super().caption(index)

    export(Means(), Described(7), tmp_path, protocol=SMALL, options=ROWS)
    with pytest.raises(TokbenchError, match=r"^\S+6\S* of \S+ has another caption than when"):
        export(Means(), LastOtherwise(7), tmp_path, protocol=SMALL, options=ROWS)


def test_foreign_and_damaged_files_are_refused(tmp_path):
    import pyarrow as pa

    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(TokbenchError, match=r"other\.parquet was not written by tokbench export; choose another --out"):
        export(Means(), Levels(6), tmp_path, protocol=SMALL)
    (tmp_path / "other.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(TokbenchError, match=r"other\.parquet is damaged \(.*\); delete it"):
        export(Means(), Levels(6), tmp_path, protocol=SMALL)
    (tmp_path / "other.parquet").unlink()
    export(Means(), Levels(6), tmp_path, protocol=SMALL)
    (tmp_path / "tokens-00000-of-00001.parquet").rename(tmp_path / "renamed.parquet")
    with pytest.raises(TokbenchError, match=r"renamed\.parquet is shard 0, which is called tokens-00000-of-00001"):
        export(Means(), Levels(6), tmp_path, protocol=SMALL)


def test_shards_of_a_newer_tokbench_are_refused(tmp_path):
    export(Means(), Levels(6), tmp_path, protocol=SMALL)
    path = tmp_path / SUMMARY
    path.write_text(path.read_text().replace('"schema": 2', '"schema": 3'))
    with pytest.raises(TokbenchError, match="has schema 3, this tokbench reads up to 2"):
        export(Means(), Levels(6), tmp_path, protocol=SMALL)


def test_broken_images_are_skipped_counted_and_named(tmp_path, caplog):
    result = export(Means(), Levels(12, broken=(0, 6)), tmp_path / "out", protocol=SMALL, options=ROWS)
    assert (result.rows, [(item.id, item.reason) for item in result.skipped]) == (10, [("000000", "cut off"), ("000006", "cut off")])
    summary = read_summary(tmp_path / "out")
    assert (summary.rows, summary.count, summary.skipped) == ((4, 4, 2), 10, result.skipped)
    assert metadata(tmp_path / "out" / "tokens-00001-of-00003.parquet")["shard"]["skipped"] == [{"id": "000006", "reason": "cut off"}]
    assert "1 of 5 images cannot be read (the first: 000006: cut off)" in caplog.text
    assert table(tmp_path / "out").column("id").to_pylist() == [f"{i:06d}" for i in range(12) if i not in (0, 6)]
    with pytest.raises(TokbenchError, match=r"000006 cannot be read \(cut off\); leave --strict out"):
        export(Means(), Levels(12, broken=(6,)), tmp_path / "strict", protocol=SMALL, options=replace(ROWS, strict=True))
    assert [path.name for path in (tmp_path / "strict").iterdir()] == ["tokens-00000-of-00003.parquet"]


def test_a_shard_may_be_empty_but_not_all(tmp_path):
    export(Means(), Levels(6, broken=(2, 3)), tmp_path / "some", protocol=SMALL, options=ExportOptions(rows_per_shard=2))
    assert read_summary(tmp_path / "some").rows == (2, 0, 2)
    assert table(tmp_path / "some").num_rows == 4
    again = export(Means(), Levels(6, broken=(2, 3)), tmp_path / "some", protocol=SMALL, options=ExportOptions(rows_per_shard=2))
    assert (again.kept, len(again.skipped)) == (3, 2)
    for rows in (2, 6):
        with pytest.raises(TokbenchError, match=r"none of the 6 images of levels can be read \(the first: 000000: cut off\)"):
            export(Means(), Levels(6, range(6)), tmp_path / f"none{rows}", protocol=SMALL, options=ExportOptions(rows_per_shard=rows))
        assert not (tmp_path / f"none{rows}" / SUMMARY).exists()


def test_labels_and_captions_come_from_the_source(tmp_path):
    export(Means(), Described(12), tmp_path / "with", protocol=SMALL, options=ROWS)
    rows = table(tmp_path / "with")
    assert rows.column_names == ["id", "label", "caption", "codes", "source_sha256"]
    assert rows.column("label").to_pylist() == [None, 1, 2, 0, 1, None, 0, 1, 2, 0, None, 2]
    assert rows.column("caption").to_pylist()[:2] == [None, "grey level 1, über «alles»"]
    assert read_summary(tmp_path / "with").job.label_names == ("dark", "grey", "light")
    export(Means(), Described(12), tmp_path / "without", protocol=SMALL, options=replace(ROWS, labels="none"))
    assert table(tmp_path / "without").column_names == ["id", "caption", "codes", "source_sha256"]


def test_labels_are_folders_if_asked_for(pictures, tmp_path):
    tokenizer = tokbench.load("pixel/palette-512")
    protocol = replace(PROTOCOL, samples=5, seed=1)
    export(tokenizer, pictures, tmp_path / "out", protocol=protocol, options=replace(ROWS, labels="folder"))
    rows = table(tmp_path / "out").to_pylist()
    assert len(rows) == 5
    assert all(row["id"].startswith("cats/") and row["label"] == 1 for row in rows)  # numbered over all images, chosen or not
    assert read_summary(tmp_path / "out").job.label_names == ("birds", "cats")
    with pytest.raises(TokbenchError, match=r"\d\d\.png of birds lies in no folder"):
        export(tokenizer, pictures / "birds", tmp_path / "flat", protocol=PROTOCOL, options=replace(ROWS, labels="folder"))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_latents_come_with_mean_and_deviation_of_the_whole_set(dtype, pictures, tmp_path):
    tokenizer = tokbench.load("vae/tiny")
    for rows in (5, 100):
        export(tokenizer, pictures, tmp_path / str(rows), protocol=PROTOCOL, options=ExportOptions(rows_per_shard=rows, latents=dtype))
    column = table(tmp_path / "5").column("latents")
    assert str(column.type.value_type) == {"float32": "float", "float16": "halffloat"}[dtype]
    latents = column.combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, 4).astype(np.float64)
    for rows in (5, 100):
        summary = read_summary(tmp_path / str(rows))
        assert np.allclose(summary.mean, latents.mean(0), rtol=1e-12)
        assert np.allclose(summary.std, latents.std(0), rtol=1e-12)


def test_latents_as_diffusion_models_read_them(pictures, tmp_path):
    """Stored normalised, recorded in every shard and beside the statistics, and decoded as they were before."""
    tokenizer = tokbench.load("vae/tiny")
    tokenizer.normalisation = Normalisation((0.5, 0.0, -1.0, 0.25), (2.0, 1.0, 4.0, 0.5), scale=1.5)
    for how in ("raw", "normalised"):
        options = ExportOptions(latent_scale=how, formats={"latents": tmp_path / f"{how}-files"})
        export(tokenizer, pictures, tmp_path / how, protocol=PROTOCOL, options=options)
    raw, normalised = (
        torch.tensor(table(tmp_path / how).column("latents").to_pylist()).unflatten(1, (-1, 4)) for how in ("raw", "normalised")
    )
    torch.testing.assert_close(normalised, tokenizer.normalisation.applied(raw))
    assert [read_summary(tmp_path / how).job.normalisation for how in ("raw", "normalised")] == [None, tokenizer.normalisation]
    about = json.loads((tmp_path / "normalised-files" / "statistics.json").read_text())
    assert about["normalisation"] == {"mean": [0.5, 0.0, -1.0, 0.25], "std": [2.0, 1.0, 4.0, 0.5], "scale": 1.5}
    assert "normalisation" not in str(metadata(next((tmp_path / "raw").glob("*.parquet"))))
    checked = [verify(tmp_path / how, tokenizer=tokenizer, data=pictures) for how in ("raw", "normalised")]
    assert all(one.ok for one in checked)
    assert checked[1].comparison.psnr == pytest.approx(checked[0].comparison.psnr, abs=0.01)


@pytest.mark.parametrize(
    ("name", "config", "problem"),
    [
        ("vqvae/tiny", {}, "vqvae/tiny makes codes, which are not scaled; leave --latent-scale normalised out"),
        ("vae/tiny", {}, "nothing is known of how to normalise latents of vae/tiny, or its configuration does so; use --latent-scale raw"),
    ],
)
def test_latents_that_nobody_knows_to_normalise(name, config, problem, pictures, tmp_path):
    with pytest.raises(TokbenchError, match=problem):
        export(tokbench.load(name, config=config), pictures, tmp_path, protocol=PROTOCOL, options=ExportOptions(latent_scale="normalised"))


@given(st.lists(st.lists(st.floats(-1e3, 1e3), min_size=0, max_size=5), min_size=1, max_size=5))
def test_moments_of_parts_are_those_of_the_whole(parts):
    arrays = [np.array(part, np.float64).reshape(-1, 1) for part in parts]
    total = sum((Moments.of(array) for array in arrays), Moments.of(np.empty((0, 1))))
    whole = np.concatenate(arrays)
    assert total.count == len(whole)
    if len(whole):
        assert total.mean == pytest.approx([whole.mean()], abs=1e-9)
        assert total.std == pytest.approx([whole.std()], abs=1e-6)


def test_latents_that_cannot_be_stored_are_refused(tmp_path):
    big, nan = Means(MeansConfig(codebooks=0, gain=1e5)), Means(MeansConfig(codebooks=0, gain=float("nan")))
    with pytest.raises(TokbenchError, match="latents reach 100000, more than float16 holds; store them as float32"):
        export(big, Levels(6), tmp_path / "big", protocol=SMALL, options=ExportOptions(latents="float16"))
    with pytest.raises(TokbenchError, match="tests/means encoded latents that are not finite"):
        export(nan, Levels(6), tmp_path / "nan", protocol=SMALL)
    assert not (tmp_path / "big").exists()


class Lying(Means):
    """Announces one grid and encodes another."""

    def layout(self, height, width):
        return replace(super().layout(height, width), grid=(1, 4))

    def _encode(self, images, seeds):
        tokens = super()._encode(images, seeds)
        return DiscreteTokens(tokens.codes, (2, 2), tokens.codebook_sizes)


def test_tokens_that_are_not_as_announced_are_refused(tmp_path):
    with pytest.raises(TokbenchError, match=r"encoded a grid \(2, 2\) .* its layout announces \(1, 4\)"):
        export(Lying(), Levels(6), tmp_path, protocol=SMALL)


def test_sources_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(TokbenchError, match="levels yields 8 px images, the protocol asks for 64"):
        export(Means(), Levels(6), tmp_path, protocol=PROTOCOL)
    twice = Levels(6)
    twice.ids = (*twice.ids[:5], twice.ids[0])
    with pytest.raises(TokbenchError, match="levels has two images with the id 000000"):
        export(Means(), twice, tmp_path, protocol=SMALL)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"labels": "guess"}, "labels must be one of source, folder, none, got 'guess'"),
        ({"latents": "int8"}, "latents must be float32 or float16, got 'int8'"),
    ],
)
def test_options_that_are_none_are_value_errors(given, problem, unchecked_types):
    with pytest.raises(ValueError, match=problem):
        ExportOptions(**given)


@pytest.mark.parametrize("given", [{"rows_per_shard": 0}, {"batch_size": 0}])
def test_options_out_of_range_are_value_errors(given):
    with pytest.raises(ValueError, match="at least 1, got 0"):
        ExportOptions(**given)
    with pytest.raises(ValueError, match="rank 2 of 2"):
        Ranks(2, 2)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TokbenchError, match=r"cannot write to .*file/out \(Not a directory\); choose another place") as caught:
        export(Means(), Levels(6), tmp_path / "file" / "out", protocol=SMALL)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_disk_leaves_nothing_half_written(step, tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"tokbench.files.os.{step}", fail)
    with pytest.raises(TokbenchError, match=r"cannot write to .* \(No space left on device\); make room"):
        export(Means(), Levels(12), tmp_path, protocol=SMALL, options=ROWS)
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    assert export(Means(), Levels(12), tmp_path, protocol=SMALL, options=ROWS).complete


def test_two_processes_do_not_write_one_file(tmp_path):
    path = tmp_path / "file"
    with atomic_file(path) as file:
        file.write(b"first")
        with pytest.raises(TokbenchError, match="another process is writing"), atomic_file(path):
            pass
    assert path.read_bytes() == b"first"
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_abandoned_drafts_of_other_exports_are_removed(tmp_path):
    (tmp_path / ".tokens-00003-of-00007.parquet.partial").write_bytes(b"half")
    (tmp_path / ".tokens-00001-of-00003.parquet.partial").write_bytes(b"half")
    export(Means(), Levels(12), tmp_path, protocol=SMALL, options=ROWS)
    assert sorted(path.name for path in tmp_path.iterdir()) == [SUMMARY, *(f"tokens-0000{i}-of-00003.parquet" for i in range(3))]


class Wide(Means):
    """4096 codes an image, whatever its size."""

    def layout(self, height, width):
        return TokenLayout((height, width), (4096,), (1000,))

    def _encode(self, images, seeds):
        return DiscreteTokens((images.mean((1, 2, 3)).long() + 1)[:, None, None].expand(-1, 4096, 1), (4096,), (1000,))


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    def peak(count):
        tracemalloc.start()
        try:
            export(Wide(), Levels(count), tmp_path / str(count), protocol=SMALL, options=ExportOptions(rows_per_shard=32))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(32)  # imports and caches
    assert peak(512) - peak(64) < 300_000  # the tokens of 448 more images are 3.7 MB


def test_shards_are_bounded_in_bytes():
    assert default_rows(256, "uint16") == 4096
    assert default_rows(64 * 64 * 3, "float32") == 1365
    assert default_rows(2**24, "float32") == 16


def test_a_folder_of_any_images_can_be_exported(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(scene(1, 40)[:, :30]).save(buffer, "JPEG")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(buffer.getvalue())
    result = export(Means(), FolderSource(tmp_path / "in"), tmp_path / "out", protocol=replace(SMALL, size=32))
    assert result.rows == 1
    assert read_summary(tmp_path / "out").enlarged == 1
