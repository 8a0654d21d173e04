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

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

RECORD = Path(__file__).parents[2] / "results" / "photos-64" / "vqgan-tiny_photos-64.json"
SCRIPT = Path(__file__).with_name("killing.py")
CONTENT = bytes(range(256)) * 4_000
COMMANDS = 8
"""Commands that ``killing.py`` knows; the last one is a run that is gone on with."""


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


def test_killed_commands_leave_nothing_half_and_killed_runs_are_gone_on_with_to_the_same_record(
    share: str, server: str, counts: dict[str, int], tmp_path: Path
) -> None:
    numbers = range(counts["kills"]) if share == "all" else [0, 1, 3, 4, 6]  # without training, which takes seconds
    resumed = [COMMANDS * number + COMMANDS - 1 for number in range(30 if share == "all" else 2)]
    check(sorted({*numbers, *resumed}), server, tmp_path)


def check(numbers: list[int], server: str, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(6):
        draw = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(draw).save(pictures / f"{number}.png")
    (tmp_path / "kills").mkdir()
    words = [str(tmp_path / "kills"), str(pictures), str(RECORD), server, json.dumps(numbers)]
    environment = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), environment.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, str(SCRIPT), *words], env=environment, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    faults = [case for case in cases if case["visible"] or case["again"]]
    print(f"kills: {len(cases)} cases, {sum(case['killed'] for case in cases)} killed before their end")
    assert not faults, "\n".join(f"{case['case']}: {case['visible']} | {case['again']}" for case in faults)
    assert len(cases) == len(numbers)
    assert sum(case["killed"] for case in cases) >= len(cases) // 2
