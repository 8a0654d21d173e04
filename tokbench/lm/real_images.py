"""Real images with their words, as a model that learned from such images saw them: what a user names, at the model's size."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tokbench.bench.fitting import fit
from tokbench.data.open import open_source
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed.dataset import TokenDataset
from tokbench.feed.label_rules import LabelRule
from tokbench.image_size import size_text
from tokbench.images import UnreadableImage
from tokbench.lm.image_model import Pixels
from tokbench.lm.material import check_captions, is_encoded
from tokbench.lm.mixture import check_data, words_of
from tokbench.lm.model import LanguageModel
from tokbench.lm.originals import originals_of
from tokbench.lm.templates import Captioned, captioned, words_in
from tokbench.records.protocol import Protocol, get_protocol

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RealImages:
    """Images at one size, and what is known of each in words.

    Args:
        source: The images.
        words: Index to words; empty where nothing is known.
        protocol: How they are cut and scaled.
        fitted: Whether they are; else images of another size are refused.
    """

    source: ImageSource
    words: Callable[[int], str]
    protocol: Protocol
    fitted: bool

    @property
    def templates(self) -> tuple[str, ...]:
        """Templates that captions are made of; none where they are not."""
        return self.source.templates if isinstance(self.source, Captioned) else ()

    def pixels(self, index: int) -> np.ndarray:
        """Read one image, uint8 ``[H, W, 3]``.

        Raises:
            UnreadableImage: If it is broken.
            TokbenchError: If it is of another size, and images are not fitted.
        """
        image, (height, width) = self.source.read(index), self.protocol.shape
        if not self.fitted and image.size != (width, height):
            raise TokbenchError(
                f"{self.source.record(index)} is {image.height}x{image.width} px, the model was trained on {height}x{width}; scale the images, "
                "or take their centres with --resize"
            )
        return np.array(fit(image, self.protocol))

    def first(self, indices: Iterable[int], count: int) -> tuple[list[int], Pixels]:
        """Read images until there are enough; those that cannot be read are passed over, with a warning.

        Args:
            indices: Which, in order.
            count: How many at most.

        Returns:
            The indices of those that could be read, and their pixels.

        Raises:
            TokbenchError: As ``pixels``.
        """
        kept: list[int] = []
        found = torch.empty(0, 3, *self.protocol.shape, dtype=torch.uint8)
        read = []
        for index in indices:
            if len(kept) == count:
                break
            try:
                read.append(torch.from_numpy(self.pixels(index)).permute(2, 0, 1))
            except UnreadableImage as error:
                logger.warning("%s cannot be read and is passed over: %s", self.source.record(index), error)
                continue
            kept.append(index)
        return kept, torch.stack(read).contiguous() if read else found


def open_real(
    place: str,
    model: LanguageModel,
    *,
    labels: LabelRule = "source",
    captions: Sequence[str] = (),
    resize: bool = False,
) -> RealImages:
    """Open real images for a model.

    Args:
        place: Images as ``tokbench run --data`` takes them; or an export or memory map of the model's tokenizer whose images are at hand.
        model: Whose size they shall have.
        labels: Where classes come from.
        captions: Templates of captions.
        resize: Whether images of other sizes are scaled and cut.

    Raises:
        TokbenchError: If there are none, or options are given that they have no use for. If an export is of another tokenizer or size,
            has views, or its images are not at hand.
    """
    folder, size = Path(place).expanduser(), model.size
    if is_encoded(place):
        check_captions(place, captions)
        if labels != "source" or resize:
            raise TokbenchError(f"{place} is encoded already, with its own size and labels; leave out --labels and --resize")
        return _exported(TokenDataset(folder), model)
    source = captioned(place, open_source(place, size=size), captions, labels)
    return RealImages(source, words_in(source, labels), get_protocol(changes={"size": size}), resize)


def _exported(data: TokenDataset, model: LanguageModel) -> RealImages:
    """The images of an export, with its words."""
    check_data(data, model.vocabulary)
    how, own = data.job.preparation, model.size
    if how.size != own:
        raise TokbenchError(
            f"{data.folder} holds images of {size_text(how.size)} px, the model was trained on {size_text(own)} px; give others"
        )
    if data.job.views > 1:
        raise TokbenchError(f"{data.folder} holds views of images; give the images themselves")
    try:
        source = originals_of(data)
    except TokbenchError as error:
        raise TokbenchError(f"the images of {data.folder} are not at hand: {error}; run where they lie, or give them themselves") from error
    words = {item["id"]: words_of(item, data.label_names) for item in (data[row] for row in range(len(data)))}
    settings: dict[str, Any] = {"crop": how.crop}
    protocol = replace(get_protocol(changes={"size": how.size, "resize": how.resize}), **settings)
    return RealImages(source, lambda index: words.get(source.ids[index], ""), protocol, fitted=True)
