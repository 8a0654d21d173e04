"""Few small pictures, of several groups and classes, and their tokens under small tokenizers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from PIL import Image

from tokbench.data.source import ImageSource
from tokbench.feed.predict.encoded import Encoded, read_and_encode_all
from tokbench.records.protocol import Protocol, get_protocol

SIZE = 16


class Pictures(ImageSource):
    """Pictures that are there, two of each group, their class being that of the group's number."""

    ready_size = SIZE

    def __init__(self, pixels: np.ndarray, names: Sequence[str] | None = None) -> None:
        self.pixels, self.name = pixels, "some pictures"
        self.ids = tuple(names or (f"{place // 2:02d}/{place % 2}" for place in range(len(pixels))))

    def read(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index])

    def raw_digest(self, index: int) -> bytes:
        return self.pixels[index].tobytes()[:32]

    def group(self, index: int) -> str:
        return self.ids[index].split("/")[0]

    @property
    def has_labels(self) -> bool:
        return True

    def label(self, index: int) -> int | None:
        return int(self.group(index)) % 2 if index else None


@pytest.fixture
def pictures(crops: torch.Tensor) -> Pictures:
    """24 pictures of 12 groups."""
    return Pictures(crops[:, :, 24:40, 24:40].permute(0, 2, 3, 1).contiguous().numpy())


@pytest.fixture
def protocol() -> Protocol:
    return get_protocol(changes={"size": SIZE, "micro_batch": 4})


@pytest.fixture
def encoded(pictures: Pictures, protocol: Protocol) -> Callable[..., Encoded]:
    """The pictures under a tokenizer."""
    return lambda tokenizer, source=pictures, protocol=protocol: read_and_encode_all(tokenizer, source, protocol)
