"""What goes wrong around a command, each as one line: mistakes on the command line, and machines that have not enough of something."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from typing import Any

from tokbench.commands.values import Refused
from tokbench.errors import TokbenchError, out_of_memory, unknown_name

LOWER = ("--size", "--micro-batch", "--batch-size", "--rows", "--images", "--tile", "--images-seen", "--limit")
"""Options that take less memory when they are lower, the most telling first."""

SYSTEM = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EPERM),
    *(errno.ENAMETOOLONG, errno.EFBIG, errno.ELOOP, errno.ESTALE, errno.ENODEV),
)
"""Errors of the system that no code can do anything about."""

DEVICE = re.compile(r"(CUDA|HIP|cuDNN|CUBLAS|cuBLAS|NCCL|MPS)\b.*\b(error|failed|failure)|CUBLAS_STATUS|CUDNN_STATUS", re.IGNORECASE)
"""How PyTorch words that a device failed."""


WRITTEN = {"--output", "--gate-report"}
"""Options that take a file to write, of which ``tokbench.commands.destinations`` says that a folder is none."""


def in_words(error: Exception, root: Any, words: Sequence[str]) -> TokbenchError | None:
    """Word an error that ended a command, so far as it is no mistake of this package.

    Args:
        error: What was raised.
        root: The command that was called.
        words: What it was called with.

    Returns:
        The error to be printed; None if it is a mistake of this package.
    """
    path, command, _ = _called(root, words)
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


def is_group(root: Any, words: Sequence[str]) -> bool:
    """Whether words name a group of commands and nothing of it.

    Args:
        root: The command that was called.
        words: What it was called with.
    """
    _, command, rest = _called(root, words)
    return hasattr(command, "commands") and not rest


def is_usage_error(error: Exception) -> bool:
    """Whether words did not fit a command: newer versions of typer have a class of their own for that, older ones that of click."""
    return hasattr(error, "format_message")


def usage_error(error: Any, root: Any, words: Sequence[str]) -> TokbenchError:
    """Word a usage error.

    Args:
        error: One that ``is_usage_error`` knows.
        root: The command that was called.
        words: What it was called with.

    Returns:
        The error in the form of all others, to be printed.
    """
    path, command, rest = _called(root, words)
    hint = f"See: {' '.join(path)} --help"
    if isinstance(error, Refused):
        return TokbenchError(f"{error.message} {hint}")
    option = getattr(error, "option_name", None)
    if option is not None and hasattr(error, "possibilities"):
        options = [name for own in command.params for name in own.opts if name.startswith("--")]
        return unknown_name("option", option, [*options, "--help"], hint=hint)
    if option is not None:
        flag = any(option in own.opts and own.is_flag for own in command.params)
        return TokbenchError(f"{option} {'takes no value, got one' if flag else 'needs a value, got none'}. {hint}")
    parameter = getattr(error, "param", None)
    if parameter is not None and hasattr(error, "param_type"):
        what = f" ({parameter.help.rstrip('.')})" if parameter.help else ""
        return TokbenchError(f"{' '.join(path[1:])} needs {_name(parameter)}{what}, got none. {hint}")
    if parameter is not None:
        return TokbenchError(f"{_name(parameter)}: {error.message.rstrip('.')}. {hint}")
    unknown = next((word for word in rest if not word.startswith("-")), None)
    if unknown is not None and hasattr(command, "commands"):
        return unknown_name("command", unknown, command.commands, hint=hint)
    return TokbenchError(f"{' '.join(path)}: {error.format_message().rstrip('.')}. {hint}")


def _called(root: Any, words: Sequence[str]) -> tuple[list[str], Any, list[str]]:
    """The words that lead to a command, the command, and the words after them."""
    path, command = ["tokbench"], root
    for word in words:
        if word not in getattr(command, "commands", {}):
            break
        path.append(word)
        command = command.commands[word]
    return path, command, list(words[len(path) - 1 :])


def check_once(root: Any, words: Sequence[str]) -> None:
    """Refuse an option that takes one value and is given twice: the last would count, and the others go in silence.

    Args:
        root: The command that was called.
        words: What it was called with.

    Raises:
        TokbenchError: Naming the option.
    """
    _, command, given = _called(root, words)
    given = given[: given.index("--")] if "--" in given else given
    for parameter in command.params:
        if parameter.param_type_name != "option" or parameter.multiple or parameter.is_flag:
            continue
        values = _values(parameter, given)
        if len(values) > 1:
            name = max(parameter.opts, key=len)
            raise TokbenchError(f"{name} takes one value, and {len(values)} were given: {', '.join(values)}; give one of them")


def check_paths(root: Any, words: Sequence[str]) -> None:
    """Refuse nothing where a path is asked for, as an empty variable of a shell gives it: it would mean the current folder.

    Args:
        root: The command that was called.
        words: What it was called with.

    Raises:
        TokbenchError: Naming the option or the argument.
    """
    path, command, given = _called(root, words)
    own = given[: given.index("--")] if "--" in given else given
    options = [parameter for parameter in command.params if parameter.param_type_name == "option" and not parameter.is_flag]
    empty = given.count("") - sum(_values(parameter, own, joined=False).count("") for parameter in options)
    for parameter in command.params:
        nothing = "" in _values(parameter, own) if parameter in options else empty > 0
        if nothing and _of_path(parameter) and not WRITTEN & {*parameter.opts}:
            hint = f"See: {' '.join(path)} --help"
            raise TokbenchError(f"{_name(parameter)} takes a path, got ''; write . for the current folder. {hint}")


def at_home(root: Any, words: Sequence[str]) -> list[str]:
    """Expand ``~`` where a path begins with it: a shell leaves it alone behind an equals sign, and so do those who start no shell.

    Args:
        root: The command that was called.
        words: What it was called with.

    Returns:
        The words to call it with.
    """
    _, command, given = _called(root, words)
    options = {name: own for own in command.params if own.param_type_name == "option" and not own.is_flag for name in own.opts}
    paths = any(own.param_type_name == "argument" and _of_path(own) for own in command.params)
    found, asks = list(words[: len(words) - len(given)]), None
    for word in given:
        name, equals, value = word.partition("=")
        if asks is not None:
            found.append(os.path.expanduser(word) if _of_path(asks) else word)
            asks = None
        elif equals and name in options:
            found.append(f"{name}={os.path.expanduser(value)}" if _of_path(options[name]) else word)
        elif len(word) > 2 and not word.startswith("--") and word[:2] in options:  # as -o~/page.html
            found.append(word[:2] + os.path.expanduser(word[2:]) if _of_path(options[word[:2]]) else word)
        else:
            asks = options.get(word)
            found.append(os.path.expanduser(word) if paths and not word.startswith("-") else word)
    return found


def _of_path(parameter: Any) -> bool:
    """Whether an option or an argument takes paths: older versions of typer have a type of click's for that, newer ones the annotation."""
    told = getattr(getattr(parameter, "type_descriptor", None), "annotation", "")
    return getattr(getattr(parameter, "type", None), "name", "") == "path" or "Path" in str(told)


def _values(option: Any, words: Sequence[str], *, joined: bool = True) -> list[str]:
    """What an option was given.

    Args:
        option: One of a command that is no flag.
        words: Words after the command.
        joined: Whether those are looked at too that stand in one word with it, ``--out=runs``.
    """
    values, at = [], 0
    while at < len(words):
        word = words[at]
        name, equals, value = word.partition("=")
        if word in option.opts:
            at += 1
            values.append(words[at] if at < len(words) else "")
        elif joined and equals and name.startswith("--") and name in option.opts:
            values.append(value)
        at += 1
    return values


def _name(parameter: Any) -> str:
    """An option as it is written, an argument as help texts name it."""
    option = next((option for option in parameter.opts if option.startswith("--")), None)
    return option or str(parameter.metavar or parameter.name).upper()
