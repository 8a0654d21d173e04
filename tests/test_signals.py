"""Signals: one line and the status that shells expect, whatever was being done, and no traceback."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from tokbench import signals
from tokbench.signals import Ended, asked_to_end, ending_at_signals, farewell

SIGNALS = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "ended by SIGTERM"), signal.SIGHUP: (129, "ended by SIGHUP")}


def handlers():
    return [signal.getsignal(number) for number in signals.ENDING]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_command_in_one_line(number, tokbench_cli, monkeypatch):
    before = handlers()
    monkeypatch.setattr("tokbench.tokenizers.listed.families", lambda: os.kill(os.getpid(), number))
    status, words = SIGNALS[number]
    assert tokbench_cli("list") == (status, "", f"tokbench: {words}\n")
    assert handlers() == before


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("place", ["in_words", "usage_error", "abandon_output"])
def test_a_signal_while_a_command_finds_its_last_words(place, number, tokbench_cli, monkeypatch):
    monkeypatch.setattr(f"tokbench.cli.{place}", lambda *_: os.kill(os.getpid(), number))
    arguments = ("list", "--jsom") if place == "usage_error" else ("show", "no-such-tokenizer")
    status, words = SIGNALS[number]
    ended, out, err = tokbench_cli(*arguments)
    assert (ended, out, err.splitlines()[-1]) == (status, "", f"tokbench: {words}")
    assert "Traceback" not in err


@pytest.mark.parametrize("number", SIGNALS)
def test_the_second_signal_ends_at_once(number, monkeypatch, capfd):
    ended = []
    monkeypatch.setattr(signals.os, "_exit", ended.append)
    with ending_at_signals():
        with pytest.raises(Ended) as caught:
            os.kill(os.getpid(), number)
        assert caught.value.number == number
        os.kill(os.getpid(), signal.SIGINT)
    assert ended == [130]
    assert capfd.readouterr().err == "tokbench: interrupted\n"


def test_a_signal_that_a_launcher_passes_on_is_the_first_one(monkeypatch, capfd):
    ended = []
    monkeypatch.setattr(signals.os, "_exit", ended.append)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with ending_at_signals():
        with pytest.raises(Ended):
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert ended == []
        assert capfd.readouterr().err == ""
        monkeypatch.setattr(signals, "PASSED_ON", 0.0)
        os.kill(os.getpid(), signal.SIGINT)  # somebody does not want to wait
    assert ended == [130]


@pytest.mark.parametrize("number", SIGNALS)
def test_work_that_ends_by_itself_is_told_once(number):
    with ending_at_signals(), pytest.raises(Ended), asked_to_end() as asked:  # noqa: PT012
        assert asked() is None
        os.kill(os.getpid(), number)
        assert asked() == number
        os.kill(os.getpid(), number)


def test_an_error_handler_does_not_take_it_for_an_error():
    with ending_at_signals(), pytest.raises(Ended):  # noqa: PT012
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Exception:
            pytest.fail("handled")


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending_at_signals(), asked_to_end() as asked:
            os.kill(os.getpid(), signal.SIGHUP)
            assert asked() is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_are_left_alone():
    found = []

    def work():
        with ending_at_signals(), asked_to_end() as asked:
            found.append(asked())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None]


LOADING = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from tokbench import entry
sys.modules.pop("tokbench.cli", None)
sys.meta_path.insert(0, __import__("interrupting").Finder())
entry.main()
"""
FINDER = """
import os, signal
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "rich":
            os.kill(os.getpid(), signal.SIGINT)
"""


def test_an_interrupt_while_modules_load_is_one_line(tmp_path):
    (tmp_path / "interrupting.py").write_text(FINDER)
    done = subprocess.run([sys.executable, "-c", LOADING, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "tokbench: interrupted\n")


LEAVING = """
import atexit, os, signal, sys, threading, time
from tokbench import entry
number, moment = getattr(signal, sys.argv.pop(1)), sys.argv.pop(1)

class Held:
    def __del__(self):  # while the interpreter takes its modules down
        os.kill(os.getpid(), number)

def late():
    os.kill(os.getpid(), number)
    time.sleep(60)  # as libraries that do not come to an end

if moment == "modules":
    sys.modules["tokbench.held"] = held = Held()
else:
    register = atexit.register
    def registered(function, *rest):
        found = register(function, *rest)
        atexit.register = register
        register(late)  # called before what was registered first
        return found
    atexit.register = registered
entry.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["modules", "libraries"])
def test_a_signal_while_the_interpreter_goes_leaves_the_status_or_is_one_line(number, moment):
    words = [sys.executable, "-c", LEAVING, signal.Signals(number).name, moment, "--version"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.startswith("tokbench ")
    if moment == "modules":
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert (done.returncode, done.stderr) == (128 + number, f"{farewell(number)}\n")
