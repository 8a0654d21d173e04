"""After which tokenizer is a language model best at drawing, editing and reading, and what said so beforehand?

Run by hand, a row at a time, and the table at the end::

    python benchmarks/which_tokenizer.py row vqvae/tiny
    python benchmarks/which_tokenizer.py row pixel/palette-512 --size 32
    python benchmarks/which_tokenizer.py table
    python benchmarks/which_tokenizer.py picture docs/which-tokenizer.png

A row measures the tokenizer itself on drawn scenes, trains the probe on its tokens, and pre-trains one and the same small model on them. Its
learning rate stays as it is after a warm-up, so that one training serves two budgets: it is stopped after a number of sequences that is equal for
all and after a time of one core that is equal for all, in the order in which they come. Time is counted by what a reference step takes on the same
core, so that rows of several machines compare. Both models are evaluated on unseen scenes.
Everything is made by commands of ``tokbench``; their records lie in the folder that ``--results`` names, and the table is read from them.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tokbench.files import write_bytes
from tokbench.lm.recipes import NetworkSizes
from tokbench.records.correlation import FEWEST
from tokbench.records.everything import find_everything
from tokbench.records.examples import read_examples
from tokbench.records.lm_record import LanguageModelRecord
from tokbench.records.lm_store import find_lm_records
from tokbench.records.store import read_rows
from tokbench.report.alike import BUDGETS
from tokbench.report.beforehand import Known, Subject, known_beforehand, subject_of
from tokbench.report.telling import OUTCOMES, Study, studies_of, told, written

RESULTS = Path(__file__).parents[1] / "results" / "which-tokenizer"

NOTHING = "Nothing has been measured yet."

BATCH = 16
IMAGES, EDITS, HALVES = 8_000, 3_000, 1_000
"""What each model reads: scenes, edits and halves; sequences come back in later epochs."""

POSITIONS = 8192
"""Ids of the longest sequence; it adds no weights to the network."""

SEQUENCES = {32: 4_000, 64: 16_000}
"""Sequences of the runs that see equally much, by size: at 32 px one of the tokenizers has 1,024 tokens an image."""

RECIPE = {
    "halves": HALVES,
    "images": IMAGES,
    "edits": EDITS,
    "network.positions": POSITIONS,
    "low_quality": 0.0,
    "words.wrong": 0.0,
    "words.vague": 0.0,
    "schedule": "constant",
    "warmup": 50,
    "learning_rate": 2e-3,
    "precision": "bf16",
}
"""What the pre-training has otherwise than its recipe: exact words, good renderings and small batches, which teach most in little time."""

TIMED = 40
"""Steps whose time of a core says how many steps fit into the runs of equal time."""

REFERENCE, UNIT = (8, 320), 0.5
"""Sequences and their ids of a step by which time is counted, and the seconds that the core of the equal time takes for it."""

SHOWN = (*OUTCOMES, "ceiling_attributes", "chance_attributes", "image_bits", "kd_efflite0")
"""What the tables show of a model; chance is another prompt's scene, and the kernel distance that of its pictures to fresh scenes."""


def tokbench(*words: object) -> None:
    """Run a command, and stop where it fails."""
    print("tokbench", *words, flush=True)
    subprocess.run([sys.executable, "-m", "tokbench", *map(str, words)], check=True)


def seconds_of(*words: object) -> float:
    """Run a command and say how long it kept a core busy, which other work on the machine does not change."""
    begun = resource.getrusage(resource.RUSAGE_CHILDREN)
    tokbench(*words)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime - begun.ru_utime - begun.ru_stime


def once(place: Path, name: str, action: Callable[[], object]) -> Any:
    """Do a part of a row, or read what came of it where it was done before.

    Args:
        place: Folder of the row.
        name: Of the part.
        action: Gives what JSON can hold.
    """
    done = place / f"{name}.json"
    if not done.is_file():
        found = json.dumps(action())
        write_bytes(done, found.encode())
    return json.loads(done.read_text())


def reference_seconds(turns: int = 7) -> float:
    """Seconds that a core of this machine takes for a step of ``REFERENCE`` ids, the median of some; so budgets are the same on any machine."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    sizes = NetworkSizes()
    network = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=1280,
            hidden_size=sizes.hidden_size,
            intermediate_size=sizes.intermediate_size,
            num_hidden_layers=sizes.layers,
            num_attention_heads=sizes.heads,
            tie_word_embeddings=True,
        )
    )
    ids = torch.arange(REFERENCE[0] * REFERENCE[1]).reshape(REFERENCE) % 1280
    seconds = []
    for turn in range(turns + 2):
        begun = time.process_time()
        with torch.autocast("cpu", torch.bfloat16):
            loss = network(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        network.zero_grad()
        if turn >= 2:  # before, it warms up
            seconds.append(time.process_time() - begun)
    return statistics.median(seconds)


def row(options: argparse.Namespace) -> None:
    """Measure one tokenizer; parts that were done before are not done again."""
    name, size = options.tokenizer, options.size
    title = title_of(name)
    runs, results = Path(options.runs) / f"{title}-{size}", Path(options.results) / str(size)
    run = ("run", "-t", name, "--data", "scenes", "--limit", options.prompts, "--size", size)
    once(runs, "run", lambda: tokbench(*run, "--out", results / "tokenizers"))
    scenes = ("--data", "scenes/train:4000", "--held-out-data", "scenes", "--limit", 4000, "--images-seen", options.probed)
    probe = ("probe", "-t", name, *scenes, "--size", size, "--condition", "none", "--precision", "fp32")
    once(runs, "probe", lambda: tokbench(*probe, "--out", runs / "probe"))
    for record in sorted((runs / "probe").glob("*.json")):
        write_bytes(results / "probes" / record.name, record.read_bytes())
    recipe = [word for key, value in RECIPE.items() for word in ("--set", f"{key}={value}")]
    shared = ("lm", "train", "pretrain", "--text", "words", *recipe, "--batch-size", BATCH, "--save-every", 100_000)
    material, tokens = runs / "material", ("--data", "scenes", "-t", name, "--size", size)
    once(runs, "encoded", lambda: tokbench(*shared, *tokens, "--steps", 1, "--out", material))  # so that steps are timed alone
    again = ("--data", material / "tokens", "--edits", material / "edits.jsonl", "--halves", material / "halves", "-t", name)
    start = once(runs, "start", lambda: seconds_of(*shared, *again, "--steps", 1, "--out", runs / "started"))
    later = once(runs, "rate", lambda: seconds_of(*shared, *again, "--steps", 1 + TIMED, "--out", runs / "some"))
    unit = once(runs, "reference", reference_seconds)
    seconds = (later - start) / TIMED * UNIT / unit
    steps = {"images": (options.sequences or SEQUENCES[size]) // BATCH, "time": max(1, round(60 * options.minutes / seconds))}
    before: Path | None = None
    for budget in sorted(steps, key=steps.__getitem__):
        stopped = runs / f"{title}_{budget}"
        once(runs, f"trained-{budget}", lambda: train(before, stopped, *shared, *again, "--steps", steps[budget]))  # noqa: B023
        once(runs, f"judged-{budget}", lambda: judge(stopped, name, options.prompts, results / budget))  # noqa: B023
        before = stopped
    print(json.dumps({"tokenizer": name, "seconds a step": round(seconds, 4), "a reference step here": round(unit, 4), "steps": steps}))


def train(before: Path | None, out: Path, *words: object) -> None:
    """Train a model, going on from a copy of one that was trained for fewer steps."""
    if out.exists():
        shutil.rmtree(out)
    if before is not None:
        shutil.copytree(before, out)
    tokbench(*words, "--out", out, *() if before is None else ("--resume",))


def judge(model: Path, name: str, prompts: int, out: Path) -> None:
    """Evaluate a model, in a folder of its own: records are named by it."""
    tokbench("lm", "evaluate", model, "-t", name, "--prompts", prompts, "--out", out)


def tables(results: Path = RESULTS) -> str:
    """The tables of docs/which-tokenizer.md, from records alone."""
    parts: list[str] = []
    for folder in sorted(path for path in results.iterdir() if path.is_dir()) if results.is_dir() else []:
        before = beforehand(folder)
        for budget, words in BUDGETS.items():
            place = folder / budget
            found = {subject_of(one): (path, one) for path, one in find_lm_records([place])} if place.is_dir() else {}
            if found:
                parts += [f"**{folder.name} px, {words}**", _rows(before, found)]
            if len(found) >= FEWEST:
                parts.append(_correlations(before, found))
    return "\n\n".join(parts) or NOTHING


def telling(results: Path = RESULTS) -> str:
    """What the package knows of the study, from records alone: the pairs that are determined, and among how many."""
    found: list[Study] = []
    for folder in sorted(path for path in results.iterdir() if path.is_dir()) if results.is_dir() else []:
        everything = find_everything([folder])
        found += studies_of([(record, read_rows(path)) for path, record in everything.models], everything.holders)
    return written(found)


def beforehand(folder: Path) -> list[Known]:
    """What is known of each tokenizer before a model is trained on it: figures of its run, of the probe and of ``tokbench predict``.

    Args:
        folder: Records of one size of images.
    """
    return known_beforehand(find_everything([folder]).holders)


def title_of(tokenizer: str) -> str:
    """How the folders of a row are called.

    Args:
        tokenizer: A name of the zoo, or the folder of a run.
    """
    return Path(tokenizer).name if Path(tokenizer).exists() else tokenizer.replace("/", "-")


def _label(record: LanguageModelRecord) -> str:
    """How the tables call a tokenizer: as the zoo does, or by the folder of its run."""
    name, title = record.tokenizer.name, record.model.name.rpartition("_")[0]
    return name if title in ("", name.replace("/", "-")) else title


def _rows(before: Sequence[Known], found: Mapping[Subject, tuple[Path, LanguageModelRecord]]) -> str:
    """What the models do, and under it what was known of their tokenizers."""
    ordered = sorted(((_label(record), tokenizer, record) for tokenizer, (_, record) in found.items()), key=lambda one: one[0])
    lines = [f"| tokenizer | sequences | {' | '.join(SHOWN)} |", f"|---|---:|{'---:|' * len(SHOWN)}"]
    for label, _, record in ordered:
        stage = record.model.recipe["stages"][-1]
        cells = [str(stage["steps"] * stage["recipe"]["batch_size"])]
        for key in SHOWN:
            figure = record.figures[key]
            ends = f" [{figure.interval.low:.4g}, {figure.interval.high:.4g}]" if figure.interval else ""
            cells.append(f"{figure.value:.4g}{ends}")
        lines.append(f"| {label} | {' | '.join(cells)} |")
    known = [one for one in before if any(tokenizer in one.values for tokenizer in found)]
    if known:
        lines += ["", f"| known beforehand | {' | '.join(label for label, _, _ in ordered)} |", f"|---|{'---:|' * len(ordered)}"]
    for one in known:
        values = [one.values.get(tokenizer) for _, tokenizer, _ in ordered]
        lines.append(f"| {one.figure.key} | {' | '.join('-' if value is None else f'{value:.4g}' for value in values)} |")
    return "\n".join(lines)


def _correlations(before: Sequence[Known], found: Mapping[Subject, tuple[Path, LanguageModelRecord]]) -> str:
    """Spearman's rank correlation of every figure with every outcome, over tokenizers and prompts drawn again; then with one left out."""
    lines = ["| rank correlation with | " + " | ".join(OUTCOMES) + " |", "|---|" + "---:|" * len(OUTCOMES)]
    cells: dict[tuple[Any, ...], dict[str, str]] = {}
    for pair in told(before, [(record, read_rows(path)) for path, record in found.values()]):
        ranks = pair.ranks
        cells.setdefault((pair.figure, pair.source), {})[pair.outcome] = f"{ranks.words}; {ranks.least:.2f} to {ranks.most:.2f}"
    lines += [f"| {key} | {' | '.join(own.get(outcome, '-') for outcome in OUTCOMES)} |" for (key, _), own in cells.items()]
    return "\n".join(lines)


def picture(results: Path, size: int, columns: int = 8, enlarged: int = 2) -> Image.Image:
    """What the models of equal time draw: a row a tokenizer, under the scenes that the same words describe.

    Args:
        results: Folder of records.
        size: Of the images.
        columns: Prompts.
        enlarged: Pixels of a side that one becomes.

    Raises:
        SystemExit: If no record there has examples.
    """
    rows: dict[str, list[np.ndarray]] = {}
    place = results / str(size) / "time"
    found = find_lm_records([place]) if place.is_dir() else []
    for path, record in sorted(found, key=lambda one: _label(one[1])):
        drawn = [one for one in read_examples(path) if one.task == "generate"][:columns]
        if drawn:
            rows.setdefault("as asked", [one.right for one in drawn if one.right is not None])
            rows[_label(record)] = [one.answer for one in drawn if one.answer is not None]
    if not rows:
        sys.exit(f"{place} holds no examples; measure a row of {size} px first")
    side, left = size * enlarged + 4, 124
    sheet = Image.new("RGB", (left + columns * side, len(rows) * side), "white")
    write = ImageDraw.Draw(sheet)
    for line, (label, images) in enumerate(rows.items()):
        write.text((4, line * side + side // 2 - 8), label, fill="black", font=ImageFont.load_default(16))
        for place, image in enumerate(images):
            large = Image.fromarray(image).resize((size * enlarged, size * enlarged), Image.Resampling.NEAREST)
            sheet.paste(large, (left + place * side, line * side))
    return sheet


def main() -> None:
    """Measure a row, print the tables, or draw what the models draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    one = parts.add_parser("row", help="measure one tokenizer")
    one.add_argument("tokenizer", help="a name of the zoo, or the folder of a run of tokbench train")
    one.add_argument("--size", type=int, default=64, choices=(32, 64))
    one.add_argument(
        "--minutes",
        type=float,
        default=30,
        help=f"training time of the runs of equal time, of a core that takes {UNIT} s for the reference step",
    )
    one.add_argument("--sequences", type=int, help="sequences of the runs that see equally much; by default those of the study")
    one.add_argument("--prompts", type=int, default=500)
    one.add_argument("--probed", type=int, default=4_000, help="images that the probe is trained on")
    one.add_argument("--runs", default="runs/which-tokenizer")
    one.set_defaults(work=row)
    all_rows = parts.add_parser("table", help="print the tables")
    all_rows.set_defaults(work=lambda options: print(tables(Path(options.results))))
    drawn = parts.add_parser("picture", help="write what the models of equal time draw")
    drawn.add_argument("out", help="a PNG file")
    drawn.add_argument("--size", type=int, default=64, choices=(32, 64))
    drawn.set_defaults(work=lambda options: picture(Path(options.results), options.size).save(options.out, optimize=True))
    for part in (one, all_rows, drawn):
        part.add_argument("--results", default=RESULTS)
    options = parser.parse_args()
    options.work(options)


if __name__ == "__main__":
    main()
