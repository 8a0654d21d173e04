"""Commands killed at any write or moment: what can be seen is whole, and running them again to the end leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

SCRIPT = Path(__file__).with_name("killing.py")
CONTENT = bytes(range(256)) * 4_000
SAME = ("export", "train", "resume")
"""Commands that must come to the very same: bytes of an export, losses and weights of a training, the record of a run gone on with."""
COMMANDS = ("run", "report", "convert", "weights", "probe", *SAME)
"""Those that ``killing.py`` knows; the probe takes seconds, and is killed with ``-m slow`` alone."""


@pytest.fixture
def server() -> Iterator[str]:
    """A server that serves ranges, slowly enough to be killed in between."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("Range")
            start = int(given.removeprefix("bytes=").removesuffix("-")) if given else 0
            self.send_response(206 if given else 200)
            if given:
                self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.send_header("ETag", '"one"')
            self.end_headers()
            for at in range(start, len(CONTENT), 1 << 17):
                self.wfile.write(CONTENT[at : at + (1 << 17)])
                time.sleep(0.02)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.handle_error = lambda *_: None  # type: ignore[method-assign]  # whoever is killed hangs up
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}/w.pth"
    http.shutdown()
    http.server_close()


def test_killed_commands_leave_nothing_half_and_what_is_gone_on_with_comes_to_the_same(
    share: str, server: str, counts: dict[str, int], tmp_path: Path
) -> None:
    everything = [(COMMANDS[number % len(COMMANDS)], number // len(COMMANDS)) for number in range(counts["kills"])]
    cases = everything if share == "all" else everything[: COMMANDS.index("probe")]
    same = [(command, number) for command in SAME for number in range(30 if share == "all" else 2)]
    check(sorted({*cases, *same}), server, tmp_path)


def check(wanted: list[tuple[str, int]], server: str, folder: Path) -> None:
    words = [str(folder), json.dumps(wanted), server]
    environment = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), environment.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, str(SCRIPT), *words], env=environment, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    faults = [case for case in cases if case["visible"] or case["again"]]
    print(f"kills: {len(cases)} cases, {sum(case['killed'] for case in cases)} killed before their end")
    assert not faults, "\n".join(f"{case['case']}: {case['visible']} | {case['again']}" for case in faults)
    assert len(cases) == len(wanted)
    for command in SAME:
        killed = [case["killed"] for case in cases if case["command"] == command]
        assert sum(killed) > len(killed) // 2, f"{command} was mostly at its end before it was killed"
