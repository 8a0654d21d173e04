"""Files under the probe: they come back without the codes being known, and are as long as the probe's bits say."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from tokbench.feed.probe import coding
from tokbench.feed.probe.coding import decode_images, encode_images, zlib_bits
from tokbench.feed.probe.training import measure_bits


@pytest.mark.parametrize("shape", [{"codebooks": 1, "axes": 2}, {"codebooks": 2, "axes": 1}, {"codebooks": 2, "axes": 2}])
def test_files_come_back_and_are_as_long_as_reported(sequences_of, network_of, shape) -> None:
    sequences, others = sequences_of(12, **shape), sequences_of(12, first=100, **shape)
    model = network_of(sequences)
    rows = [0, 3, 4, 11]
    files = encode_images(model, sequences, rows)
    codes = np.stack([sequences.dataset[row]["codes"].flatten().numpy() for row in rows])
    decoded = decode_images(model, others, rows, files)  # only the form of the sequences is known, not the codes
    np.testing.assert_array_equal(decoded, codes)
    bits = measure_bits(model, sequences, rows, batch_size=4).sum(axis=1)
    sizes = np.array([8 * len(file) for file in files])
    assert (bits - 0.01 <= sizes).all()
    assert (sizes <= bits + 9.01).all()


@pytest.mark.parametrize("condition", ["caption", "label"])
def test_texts_before_images_are_known_to_both(sequences_of, network_of, monkeypatch, condition) -> None:
    monkeypatch.setattr(coding, "KEPT", 1 << 16)  # some images at once only
    sequences, others = sequences_of(20, condition=condition), sequences_of(20, first=0, condition=condition)
    model, rows, steps = network_of(sequences), list(range(19, -1, -1)), []
    files = encode_images(model, sequences, rows, progress=lambda done, total: steps.append((done, total)))
    assert steps[-1][0] == steps[-1][1]
    assert len(steps) > 16 * len({len(sequences.text(row).encode()) for row in rows})
    codes = np.stack([sequences.dataset[row]["codes"].flatten().numpy() for row in rows])
    np.testing.assert_array_equal(decode_images(model, others, rows, files), codes)


def test_another_network_reads_something_else(sequences_of, network_of) -> None:
    sequences = sequences_of(2)
    files = encode_images(network_of(sequences), sequences, [0, 1])
    codes = np.stack([sequences.dataset[row]["codes"].flatten().numpy() for row in range(2)])
    try:
        assert (decode_images(network_of(sequences, gain=2.0), sequences, [0, 1], files) != codes).any()
    except ValueError as error:
        assert "not written with these frequencies" in str(error)  # noqa: PT017


def test_zlib_packs_into_the_smallest_type() -> None:
    codes = np.random.default_rng(0).integers(0, 300, size=(3, 50))
    assert zlib_bits(codes % 256, (256,)) == [8 * len(zlib.compress((row % 256).astype(np.uint8).tobytes(), 9)) for row in codes]
    assert zlib_bits(codes, (300,)) == [8 * len(zlib.compress(row.astype(np.uint16).tobytes(), 9)) for row in codes]
