"""What all attacks share: how many cases there are, mutations by seed, and one verdict on what each case did.

An attack hands the package what it must refuse in words or read in full. Anything else is a fault: another exception, a hang, code of a
file that ran, a file where none belongs. All cases run with ``-m slow``; a fixed tenth of them runs with every other test.
"""

from __future__ import annotations

import io
import os
import random
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import jaxtyping
import pytest

from tokbench.errors import TokbenchError
from tokbench.images import UnreadableImage

COUNTS = {
    "images": 800,
    "records": 1000,
    "checkpoints": 450,
    "archives": 200,
    "shards": 190,
    "probes": 120,
    "models": 120,
    "evaluations": 120,
    "plugins": 35,
    "servers": 16,
    "kills": 60,
}
"""Cases of each attack."""

SECONDS = 60
"""After which a case counts as hanging; nearly all take milliseconds, but machines are busy."""

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "subprocess.Popen", "pty.spawn")
_CHANGES = {"os.mkdir": 0, "os.rename": 1, "os.link": 1, "os.symlink": 1, "os.remove": 0, "os.rmdir": 0, "os.truncate": 0}


class Hang(BaseException):
    """A case took too long."""


class Trial:
    """Runs cases in a sandbox and collects what they did wrong.

    Args:
        kind: Key of ``COUNTS``.
        share: ``all`` or ``tenth``.
        inside: The only folder that cases may write to.
    """

    def __init__(self, kind: str, share: str, inside: Path) -> None:
        self.kind, self.inside = kind, inside
        self.canary = inside.parent / "canary"
        everything = range(COUNTS[kind])
        self.numbers = list(everything) if share == "all" else sorted(random.Random(kind).sample(everything, -(-len(everything) // 10)))
        self.whole = share == "all"
        self.faults: list[str] = []
        self.outcomes: dict[str, int] = {}
        self.printed = ""
        self._refused = False
        self._peak_before = _peak_mib()

    def __iter__(self) -> Iterator[tuple[int, random.Random]]:
        """The number of each case, with its own source of chance."""
        for number in self.numbers:
            yield number, random.Random(f"{self.kind} {number}")

    @contextmanager
    def case(self, name: str, *, seconds: float = SECONDS) -> Iterator[None]:
        """Judge what happens within: it may end, or refuse in one line."""
        outcome, before, self._refused = "accepted", len(self.faults), False
        with _watched(self.inside) as events:
            try:
                with _limited(seconds):
                    yield
                outcome = "refused" if self._refused else outcome
            except (TokbenchError, UnreadableImage) as error:
                outcome = "refused"
                text = str(error)
                if not text.isprintable() or len(text) > 2000:
                    self.faults.append(f"{name}: not one printable line: {text[:200]!r}")
            except Hang:
                self.faults.append(f"{name}: more than {seconds} s")
            except BaseException as error:
                where = next((f for f in reversed(traceback.extract_tb(error.__traceback__)) if "tokbench" in f.filename), None)
                place = f"{Path(where.filename).name}:{where.lineno}" if where else "?"
                self.faults.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:200]} ({place})")
                if isinstance(error, KeyboardInterrupt):
                    raise
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        self.faults += [f"{name}: {event}" for event in events]
        if self.canary.exists():
            self.faults.append(f"{name}: code ran")
            self.canary.unlink()
        for fault in self.faults[before:]:
            print(fault, flush=True)

    def command(self, *words: object) -> tuple[int, str]:
        """Run a command line in this process.

        Returns:
            Exit status and what it said on stderr; what it printed is in ``printed``.

        Raises:
            AssertionError: If it ended with another status than 0, 1 and 2, or showed a traceback.
        """
        from tokbench import cli

        out, err = io.StringIO(), io.StringIO()
        before, sys.argv = sys.argv, ["tokbench", *map(str, words)]
        try:
            with redirect_stdout(out), redirect_stderr(err):
                cli.main()
            status: Any = 0
        except SystemExit as stop:
            status = stop.code or 0
        finally:
            sys.argv = before
        text, self.printed = err.getvalue(), out.getvalue()
        assert status in (0, 1, 2), f"status {status}: {text[-300:]}"
        assert "Traceback" not in text, text[-400:]
        assert all(line.isprintable() for line in text.splitlines()), f"not printable: {text[-300:]!r}"
        self._refused = status == 2
        if status == 2:
            last = text.strip().splitlines()[-1] if text.strip() else ""
            assert last.startswith("tokbench: "), f"no reason: {text[-300:]!r}"
        return status, text

    def finish(self, *, most_mib: int = 1024) -> None:
        """Say what was tried, and fail with the faults."""
        peak = _peak_mib()
        grown = peak - self._peak_before
        print(
            f"{self.kind}: {len(self.numbers)} cases, {self.outcomes}, peak {peak:.0f} MiB of the process, {grown:.0f} MiB more than before"
        )
        assert not self.faults, f"{len(self.faults)} faults in {len(self.numbers)} cases:\n" + "\n".join(self.faults[:60])
        assert grown < most_mib


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def ring(number: int, frame: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


_watching: list[tuple[Path, list[str]]] = []
_hooked: list[bool] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    inside, events = _watching[-1]
    if event.startswith(_RUNS):
        events.append(f"runs {event} {arguments}"[:200])
    elif event == "open":
        path, _, flags = arguments
        if isinstance(path, (str, bytes, os.PathLike)) and isinstance(flags, int) and flags & _WRITING:
            _judge_place(path, inside, events)
    elif event in _CHANGES:
        path = arguments[_CHANGES[event]]
        if isinstance(path, (str, bytes, os.PathLike)) and os.path.isabs(os.fsdecode(path)):  # others are relative to a descriptor
            _judge_place(path, inside, events)


def _judge_place(path: Any, inside: Path, events: list[str]) -> None:
    place = os.path.realpath(os.fsdecode(path))
    if place.startswith(f"{inside}{os.sep}") or place == str(inside) or place == os.devnull or ".pyc" in place or "__pycache__" in place:
        return
    events.append(f"writes {place}")


@contextmanager
def _watched(inside: Path) -> Iterator[list[str]]:
    if not _hooked:
        sys.addaudithook(_hook)  # for good: it costs a look at an empty list
        _hooked.append(True)
    events: list[str] = []
    _watching.append((inside, events))
    try:
        yield events
    finally:
        _watching.pop()


@pytest.fixture(params=["tenth", pytest.param("all", marks=pytest.mark.slow)])
def share(request: pytest.FixtureRequest) -> str:
    """How many of the cases are tried."""
    return request.param


@pytest.fixture(scope="session")
def warm() -> None:
    """What commands import, and how long that takes, is no file's doing: matplotlib looks for fonts with another program."""
    for name in ("matplotlib.font_manager", "tokbench.bench.runner", "tokbench.feed.export", "tokbench.report.page.render"):
        import_module(name)


@pytest.fixture
def trial(warm: None, share: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Trial]:
    """Builds a trial of a kind, whose sandbox is the working folder, home, cache and place for temporary files."""
    inside = (tmp_path / "inside").resolve()
    inside.mkdir()
    for name in ("HOME", "TOKBENCH_CACHE", "TORCH_HOME", "XDG_CACHE_HOME", "HF_HOME"):
        monkeypatch.setenv(name, str(inside / "home"))
    monkeypatch.setenv("TMPDIR", str(inside))
    monkeypatch.setattr("tempfile.tempdir", str(inside))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(inside)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # users have no run-time check, which would come first
    return lambda kind: Trial(kind, share, inside)


@pytest.fixture(scope="session")
def counts() -> dict[str, int]:
    """Cases of each attack."""
    return COUNTS


def mutate_bytes(data: bytes, chance: random.Random) -> tuple[str, bytes]:
    """Damage bytes in one of nine ways.

    Returns:
        What was done, and the damaged bytes.
    """
    kind = chance.choice(["flip", "flips", "cut", "junk", "swap", "zeros", "repeat", "lie", "noise"])
    at = chance.randrange(max(1, len(data)))
    if chance.random() < 0.5:
        at = min(at, chance.randrange(200))  # headers are short and matter most
    out = bytearray(data)
    if kind == "flip":
        out[at : at + 1] = bytes([out[at] ^ (1 << chance.randrange(8))]) if out else b""
    elif kind == "flips":
        for _ in range(chance.randrange(2, 30)):
            place = chance.randrange(len(out))
            out[place] ^= 1 << chance.randrange(8)
    elif kind == "cut":
        out = out[: chance.randrange(len(out))]
    elif kind == "junk":
        out += chance.randbytes(chance.randrange(1, 600))
    elif kind == "swap":
        size = chance.randrange(1, max(2, len(out) // 4))
        a, b = sorted((chance.randrange(len(out)), chance.randrange(len(out))))
        first, second = bytes(out[a : a + size]), bytes(out[b : b + size])
        out[b : b + size], out[a : a + size] = first, second
    elif kind == "zeros":
        size = chance.randrange(1, 64)
        out[at : at + size] = bytes(len(out[at : at + size]))
    elif kind == "repeat":
        size = chance.randrange(1, 64)
        out[at:at] = out[at : at + size]
    elif kind == "lie":  # a huge number where a length may stand
        number = chance.choice([0xFFFFFFFF, 0x7FFFFFFF, 0xFFFFFF00, 0x10000000])
        out[at : at + 4] = number.to_bytes(4, chance.choice(["little", "big"]))
    else:
        size = chance.randrange(1, 64)
        out[at : at + size] = chance.randbytes(len(out[at : at + size]))
    return kind, bytes(out)


@pytest.fixture(scope="session")
def mutate() -> Callable[[bytes, random.Random], tuple[str, bytes]]:
    """Damages bytes, see ``mutate_bytes``."""
    return mutate_bytes


ODD = (
    None,
    True,
    False,
    0,
    -1,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\x1b[31m",
    "../../x",
    "\ud800",
    [],
    {},
    [[]],
    {"a": 1},
    10**400,
    -(2**63),
    2**64,
    "9" * 5000,
    ["x"] * 3,
    [None],
    1.5,
)
"""Values that do not belong."""


def mutate_value(value: Any, chance: random.Random) -> tuple[str, Any]:
    """Damage a JSON value in one place: replace, remove, rename, add, nest or double."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            places.append((node, key))
            walk(node[key])

    walk(value)
    if not places:
        return "replaced", chance.choice(ODD)
    node, key = chance.choice(places)
    kind = chance.choice(["replace", "replace", "replace", "remove", "rename", "add", "nest", "negate", "string"])
    what = f"{kind} {key}"
    if kind == "replace":
        node[key] = chance.choice(ODD)
    elif kind == "remove":
        del node[key]
    elif kind == "rename" and isinstance(node, dict):
        node[chance.choice(["", "\x1b]0;x\x07", "x" * 300, "<b>", "=1+1", "\u202e"])] = node.pop(key)
    elif kind == "add" and isinstance(node, dict):
        node[chance.choice(["new", "__class__", "\x1b[2J", "<script>"])] = chance.choice(ODD)
    elif kind == "nest":
        deep: Any = node[key]
        for _ in range(chance.choice([1, 3, 80])):
            deep = chance.choice([[deep], {"a": deep}])
        node[key] = deep
    elif kind == "negate" and isinstance(node[key], (int, float)):
        node[key] = chance.choice([-node[key], node[key] * 10**6, str(node[key]), [node[key]]])
    else:
        node[key] = str(node[key])
    return what, value


@pytest.fixture(scope="session")
def mutate_json() -> Callable[[Any, random.Random], tuple[str, Any]]:
    """Damages a JSON value, see ``mutate_value``."""
    return mutate_value


def mutated_text(text: str, chance: random.Random) -> tuple[str, bytes]:
    """Damage JSON text as a value, as bytes, or whole."""
    import copy
    import json

    draw = chance.random()
    if draw < 0.6:
        what, value = mutate_value(copy.deepcopy(json.loads(text)), chance)
        if chance.random() < 0.3:
            more, value = mutate_value(value, chance)
            what += f", {more}"
        with suppress(ValueError):
            return what, json.dumps(value).encode("utf-8", "surrogatepass")
        return what, repr(value).encode("utf-8", "surrogatepass")
    if draw < 0.85:
        return mutate_bytes(text.encode(), chance)
    whole = chance.choice(
        [
            b"",
            b"null",
            b"[]",
            b"{}",
            b"1",
            b"[" * 100_000,
            b'{"a":' * 50_000,
            b"9" * 5000,
            b"\xff\xfe{}",
            b"\xef\xbb\xbf" + text.encode(),
            text.encode("utf-16"),
            b"NaN",
            text.encode() * 2,
            b'{"schema": ' + b"9" * 5000 + b"}",
        ]
    )
    return "whole", whole


@pytest.fixture(scope="session")
def mutate_text() -> Callable[[str, random.Random], tuple[str, bytes]]:
    """Damages JSON text, see ``mutated_text``."""
    return mutated_text
