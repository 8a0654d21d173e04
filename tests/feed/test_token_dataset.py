"""Random access to exported tokens, in workers too, and orders that depend on seed and epoch alone."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed import rows as rows_module
from tokbench.feed.dataset import TokenDataset
from tokbench.feed.export import ExportOptions, export
from tokbench.feed.memmap import write_memmap
from tokbench.feed.sampler import TokenSampler
from tokbench.images import UnreadableImage
from tokbench.layout import TokenLayout
from tokbench.ranks import Ranks
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers.base import Tokenizer
from tokbench.tokens import ContinuousTokens, DiscreteTokens

PROTOCOL = get_protocol(changes={"size": 8, "micro_batch": 16})
COUNT, BROKEN = 110, (40, 41)


class Levels(ImageSource):
    """Plain pictures whose red level is their number; two are broken."""

    name, ready_size, ids = "levels", 8, tuple(f"{i:03d}" for i in range(COUNT))

    def read(self, index):
        if index in BROKEN:
            raise UnreadableImage("broken")
        return Image.new("RGB", (8, 8), (index, 0, 0))

    def raw_digest(self, index):
        return bytes(32)


@dataclass(frozen=True)
class LongConfig:
    """Nothing to change."""


class Long(Tokenizer):
    """So many codes an image that a row group holds 16 rows: position p of image i is ``i + p`` modulo 256."""

    def __init__(self):
        super().__init__()
        self.config, self.name = LongConfig(), "tests/long"

    def layout(self, height, width):
        return TokenLayout((height, width), (256, 128), (256, 256))

    def _encode(self, images, seeds):
        levels = ((images[:, 0, 0, 0] + 1) * 127.5).round().long()
        codes = (levels[:, None, None] + torch.arange(256 * 256).reshape(1, -1, 2)) % 256
        return DiscreteTokens(codes, (256, 128), (256, 256))

    def _decode(self, tokens, seeds):
        raise NotImplementedError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three shards of 45, 45 and 20 images asked for, in row groups of 16."""
    root = tmp_path_factory.mktemp("tokens")
    export(Long(), Levels(), root / "shards", protocol=PROTOCOL, options=ExportOptions(rows_per_shard=45))
    write_memmap(root / "shards", root / "mapped")
    return root


@pytest.fixture(params=["shards", "mapped"])
def tokens(request, folder):
    return TokenDataset(folder / request.param, cached_blocks=2)


NUMBERS = [i for i in range(COUNT) if i not in BROKEN]


def assert_is(item, row):
    number = NUMBERS[row]
    assert item["id"] == f"{number:03d}"
    assert item["codes"].dtype == torch.int64
    assert item["codes"].flatten().tolist() == [(number + p) % 256 for p in range(256 * 256)]


def test_any_row_comes_at_any_time(tokens):
    assert len(tokens) == 108
    for row in (50, 3, 107, 42, 43, 44, 0, 15, 16, np.int64(91), torch.tensor(60)):
        assert_is(tokens[row], int(row))
    assert_is(tokens[-1], 107)
    assert_is(tokens[-108], 0)
    assert set(tokens[5]) == {"id", "codes", "grid"}
    assert tokens[5]["codes"].shape == (256 * 128, 2)
    assert tokens[5]["grid"] == tokens.grid == (256, 128)
    assert (tokens.codebook_sizes, tokens.label_names, tokens.job.tokenizer.name) == ((256, 256), (), "tests/long")
    for row in (108, -109):
        with pytest.raises(IndexError, match="of 108"):
            tokens[row]
    with pytest.raises(TypeError):
        tokens[1.0]


def test_blocks_are_runs_of_rows_without_gaps(folder):
    blocks = TokenDataset(folder / "shards").blocks
    assert [len(block) for block in blocks] == [16, 16, 11, 16, 16, 13, 16, 4]
    assert [row for block in blocks for row in block] == list(range(108))
    assert TokenDataset(folder / "mapped").blocks == [range(108)]


def test_items_are_their_own(tokens):
    before = tokens[7]["codes"].clone()
    tokens[7]["codes"].zero_()
    assert torch.equal(tokens[7]["codes"], before)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_with_workers_gets_every_row_once(workers, tokens):
    tokens[0]  # what is open here must not disturb the workers
    sampler = TokenSampler(tokens, seed=0)
    seen = []
    for batch in DataLoader(tokens, batch_size=10, sampler=sampler, num_workers=workers):
        assert batch["codes"].shape[1:] == (256 * 128, 2)
        assert batch["codes"][:, 0, 0].tolist() == [int(name) for name in batch["id"]]
        seen += batch["id"]
    assert sorted(seen) == [f"{number:03d}" for number in NUMBERS]
    assert seen == [f"{NUMBERS[row]:03d}" for row in sampler]


def test_a_data_set_travels_to_spawned_workers(tokens):
    tokens[0]
    data = pickle.dumps(tokens)
    assert len(data) < 20_000
    assert_is(pickle.loads(data)[99], 99)


def test_an_ordered_pass_and_a_shuffled_one_decode_every_block_once(folder, monkeypatch):
    calls = []
    true = rows_module.read_group
    monkeypatch.setattr(
        rows_module, "read_group", lambda path, group, columns: (calls.append((path.name, group)), true(path, group, columns))[1]
    )
    tokens = TokenDataset(folder / "shards", cached_blocks=3)
    assert not calls
    for order in (range(108), TokenSampler(tokens, seed=4), TokenSampler(tokens, seed=4, epoch=1)):
        calls.clear()
        for row in order:
            tokens[row]
        assert len(calls) >= 5  # of 8; a block may still be there from the pass before
        assert len(calls) == len(set(calls))


def test_no_more_blocks_are_kept_than_asked_for(folder):
    tokens = TokenDataset(folder / "shards", cached_blocks=2)
    for row in range(108):
        tokens[row]
    assert tokens._rows._block.cache_info().currsize == 2


def order(tokens, **given):
    return list(TokenSampler(tokens, **({"seed": 3} | given)))


def test_the_order_depends_on_seed_and_epoch_alone(tokens, folder):
    first = order(tokens)
    torch.manual_seed(5)
    np.random.seed(5)
    assert order(tokens) == order(TokenDataset(tokens_folder(folder, tokens), cached_blocks=2)) == first
    assert sorted(first) == list(range(108))
    assert first != list(range(108))
    assert len({tuple(order(tokens, seed=seed, epoch=epoch)) for seed in range(3) for epoch in range(3)}) == 9
    sampler = TokenSampler(tokens, seed=3)
    sampler.set_epoch(2)
    assert list(sampler) == order(tokens, epoch=2)


def tokens_folder(folder, tokens):
    return folder / ("shards" if len(tokens.blocks) > 1 else "mapped")


def test_all_rows_mix_if_all_blocks_do(folder):
    tokens = TokenDataset(folder / "shards")
    far = np.abs(np.array(order(tokens, blocks_at_once=100)) - np.arange(108)).mean()
    assert 28 < far < 44  # a third of 108 for an even shuffle
    within = order(tokens, blocks_at_once=1)
    starts = {block.start: block for block in tokens.blocks}
    place = 0
    while place < 108:
        block = next(block for block in starts.values() if within[place] in block)
        assert sorted(within[place : place + len(block)]) == list(block)
        place += len(block)


@given(position=st.integers(0, 54), epoch=st.integers(0, 3), world_size=st.sampled_from([1, 2]))
def test_an_epoch_goes_on_from_any_position(folder, position, epoch, world_size):
    tokens = TokenDataset(folder / "shards", cached_blocks=2)
    for rank in range(world_size):
        whole = order(tokens, epoch=epoch, ranks=Ranks(rank, world_size))
        rest = TokenSampler(tokens, seed=3, epoch=epoch, position=position, ranks=Ranks(rank, world_size))
        assert len(rest) == len(whole) - position
        assert list(rest) == whole[position:]


@pytest.mark.parametrize("world_size", [1, 2, 5, 16])
def test_ranks_share_the_rows_evenly(world_size, tokens):
    whole = order(tokens)
    parts = [order(tokens, ranks=Ranks(rank, world_size)) for rank in range(world_size)]
    assert {len(part) for part in parts} == {108 // world_size}
    assert [row for together in zip(*parts, strict=True) for row in together] == whole[: 108 // world_size * world_size]


def test_places_that_do_not_exist_are_refused(tokens):
    for places in ({"position": 109}, {"position": -1}, {"epoch": -1}, {"position": 55, "ranks": Ranks(0, 2)}):
        with pytest.raises(ValueError, match="epoch must not be negative and position 0 to"):
            TokenSampler(tokens, seed=0, **places)
    with pytest.raises(ValueError, match="blocks_at_once must be at least 1"):
        TokenSampler(tokens, seed=0, blocks_at_once=0)
    assert list(TokenSampler(tokens, seed=0, position=108)) == []


class Channels(Long):
    """The level and its negative, as latents."""

    def layout(self, height, width):
        return TokenLayout((height, width), (3,), channels=2)

    def _encode(self, images, seeds):
        levels = images[:, 0, 0, 0, None, None]
        return ContinuousTokens(torch.cat([levels, -levels], -1).expand(-1, 3, 2).contiguous(), (3,))


@pytest.mark.parametrize("form", ["shards", "mapped"])
def test_latents_come_with_what_normalises_them(form, tmp_path):
    export(Channels(), Levels(), tmp_path / "shards", protocol=PROTOCOL, options=ExportOptions(rows_per_shard=45, latents="float16"))
    write_memmap(tmp_path / "shards", tmp_path / "mapped")
    tokens = TokenDataset(tmp_path / form)
    latents = torch.stack([tokens[row]["latents"] for row in range(108)])
    assert (latents.dtype, latents.shape, tokens[0]["grid"]) == (torch.float32, (108, 3, 2), (3,))
    normal = (latents - tokens.mean) / tokens.std
    assert normal.mean((0, 1)).abs().max() < 1e-5
    assert (normal.std((0, 1), correction=0) - 1).abs().max() < 1e-5


def test_an_export_that_is_not_whole_is_not_read(tmp_path):
    options = ExportOptions(rows_per_shard=45, ranks=Ranks(0, 2))
    export(Channels(), Levels(), tmp_path / "out", protocol=PROTOCOL, options=options)
    with pytest.raises(TokbenchError, match=r"the export in .* is not finished: it has 2 shards and no \.export\.json; run it again"):
        TokenDataset(tmp_path / "out")
    with pytest.raises(TokbenchError, match="holds no exported tokens; make some with tokbench export"):
        TokenDataset(tmp_path / "nowhere")
    export(Channels(), Levels(), tmp_path / "out", protocol=PROTOCOL, options=ExportOptions(rows_per_shard=45))
    tokens = TokenDataset(str(tmp_path / "out"))
    (tmp_path / "out" / "tokens-00001-of-00003.parquet").unlink()
    with pytest.raises(TokbenchError, match=r"tokens-00001-of-00003\.parquet is missing"):
        tokens[50]
    with pytest.raises(TokbenchError, match=r"tokens-00001-of-00003\.parquet is missing"):
        TokenDataset(tmp_path / "out")
    with pytest.raises(ValueError, match="cached_blocks must be at least 1, got 0"):
        TokenDataset(tmp_path / "out", cached_blocks=0)
