"""Drawing, editing and describing on the page, with one language model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from tokbench.app.uploads import read_upload
from tokbench.lm.image_model import LIKELIEST, ImageModel
from tokbench.lm.options import EDIT_TEMPERATURE, SamplingOptions
from tokbench.report.page.embed import data_uri

Pixels = UInt8[Tensor, "b 3 h w"]


class Studio:
    """What the page asks of a model; an answer depends on its question alone.

    Args:
        model: The model with its tokenizer.
        name: What the page calls it.
    """

    def __init__(self, model: ImageModel, name: str) -> None:
        self.name = name
        self.size = model.model.image_size[0]
        self.guidance = f"{model.model.guidance:g}"
        self.edit_temperature = EDIT_TEMPERATURE
        self._model = model

    def draw(self, words: str, seed: int, options: SamplingOptions) -> Mapping[str, Any]:
        """Draw a picture from words; see ``ImageModel.generate``."""
        return _shown(self._model.generate([words], seed=seed, options=_alone(options)))

    def edit(self, upload: bytes, words: str, seed: int, options: SamplingOptions) -> Mapping[str, Any]:
        """Change a picture as words say; see ``ImageModel.edit``."""
        return _shown(self._model.edit(self._read(upload), [words], seed=seed, options=_alone(options)))

    def complete(self, upload: bytes, seed: int, options: SamplingOptions) -> Mapping[str, Any]:
        """Draw the lower half of a picture from the upper; see ``ImageModel.complete``."""
        return _shown(self._model.complete(self._read(upload), seed=seed, options=_alone(options)))

    def describe(self, upload: bytes) -> Mapping[str, Any]:
        """Say what is in a picture; see ``ImageModel.describe``."""
        return {"words": self._model.describe(self._read(upload), options=_alone(LIKELIEST))[0]}

    def _read(self, upload: bytes) -> Pixels:
        return torch.from_numpy(read_upload(upload, self.size)).permute(2, 0, 1)[None].contiguous()


def _alone(options: SamplingOptions) -> SamplingOptions:
    """A question has one answer, which is not filled up to a batch: that would take the time of a batch."""
    return replace(options, batch_size=1)


def _shown(images: Pixels) -> Mapping[str, Any]:
    return {"picture": data_uri(np.ascontiguousarray(images[0].permute(1, 2, 0).numpy()))}
