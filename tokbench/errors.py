"""Errors a user can fix, and the helpers that word them: what was given, what is allowed, what to do next."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

from tokbench.escapes import visible

_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED", "Cannot allocate memory", "bad_alloc")
"""What libraries say that raise a plain RuntimeError."""

LONGEST_WORD, LONGEST_MESSAGE = 600, 3000
"""Characters of a word, such as a path, and of all of them, beyond which the middle of what was given is left out."""


class TokbenchError(Exception):
    """Something the user can fix. The command line prints it in one line and exits with status 2."""

    def __init__(self, message: str) -> None:
        words = (_shortened(word, LONGEST_WORD) for word in visible(" ".join(message.split())).split(" "))
        super().__init__(_shortened(" ".join(words), LONGEST_MESSAGE))


def _shortened(text: str, most: int) -> str:
    """Text without its middle, if it is longer: its beginning says what is meant, and a message ends with what to do."""
    return text if len(text) <= most else f"{text[: most // 2]}...{text[3 - most // 2 :]}"


def unknown_name(kind: str, given: str, known: Iterable[str], *, hint: str = "") -> TokbenchError:
    """Build the error for a name that does not exist, with the nearest names that do.

    Args:
        kind: What the name names, e.g. ``tokenizer``.
        given: The name as the user wrote it.
        known: All names that would have worked.
        hint: What to do next, appended as a sentence.

    Returns:
        The error, to be raised by the caller.
    """
    known = sorted(set(known))
    near = difflib.get_close_matches(given, known, n=3, cutoff=0.5)
    if near:
        advice = f"did you mean {' or '.join(near)}?"
    elif len(known) <= 12:
        advice = f"allowed: {', '.join(known) or 'none'}."
    else:
        advice = f"there are {len(known)}, such as {', '.join(known[:5])}."
    return TokbenchError(f"unknown {kind} {given!r}; {advice} {hint}")


def missing_extra(package: str, extra: str, purpose: str) -> TokbenchError:
    """Build the error for an optional dependency that is not installed.

    Args:
        package: The package that could not be imported.
        extra: The extra of tokbench that installs it.
        purpose: What needs it.

    Returns:
        The error, to be raised by the caller.
    """
    return TokbenchError(f"{purpose} needs the package {package}, which is not installed; install it with: pip install 'tokbench[{extra}]'")


def brief(error: BaseException, limit: int = 240) -> str:
    """Kind and first line of an error, whatever it holds, in at most so many characters."""
    kind = type(error).__name__
    try:
        lines = str(error).strip().splitlines()
    except KeyboardInterrupt:
        raise
    except BaseException:  # one of others, which cannot even say what it is, or ends the process when it is asked
        lines = []
    text = f"{kind}: {lines[0]}" if lines else kind
    text = visible(text)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory does not suffice, of whichever library and device, itself or what it was raised from."""
    seen: BaseException | None = error
    known: set[int] = set()
    while seen is not None and id(seen) not in known:  # errors may be raised from each other in a circle
        known.add(id(seen))
        if isinstance(seen, MemoryError) or type(seen).__name__ == "OutOfMemoryError":
            return True
        if isinstance(seen, OSError) and seen.errno == errno.ENOMEM:
            return True
        if isinstance(seen, RuntimeError) and any(words in brief(seen, 2000) for words in _OUT_OF_MEMORY):
            return True
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return False
