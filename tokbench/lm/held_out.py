"""Real images that a model is asked for, and as many others that its samples are compared with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from tokbench.counting import counted
from tokbench.errors import TokbenchError
from tokbench.lm.image_model import Pixels
from tokbench.lm.order import generator
from tokbench.lm.real_images import RealImages

MOST = 500
"""Images that are asked for, where there are so many and it is not told."""

FEWEST = 2
"""Images that are asked for at least, of which there are intervals."""


@dataclass(frozen=True)
class HeldOut:
    """Two sets of real images, of which no group is in both, in random order.

    Args:
        ids: Ids of the images whose words are asked for.
        groups: What each is a sample of.
        words: Their words.
        images: Their pixels.
        reference: As many others.
        sha256: Digest of ids, words and pixels.
        digests: SHA-256 of what each image of both sets was made from.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    words: tuple[str, ...]
    images: Pixels
    reference: Pixels
    sha256: str
    digests: tuple[bytes, ...]


def hold_out(real: RealImages, prompts: int | None, *, seed: int) -> HeldOut:
    """Choose what is asked for and what samples are compared with.

    Images without words are left out, so that both sets are of what the model is asked for. The choice of few begins that of many.

    Args:
        real: The images.
        prompts: How many are asked for; None takes half of all, 500 at most.
        seed: Seed of the choice.

    Raises:
        TokbenchError: If images have no words, or there are too few.
    """
    source = real.source
    words = {index: text for index in sorted(range(len(source)), key=source.ids.__getitem__) if (text := real.words(index))}
    if not words:
        raise TokbenchError(
            f"{source.name} has no words to ask for, neither captions nor classes; give --labels folder where folders name classes, or data "
            "with captions"
        )
    asked, others = halves({index: source.group(index) for index in words}, seed=seed)
    wanted = prompts or MOST
    _check(min(len(asked), len(others)), prompts, source.name)
    (first, images), (second, reference) = (real.first(part, min(wanted, len(asked), len(others))) for part in (asked, others))
    count = min(len(first), len(second))  # fewer where some cannot be read
    _check(count, prompts, source.name)
    first, images, reference = first[:count], images[:count], reference[:count]
    digest = hashlib.sha256()
    for index, pixels in zip([*first, *second[:count]], [*images, *reference], strict=True):
        digest.update(f"{source.ids[index]}\0{words[index]}\0".encode() + pixels.numpy().tobytes())
    return HeldOut(
        tuple(source.ids[index] for index in first),
        tuple(source.group(index) for index in first),
        tuple(words[index] for index in first),
        images,
        reference,
        digest.hexdigest(),
        tuple(source.raw_digest(index) for index in [*first, *second[:count]]),
    )


def halves(groups: dict[int, str], *, seed: int) -> tuple[list[int], list[int]]:
    """Part images into two sets, as nearly equal as whole groups allow: images of one group are alike.

    Args:
        groups: Image to its group.
        seed: Seed of the parting, and of the order within each set.
    """
    members: dict[str, list[int]] = {}
    for index, group in groups.items():
        members.setdefault(group, []).append(index)
    names, chance = sorted(members), generator(seed, "halves")
    parts: tuple[list[int], list[int]] = ([], [])
    for place in chance.permutation(len(names)):
        min(parts, key=len).extend(members[names[place]])
    one, other = ([part[place] for place in chance.permutation(len(part))] for part in parts)
    return one, other


def _check(most: int, prompts: int | None, name: str) -> None:
    if most < FEWEST:
        raise TokbenchError(
            f"{name} has too few images with words: {most} in the smaller of two sets, which are asked for and compared with; "
            f"{FEWEST} in each are the least"
        )
    if prompts is not None and prompts > most:
        raise TokbenchError(
            f"--prompts {prompts} are more than the {counted(most, 'image')} of {name} that can be asked for beside as many others"
        )


def training_set(real: RealImages, count: int, *, seed: int) -> Pixels:
    """Choose training images, among which the nearest is looked for.

    Args:
        real: The images.
        count: How many at most.
        seed: Seed of the choice.
    """
    return real.first(map(int, generator(seed, "training images").permutation(len(real.source))), count)[1]
