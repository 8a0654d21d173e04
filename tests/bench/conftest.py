"""Small pictures and observations for the bench's tests."""

import numpy as np
import pytest
import torch
from PIL import Image

from tokbench.bench.observation import Observation
from tokbench.data.photos import PhotoCrops
from tokbench.tokens import DiscreteTokens


@pytest.fixture(scope="session")
def crops():
    """24 test crops at 64 px, uint8 [24, 3, 64, 64], from several photos."""
    source = PhotoCrops("test", 64)
    indices = range(0, len(source), len(source) // 24)
    pixels = np.stack([np.asarray(source.read(i)) for i in list(indices)[:24]])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


@pytest.fixture
def folder(tmp_path, crops):
    """A folder of 12 pictures, named so that their order by name is not their order by content."""
    root = tmp_path / "pictures"
    root.mkdir()
    for i, pixels in enumerate(crops[:12].permute(0, 2, 3, 1).numpy()):
        Image.fromarray(pixels).save(root / f"{(i * 7) % 12:02d}.png")
    return root


@pytest.fixture
def observe():
    """Build an observation of given bytes; codes are the reference's top bits."""

    def make(reference, reconstruction, ids=None):
        ids = tuple(ids if ids is not None else (f"{i:03d}" for i in range(len(reference))))
        height, width = reference.shape[2:]

        def tokens(images):
            codes = (images[:, :1] // 64).to(torch.int64).flatten(2).transpose(1, 2)
            return DiscreteTokens(codes.contiguous(), (height, width), (4,))

        return Observation(
            ids=ids,
            groups=tuple(name[:2] for name in ids),
            keys=tuple(name.encode().ljust(32, b"\0") for name in ids),
            reference=reference,
            reconstruction=reconstruction,
            tokens=tokens(reference),
            reencode=lambda: tokens(reconstruction),
        )

    return make
