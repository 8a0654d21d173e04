"""Records of language models to tables: drawing, editing, reading, and how far samples are from fresh scenes; no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tokbench.escapes import visible
from tokbench.image_size import size_text
from tokbench.records.intervals import Interval, group_bootstrap
from tokbench.records.lm_record import GROUP, LanguageModelRecord
from tokbench.records.lm_training import training_words
from tokbench.records.store import Rows
from tokbench.report.evaluated import row_names, sampling_words
from tokbench.report.lineage import in_order, predecessors
from tokbench.report.table import Cell, Column, Table
from tokbench.report.training import trained_mark, trained_notes

DRAWING = (
    Column("parts right %", "prompt_attributes", 1, 100.0, "↑"),
    Column("ceiling %", "ceiling_attributes", 1, 100.0),
    Column("chance %", "chance_attributes", 1, 100.0),
    Column("all right %", "prompt_all_right", 1, 100.0, "↑"),
    Column("ceiling, all %", "ceiling_all_right", 1, 100.0),
    Column("originals, all %", "original_all_right", 1, 100.0),
)
BY_PART = (
    Column("shape %", "prompt_shape", 1, 100.0, "↑"),
    Column("colour %", "prompt_colour", 1, 100.0, "↑"),
    Column("size %", "prompt_size", 1, 100.0, "↑"),
    Column("fill %", "prompt_fill", 1, 100.0, "↑"),
    Column("place %", "prompt_place", 1, 100.0, "↑"),
    Column("relation %", "prompt_relation", 1, 100.0, "↑"),
    Column("ground %", "prompt_ground", 1, 100.0, "↑"),
    Column("number %", "prompt_number", 1, 100.0, "↑"),
)
EDITING = (
    Column("change right %", "edit_change", 1, 100.0, "↑"),
    Column("ceiling %", "ceiling_edit_change", 1, 100.0),
    Column("unedited %", "unedited_edit_change", 1, 100.0),
    Column("all right %", "edit_all_right", 1, 100.0, "↑"),
    Column("PSNR outside dB", "edit_psnr", 2, 1.0, "↑"),
    Column("tokenizer's PSNR dB", "tokenizer_psnr", 2),
)
JUDGED = (
    Column("reward", "reward", 3, 1.0, "↑"),
    Column("ceiling", "ceiling_reward", 3),
    Column("originals", "original_reward", 3),
)
READING = (
    Column("parts right %", "description_attributes", 1, 100.0, "↑"),
    Column("all right %", "description_all_right", 1, 100.0, "↑"),
    Column("bits/description", "description_bits", 1, 1.0, "↓"),
    Column("of another image", "other_description_bits", 1),
    Column("bits/image", "image_bits", 1, 1.0, "↓"),
    Column("without words", "wordless_image_bits", 1, 1.0, "↓"),
    Column("bits of lower half", "completion_bits", 1, 1.0, "↓"),
)
APART = (
    Column("KD-EffLite0", "kd_efflite0", 5, 1.0, "↓"),
    Column("floor", "kd_efflite0_floor", 5),
    Column("FD-EffLite0", "fd_efflite0", 2, 1.0, "↓"),
    Column("floor", "fd_efflite0_floor", 2),
    Column("nearest training", "nearest_training", 4),
    Column("floor", "nearest_training_floor", 4),
)

PARTS = (
    (
        "drawing from words",
        DRAWING,
        "parts of what the words ask for, read from the images; ceiling: from what the tokenizer makes of the right scenes; "
        "chance: from right scenes of other words",
    ),
    ("drawing from words, part by part", BY_PART, "of prompts whose words ask for that part"),
    (
        "drawing from words, judged",
        JUDGED,
        "of images drawn from words, of what the tokenizer makes of the real ones, and of these",
    ),
    (
        "editing",
        EDITING,
        "change: what was asked changed; ceiling: what the tokenizer makes of the right scene; unedited: of the scene before; "
        "PSNR where nothing was to change",
    ),
    (
        "reading",
        READING,
        "parts of descriptions that are so; bits: of images given their words, and of lower halves given the upper",
    ),
    (
        "samples beside fresh scenes",
        APART,
        "floors: of fresh scenes in place of samples; nearest: one minus the cosine to the nearest of some training scenes",
    ),
)
"""Tables: what they show, their columns, and a note."""

OF_IMAGES = (
    *PARTS[:-2],
    (
        "reading",
        READING,
        "bits: of descriptions given their images and given others, of images given their words and without, and of lower halves given the "
        "upper",
    ),
    (
        "samples beside real images",
        APART,
        "floors: of the real images whose words were asked for, in place of samples; nearest: one minus the cosine to the nearest of some "
        "training images",
    ),
)
"""The same of images that are not scenes."""


OF_ORIGINALS = frozenset(
    {
        "chance_attributes",
        "original_all_right",
        "unedited_edit_change",
        "original_reward",
        "kd_efflite0_floor",
        "fd_efflite0_floor",
        "nearest_training_floor",
    }
)
"""Figures of images that no tokenizer has touched, whatever it was trained on."""

PAIRED = (
    Column("parts right %", "prompt_attributes", 1, 100.0, "↑"),
    Column("all right %", "prompt_all_right", 1, 100.0, "↑"),
    Column("edits: change right %", "edit_change", 1, 100.0, "↑"),
    Column("descriptions: parts right %", "description_attributes", 1, 100.0, "↑"),
    Column("bits/image", "image_bits", 1, 1.0, "↓"),
    Column("bits/description", "description_bits", 1, 1.0, "↓"),
    Column("reward", "reward", 3, 1.0, "↑"),
)
"""Figures whose differences are shown."""


def lm_tables(records: Sequence[LanguageModelRecord], rows: Sequence[Rows] = ()) -> list[Table]:
    """Arrange records.

    Args:
        records: Rows have their order, but for stages, which follow those they go on from.
        rows: Values of each record by prompt; with them differences between models are shown too.

    Returns:
        For every protocol the tables that have a figure; intervals are over prompts.
    """
    sections: dict[tuple[str, str | None], list[int]] = {}
    for place in in_order(records):
        record = records[place]
        label = f"{record.protocol.label} at {size_text(record.protocol.size)} px"
        sections.setdefault((label, record.protocol.data_sha256), []).append(place)
    tables = []
    for (label, _), places in sections.items():
        members = [records[place] for place in places]
        names = row_names(members)
        for title, columns, note in PARTS if members[0].protocol.data_sha256 is None else OF_IMAGES:
            shown = measured(columns, members)
            if not shown:
                continue
            lines = [(name, tuple(_cell(record, column) for column in shown)) for name, record in zip(names, members, strict=True)]
            marked = trained_notes(names, [record.trained_on for record in members])
            notes = (note, *marked, *_reasons(shown, members), *(_about(name, record) for name, record in zip(names, members, strict=True)))
            tables.append(Table(f"{title}: {label.replace('_', ', ')}", shown, tuple(lines), notes, lead="model"))
        if rows and len(members) > 1 and measured(PAIRED, members):
            tables.append(difference_table(label, names, members, [rows[place] for place in places]))
    return tables


def _reasons(columns: Sequence[Column], records: Sequence[LanguageModelRecord]) -> list[str]:
    """Why figures are missing, each reason once."""
    found: dict[str, list[str]] = {}
    for column in columns:
        for record in records:
            figure = record.figures.get(column.key)
            if figure is not None and figure.value is None and figure.reason:
                titles = found.setdefault(figure.reason, [])
                titles.extend([column.title] * (column.title not in titles))
    return [f"{', '.join(titles)}: {reason}" for reason, titles in found.items()]


def measured(columns: Sequence[Column], records: Sequence[LanguageModelRecord]) -> tuple[Column, ...]:
    """The columns of which a record has a figure, or the reason why there is none."""
    return tuple(column for column in columns if any(column.key in record.figures for record in records))


def difference_table(label: str, names: Sequence[str], records: Sequence[LanguageModelRecord], rows: Sequence[Rows]) -> Table:
    """Each model less the one it was trained on from, or the one before it, prompt by prompt.

    Args:
        label: What the prompts are.
        names: Names of the models.
        records: Their records, as ``in_order`` puts them.
        rows: Values by prompt of each.
    """
    columns = measured(PAIRED, records)
    pairs = [(place, other) for place, other in enumerate(predecessors(records)) if other is not None]
    among = [bool(record.trained_on) for record in records]
    lines = [
        (
            f"{names[place]} less {names[other]}",
            tuple(_difference(rows[place], rows[other], column, trained_mark(among[place] or among[other])) for column in columns),
        )
        for place, other in pairs
    ]
    note = "means of differences over the prompts that both were asked, with 95 % intervals over prompts; without 0 in it, beyond chance"
    return Table(
        f"differences, paired over prompts: {label.replace('_', ', ')}",
        tuple(columns),
        tuple(lines),
        (note, *trained_notes(names, among)),
        lead="models",
    )


def _difference(own: Rows, there: Rows, column: Column, mark: str) -> Cell:
    one, other = own.get(column.key, {}), there.get(column.key, {})
    prompts = sorted(one.keys() & other.keys())
    if not prompts:
        return Cell("-")
    values = [one[prompt] - other[prompt] for prompt in prompts]
    groups = own.get(GROUP, {})
    apart = [str(groups.get(prompt, prompt)) for prompt in prompts]
    return _written(math.fsum(values) / len(values), group_bootstrap(values, apart), column, mark)


def _about(name: str, record: LanguageModelRecord) -> str:
    seconds = record.timing.seconds_per_image
    speed = "" if seconds is None else f", {seconds:.3f} s an image"
    training = "".join(f", {words}" for words in [visible(training_words(record))] if words)
    return f"{name}: {record.model.parameters:,} parameters over {record.tokenizer.name}{training}; {sampling_words(record)}{speed}"


def _cell(record: LanguageModelRecord, column: Column) -> Cell:
    figure = record.figures.get(column.key)
    if figure is None or figure.value is None:
        return Cell("-")
    return _written(figure.value, figure.interval, column, trained_mark(record.trained_on) * (column.key not in OF_ORIGINALS))


def _written(value: float, interval: Interval | None, column: Column, mark: str) -> Cell:
    ends = None if interval is None else interval.ends()
    shown = None if ends is None else (column.write(ends[0]), column.write(ends[1]))
    return Cell(column.write(value), value, ends=shown, interval=ends, mark=mark)
