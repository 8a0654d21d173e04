"""What a stage learns from, out of what a user names: an export as it is, or images that are encoded once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokbench.configs import plain
from tokbench.data.open import comes_with_the_package, open_training_source
from tokbench.data.source import ImageSource
from tokbench.errors import TokbenchError
from tokbench.feed.dataset import TokenDataset
from tokbench.feed.export import ExportOptions, export
from tokbench.feed.label_rules import LabelRule, has_labels
from tokbench.feed.memmap import holds_export, holds_memmap
from tokbench.image_size import Size, square_side
from tokbench.lm.edits import EDITS, Edits, check_edits
from tokbench.lm.halves import HALVES, HalvedImages, check_grid
from tokbench.lm.mixture import NO_EDITS, check_words
from tokbench.lm.recipes import StageRecipe
from tokbench.lm.scene_source import StageScenes
from tokbench.lm.templates import captioned
from tokbench.ranks import ranks_from_environment
from tokbench.records.protocol import get_protocol
from tokbench.tokenizers.base import Tokenizer

logger = logging.getLogger(__name__)

SCENES = "scenes"
"""The place that stands for drawn scenes; a folder of that name is written ``./scenes``."""

APART = 10_000_000
"""How far apart the first scenes of two seeds are."""

ROWS = 512
"""Images of a shard, so that several processes share the encoding of small sets too."""

TOKENS = "tokens"
"""Folder within that of a run, where images are encoded to."""


@dataclass(frozen=True)
class Material:
    """What a stage learns from.

    Args:
        data: The export.
        edits: Pairs for editing, if there are any.
        originals: The images of the export, where they are at hand.
        halves: Export of images whose lower half was hidden, for completions; None if there is none.
    """

    data: TokenDataset
    edits: Edits | None
    originals: ImageSource | None
    halves: TokenDataset | None = None

    @property
    def about(self) -> dict[str, Any]:
        """What it is, as plain values: equal for equal material."""
        job = self.data.job
        digests = {"data": self.data.summary.data_digest, "rows": len(self.data), "edits": len(self.edits or ())}
        digests |= {} if self.halves is None else {"halves": self.halves.summary.data_digest}
        return {"name": job.data.name, "tokenizer": job.tokenizer.name, "preparation": plain(job.preparation), **digests}


def gather(
    place: str,
    recipe: StageRecipe,
    out: Path,
    *,
    tokenizer: Tokenizer | None,
    edits: Path | None,
    halves: Path | None = None,
    labels: LabelRule,
    captions: Sequence[str] = (),
    size: Size | None,
    wait: Callable[[], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Material:
    """Open what a stage learns from; images are encoded into the folder of the run, where a run that goes on finds them.

    Args:
        place: An export or a memory map, ``scenes``, or images as ``tokbench train --data`` takes them.
        recipe: Says how many scenes are drawn, and how.
        out: Folder of the run.
        tokenizer: Encodes images; not needed for exports.
        edits: File of edits of the images.
        halves: Export of images whose lower half was hidden, as a run leaves it in its folder; None makes one where images are encoded.
        labels: Where labels of images come from.
        captions: Templates of captions, see ``tokbench.lm.templates``.
        size: Side of images in pixels, or height and width; None takes 64.
        wait: Returns once all processes have called it.
        progress: Called with images encoded and in all.

    Raises:
        TokbenchError: If there are no such data, there is no tokenizer to encode them, or options are given that an export has no use for.
    """
    folder = Path(place).expanduser()
    originals: ImageSource | None = None
    halved = None if halves is None else TokenDataset(halves)  # one that cannot be read shows before images are encoded
    if is_encoded(place):
        if size is not None or labels != "source" or captions:
            raise TokbenchError(
                f"{place} is encoded already, with its own size and labels; leave out --size, --labels and --captions, or export again"
            )
    else:
        protocol = get_protocol(changes={"size": size})
        check_captions(place, captions)
        source = None if place == SCENES else open_training_images(place, labels, captions)
        if tokenizer is None:
            raise TokbenchError(f"{place} holds images; give -t TOKENIZER to encode them, or make an export of them first")
        if recipe.tasks.edit > 0 and edits is None and place != SCENES:
            raise TokbenchError(NO_EDITS)
        if source is not None and not (source.has_captions or has_labels(source, labels)):
            check_words(recipe.tasks.chosen, place)
        layout = tokenizer.layout(*protocol.shape)
        if not layout.discrete:
            raise TokbenchError(f"{tokenizer.name} makes latents, and a language model reads codes; give another tokenizer with -t")
        if recipe.tasks.complete > 0:
            check_grid(layout.grid)
        source = _scenes(recipe, square_side(protocol.size, "scenes come")) if source is None else source
        if edits is not None:
            check_edits(edits, source.ids, place)
        folder = out / TOKENS
        export(tokenizer, source, folder, protocol=protocol, options=ExportOptions(ROWS, labels=labels, progress=progress))
        if isinstance(source, StageScenes) and edits is None and recipe.tasks.edit > 0:
            edits = out / EDITS
            if ranks_from_environment().rank == 0:
                source.write_edits(edits)
        hides = halved is None and recipe.tasks.complete > 0
        if hides:
            hidden = HalvedImages(source, recipe.halves, protocol, layout.grid)
            export(tokenizer, hidden, out / HALVES, protocol=protocol, options=ExportOptions(ROWS, progress=progress))
        wait()
        halved = TokenDataset(out / HALVES) if hides else halved
        originals = source
    if halved is None and recipe.tasks.complete > 0:
        logger.warning(
            "completions begin from codes of whole images, which may know of what is below; --halves takes an export of halves, "
            "as a stage that encodes images leaves it in its folder"
        )
    data = TokenDataset(folder)
    return Material(data, None if edits is None else Edits(edits, data), originals, halved)


def is_encoded(place: str) -> bool:
    """Whether a user names tokens, an export or a memory map, and not images. Names of what comes with the package are always those of images."""
    if comes_with_the_package(place):
        return False
    folder = Path(place).expanduser()
    return holds_export(folder) or holds_memmap(folder)


def check_captions(place: str, captions: Sequence[str]) -> None:
    """Refuse templates of captions for what has words of its own: scenes, and exports.

    Raises:
        TokbenchError: If some are given for it.
    """
    if captions and (place == SCENES or is_encoded(place)):
        raise TokbenchError(f"{place} has words of its own; leave --captions out, or give images that have classes")


def open_training_images(place: str, labels: LabelRule, captions: Sequence[str]) -> ImageSource:
    """Open images with the words that go with them.

    Args:
        place: Images as ``tokbench train --data`` takes them.
        labels: Where labels come from.
        captions: Templates of captions.

    Raises:
        TokbenchError: If there are none, or templates find no classes.
    """
    return captioned(place, open_training_source(place), captions, labels)


def _scenes(recipe: StageRecipe, size: int) -> StageScenes:
    """The scenes of a recipe; each seed has scenes of its own."""
    edits = recipe.edits if recipe.tasks.edit > 0 else 0
    first = recipe.seed * APART
    return StageScenes(recipe.images, edits=edits, size=size, low_quality=recipe.low_quality, first=first, kinds=recipe.edit_kinds)
