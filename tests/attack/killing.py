"""Run by ``test_kills`` and ``benchmarks/kills.py``: commands forked off one interpreter, killed at a write or a moment, and run again.

    python killing.py FOLDER CASES [SERVER]

``CASES`` is JSON: pairs of a command and a number, from which chance draws when it is killed. ``SERVER`` is where weights are got. Prints
a line of JSON a case.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image

import tokbench
from tokbench import cli
from tokbench.bench import fetch, prepared, runner, sharing
from tokbench.feed import export
from tokbench.feed.verify import verify
from tokbench.records.store import find_records, read_rows
from tokbench.report import table
from tokbench.report.page import render
from tokbench.train import loop
from tokbench.weights import assets
from tokbench.weights.checkpoints import read_state

PRELOADED = (runner, sharing, export, table, render, loop)  # before the first fork
RUNS = ("run", "resume")
RECORD = Path(__file__).parents[2] / "results" / "photos-64" / "vqgan-tiny_photos-64.json"
IMAGES = 6


class Case:
    """One command in a folder of its own.

    Args:
        command: A key of ``words``.
        root: The folder.
        pictures: What it reads.
    """

    def __init__(self, command: str, root: Path, pictures: Path) -> None:
        self.command, self.root, self.out = command, root, root / "out"
        common = ["--data", str(pictures), "--size", "16"]
        self.words: dict[str, list[str]] = {
            "run": ["run", "-t", "patch", *common, "--metrics", "psnr", "--out", str(self.out)],
            "resume": ["run", "-t", "patch", *common, "--metrics", "psnr,codebook", "--resume", "--out", str(self.out)],
            "export": ["export", "-t", "patch", *common, "--rows", "2", "--out", str(self.out), "--memmap", str(root / "mapped"), "--as", f"sequences={root / 'rows'}"],
            "train": ["train", "vae-tiny", *common, "--steps", "3", "--batch-size", "1", "--save-every", "1", "--log-every", "1", "--out", str(self.out)],
            "report": ["report", str(RECORD), "--images", "0", "-o", str(root / "page.html")],
            "convert": ["convert", "-t", "patch", "--out", str(self.out)],
            "probe": ["probe", "-t", "patch", *common, "--budget", "smoke", "--images-seen", "8", "--held-out", "0.3", "--coded-images", "1", "--out", str(self.out)],
            "weights": ["weights", "get", "inception"],
        }  # fmt: skip

    def arguments(self) -> list[str]:
        words = self.words[self.command]
        resumed = self.command == "train" and (self.out / loop.CHECKPOINT).is_file()
        return [*words, "--resume"] if resumed else words

    def visible(self) -> None:
        """Read every result that a reader would find.

        Raises:
            Exception: If one is not whole.
        """
        places = [path for path in self.root.rglob("*") if path.is_file() and not _hidden(path, self.root)]
        if self.command in (*RUNS, "probe"):
            for path in self.out.glob("*.json") if self.command in RUNS else ():
                ((_, record),) = find_records([path])
                assert len(read_rows(path)["psnr"]) == record.data.count, "a record without its rows"
            for path in self.out.glob("*.json"):
                assert path.with_suffix(".parquet").is_file(), "a record without its rows"
                if self.command == "probe":
                    from tokbench.feed.probe.saved import load_probe

                    json.loads(path.read_text())
                    load_probe(path.with_suffix(""))
        for path in places:
            if path.suffix == ".parquet":
                pq.read_table(path)
            elif path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix in (".safetensors", ".pt"):
                read_state(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
            elif path.suffix == ".html":
                assert path.read_text().rstrip().endswith("</html>"), "half a page"
            elif path.suffix == ".pth":
                assert _digest(path) == DIGEST, "half a download"
        if self.command == "convert" and (self.out / "config.json").is_file():
            tokbench.load(str(self.out))

    def finished(self) -> None:
        """Check what a run to the end has left.

        Raises:
            Exception: If something is missing, or was left behind.
        """
        self.visible()
        left = [str(path.relative_to(self.root)) for path in self.root.rglob("*") if _hidden(path, self.root) and not _may_stay(path)]
        assert not left, f"left behind: {left}"
        if self.command == "export":
            found = verify(self.out)
            assert found.ok, found.problems
            assert (self.root / "rows" / ".format.json").is_file(), "no sequences"
            self._same(self._bytes())
        elif self.command in (*RUNS, "probe"):
            records = {path.stem for path in self.out.glob("*.json")}
            rows = {path.stem for path in self.out.glob("*.parquet")}
            assert records, "no record"
            assert rows == records, f"rows {rows} of records {records}"
            if self.command == "resume":
                for path in self.out.glob("*.json"):  # there may be several: the record was written when the kill came
                    self._same(_record(path))
        elif self.command == "train":
            self._same(self._losses_and_weights())
        elif self.command == "convert":
            assert (self.out / "config.json").is_file(), "no tokenizer"
        elif self.command == "weights":
            assert len(list(self.root.rglob("*.pth"))) == 1

    def _bytes(self) -> str:
        """Digests of all files of an export: shards, memory map and sequences."""
        files = (path for name in ("out", "mapped", "rows") for path in (self.root / name).rglob("*") if path.is_file())
        digests = {str(path.relative_to(self.root)): _digest(path) for path in files if path.suffix != ".lock"}
        return json.dumps(digests, sort_keys=True)

    def _losses_and_weights(self) -> str:
        """Each line of the log but for its rate, and digests of the weights."""
        lines = [json.loads(line) for line in (self.out / "log.jsonl").read_text().splitlines()]
        losses = [{key: value for key, value in line.items() if key != "images_per_second"} for line in lines]
        assert [line["step"] for line in losses] == [1, 2, 3], "not every step is in the log once"
        weights, _ = read_state(self.out / "weights.safetensors")
        bits = {name: hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest() for name, value in weights.items()}
        return json.dumps([losses, bits], sort_keys=True)

    def _same(self, text: str) -> None:
        """Compare what came of it with what came of the command that was not killed, which is the first."""
        kept = self.root.parent.parent / f"{self.command}.whole"
        if not kept.exists():
            kept.write_text(text)
        assert text == kept.read_text(), "not what comes of it without a kill"


def _record(path: Path) -> str:
    """A record but for times, and the digest of its rows."""
    values = {key: value for key, value in json.loads(path.read_text()).items() if key not in ("timing", "created")}
    return json.dumps(values) + _digest(path.with_suffix(".parquet"))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _may_stay(path: Path) -> bool:
    """Locks lie where they are used; what an export says of itself is hidden by design."""
    return path.name.endswith(".lock") or path.name in (".export.json", ".format.json", ".vocabulary.json")


def run(case: Case, *, at_write: int = 0, after: float = 0.0, count: Path | None = None) -> int:
    """Run a command in a process of its own; killed before its so-manieth write, or after so many seconds.

    Returns:
        Its exit status, or minus the number of the signal.
    """
    pid = os.fork()
    if pid == 0:
        try:
            os.chdir(case.root)
            null = os.open(os.devnull, os.O_RDWR)
            said = os.open(case.root.parent / "said", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(said, 2)
            writes = 0

            def hook(event: str, arguments: tuple[Any, ...]) -> None:
                nonlocal writes
                flags = arguments[2] if event == "open" else None
                if event in ("os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir") or (isinstance(flags, int) and flags & 3):
                    place = os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes, os.PathLike)) else str(case.root)
                    if place.startswith(os.path.sep) and not place.startswith(str(case.root)):
                        return
                    writes += 1
                    if at_write and writes == at_write:
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(hook)
            sys.argv = ["tokbench", *case.arguments()]
            status = 0
            try:
                cli.main()
            except SystemExit as stop:
                status = int(stop.code or 0)
            if count is not None:
                count.write_text("\n".join([str(writes), *sys.modules]))
            os._exit(status)
        finally:
            os._exit(99)
    if after:
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def counted(place: Path) -> int:
    """How many writes a whole run came to. What it imported by itself is imported here too: no later one has to."""
    writes, *modules = place.read_text().splitlines()
    for name in modules:
        with suppress(Exception):
            import_module(name)
    return int(writes)


def judged(check: Callable[[], None]) -> str:
    """What is wrong; empty if nothing is."""
    try:
        check()
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:400]
    return ""


def draw(folder: Path) -> Path:
    """A folder of pictures of noise."""
    pictures = folder / "pictures"
    pictures.mkdir()
    for number in range(IMAGES):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(pictures / f"{number}.png")
    return pictures


def main(root: Path, cases: list[tuple[str, int]], server: str = "") -> None:
    """Run the cases asked for."""
    wanted = replace(assets.get_asset("inception"), sha256=DIGEST)
    fetch.get_asset = lambda name: wanted
    fetch.DOWNLOADS["inception"] = server
    measured: dict[str, tuple[int, float]] = {}
    pictures = draw(root)
    cli.root_command()  # once, and not in each process
    for command, number in cases:
        chance = random.Random(f"{command} {number}")
        here = root / f"{command}-{number}"

        def fresh(here: Path = here, command: str = command) -> Case:
            shutil.rmtree(here, ignore_errors=True)
            (here / "work").mkdir(parents=True)
            os.environ["TOKBENCH_CACHE"] = str(here / "work" / "cache")
            return Case(command, here / "work", pictures)

        if command not in measured:
            case, started = fresh(), time.monotonic()
            status = run(case, count=here / "count")
            seconds = time.monotonic() - started
            said = (here / "said").read_text()[-300:]
            wrong = judged(case.finished) if status == 0 else f"status {status}: {said}"
            if wrong:
                told(command, "alone", killed=False, visible="", again=wrong)
                continue
            measured[command] = counted(here / "count"), seconds
        writes, seconds = measured[command]
        case = fresh()
        at = chance.randrange(1, writes + 1) if chance.random() < 0.75 and writes else 0
        status = run(case, at_write=at, after=0.0 if at else chance.uniform(0.0, seconds))
        visible = judged(case.visible)
        if command == "resume":  # killed once more on its way
            run(case, at_write=chance.randrange(1, writes + 1))
            visible = visible or judged(case.visible)
        again = run(case)
        said = (here / "said").read_text()[-300:]
        done = command == "convert" and again == 2 and (case.out / "config.json").is_file()  # it was whole, and is not written over
        wrong = judged(case.finished) if again == 0 or done else f"status {again}: {said}"
        when = f"write {at} of {writes}" if at else "by the clock"
        told(command, f"{number}, {when}", killed=status == -signal.SIGKILL, visible=visible, again=wrong)
        shutil.rmtree(here, ignore_errors=True)


def told(command: str, case: str, *, killed: bool, visible: str, again: str) -> None:
    """Print what became of a case: what was wrong with what could be seen after the kill, and with what it came to in the end."""
    print(json.dumps({"command": command, "case": f"{command} {case}", "killed": killed, "visible": visible, "again": again}), flush=True)


CONTENT = bytes(range(256)) * 4_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()

if __name__ == "__main__":
    torch.set_num_threads(1)
    prepared.chunk_size = lambda protocol: 2
    main(Path(sys.argv[1]), json.loads(sys.argv[2]), *sys.argv[3:])
