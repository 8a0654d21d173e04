"""Statistics of latents, held to numpy and scipy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch

from tokbench.feed.dataset import TokenDataset
from tokbench.feed.export import ExportOptions, export
from tokbench.feed.formats.latents import LatentStatistics, write_statistics
from tokbench.feed.predict.results import Results
from tokbench.feed.predict.statistics import Sums, measure_statistics
from tokbench.ranks import Ranks
from tokbench.records.intervals import group_jackknife

GROUPS = tuple(f"{place // 2}" for place in range(14))


def values() -> torch.Tensor:
    """Skewed channels that hang together, one far from 0, one that never changes."""
    rng = np.random.default_rng(0)
    base = rng.gamma(2.0, size=(14, 9, 1))
    other = 1000 + 0.3 * base + rng.normal(size=(14, 9, 1))
    return torch.from_numpy(np.concatenate([base, other, -(base**2), np.full((14, 9, 1), 7.0)], axis=2)).float()


def slow(rows: np.ndarray) -> dict[str, float]:
    flat = rows.reshape(-1, rows.shape[2]).astype(np.float64)
    apart = np.zeros((4, 4))
    for i in range(4):
        for j in range(4):
            constant = flat[:, i].std() == 0 or flat[:, j].std() == 0
            apart[i, j] = 0 if constant else scipy.stats.pearsonr(flat[:, i], flat[:, j]).statistic
    skews = [0.0 if column.std() == 0 else scipy.stats.skew(column) for column in flat.T]
    return {
        "latent_mean": flat.mean(),
        "latent_rms": np.sqrt((flat**2).mean()),
        "latent_std": np.sqrt(np.mean([column.var() for column in flat.T])),
        "latent_skew": np.mean(np.abs(skews)),
        "latent_correlation": np.mean([abs(apart[i, j]) for i in range(4) for j in range(4) if i != j]),
    }


def test_figures_and_channels_are_those_of_scipy() -> None:
    vectors, results = values(), Results()
    channels, correlation = measure_statistics(vectors, GROUPS, results)
    flat = vectors.flatten(0, 1).double().numpy()
    for key, value in slow(vectors.numpy()).items():
        assert results.figures[key].value == pytest.approx(value, rel=1e-6), key
    for channel, column in zip(channels, flat.T, strict=True):
        assert channel.mean == pytest.approx(column.mean(), rel=1e-9)
        assert channel.rms == pytest.approx(np.sqrt((column**2).mean()), rel=1e-9)
        assert channel.std == pytest.approx(column.std(), rel=1e-9, abs=1e-12)
        assert (channel.low, channel.high) == (column.min(), column.max())
    assert channels[0].skew == pytest.approx(scipy.stats.skew(flat[:, 0]), rel=1e-6)
    assert channels[3].skew == 0
    np.testing.assert_allclose(np.array(correlation)[:3, :3], np.corrcoef(flat[:, :3].T), atol=1e-9)
    assert correlation[3] == (0, 0, 0, 1)
    assert results.figures["latent_range"].value == pytest.approx((flat.max(axis=0) - flat.min(axis=0)).mean())


def test_intervals_leave_groups_out() -> None:
    vectors, results = values(), Results()
    measure_statistics(vectors, GROUPS, results)
    for key, value in slow(vectors.numpy()).items():
        expected = group_jackknife(value, lambda keep, key=key: slow(vectors.numpy()[keep])[key], GROUPS)
        found = results.figures[key].interval
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-5), key


def test_sums_in_parts_are_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, point = values().numpy(), np.array([1.0, 1000.0, -2.0, 7.0])
    whole = Sums.of(vectors, point)
    monkeypatch.setattr("tokbench.feed.predict.statistics.TOGETHER", 40)
    parts = Sums.of(vectors[:5], point) + Sums.of(vectors[5:], point)
    assert parts.count == whole.count == 126
    np.testing.assert_allclose(parts.second, whole.second)
    np.testing.assert_allclose((parts - Sums.of(vectors[5:], point)).third, Sums.of(vectors[:5], point).third, atol=1e-9)


def test_one_channel_and_many() -> None:
    results = Results()
    channels, correlation = measure_statistics(torch.randn(6, 4, 1), GROUPS[:6], results)
    assert (len(channels), correlation, results.figures["latent_correlation"].value) == (1, ((1.0,),), 0.0)
    assert measure_statistics(torch.randn(6, 4, 65), GROUPS[:6], results)[1] == ()


def test_the_file_is_that_of_an_export(encoded, pictures, protocol, small_vae, tmp_path: Path) -> None:
    made = encoded(small_vae)
    channels, _ = measure_statistics(made.tokens.latents, made.groups, Results())
    mean, std = tuple(c.mean for c in channels), tuple(c.std for c in channels)
    (tmp_path / "own").mkdir()
    write_statistics(LatentStatistics(mean, std, (8, 8), len(made), "tests/vae"), tmp_path / "own")
    export(small_vae, pictures, tmp_path / "shards", protocol=protocol, options=ExportOptions(ranks=Ranks()))
    summary = TokenDataset(tmp_path / "shards").summary
    about = json.loads((tmp_path / "own" / "statistics.json").read_text())
    assert about["mean"] == pytest.approx(list(summary.mean), rel=1e-5, abs=1e-7)
    assert about["std"] == pytest.approx(list(summary.std), rel=1e-5)
    assert (about["channels"], about["positions"], about["rows"]) == (3, 64, 24)
    tensors = torch.load(tmp_path / "own" / "latents_stats.pt", weights_only=True)
    assert tensors["std"].flatten().tolist() == pytest.approx(std)
    assert tensors["mean"].shape == (1, 3, 1, 1)
