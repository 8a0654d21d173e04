"""Explanations written down: as sentences, as tables, and for machines; no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tokbench.configs import plain
from tokbench.escapes import visible
from tokbench.report.diff_tables import signed, unscaled_column
from tokbench.report.explain.causes import SOFTWARE, Cause
from tokbench.report.explain.explanation import Explanation, Split, Step
from tokbench.report.explain.fields import WEIGHT_WORDS
from tokbench.report.table import Cell, Column, Table
from tokbench.report.training import TRAINED_MARK, TRAINED_NOTE

TOGETHER = " + "
"""Stands between causes that are one step."""


def text(found: Explanation) -> str:
    """An explanation in sentences, a line each."""
    return "\n".join(map(visible, _lines(found))) + "\n"


def _lines(found: Explanation) -> Iterator[str]:
    yield f"first:  {found.first}"
    yield f"second: {found.second}"
    yield ""
    yield "What differs, the weightiest first:" if found.causes else "Nothing that the records say differs."
    for cause in found.causes:
        yield f"  {_area(cause)} {cause.text}"
        moved = f"moves {_moved(cause)}, {WEIGHT_WORDS[cause.row.weight]}" if cause.row.moves else "moves no figure"
        yield f"      {cause.row.words}; {moved}"
    for note in (*found.notes, *[TRAINED_NOTE] * found.trained_on):
        yield f"  note: {note}"
    for split in found.splits:
        yield ""
        yield from _of_figure(split, TRAINED_MARK * found.trained_on)


def _of_figure(split: Split, mark: str) -> Iterator[str]:
    column = _column(split)
    sides = ["-" if value is None else column.write(value) for value in (split.before, split.after)]
    change = "" if split.change is None else f", {signed(column, split.change)}{mark}"
    yield f"{split.key}: {sides[0]} -> {sides[1]}{change}"
    if split.apart:
        yield f"  does not compare: {', '.join(map(_called, split.apart))}"
    width = max((len(signed(column, step.change)) for step in split.steps), default=0)
    for step in split.steps:
        yield f"  {signed(column, step.change):>{width}}{_ends(column, step)}  {_step(step, split)}{_orders(column, step)}"
    if len(split.steps) > 1 and split.change is not None:
        yield f"  {signed(column, split.change):>{width}}  in all"
    if len(split.steps) != 1 or split.steps[0].joined:
        yield f"  {split.how}"


def tables(found: Explanation) -> list[Table]:
    """An explanation as tables: what differs, then the steps of every figure."""
    title = found.first if found.first == found.second else f"{found.first} -> {found.second}"
    left = [Column(name, name, align="left") for name in ("of", "first", "second", "moves", "by")]
    causes = tuple(
        (cause.key, tuple(map(Cell, (cause.area, cause.before, cause.after, _moved(cause), WEIGHT_WORDS[cause.row.weight]))))
        for cause in found.causes
    )
    columns = (
        Column("cause", "cause", align="left"),
        Column("change", "change", ranged=any(step.interval for split in found.splits for step in split.steps)),
        Column("measured", "measured", align="left"),
    )
    mark = TRAINED_MARK * found.trained_on
    rows = tuple((split.key, cells) for split in found.splits for cells in _rows(split, mark))
    notes = (*found.notes, *[TRAINED_NOTE] * found.trained_on, *dict.fromkeys(f"{split.key}: {split.how}" for split in found.splits))
    what = [Table(f"{title}: what differs", tuple(left), causes, (), "cause")] if causes else []
    return [*what, Table(f"{title}: differences by cause", columns, rows, notes, "figure")]


def _rows(split: Split, mark: str) -> Iterator[tuple[Cell, ...]]:
    column = _column(split)
    for step in split.steps:
        ends = (step.interval.low, step.interval.high) if step.interval else None
        texts = (signed(column, ends[0]), signed(column, ends[1])) if ends else None
        yield (
            Cell(_step(step, split)),
            Cell(signed(column, step.change), step.change, texts, ends, mark=mark),
            Cell("together" if step.joined else "apart"),
        )
    whole = Cell("-") if split.change is None else Cell(signed(column, split.change), split.change, mark=mark)
    yield Cell("in all"), whole, Cell("")


def as_json(found: Explanation) -> str:
    """An explanation as JSON: causes, and figures with steps that add up to their change."""
    return json.dumps(plain(_values(found)), indent=2, allow_nan=False) + "\n"


def _values(found: Explanation) -> dict[str, Any]:
    return {
        "first": found.first,
        "second": found.second,
        "differences": [_cause(cause) for cause in found.causes],
        "records_between": found.between,
        "notes": list(found.notes),
        "trained_on": found.trained_on,
        "figures": [
            {
                "figure": split.key,
                "first": split.before,
                "second": split.after,
                "change": split.change,
                "compares": not split.apart,
                "apart": list(split.apart),
                "causes": [cause.key for cause in split.causes],
                "steps": [_step_values(step) for step in split.steps],
                "how": split.how,
            }
            for split in found.splits
        ],
    }


def _cause(cause: Cause) -> dict[str, Any]:
    return {
        "cause": cause.key,
        "of": cause.area,
        "first": cause.before,
        "second": cause.after,
        "what": cause.row.words,
        "moves": list(cause.row.moves),
        "by": cause.row.weight,
    }


def _step_values(step: Step) -> dict[str, Any]:
    interval = step.interval
    return {
        "causes": list(step.causes),
        "change": step.change,
        "interval": None if interval is None else [interval.low, interval.high],
        "interval_is": None if interval is None else interval.method,
        "joined": step.joined,
        "orders": None if step.least is None else [step.least, step.most],
    }


def _column(split: Split) -> Column:
    """One more decimal than in tables, so that steps are seen to add up."""
    column = unscaled_column(split.key, split.info)
    return replace(column, digits=column.digits + 1)


def _ends(column: Column, step: Step) -> str:
    return "" if step.interval is None else f" [{signed(column, step.interval.low)}, {signed(column, step.interval.high)}]"


def _orders(column: Column, step: Step) -> str:
    if step.least is None or step.most is None:
        return ""
    return f" ({signed(column, step.least)} to {signed(column, step.most)} by order)"


def _step(step: Step, split: Split) -> str:
    texts = {cause.key: cause.text for cause in split.causes}
    return TOGETHER.join(texts.get(key, _called(key)) for key in step.causes)


def _called(key: str) -> str:
    return "versions and machine" if key == SOFTWARE else key


def _area(cause: Cause) -> str:
    return f"[{cause.area}]"


_MOVED = {
    "quality": "quality",
    "codes": "use of codes",
    "bound": "figures of originals",
    "rate": "rates",
    "speed": "speeds",
    "sets": "distances between sets",
    "inception": "distances on Inception",
    "efflite0": "distances on EfficientNet-Lite0",
}


def _moved(cause: Cause) -> str:
    return ", ".join(_MOVED.get(tag, tag) for tag in cause.row.moves) or "no figure"
