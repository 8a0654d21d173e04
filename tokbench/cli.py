"""The command line: gathers the commands, and turns what goes wrong into one line and an exit status."""

from __future__ import annotations

import logging
import signal
import sys
import traceback
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

import typer

from tokbench.commands.app import app as serve_app
from tokbench.commands.cache import cache_app
from tokbench.commands.compare import compare, diff, plot
from tokbench.commands.console import say
from tokbench.commands.errors import at_home, check_once, check_paths, in_words, is_group, is_usage_error, usage_error
from tokbench.commands.explain import explain
from tokbench.commands.feed import export, verify
from tokbench.commands.lm import lm_app
from tokbench.commands.merge import merge
from tokbench.commands.metrics import metrics
from tokbench.commands.predict import predict
from tokbench.commands.probe import probe
from tokbench.commands.protocols import protocols
from tokbench.commands.reconstruct import reconstruct
from tokbench.commands.report import report
from tokbench.commands.run import run
from tokbench.commands.score import score
from tokbench.commands.speed import speed
from tokbench.commands.train import train
from tokbench.commands.weights import convert, published, weights_app
from tokbench.commands.zoo import list_, show
from tokbench.files import Busy
from tokbench.ranks import Elsewhere, asks_for_a_part, join_tasks, leave_the_others
from tokbench.signals import Ended, ending_at_signals, exit_status, farewell
from tokbench.streams import CLOSED_PIPE, ClosedPipe, abandon_output, output, take_any_text

app = typer.Typer(
    help="Image tokenizers behind one interface, measured under one recorded protocol.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(weights_app, name="weights")
app.add_typer(cache_app, name="cache")
app.add_typer(lm_app, name="lm")


def main() -> None:
    """Entry point: what a user can fix is one line on stderr and exit status 2."""
    take_any_text(sys.stderr)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    with ending_at_signals():
        try:
            status = _status()
            abandon_output()
        except Ended as ended:  # at work, or at finding words for what went wrong there
            if not ended.silent:
                say(farewell(ended.number, ended.note))
            status = exit_status(ended.number)
    sys.exit(status)


@cache
def root_command() -> Any:
    """All commands as one of click's, which runs them; made once, since reading all their annotations takes a tenth of a second."""
    return typer.main.get_command(app)


def _status() -> int:
    """Run the command that was asked for, and say in one line what kept it from its end."""
    root, tasks = root_command(), join_tasks(sys.argv[1:])
    advice = "" if tasks is None else tasks.advice(in_parts=_words(sys.argv[1:])[:1] in (["run"], ["score"]))
    try:
        if tasks is not None and tasks.rank == 0 and _shared(sys.argv[1:]) and not asks_for_a_part(sys.argv[1:]):
            say(f"each task of {tasks.launcher} does all of this; {advice}")
        if not _shared(sys.argv[1:]) and leave_the_others():
            return 0
        check_once(root, sys.argv[1:])
        check_paths(root, sys.argv[1:])
        words = at_home(root, sys.argv[1:])
        with output():
            if is_group(root, words):  # its help is the answer
                root([*words, "--help"], standalone_mode=False)
                return 2
            status = root(args=words, standalone_mode=False)
        if status == exit_status(signal.SIGINT):  # newer versions of typer make this of KeyboardInterrupt
            say(farewell(signal.SIGINT))
        return status or 0
    except (KeyboardInterrupt, typer.Abort):
        say(farewell(signal.SIGINT))
        return exit_status(signal.SIGINT)
    except ClosedPipe:
        return CLOSED_PIPE
    except Exception as error:
        if isinstance(error, Elsewhere):
            return 2
        problem = (usage_error if is_usage_error(error) else in_words)(error, root, sys.argv[1:])
        if problem is not None:
            say(f"tokbench: {problem}{f'; {advice}' if advice and isinstance(error, Busy) else ''}")
            return 2
        traceback.print_exc()
        say("tokbench: this is a mistake of tokbench; please report it, with the lines above")
        return 1


def _shared(words: list[str]) -> bool:
    """Whether processes of ``torchrun`` share what the command line asks for; the first of them does anything else alone."""
    command = _words(words)
    if "--help" in words or command == ["lm", "train"]:  # which lists the stages
        return False
    return command[:1] in (["export"], ["probe"], ["run"], ["score"], ["train"]) or command[:2] == ["lm", "train"]


def _words(words: list[str]) -> list[str]:
    """The words that name a command, and arguments after them."""
    return [word for word in words if not word.startswith("-")]


def _version(asked: bool) -> bool:
    if asked:
        import tokbench

        print(f"tokbench {tokbench.__version__}")
        raise typer.Exit
    return asked


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version)] = False,
) -> None:
    pass


COMMANDS: dict[str, Callable[..., None]] = {
    "list": list_,
    "show": show,
    "metrics": metrics,
    "protocols": protocols,
    "run": run,
    "score": score,
    "speed": speed,
    "merge": merge,
    "compare": compare,
    "diff": diff,
    "explain": explain,
    "plot": plot,
    "report": report,
    "reconstruct": reconstruct,
    "export": export,
    "verify": verify,
    "probe": probe,
    "predict": predict,
    "convert": convert,
    "published": published,
    "train": train,
    "app": serve_app,
}
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)
