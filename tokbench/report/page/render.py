"""The page: groups of records and their pictures into one HTML file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import TYPE_CHECKING, Any

from tokbench.report.page import facts, gallery, leaderboard, matrix, scatter, spread, tokens, usage
from tokbench.report.page.answers import answers, leading_columns
from tokbench.report.page.commands import Asked, anchor_command, commands, prediction_command, probe_command, run_command, speed_command
from tokbench.report.page.embed import script_json
from tokbench.report.page.environment import environment, macros
from tokbench.report.page.evaluate_command import evaluate_command
from tokbench.report.page.headings import headings
from tokbench.report.page.leading import Leading
from tokbench.report.page.learned import learned_plots
from tokbench.report.page.model import Entry, Group
from tokbench.report.page.models import Evaluated, models_body
from tokbench.report.page.speeds import speed_curves
from tokbench.report.passes import pass_tables, passes_of
from tokbench.report.pictures import ChosenImage, Pictures
from tokbench.report.prediction import prediction_tables
from tokbench.report.probe import probe_tables
from tokbench.report.speed import speed_tables
from tokbench.report.table import Table
from tokbench.report.told_tables import told_tables

if TYPE_CHECKING:
    from markupsafe import Markup

    from tokbench.records.prediction_record import PredictionRecord
    from tokbench.records.probe_record import ProbeRecord
    from tokbench.records.record import Record
    from tokbench.records.speed_record import SpeedRecord
    from tokbench.report.telling import Telling

PICTURE_BYTES = 11_000_000
"""Most that the galleries and token pictures of a page may take, with what is written in them."""

TOKEN_SHARE = 0.25
"""Most of a group's part of it that its token pictures may take."""

SCRIPTS = ("js/page.js", "js/folds.js", "js/table.js", "js/plots.js", "js/pictures.js")
"""Files of the page's script, the first with what the others share."""

TOKEN_IMAGES = 4
"""Images whose tokens a group shows."""


@dataclass(frozen=True)
class Shown:
    """A group's pictures.

    Args:
        chosen: Which images, and why.
        pictures: Pictures of the group's records, in their order.
    """

    chosen: Sequence[ChosenImage]
    pictures: Pictures


@dataclass(frozen=True)
class Extra:
    """A section of another origin.

    Args:
        key: Its anchor, letters and hyphens.
        title: Its heading.
        body: Its HTML; styles and scripts of its own do not run.
        records: How many it shows.
        commands: That make these again.
    """

    key: str
    title: str
    body: Markup
    records: int = 0
    commands: tuple[str, ...] = ()


def render_page(
    groups: Sequence[Group],
    shown: Sequence[Shown | None],
    *,
    extra: Sequence[Extra] = (),
    leading: Leading | None = None,
    asked: Asked | None = None,
) -> str:
    """Write the page.

    Args:
        groups: From ``arrange``.
        shown: Pictures of every group; None where there are none.
        extra: Further sections, after the groups.
        leading: The figure that is shown first; the further section that has it comes before the others.
        asked: What the page was asked for, for the command that makes it again.

    Returns:
        The HTML.

    Raises:
        ValueError: If groups and pictures are not equally many, or there is neither a group nor another section.
    """
    if not (groups or extra) or len(groups) != len(shown):
        raise ValueError(f"{len(groups)} groups with {len(shown)} sets of pictures")
    extra = sorted(extra, key=lambda section: leading is None or section.key != leading.section)
    parts: list[dict[str, Any]] = []
    left = PICTURE_BYTES
    for i, (group, heading, pictures) in enumerate(zip(groups, headings(groups), shown, strict=True)):
        first = sum(len(part["gallery"].images) for part in parts if part["gallery"])
        part, spent = _part(group, pictures, left // max(1, sum(other is not None for other in shown[i:])))
        parts.append(part | {"heading": heading, "first_image": first})
        left -= spent
    subjects = _subjects(groups)
    style, script = _asset("style.css"), _asset(*SCRIPTS)
    template = environment().get_template("page.html.j2")
    return template.render(
        parts=parts,
        subjects=subjects,
        heading=_heading(subjects) if groups else extra[0].title,
        aside=0 < sum(entry.codec is not None for entry in subjects) < len(subjects),
        leading=leading,
        answers=answers(groups),
        pictures=matrix.matrices(groups, leading_columns(groups)),
        extra=extra,
        warnings=facts.warnings(groups),
        published=facts.published(groups),
        environments=facts.environments(groups),
        commands=commands(groups, [command for section in extra for command in section.commands], asked),
        count=sum(len(group.entries) for group in groups) + sum(section.records for section in extra),
        data=script_json(_data(parts)),
        style=style,
        script=script,
        policy=f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'",
        plot=scatter,
        matrix=matrix,
        spread=spread,
        usage=usage,
    )


def extra_tables(key: str, title: str, tables: Sequence[Table]) -> Extra:
    """A section that is tables of figures that are not in the records of runs.

    Args:
        key: Its anchor, letters and hyphens.
        title: Its heading.
        tables: What it holds.
    """
    return Extra(key, title, macros("_facts.html.j2").plain(tables))


def probe_section(records: Sequence[ProbeRecord], groups: Sequence[Group] = ()) -> Extra:
    """The section on how learnable tokens are.

    Args:
        records: Records of probes.
        groups: Groups of the page, whose tokenizers keep their colours.
    """
    curves: Markup = macros("_learned.html.j2").curves(learned_plots(records, groups), scatter)
    tables = extra_tables("learnability", "Learnability", probe_tables(records))
    return replace(tables, body=curves + tables.body, records=len(records), commands=tuple(dict.fromkeys(map(probe_command, records))))


def models_section(found: Sequence[Evaluated], images: int = 24) -> Extra:
    """The section on language models.

    Args:
        found: What the files of their records hold.
        images: Prompts of a task whose answers are shown at most.
    """
    commands = tuple(dict.fromkeys(evaluate_command(item.record) for item in found))
    return Extra("models", "Language models", models_body(found, images), records=len(found), commands=commands)


def speed_section(records: Sequence[SpeedRecord], groups: Sequence[Group] = ()) -> Extra:
    """The section on how fast tokenizers are.

    Args:
        records: Records of speed tests.
        groups: Groups of the page, whose tokenizers keep their colours.
    """
    curves: Markup = macros("_learned.html.j2").curves(speed_curves(records, groups), scatter)
    tables = extra_tables("speed", "Speed and memory", speed_tables(records))
    return replace(tables, body=curves + tables.body, records=len(records), commands=tuple(dict.fromkeys(map(speed_command, records))))


def prediction_section(records: Sequence[PredictionRecord]) -> Extra:
    """The section on what tokens may tell of models that generate them.

    Args:
        records: Records of predictions.
    """
    tables = extra_tables("generation", "What may tell of generation", prediction_tables(records, intervals=True))
    return replace(tables, records=len(records), commands=tuple(dict.fromkeys(map(prediction_command, records))))


def told_section(telling: Telling) -> Extra:
    """The section on which figures told beforehand how well the models among the records do.

    Args:
        telling: What told.
    """
    return extra_tables("told", "What told beforehand", told_tables(telling))


def passes_section(records: Sequence[Record]) -> Extra:
    """The section on tokenizers that were measured in several passes, of which the groups of the page have the first.

    Args:
        records: Records of all passes.
    """
    groups = [[records[i] for i in places] for places in passes_of(records)]
    tables = extra_tables("passes", "Passes of stochastic tokenizers", pass_tables(records))
    later = sum(len(group) - 1 for group in groups)
    return replace(tables, records=later, commands=tuple(dict.fromkeys(run_command(group[-1]) for group in groups)))


def _part(group: Group, shown: Shown | None, budget: int) -> tuple[dict[str, Any], int]:
    """What the templates show of a group, and the bytes its pictures take."""
    pictures, seen, credits, spent = None, tokens.TokenPictures(()), [], 0
    if shown is not None:
        names = [item.image_id for item in shown.chosen][:TOKEN_IMAGES]
        seen, by_tokens = tokens.token_pictures(group, names, shown.pictures, int(budget * TOKEN_SHARE))
        pictures, by_gallery = gallery.make_gallery(group, shown.chosen, shown.pictures, budget - by_tokens)
        credits = gallery.credit_lines(shown.pictures, [*(image.name for image in pictures.images), *(image.name for image in seen.images)])
        spent = by_tokens + by_gallery
    part = {
        "group": group,
        "size": len(group.entries),
        "shown": shown is not None,
        "board": leaderboard.leaderboard(group),
        "rates": scatter.rate_plots(group),
        "speeds": scatter.speed_plots(group),
        "anchors": anchor_command(group, missing_anchors(group)),
        "ranks": usage.rank_plot(group),
        "usage": usage.usage_histograms(group),
        "spreads": spread.spreads(group),
        "gallery": pictures,
        "reasons": sorted({reason for image in pictures.images for reason in image.reasons}) if pictures else [],
        "tokens": seen,
        "credits": credits,
        "sources": facts.sources(group),
    }
    return part, spent


def missing_anchors(group: Group) -> list[str]:
    """Names of anchors at the tokenizers' rates that the group lacks; none for rates that raw pixels have."""
    here = {entry.record.tokenizer.name for entry in group.entries}
    pixels = group.entries[0].record.protocol.pixels_per_image
    rates = {
        math.floor(bits / 8)
        for entry in group.entries
        if entry.codec is None
        and (bits := entry.record.tokens.bits_per_image) is not None
        and math.isfinite(bits)
        and 8 <= bits < 24 * pixels
    }
    return [name for rate in sorted(rates) for name in (f"anchor/webp-{rate}", f"anchor/jpeg-{rate}") if name not in here]


def _subjects(groups: Sequence[Group]) -> list[Entry]:
    """One entry for every tokenizer on the page, codecs last."""
    found: dict[int, Entry] = {}
    for group in groups:
        for entry in group.entries:
            found.setdefault(entry.subject, entry)
    return sorted(found.values(), key=lambda entry: entry.codec is not None)


def _heading(subjects: Sequence[Entry]) -> str:
    tokenizers = [entry for entry in subjects if entry.codec is None]
    if len(tokenizers) > 1:
        return f"{len(tokenizers)} image tokenizers compared"
    return tokenizers[0].name if tokenizers else "Image codecs"


def _data(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the script needs to know: figures of every image, by group, for the viewer."""
    columns, images = {}, []
    for part in parts:
        pictures = part["gallery"]
        if pictures is None:
            continue
        for column in pictures.columns:
            columns[column.key] = {"title": column.title, "arrow": column.arrow, "digits": column.digits, "scale": column.scale}
        images += [{"group": part["group"].number, "values": image.figures} for image in pictures.images]
    return {"columns": columns, "images": images}


def _asset(*names: str) -> Markup:
    """Files of this package as they are, one after the other, to stand inside an element of their kind."""
    from markupsafe import Markup

    text = "\n".join((resources.files("tokbench.report.page") / name).read_text(encoding="utf-8") for name in names)
    if "</" in text:
        raise ValueError(f"{' and '.join(names)} must not hold '</', which could end their element")
    return Markup(text)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"
