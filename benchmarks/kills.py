"""Runs, exports and trainings that are killed at random moments and gone on with: do all come to what they come to without a kill?

Compared are the record and rows of a run but for times, the bytes of an export, and the losses and weights of a training. ``killing.py`` of
the tests kills: before a write by chance, or after a time by chance; a run is killed once more on its way.

Run by hand: ``python benchmarks/kills.py``, which rewrites a block of ``benchmarks/README.md``. A quick try that writes nothing:
``python benchmarks/kills.py --kills 2 --print``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from readme import machine, write_block

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "tests" / "attack" / "killing.py"
COMPARED = {"resume": "record and rows of a run", "export": "bytes of an export", "train": "losses and weights of a training"}
"""What is compared of each command, by its name in the script."""


def killed(command: str, kills: int) -> list[dict[str, str | bool]]:
    """What became of each kill of a command."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, str(SCRIPT), folder, json.dumps([(command, number) for number in range(kills)])]
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(words, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def table(kills: int) -> Iterator[str]:
    """A line for each command, and one for each fault."""
    yield "| compared | kills | before its end | something half-written to be seen | the same in the end |"
    yield "|---|---:|---:|---:|---:|"
    faults: list[str] = []
    for command, compared in COMPARED.items():
        cases = killed(command, kills)
        dead, half, same = (
            sum(map(bool, found)) for found in zip(*((case["killed"], case["visible"], not case["again"]) for case in cases), strict=True)
        )
        yield f"| {compared} | {len(cases)} | {dead} | {half} | {same} |"
        faults += [f"- {case['case']}: {case['visible']} {case['again']}" for case in cases if case["visible"] or case["again"]]
    yield from ["", *faults] * bool(faults)


def main() -> None:
    """Kill, and write the block or print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="how many of each command")
    parser.add_argument("--print", action="store_true", help="print the block, and write nothing")
    options = parser.parse_args()
    text = "\n".join([f"{machine()}.", "", *table(options.kills)])
    if options.print:
        print(text)
    else:
        write_block("kills", "Killed and gone on with", text)


if __name__ == "__main__":
    main()
