"""The commands that make a record again, read from the record alone."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tokbench.configs import flat, plain
from tokbench.data.public import PUBLIC, as_called
from tokbench.errors import TokbenchError
from tokbench.image_size import size_text
from tokbench.records.figures import BY_KEY, FIGURES
from tokbench.records.prediction_figures import BY_KEY as PREDICTED
from tokbench.records.prediction_figures import STUDIES
from tokbench.records.prediction_record import PredictionProtocol, PredictionRecord
from tokbench.records.probe_protocol import PRESETS as PROBES
from tokbench.records.probe_record import ProbeRecord
from tokbench.records.protocol import DEFAULT, PRESETS, Protocol, value_text
from tokbench.records.record import Record, TokenizerInfo
from tokbench.records.speed_record import MODES, SpeedProtocol, SpeedRecord
from tokbench.report.page.model import Group, clipped
from tokbench.weights.assets import ASSETS, TIMM

OPTIONS = {
    **{"samples": "--limit", "size": "--size", "seed": "--seed", "precision": "--precision"},
    **{"tokenizer_batch": "--micro-batch", "jpeg_draft": "--jpeg-draft"},
}
"""Settings of a protocol that ``tokbench run`` has options for."""

PROBE_OPTIONS = {
    "images_seen": "--images-seen",
    "augment": "--augment",
    "condition": "--condition",
    "held_out": "--held-out",
    "seed": "--seed",
    "precision": "--precision",
}
"""Settings of a budget that ``tokbench probe`` has options for."""

PLACELESS = re.compile(r"photos/(test|train)|text|faces|scenes/(test|train|held-out)(:[0-9]{1,8})?")
"""Data that ``--data`` finds by their names."""

MODULES = ("changed", "quantizers")
"""Parts of a recorded configuration that say what the modules were."""

SETTINGS = {"kept_length": "--lengths", "tiling.size": "--tile-size", "tiling.overlap": "--tile-overlap"}
"""Parts of it that options of their own set, and no ``--set``."""

OUT = "results"
"""Folder of the records that the commands make."""


@dataclass(frozen=True)
class Asked:
    """What ``tokbench report`` was asked for when it made a page.

    Args:
        places: Record files and folders.
        output: File of the page.
        images: What ``--images`` was given; None leaves it out.
        data: What ``--data`` was given.
    """

    places: tuple[str, ...] = (OUT,)
    output: str = "report.html"
    images: int | None = None
    data: tuple[str, ...] = ()


def commands(groups: Sequence[Group], others: Sequence[str] = (), asked: Asked | None = None) -> list[str]:
    """What fetches networks, every record's command once, those of other sections, then the ones that make the page.

    Args:
        groups: Groups of the page.
        others: Commands that make the records of its other sections.
        asked: How the page was made. If it was not from ``OUT``, the page of the records made again has one command, and that of
            the same records another.
    """
    asked = asked or Asked()
    records = [entry.record for group in groups for entry in group.entries]
    networks = dict.fromkeys(name for record in records for name in _networks(record))
    runs = dict.fromkeys(run_command(record) for record in records)
    pages = [_page_command(asked, (OUT,), "")]
    if asked.places != (OUT,):
        pages.append(_page_command(asked, asked.places, "of the records this page is made of"))
    return [*(f"tokbench weights get {name}" for name in networks), *runs, *others, *pages]


def run_command(record: Record) -> str:
    """Write the command, with a comment where the record does not say all of it.

    Args:
        record: Record of the run.
    """
    remarks: list[str] = []
    if record.tokenizer.is_given:
        words = ["tokbench", "score", "ORIGINALS", "RECONSTRUCTIONS", "--name", clipped(record.tokenizer.name)]
        remarks.append("images that other code made; ORIGINALS and RECONSTRUCTIONS are their folders")
        chosen = _metrics(list(record.metrics), remarks)
        if all(key in BY_KEY and BY_KEY[key].option for key in record.metrics):
            chosen = ["--unpaired", *chosen[:2]]  # the originals are the reference
        words += [*_preset(record), *_protocol(record.protocol, remarks)]
        return _line([*words, *chosen, "--out", OUT], remarks)
    return _run_line(_subject(record.tokenizer, remarks), record, list(record.metrics), remarks)


def anchor_command(group: Group, names: Sequence[str]) -> str:
    """Write the command that measures anchors as a group's tokenizers were.

    Args:
        group: Whose protocol, data and metrics they take.
        names: Names of the anchors.

    Returns:
        The command; empty if there are no names.
    """
    if not names:
        return ""
    figures = dict.fromkeys(key for entry in group.entries for key, metric in entry.record.metrics.items() if metric.measured)
    return _run_line([word for name in names for word in ("-t", name)], group.entries[0].record, sorted(figures), [])


def _run_line(subject: Sequence[str], record: Record, metrics: Sequence[str], remarks: list[str]) -> str:
    """The command that measures something as a record was."""
    words = ["tokbench", "run", *subject, "--data", _data(record.data.name, remarks)]
    words += [*_preset(record), *_protocol(record.protocol, remarks)]
    return _line([*words, *_metrics(metrics, remarks), "--out", OUT], remarks)


def _metrics(metrics: Sequence[str], remarks: list[str]) -> list[str]:
    """Words for the metrics that give figures."""
    known = {info.key for info in FIGURES}
    others = [clipped(key) for key in metrics if key not in known]
    if others:
        remarks.append(f"MODULE:CLASS names the metric that gives {', '.join(others)}: the record does not say which class it is")
    chosen = [key for key in metrics if key in known] + ["MODULE:CLASS"] * bool(others)
    reference = ["--reference", "REFERENCE"] if any(key in BY_KEY and BY_KEY[key].option for key in metrics) else []
    return (["--metrics", ",".join(chosen)] if chosen else []) + reference


def _preset(record: Record) -> list[str]:
    """Words that name the protocol, where it is not that of images that come ready."""
    name, data = record.protocol.name, record.data.name
    ready = PLACELESS.fullmatch(data) is not None or data.startswith("faces:")
    return [] if name not in PRESETS or (ready and name == DEFAULT) else ["--protocol", name]


def _data(name: str, remarks: list[str]) -> str:
    """What to give after ``--data`` for images of this name."""
    name = placed(name)
    if PLACELESS.fullmatch(name):
        return "photos" if name == "photos/test" else name
    if name in PUBLIC:
        remarks.append("PLACE is the folder of the public set, which is checked")
        return f"{name}:PLACE"
    faces, place = ("faces:", name.removeprefix("faces:")) if name.startswith("faces:") else ("", name)
    if re.fullmatch(r"[^:/]+:[^:/]+", place):
        remarks.append("a data set of the hub that has an owner is hf:OWNER/NAME:SPLIT")
        return clipped(f"{faces}hf:{place}")
    remarks.append("give the place of the data if it is another one")
    return clipped(name)


def placed(name: str) -> str:
    """The name of images; of those that are called like a set of the package or a public one, their place in the current folder."""
    faces, place = ("faces:", name.removeprefix("faces:")) if name.startswith("faces:") else ("", name)
    return name if as_called(place) == place else f"{faces}./{as_called(place)}"


def _page_command(asked: Asked, places: Sequence[str], remark: str) -> str:
    """The command that makes a page; of absolute paths, which say where things lie on one machine, only the names are kept."""
    shown = [_name_of(place) for place in places]
    words = ["tokbench", "report", *shown]
    if asked.images is not None:
        words += ["--images", str(asked.images)]
    words += [word for place in asked.data for word in ("--data", _name_of(place))]
    words += ["-o", _name_of(asked.output)]
    shortened = any(_name_of(path) != path for path in (*places, asked.output, *asked.data))
    return _line(words, [*filter(None, [remark]), *["absolute paths are shortened to names"] * shortened])


def _name_of(path: str) -> str:
    kind, place = ("faces:", path.removeprefix("faces:")) if path.startswith("faces:") else ("", path)
    return kind + (Path(place).name or place if Path(place).is_absolute() else place)


def _networks(record: Record) -> list[str]:
    """Network files that its figures, or its images, need."""
    needed = [BY_KEY[key].asset for key, metric in record.metrics.items() if key in BY_KEY and metric.value is not None]
    fetched = [asset.name for asset in ASSETS if not asset.embedded]
    faces = ["faces"] * (record.data.name.partition(":")[0] == "faces")
    return [name for name in needed if name in fetched or name.startswith(TIMM)] + faces


def probe_command(record: ProbeRecord) -> str:
    """Write the command of a probe, likewise.

    Args:
        record: Record of the probe.
    """
    remarks: list[str] = []
    words = ["tokbench", "probe", *_subject(record.tokenizer, remarks)]
    if (record.train.name, record.held_out.name) != ("photos/train and mirror images", "photos/test"):
        words += ["--data", clipped(placed(record.train.name))]
        remarks.append(f"held out: {clipped(record.held_out.name)}; give the places of the data if they are others")
    words += _protocol(record.protocol, remarks)
    base = PROBES.get(record.probe.name)
    if record.probe.name != "small":
        words += ["--budget", clipped(record.probe.name)]
    known = plain(base) if base is not None else {}
    changed = {key: value for key, value in plain(record.probe).items() if key not in ("name", "version") and value != known.get(key)}
    for key, value in changed.items():
        if PROBE_OPTIONS.get(key) in words:  # the seed is the protocol's too
            continue
        if key in PROBE_OPTIONS:
            words += [PROBE_OPTIONS[key], clipped(value)]
        else:
            remarks.append(f"budget with {key}={clipped(value)}, in Python: tokbench.feed.probe")
    if base is None or base.version != record.probe.version:
        remarks.append(f"budget {clipped(record.probe.name)} of version {clipped(record.probe.version)} is not known here")
    return _line([*words, "--out", OUT], remarks)


def speed_command(record: SpeedRecord) -> str:
    """Write the command of a speed test, likewise.

    Args:
        record: Record of the test.
    """
    remarks: list[str] = []
    words = ["tokbench", "speed", *_subject(record.tokenizer, remarks)]
    protocol, usual = record.protocol, SpeedProtocol()
    words += ["--sizes", ",".join(map(size_text, protocol.sizes)), "--batches", ",".join(map(str, protocol.batches))]
    options = {"rounds": protocol.rounds, "warmup": protocol.warmup, "seed": protocol.seed, "precision": protocol.precision}
    for key, value in options.items():
        if value != getattr(usual, key):
            words += [f"--{key}", str(value)]
    if set(protocol.modes) != set(MODES):
        words += ["--modes", ",".join(protocol.modes)]
    if record.machine.device != "cpu":
        words += ["--device", clipped(record.machine.device)]
    if record.beside:
        remarks.append(f"it took turns with {clipped(', '.join(record.beside))}: add them with -t")
    for key in ("turn_seconds", "compiler"):
        if getattr(protocol, key) != getattr(usual, key):
            remarks.append(f"{key}={clipped(getattr(protocol, key))}, in Python: tokbench.bench.speed")
    return _line([*words, "--out", OUT], remarks)


def prediction_command(record: PredictionRecord) -> str:
    """Write the command of a prediction, likewise.

    Args:
        record: Record of the prediction.
    """
    remarks: list[str] = []
    words = ["tokbench", "predict", *_subject(record.tokenizer, remarks)]
    if record.data.name != "photos/test":
        words += ["--data", clipped(placed(record.data.name))]
        if not PLACELESS.fullmatch(record.data.name):
            remarks.append(f"{clipped(record.data.name)} is the name of the images; give their place")
    words += _protocol(record.protocol, remarks)
    known = plain(PredictionProtocol())
    for key, value in plain(record.prediction).items():
        if value != known[key]:
            if key in ("nearest", "edits"):
                words += [f"--{key}", clipped(value)]
            else:
                remarks.append(f"{key}={clipped(value)}, in Python: tokbench.feed.predict")
    measured = [study for study in STUDIES if any(PREDICTED[key].metric == study for key in record.figures if key in PREDICTED)]
    if tuple(measured) != STUDIES:
        words += ["--figures", ",".join(measured)]
    if record.device != "cpu":
        words += ["--device", clipped(record.device)]
    return _line([*words, "--out", OUT], remarks)


def _line(words: Sequence[str], remarks: Sequence[str]) -> str:
    return shlex.join(words) + (f"  # {'; '.join(remarks)}" if remarks else "")


def _subject(info: TokenizerInfo, remarks: list[str]) -> list[str]:
    """Words that choose the tokenizer, with its settings and weights."""
    words = ["-t", clipped(info.name)]
    if info.codec is None:
        for key, value in _changed_settings(info).items():
            if key in ("tiling.windows", "tiling.halfway"):  # follow from the network
                continue
            words += [SETTINGS[key], clipped(value)] if key in SETTINGS else ["--set", f"{clipped(key)}={clipped(value)}"]
        if "changed" in info.config:
            remarks.append(f"measured after {clipped(', '.join(info.config['changed']))} of it had been changed in Python")
        if info.weights_sha256 is not None and info.weights_sha256 != _own_weights(info.name):
            words += ["--weights", "WEIGHTS"]
            remarks.append(f"WEIGHTS has the SHA-256 {clipped(info.weights_sha256)}")
    return words


def _protocol(protocol: Protocol, remarks: list[str]) -> list[str]:
    """Words for what differs from the preset."""
    words = []
    base = PRESETS.get(protocol.name)
    others = []
    for key, value in _changed_protocol(protocol, base).items():
        if key in OPTIONS and value is not None:
            words += [OPTIONS[key], str(value_text(protocol, key))]
        elif key == "compiled":
            words.append("--compile")
        elif key == "noise":
            words += ["--repeats", str(protocol.noise + 1)]
        else:
            others.append(f"{key}={value}")
    if others and base is not None:
        remarks.append(f"protocol with {', '.join(others)}, in Python: tokbench.evaluate")
    if base is None:
        remarks.append(f"protocol {clipped(protocol.name)} is not known here; the record has its settings")
    elif base.version != protocol.version:
        remarks.append(f"measured under version {protocol.version} of the protocol, this is version {base.version}")
    return words


def _changed_protocol(protocol: Protocol, base: Protocol | None) -> dict[str, object]:
    values = plain(protocol)
    known = plain(base) if base is not None else {}
    return {key: value for key, value in values.items() if key not in ("name", "version", "data") and value != known.get(key)}


def _changed_settings(info: TokenizerInfo) -> dict[str, object]:
    """The configuration's settings that are not the named variant's own; all of them if there is no such variant."""
    from tokbench.tokenizers.zoo import resolve

    own = flat({key: value for key, value in info.config.items() if key not in MODULES})
    try:
        _, variant = resolve(info.name)
    except TokbenchError:
        return own
    usual = flat(plain(variant.config))
    return {key: value for key, value in own.items() if value != usual.get(key)}


@cache
def _own_weights(name: str) -> str | None:
    """SHA-256 of the weights that a tokenizer loads by itself here; None if it has none."""
    from tokbench.tokenizers.zoo import resolve
    from tokbench.weights.obtain import own_weights

    try:
        path = own_weights(*resolve(name))
    except TokbenchError:
        return None
    return _sha256(path) if path is not None and path.is_file() else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
