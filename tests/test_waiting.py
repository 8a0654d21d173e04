"""Waits for other processes: over when these are there, and ended by a signal at any time."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tokbench import waiting
from tokbench.signals import Ended, ending_at_signals

WAITS = """
import threading
from tokbench import signals, waiting
try:
    with signals.ending_at_signals():
        print("ready", flush=True)
        waiting.in_thread(threading.Event().wait)
except signals.Ended as ended:
    print("ended", ended.number)
    raise SystemExit(1)
"""


def test_a_wait_is_over_when_what_is_waited_for_is():
    seen = []
    waiting.in_thread(lambda: time.sleep(0.1), meanwhile=seen.append)
    assert seen == sorted(seen)
    assert seen[0] < 0.1 <= seen[-1]
    assert not waiting.gave_up()


def test_errors_of_what_waits_are_raised_here():
    def fails():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        waiting.in_thread(fails)


def test_a_signal_ends_a_wait_and_what_is_pending_is_not_waited_for(monkeypatch):
    registered = []
    monkeypatch.setattr(waiting.atexit, "register", lambda *call: registered.append(call))
    monkeypatch.setattr(waiting, "_given_up", [])
    over = threading.Event()
    with ending_at_signals():
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM))
        timer.start()
        with pytest.raises(Ended):
            waiting.until(over.is_set)
    assert waiting.gave_up()
    assert registered == [(waiting._end, 143)]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_process_ends_with_the_status_of_the_signal(number, status):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)
    process.send_signal(number)
    assert process.communicate(timeout=60) == (f"ended {int(number)}\n", None)
    assert process.returncode == status


@pytest.mark.parametrize("met", [True, False])
def test_ctrl_c_ends_a_process_that_waits_for_another(met, in_processes, monkeypatch):
    """Either in its work, where the other is slow, or where it has not come yet."""
    from tokbench.bench.team import gathered
    from tokbench.errors import TokbenchError

    def work(rank):
        if rank == 1:
            if not met:
                time.sleep(8)
                return
            with gathered() as team:
                time.sleep(8)
                with pytest.raises(TokbenchError, match="another process of this run has ended; what it said"):
                    team.failed(False)
            return
        monkeypatch.setattr(waiting.atexit, "register", lambda *call: None)
        threading.Timer(3, os.kill, (os.getpid(), signal.SIGINT)).start()
        started = time.monotonic()
        with ending_at_signals(), pytest.raises(Ended), gathered() as team:
            team.failed(False)
        assert time.monotonic() - started < 6

    assert in_processes(2, work) == [0, 0]
