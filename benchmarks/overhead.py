"""What a run costs beside what it must do: the whole command against the bare networks, and against its parts one after another.

A round is a process of its own, which first imports nothing but Python. It takes the command ``tokbench run`` on all embedded test crops, and
subtracts the time in import statements. Then, with all modules loaded, it measures the parts of the same run, each alone:

- networks: the tokenizer's encoding and decoding, the second encoding that the stability of codes takes, and the networks that judge, on images
  that lie in memory;
- parts: these, reading and digesting of images by as many threads, the other metrics, and the figures at the end with their intervals.

Run by hand: ``python benchmarks/overhead.py [--tokenizers vqgan] [--rounds 3] [--threads 2] [--write]``; ``--write`` puts the table into README.md.
"""

from __future__ import annotations

import argparse
import builtins
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MOST_NETWORKS, MOST_PARTS, MOST_IMPORTS = 1.15, 1.08, 3.0


class Imports:
    """Seconds that this thread spends in import statements, counted once where they are nested."""

    def __init__(self) -> None:
        self.seconds, self._depth, self._import = 0.0, 0, builtins.__import__

    def __enter__(self) -> Imports:
        builtins.__import__ = self._timed
        return self

    def __exit__(self, *_: object) -> None:
        builtins.__import__ = self._import

    def _timed(self, *arguments: Any, **named: Any) -> Any:
        if self._depth:
            return self._import(*arguments, **named)
        self._depth, begun = 1, time.perf_counter()
        try:
            return self._import(*arguments, **named)
        finally:
            self._depth = 0
            self.seconds += time.perf_counter() - begun


def command(name: str, limit: int | None) -> dict[str, Any]:
    """Seconds of the command and of its imports, and how its record says that it ran."""
    few = [] if limit is None else ["--limit", str(limit)]
    with tempfile.TemporaryDirectory() as place, Imports() as imports:
        begun = time.perf_counter()
        from tokbench.cli import app

        app(["run", "-t", name, "--data", "photos", *few, "--out", place], standalone_mode=False)
        whole = time.perf_counter() - begun
        ran = conditions(Path(place))
    return {"command": whole, "imports": imports.seconds, "ran": ran}


def conditions(place: Path) -> str:
    """Under which protocol and with which metrics the one record in a folder was made, and which figures it has no number for."""
    from tokbench.bench.metrics import measured_by
    from tokbench.records.figures import known_figure
    from tokbench.records.store import find_records

    ((_, record),) = find_records([place])
    usual = {key for metric in measured_by(record.protocol) for key in metric.figure_names()}
    title = {key: info.title if (info := known_figure(key, [result.info])) else key for key, result in record.metrics.items()}
    there, lacking = ([title[key] for key, result in record.metrics.items() if result.measured is which] for which in (True, False))
    which = "the default metrics" if usual == record.metrics.keys() else ", ".join(there)
    return f"under {record.protocol_label}, with {which}{', without ' * bool(lacking)}{', '.join(lacking)}"


def parts(name: str, limit: int | None, *, calls: int = 8) -> dict[str, float]:
    """Seconds of each part of the same run, alone."""
    from gpu import stage_seconds

    from tokbench.bench.clocks import clock_of
    from tokbench.bench.defaults import default_protocol, image_size_of
    from tokbench.bench.encode import reproducible
    from tokbench.bench.loader import LoadReport, load_batches
    from tokbench.bench.observation import Subject
    from tokbench.bench.prepared import PreparedRun, RunOptions
    from tokbench.tokenizers import zoo

    tokenizer = zoo.load(name)
    protocol = default_protocol("photos", image_size_of(tokenizer), {"samples": limit})
    prepared = PreparedRun(tokenizer, "photos", metrics=None, protocol=protocol, options=RunOptions(cache=False))
    images = len(prepared.indices)
    batches: Any = load_batches(prepared.source, prepared.indices, prepared.protocol, LoadReport(), read_ahead=64, strict=True)
    prepared.panel.update(prepared.under_test.observe(next(batches), prepared.listing))  # warms up
    batches.close()
    prepared.panel.cut()
    stages = stage_seconds(prepared, clock_of(tokenizer.device), calls=calls)
    found = {stage: seconds * images for stage, seconds in stages.items()}
    begun = time.perf_counter()
    batches = list(load_batches(prepared.source, prepared.indices, prepared.protocol, LoadReport(), read_ahead=64, strict=True))
    found["reading"] = time.perf_counter() - begun
    seconds = 0.0
    with reproducible():
        for batch in batches:
            observation = prepared.under_test.observe(batch, prepared.listing)
            observation.reconstruction  # noqa: B018  # the tokenizer's part, which is not timed here
            begun = time.perf_counter()
            prepared.panel.update(observation)
            seconds += time.perf_counter() - begun
    begun = time.perf_counter()
    states, failures = prepared.panel.cut()
    prepared.panel.merge(states, failures, own=True)
    measured = Subject(prepared.under_test.layout, images, prepared.protocol.seen_at)
    prepared.panel.finish(measured, tokenizer.trained_with)
    found["end"] = time.perf_counter() - begun
    found["metrics"] = seconds
    return found


def measured(name: str, limit: int | None, threads: int) -> dict[str, Any]:
    """One round, in a process and with a cache of its own."""
    with tempfile.TemporaryDirectory() as cache:
        environment = dict(os.environ) | {"TOKBENCH_CACHE": cache, "OMP_NUM_THREADS": str(threads)}
        few = [] if limit is None else ["--limit", str(limit)]
        words = [sys.executable, __file__, "--round", "--tokenizers", name, *few]
        done = subprocess.run(words, check=True, env=environment, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def row(name: str, rounds: Sequence[dict[str, Any]]) -> str:
    """Medians over rounds; ratios are medians of each round's own."""
    after = [one["command"] - one["imports"] for one in rounds]
    networks = [one["encode"] + one["decode"] + one.get("again", 0.0) + one["judges"] for one in rounds]
    whole = [one["encode"] + one["decode"] + one["reading"] + one["metrics"] + one["end"] for one in rounds]
    seconds = [statistics.median(values) for values in ([one["imports"] for one in rounds], after, networks, whole)]
    ratios = [statistics.median(a / b for a, b in zip(after, other, strict=True)) for other in (networks, whole)]
    cells = [f"{value:.2f}" for value in seconds] + [f"{value:.3f}" for value in ratios]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Print a row a tokenizer, and write the table down if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizers", nargs="+", default=["vqgan"])
    parser.add_argument("--limit", type=int, help="so many images, to try it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--round", action="store_true", help=argparse.SUPPRESS)  # one, in this process
    given = parser.parse_args()
    if given.round:
        (name,) = given.tokenizers
        found = command(name, given.limit)
        print(json.dumps(found | parts(name, given.limit)))
        return
    import torch
    from readme import Block, machine

    torch.set_num_threads(given.threads)
    block = Block("overhead", "A run beside its parts", write=given.write)
    of = "All embedded test crops" if given.limit is None else f"{given.limit} embedded test crops"
    block.say(f"{machine()}. {of}, nothing cached, median of {given.rounds} processes.\n")
    block.say("| tokenizer | imports, s | run after imports, s | networks, s | all parts, s | run / networks | run / parts |")
    block.say("|---|---:|---:|---:|---:|---:|---:|")
    ran: dict[str, list[str]] = {}
    for name in given.tokenizers:
        rounds = [measured(name, given.limit, given.threads) for _ in range(given.rounds)]
        block.say(row(name, rounds))
        for one in dict.fromkeys(each["ran"] for each in rounds):
            ran.setdefault(one, []).append(name)
    block.say()
    for one, names in ran.items():
        block.say(f"Ran {one}{'' if len(ran) == 1 else ': ' + ', '.join(names)}.")
    block.say("Networks are encoding, decoding, encoding again where the stability of codes is measured, and judges.")
    block.say(f"\nAims: {MOST_IMPORTS:g} s of imports, {MOST_NETWORKS} of the networks, {MOST_PARTS} of the parts.")
    block.end()


if __name__ == "__main__":
    main()
