"""Headings of the groups of a page, in words."""

from __future__ import annotations

from collections.abc import Sequence

from tokbench.records.protocol import without_rounding
from tokbench.report.page.model import Group, clipped

OWN_SETS = {
    "photos/test": ("Photos", None),
    "photos/train": ("Photos to train on", None),
    "text": ("Rendered text", "text_accuracy"),
    "faces": ("Faces", "face_distance"),
    "scenes/test": ("Drawn scenes", "scene_accuracy"),
    "scenes/train": ("Drawn scenes to train on", "scene_accuracy"),
    "scenes/held-out": ("Drawn scenes of combinations held out", "scene_accuracy"),
}
"""Data that ``--data`` finds by their names: what they show, and a metric of their own that tells them from a folder so called."""


def headings(groups: Sequence[Group]) -> list[str]:
    """Say what each group shows, and under which protocol: ``Rendered text (photos-64 protocol, v1)``.

    Args:
        groups: Groups of the page. Where this would be the same for several, the groups' titles stand in brackets instead.
    """
    subjects = [subject_of(group) for group in groups]
    found = [f"{subject} ({_protocol(group)})" for subject, group in zip(subjects, groups, strict=True)]
    return [
        clipped(f"{subject} ({group.title})", 300) if found.count(heading) > 1 else heading
        for heading, subject, group in zip(found, subjects, groups, strict=True)
    ]


def protocols_beside(groups: Sequence[Group]) -> list[str]:
    """What follows the words on each group's images: its protocol, where several groups show the same ones; else nothing."""
    subjects = [subject_of(group) for group in groups]
    names = [clipped(group.entries[0].record.protocol.name, 60) for group in groups]
    return [f", {name}" if subjects.count(subject) > 1 else "" for name, subject in zip(names, subjects, strict=True)]


def subject_of(group: Group) -> str:
    """What the images of a group show: ``Rendered text``, or the name of the data."""
    name = group.entries[0].record.data.name
    words, metric = OWN_SETS.get(name, (None, None))
    if words and (metric is None or any(metric in entry.record.metrics for entry in group.entries)):
        return words
    return f"Faces in {clipped(name.removeprefix('faces:'))}" if name.startswith("faces:") else clipped(name)


def _protocol(group: Group) -> str:
    record = group.entries[0].record
    name, *changes = without_rounding(record.protocol_label).split("+")
    changed = [change for change in changes if not change.startswith("data=")]
    settings = f" with {', '.join(changed)}" if changed else ""
    return f"{clipped(f'{name} protocol{settings}', 200)}, v{record.protocol.version}"
