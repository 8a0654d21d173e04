"""What figures of whole sets are without a part of the images: columns of the rows beside a record; no torch.

A part is a group of images, or several groups together where that costs less. ``fd_efflite0.without`` holds, beside each image, what
the figure is without the group of that image, ``usage.without_cluster`` what it is without the image's cluster.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

Part = Literal["group", "cluster", "tenth"]
"""What is left out at once: a group, a cluster of groups by a hash of their names, or a tenth of the groups in the order of their names."""

WITHOUT: dict[Part, str] = {"group": ".without", "cluster": ".without_cluster", "tenth": ".without_tenth"}
"""Ends of the columns."""

CLUSTERS, TENTHS = 64, 10
"""Parts at most."""


def cluster_of(group: str) -> int:
    """The cluster of a group, from 0 to ``CLUSTERS`` - 1."""
    return hashlib.sha256(group.encode()).digest()[0] % CLUSTERS


def parts_of(part: Part, groups: Iterable[str]) -> dict[str, str]:
    """Say in which part each group is.

    Args:
        part: What is left out at once.
        groups: Names of all groups, in any order.

    Returns:
        Name of the group to that of its part.
    """
    names = sorted(set(groups))
    if part == "group":
        return {name: name for name in names}
    return {name: f"{cluster_of(name) if part == 'cluster' else place % TENTHS:02d}" for place, name in enumerate(names)}


def is_without(column: str) -> bool:
    """Whether a column of rows says what a figure is without a part, and holds no values of images."""
    return column.endswith(tuple(WITHOUT.values()))
