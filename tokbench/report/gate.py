"""Conditions that fail a build, such as ``lpips>0.15``: read, checked against records, and written for machines."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from tokbench.configs import UNLESS_DEFAULT, plain
from tokbench.errors import TokbenchError, unknown_name
from tokbench.escapes import visible
from tokbench.files import write_text
from tokbench.records.figures import BY_KEY, RATES, SPEEDS
from tokbench.records.record import Record
from tokbench.report.training import mark_words, marks_of

CHANGE = ".change"
"""Ends the name of a metric's change from one record to another."""

LOW, HIGH = ".low", ".high"
"""End the names of the ends of a change's 95 % interval: a change is beyond chance where both lie on one side of 0."""

PATTERN = re.compile(r"\s*([A-Za-z_][\w.:\[\]-]*?)\s*(<=|>=|<|>)\s*([-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|inf))\s*")

Values = Mapping[str, float | str]
"""Name to figure, or to the reason why there is none."""


@dataclass(frozen=True)
class Condition:
    """What fails: a name, an operator and a bound.

    Args:
        text: As it was given.
        name: Name of the metric, with ``.change`` for its change.
        operator: ``<``, ``<=``, ``>`` or ``>=``.
        bound: What the figure is compared with.
    """

    text: str
    name: str
    operator: str
    bound: float

    def holds(self, value: float) -> bool:
        """Whether a figure meets the condition, and so fails."""
        return {
            "<": value < self.bound,
            "<=": value <= self.bound,
            ">": value > self.bound,
            ">=": value >= self.bound,
        }[self.operator]


@dataclass(frozen=True)
class Check:
    """One condition on one record or pair of records.

    Args:
        subject: Which record.
        condition: As it was given.
        value: The figure; None if there is none.
        failed: Whether the condition holds, or cannot be checked.
        message: What was found, in one line.
        note: What is to be known of the tokenizer's training, where tables mark the figure.
    """

    subject: str
    condition: str
    value: float | None
    failed: bool
    message: str
    note: str = field(default="", metadata=UNLESS_DEFAULT)

    @property
    def said(self) -> str:
        """The message with the note."""
        return f"{self.message} ({self.note})" if self.note else self.message


def parse_conditions(texts: Sequence[str], *, known: Iterable[str] | None = None, changes: bool = False) -> list[Condition]:
    """Read conditions.

    Args:
        texts: Such as ``lpips>0.15``, ``psnr<26`` or, for changes, ``psnr.change<-0.2``.
        known: Names a condition may have; None allows all.
        changes: Whether there are changes to be checked.

    Raises:
        TokbenchError: If a text is no condition, or its name is unknown.
    """
    conditions = []
    names = None if known is None else set(known)
    for text in texts:
        match = PATTERN.fullmatch(text)
        if match is None:
            raise TokbenchError(f"--fail-if takes a metric, one of < <= > >= and a number, e.g. 'lpips>0.15'; got {text!r}")
        if math.isinf(float(match[3])) and "inf" not in match[3]:
            raise TokbenchError(f"--fail-if {text!r} has a number too large for a figure; give a smaller one, or inf")
        name = match[1]
        base = name.removesuffix(LOW).removesuffix(HIGH) if CHANGE in name else name
        base = base.removesuffix(CHANGE)
        if names is not None and base not in names:
            raise unknown_name("metric", base, names, hint=f"In --fail-if {text!r}.")
        if name != base and not changes:
            raise TokbenchError(f"--fail-if {text!r} asks for a change, which takes two records: use tokbench diff A B")
        conditions.append(Condition(text.strip(), name, match[2], float(match[3])))
    return conditions


def known_names(records: Iterable[Record] = ()) -> set[str]:
    """Names a condition may have: metrics of tables and of these records, and what is derived or timed."""
    return set(BY_KEY).union(*(record.metrics for record in records))


def record_values(record: Record) -> dict[str, float | str]:
    """Everything of a record that a condition may name."""
    none = "the record has none"
    missing = {info.key: none for info in (*RATES, *SPEEDS)} | {key: metric.reason or none for key, metric in record.metrics.items()}
    return missing | record.figures()


def record_marks(record: Record) -> dict[str, str]:
    """Marks that tables give the figures of a record for the sake of the tokenizer's training."""
    return {key: marks_of(record, metric) for key, metric in record.metrics.items()}


def check(
    conditions: Sequence[Condition], subjects: Sequence[tuple[str, Values]], marks: Sequence[Mapping[str, str]] | None = None
) -> list[Check]:
    """Check every condition on every subject; a figure that is missing or no number fails, with its reason.

    Args:
        conditions: What fails.
        subjects: Names with values.
        marks: Marks of the values of each subject, by name; None where there are none.
    """
    checks = []
    for (subject, values), own in zip(subjects, marks or [{}] * len(subjects), strict=True):
        for condition in conditions:
            value = values.get(condition.name, "it was not measured")
            if isinstance(value, str):
                checks.append(Check(subject, condition.text, None, True, visible(f"no {condition.name}: {value}")))
            elif math.isnan(value):
                checks.append(Check(subject, condition.text, None, True, f"{condition.name} is not a number"))
            else:
                failed = condition.holds(value)
                message = f"{visible(condition.name)} is {value:.6g}"
                checks.append(Check(subject, condition.text, value, failed, message, mark_words(own.get(condition.name, ""))))
    return checks


def write_checks(checks: Sequence[Check], path: Path) -> None:
    """Write checks for machines.

    Args:
        checks: What was found.
        path: JUnit XML if it ends in ``.xml``, JSON if in ``.json``.

    Raises:
        TokbenchError: If it ends otherwise or cannot be written.
    """
    check_format(path)
    writers = {".xml": junit, ".json": checks_json}
    write_text(path, writers[path.suffix.lower()](checks))


def check_format(path: Path) -> None:
    """Refuse the name of a file of checks that ends in neither ``.xml`` nor ``.json``.

    Raises:
        TokbenchError: If it does so.
    """
    if path.suffix.lower() not in (".xml", ".json"):
        raise TokbenchError(f"{path} must end in .xml (JUnit) or .json")


def junit(checks: Sequence[Check]) -> str:
    """Checks as JUnit XML: one test case a record and condition, with the note as what it printed."""
    failures = str(sum(one.failed for one in checks))
    suites = ElementTree.Element("testsuites", tests=str(len(checks)), failures=failures)
    suite = ElementTree.SubElement(suites, "testsuite", name="tokbench", tests=str(len(checks)), failures=failures)
    for one in checks:
        case = ElementTree.SubElement(suite, "testcase", classname=_clean(one.subject), name=f"not {_clean(one.condition)}")
        if one.failed:
            ElementTree.SubElement(case, "failure", message=_clean(one.said), type="gate").text = _clean(one.said)
        if one.note:
            ElementTree.SubElement(case, "system-out").text = _clean(one.note)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def checks_json(checks: Sequence[Check]) -> str:
    """Checks as JSON."""
    return json.dumps({"failed": any(one.failed for one in checks), "checks": plain(list(checks))}, indent=2, allow_nan=False) + "\n"


def _clean(text: str) -> str:
    """Text without the control characters that XML does not allow."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)
