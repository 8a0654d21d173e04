"""Prose that is read at a glance: sentences under thirty words and no fragments, in public docstrings and in the documents."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST_WORDS = 29
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "results" / "README.md",
    *(ROOT / "docs").rglob("*.md"),
]

HEADING = re.compile(r"(Args|Attributes|Raises|Returns|Source|Yields):\s*")
ARGUMENT = re.compile(r" {4}[*\w]+: ")
POINT = re.compile(r"\s*(- |#|\||!\[|<|:::)")
DRAWING = re.compile(r"\S {2,}\S|->|::$|^\s*\|")
FRAGMENT = re.compile(r"Of\b|(The same|Any|Which|Likewise)\.")
"""What only points at words before it, at the beginning of a paragraph: ``Of it.``, ``The same.``"""


def docstrings() -> Iterator[tuple[str, str]]:
    """Place and text of every docstring of a module, class or function whose name is public."""
    for path in sorted((ROOT / "tokbench").rglob("*.py")):
        yield from _docstrings(ast.parse(path.read_text()), str(path.relative_to(ROOT)))


def _docstrings(node: ast.AST, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (text := ast.get_docstring(node)):
        yield place, text
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not inner.name.startswith("_"):
            yield from _docstrings(inner, f"{place}:{inner.name}")


def documents() -> Iterator[tuple[str, str]]:
    """Place and text of every document, without code and tables."""
    for path in sorted(DOCUMENTS):
        yield str(path.relative_to(ROOT)), re.sub(r"```.*?```|^\|.*?$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)


def paragraphs(text: str) -> Iterator[str]:
    """Prose of a text by paragraphs, points of lists and arguments; drawings are left out."""
    lines: list[str] = []
    for line in [*text.splitlines(), ""]:
        begins = HEADING.match(line) or ARGUMENT.match(line) or POINT.match(line)
        if (begins or not line.strip()) and lines:
            if not any(DRAWING.search(one.strip()) for one in lines):
                yield " ".join(" ".join(lines).split())
            lines = []
        rest = line[begins.end() :] if begins else line
        lines += [rest] * bool(rest.strip())


def sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph."""
    return re.split(r"(?<=[.!?])\s+(?=[A-Z`\"(\[])", paragraph)


def problems(text: str) -> list[str]:
    """Sentences of a text that are too long, or no sentences."""
    found = []
    for paragraph in paragraphs(text):
        found += [f"fragment: {paragraph}"] * bool(FRAGMENT.match(paragraph))
        for sentence in sentences(paragraph):
            count = sum(any(map(str.isalnum, word)) for word in sentence.split())
            found += [f"{count} words: {sentence}"] * (count > MOST_WORDS)
    return found


def test_docstrings_have_short_whole_sentences() -> None:
    assert not [f"{place}: {problem}" for place, text in docstrings() for problem in problems(text)]


def test_documents_have_short_whole_sentences() -> None:
    assert not [f"{place}: {problem}" for place, text in documents() for problem in problems(text)]


def test_long_sentences_and_fragments_would_be_seen() -> None:
    text = f"Read it.\n\nArgs:\n    path: Of it.\n    size: {'word ' * 29}more than that.\n    other: {'word ' * 28}end. Next."
    assert [problem.partition(":")[0] for problem in problems(text)] == ["fragment", "32 words"]
    assert not problems(f"A drawing::\n\n    {'in -> out ' * 20}\n")
