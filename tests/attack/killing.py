"""Run by ``test_kills``: commands in processes forked off one interpreter, killed at a write or a moment, looked at, and run again.

Prints a line of JSON a case.
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

import pyarrow.parquet as pq
import torch

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
COMMANDS = ("run", "export", "train", "report", "convert", "probe", "weights", "resume")
RUNS = ("run", "resume")


class Case:
    """One command in a folder of its own.

    Args:
        command: One of ``COMMANDS``.
        root: The folder.
        pictures: What it reads.
        record: A record that ships with the package's source.
    """

    def __init__(self, command: str, root: Path, pictures: Path, record: Path) -> None:
        self.command, self.root, self.out = command, root, root / "out"
        common = ["--data", str(pictures), "--size", "16"]
        self.words: dict[str, list[str]] = {
            "run": ["run", "-t", "patch", *common, "--metrics", "psnr", "--out", str(self.out)],
            "resume": ["run", "-t", "patch", *common, "--metrics", "psnr,codebook", "--resume", "--out", str(self.out)],
            "export": ["export", "-t", "patch", *common, "--rows", "2", "--out", str(self.out), "--memmap", str(root / "mapped"), "--as", f"sequences={root / 'rows'}"],
            "train": ["train", "vae-tiny", *common, "--steps", "3", "--batch-size", "1", "--save-every", "1", "--log-every", "1", "--out", str(self.out)],
            "report": ["report", str(record), "--images", "0", "-o", str(root / "page.html")],
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
                assert hashlib.sha256(path.read_bytes()).hexdigest() == DIGEST, "half a download"
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
        elif self.command in (*RUNS, "probe"):
            records = {path.stem for path in self.out.glob("*.json")}
            rows = {path.stem for path in self.out.glob("*.parquet")}
            assert records, "no record"
            assert rows == records, f"rows {rows} of records {records}"
            if self.command == "resume":
                self._same()
        elif self.command == "train":
            assert (self.out / "weights.safetensors").is_file()
        elif self.command == "convert":
            assert (self.out / "config.json").is_file(), "no tokenizer"
        elif self.command == "weights":
            assert len(list(self.root.rglob("*.pth"))) == 1

    def _same(self) -> None:
        """Compare all records with that of the run that was not killed, which is the first."""
        kept = self.root.parent.parent / "record"
        for path in self.out.glob("*.json"):
            values = json.loads(path.read_text())
            text = json.dumps({key: value for key, value in values.items() if key not in ("timing", "created")})
            text += hashlib.sha256(path.with_suffix(".parquet").read_bytes()).hexdigest()
            if not kept.exists():
                kept.write_text(text)
            assert text == kept.read_text(), "another record"


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


def main() -> None:
    """Run the cases asked for."""
    root, pictures, record, server = (Path(sys.argv[i]) if i < 4 else sys.argv[i] for i in range(1, 5))
    numbers = json.loads(sys.argv[5])
    wanted = replace(assets.get_asset("inception"), sha256=DIGEST)
    fetch.get_asset = lambda name: wanted
    fetch.DOWNLOADS["inception"] = str(server)
    measured: dict[str, tuple[int, float]] = {}
    cli.root_command()  # once, and not in each process
    for number in numbers:
        command = COMMANDS[number % len(COMMANDS)]
        chance = random.Random(f"kill {number}")
        here = Path(root) / str(number)

        def fresh(here: Path = here, command: str = command) -> Case:
            shutil.rmtree(here, ignore_errors=True)
            (here / "work").mkdir(parents=True)
            os.environ["TOKBENCH_CACHE"] = str(here / "work" / "cache")
            return Case(command, here / "work", Path(pictures), Path(record))

        if command not in measured:
            case, started = fresh(), time.monotonic()
            status = run(case, count=here / "count")
            said = (here / "said").read_text()[-300:]
            wrong = judged(case.finished) if status == 0 else f"status {status}: {said}"
            if wrong:
                print(json.dumps({"case": f"{command} alone", "killed": False, "visible": "", "again": wrong}), flush=True)
                continue
            measured[command] = counted(here / "count"), time.monotonic() - started
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
        name = f"{number} {command}, {f'write {at} of {writes}' if at else 'by the clock'}"
        print(json.dumps({"case": name, "killed": status == -signal.SIGKILL, "visible": visible, "again": wrong}), flush=True)
        shutil.rmtree(here, ignore_errors=True)


CONTENT = bytes(range(256)) * 4_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()

if __name__ == "__main__":
    torch.set_num_threads(1)
    prepared.chunk_size = lambda protocol: 2
    main()
