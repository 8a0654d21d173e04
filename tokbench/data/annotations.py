"""Labels and captions as they are stored beside images: checked, and named by their record where they are bad."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from tokbench.errors import TokbenchError

LARGEST_LABEL = 2**31 - 1
"""Labels are kept in 32 bits."""

_NUMBER = re.compile(r"-?[0-9]{1,10}")


def as_label(value: object, record: str) -> int | None:
    """Check one label.

    Args:
        value: A whole number, or one written as text; None and -1 mean that there is none.
        record: What it is the label of, for the error.

    Returns:
        A number from 0, or None.

    Raises:
        TokbenchError: If it is anything else, or above ``LARGEST_LABEL``.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8-sig", "backslashreplace")
    number = int(value) if isinstance(value, str) and _NUMBER.fullmatch(value.strip()) else value
    if number is None or (number == -1 and not isinstance(number, float)):
        return None
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= LARGEST_LABEL:
        raise bad_label(value, record)
    return number


def as_caption(value: object, record: str) -> str | None:
    """Check one caption.

    Args:
        value: A text, or several, of which the first counts; bytes are UTF-8.
        record: What it is the caption of, for the error.

    Returns:
        The text without white space around it; None if nothing is left.

    Raises:
        TokbenchError: If it is no text, or not UTF-8.
    """
    if isinstance(value, Sequence) and not isinstance(value, bytes | str):
        value = value[0] if value else None
    try:
        text = value.decode("utf-8-sig") if isinstance(value, bytes) else value
        if isinstance(text, str):
            text.encode()  # JSON may hold half of a surrogate pair
    except UnicodeError as error:
        raise bad_caption("is not UTF-8", record) from error
    if text is None or isinstance(text, str):
        return (text or "").strip() or None
    raise bad_caption(f"is {_short(value)}, not a text", record)


def bad_label(value: object, record: str, *, largest: int = LARGEST_LABEL) -> TokbenchError:
    """Build the error for a label that is none, to be raised by the caller."""
    return TokbenchError(
        f"the label of {record} is {_short(value)}, not a whole number from 0 to {largest}; mend it, or leave labels out with --labels none"
    )


def bad_caption(fault: str, record: str) -> TokbenchError:
    """Build the error for a caption that is none, to be raised by the caller."""
    return TokbenchError(f"the caption of {record} {fault}; mend it, or remove it")


def json_fields(data: bytes, record: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        data: A file.
        record: What it belongs to, for the error.

    Returns:
        Its fields.

    Raises:
        TokbenchError: If it is no JSON object.
    """
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:  # also for what is not UTF-8
        raise TokbenchError(f"the .json of {record} is not JSON ({error}); mend it, or remove it") from error
    if not isinstance(fields, dict):
        raise TokbenchError(f"the .json of {record} is {_short(fields)}, not an object with fields; mend it, or remove it")
    return fields


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:36]}..."
