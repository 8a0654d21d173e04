"""Small pictures and observations for the bench's tests."""

import pytest
import torch

from tokbench.bench.observation import Listing, Observation
from tokbench.tokens import DiscreteTokens


@pytest.fixture
def observe():
    """Build an observation of given bytes; codes are the reference's top bits."""

    numbered = [f"{i:03d}" for i in range(100)]
    run = Listing(tuple(numbered), tuple(name[:2] for name in numbered))

    def make(reference, reconstruction, ids=None):
        ids = tuple(ids if ids is not None else numbered[: len(reference)])
        listing = run if set(ids) <= set(run.ids) else Listing(ids, tuple(name[:2] for name in ids))
        height, width = reference.shape[2:]

        def tokens(images):
            codes = (images[:, :1] // 64).to(torch.int64).flatten(2).transpose(1, 2)
            return DiscreteTokens(codes.contiguous(), (height, width), (4,))

        return Observation(
            listing=listing,
            places=listing.places(ids),
            keys=tuple(name.encode().ljust(32, b"\0") for name in ids),
            reference=reference,
            reconstruction=reconstruction,
            tokens=tokens(reference),
            reencode=lambda: tokens(reconstruction),
        )

    return make
