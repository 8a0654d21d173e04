"""Drawing, editing and describing on the page, with one language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from tokbench.app.uploads import read_upload
from tokbench.data.scenes.turns import Spoken, spoken_in
from tokbench.lm.image_model import LIKELIEST, ImageModel
from tokbench.lm.options import EDIT_TEMPERATURE, SamplingOptions
from tokbench.lm.turns import knows_scenes, spoken_of, turn_of
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
        self.size = model.model.size
        self.height, self.width = model.model.image_size
        self.guidance = f"{model.model.guidance:g}"
        self.edit_temperature = EDIT_TEMPERATURE
        self.hears_turns = knows_scenes(model.model)
        self._model = model

    def draw(self, words: str, seed: int, options: SamplingOptions) -> Mapping[str, Any]:
        """Draw a picture from words, and say which things these name; see ``ImageModel.generate``."""
        drawn = self._model.generate([words], seed=seed, options=_alone(options))
        return _shown(drawn) | {"spoken": _names(spoken_of(self._model.model, words))}

    def edit(self, upload: bytes, words: str, seed: int, options: SamplingOptions, spoken: Sequence[str] = ()) -> Mapping[str, Any]:
        """Change a picture as words say, and say what they were heard as; see ``turn_of`` and ``ImageModel.edit``.

        Args:
            upload: The picture.
            words: What to do.
            seed: Seed of the edit.
            options: How it is sampled.
            spoken: Names of the things of the turn before, as an answer gave them.

        Raises:
            TokbenchError: If the picture cannot be read, or the words are not clear.
        """
        picture = self._read(upload)
        before = [thing for name in spoken for thing in spoken_in(name)]
        turn = turn_of(self._model.model, words, before, lambda: picture[0])
        edited = self._model.edit(picture, [turn.instruction], seed=seed, options=_alone(options))
        return _shown(edited) | {"instruction": turn.instruction, "spoken": _names(turn.spoken)}

    def complete(self, upload: bytes, seed: int, options: SamplingOptions) -> Mapping[str, Any]:
        """Draw the lower half of a picture from the upper; see ``ImageModel.complete``."""
        return _shown(self._model.complete(self._read(upload), seed=seed, options=_alone(options)))

    def describe(self, upload: bytes) -> Mapping[str, Any]:
        """Say what is in a picture; see ``ImageModel.describe``."""
        return {"words": self._model.describe(self._read(upload), options=_alone(LIKELIEST))[0]}

    def _read(self, upload: bytes) -> Pixels:
        return torch.from_numpy(read_upload(upload, self.size)).permute(2, 0, 1)[None].contiguous()


def _alone(options: SamplingOptions) -> SamplingOptions:
    """A question has one answer, which is not filled up to a whole batch: that would take the time of one."""
    return replace(options, batch_size=1)


def _names(things: Sequence[Spoken]) -> list[str]:
    return [thing.name for thing in things]


def _shown(images: Pixels) -> dict[str, Any]:
    return {"picture": data_uri(np.ascontiguousarray(images[0].permute(1, 2, 0).numpy()))}
