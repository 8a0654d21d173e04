"""Prompts from a text file, one a line, and prompts that come again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
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
    prompts = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]  # other signs that end lines belong to a prompt
    if not prompts:
        raise TokbenchError(f"{path} holds no prompts; write one in each line")
    return prompts


def times_before(prompts: Sequence[str]) -> list[int]:
    """Count how often each prompt came before it, so that what is drawn for it again is another image."""
    seen: Counter[str] = Counter()
    found = []
    for prompt in prompts:
        found.append(seen[prompt])
        seen[prompt] += 1
    return found
