"""What the scripts of this folder write down: one block each of README.md, with the machine it was measured on."""

from __future__ import annotations

import platform
import re
from datetime import UTC, datetime
from pathlib import Path

import torch

README = Path(__file__).parent / "README.md"

INTRODUCTION = """# Benchmarks

Every block is written by its script and holds what that measured in one run. Times are compared as ratios of interleaved repeats, at equal results.
"""


def machine() -> str:
    """A line on where something is measured."""
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    chip = names[0] if names else platform.machine()
    return f"{datetime.now(UTC):%Y-%m-%d}, {chip}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.is_file() else []


def write_block(name: str, title: str, text: str, *, path: Path = README) -> None:
    """Put a block in the place of the one of the same name, or at the end.

    Args:
        name: What tells blocks apart.
        title: Its heading.
        text: Markdown.
        path: The document; made if it is missing.
    """
    document = path.read_text() if path.is_file() else INTRODUCTION
    block = f"<!-- {name} -->\n## {title}\n\n{text.strip()}\n<!-- /{name} -->\n"
    place = re.compile(rf"<!-- {re.escape(name)} -->\n.*?<!-- /{re.escape(name)} -->\n", flags=re.DOTALL)
    document = place.sub(lambda _: block, document) if place.search(document) else f"{document.rstrip()}\n\n{block}"
    path.write_text(document)


class Block:
    """Lines that are shown as they are measured, and in the end written down together if that was asked for.

    Args:
        name: What tells blocks apart.
        title: Heading of the block.
        write: Whether it goes into README.md.
    """

    def __init__(self, name: str, title: str, *, write: bool) -> None:
        self._name, self._title, self._write = name, title, write
        self._lines: list[str] = []

    def say(self, text: str = "") -> None:
        """Print lines, and keep them."""
        print(text, flush=True)
        self._lines.append(text)

    def end(self) -> None:
        """Write the block down, now that everything in it is measured."""
        if self._write:
            write_block(self._name, self._title, "\n".join(self._lines))
