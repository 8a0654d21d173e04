"""What the kernel distances share: the distance of the features of both sides, and its interval."""

from __future__ import annotations

from typing import Any, ClassVar

from tokbench.bench.kernel import kernel_distance, kernel_distances_without
from tokbench.bench.metrics.base import Figure
from tokbench.bench.metrics.features import AllFeatures
from tokbench.bench.observation import Subject
from tokbench.records.intervals import FEWEST_FOLDS, jackknife_interval


class KernelMetric(AllFeatures):
    """Kernel distance between the features of originals and reconstructions, unbiased at any number of images.

    Attributes:
        paired: Whether an image and its own reconstruction count as no pair.
    """

    paired: ClassVar[bool]

    @property
    def settings(self) -> dict[str, Any]:
        """The network's settings, and the kernel."""
        left_out = "itself or its reconstruction" if self.paired else "itself"
        return super().settings | {"kernel": f"(x . y / d + 1)^3, all pairs but those of an image with {left_out}, float64"}

    def not_applicable(self, subject: Subject) -> str | None:
        """One image has no other to be compared with."""
        return "one image; a kernel distance needs at least 2" if subject.images < 2 else None

    def report(self) -> dict[str, Figure]:
        """Return the distance and its interval over groups."""
        before, after, groups = self.ordered()
        count = len(set(groups))
        if count < FEWEST_FOLDS:
            return {self.figures[0].key: Figure(kernel_distance(before, after, paired=self.paired))}
        value, without = kernel_distances_without(before, after, groups, paired=self.paired)
        interval = jackknife_interval(value, without, f"jackknife of {count} groups")
        by_group = dict(zip(sorted(set(groups)), without.tolist(), strict=True))
        return {self.figures[0].key: Figure(value, interval, without=by_group)}
