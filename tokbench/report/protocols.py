"""Presets of protocols as tables: what each is for, and one of them whole, with where its settings were read; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokbench.records.preset_sources import PRESET_INFOS, preset_facts
from tokbench.records.protocol import PRESETS
from tokbench.report.table import Cell, Column, Table
from tokbench.report.words import counted

BUG_MARK = "✗"
"""Stands at settings that repeat what no one would choose today."""

UNVERIFIED_MARK = "?"
"""Stands at settings that were not read in the code they are said to be from."""

LIST_COLUMNS = (
    Column("version", "version"),
    Column("px", "size"),
    Column(f"repeats {BUG_MARK}", "bugs", align="left"),
    Column("what it is for", "purpose", align="left"),
)
SETTING_COLUMNS = (
    Column("value", "value", align="left"),
    Column("marks", "marks", align="left"),
    Column("read in", "source", align="left"),
)


def presets_table() -> Table:
    """All presets, one a row."""
    rows = tuple((name, _row(name)) for name in PRESETS)
    notes = (
        f"{BUG_MARK} settings that repeat mistakes of others, so that their figures can be met; only presets of others have any",
        "tokbench protocols NAME shows one whole; tokbench run --protocol NAME measures under it, and may name several",
    )
    return Table("Protocols", LIST_COLUMNS, rows, notes, "protocol")


def preset_table(name: str) -> Table:
    """One preset whole: every setting, its marks, and where it was read.

    Args:
        name: One of ``PRESETS``.
    """
    facts, info = preset_facts(name), PRESET_INFOS[name]
    settings: Mapping[str, Mapping[str, Any]] = facts["settings"]  # type: ignore[assignment]
    rows = tuple((key, _setting(setting)) for key, setting in settings.items())
    notes = [f"it repeats {info.repository}"] if info.repository else []
    notes += [f"{BUG_MARK} {key}: {why}" for key, why in info.bugs.items()]
    notes += [f"{UNVERIFIED_MARK} {text}" for text in info.unverified]
    notes += [f"not repeated: {text}" for text in info.not_repeated]
    if info.reports:
        notes.append(f"it reports {', '.join(info.reports)}; others are measured as this package does")
    return Table(f"{name} v{PRESETS[name].version}: {info.purpose}", SETTING_COLUMNS, rows, tuple(notes), "setting")


def _row(name: str) -> tuple[Cell, ...]:
    protocol, info = PRESETS[name], PRESET_INFOS[name]
    return (
        Cell(str(protocol.version), protocol.version),
        Cell(protocol.size_text, protocol.shape[0]),
        Cell(counted(len(info.bugs), "setting") if info.bugs else "-"),
        Cell(info.purpose),
    )


def _setting(setting: Mapping[str, Any]) -> tuple[Cell, ...]:
    value = setting["value"]
    text = ", ".join(value) or "none" if isinstance(value, tuple) else "none" if value is None else str(value)
    marks = (BUG_MARK if setting["bug"] else "") + ("" if setting["verified"] else UNVERIFIED_MARK)
    return Cell(text), Cell(marks or "-"), Cell(setting["source"])
