"""Public data sets by name: what they must hold, so that a name in a record means the whole of what everyone calls so."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tokbench.counting import counted
from tokbench.errors import TokbenchError

UNCHECKED = " (unchecked)"
"""Follows the name of other images that are called like a public set."""

OWN = " (own images)"
"""Follows the name of images of one's own that are called like a set that comes with the package."""


def as_called(name: str) -> str:
    """What images are called where they lie: their name without what tells them from sets of that name."""
    return name.removesuffix(UNCHECKED).removesuffix(OWN)


@dataclass(frozen=True)
class PublicSet:
    """What a public data set holds.

    Args:
        title: What people call it.
        count: Images.
        pattern: Regular expression of the files' names, without folders.
        names_sha256: SHA-256 over the sorted names, one a line without a last newline; None where only the pattern is known.
        some: Names that it has for certain, where the digest is not known.
        example: A name, for errors.
    """

    title: str
    count: int
    pattern: str
    example: str
    names_sha256: str | None = None
    some: tuple[str, ...] = ()

    @property
    def verified(self) -> str:
        """What of a set of this name is checked, in words."""
        if self.names_sha256 is not None:
            return "the names of all files"
        return "the number of files, the pattern of their names" + (f" and {len(self.some)} of the names" if self.some else "")


PUBLIC = {
    "imagenet-val": PublicSet(
        "the validation images of ImageNet-1k (ILSVRC 2012)",
        50_000,
        r"ILSVRC2012_val_\d{8}\.JPEG",
        "ILSVRC2012_val_00000001.JPEG",
        "18335d32b9f9f79ab968990b2646032937f8e2000243fbeac79d99f3c5d82a2b",
    ),
    "coco-val": PublicSet(
        "the validation images of COCO 2017",
        5_000,
        r"\d{12}\.jpg",
        "000000000139.jpg",
        "ba91ce69f38c873ebc21dd415ac6a8f587c2e7d672aef57ad63beedd9e008692",
    ),
    "kodak": PublicSet(
        "the 24 photographs of the Kodak Photo CD",
        24,
        r"kodim\d\d\.png",
        "kodim01.png",
        "0dd1d752d3656c4db7541f88bf73da9cc79f25f568fb8e9d10399d5d677babc8",
    ),
    "clic": PublicSet(
        "the professional validation images of CLIC 2020 and 2021",
        41,
        r"[A-Za-z0-9_.-]+\.png",
        "zugr-108.png",
        some=("alberto-montalesi-176097.png", "zugr-108.png"),
    ),
    "omnidoc": PublicSet(
        "the text crops of OmniDoc-TokenBench",
        3_042,
        r".+\.(png|jpg)",
        "0001.png",
    ),
}
"""Public sets by what stands before the colon of ``--data``.

Names of ImageNet and Kodak follow a rule, so their digests do. That of COCO is over the 5,000 names of its annotations. The names of all
files of CLIC and OmniDoc-TokenBench are not known here for certain; see ``PublicSet.verified``.
"""


def public_place(spec: str) -> tuple[str, str] | None:
    """Take a place of ``--data`` apart.

    Args:
        spec: What the user wrote.

    Returns:
        Name of the public set and place of its images; None if no public set is named.
    """
    name, colon, place = spec.partition(":")
    return (name, place) if colon and name in PUBLIC else None


def check_public(name: str, ids: Sequence[str], place: str) -> None:
    """See that images are a public set, whole and nothing beside it.

    Args:
        name: Key of ``PUBLIC``.
        ids: Ids of all images that are there, as paths with forward slashes; folders of classes, or none, are all the same.
        place: Where they are, for the error.

    Raises:
        TokbenchError: If files are missing, too many, there twice or of other names.
    """
    wanted = PUBLIC[name]
    files = [one.rpartition("/")[2] for one in ids]
    problem = _problem(wanted, files)
    if problem is not None:
        raise TokbenchError(
            f"--data {name}:{place} is not {wanted.title}: {problem}; give the folder of these {wanted.count:,} files alone, or the folder "
            "without the name, which checks nothing"
        )


def _problem(wanted: PublicSet, files: Sequence[str]) -> str | None:
    """What keeps files from being a set, the plainest reason first."""
    strange = [file for file in files if not re.fullmatch(wanted.pattern, file)]
    if len(strange) == len(files):
        return (
            f"it holds {counted(len(files), 'image')} with names such as {strange[0]!r}, where those of the set are like {wanted.example!r}"
        )
    if strange:
        return f"{len(strange):,} of its {counted(len(files), 'image')} have other names, such as {strange[0]!r}"
    if len(files) != wanted.count:
        return f"it holds {counted(len(files), 'image')}, the set {wanted.count:,}"
    twice, times = Counter(files).most_common(1)[0]
    if times > 1:
        return f"{twice!r} is there {times} times"
    missing = [one for one in wanted.some if one not in set(files)]
    if missing:
        return f"{missing[0]!r} is missing"
    if wanted.names_sha256 is not None and names_digest(files) != wanted.names_sha256:
        return "the number of its files is right, but not all of their names are"
    return None


def names_digest(files: Iterable[str]) -> str:
    """Digest names.

    Args:
        files: Names of files without folders, in any order.

    Returns:
        SHA-256 over them, sorted, one a line without a last newline.
    """
    return hashlib.sha256("\n".join(sorted(files)).encode()).hexdigest()
