"""Prompts from a text file, one a line."""

from __future__ import annotations

from pathlib import Path

from tokbench.errors import TokbenchError
from tokbench.json_files import read_regular

MOST_BYTES = 16 * 2**20
"""Most bytes of a file of prompts."""


def read_prompts(path: Path) -> list[str]:
    """Read prompts.

    Args:
        path: UTF-8, one prompt a line; empty lines are passed over, and spaces around a prompt.

    Raises:
        TokbenchError: If the file cannot be read, is no text, or holds no prompt.
    """
    try:
        text = read_regular(path, most=MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TokbenchError(f"{path} is not UTF-8 (byte {error.start}); give a text file with a prompt in each line") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TokbenchError(f"{path} cannot be read ({reason}); give a text file with a prompt in each line") from error
    prompts = [line.strip() for line in text.splitlines() if line.strip()]
    if not prompts:
        raise TokbenchError(f"{path} holds no prompts; write one in each line")
    return prompts
