"""The command that evaluates a language model again, read from its record alone."""

from __future__ import annotations

import re
import shlex

from tokbench.records.lm_record import LanguageModelRecord
from tokbench.report.page.commands import OUT, placed
from tokbench.report.page.model import clipped

TASKS = {"generate", "edit", "describe", "complete"}
"""What is evaluated if no task is named."""

SAMPLING = {"temperature": 1.0, "top_k": None, "top_p": 1.0, "guidance": None}
"""Settings of sampling that have options, with their defaults; that of guidance is the model's own."""


def evaluate_command(record: LanguageModelRecord) -> str:
    """Write the command, with a comment on what it is given.

    Args:
        record: Record of the evaluation.
    """
    protocol, name = record.protocol, clipped(record.model.name)
    words = ["tokbench", "lm", "evaluate", name, "--prompts", str(protocol.prompts)]
    scenes = protocol.data_sha256 is None
    if not scenes:
        place = protocol.data if protocol.split == "given" else f"{protocol.data}/{protocol.split}"
        drawn = re.fullmatch(r"scenes([/:].*)?", place) is not None  # which are given as an export: by name other scenes are asked for
        words += [
            "--data",
            "EXPORT" if drawn else clipped(placed(place)),
            *(word for text in protocol.captions for word in ("--captions", clipped(text))),
        ]
    sampling = dict(protocol.sampling)
    if "edit_guidance" in sampling:  # nobody chose guidance: drawing has the model's own
        sampling.pop("guidance", None)
    if "edit_temperature" in sampling:  # nor a temperature
        sampling.pop("temperature", None)
    usual: list[tuple[str, object, object]] = [
        *([("--split", protocol.split, "test"), ("--training-scenes", protocol.training_scenes, 2000)] if scenes else []),
        ("--reward", protocol.reward, None),
        ("--seed", protocol.seed, 0),
        ("--precision", protocol.precision, "fp32"),
        *((f"--{key.replace('_', '-')}", sampling.get(key), default) for key, default in SAMPLING.items()),
    ]
    for option, value, default in usual:
        if value is not None and value != default:
            words += [option, clipped(value)]
    if set(protocol.tasks) != TASKS:
        words += [word for task in protocol.tasks for word in ("--task", clipped(task))]
    digest = f" whose weights are {clipped(record.model.state_sha256[:8])}" if record.model.state_sha256 else ""
    images = "" if scenes else "; give the place of the data if it is another one"
    images = f"; EXPORT is an export of {clipped(protocol.data)}" if "EXPORT" in words else images
    return f"{shlex.join([*words, '--out', OUT])}  # {name} is the folder of the model{digest}{images}"
