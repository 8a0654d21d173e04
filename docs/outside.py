"""What the site of docs/ has beside it: pages of other folders, links that are right in the repository, colours of code."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from pygments.formatters import HtmlFormatter

ROOT = Path(__file__).parents[1]

PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "results/README.md": "results.md"}
"""Files of the repository to pages of the site."""

COLOURS = {"default": ".highlight", "monokai": "[data-bs-theme=dark] .highlight"}
"""Styles of Pygments to what they are for."""

LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)]*)?\)")


def on_files(files: Files, config: Any, **_: Any) -> Files:
    """Add the pages that do not lie in docs/, and the colours."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    styles = "\n".join(HtmlFormatter(style=style).get_style_defs(where) for style, where in COLOURS.items())
    files.append(File.generated(config, "code.css", content=styles))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links that are right in the repository into links that are right in the site."""
    own = page.file.src_uri
    folder = posixpath.dirname(next((source for source, name in PAGES.items() if name == own), f"docs/{own}"))
    return LINK.sub(lambda match: _turned(match, folder, posixpath.dirname(own)), markdown)


def _turned(match: re.Match[str], folder: str, here: str) -> str:
    picture, words, target, anchor = match.groups()
    if "://" in target:
        return match[0]
    place = posixpath.normpath(posixpath.join(folder, target))
    if place in PAGES or place.startswith("docs/"):
        page = PAGES.get(place, place.removeprefix("docs/"))
        return f"{picture}[{words}]({posixpath.relpath(page, here or '.')}{anchor or ''})"
    return words if words.strip("`") == place else f"{words} (`{place}`)"  # a file of the repository that is no page
