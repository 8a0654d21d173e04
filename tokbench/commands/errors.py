"""What goes wrong around a command, each as one line: mistakes on the command line, and machines that have not enough of something."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from enum import Enum
from typing import Any

import typer

from tokbench.errors import TokbenchError, out_of_memory, unknown_name

UsageError: Any = typer.BadParameter.__base__
"""What is raised where words do not fit a command: of typer's own copy of click in newer versions, of click in older ones."""

NUMBERS = {int: "a whole number", float: "a number"}

LOWER = ("--size", "--batch-size", "--rows", "--images", "--tile", "--images-seen", "--limit")
"""Options that take less memory when they are lower, the most telling first."""

SYSTEM = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EPERM),
    *(errno.ENAMETOOLONG, errno.EFBIG, errno.ELOOP, errno.ESTALE, errno.ENODEV),
)
"""Errors of the system that no code can do anything about."""

DEVICE = re.compile(r"(CUDA|HIP|cuDNN|CUBLAS|cuBLAS|NCCL|MPS)\b.*\b(error|failed|failure)|CUBLAS_STATUS|CUDNN_STATUS", re.IGNORECASE)
"""How PyTorch words that a device failed."""


def in_words(error: Exception, root: Any, words: Sequence[str]) -> TokbenchError | None:
    """Word an error that ended a command, so far as it is no mistake of this package.

    Args:
        error: What was raised.
        root: The command that was called.
        words: What it was called with.

    Returns:
        The error to be printed; None if it is a mistake of this package.
    """
    path, command = _called(root, words)
    options = [option for own in command.params for option in own.opts]
    first = next(iter(str(error).splitlines()), "") or type(error).__name__
    if out_of_memory(error):
        lower = [option for option in LOWER if option in options]
        advice = f"lower {' or '.join(lower)}" if lower else "free some"
        amount = re.search(
            r"allocate (?:an array with shape \S+ and )?([\d.]+ ?(?:[KMGTP]i?B|bytes))|Unable to allocate ([\d.]+ [KMGTP]iB)", str(error)
        )
        asked = f" (asked for {amount[1] or amount[2]})" if amount else ""
        device = "--device cpu" if "--device" in options and re.search("CUDA|HIP|MPS", str(error)) else ""
        return TokbenchError(f"{' '.join(path[1:])} ran out of memory{asked}; {advice}{', or use ' + device if device else ''}")
    if isinstance(error, TokbenchError):
        return error
    if isinstance(error, RecursionError):
        return TokbenchError("something that was given is nested too deeply to be read; give a simpler file")
    if isinstance(error, OSError) and error.errno in SYSTEM:
        where = f"{error.filename}: " if error.filename else ""
        return TokbenchError(f"{where}{error.strerror or error}; the system refused, mend that and run it again")
    if isinstance(error, RuntimeError) and DEVICE.search(first):
        advice = ", or use --device cpu" if "--device" in options else ""
        return TokbenchError(f"the device failed ({first[:200]}); run it again{advice}")
    return None


def usage_error(error: Any, root: Any, words: Sequence[str]) -> TokbenchError:
    """Word a usage error.

    Args:
        error: A ``UsageError``.
        root: The command that was called.
        words: What it was called with.

    Returns:
        The error in the form of all others, to be printed.
    """
    path, command = _called(root, words)
    hint = f"See: {' '.join(path)} --help"
    unknown = re.match(r"No such command '(.*?)'", error.message)
    if unknown is not None:
        return unknown_name("command", unknown[1], command.commands, hint=hint)
    name = getattr(error, "option_name", None)
    parameter = getattr(error, "param", None)
    if name is not None and hasattr(error, "possibilities"):
        options = [option for own in command.params for option in own.opts if option.startswith("--")]
        return unknown_name("option", name, [*options, "--help"], hint=hint)
    if name is not None:
        return TokbenchError(
            f"{name} {'takes no value, got one' if 'does not take' in error.message else 'needs a value, got none'}. {hint}"
        )
    if parameter is not None and hasattr(error, "param_type"):
        what = f" ({parameter.help.rstrip('.')})" if parameter.help else ""
        return TokbenchError(f"{' '.join(path[1:])} needs {_name(parameter)}{what}, got none. {hint}")
    if parameter is not None:
        return _refused(error, parameter, hint)
    extra = re.match(r"Got unexpected extra arguments?(?:\(s\))? \((.*)\)", error.message)
    if extra is not None:
        return TokbenchError(f"{' '.join(path[1:])} takes fewer arguments, got also {extra[1]!r}. {hint}")
    return TokbenchError(f"{error.format_message().rstrip('.')}. {hint}")


def _called(root: Any, words: Sequence[str]) -> tuple[list[str], Any]:
    """The words that lead to a command, and the command."""
    path, command = ["tokbench"], root
    for word in words:
        if word not in getattr(command, "commands", {}):
            break
        path.append(word)
        command = command.commands[word]
    return path, command


def check_once(root: Any, words: Sequence[str]) -> None:
    """Refuse an option that takes one value and is given twice: the last would count, and the others go in silence.

    Args:
        root: The command that was called.
        words: What it was called with.

    Raises:
        TokbenchError: Naming the option.
    """
    path, command = _called(root, words)
    given = list(words[len(path) - 1 :])
    given = given[: given.index("--")] if "--" in given else given
    for parameter in command.params:
        if parameter.param_type_name != "option" or parameter.multiple or parameter.is_flag:
            continue
        values, at = [], 0
        while at < len(given):
            word = given[at]
            name, equals, value = word.partition("=")
            if word in parameter.opts:
                at += 1
                values.append(given[at] if at < len(given) else "")
            elif equals and name.startswith("--") and name in parameter.opts:
                values.append(value)
            at += 1
        if len(values) > 1:
            name = max(parameter.opts, key=len)
            raise TokbenchError(f"{name} takes one value, and {len(values)} were given: {', '.join(values)}; give one of them")


def _refused(error: Any, parameter: Any, hint: str) -> TokbenchError:
    """A value that an option or argument does not take."""
    name, kind = _name(parameter), getattr(parameter, "type_descriptor", None)
    details: list[Any] = getattr(error.__cause__, "errors", list)()
    if kind is None or not details:  # older versions: the message names what was given
        return TokbenchError(f"{name}: {error.message.rstrip('.')}. {hint}")
    given = details[0]["input"]
    if kind.choices:
        return unknown_name(name, given, [choice.value if isinstance(choice, Enum) else str(choice) for choice in kind.choices], hint=hint)
    if kind.annotation not in NUMBERS:
        return TokbenchError(f"{name} cannot be {given!r}: {error.message.rstrip('.')}. {hint}")
    low, high = kind.parameter_info.min, kind.parameter_info.max
    limits = " of at least {}" if high is None else " of at most {1}" if low is None else " from {} to {}"
    limits = "" if low is None and high is None else limits.format(low, high)
    return TokbenchError(f"{name} takes {NUMBERS[kind.annotation]}{limits}, got {given!r}. {hint}")


def _name(parameter: Any) -> str:
    """An option as it is written, an argument as help texts name it."""
    option = next((option for option in parameter.opts if option.startswith("--")), None)
    return option or str(parameter.metavar or parameter.name).upper()
