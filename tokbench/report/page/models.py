"""The section of the page on language models: figures of all splits side by side, plots, differences between stages, examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokbench.records.examples import Example
from tokbench.records.lm_record import LanguageModelRecord
from tokbench.records.lm_training import training_words
from tokbench.records.store import Rows
from tokbench.report.evaluated import ModelGroup, ModelRow, model_groups, sampling_words
from tokbench.report.lm import APART, DRAWING, EDITING, JUDGED, READING, difference_table, lm_tables
from tokbench.report.page.asked import Examples, examples_of
from tokbench.report.page.dots import DotChart, dot_chart
from tokbench.report.page.environment import macros
from tokbench.report.page.model import TEXT_LIMIT, clipped
from tokbench.report.plots.dots import DotPlot, part_plots, stage_plots
from tokbench.report.table import Table
from tokbench.report.training import trained_mark

if TYPE_CHECKING:
    from markupsafe import Markup

PICTURE_BYTES = 3_000_000
"""Most that the examples of a page may take, with what is written about them."""

COLUMNS = {column.key: column for column in (*DRAWING, *JUDGED, *EDITING, *READING, *APART)}

Entry = tuple[str, str, tuple[tuple[str, str], ...]]

FIGURES: tuple[Entry, ...] = (
    ("prompts: parts right %", "prompt_attributes", (("ceiling", "ceiling_attributes"), ("chance", "chance_attributes"))),
    ("prompts: all right %", "prompt_all_right", (("ceiling", "ceiling_all_right"), ("chance", "chance_all_right"))),
    ("reward", "reward", (("ceiling", "ceiling_reward"), ("originals", "original_reward"))),
    ("edits: change right %", "edit_change", (("ceiling", "ceiling_edit_change"), ("unedited", "unedited_edit_change"))),
    ("edits: PSNR outside dB", "edit_psnr", (("tokenizer", "tokenizer_psnr"),)),
    ("descriptions: parts right %", "description_attributes", ()),
    ("bits of a description", "description_bits", (("another image", "other_description_bits"),)),
    ("bits of an image", "image_bits", (("without words", "wordless_image_bits"),)),
    ("bits of a lower half", "completion_bits", ()),
    ("KD-EffLite0", "kd_efflite0", (("floor", "kd_efflite0_floor"),)),
    ("FD-EffLite0", "fd_efflite0", (("floor", "fd_efflite0_floor"),)),
    ("nearest training", "nearest_training", (("floor", "nearest_training_floor"),)),
)
"""Headings and keys, and what stands below each figure with its key."""


@dataclass(frozen=True)
class Evaluated:
    """What one file holds.

    Args:
        file: Its name, for the reader.
        record: The record.
        rows: Values by prompt; empty if there are none.
        examples: Prompts with their answers, to be looked at.
        problems: What could not be read, and why.
    """

    file: str
    record: LanguageModelRecord
    rows: Rows
    examples: Sequence[Example] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A cell: the figure, its interval, what it is compared with, and why there is none; all as text."""

    text: str
    interval: str = ""
    beside: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class ModelLine:
    """A row of the table: the model, what it is, and its figures, all splits of one before the next."""

    name: str
    about: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class ModelPart:
    """What the page shows of one group.

    Args:
        number: Number of the group.
        title: What was asked.
        scenes: Whether it is of drawn scenes, whose answers are right or wrong.
        splits: Splits of the prompts.
        headings: Figures that there are, with their arrows.
        lines: The models.
        stages: Plots of the models.
        parts: Plots by kind of part.
        differences: Tables of what differs between models.
        examples: Prompts with answers.
        tables: Everything else.
        problems: What could not be read.
    """

    number: int
    title: str
    scenes: bool
    splits: tuple[str, ...]
    headings: tuple[tuple[str, str], ...]
    lines: tuple[ModelLine, ...]
    stages: tuple[DotChart, ...]
    parts: tuple[DotChart, ...]
    differences: tuple[Table, ...]
    examples: tuple[Examples, ...]
    tables: tuple[Table, ...]
    problems: tuple[str, ...]


def models_body(found: Sequence[Evaluated], images: int) -> Markup:
    """Write the section.

    Args:
        found: What the files hold.
        images: Prompts of a task whose answers are shown at most.

    Returns:
        Its HTML.
    """
    records = [item.record for item in found]
    groups = model_groups(records)
    parts, left = [], PICTURE_BYTES
    for number, group in enumerate(groups):
        part, spent = _part(number, found, group, images, left // (len(groups) - number))
        parts.append(part)
        left -= spent
    body: Markup = macros("_models.html.j2").section(parts, images)
    return body


def _part(number: int, found: Sequence[Evaluated], group: ModelGroup, images: int, budget: int) -> tuple[ModelPart, int]:
    records = [item.record for item in found]
    members = [found[place] for row in group.rows for place in row.places.values()]
    keys = [entry for entry in FIGURES if any(entry[1] in item.record.figures for item in members)]
    examples, spent = _examples(found, group, images, budget)
    part = ModelPart(
        number=number,
        title=group.title,
        scenes=members[0].record.protocol.data_sha256 is None,
        splits=group.splits,
        headings=tuple((title, COLUMNS[key].arrow) for title, key, _ in keys),
        lines=tuple(_line(records, row, group.splits, keys) for row in group.rows),
        stages=_charts(stage_plots(records, group)),
        parts=_charts(part_plots(records, group)),
        differences=tuple(_differences(found, group)),
        examples=examples,
        tables=tuple(lm_tables([item.record for item in members])),
        problems=tuple(clipped(f"{item.file}: {problem}", TEXT_LIMIT) for item in members for problem in item.problems),
    )
    return part, spent


def _charts(plots: Sequence[DotPlot]) -> tuple[DotChart, ...]:
    return tuple(chart for chart in map(dot_chart, plots) if chart is not None)


def _examples(found: Sequence[Evaluated], group: ModelGroup, images: int, budget: int) -> tuple[tuple[Examples, ...], int]:
    """Examples of every split in turn, and the bytes they take."""
    examples: list[Examples] = []
    spent = 0
    for i, split in enumerate(group.splits):
        members = [(row.name, found[row.places[split]]) for row in group.rows if split in row.places]
        models = [(name, item.examples, item.rows) for name, item in members]
        own, bytes_taken = examples_of(split, models, most=images, budget=(budget - spent) // (len(group.splits) - i))
        examples += own
        spent += bytes_taken
    return tuple(examples), spent


def _line(records: Sequence[LanguageModelRecord], row: ModelRow, splits: Sequence[str], keys: Sequence[Entry]) -> ModelLine:
    own = {split: records[place] for split, place in row.places.items()}
    cells = [_figure(own.get(split), key, beside) for _, key, beside in keys for split in splits]
    return ModelLine(clipped(row.name), _about(list(own.values())), tuple(cells))


def _differences(found: Sequence[Evaluated], group: ModelGroup) -> list[Table]:
    tables = []
    for split in group.splits:
        rows = [row for row in group.rows if split in row.places and found[row.places[split]].rows]
        members = [found[row.places[split]] for row in rows]
        if len(members) > 1:
            names, records = [row.name for row in rows], [item.record for item in members]
            tables.append(difference_table(split, names, records, [item.rows for item in members]))
    return tables


def _about(records: Sequence[LanguageModelRecord]) -> str:
    record = records[0]
    seconds = [one.timing.seconds_per_image for one in records if one.timing.seconds_per_image is not None]
    parts = [record.tokenizer.name, f"{record.model.parameters / 1e6:.2f} M parameters", training_words(record), sampling_words(record)]
    return clipped(", ".join([*filter(None, parts), *[f"{seconds[0]:.3f} s an image" for _ in seconds[:1]]]), 300)


def _figure(record: LanguageModelRecord | None, key: str, beside: Sequence[tuple[str, str]]) -> Figure:
    column = COLUMNS[key]
    figure = None if record is None else record.figures.get(key)
    if record is None or figure is None or figure.value is None:
        reason = "not evaluated" if record is None else "not measured" if figure is None else figure.reason or "no figure"
        return Figure("-", reason=clipped(reason, 300))
    ends = None if figure.interval is None else figure.interval.ends()
    interval = "" if ends is None else f"[{column.write(ends[0])}, {column.write(ends[1])}]"
    told = [(name, other.value) for name, own in beside if (other := record.figures.get(own)) is not None]
    text = column.write(figure.value) + trained_mark(record.trained_on)
    return Figure(text, interval, tuple(f"{name} {column.write(value)}" for name, value in told if value is not None))
